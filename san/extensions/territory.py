"""Extrema that compete across the kernels of a model, the second future work of the paper."""

from collections.abc import Sequence

import torch
from torch import Tensor

from san.activations import Extrema
from san.functional import Density, densities_per_kernel
from san.ops import selection
from san.ops.shapes import Float

__all__ = ["Territory", "territory"]


class Territory(Extrema):
    """Select extrema by one minimum distance across all kernels of a model.

    A kept extremum excludes smaller extrema of all kernels of its model within the distance of its own kernel, where
    :class:`san.activations.Extrema` excludes those of its own map only; see :func:`territory`. Similarities are
    compared unscaled, so a kernel of larger norm has an advantage. With one kernel it equals Extrema.

    Args:
        border_tolerance: Samples by which two activations may overlap, >= 0.
        require_sign: Whether to exclude negative local maxima and positive local minima.
        density: Minimum extrema distance in samples, as of :class:`san.activations.Extrema`.

    Raises:
        ValueError: If the border tolerance or a density is invalid.

    Reference:
        Bizopoulos and Koutsouris, "Sparsely Activated Networks", Section VI, the second future work.
    """

    def forward(
        self,
        similarity: Float[Tensor, "batch kernels *space"],
        kernel_sizes: int | Sequence[int],
        n_models: int = 1,
    ) -> Float[Tensor, "batch kernels *space"]:
        """Return the activation maps; models of a bank do not compete with one another."""
        density = self.densities(kernel_sizes, similarity.shape[1:], n_models)
        return territory(similarity, density, n_models, require_sign=self.require_sign)


def territory(
    similarity: Float[Tensor, "batch kernels *space"], density: Density, n_models: int = 1, require_sign: bool = True
) -> Float[Tensor, "batch kernels *space"]:
    """Keep the extrema of the largest absolute value that are more than a distance apart across all kernels.

    The candidates are those of :func:`san.functional.extrema`. They are processed over all kernels of a model in
    descending order of absolute value (ties: lower kernel first, then lower index). Each is kept and excludes every
    other candidate of any kernel of the model within the distance of *its* kernel along every axis. With one kernel it
    equals :func:`san.functional.extrema`.

    Args:
        similarity: The similarity maps.
        density: Minimum extrema distance in samples, >= 1, for all kernels or per kernel.
        n_models: Number of models in the bank; only kernels of the same model compete.
        require_sign: Whether to exclude negative local maxima and positive local minima.

    Raises:
        ValueError: If a density is below 1, there is not one per kernel, or the kernels cannot be shared evenly.

    Reference:
        Bizopoulos and Koutsouris, "Sparsely Activated Networks", Section VI, the second future work.

    Example:
        >>> territory(torch.tensor([[[0.0, 1.0, 0.0, 0.0, 0.0, 2.0, 0.0], [0.0, 0.0, 3.0, 0.0, 0.0, 0.0, 0.0]]]), 2)
        tensor([[[0., 0., 0., 0., 0., 2., 0.],
                 [0., 0., 3., 0., 0., 0., 0.]]])
    """
    if n_models < 1 or similarity.shape[1] % n_models:
        raise ValueError(f"n_models={n_models} must divide the number of kernels, {similarity.shape[1]}")
    keep = selection.territory(similarity, densities_per_kernel(density, similarity), n_models, require_sign)
    return torch.where(keep, similarity, 0)

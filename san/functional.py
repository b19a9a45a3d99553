"""The selection functions: keep some samples of each similarity map unchanged and set the others to zero.

Each map (one kernel of one example) is selected independently, in one or two dimensions. The gradient is the gradient
of a multiplication by the mask of kept samples; the choice of the positions has none.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from san.ops import selection
from san.ops.shapes import Float

__all__ = [
    "Density",
    "GivenDensity",
    "checked_density",
    "densities_per_kernel",
    "densities_per_model",
    "extrema",
    "extrema_pool_indices",
    "topk_absolutes",
]

Density = int | Sequence[int] | Tensor
GivenDensity = int | Sequence[int] | None


def topk_absolutes(
    similarity: Float[Tensor, "batch kernels *space"], density: Density
) -> Float[Tensor, "batch kernels *space"]:
    """Keep the samples of the largest absolute value; ties go to the lowest index.

    Args:
        similarity: The similarity maps.
        density: Number of samples to keep per map, >= 1, for all kernels or per kernel.

    Raises:
        ValueError: If a density is below 1, or there is not one per kernel.

    Reference:
        Bizopoulos and Koutsouris, "Sparsely Activated Networks", Section III-A, Algorithm 1.

    Example:
        >>> topk_absolutes(torch.tensor([[[1.0, -3.0, 2.0, 0.5]]]), 2)
        tensor([[[ 0., -3.,  2.,  0.]]])
    """
    keep = selection.topk_absolutes(similarity, densities_per_kernel(density, similarity))
    return torch.where(keep, similarity, 0)


def extrema_pool_indices(
    similarity: Float[Tensor, "batch kernels *space"], density: Density, ceil_mode: bool = False
) -> Float[Tensor, "batch kernels *space"]:
    """Keep the sample of the largest absolute value in each cell of a grid; ties go to the lowest index.

    Args:
        similarity: The similarity maps.
        density: Side of a cell in samples, >= 1, for all kernels or per kernel.
        ceil_mode: Whether samples past the last whole cell form a smaller cell; if not, none of them is kept.

    Raises:
        ValueError: If a density is below 1, or there is not one per kernel.

    Reference:
        Bizopoulos and Koutsouris, "Sparsely Activated Networks", Section III-A, Algorithm 2.

    Example:
        >>> extrema_pool_indices(torch.tensor([[[1.0, -3.0, 2.0, 0.5, 7.0]]]), 2)
        tensor([[[ 0., -3.,  2.,  0.,  0.]]])
    """
    keep = selection.extrema_pool_indices(similarity, densities_per_kernel(density, similarity), ceil_mode)
    return torch.where(keep, similarity, 0)


def extrema(
    similarity: Float[Tensor, "batch kernels *space"], density: Density, require_sign: bool = True
) -> Float[Tensor, "batch kernels *space"]:
    """Keep the local extrema of the largest absolute value that are more than a distance apart.

    A peak is positive, higher than the sample before and not lower than the sample after. A valley is not positive, not
    higher than the sample before and lower than the sample after. Beyond the border all differences are zero. A flat
    top therefore counts at its first sample and a flat bottom at its last; the last sample of a map can only be a peak
    and the first only a valley. In two dimensions a candidate is a peak along both axes or a valley along both. The
    candidates are processed in descending order of absolute value (ties: lower index first); each is kept and excludes
    all others within the distance along every axis.

    Args:
        similarity: The similarity maps.
        density: Minimum extrema distance in samples, >= 1, for all kernels or per kernel.
        require_sign: Whether to exclude negative local maxima and positive local minima. Algorithm 3 as printed
            includes them; the published results do not.

    Raises:
        ValueError: If a density is below 1, or there is not one per kernel.

    Reference:
        Bizopoulos and Koutsouris, "Sparsely Activated Networks", Section III-A, Algorithm 3.

    Example:
        >>> extrema(torch.tensor([[[0.0, 1.0, 0.0, 3.0, 0.0, -2.0, -1.0]]]), 2)
        tensor([[[0., 0., 0., 3., 0., 0., 0.]]])
        >>> extrema(torch.tensor([[[0.0, 1.0, 0.0, 3.0, 0.0, -2.0, -1.0]]]), 1)
        tensor([[[ 0.,  1.,  0.,  3.,  0., -2.,  0.]]])
    """
    keep = selection.extrema(similarity, densities_per_kernel(density, similarity), require_sign)
    return torch.where(keep, similarity, 0)


def densities_per_kernel(density: Density, similarity: Tensor) -> list[int]:
    """Return the density of each kernel.

    Args:
        density: One number for all kernels, or one per kernel.
        similarity: The similarity maps, [batch, kernels, *space].

    Raises:
        ValueError: If a density is below 1, or there is not one per kernel.
    """
    n_kernels = similarity.shape[1]
    densities = [density] * n_kernels if isinstance(density, int) else [int(value) for value in density]
    if len(densities) != n_kernels:
        raise ValueError(f"density has {len(densities)} values for {n_kernels} kernels; give one, or one per kernel")
    if any(value < 1 for value in densities):
        raise ValueError(f"density={densities} must be 1 or more (samples)")
    return densities


def checked_density(density: object) -> list[int] | None:
    """Return a density that a user gives, one number for all kernels or one per kernel, as a list; None for none.

    Args:
        density: An integer, integers or None.

    Raises:
        ValueError: If it is anything else, or a number is below 1.
    """
    if density is None:
        return None
    given: list[Any] = list(density) if isinstance(density, list | tuple) else [density]
    if not given or not all(type(number) is int and number >= 1 for number in given):
        raise ValueError(
            f"density={density} must be an integer, 1 or more (samples), or a list with one for each kernel, or null "
            "for the rule of the paper"
        )
    return given


def densities_per_model(density: Sequence[int], n_kernels: int, n_models: int) -> list[int]:
    """Return the density of each kernel of a bank; every model has the same.

    Args:
        density: One number for all kernels, or one per kernel of a model.
        n_kernels: Number of kernels of all models.
        n_models: Number of models in the bank.

    Raises:
        ValueError: If there is not one number, or one per kernel of a model.
    """
    per_model = n_kernels // n_models
    if len(density) not in (1, per_model):
        raise ValueError(
            f"density={list(density)} has {len(density)} numbers, but the number of kernels of a model is "
            f"{per_model}: give one number for all kernels, or one for each"
        )
    return list(density) * (n_kernels // len(density))

"""The selection functions: which samples of each similarity map stay, at their value; all others become zero.

Each map (one kernel of one example) is selected alone, except by territory, in one or two dimensions. The gradient is
that of a multiplication by the mask of kept samples; nothing flows through the choice of the positions.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from san.ops import selection, vectorized
from san.shapes import Float

__all__ = ["extrema", "extrema_pool_indices", "territory", "topk_absolutes"]

Density = int | Sequence[int] | Tensor


def topk_absolutes(
    similarity: Float[Tensor, "batch kernels *space"], density: Density
) -> Float[Tensor, "batch kernels *space"]:
    """Keep the samples of the largest absolute value; of equal ones those of the lowest index.

    Args:
        similarity: The similarity maps.
        density: How many samples to keep in a map, >= 1, for all kernels or one for each.

    Raises:
        ValueError: If a density is below 1, or there is not one for each kernel.

    Reference:
        Bizopoulos and Koutsouris, "Sparsely Activated Networks", Section III-A, Algorithm 1.

    Example:
        >>> topk_absolutes(torch.tensor([[[1.0, -3.0, 2.0, 0.5]]]), 2)
        tensor([[[ 0., -3.,  2.,  0.]]])
    """
    keep = selection.topk_absolutes(similarity, _one_for_each(density, similarity))
    return torch.where(keep, similarity, 0)


def extrema_pool_indices(
    similarity: Float[Tensor, "batch kernels *space"], density: Density, ceil_mode: bool = False
) -> Float[Tensor, "batch kernels *space"]:
    """Keep the sample of the largest absolute value in each cell of a grid; of equal ones that of the lowest index.

    Args:
        similarity: The similarity maps.
        density: Side of a cell in samples, >= 1, for all kernels or one for each.
        ceil_mode: Whether samples past the last whole cell form a smaller cell too. Otherwise none of them is kept.

    Raises:
        ValueError: If a density is below 1, or there is not one for each kernel.

    Reference:
        Bizopoulos and Koutsouris, "Sparsely Activated Networks", Section III-A, Algorithm 2.

    Example:
        >>> extrema_pool_indices(torch.tensor([[[1.0, -3.0, 2.0, 0.5, 7.0]]]), 2)
        tensor([[[ 0., -3.,  2.,  0.,  0.]]])
    """
    keep = selection.extrema_pool_indices(similarity, _one_for_each(density, similarity), ceil_mode)
    return torch.where(keep, similarity, 0)


def extrema(
    similarity: Float[Tensor, "batch kernels *space"], density: Density, require_sign: bool = True
) -> Float[Tensor, "batch kernels *space"]:
    """Keep the local extrema of the largest absolute value that are more than a distance apart.

    A peak is positive, rises from the sample before and does not rise to the one after; a valley is not positive,
    does not rise from the sample before and rises to the one after; past the border all differences are zero. So a
    flat top counts at its first sample, a flat bottom at its last, and the last sample can only be a peak, the first
    only a valley. In two dimensions a candidate is a peak along both axes or a valley along both. From the
    candidates, in descending order of absolute value (ties: the lower index first), one is kept and all others
    within the distance of it along every axis are dropped, until none is left.

    Args:
        similarity: The similarity maps.
        density: Minimum extrema distance in samples, >= 1, for all kernels or one for each.
        require_sign: Whether negative local maxima and positive local minima are left out. Algorithm 3 as printed
            keeps them; the published results do not.

    Raises:
        ValueError: If a density is below 1, or there is not one for each kernel.

    Reference:
        Bizopoulos and Koutsouris, "Sparsely Activated Networks", Section III-A, Algorithm 3.

    Example:
        >>> extrema(torch.tensor([[[0.0, 1.0, 0.0, 3.0, 0.0, -2.0, -1.0]]]), 2)
        tensor([[[0., 0., 0., 3., 0., 0., 0.]]])
        >>> extrema(torch.tensor([[[0.0, 1.0, 0.0, 3.0, 0.0, -2.0, -1.0]]]), 1)
        tensor([[[ 0.,  1.,  0.,  3.,  0., -2.,  0.]]])
    """
    keep = selection.extrema(similarity, _one_for_each(density, similarity), require_sign)
    return torch.where(keep, similarity, 0)


def territory(
    similarity: Float[Tensor, "batch kernels *space"], density: Density, n_models: int = 1, require_sign: bool = True
) -> Float[Tensor, "batch kernels *space"]:
    """Keep the local extrema of the largest absolute value that are more than a distance apart across all kernels.

    Candidates are those of :func:`extrema`. From the candidates of all kernels of a model, in descending order of
    absolute value (ties: the lower kernel first, then the lower index), one is kept and all others of any of these
    kernels within the distance of *its* kernel along every axis are dropped, until none is left. With one kernel that
    is :func:`extrema`.

    Args:
        similarity: The similarity maps.
        density: Minimum extrema distance in samples, >= 1, for all kernels or one for each.
        n_models: Share the kernels among so many models, one after another; only kernels of the same one compete.
        require_sign: Whether negative local maxima and positive local minima are left out.

    Raises:
        ValueError: If a density is below 1, there is not one for each kernel, or the models have not as many kernels.

    Reference:
        Bizopoulos and Koutsouris, "Sparsely Activated Networks", Section VI, the second of the future work.

    Example:
        >>> territory(torch.tensor([[[0.0, 1.0, 0.0, 0.0, 0.0, 2.0, 0.0], [0.0, 0.0, 3.0, 0.0, 0.0, 0.0, 0.0]]]), 2)
        tensor([[[0., 0., 0., 0., 0., 2., 0.],
                 [0., 0., 3., 0., 0., 0., 0.]]])
    """
    if n_models < 1 or similarity.shape[1] % n_models:
        raise ValueError(f"{similarity.shape[1]} kernels cannot be shared evenly by n_models={n_models}")
    keep = vectorized.territory(similarity.detach(), _one_for_each(density, similarity), n_models, require_sign)
    return torch.where(keep, similarity, 0)


def _one_for_each(density: Density, similarity: Tensor) -> list[int]:
    n_kernels = similarity.shape[1]
    densities = [density] * n_kernels if isinstance(density, int) else [int(value) for value in density]
    if len(densities) != n_kernels:
        raise ValueError(f"density has {len(densities)} values for {n_kernels} kernels: give one, or one for each")
    if any(value < 1 for value in densities):
        raise ValueError(f"density={densities} has a value below 1: it counts samples")
    return densities

"""The selection functions: which samples of each similarity map stay, at their value; all others become zero.

Each map (one kernel of one example) is selected alone, in one or two dimensions. The gradient is that of a
multiplication by the mask of kept samples; nothing flows through the choice of the positions.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from san.shapes import Bool, Float

__all__ = ["extrema", "extrema_pool_indices", "topk_absolutes"]

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

    def largest(maps: Tensor, k: int) -> Tensor:
        magnitude = maps.abs().flatten(2)
        threshold = magnitude.topk(min(k, magnitude.shape[-1]), dim=-1).values[..., -1:]
        above, equal = magnitude > threshold, magnitude == threshold
        room = k - above.sum(-1, keepdim=True)
        return (above | (equal & (equal.cumsum(-1) <= room))).view_as(maps)

    return _select(similarity, density, largest)


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

    def largest_of_each_cell(maps: Tensor, side: int) -> Tensor:
        space = maps.shape[2:]
        cell = [min(side, length) for length in space] if ceil_mode else [side] * len(space)
        keep = torch.zeros_like(maps, dtype=torch.bool)
        if maps.numel() == 0 or any(length < extent for length, extent in zip(space, cell, strict=True)):
            return keep
        pool = F.max_pool1d if len(space) == 1 else F.max_pool2d
        _, indices = pool(maps.abs(), cell, ceil_mode=ceil_mode, return_indices=True)
        return keep.flatten(2).scatter_(2, indices.flatten(2), True).view_as(maps)

    return _select(similarity, density, largest_of_each_cell)


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

    def primary(maps: Tensor, distance: int) -> Tensor:
        return _eliminate(maps, _candidates(maps, require_sign), distance)

    return _select(similarity, density, primary)


def _select(similarity: Tensor, density: Density, rule: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Apply the mask that ``rule`` gives for a density to the maps of each kernel of that density."""
    densities = _one_for_each(density, similarity.shape[1])
    keep = torch.empty_like(similarity, dtype=torch.bool)
    with torch.no_grad():
        for value in set(densities):
            kernels = [kernel for kernel, other in enumerate(densities) if other == value]
            keep[:, kernels] = rule(similarity[:, kernels], value)
    return torch.where(keep, similarity, 0)


def _one_for_each(density: Density, n_kernels: int) -> list[int]:
    densities = [density] * n_kernels if isinstance(density, int) else [int(value) for value in density]
    if len(densities) != n_kernels:
        raise ValueError(f"density has {len(densities)} values for {n_kernels} kernels: give one, or one for each")
    if any(value < 1 for value in densities):
        raise ValueError(f"density={densities} has a value below 1: it counts samples")
    return densities


def _candidates(maps: Tensor, require_sign: bool) -> Bool[Tensor, "batch kernels *space"]:
    """Mark what is a peak along every axis, or a valley along every axis."""
    peaks = maps > 0 if require_sign else torch.ones_like(maps, dtype=torch.bool)
    valleys = maps <= 0 if require_sign else torch.ones_like(maps, dtype=torch.bool)
    for axis in range(2, maps.dim()):
        difference = maps.diff(dim=axis)
        border = torch.zeros_like(maps.narrow(axis, 0, 1))
        after = torch.cat([difference, border], dim=axis)
        before = torch.cat([border, difference], dim=axis)
        peaks = peaks & ~(after > 0) & (before > 0)
        valleys = valleys & (after > 0) & (before <= 0)
    return peaks | valleys


def _eliminate(maps: Tensor, candidates: Tensor, distance: int) -> Bool[Tensor, "batch kernels *space"]:
    """Keep candidates in descending order of absolute value, each dropping the others within the distance.

    What comes first among all that are left within the distance of it is certain to be kept, whatever happens
    elsewhere, so every round settles all such candidates of all maps at once.
    """
    images = candidates.unsqueeze(2) if maps.dim() == 3 else candidates
    left = torch.where(images, maps.abs().view(images.shape), -1)
    keep = torch.zeros_like(images)
    while (left >= 0).any():
        row = _window_max(left, -1, -distance, distance)
        earlier = torch.maximum(_window_max(left, -1, -distance, -1), _window_max(row, -2, -distance, -1))
        first = (left >= 0) & (left == _window_max(row, -2, -distance, distance)) & (left > earlier)
        keep |= first
        near = _window_max(first.to(left.dtype), -1, -distance, distance)
        left = torch.where(_window_max(near, -2, -distance, distance) > 0, -1, left)
    return keep.view(maps.shape)


def _window_max(values: Tensor, axis: int, start: int, end: int) -> Tensor:
    """Take the maximum over the samples at the offsets from start to end along an axis, at least -1."""
    length = values.shape[axis]
    start, end = max(start, 1 - length), min(end, length - 1)
    if start > end:
        return torch.full_like(values, -1)
    if start == end == 0:
        return values
    lines = F.pad(values.movedim(axis, -1), (-start, max(end, 0)), value=-1)
    pooled = F.max_pool1d(lines.flatten(0, -2), end - start + 1, stride=1)
    return pooled.view(*lines.shape[:-1], -1).narrow(-1, 0, length).movedim(-1, axis)

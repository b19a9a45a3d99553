"""The operators in torch alone, for any device: no loop over examples, kernels or samples."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "candidates",
    "extrema",
    "extrema_pool_indices",
    "gather",
    "place",
    "territory",
    "topk_absolutes",
    "weigh",
    "window",
]


def topk_absolutes(maps: Tensor, counts: Sequence[int]) -> Tensor:
    """Mark the largest absolute values of each map, given how many for each kernel."""
    order = maps.abs().flatten(2).sort(dim=-1, descending=True, stable=True).indices
    first = torch.arange(order.shape[-1], device=maps.device) < _per_kernel(counts, maps, 1)
    keep = torch.zeros_like(order, dtype=torch.bool)
    return keep.scatter_(2, order, first.expand_as(order)).view_as(maps)


def extrema_pool_indices(maps: Tensor, sides: Sequence[int], ceil_mode: bool) -> Tensor:
    """Mark the largest absolute value of each cell of each map, given the side of a cell for each kernel."""
    space, device = maps.shape[2:], maps.device
    side = _per_kernel(sides, maps, len(space))
    cell = torch.zeros_like(side)
    whole = torch.ones_like(side, dtype=torch.bool)
    for axis, length in enumerate(space):
        shape = [-1 if other == axis else 1 for other in range(len(space))]
        along = torch.arange(length, device=device).view(shape) // side
        cell = cell * length + along
        whole = whole & (ceil_mode | ((along + 1) * side <= length))
    cells = cell.expand(maps.shape).flatten(2)
    magnitude = maps.abs().flatten(2)
    index = torch.arange(magnitude.shape[-1], device=device).expand_as(magnitude)
    most = torch.full_like(magnitude, -1).scatter_reduce(2, cells, magnitude, "amax")
    largest = torch.where(magnitude == most.gather(2, cells), index, magnitude.shape[-1])
    first = torch.full_like(index, magnitude.shape[-1]).scatter_reduce(2, cells, largest, "amin")
    return (index == first.gather(2, cells)).view(maps.shape) & whole


def extrema(maps: Tensor, distances: Sequence[int], require_sign: bool) -> Tensor:
    """Mark the primary extrema of each map, given the minimum distance for each kernel.

    What comes first among all that are left within the distance of it is certain to be kept, whatever happens
    elsewhere, so every round settles all such candidates of all maps at once. Two to six rounds are usual; a device
    that must be waited for is asked after every four whether any candidate is left.
    """
    space = maps.shape[2:]
    over = [[min(distance, length - 1) for distance in distances] for length in space]
    left = torch.where(candidates(maps, require_sign), maps.abs(), -1)
    keep = torch.zeros_like(maps, dtype=torch.bool)
    rounds = 1 if maps.device.type == "cpu" else 4
    while bool((left >= 0).any()):
        for _ in range(rounds):
            beyond, before, after = left, torch.full_like(left, -1), torch.full_like(left, -1)
            for axis in reversed(range(len(space))):
                before = torch.maximum(before, window(beyond, axis, [-d for d in over[axis]], over[axis]))
                after = torch.maximum(after, window(beyond, axis, [1] * len(distances), over[axis]))
                beyond = _around(beyond, axis, over[axis])
            first = (left >= 0) & (left > before) & (left >= after)
            keep |= first
            near = first.to(left.dtype)
            for axis in range(len(space)):
                near = _around(near, axis, over[axis])
            left = torch.where(near > 0, -1, left)
    return keep


def territory(maps: Tensor, distances: Sequence[int], n_models: int, require_sign: bool) -> Tensor:
    """Mark the extrema that are primary among all kernels of their model, given the minimum distance of each kernel.

    What comes first among all that are left and whose distance reaches it is certain to be kept, so every round
    settles all such candidates at once. They are compared by their rank, of which no two are equal.
    """
    batch, n_kernels, *space = maps.shape
    of_models = (batch * n_models, n_kernels // n_models, *space)
    reach = [[min(distance, length - 1) for distance in distances] for length in space]
    order = maps.abs().reshape(of_models).flatten(1).sort(dim=1, descending=True, stable=True).indices
    rank = torch.arange(order.shape[1] - 1, -1, -1, device=maps.device).expand_as(order)
    left = torch.empty_like(order).scatter_(1, order, rank).view(maps.shape)
    left = torch.where(candidates(maps, require_sign), left, -1)
    keep = torch.zeros_like(maps, dtype=torch.bool)
    while bool((left >= 0).any()):
        first = (left >= 0) & (left == _reached(left, reach, of_models))
        keep |= first
        left = torch.where(_reached(first.to(left.dtype), reach, of_models) > 0, -1, left)
    return keep


def gather(source: Tensor, weight: Tensor, index: Tensor, sizes: Sequence[int], sign: int) -> Tensor:
    """Return the scalar product of a kernel and the source at each position."""
    samples, taps = _windows(source, index, sizes, weight.shape[1:], sign)
    return (samples * weight.flatten(1)[taps]).sum(1)


def place(
    values: Tensor, weight: Tensor, index: Tensor, sizes: Sequence[int], sign: int, shape: Sequence[int]
) -> Tensor:
    """Add each value times its kernel at its position."""
    where, inside = _positions(index, sizes, weight.shape[1:], sign, shape)
    added = values.unsqueeze(1) * weight.flatten(1)[index[:, 1]] * inside
    target = torch.zeros(torch.Size(shape).numel(), dtype=weight.dtype, device=weight.device)
    return target.index_add(0, where.flatten(), added.flatten()).view(*shape)


def weigh(values: Tensor, source: Tensor, index: Tensor, sizes: Sequence[int], sign: int, extent: int) -> Tensor:
    """Add up, for each kernel, the windows of the source at its positions, each times its value."""
    shape = [extent] * (source.dim() - 2)
    samples, kernels = _windows(source, index, sizes, shape, sign)
    total = torch.zeros(len(sizes), samples.shape[1], dtype=source.dtype, device=source.device)
    return total.index_add(0, kernels, values.unsqueeze(1) * samples).view(-1, *shape)


def _per_kernel(numbers: Sequence[int], maps: Tensor, n_dims: int) -> Tensor:
    return torch.tensor(list(numbers), device=maps.device).view(-1, *[1] * n_dims)


def candidates(maps: Tensor, require_sign: bool) -> Tensor:
    """Mark what is a peak along every axis, or a valley along every axis."""
    everywhere = torch.ones_like(maps, dtype=torch.bool)
    peaks, valleys = (maps > 0, maps <= 0) if require_sign else (everywhere, everywhere)
    for axis in range(2, maps.dim()):
        length = maps.shape[axis]
        before = torch.cat([maps.narrow(axis, 0, 1), maps.narrow(axis, 0, length - 1)], dim=axis)
        after = torch.cat([maps.narrow(axis, 1, length - 1), maps.narrow(axis, length - 1, 1)], dim=axis)
        peaks = peaks & (after <= maps) & (maps > before)
        valleys = valleys & (after > maps) & (maps <= before)
    return peaks | valleys


def _reached(values: Tensor, reach: Sequence[Sequence[int]], of_models: Sequence[int]) -> Tensor:
    """Return the maximum of what reaches each sample, from all kernels of its model."""
    for axis, distances in enumerate(reach):
        values = _around(values, axis, distances)
    by_model = values.view(of_models)
    return by_model.amax(1, keepdim=True).expand_as(by_model).reshape(values.shape)


def _around(values: Tensor, axis: int, distances: Sequence[int]) -> Tensor:
    return window(values, axis, [-distance for distance in distances], [2 * distance + 1 for distance in distances])


def window(values: Tensor, axis: int, starts: Sequence[int], lengths: Sequence[int]) -> Tensor:
    """Take the maximum over a window along an axis, of its own start and length for each kernel, by doubling it."""
    lines = values.movedim(axis + 2, -1)
    n, before = lines.shape[-1], max(0, -min(starts))
    lines = F.pad(lines, (before, max(0, *map(sum, zip(starts, lengths, strict=True)))), value=-1)
    others = lines.dim() - 2
    length, start = (_per_kernel(numbers, values, others) for numbers in (lengths, starts))
    done = 1
    reached = torch.ones_like(length)
    while 2 * done <= max(lengths):
        grows = 2 * done <= length
        lines = torch.where(grows, torch.maximum(lines, F.pad(lines[..., done:], (0, done), value=-1)), lines)
        done *= 2
        reached = torch.where(grows, done, reached)
    at = before + torch.arange(n, device=values.device) + start
    shape = (*lines.shape[:-1], n)
    ends = [lines.gather(-1, (at + shift).clamp(min=0).expand(shape)) for shift in (0, length - reached)]
    return torch.where(length > 0, torch.maximum(*ends), -1).movedim(-1, axis + 2)


def _positions(
    index: Tensor, sizes: Sequence[int], extent: Sequence[int], sign: int, shape: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Return where the samples of the padded kernels fall in a flat tensor [batch, channels, *space], and which do."""
    device = index.device
    size = torch.tensor(list(sizes), device=device)[index[:, 1]]
    where = (index[:, 0] * shape[1] + index[:, 1] // (len(sizes) // shape[1])).unsqueeze(1)
    inside = torch.ones_like(where, dtype=torch.bool)
    for axis, length in enumerate(shape[2:]):
        middle = (extent[axis] - 1) // 2
        tap = torch.arange(extent[axis], device=device)
        start = middle - (size - 1) // 2
        at = index[:, 2 + axis].unsqueeze(1) + sign * (tap - middle)
        valid = (at >= 0) & (at < length) & (tap >= start.unsqueeze(1)) & (tap < (start + size).unsqueeze(1))
        where = (where.unsqueeze(2) * length + at.clamp(0, length - 1).unsqueeze(1)).flatten(1)
        inside = (inside.unsqueeze(2) & valid.unsqueeze(1)).flatten(1)
    return where, inside


def _windows(
    source: Tensor, index: Tensor, sizes: Sequence[int], extent: Sequence[int], sign: int
) -> tuple[Tensor, Tensor]:
    """Return what the samples of each kernel fall on, zero where on nothing, and which kernel it is."""
    where, inside = _positions(index, sizes, extent, sign, source.shape)
    return source.flatten()[where] * inside, index[:, 1]

"""The operators in torch alone, for any device, without a loop over examples, kernels or samples."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from san.ops.kernels import start_in_padding

__all__ = [
    "candidates",
    "extrema",
    "extrema_pool_indices",
    "gather",
    "place",
    "territory",
    "topk_absolutes",
    "weigh",
    "window_maximum",
]


def topk_absolutes(maps: Tensor, counts: Sequence[int]) -> Tensor:
    """Mark the samples of the largest absolute value of each map; see :func:`san.ops.selection.topk_absolutes`."""
    order = maps.abs().flatten(2).sort(dim=-1, descending=True, stable=True).indices
    is_first = torch.arange(order.shape[-1], device=maps.device) < _per_kernel(counts, maps, 1)
    keep = torch.zeros_like(order, dtype=torch.bool)
    return keep.scatter_(2, order, is_first.expand_as(order)).view_as(maps)


def extrema_pool_indices(maps: Tensor, sides: Sequence[int], ceil_mode: bool) -> Tensor:
    """Mark the largest sample of each cell of each map; see :func:`san.ops.selection.extrema_pool_indices`."""
    space, device = maps.shape[2:], maps.device
    side = _per_kernel(sides, maps, len(space))
    cell = torch.zeros_like(side)
    is_whole = torch.ones_like(side, dtype=torch.bool)
    for axis, length in enumerate(space):
        shape = [-1 if other == axis else 1 for other in range(len(space))]
        cell_on_axis = torch.arange(length, device=device).view(shape) // side
        cell = cell * length + cell_on_axis
        is_whole = is_whole & (ceil_mode | ((cell_on_axis + 1) * side <= length))
    cells = cell.expand(maps.shape).flatten(2)
    magnitude = maps.abs().flatten(2)
    index = torch.arange(magnitude.shape[-1], device=device).expand_as(magnitude)
    maximum = torch.full_like(magnitude, -1).scatter_reduce(2, cells, magnitude, "amax")
    largest = torch.where(magnitude == maximum.gather(2, cells), index, magnitude.shape[-1])
    first = torch.full_like(index, magnitude.shape[-1]).scatter_reduce(2, cells, largest, "amin")
    return (index == first.gather(2, cells)).view(maps.shape) & is_whole


def extrema(maps: Tensor, distances: Sequence[int], require_sign: bool) -> Tensor:
    """Mark the primary extrema of each map; see :func:`san.ops.selection.extrema`.

    A candidate that precedes all remaining candidates within the distance is certain to be kept, whatever happens
    elsewhere, so each round settles all such candidates of all maps at once. Two to six rounds are usual. On the CPU
    each round asks whether a candidate remains; on other devices, which must be waited for, every fourth round does.
    """
    space = maps.shape[2:]
    reach = [[min(distance, length - 1) for distance in distances] for length in space]
    remaining = torch.where(candidates(maps, require_sign), maps.abs(), -1)
    keep = torch.zeros_like(maps, dtype=torch.bool)
    rounds = 1 if maps.device.type == "cpu" else 4
    while bool((remaining >= 0).any()):
        for _ in range(rounds):
            # Earlier samples within the distance, and later ones, one axis after another from the last to the first.
            nearby, before, after = remaining, torch.full_like(remaining, -1), torch.full_like(remaining, -1)
            for axis in reversed(range(len(space))):
                before = torch.maximum(before, window_maximum(nearby, axis, [-d for d in reach[axis]], reach[axis]))
                after = torch.maximum(after, window_maximum(nearby, axis, [1] * len(distances), reach[axis]))
                nearby = _maximum_within(nearby, axis, reach[axis])
            is_first = (remaining >= 0) & (remaining > before) & (remaining >= after)
            keep |= is_first
            excluded = is_first.to(remaining.dtype)
            for axis in range(len(space)):
                excluded = _maximum_within(excluded, axis, reach[axis])
            remaining = torch.where(excluded > 0, -1, remaining)
    return keep


def territory(maps: Tensor, distances: Sequence[int], n_models: int, require_sign: bool) -> Tensor:
    """Mark the extrema that are primary across all kernels of their model.

    A candidate that precedes all remaining candidates whose distance reaches it is certain to be kept, so each round
    settles all such candidates at once. The candidates are compared by rank, which has no ties.

    Args:
        maps: The similarity maps, [batch, kernels, *space].
        distances: Minimum extrema distance in samples, >= 1, per kernel.
        n_models: Number of models, which have equally many kernels.
        require_sign: Whether to exclude negative local maxima and positive local minima.
    """
    batch, n_kernels, *space = maps.shape
    model_shape = (batch * n_models, n_kernels // n_models, *space)
    reach = [[min(distance, length - 1) for distance in distances] for length in space]
    order = maps.abs().reshape(model_shape).flatten(1).sort(dim=1, descending=True, stable=True).indices
    rank = torch.arange(order.shape[1] - 1, -1, -1, device=maps.device).expand_as(order)
    remaining = torch.empty_like(order).scatter_(1, order, rank).view(maps.shape)
    remaining = torch.where(candidates(maps, require_sign), remaining, -1)
    keep = torch.zeros_like(maps, dtype=torch.bool)
    while bool((remaining >= 0).any()):
        is_first = (remaining >= 0) & (remaining == _maximum_within_models(remaining, reach, model_shape))
        keep |= is_first
        excluded = _maximum_within_models(is_first.to(remaining.dtype), reach, model_shape)
        remaining = torch.where(excluded > 0, -1, remaining)
    return keep


def gather(source: Tensor, weight: Tensor, index: Tensor, sizes: Sequence[int], sign: int) -> Tensor:
    """Return the scalar product of kernel and source at each activation; see :mod:`san.ops.placement`."""
    samples, kernels = _source_windows(source, index, sizes, weight.shape[1:], sign)
    return (samples * weight.flatten(1)[kernels]).sum(1)


def place(
    values: Tensor, weight: Tensor, index: Tensor, sizes: Sequence[int], sign: int, shape: Sequence[int]
) -> Tensor:
    """Add each value times its kernel at its position; see :mod:`san.ops.placement`."""
    positions, is_inside = _sample_positions(index, sizes, weight.shape[1:], sign, shape)
    added = values.unsqueeze(1) * weight.flatten(1)[index[:, 1]] * is_inside
    target = torch.zeros(torch.Size(shape).numel(), dtype=weight.dtype, device=weight.device)
    return target.index_add(0, positions.flatten(), added.flatten()).view(*shape)


def weigh(values: Tensor, source: Tensor, index: Tensor, sizes: Sequence[int], sign: int, extent: int) -> Tensor:
    """Sum, per kernel, the source windows at its activations, each times its value; see :mod:`san.ops.placement`."""
    shape = [extent] * (source.dim() - 2)
    samples, kernels = _source_windows(source, index, sizes, shape, sign)
    total = torch.zeros(len(sizes), samples.shape[1], dtype=source.dtype, device=source.device)
    return total.index_add(0, kernels, values.unsqueeze(1) * samples).view(-1, *shape)


def candidates(maps: Tensor, require_sign: bool) -> Tensor:
    """Mark the peaks along every axis and the valleys along every axis; see :func:`san.functional.extrema`.

    Args:
        maps: The similarity maps, [batch, kernels, *space].
        require_sign: Whether to exclude negative local maxima and positive local minima.
    """
    everywhere = torch.ones_like(maps, dtype=torch.bool)
    peaks, valleys = (maps > 0, maps <= 0) if require_sign else (everywhere, everywhere)
    for axis in range(2, maps.dim()):
        length = maps.shape[axis]
        before = torch.cat([maps.narrow(axis, 0, 1), maps.narrow(axis, 0, length - 1)], dim=axis)
        after = torch.cat([maps.narrow(axis, 1, length - 1), maps.narrow(axis, length - 1, 1)], dim=axis)
        peaks = peaks & (after <= maps) & (maps > before)
        valleys = valleys & (after > maps) & (maps <= before)
    return peaks | valleys


def window_maximum(values: Tensor, axis: int, starts: Sequence[int], lengths: Sequence[int]) -> Tensor:
    """Return the maximum of a window around each sample along one axis, by repeatedly doubling the window.

    Args:
        values: One map per kernel, [batch, kernels, *space]; samples outside the map count as -1.
        axis: Axis of the space, 0 for the first.
        starts: First sample of the window relative to each sample, per kernel.
        lengths: Samples of the window, >= 0, per kernel; the maximum of an empty window is -1.
    """
    lines = values.movedim(axis + 2, -1)
    n, before = lines.shape[-1], max(0, -min(starts))
    lines = F.pad(lines, (before, max(0, *map(sum, zip(starts, lengths, strict=True)))), value=-1)
    n_other_axes = lines.dim() - 2
    length, start = (_per_kernel(numbers, values, n_other_axes) for numbers in (lengths, starts))
    doubled = 1
    reached = torch.ones_like(length)
    while 2 * doubled <= max(lengths):
        grows = 2 * doubled <= length
        shifted = F.pad(lines[..., doubled:], (0, doubled), value=-1)
        lines = torch.where(grows, torch.maximum(lines, shifted), lines)
        doubled *= 2
        reached = torch.where(grows, doubled, reached)
    first = before + torch.arange(n, device=values.device) + start
    shape = (*lines.shape[:-1], n)
    ends = [lines.gather(-1, (first + shift).clamp(min=0).expand(shape)) for shift in (0, length - reached)]
    return torch.where(length > 0, torch.maximum(*ends), -1).movedim(-1, axis + 2)


def _maximum_within(values: Tensor, axis: int, distances: Sequence[int]) -> Tensor:
    """Return the maximum within a distance of each sample along one axis."""
    lengths = [2 * distance + 1 for distance in distances]
    return window_maximum(values, axis, [-distance for distance in distances], lengths)


def _maximum_within_models(values: Tensor, reach: Sequence[Sequence[int]], model_shape: Sequence[int]) -> Tensor:
    """Return the maximum of all kernels of a model whose distance reaches each sample.

    Args:
        values: One map per kernel, [batch, kernels, *space].
        reach: Distance in samples, per axis and kernel.
        model_shape: Shape of the maps grouped by model, [batch * models, kernels per model, *space].
    """
    for axis, distances in enumerate(reach):
        values = _maximum_within(values, axis, distances)
    by_model = values.view(model_shape)
    return by_model.amax(1, keepdim=True).expand_as(by_model).reshape(values.shape)


def _per_kernel(numbers: Sequence[int], maps: Tensor, n_dims: int) -> Tensor:
    return torch.tensor(list(numbers), device=maps.device).view(-1, *[1] * n_dims)


def _sample_positions(
    index: Tensor, sizes: Sequence[int], extent: Sequence[int], sign: int, shape: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Locate the samples of the kernel of each activation in a tensor.

    Args:
        index: Example, kernel and position of each activation, [activations, 2 + dims].
        sizes: Size of each kernel in samples per axis.
        extent: Samples of the padded kernels, per axis.
        sign: 1 to place a kernel as it is, -1 to mirror it.
        shape: Shape of the tensor, [batch, channels, *space].

    Returns:
        The index in the flat tensor, and whether the sample is no padding and inside the tensor, both of shape
        [activations, samples of a padded kernel].
    """
    device = index.device
    size = torch.tensor(list(sizes), device=device)[index[:, 1]]
    positions = (index[:, 0] * shape[1] + index[:, 1] // (len(sizes) // shape[1])).unsqueeze(1)
    is_inside = torch.ones_like(positions, dtype=torch.bool)
    for axis, length in enumerate(shape[2:]):
        tap = torch.arange(extent[axis], device=device)
        start = start_in_padding(extent[axis], size)
        at = index[:, 2 + axis].unsqueeze(1) + sign * (tap - (extent[axis] - 1) // 2)
        is_valid = (at >= 0) & (at < length) & (tap >= start.unsqueeze(1)) & (tap < (start + size).unsqueeze(1))
        positions = (positions.unsqueeze(2) * length + at.clamp(0, length - 1).unsqueeze(1)).flatten(1)
        is_inside = (is_inside.unsqueeze(2) & is_valid.unsqueeze(1)).flatten(1)
    return positions, is_inside


def _source_windows(
    source: Tensor, index: Tensor, sizes: Sequence[int], extent: Sequence[int], sign: int
) -> tuple[Tensor, Tensor]:
    """Return the source window under each activation (zero outside the signal) and its kernel index."""
    positions, is_inside = _sample_positions(index, sizes, extent, sign, source.shape)
    return source.flatten()[positions] * is_inside, index[:, 1]

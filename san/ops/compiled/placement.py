"""Correlations and kernels at positions, compiled.

The numba functions take maps and sources as [batch, channels, height, width], with a height of 1 for signals, and
kernels as [kernels, rows, columns], padded with zeros to one extent around their middle, with one row for signals.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import no_type_check

import numpy as np
import torch
from torch import Tensor

from san.ops.compiled.arrays import Array, as_array
from san.ops.compiled.threads import compiled, share
from san.ops.kernels import start_in_padding
from san.ops.shapes import Float

__all__ = ["correlate", "gather", "place", "weigh", "weigh_everywhere"]

CACHED_SAMPLES = 2048
"""Samples of a signal that stay in the nearest cache while all samples of a kernel pass over them; no effect on
results."""


def correlate(
    padded: Float[Tensor, "batch channels padded"], weight: Float[Tensor, "kernels extent"], sizes: Sequence[int]
) -> Float[Tensor, "batch kernels samples"]:
    """Correlate signals, padded by extent - 1 samples, with each kernel; equal windows give equal results.

    Args:
        padded: The signals, padded for the "same" correlation; one channel, or one per kernel.
        weight: The kernels, padded with zeros to one extent around their middle.
        sizes: Size of each kernel in samples.
    """
    signals, kernels = as_array(padded), as_array(weight)
    ranges = _kernel_ranges(tuple(sizes), weight.shape[1], 1)
    n = signals.shape[2] - kernels.shape[1] + 1
    out = np.empty((len(signals), len(kernels), n), signals.dtype)
    work = len(signals) * n * sum(sizes) // 8
    share(len(signals) * len(kernels), work, lambda *part: _correlate(signals, kernels, ranges, out, *part))
    return torch.from_numpy(out)


def gather(source: Tensor, weight: Tensor, index: Tensor, sizes: Sequence[int], sign: int) -> Tensor:
    """Return the scalar product of kernel and source at each activation; see :mod:`san.ops.placement`."""
    n_dims = index.shape[1] - 2
    sources, kernels, positions = _image_array(source, n_dims), _image_array(weight, n_dims), _image_positions(index)
    ranges = _kernel_ranges(tuple(sizes), weight.shape[-1], n_dims)
    values = np.empty(len(positions), sources.dtype)
    share(
        len(positions),
        _work(index, sizes, n_dims),
        lambda *part: _gather(sources, kernels, positions, ranges, sign, values, *part),
    )
    return torch.from_numpy(values)


def place(
    values: Tensor, weight: Tensor, index: Tensor, sizes: Sequence[int], sign: int, shape: Sequence[int]
) -> Tensor:
    """Add each value times its kernel at its position; see :mod:`san.ops.placement`."""
    n_dims = index.shape[1] - 2
    amounts, kernels, positions = as_array(values), _image_array(weight, n_dims), _image_positions(index)
    ranges = _kernel_ranges(tuple(sizes), weight.shape[-1], n_dims)
    target = np.zeros((*shape[:2], *[1] * (2 - n_dims), *shape[2:]), kernels.dtype)
    channels = positions[:, 0] * shape[1] + positions[:, 1] // (len(sizes) // shape[1])
    share(
        len(positions),
        _work(index, sizes, n_dims),
        lambda *part: _place(amounts, kernels, positions, ranges, sign, target, *part),
        channels,
    )
    return torch.from_numpy(target).view(*shape)


def weigh(values: Tensor, source: Tensor, index: Tensor, sizes: Sequence[int], sign: int, extent: int) -> Tensor:
    """Sum, per kernel, the source windows at its activations, each times its value; see :mod:`san.ops.placement`."""
    n_dims = index.shape[1] - 2
    amounts, sources, positions = as_array(values), _image_array(source, n_dims), _image_positions(index)
    ranges = _kernel_ranges(tuple(sizes), extent, n_dims)
    total = np.zeros((len(sizes), extent if n_dims == 2 else 1, extent), sources.dtype)
    share(
        len(sizes),
        _work(index, sizes, n_dims),
        lambda *part: _weigh(amounts, sources, positions, ranges, sign, total, *part),
    )
    return torch.from_numpy(total).view(len(sizes), *[extent] * n_dims)


def weigh_everywhere(
    padded: Float[Tensor, "batch kernels padded_height padded_width"],
    values: Float[Tensor, "batch kernels height width"],
    extent: int,
) -> Float[Tensor, "kernels extent extent"]:
    """Sum, per kernel, the windows of its own source at all positions, each times the value there.

    Args:
        padded: The sources, one per kernel, padded by extent - 1 samples per axis.
        values: One value per position.
        extent: Rows and columns of the windows.
    """
    sources, amounts = as_array(padded), as_array(values)
    total = np.zeros((amounts.shape[1], extent, extent), sources.dtype)
    share(len(total), amounts.size * extent, lambda *part: _weigh_everywhere(sources, amounts, total, *part))
    return torch.from_numpy(total)


def _image_array(tensor: Tensor, n_dims: int) -> Array:
    """Return maps, sources or kernels as an array with two axes of space, the first of length 1 for signals."""
    array = as_array(tensor)
    return array if n_dims == 2 else np.expand_dims(array, -2)


def _image_positions(index: Tensor) -> Array:
    """Return example, kernel, row and column of each activation, int64 [activations, 4]; the row of signals is 0."""
    array = as_array(index)
    if array.shape[1] == 4:
        return array
    positions = np.zeros((len(array), 4), array.dtype)
    positions[:, :2], positions[:, 3] = array[:, :2], array[:, 2]
    return positions


@lru_cache(maxsize=16)
def _kernel_ranges(sizes: tuple[int, ...], extent: int, n_dims: int) -> Array:
    """Return the first sample of each kernel in its padding and the sample after its last.

    The padding is resolved here and not in the numba functions, because the disk cache of numba would not see a change
    of :func:`san.ops.kernels.start_in_padding`, which is in another file.

    Returns:
        int64 [2, kernels, 2]: for rows and columns, of each kernel. Callers share it, and do not write to it.
    """
    size = torch.tensor(sizes, device="cpu")
    start = start_in_padding(extent, size)
    columns = torch.stack([start, start + size], dim=1)
    rows = columns if n_dims == 2 else torch.tensor([[0, 1]], device="cpu").expand_as(columns)
    return as_array(torch.stack([rows, columns]))


def _work(index: Tensor, sizes: Sequence[int], n_dims: int) -> int:
    """Return about how many multiplications the activations take."""
    per_kernel: int = (sum(sizes) // len(sizes)) ** n_dims
    return len(index) * per_kernel


@compiled
@no_type_check
def _correlate(padded, weight, ranges, out, start, end):
    """Correlate signals with kernels, for some pairs of signal and kernel.

    Args:
        padded: float32 or float64 [batch, channels, samples + extent - 1], the signals with their padding.
        weight: array of the same dtype, [kernels, extent], the padded kernels.
        ranges: int64 [2, kernels, 2], first sample of each kernel and sample after its last, for rows and columns.
        out: array of the same dtype, [batch, kernels, samples], the result; modified in place.
        start: int64, first pair of signal and kernel, signal after signal.
        end: int64, pair after the last.
    """
    n_kernels, n = out.shape[1:]
    per_channel = n_kernels // padded.shape[1]
    for row in range(start, end):
        batch, kernel = row // n_kernels, row % n_kernels
        first, last = ranges[1, kernel, 0], ranges[1, kernel, 1]
        taps = weight[kernel]
        for origin in range(0, n, CACHED_SAMPLES):
            count = min(CACHED_SAMPLES, n - origin)
            part, line = out[batch, kernel, origin:], padded[batch, kernel // per_channel, origin:]
            for at in range(count):
                part[at] = 0
            tap = first
            while tap + 4 <= last:
                _add_four(part, line[tap:], taps[tap:], count)
                tap += 4
            while tap < last:
                ahead, weight_here = line[tap:], taps[tap]
                for at in range(count):
                    part[at] += weight_here * ahead[at]
                tap += 1


@compiled
@no_type_check
def _add_four(part, line, taps, count):
    """Add four shifted copies of a signal, each times its tap, in one pass.

    Args:
        part: float32 or float64 [>= count], the sums; modified in place.
        line: array of the same dtype, [>= count + 3], the signal.
        taps: array of the same dtype, [>= 4], the taps.
        count: int64, number of sums.
    """
    second, third, fourth = line[1:], line[2:], line[3:]
    one, two, three, four = taps[0], taps[1], taps[2], taps[3]
    for at in range(count):
        part[at] += one * line[at] + two * second[at] + three * third[at] + four * fourth[at]


@compiled
@no_type_check
def _bounds(position, length, first, last, extent, sign):
    """Return the samples of a kernel that are inside the source, along one axis.

    Sample j of the padded kernel lies at position + sign * (j - (extent - 1) // 2).

    Args:
        position: int64, position of the activation.
        length: int64, samples of the source.
        first: int64, first sample of the kernel in its padding.
        last: int64, sample after the last of the kernel in its padding.
        extent: int64, samples of the padded kernel.
        sign: int64, 1 to place the kernel as it is, -1 to mirror it.

    Returns:
        Three int64: the first sample of the padded kernel inside the source, the sample after the last one, and the
        position of sample 0 of the padded kernel.
    """
    origin = position - sign * ((extent - 1) // 2)
    if sign > 0:
        return max(first, -origin), min(last, length - origin), origin
    return max(first, origin - length + 1), min(last, origin + 1), origin


@compiled
@no_type_check
def _gather(source, weight, index, ranges, sign, values, start, end):
    """Write the scalar product of kernel and source, for some activations.

    Args:
        source: float32 or float64 [batch, channels, height, width], the sources.
        weight: array of the same dtype, [kernels, rows, columns], the padded kernels.
        index: int64 [activations, 4], example, kernel, row and column of each activation.
        ranges: int64 [2, kernels, 2], first sample of each kernel and sample after its last, for rows and columns.
        sign: int64, 1 to place a kernel as it is, -1 to mirror it.
        values: array of the same dtype, [activations], the scalar products; modified in place.
        start: int64, first activation.
        end: int64, activation after the last.
    """
    height, width = source.shape[2:]
    n_rows, n_columns = weight.shape[1:]
    per_channel = ranges.shape[1] // source.shape[1]
    for one in range(start, end):
        batch, kernel = index[one, 0], index[one, 1]
        channel = source[batch, kernel // per_channel]
        first_row, last_row = ranges[0, kernel, 0], ranges[0, kernel, 1]
        top, bottom, row = _bounds(index[one, 2], height, first_row, last_row, n_rows, sign)
        first_column, last_column = ranges[1, kernel, 0], ranges[1, kernel, 1]
        first, last, column = _bounds(index[one, 3], width, first_column, last_column, n_columns, sign)
        total = source.dtype.type(0)
        for j in range(top, bottom):
            line, taps = channel[row + sign * j], weight[kernel, j]
            if sign > 0:
                samples, used_taps = line[column + first :], taps[first:]
                for i in range(last - first):
                    total += samples[i] * used_taps[i]
            else:
                for i in range(first, last):
                    total += line[column - i] * taps[i]
        values[one] = total


@compiled
@no_type_check
def _place(values, weight, index, ranges, sign, target, start, end):
    """Add each value times its kernel at its position, for some activations.

    Args:
        values: float32 or float64 [activations], the values.
        weight: array of the same dtype, [kernels, rows, columns], the padded kernels.
        index: int64 [activations, 4], example, kernel, row and column of each activation.
        ranges: int64 [2, kernels, 2], first sample of each kernel and sample after its last, for rows and columns.
        sign: int64, 1 to place a kernel as it is, -1 to mirror it.
        target: array of the same dtype, [batch, channels, height, width], the sums; modified in place.
        start: int64, first activation.
        end: int64, activation after the last.
    """
    height, width = target.shape[2:]
    n_rows, n_columns = weight.shape[1:]
    per_channel = ranges.shape[1] // target.shape[1]
    for one in range(start, end):
        batch, kernel = index[one, 0], index[one, 1]
        channel = target[batch, kernel // per_channel]
        first_row, last_row = ranges[0, kernel, 0], ranges[0, kernel, 1]
        top, bottom, row = _bounds(index[one, 2], height, first_row, last_row, n_rows, sign)
        first_column, last_column = ranges[1, kernel, 0], ranges[1, kernel, 1]
        first, last, column = _bounds(index[one, 3], width, first_column, last_column, n_columns, sign)
        value = values[one]
        for j in range(top, bottom):
            line, taps = channel[row + sign * j], weight[kernel, j]
            if sign > 0:
                samples, used_taps = line[column + first :], taps[first:]
                for i in range(last - first):
                    samples[i] += value * used_taps[i]
            else:
                for i in range(first, last):
                    line[column - i] += value * taps[i]


@compiled
@no_type_check
def _weigh(values, source, index, ranges, sign, total, first_kernel, last_kernel):
    """Sum, for some kernels, the source windows at their activations, each times its value.

    Args:
        values: float32 or float64 [activations], the values.
        source: array of the same dtype, [batch, channels, height, width], the sources.
        index: int64 [activations, 4], example, kernel, row and column of each activation.
        ranges: int64 [2, kernels, 2], first sample of each kernel and sample after its last, for rows and columns.
        sign: int64, 1 to place a kernel as it is, -1 to mirror it.
        total: array of the same dtype, [kernels, rows, columns], the sums; modified in place.
        first_kernel: int64, first kernel.
        last_kernel: int64, kernel after the last.
    """
    height, width = source.shape[2:]
    n_rows, n_columns = total.shape[1:]
    per_channel = ranges.shape[1] // source.shape[1]
    for one in range(len(index)):
        batch, kernel = index[one, 0], index[one, 1]
        if not first_kernel <= kernel < last_kernel:
            continue
        channel = source[batch, kernel // per_channel]
        first_row, last_row = ranges[0, kernel, 0], ranges[0, kernel, 1]
        top, bottom, row = _bounds(index[one, 2], height, first_row, last_row, n_rows, sign)
        first_column, last_column = ranges[1, kernel, 0], ranges[1, kernel, 1]
        first, last, column = _bounds(index[one, 3], width, first_column, last_column, n_columns, sign)
        value = values[one]
        for j in range(top, bottom):
            line, sums = channel[row + sign * j], total[kernel, j]
            if sign > 0:
                samples, used_sums = line[column + first :], sums[first:]
                for i in range(last - first):
                    used_sums[i] += value * samples[i]
            else:
                for i in range(first, last):
                    sums[i] += value * line[column - i]


@compiled
@no_type_check
def _weigh_everywhere(padded, values, total, first_kernel, last_kernel):
    """Sum, for some kernels, the windows of their own source at all positions, each times its value.

    Args:
        padded: float32 or float64 [batch, kernels, height + extent - 1, width + extent - 1], the padded sources.
        values: array of the same dtype, [batch, kernels, height, width], the values.
        total: array of the same dtype, [kernels, extent, extent], the sums; modified in place.
        first_kernel: int64, first kernel.
        last_kernel: int64, kernel after the last.
    """
    batch, _, height, width = values.shape
    extent = total.shape[1]
    columns = np.empty((extent, extent, width), padded.dtype)
    for kernel in range(first_kernel, last_kernel):
        columns[:] = 0
        for example in range(batch):
            for row in range(height):
                amounts = values[example, kernel, row]
                for j in range(extent):
                    line = padded[example, kernel, row + j]
                    for i in range(extent):
                        samples, sums = line[i:], columns[j, i]
                        for column in range(width):
                            sums[column] += amounts[column] * samples[column]
        for j in range(extent):
            for i in range(extent):
                total[kernel, j, i] = columns[j, i].sum()

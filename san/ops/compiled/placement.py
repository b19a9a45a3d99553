"""Correlations, and kernels at positions: maps and sources [batch, channels, height, width], height 1 for signals."""

from typing import Any, no_type_check

import numpy as np
from numpy.typing import NDArray

from san.ops.compiled.threads import compiled, share

__all__ = ["correlate", "gather", "place", "weigh", "weigh_everywhere"]

Array = NDArray[Any]

BLOCK = 2048  # samples that stay in the nearest cache while the taps of a kernel pass over them


def correlate(padded: Array, weight: Array, sizes: Array) -> Array:
    """Correlate signals [batch, samples + extent - 1] with each kernel: equal windows give equal results."""
    n = padded.shape[1] - weight.shape[1] + 1
    out = np.empty((len(padded), len(weight), n), padded.dtype)
    rows = len(padded) * len(weight)
    work = len(padded) * n * int(sizes.sum()) // 8
    share(rows, work, lambda *part: _correlate(padded, weight, sizes, out, *part))
    return out


def gather(source: Array, weight: Array, index: Array, sizes: Array, sign: int) -> Array:
    """Return the scalar product of a kernel and the source at each position."""
    values = np.empty(len(index), source.dtype)
    share(len(index), _work(index, sizes), lambda *part: _gather(source, weight, index, sizes, sign, values, *part))
    return values


def place(values: Array, weight: Array, index: Array, sizes: Array, sign: int, shape: tuple[int, ...]) -> Array:
    """Add each value times its kernel at its position."""
    target = np.zeros(shape, weight.dtype)
    channels = index[:, 0] * shape[1] + index[:, 1] // (len(sizes) // shape[1])
    share(
        len(index),
        _work(index, sizes),
        lambda *part: _place(values, weight, index, sizes, sign, target, *part),
        channels,
    )
    return target


def weigh(values: Array, source: Array, index: Array, sizes: Array, sign: int, extent: int) -> Array:
    """Add up, for each kernel, the windows of the source at its positions, each times its value."""
    total = np.zeros((len(sizes), extent if source.shape[2] > 1 else 1, extent), source.dtype)
    work = _work(index, sizes)
    share(len(sizes), work, lambda *part: _weigh(values, source, index, sizes, sign, total, *part))
    return total


def weigh_everywhere(padded: Array, values: Array, extent: int) -> Array:
    """Do as weigh does for a value at each sample of every map, each of which has a source of its own."""
    total = np.zeros((values.shape[1], extent, extent), padded.dtype)
    share(len(total), values.size * extent, lambda *part: _weigh_everywhere(padded, values, total, *part))
    return total


def _work(index: Array, sizes: Array) -> int:
    return len(index) * int(sizes.mean()) ** (1 if index[-1:, 2].sum() == 0 else 2)


@compiled
@no_type_check
def _correlate(padded, weight, sizes, out, start, end):
    n_kernels, n = out.shape[1:]
    before = (weight.shape[1] - 1) // 2
    for row in range(start, end):
        batch, kernel = row // n_kernels, row % n_kernels
        first = before - (sizes[kernel] - 1) // 2
        last = first + sizes[kernel]
        taps = weight[kernel]
        for origin in range(0, n, BLOCK):
            count = min(BLOCK, n - origin)
            part, line = out[batch, kernel, origin:], padded[batch, origin:]
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
    """Add four shifted copies of a line, each times its tap, in one pass."""
    second, third, fourth = line[1:], line[2:], line[3:]
    one, two, three, four = taps[0], taps[1], taps[2], taps[3]
    for at in range(count):
        part[at] += one * line[at] + two * second[at] + three * third[at] + four * fourth[at]


@compiled
@no_type_check
def _bounds(position, length, size, extent, sign):
    """Return the range of the samples of a kernel, inside its padding, that fall inside the source, and its origin.

    Sample j of the padded kernel falls on position + sign * (j - before).
    """
    before = (extent - 1) // 2
    start = before - (size - 1) // 2
    origin = position - sign * before
    if sign > 0:
        return max(start, -origin), min(start + size, length - origin), origin
    return max(start, origin - length + 1), min(start + size, origin + 1), origin


@compiled
@no_type_check
def _gather(source, weight, index, sizes, sign, values, start, end):
    height, width = source.shape[2:]
    down, extent = weight.shape[1:]
    per_channel = len(sizes) // source.shape[1]
    for one in range(start, end):
        batch, kernel = index[one, 0], index[one, 1]
        channel = source[batch, kernel // per_channel]
        top, bottom, row = _bounds(index[one, 2], height, min(sizes[kernel], down), down, sign)
        first, last, column = _bounds(index[one, 3], width, sizes[kernel], extent, sign)
        total = source.dtype.type(0)
        for j in range(top, bottom):
            line, taps = channel[row + sign * j], weight[kernel, j]
            if sign > 0:
                ahead, near = line[column + first :], taps[first:]
                for i in range(last - first):
                    total += ahead[i] * near[i]
            else:
                for i in range(first, last):
                    total += line[column - i] * taps[i]
        values[one] = total


@compiled
@no_type_check
def _place(values, weight, index, sizes, sign, target, start, end):
    height, width = target.shape[2:]
    down, extent = weight.shape[1:]
    per_channel = len(sizes) // target.shape[1]
    for one in range(start, end):
        batch, kernel = index[one, 0], index[one, 1]
        channel = target[batch, kernel // per_channel]
        top, bottom, row = _bounds(index[one, 2], height, min(sizes[kernel], down), down, sign)
        first, last, column = _bounds(index[one, 3], width, sizes[kernel], extent, sign)
        value = values[one]
        for j in range(top, bottom):
            line, taps = channel[row + sign * j], weight[kernel, j]
            if sign > 0:
                ahead, near = line[column + first :], taps[first:]
                for i in range(last - first):
                    ahead[i] += value * near[i]
            else:
                for i in range(first, last):
                    line[column - i] += value * taps[i]


@compiled
@no_type_check
def _weigh(values, source, index, sizes, sign, target, first_kernel, last_kernel):
    height, width = source.shape[2:]
    down, extent = target.shape[1:]
    per_channel = len(sizes) // source.shape[1]
    for one in range(len(index)):
        batch, kernel = index[one, 0], index[one, 1]
        if not first_kernel <= kernel < last_kernel:
            continue
        channel = source[batch, kernel // per_channel]
        top, bottom, row = _bounds(index[one, 2], height, min(sizes[kernel], down), down, sign)
        first, last, column = _bounds(index[one, 3], width, sizes[kernel], extent, sign)
        value = values[one]
        for j in range(top, bottom):
            line, taps = channel[row + sign * j], target[kernel, j]
            if sign > 0:
                ahead, near = line[column + first :], taps[first:]
                for i in range(last - first):
                    near[i] += value * ahead[i]
            else:
                for i in range(first, last):
                    taps[i] += value * line[column - i]


@compiled
@no_type_check
def _weigh_everywhere(padded, values, total, first_kernel, last_kernel):
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
                        ahead, sums = line[i:], columns[j, i]
                        for column in range(width):
                            sums[column] += amounts[column] * ahead[column]
        for j in range(extent):
            for i in range(extent):
                total[kernel, j, i] = columns[j, i].sum()

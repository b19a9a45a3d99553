"""The operators on the CPU, compiled by numba, the rows shared among threads.

Maps are arrays [rows, height, width], so that signals (width 1) and images run through the same code.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any, no_type_check

import numba
import numpy as np
import torch
from numpy.typing import NDArray

__all__ = [
    "correlate",
    "extrema",
    "extrema_pool_indices",
    "gather",
    "place",
    "topk_absolutes",
    "weigh",
    "weigh_everywhere",
]

Array = NDArray[Any]

FAST = {"contract"}  # a product and a sum may be rounded once; all sums are taken in the order written
BLOCK = 2048  # samples that stay in the nearest cache while the taps of a kernel pass over them
GRAIN = 20_000  # samples or multiplications for which another thread is worth its start


def _compiled(function: Any) -> Any:
    """Compile on the first call, without the interpreter's lock, and keep the result on disk where that can be."""
    try:
        return numba.njit(nogil=True, error_model="numpy", fastmath=FAST, cache=True)(function)
    except RuntimeError:  # there is no folder that can be written
        return numba.njit(nogil=True, error_model="numpy", fastmath=FAST)(function)


def extrema(maps: Array, distances: Array, one_dimension: bool, require_sign: bool) -> NDArray[np.bool_]:
    """Mark the primary extrema of each row, given its minimum distance."""
    keep = np.zeros(maps.shape, np.bool_)
    _share(len(maps), maps.size, lambda *part: _extrema(maps, keep, distances, one_dimension, require_sign, *part))
    return keep


def extrema_pool_indices(maps: Array, sides: Array, one_dimension: bool, ceil_mode: bool) -> NDArray[np.bool_]:
    """Mark the largest absolute value of each cell of each row, given the side of its cells."""
    keep = np.zeros(maps.shape, np.bool_)
    _share(len(maps), maps.size, lambda *part: _largest_of_cells(maps, keep, sides, one_dimension, ceil_mode, *part))
    return keep


def topk_absolutes(maps: Array, counts: Array) -> NDArray[np.bool_]:
    """Mark the largest absolute values of each row, given how many."""
    keep = np.zeros(maps.shape, np.bool_)
    _share(len(maps), 8 * maps.size, lambda *part: _largest(maps, keep, counts, *part))
    return keep


def correlate(padded: Array, weight: Array, sizes: Array) -> Array:
    """Correlate signals [batch, samples + extent - 1] with each kernel: equal windows give equal results."""
    n = padded.shape[1] - weight.shape[1] + 1
    out = np.empty((len(padded), len(weight), n), padded.dtype)
    rows = len(padded) * len(weight)
    work = len(padded) * n * int(sizes.sum()) // 8
    _share(rows, work, lambda *part: _correlate(padded, weight, sizes, out, *part))
    return out


def gather(source: Array, weight: Array, index: Array, sizes: Array, sign: int) -> Array:
    """Return the scalar product of a kernel and the source at each position."""
    values = np.empty(len(index), source.dtype)
    _share(len(index), _work(index, sizes), lambda *part: _gather(source, weight, index, sizes, sign, values, *part))
    return values


def place(values: Array, weight: Array, index: Array, sizes: Array, sign: int, shape: tuple[int, ...]) -> Array:
    """Add each value times its kernel at its position."""
    target = np.zeros(shape, weight.dtype)
    channels = index[:, 0] * shape[1] + index[:, 1] // (len(sizes) // shape[1])
    _share(
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
    _share(len(sizes), work, lambda *part: _weigh(values, source, index, sizes, sign, total, *part))
    return total


def weigh_everywhere(padded: Array, values: Array, extent: int) -> Array:
    """Do as weigh does for a value at each sample of every map, each of which has a source of its own."""
    total = np.zeros((values.shape[1], extent, extent), padded.dtype)
    _share(len(total), values.size * extent, lambda *part: _weigh_everywhere(padded, values, total, *part))
    return total


def _work(index: Array, sizes: Array) -> int:
    return len(index) * int(sizes.mean()) ** (1 if index[-1:, 2].sum() == 0 else 2)


def _share(n: int, work: int, task: Callable[[int, int], None], groups: Array | None = None) -> None:
    """Do a task on ranges of n items, in threads where there is enough to do; no group of items is divided."""
    n_threads = max(1, min(torch.get_num_threads(), work // GRAIN, n))
    if n_threads == 1:
        task(0, n)
        return
    ends = [n * part // n_threads for part in range(n_threads + 1)]
    if groups is not None:
        ends[1:-1] = [int(np.searchsorted(groups, groups[end])) for end in ends[1:-1]]
    others = [_pool(n_threads).submit(task, *part) for part in pairwise(ends[1:])]
    task(ends[0], ends[1])
    for other in others:
        other.result()


@cache
def _pool(n_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_threads)


os.register_at_fork(after_in_child=_pool.cache_clear)


@_compiled
@no_type_check
def _extrema(maps, keep, distances, one_dimension, require_sign, start, end):
    height, width = maps.shape[1:]
    farthest = 0
    for index in range(start, end):
        farthest = max(farthest, distances[index])
    rows_most, columns_most = min(farthest, height - 1), min(farthest, width - 1)
    size = (height + 2 * rows_most) * (width + columns_most) + 2 * columns_most
    left = np.empty(size, maps.dtype)
    first, second = np.empty(size, maps.dtype), np.empty(size, maps.dtype)
    third, fourth = np.empty(size, maps.dtype), np.empty(size, maps.dtype)
    wins = np.empty(size, np.bool_)
    rows, columns = np.empty(size + 1, np.int64), np.empty(height * width, np.int64)
    values = np.empty(height * width, maps.dtype)
    none = maps.dtype.type(-1)
    for index in range(start, end):
        over_rows, over_columns = min(distances[index], height - 1), min(distances[index], width - 1)
        stride = width + over_columns
        span = height * stride
        origin = over_rows * stride + over_columns
        left[: span + 2 * over_rows * stride + 2 * over_columns] = none
        core = left[origin:]
        if one_dimension:
            _candidates_of_line(maps[index, :, 0], core, require_sign, none)
        else:
            _candidates_of_image(maps[index], core, stride, require_sign, none)
        # One round on all samples: what exceeds all before it and is exceeded by none after it is certain to stay.
        for at in range(span):
            wins[at] = core[at] >= 0
        if over_rows > 0:
            n_lines = span + (over_rows + 1) * stride
            lines = _maximum_ahead(left, first, second, n_lines + (over_rows - 1) * stride, 2 * over_columns + 1, 1)
            window = _maximum_ahead(lines, third, fourth, n_lines, over_rows, stride)
            _only_first(core, window, window[(over_rows + 1) * stride :], wins, span)
        if over_columns > 0:
            window = _maximum_ahead(left, first, second, origin + 1 + span, over_columns, 1)
            _only_first(core, window[over_rows * stride :], window[origin + 1 :], wins, span)
        for at in range(span):
            if wins[at]:
                keep[index, at // stride, at % stride] = True
                if over_columns == 0:
                    left[at : at + 2 * over_rows + 1] = none
                else:
                    for corner in range(at, at + (2 * over_rows + 1) * stride, stride):
                        left[corner : corner + 2 * over_columns + 1] = none
        # What is left is little: the other rounds go through a list of it.
        count = 0
        for at in range(span):
            rows[count] = at
            count += core[at] >= 0
        for one in range(count):
            at = rows[one]
            rows[one], columns[one], values[one] = at // stride, at % stride, core[at]
        while count > 0:
            count = _settle(rows, columns, values, wins, keep[index], over_rows, over_columns, count)


@_compiled
@no_type_check
def _settle(rows, columns, values, near, keep, over_rows, over_columns, count):
    """Keep the candidates that come first within the distance, drop what is near them, and count what is left."""
    for one in range(count):
        row, column, value = rows[one], columns[one], values[one]
        stays = True
        other = one + 1
        while stays and other < count and rows[other] - row <= over_rows:
            stays = abs(columns[other] - column) > over_columns or values[other] <= value
            other += 1
        other = one - 1
        while stays and other >= 0 and row - rows[other] <= over_rows:
            stays = abs(columns[other] - column) > over_columns or values[other] < value
            other -= 1
        near[one] = False
        if stays:
            keep[row, column] = True
    for one in range(count):
        row, column = rows[one], columns[one]
        if keep[row, column]:
            near[one] = True
            other = one + 1
            while other < count and rows[other] - row <= over_rows:
                near[other] |= abs(columns[other] - column) <= over_columns
                other += 1
            other = one - 1
            while other >= 0 and row - rows[other] <= over_rows:
                near[other] |= abs(columns[other] - column) <= over_columns
                other -= 1
    left = 0
    for one in range(count):
        rows[left], columns[left], values[left] = rows[one], columns[one], values[one]
        left += not near[one]
    return left


@_compiled
@no_type_check
def _candidates_of_line(line, out, require_sign, none):
    length = len(line)
    here, after, inner = line[1:], line[2:], out[1:]
    for at in range(length - 2):
        inner[at] = _candidate(line[at], here[at], after[at], require_sign, none)
    out[0] = _candidate(line[0], line[0], line[min(1, length - 1)], require_sign, none)
    out[length - 1] = _candidate(line[max(length - 2, 0)], line[length - 1], line[length - 1], require_sign, none)


@_compiled
@no_type_check
def _candidate(before, here, after, require_sign, none):
    peak = (here > before) & (after <= here) & ((here > 0) | (not require_sign))
    valley = (here <= before) & (after > here) & ((here <= 0) | (not require_sign))
    return abs(here) if peak | valley else none


@_compiled
@no_type_check
def _candidates_of_image(image, out, stride, require_sign, none):
    height, width = image.shape
    for row in range(height):
        above, line, below = image[max(row - 1, 0)], image[row], image[min(row + 1, height - 1)]
        result = out[row * stride :]
        here, after, over, under, inner = line[1:], line[2:], above[1:], below[1:], result[1:]
        for at in range(width - 2):
            inner[at] = _candidate_of_both(line[at], here[at], after[at], over[at], under[at], require_sign, none)
        for at in (0, width - 1):
            before, beyond = line[max(at - 1, 0)], line[min(at + 1, width - 1)]
            result[at] = _candidate_of_both(before, line[at], beyond, above[at], below[at], require_sign, none)


@_compiled
@no_type_check
def _candidate_of_both(before, here, after, above, below, require_sign, none):
    peak = (here > before) & (after <= here) & (here > above) & (below <= here) & ((here > 0) | (not require_sign))
    valley = (here <= before) & (after > here) & (here <= above) & (below > here) & ((here <= 0) | (not require_sign))
    return abs(here) if peak | valley else none


@_compiled
@no_type_check
def _maximum_ahead(source, one, other, n, length, step):
    """Return the maximum of each sample and the next ones, length in all at that step, by doubling the length."""
    done = 1
    result, spare, third = source, one, other
    while 2 * done <= length:
        _maximum(result, result[done * step :], spare, n + (length - 2 * done) * step)
        result, spare, third = spare, third, spare
        done *= 2
    if length > done:
        _maximum(result, result[(length - done) * step :], spare, n)
        result = spare
    return result


@_compiled
@no_type_check
def _maximum(one, other, out, n):
    for at in range(n):
        out[at] = one[at] if one[at] > other[at] else other[at]


@_compiled
@no_type_check
def _only_first(core, before, after, wins, n):
    for at in range(n):
        wins[at] &= (core[at] > before[at]) & (core[at] >= after[at])


@_compiled
@no_type_check
def _largest_of_cells(maps, keep, sides, one_dimension, ceil_mode, start, end):
    height, width = maps.shape[1:]
    for index in range(start, end):
        side, across = sides[index], 1 if one_dimension else sides[index]
        for top in range(0, height, side):
            bottom = min(top + side, height)
            for first in range(0, width, across):
                last = min(first + across, width)
                if not ceil_mode and (bottom - top < side or last - first < across):
                    continue
                row_of_most, column_of_most, most = top, first, abs(maps[index, top, first])
                for row in range(top, bottom):
                    for column in range(first, last):
                        if abs(maps[index, row, column]) > most:
                            row_of_most, column_of_most, most = row, column, abs(maps[index, row, column])
                keep[index, row_of_most, column_of_most] = True


@_compiled
@no_type_check
def _largest(maps, keep, counts, start, end):
    n = maps.shape[1]
    magnitude = np.empty(n, maps.dtype)
    for index in range(start, end):
        count = min(counts[index], n)
        for at in range(n):
            magnitude[at] = abs(maps[index, at])
        threshold = np.partition(magnitude, n - count)[n - count]
        room = count
        for at in range(n):
            room -= magnitude[at] > threshold
        for at in range(n):
            equal = (magnitude[at] == threshold) & (room > 0)
            room -= equal
            keep[index, at] = equal | (magnitude[at] > threshold)


@_compiled
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


@_compiled
@no_type_check
def _add_four(part, line, taps, count):
    """Add four shifted copies of a line, each times its tap, in one pass."""
    second, third, fourth = line[1:], line[2:], line[3:]
    one, two, three, four = taps[0], taps[1], taps[2], taps[3]
    for at in range(count):
        part[at] += one * line[at] + two * second[at] + three * third[at] + four * fourth[at]


@_compiled
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


@_compiled
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


@_compiled
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


@_compiled
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


@_compiled
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

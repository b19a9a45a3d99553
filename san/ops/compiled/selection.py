"""The selection functions, compiled: from similarity maps to the mask of the kept samples.

The numba functions take maps as rows, one map of one example each: [rows, samples], or [rows, height, width] with
a width of 1 for signals.
"""

from collections.abc import Sequence
from typing import no_type_check

import numpy as np
import torch
from torch import Tensor

from san.ops.compiled.arrays import Array, as_array
from san.ops.compiled.threads import compiled, share
from san.ops.shapes import Bool, Float

__all__ = ["extrema", "extrema_pool_indices", "topk_absolutes"]


def topk_absolutes(
    maps: Float[Tensor, "batch kernels *space"], counts: Sequence[int]
) -> Bool[Tensor, "batch kernels *space"]:
    """Mark the samples of the largest absolute value of each map; see :func:`san.ops.selection.topk_absolutes`."""
    rows, count = as_array(maps.flatten(0, 1).flatten(1)), np.minimum(_per_row(counts, maps), maps[0, 0].numel())
    keep = np.zeros(rows.shape, np.bool_)

    def mark_some(start: int, end: int) -> None:
        part = slice(start, end)
        _mark_largest(rows[part], keep[part], count[part], _smallest_of_largest(rows[part], count[part]))

    share(len(rows), 8 * rows.size, mark_some)
    return torch.from_numpy(keep).view(maps.shape)


def _smallest_of_largest(rows: Array, counts: Array) -> Array:
    """Return the smallest of the largest absolute values of each row; numpy needs no compilation for it.

    Args:
        rows: float32 or float64 [rows, samples], the maps.
        counts: int64 [rows], number of the largest values, <= samples.
    """
    smallest = np.empty(len(rows), rows.dtype)
    for count in np.unique(counts):
        is_row = counts == count
        magnitude = rows[is_row]
        np.abs(magnitude, out=magnitude)
        magnitude.partition(-count, axis=1)
        smallest[is_row] = magnitude[:, -count]
    return smallest


def extrema_pool_indices(
    maps: Float[Tensor, "batch kernels *space"], sides: Sequence[int], ceil_mode: bool
) -> Bool[Tensor, "batch kernels *space"]:
    """Mark the largest sample of each cell of each map; see :func:`san.ops.selection.extrema_pool_indices`."""
    rows, side, is_signal = _rows(maps), _per_row(sides, maps), maps.dim() == 3
    keep = np.zeros(rows.shape, np.bool_)
    share(
        len(rows),
        rows.size,
        lambda *part: _mark_largest_of_cells(rows, keep, side, is_signal, ceil_mode, *part),
    )
    return torch.from_numpy(keep).view(maps.shape)


def extrema(
    maps: Float[Tensor, "batch kernels *space"], distances: Sequence[int], require_sign: bool
) -> Bool[Tensor, "batch kernels *space"]:
    """Mark the primary extrema of each map; see :func:`san.ops.selection.extrema`."""
    rows, distance, is_signal = as_array(maps.flatten(0, 1)), _per_row(distances, maps), maps.dim() == 3
    keep = np.zeros(rows.shape, np.bool_)
    mark = _mark_extrema_of_signals if is_signal else _mark_extrema_of_images
    work = rows.size // 3 if is_signal else rows.size  # a sample of a signal takes a third of the time
    share(len(rows), work, lambda *part: mark(rows, keep, distance, require_sign, *part))
    return torch.from_numpy(keep).view(maps.shape)


def _rows(maps: Tensor) -> Array:
    """Return the maps as rows, [batch * kernels, height, width], with a width of 1 for signals."""
    batch, kernels, height, *width = maps.shape
    return as_array(maps).reshape(batch * kernels, height, *width or [1])


def _per_row(numbers: Sequence[int], maps: Tensor) -> Array:
    """Return the number of the kernel of each row, int64 [batch * kernels]."""
    return np.tile(np.asarray(numbers, dtype=np.int64), len(maps))


@compiled
@no_type_check
def _mark_largest(maps, keep, counts, smallest):
    """Mark the samples of the largest absolute value of each row; ties go to the lowest index.

    Args:
        maps: float32 or float64 [rows, samples], the maps.
        keep: bool [rows, samples], the mask; modified in place.
        counts: int64 [rows], number of samples to mark.
        smallest: array of the maps' dtype, [rows], the smallest absolute value to mark.
    """
    rows, n = maps.shape
    for index in range(rows):
        threshold, room = smallest[index], counts[index]
        for at in range(n):
            room -= abs(maps[index, at]) > threshold
        for at in range(n):
            magnitude = abs(maps[index, at])
            equal = (magnitude == threshold) & (room > 0)
            room -= equal
            keep[index, at] = equal | (magnitude > threshold)


@compiled
@no_type_check
def _mark_largest_of_cells(maps, keep, sides, is_signal, ceil_mode, start, end):
    """Mark the sample of the largest absolute value in each cell of some rows; ties go to the lowest index.

    Args:
        maps: float32 or float64 [rows, height, width], the maps.
        keep: bool [rows, height, width], the mask, zero before; modified in place.
        sides: int64 [rows], side of a cell in samples.
        is_signal: bool, whether cells have a width of 1.
        ceil_mode: bool, whether samples past the last whole cell form a smaller cell.
        start: int64, first row.
        end: int64, row after the last.
    """
    height, width = maps.shape[1:]
    for index in range(start, end):
        side, across = sides[index], 1 if is_signal else sides[index]
        for top in range(0, height, side):
            bottom = min(top + side, height)
            for first in range(0, width, across):
                last = min(first + across, width)
                if not ceil_mode and (bottom - top < side or last - first < across):
                    continue
                best_row, best_column, maximum = top, first, abs(maps[index, top, first])
                for row in range(top, bottom):
                    for column in range(first, last):
                        if abs(maps[index, row, column]) > maximum:
                            best_row, best_column, maximum = row, column, abs(maps[index, row, column])
                keep[index, best_row, best_column] = True


@compiled
@no_type_check
def _mark_extrema_of_signals(maps, keep, distances, require_sign, start, end):
    """Mark the primary extrema of some signals, in one pass.

    From an undecided candidate, climb to the highest one ahead within the distance of the highest so far, until there
    is none. The top of the climb is kept: the candidates behind it are lower, or too far away. Then each step of the
    climb is kept, from the last to the first, that is farther from the kept one ahead of it than the distance: it is
    the highest one behind, and the candidates between the two are within the distance of either.

    Args:
        maps: float32 or float64 [rows, samples], the maps.
        keep: bool [rows, samples], the mask, zero before; modified in place.
        distances: int64 [rows], minimum extrema distance in samples.
        require_sign: bool, whether to exclude negative local maxima and positive local minima.
        start: int64, first row.
        end: int64, row after the last.
    """
    length = maps.shape[1]
    none = maps.dtype.type(-1)
    candidates, steps = np.empty(length, maps.dtype), np.empty(length, np.int64)
    for index in range(start, end):
        distance = min(distances[index], length)
        _find_candidates_of_line(maps[index], candidates, require_sign, none)
        at = 0
        while at < length:
            count, top, highest = 0, at, none
            while at < length and at - top <= distance:
                if candidates[at] > highest:
                    steps[count], top, highest = at, at, candidates[at]
                    count += 1
                at += 1
            ahead = length + distance
            for step in steps[:count][::-1]:
                if ahead - step > distance:
                    keep[index, step] = True
                    ahead = step


@compiled
@no_type_check
def _mark_extrema_of_images(maps, keep, distances, require_sign, start, end):
    """Mark the primary extrema of some images.

    The candidates of an image lie in one flat buffer, whose lines are `stride` samples apart. A border of -1 as wide as
    the distance surrounds the lines, so that no window has to be cropped.

    Args:
        maps: float32 or float64 [rows, height, width], the maps.
        keep: bool [rows, height, width], the mask, zero before; modified in place.
        distances: int64 [rows], minimum extrema distance in samples.
        require_sign: bool, whether to exclude negative local maxima and positive local minima.
        start: int64, first row.
        end: int64, row after the last.
    """
    height, width = maps.shape[1:]
    farthest = 0
    for index in range(start, end):
        farthest = max(farthest, distances[index])
    max_reach_rows, max_reach_columns = min(farthest, height - 1), min(farthest, width - 1)
    size = (height + 2 * max_reach_rows) * (width + max_reach_columns) + 2 * max_reach_columns
    remaining = np.empty(size, maps.dtype)
    first, second = np.empty(size, maps.dtype), np.empty(size, maps.dtype)
    third, fourth = np.empty(size, maps.dtype), np.empty(size, maps.dtype)
    wins = np.empty(size, np.bool_)
    rows, columns = np.empty(size + 1, np.int64), np.empty(height * width, np.int64)
    values = np.empty(height * width, maps.dtype)
    none = maps.dtype.type(-1)
    for index in range(start, end):
        reach_rows, reach_columns = min(distances[index], height - 1), min(distances[index], width - 1)
        stride = width + reach_columns
        span = height * stride
        origin = reach_rows * stride + reach_columns
        remaining[: span + 2 * reach_rows * stride + 2 * reach_columns] = none
        core = remaining[origin:]
        _find_candidates_of_image(maps[index], core, stride, require_sign, none)
        # The first round visits all samples: a candidate above all earlier ones and not below any later one within the
        # distance is certain to be kept.
        for at in range(span):
            wins[at] = core[at] >= 0
        if reach_rows > 0:
            n_lines = span + (reach_rows + 1) * stride
            lines = _maximum_ahead(
                remaining, first, second, n_lines + (reach_rows - 1) * stride, 2 * reach_columns + 1, 1
            )
            window = _maximum_ahead(lines, third, fourth, n_lines, reach_rows, stride)
            _keep_wins(core, window, window[(reach_rows + 1) * stride :], wins, span)
        if reach_columns > 0:
            window = _maximum_ahead(remaining, first, second, origin + 1 + span, reach_columns, 1)
            _keep_wins(core, window[reach_rows * stride :], window[origin + 1 :], wins, span)
        for at in range(span):
            if wins[at]:
                keep[index, at // stride, at % stride] = True
                for corner in range(at, at + (2 * reach_rows + 1) * stride, stride):
                    remaining[corner : corner + 2 * reach_columns + 1] = none
        # Few candidates remain: the other rounds visit a list of them.
        count = 0
        for at in range(span):
            rows[count] = at
            count += core[at] >= 0
        for one in range(count):
            at = rows[one]
            rows[one], columns[one], values[one] = at // stride, at % stride, core[at]
        while count > 0:
            count = _keep_first_of_list(rows, columns, values, wins, keep[index], reach_rows, reach_columns, count)


@compiled
@no_type_check
def _keep_first_of_list(rows, columns, values, excluded, keep, reach_rows, reach_columns, count):
    """Keep the candidates that precede all others within the distance, and remove the candidates near them.

    Args:
        rows: int64 [>= count], row of each candidate, in the order of their positions; modified in place.
        columns: int64 [>= count], column of each candidate; modified in place.
        values: float32 or float64 [>= count], absolute value of each candidate; modified in place.
        excluded: bool [>= count], space for the candidates to remove; modified in place.
        keep: bool [height, width], the mask; modified in place.
        reach_rows: int64, distance along the rows' axis in samples.
        reach_columns: int64, distance along the columns' axis in samples.
        count: int64, number of candidates.

    Returns:
        int64, number of candidates that remain, which are the first ones of the list.
    """
    for one in range(count):
        row, column, value = rows[one], columns[one], values[one]
        stays = True
        other = one + 1
        while stays and other < count and rows[other] - row <= reach_rows:
            stays = abs(columns[other] - column) > reach_columns or values[other] <= value
            other += 1
        other = one - 1
        while stays and other >= 0 and row - rows[other] <= reach_rows:
            stays = abs(columns[other] - column) > reach_columns or values[other] < value
            other -= 1
        excluded[one] = False
        if stays:
            keep[row, column] = True
    for one in range(count):
        row, column = rows[one], columns[one]
        if keep[row, column]:
            excluded[one] = True
            other = one + 1
            while other < count and rows[other] - row <= reach_rows:
                excluded[other] |= abs(columns[other] - column) <= reach_columns
                other += 1
            other = one - 1
            while other >= 0 and row - rows[other] <= reach_rows:
                excluded[other] |= abs(columns[other] - column) <= reach_columns
                other -= 1
    remaining = 0
    for one in range(count):
        rows[remaining], columns[remaining], values[remaining] = rows[one], columns[one], values[one]
        remaining += not excluded[one]
    return remaining


@compiled
@no_type_check
def _find_candidates_of_line(line, out, require_sign, none):
    """Write the absolute value of each peak and valley of a signal.

    Args:
        line: float32 or float64 [samples], the signal.
        out: array of the signal's dtype, [>= samples], absolute value of each candidate; modified in place.
        require_sign: bool, whether to exclude negative local maxima and positive local minima.
        none: scalar of the signal's dtype, written where there is no candidate.
    """
    length = len(line)
    here, after, inner = line[1:], line[2:], out[1:]
    for at in range(length - 2):
        inner[at] = _candidate(line[at], here[at], after[at], require_sign, none)
    out[0] = _candidate(line[0], line[0], line[min(1, length - 1)], require_sign, none)
    out[length - 1] = _candidate(line[max(length - 2, 0)], line[length - 1], line[length - 1], require_sign, none)


@compiled
@no_type_check
def _candidate(before, here, after, require_sign, none):
    """Return the absolute value of a sample that is a peak or a valley.

    Args:
        before: float32 or float64, the sample before.
        here: scalar of the same dtype, the sample.
        after: scalar of the same dtype, the sample after.
        require_sign: bool, whether to exclude negative local maxima and positive local minima.
        none: scalar of the same dtype, returned if the sample is no candidate.

    Returns:
        Scalar of the same dtype.
    """
    peak = (here > before) & (after <= here) & ((here > 0) | (not require_sign))
    valley = (here <= before) & (after > here) & ((here <= 0) | (not require_sign))
    return abs(here) if peak | valley else none


@compiled
@no_type_check
def _find_candidates_of_image(image, out, stride, require_sign, none):
    """Write the absolute value of each peak and valley along both axes of an image.

    Args:
        image: float32 or float64 [height, width], the image.
        out: array of the image's dtype, [>= height * stride], absolute value of each candidate; modified in place.
        stride: int64, samples between two lines of `out`.
        require_sign: bool, whether to exclude negative local maxima and positive local minima.
        none: scalar of the image's dtype, written where there is no candidate.
    """
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


@compiled
@no_type_check
def _candidate_of_both(before, here, after, above, below, require_sign, none):
    """Return the absolute value of a sample that is a peak or a valley along both axes.

    Args:
        before: float32 or float64, the sample before in the row.
        here: scalar of the same dtype, the sample.
        after: scalar of the same dtype, the sample after in the row.
        above: scalar of the same dtype, the sample before in the column.
        below: scalar of the same dtype, the sample after in the column.
        require_sign: bool, whether to exclude negative local maxima and positive local minima.
        none: scalar of the same dtype, returned if the sample is no candidate.

    Returns:
        Scalar of the same dtype.
    """
    peak = (here > before) & (after <= here) & (here > above) & (below <= here) & ((here > 0) | (not require_sign))
    valley = (here <= before) & (after > here) & (here <= above) & (below > here) & ((here <= 0) | (not require_sign))
    return abs(here) if peak | valley else none


@compiled
@no_type_check
def _maximum_ahead(source, one, other, n, length, step):
    """Return the maximum of each sample and the samples that follow it at equal steps, by doubling the window.

    Args:
        source: float32 or float64 [>= n + (length - 1) * step], the samples.
        one: array of the same dtype and size, space for a result; modified in place.
        other: array of the same dtype and size, space for a result; modified in place.
        n: int64, number of results.
        length: int64, samples of the window, >= 1.
        step: int64, distance between two samples of the window.

    Returns:
        Array of the same dtype, the maximum of each window in its first n samples: `source`, `one` or `other`.
    """
    doubled = 1
    result, spare, third = source, one, other
    while 2 * doubled <= length:
        _pairwise_maximum(result, result[doubled * step :], spare, n + (length - 2 * doubled) * step)
        result, spare, third = spare, third, spare
        doubled *= 2
    if length > doubled:
        _pairwise_maximum(result, result[(length - doubled) * step :], spare, n)
        result = spare
    return result


@compiled
@no_type_check
def _pairwise_maximum(one, other, out, n):
    """Write the maximum of each two samples.

    Args:
        one: float32 or float64 [>= n], the first samples.
        other: array of the same dtype, [>= n], the second samples.
        out: array of the same dtype, [>= n], the maxima; modified in place.
        n: int64, number of samples.
    """
    for at in range(n):
        out[at] = one[at] if one[at] > other[at] else other[at]


@compiled
@no_type_check
def _keep_wins(core, before, after, wins, n):
    """Clear the mark of each sample that does not precede all samples of its windows.

    Args:
        core: float32 or float64 [>= n], the samples.
        before: array of the same dtype, [>= n], maximum of the window before each sample.
        after: array of the same dtype, [>= n], maximum of the window after each sample.
        wins: bool [>= n], the marks; modified in place.
        n: int64, number of samples.
    """
    for at in range(n):
        wins[at] &= (core[at] > before[at]) & (core[at] >= after[at])

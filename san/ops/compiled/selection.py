"""The selection functions: maps [rows, height, width], of which signals have a width of 1, to masks of what is kept."""

from typing import Any, no_type_check

import numpy as np
from numpy.typing import NDArray

from san.ops.compiled.threads import compiled, share

__all__ = ["extrema", "extrema_pool_indices", "topk_absolutes"]

Array = NDArray[Any]


def extrema(maps: Array, distances: Array, one_dimension: bool, require_sign: bool) -> NDArray[np.bool_]:
    """Mark the primary extrema of each row, given its minimum distance."""
    keep = np.zeros(maps.shape, np.bool_)
    share(len(maps), maps.size, lambda *part: _extrema(maps, keep, distances, one_dimension, require_sign, *part))
    return keep


def extrema_pool_indices(maps: Array, sides: Array, one_dimension: bool, ceil_mode: bool) -> NDArray[np.bool_]:
    """Mark the largest absolute value of each cell of each row, given the side of its cells."""
    keep = np.zeros(maps.shape, np.bool_)
    share(len(maps), maps.size, lambda *part: _largest_of_cells(maps, keep, sides, one_dimension, ceil_mode, *part))
    return keep


def topk_absolutes(maps: Array, counts: Array) -> NDArray[np.bool_]:
    """Mark the largest absolute values of each row, given how many."""
    keep = np.zeros(maps.shape, np.bool_)
    share(len(maps), 8 * maps.size, lambda *part: _largest(maps, keep, counts, *part))
    return keep


@compiled
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


@compiled
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


@compiled
@no_type_check
def _candidates_of_line(line, out, require_sign, none):
    length = len(line)
    here, after, inner = line[1:], line[2:], out[1:]
    for at in range(length - 2):
        inner[at] = _candidate(line[at], here[at], after[at], require_sign, none)
    out[0] = _candidate(line[0], line[0], line[min(1, length - 1)], require_sign, none)
    out[length - 1] = _candidate(line[max(length - 2, 0)], line[length - 1], line[length - 1], require_sign, none)


@compiled
@no_type_check
def _candidate(before, here, after, require_sign, none):
    peak = (here > before) & (after <= here) & ((here > 0) | (not require_sign))
    valley = (here <= before) & (after > here) & ((here <= 0) | (not require_sign))
    return abs(here) if peak | valley else none


@compiled
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


@compiled
@no_type_check
def _candidate_of_both(before, here, after, above, below, require_sign, none):
    peak = (here > before) & (after <= here) & (here > above) & (below <= here) & ((here > 0) | (not require_sign))
    valley = (here <= before) & (after > here) & (here <= above) & (below > here) & ((here <= 0) | (not require_sign))
    return abs(here) if peak | valley else none


@compiled
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


@compiled
@no_type_check
def _maximum(one, other, out, n):
    for at in range(n):
        out[at] = one[at] if one[at] > other[at] else other[at]


@compiled
@no_type_check
def _only_first(core, before, after, wins, n):
    for at in range(n):
        wins[at] &= (core[at] > before[at]) & (core[at] >= after[at])


@compiled
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


@compiled
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

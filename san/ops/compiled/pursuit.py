"""Greedy encoding that lowers phi, for each example and each model a search of its own.

An *atom* is a kernel as it is put back at one position, cut off at the borders of the example. The search holds, of all
atoms, the correlation with what is not yet described, and of each block of positions the highest gain, in a tree, so
that finding the best atom and changing its amplitude cost as much as the atom is long, however long the example is.

It is one file because numba does not see that a function of another file, which it has compiled in, is changed.
"""

from typing import Any, NamedTuple, no_type_check

import numpy as np
from numpy.typing import NDArray

from san.ops.compiled.threads import compiled, share

__all__ = ["pursue"]

Array = NDArray[Any]
BLOCK = 64  # positions of which the highest gain is kept
LEAST_ENERGY = 1e-3  # of a kernel, that of an atom at the border: less of it would take amplitudes without measure
SMALLEST_CHANGE = 1e-2  # of an amplitude while atoms are taken, relative to the largest sample of the example
REFITS = 2  # sweeps over the amplitudes of the atoms that overlap a new one
SMALLEST_GAIN = 1e-5  # of phi, by all that is done to all atoms, for which it is done again
SAME = 1e-6  # of an amplitude, a change that makes no difference
REACH = 2  # samples by which an atom is moved at a time
DROPPED = 0.6  # of the atoms near a place, about, by a perturbation
LOTS = 61  # that are drawn for the atoms near a place
NEAR = 0.8  # of the gain of an atom: another one in its place is tried if it has so much


class Search(NamedTuple):
    """What is known of the model, and what changes as atoms are found."""

    atoms: Array  # [kernels, rows, columns], padded at the end
    sizes: Array  # [kernels, 2]
    offsets: Array  # [kernels, 2]: samples of an atom before its position
    overlaps: Array  # [kernels, kernels, 2 * rows - 1, 2 * columns - 1]: products of whole atoms
    residual: Array  # [rows, columns]
    correlation: Array  # [kernels, rows, columns]
    inverse: Array  # of the energy of an atom inside the example; 0 where it is not to be used
    amplitude: Array
    active: Array  # whether it is one of the atoms of the description
    settled: Array  # whether nothing near it has changed since it was refined
    tree: Array  # maxima of blocks of positions, and of pairs of them; the root is 1
    whole: Array  # [1]: whether atoms are looked for in the whole example, by the tree, and not in an area
    loss: Array  # [2]: of the residual, and of the example
    work: Array  # [1]: multiplications so far
    squared: bool  # whether the loss is the squared error


def pursue(
    x: Array,
    atoms: Array,
    sizes: Array,
    offsets: Array,
    n_weights: Array,
    beginnings: Array | None = None,
    *,
    squared: bool,
    per_activation: int,
    most: int,
    patience: int,
    refinements: int,
    perturbations: int,
    most_work: float,
) -> Array:
    """Return activation maps, [batch, kernels, rows, columns].

    Args:
        x: The examples, [batch, rows, columns].
        atoms: The kernels as they are put back, [kernels, rows, columns], each padded at the end; those of the first
            model, then of the next.
        sizes: Their rows and columns, [kernels, 2].
        offsets: Rows and columns of them before their position, [kernels, 2].
        n_weights: W of each model.
        beginnings: Activation maps that are refined, too, and kept where phi is then lower, of the shape of those that
            are returned; None for none.
        squared: Whether the loss is the squared error, and not the absolute one.
        per_activation: Numbers that an activation costs.
        most: Activations of an example and model.
        patience: Atoms that are added without a lower phi before the search ends.
        refinements: Times that all atoms are refined, at most.
        perturbations: Times, for each activation, that some atoms near one are dropped and what is near is refined.
        most_work: Multiplications for an example and model, after which no other atom is taken up.
    """
    n_models, batch = len(n_weights), len(x)
    own = len(atoms) // n_models
    maps = np.zeros((batch, len(atoms), *x.shape[1:]))
    models = []  # each without the padding that others need, so that it is encoded as if alone
    for at in range(0, len(atoms), own):
        height, width = sizes[at : at + own].max(0)
        cut = np.ascontiguousarray(atoms[at : at + own, :height, :width])
        models.append((cut, sizes[at : at + own], offsets[at : at + own], _overlaps(cut, sizes[at : at + own])))
    everywhere = (0, x.shape[1], 0, x.shape[2])

    def task(start: int, end: int) -> None:
        for row in range(start, end):
            example, model = divmod(row, n_models)
            of, described = slice(model * own, (model + 1) * own), x[example].astype(np.float64)
            costs = np.array([n_weights[model], per_activation], dtype=np.float64) / x[example].size
            found = []
            for beginning in (None,) if beginnings is None else (None, beginnings[example, of]):
                search = _begin(described.copy(), *models[model], squared)
                if beginning is None:
                    _take(search, costs, most, patience, most_work)
                else:
                    _adopt(search, beginning, most)
                n_active = _refine(search, costs, search.active.sum(), most, refinements, most_work, everywhere)
                found.append((_phi(search, costs, n_active), search))
            _, best = min(found, key=lambda one: one[0])
            places = np.argwhere(best.active)
            draws = np.random.default_rng(0).random((perturbations * len(places), 2 + LOTS))
            _perturb(best, costs, most, places, draws, refinements, most_work)
            maps[example, of] = best.amplitude

    share(n_models * batch, x.size * len(atoms) * 100, task)
    return maps


@compiled
@no_type_check
def _overlaps(atoms, sizes):
    kernels, rows, columns = atoms.shape
    products = np.zeros((kernels, kernels, 2 * rows - 1, 2 * columns - 1))
    for one in range(kernels):
        for other in range(kernels):
            for down in range(1 - sizes[other, 0], sizes[one, 0]):
                for right in range(1 - sizes[other, 1], sizes[one, 1]):
                    total = 0.0
                    for row in range(max(0, down), min(sizes[one, 0], sizes[other, 0] + down)):
                        for column in range(max(0, right), min(sizes[one, 1], sizes[other, 1] + right)):
                            total += atoms[one, row, column] * atoms[other, row - down, column - right]
                    products[one, other, down + rows - 1, right + columns - 1] = total
    return products


@compiled
@no_type_check
def _begin(x, atoms, sizes, offsets, overlaps, squared):
    kernels, shape = len(atoms), (len(atoms), *x.shape)
    leaves = 1
    while leaves * BLOCK < x.size:
        leaves *= 2
    search = Search(
        atoms, sizes, offsets, overlaps, x, np.zeros(shape), np.zeros(shape), np.zeros(shape),
        np.zeros(shape, np.bool_), np.zeros(shape, np.bool_), np.full(2 * leaves, -1.0), np.ones(1, np.bool_),
        np.full(2, _total(x, squared)), np.zeros(1), squared,
    )  # fmt: skip
    for kernel in range(kernels):
        squares = atoms[kernel] ** 2
        for row in range(x.shape[0]):
            top, first_row, last_row = _inside(search, kernel, row, 0)
            for r in range(first_row, last_row):
                for c in range(sizes[kernel, 1]):
                    shift = c - offsets[kernel, 1]
                    for column in range(max(0, -shift), min(x.shape[1], x.shape[1] - shift)):
                        search.correlation[kernel, row, column] += atoms[kernel, r, c] * x[top + r, column + shift]
                        search.inverse[kernel, row, column] += squares[r, c]
        least = LEAST_ENERGY * squares.sum()
        energy = search.inverse[kernel]
        search.inverse[kernel] = np.where(energy > least, 1 / np.maximum(energy, least), 0.0)
    search.work[0] = search.correlation.size * atoms.shape[1] * atoms.shape[2]
    _renew(search, 0, 0, max(x.shape))
    return search


@compiled
@no_type_check
def _take(search, costs, most, patience, most_work):
    """Take the atom that removes most of the squared residual, again and again, and keep the prefix of lowest phi."""
    scale = SMALLEST_CHANGE * np.abs(search.residual).max()
    changed, before = np.zeros((1024, 3), np.int64), np.zeros(1024)
    n_changed, n_active, since = 0, 0, 0
    lowest = _phi(search, costs, 0)
    while n_active < most and since <= patience and search.work[0] < most_work:
        found, kernel, row, column = _best(search)
        if not found:
            break
        search.active[kernel, row, column] = True
        n_active += 1
        for _ in range(REFITS):
            for other in range(len(search.atoms)):
                rows = _overlapping(search, kernel, other, row, 0)
                columns = _overlapping(search, kernel, other, column, 1)
                for r in range(rows[0], rows[1]):
                    for c in range(columns[0], columns[1]):
                        if search.active[other, r, c]:
                            change = search.correlation[other, r, c] * search.inverse[other, r, c]
                            if abs(change) > scale:
                                if n_changed == len(before):
                                    changed = np.concatenate((changed, np.zeros_like(changed)))
                                    before = np.concatenate((before, np.zeros_like(before)))
                                changed[n_changed] = other, r, c
                                before[n_changed] = search.amplitude[other, r, c]
                                n_changed += 1
                                _add(search, other, r, c, change)
        _renew(search, row, column, 2)
        phi = _phi(search, costs, n_active)
        since += 1
        if phi < lowest:
            lowest, n_changed, since = phi, 0, 0
    for index in range(n_changed - 1, -1, -1):
        kernel, row, column = changed[index]
        _add(search, kernel, row, column, before[index] - search.amplitude[kernel, row, column])
    search.active[:] = search.amplitude != 0
    _renew(search, 0, 0, max(search.residual.shape))


@compiled
@no_type_check
def _adopt(search, amplitude, most):
    """Begin with atoms that are given, as far as there may be so many, in the order of their positions."""
    n_active = 0
    for kernel, row, column in np.argwhere(amplitude):
        if n_active < most:
            search.active[kernel, row, column] = True
            _add(search, kernel, row, column, amplitude[kernel, row, column])
            n_active += 1
    _renew(search, 0, 0, max(search.residual.shape))


@compiled
@no_type_check
def _refine(search, costs, n_active, most, refinements, most_work, area):
    """Move, refit and drop the atoms in an area one at a time, and add others; phi never rises."""
    kernels = len(search.atoms)
    top, bottom, left, right = area
    values, masses = np.empty(search.atoms[0].size), np.empty(search.atoms[0].size)
    for _ in range(refinements):
        if search.whole[0]:
            search.loss[0] = _total(search.residual, search.squared)
        before = _phi(search, costs, n_active)
        for kernel in range(kernels):
            for row in range(top, bottom):
                for column in range(left, right):
                    due = search.active[kernel, row, column] and not search.settled[kernel, row, column]
                    if due and search.work[0] < most_work:
                        n_active -= not _settle(search, costs, n_active, kernel, row, column, values, masses)
        while n_active < most and search.work[0] < most_work:
            found, kernel, row, column = _best(search) if search.whole[0] else _best_within(search, area)
            if not found:
                break
            amplitude = _fitted(search, kernel, row, column, values, masses)
            with_it = search.loss[0] + _difference(search, kernel, row, column, amplitude)
            if _phi_of(search, costs, n_active + 1, with_it) >= _phi(search, costs, n_active):
                break
            search.active[kernel, row, column] = True
            _add(search, kernel, row, column, amplitude)
            _renew(search, row, column, 1)
            _unsettle(search, row, column)
            n_active += 1
        if before - _phi(search, costs, n_active) <= SMALLEST_GAIN * before:
            break
    return n_active


@compiled
@no_type_check
def _perturb(search, costs, most, places, draws, refinements, most_work):
    """Drop some atoms near a place and refine what is near, again and again; what does not lower phi is undone."""
    height, width = search.residual.shape
    rows, columns = search.atoms.shape[1:]
    n_active = search.active.sum()
    search.whole[0] = False
    for draw in draws:
        if search.work[0] >= most_work:
            break
        _, row, column = places[int(draw[0] * len(places))]
        area = _around(search, row, column, int((draw[1] + 1) * rows), int((draw[1] + 1) * columns))
        top, left = max(0, area[0] - REACH), max(0, area[2] - REACH)
        bottom, right = min(height, area[1] + REACH), min(width, area[3] + REACH)
        known = search.amplitude[:, top:bottom, left:right].copy()
        loss, phi = search.loss[0], _phi(search, costs, n_active)
        near = _around(search, row, column, int(draw[1] * rows), int(draw[1] * columns))
        n = n_active - _drop(search, near, draw[2:])
        n = _refine(search, costs, n, most, refinements, most_work, area)
        if _phi(search, costs, n) < phi:
            n_active = n
        else:
            for kernel, down, across in np.argwhere(search.amplitude[:, top:bottom, left:right] != known):
                change = known[kernel, down, across] - search.amplitude[kernel, top + down, left + across]
                _add(search, kernel, top + down, left + across, change)
            search.amplitude[:, top:bottom, left:right] = known
            search.active[:, top:bottom, left:right] = known != 0
            search.settled[:, top:bottom, left:right] = True
            search.loss[0] = loss


@compiled
@no_type_check
def _around(search, row, column, down, right):
    """Return the rows and columns, first and behind the last, that are so near to a position."""
    height, width = search.residual.shape
    return max(0, row - down), min(height, row + down + 1), max(0, column - right), min(width, column + right + 1)


@compiled
@no_type_check
def _drop(search, area, lots):
    """Drop the atoms in an area whose lot is low; return how many."""
    count = 0
    for kernel in range(len(search.atoms)):
        for row in range(area[0], area[1]):
            for column in range(area[2], area[3]):
                lot = lots[(5 * kernel + 7 * row + 3 * column) % len(lots)]
                if search.active[kernel, row, column] and lot < DROPPED:
                    search.active[kernel, row, column] = False
                    _add(search, kernel, row, column, -search.amplitude[kernel, row, column])
                    _unsettle(search, row, column)
                    count += 1
    return count


@compiled
@no_type_check
def _settle(search, costs, n_active, kernel, row, column, values, masses):
    """Put an atom where, among its neighbours and with an amplitude that is best there, phi is lowest, or nowhere."""
    kernels, height, width = search.amplitude.shape
    before = search.amplitude[kernel, row, column]
    search.active[kernel, row, column] = False
    _add(search, kernel, row, column, -before)
    without = search.loss[0]
    worth = NEAR * _gain(search, kernel, row, column)
    at = kernel, row, column
    amplitude = _fitted(search, kernel, row, column, values, masses)
    lowest = without + _difference(search, kernel, row, column, amplitude)
    for other in range(kernels):
        for r in range(max(0, row - REACH), min(height, row + REACH + 1)):
            for c in range(max(0, column - REACH), min(width, column + REACH + 1)):
                tried = (other, r, c) != (kernel, row, column) and not search.active[other, r, c]
                if tried and _gain(search, other, r, c) > worth:
                    fitted = _fitted(search, other, r, c, values, masses)
                    loss = without + _difference(search, other, r, c, fitted)
                    if loss < lowest:
                        at, amplitude, lowest = (other, r, c), fitted, loss
    if amplitude == 0 or _phi_of(search, costs, n_active - 1, without) <= _phi_of(search, costs, n_active, lowest):
        _renew(search, row, column, 1)
        _unsettle(search, row, column)
        return False
    search.active[at] = True
    _add(search, at[0], at[1], at[2], amplitude)
    _renew(search, row, column, 2)
    if at != (kernel, row, column) or abs(amplitude - before) > SAME * abs(before):
        _unsettle(search, row, column)
    search.settled[at] = True
    return True


@compiled
@no_type_check
def _unsettle(search, row, column):
    """Tell all atoms that overlap one near a position that they are to be refined again."""
    down, right = search.atoms.shape[1] + REACH, search.atoms.shape[2] + REACH
    search.settled[:, max(0, row - down) : row + down + 1, max(0, column - right) : column + right + 1] = False


@compiled
@no_type_check
def _phi(search, costs, n_active):
    return _phi_of(search, costs, n_active, search.loss[0])


@compiled
@no_type_check
def _phi_of(search, costs, n_active, loss):
    return np.hypot(costs[0] + costs[1] * n_active, loss / search.loss[1])


@compiled
@no_type_check
def _total(residual, squared):
    total = 0.0
    for value in residual.flat:
        total += value * value if squared else abs(value)
    return total


@compiled
@no_type_check
def _gain(search, kernel, row, column):
    """Return by how much an atom would lower the squared residual."""
    return search.correlation[kernel, row, column] ** 2 * search.inverse[kernel, row, column]


@compiled
@no_type_check
def _inside(search, kernel, position, axis):
    """Return where an atom begins, and the range of its samples that are inside the example."""
    start = position - search.offsets[kernel, axis]
    return start, max(0, -start), min(search.sizes[kernel, axis], search.residual.shape[axis] - start)


@compiled
@no_type_check
def _overlapping(search, kernel, other, position, axis):
    """Return the range of the positions at which another kernel overlaps one at a position."""
    start = position - search.offsets[kernel, axis]
    first = start - search.sizes[other, axis] + 1 + search.offsets[other, axis]
    last = start + search.sizes[kernel, axis] + search.offsets[other, axis]
    return max(0, first), min(search.residual.shape[axis], last)


@compiled
@no_type_check
def _add(search, kernel, row, column, change):
    """Change the amplitude of an atom, and with it the residual, its loss and the correlations, but not the tree."""
    _subtract(search, kernel, row, column, change)
    top, first_row, last_row = _inside(search, kernel, row, 0)
    left, first, last = _inside(search, kernel, column, 1)
    whole = first_row == 0 and first == 0 and last_row == search.sizes[kernel, 0] and last == search.sizes[kernel, 1]
    for other in range(len(search.atoms)):
        rows = _overlapping(search, kernel, other, row, 0)
        columns = _overlapping(search, kernel, other, column, 1)
        for r in range(rows[0], rows[1]):
            down, start = r - search.offsets[other, 0] - top, columns[0] - search.offsets[other, 1] - left
            line = search.correlation[other, r]
            known = columns if whole else _whole(search, other, r, columns)
            products = search.overlaps[kernel, other, down + search.atoms.shape[1] - 1]
            shift = start + search.atoms.shape[2] - 1
            for index in range(known[0] - columns[0], known[1] - columns[0]):
                line[columns[0] + index] -= change * products[shift + index]
            for index in range(columns[1] - columns[0]):
                if known[0] <= columns[0] + index < known[1]:
                    continue
                right = start + index
                product = 0.0
                for i in range(max(first_row, down), min(last_row, down + search.sizes[other, 0])):
                    for j in range(max(first, right), min(last, right + search.sizes[other, 1])):
                        product += search.atoms[kernel, i, j] * search.atoms[other, i - down, j - right]
                line[columns[0] + index] -= change * product
        search.work[0] += (rows[1] - rows[0]) * (columns[1] - columns[0])
    search.amplitude[kernel, row, column] += change


@compiled
@no_type_check
def _whole(search, kernel, row, columns):
    """Return the part of a range of columns at which atoms in a row are not cut off."""
    top, width = row - search.offsets[kernel, 0], search.residual.shape[1]
    if top < 0 or top + search.sizes[kernel, 0] > search.residual.shape[0]:
        return columns[1], columns[1]
    first = max(columns[0], search.offsets[kernel, 1])
    last = min(columns[1], width - search.sizes[kernel, 1] + search.offsets[kernel, 1] + 1)
    return min(first, columns[1]), max(last, min(first, columns[1]))


@compiled
@no_type_check
def _subtract(search, kernel, row, column, amount):
    """Take an atom from the residual, so many times, and its loss along."""
    top, first_row, last_row = _inside(search, kernel, row, 0)
    left, first, last = _inside(search, kernel, column, 1)
    search.loss[0] += _difference(search, kernel, row, column, amount)
    for r in range(first_row, last_row):
        for c in range(first, last):
            search.residual[top + r, left + c] -= amount * search.atoms[kernel, r, c]


@compiled
@no_type_check
def _difference(search, kernel, row, column, amount):
    """Return by how much the loss would change if an atom were taken from the residual, so many times."""
    top, first_row, last_row = _inside(search, kernel, row, 0)
    left, first, last = _inside(search, kernel, column, 1)
    total = 0.0
    for r in range(first_row, last_row):
        for c in range(first, last):
            before = search.residual[top + r, left + c]
            after = before - amount * search.atoms[kernel, r, c]
            total += after * after - before * before if search.squared else abs(after) - abs(before)
    return total


@compiled
@no_type_check
def _fitted(search, kernel, row, column, values, masses):
    """Return the amplitude of the lowest loss: for the absolute error a weighted median of residual over kernel."""
    if search.squared:
        return search.correlation[kernel, row, column] * search.inverse[kernel, row, column]
    top, first_row, last_row = _inside(search, kernel, row, 0)
    left, first, last = _inside(search, kernel, column, 1)
    count = 0
    for r in range(first_row, last_row):
        for c in range(first, last):
            if search.atoms[kernel, r, c] != 0:
                values[count] = search.residual[top + r, left + c] / search.atoms[kernel, r, c]
                masses[count] = abs(search.atoms[kernel, r, c])
                count += 1
    search.work[0] += count
    return _weighted_median(values, masses, count)


@compiled
@no_type_check
def _weighted_median(values, masses, count):
    """Return the lower weighted median by selection, which reorders both arrays; 0 of nothing."""
    low, high, half = 0, count, masses[:count].sum() / 2
    while high - low > 1:
        pivot = values[(low + high) // 2]
        less, at, more = low, low, high
        mass_less, mass_equal = 0.0, 0.0
        while at < more:
            if values[at] < pivot:
                mass_less += masses[at]
                values[less], values[at] = values[at], values[less]
                masses[less], masses[at] = masses[at], masses[less]
                less += 1
                at += 1
            elif values[at] > pivot:
                more -= 1
                values[more], values[at] = values[at], values[more]
                masses[more], masses[at] = masses[at], masses[more]
            else:
                mass_equal += masses[at]
                at += 1
        if mass_less >= half and less > low:
            high = less
        elif mass_less + mass_equal >= half or more == high:
            return pivot
        else:
            half -= mass_less + mass_equal
            low = more
    return values[low] if count else 0.0


@compiled
@no_type_check
def _renew(search, row, column, extents):
    """Renew the highest gains of the blocks within so many extents of a kernel of a position, if they are looked at."""
    if not search.whole[0]:
        return
    kernels, height, width = search.correlation.shape
    n = height * width
    correlation, inverse = search.correlation.reshape(kernels, n), search.inverse.reshape(kernels, n)
    active, leaves = search.active.reshape(kernels, n), len(search.tree) // 2
    down, right = extents * search.atoms.shape[1], extents * search.atoms.shape[2]
    left, last, next_block = max(0, column - right), min(width - 1, column + right), 0
    for line in range(max(0, row - down), min(height, row + down + 1)):
        for block in range(max(next_block, (line * width + left) // BLOCK), (line * width + last) // BLOCK + 1):
            highest = -1.0
            for kernel in range(kernels):
                for at in range(block * BLOCK, min(n, (block + 1) * BLOCK)):
                    gain = correlation[kernel, at] ** 2 * inverse[kernel, at]
                    if gain > highest and not active[kernel, at]:
                        highest = gain
            node = leaves + block
            search.tree[node] = highest
            while node > 1:
                node //= 2
                search.tree[node] = max(search.tree[2 * node], search.tree[2 * node + 1])
            next_block = block + 1


@compiled
@no_type_check
def _best(search):
    """Return whether there is an atom to gain by that is not active, and the first of the highest gain."""
    kernels, height, width = search.correlation.shape
    n, leaves, node = height * width, len(search.tree) // 2, 1
    if search.tree[1] <= 0:
        return False, 0, 0, 0
    while node < leaves:
        node = 2 * node if search.tree[2 * node] >= search.tree[2 * node + 1] else 2 * node + 1
    first = (node - leaves) * BLOCK
    for kernel in range(kernels):
        for at in range(first, min(n, first + BLOCK)):
            row, column = at // width, at % width
            if not search.active[kernel, row, column] and _gain(search, kernel, row, column) == search.tree[1]:
                return True, kernel, row, column
    return False, 0, 0, 0


@compiled
@no_type_check
def _best_within(search, area):
    """Return the same of the atoms in an area."""
    best, highest = (False, 0, 0, 0), 0.0
    for kernel in range(len(search.amplitude)):
        for row in range(area[0], area[1]):
            for column in range(area[2], area[3]):
                gain = _gain(search, kernel, row, column)
                if gain > highest and not search.active[kernel, row, column]:
                    best, highest = (True, kernel, row, column), gain
    return best

"""Greedy encoding that lowers phi, compiled; each example and each model has a search of its own.

An *atom* is a kernel, as the decoder places it, at one position, cropped at the borders of the example. The search
stores the correlation of every atom with the residual, and, in a tree, the highest gain of each block of positions.
Finding the best atom and changing its amplitude therefore cost as much as the atom is long, for any length of the
example.

The numba functions are in one file because the disk cache of numba does not see changes of functions in other files.
Signals are images of one row.
"""

from collections.abc import Sequence
from typing import NamedTuple, no_type_check

import numpy as np
import torch
from torch import Tensor

from san.ops.compiled.arrays import Array, as_array
from san.ops.compiled.threads import borrowing, compiled, inner, reordering, share
from san.ops.shapes import Float

__all__ = ["pursue"]

BLOCK_SIZE = 64
"""Positions per leaf of the tree of highest gains. Of atoms with equal gains, the one in the lower block is taken."""

MIN_ENERGY_RATIO = 1e-3
"""Smallest energy of an atom inside the example, relative to its whole kernel, with which it is used. Atoms of less
energy at the border would get unbounded amplitudes."""

MIN_REFIT_CHANGE = 1e-2
"""Smallest change of an amplitude, relative to the largest absolute sample of the example, that is made while atoms are
taken. Smaller values fit more closely and take longer."""

REFIT_SWEEPS = 2
"""Sweeps over the amplitudes of the atoms that overlap a new one, per new atom. More fit more closely and take
longer."""

MIN_PHI_DECREASE = 1e-5
"""Smallest decrease of phi by one refinement of all atoms, relative to phi, after which another refinement follows."""

UNCHANGED_AMPLITUDE = 1e-2
"""Largest relative change of an amplitude after which the neighbours of an atom are not refined again."""

MOVE_RADIUS = 2
"""Samples per axis by which a refinement may move an atom."""

DROP_PROBABILITY = 0.6
"""Probability with which a perturbation drops each atom near its centre."""

DROP_DRAWS = 61
"""Random numbers per perturbation; the atoms near its centre share them by a hash of kernel and position."""

MIN_GAIN_RATIO = 0.8
"""Smallest gain of another atom, relative to the gain of the present one, with which a refinement tries it as a
replacement. Smaller values try more atoms and take longer."""

SAMPLES_AT_ONCE = 32
"""Samples that a loop adds at once; a residual is padded with zeros to a multiple, because the rest takes longer."""

LOSS_DIGITS = 1e-13
"""Difference between the loss of an amplitude and its lower bound, relative to the loss, at which it is the optimum."""


class Search(NamedTuple):
    """The model of a search, which is constant, and its state, which changes as atoms are found.

    The space of the example is [height, width], and [rows, columns] is the largest size of an atom. An atom has a part
    for each channel, but one correlation, amplitude and position. The rows of a channel follow those of the one before.

    Attributes:
        channels: int64, number of channels.
        atoms: float64 [kernels, channels * rows, columns], the kernels as the decoder places them, the part of each
            channel padded with zeros at the end.
        sizes: int64 [kernels, 2], rows and columns of each atom.
        offsets: int64 [kernels, 2], rows and columns of each atom before its position.
        overlaps: float64 [kernels, kernels, 2 * rows - 1, 2 * columns - 1], scalar products of two whole atoms, by the
            position of the second relative to the first.
        residual: float64 [channels * height, width], the example minus its reconstruction.
        correlation: float64 [kernels, height, width], scalar products of each atom and the residual.
        inverse_energy: float64 [kernels, height, width], inverse of the squared norm of each atom inside the example;
            0 for an atom that is not used.
        amplitude: float64 [kernels, height, width], the activation maps.
        active: bool [kernels, height, width], whether an atom belongs to the description.
        refined: bool [kernels, height, width], whether nothing near an atom has changed since its last refinement.
        tree: float64 [2 * leaves], highest gain of each block of positions (the second half) and of each pair of nodes;
            node 1 is the root.
        uses_tree: bool [1], whether atoms are searched in the whole example by the tree; if not, in an area without it.
        loss: float64 [2], loss of the residual, and of the example itself.
        space: float64 [2, channels * rows * columns + SAMPLES_AT_ONCE], space for the residual and an atom
            where the atom is, padded.
        work: float64 [1], multiplications so far.
        squared: bool, whether the loss is the squared error; if not, the absolute error.
    """

    channels: int
    atoms: Array
    sizes: Array
    offsets: Array
    overlaps: Array
    residual: Array
    correlation: Array
    inverse_energy: Array
    amplitude: Array
    active: Array
    refined: Array
    tree: Array
    uses_tree: Array
    loss: Array
    space: Array
    work: Array
    squared: bool


def pursue(
    x: Float[Tensor, "batch channels *space"],
    atoms: Sequence[Tensor],
    *,
    adjoint: bool,
    n_weights: Sequence[int],
    initial_maps: Float[Tensor, "batch kernels *space"] | None,
    squared: bool,
    per_activation: int,
    max_activations: int,
    patience: int,
    refinements: int,
    perturbations: int,
    max_work: float,
) -> Float[Tensor, "batch kernels *space"]:
    """Return activation maps of low phi, computed in float64 on the CPU, in the dtype and on the device of x.

    Args:
        x: The examples.
        atoms: The kernels as the decoder places them, [m] or [m, m], of several channels [channels, m] or
            [channels, m, m], model after model.
        adjoint: Whether the decoder is the adjoint one, which places (m - 1) // 2 samples of a kernel before its
            position; the paper's decoder places m // 2.
        n_weights: Number of weights W, per model.
        initial_maps: Activation maps that are refined as an alternative; the description of the lower phi is kept. None
            for no alternative.
        squared: Whether the loss is the squared error; if not, the absolute error.
        per_activation: Numbers that phi counts per activation.
        max_activations: Largest number of activations, per example and model, >= 1.
        patience: Atoms that are added without a lower phi before the search stops adding, >= 0.
        refinements: Largest number of refinements of all atoms, >= 0.
        perturbations: Number of perturbations per activation, >= 0. Each drops some atoms near one activation and
            refines the area, and is undone unless phi decreases.
        max_work: Multiplications, per example and model, after which the search ends.
    """
    channels, space = x.shape[1], x.shape[2:]
    shape = (len(x), len(atoms), *space)
    height, width = (1, *space) if len(space) == 1 else space
    examples = as_array(x.cpu().double()).reshape(len(x), channels * height, width)
    packed, sizes = _pack(atoms, channels, len(space))
    offsets = (sizes - 1) // 2 if adjoint else sizes // 2
    maps = np.zeros((len(x), len(atoms), height, width))
    beginnings = None if initial_maps is None else as_array(initial_maps.cpu().double()).reshape(maps.shape)

    n_models = len(n_weights)
    per_model = len(atoms) // n_models
    models = []  # cropped to the sizes of each model, so that every model is encoded as if alone
    for first in range(0, len(atoms), per_model):
        own = slice(first, first + per_model)
        rows, columns = sizes[own].max(0)
        cropped = np.ascontiguousarray(packed[own, :, :rows, :columns])
        overlaps = _overlaps(cropped, sizes[own])
        models.append((channels, cropped.reshape(per_model, -1, columns), sizes[own], offsets[own], overlaps))
    whole = (0, height, 0, width)

    def search_some(start: int, end: int) -> None:
        for pair in range(start, end):
            example, model = divmod(pair, n_models)
            own = slice(model * per_model, (model + 1) * per_model)
            costs = np.array([n_weights[model], per_activation], dtype=np.float64) / examples[example].size
            found = []
            for beginning in (None,) if beginnings is None else (None, beginnings[example, own]):
                search = _begin(examples[example].copy(), *models[model], squared)
                if beginning is None:
                    _take_atoms(search, costs, max_activations, patience, max_work)
                else:
                    _adopt_maps(search, beginning, max_activations)
                _update_tree(search, 0, 0, height, width)
                n_active = search.active.sum()
                n_active = _refine(search, costs, n_active, max_activations, refinements, max_work, whole, np.inf)
                found.append((_phi(search, costs, n_active), search))
            _, best = min(found, key=lambda one: one[0])
            centres = np.ascontiguousarray(np.argwhere(best.active))  # of one layout, so that it is compiled once
            draws = np.random.default_rng(0).random((perturbations * len(centres), 1 + DROP_DRAWS))
            _perturb(best, costs, max_activations, centres, draws, refinements, max_work)
            maps[example, own] = best.amplitude

    share(n_models * len(x), examples.size * len(atoms) * 100, search_some)
    return torch.from_numpy(maps).to(x).view(shape)


def _pack(atoms: Sequence[Tensor], channels: int, n_dims: int) -> tuple[Array, Array]:
    """Return the atoms in one array, padded with zeros at the end, and their sizes.

    Args:
        atoms: The kernels as the decoder places them.
        channels: Channels of every atom.
        n_dims: 1 for signals, 2 for images.

    Returns:
        float64 [kernels, channels, rows, columns] and int64 [kernels, 2].
    """
    arrays = [
        as_array(atom.cpu().double()).reshape(channels, *[1] * (2 - n_dims), *atom.shape[-n_dims:]) for atom in atoms
    ]
    sizes = np.array([array.shape[1:] for array in arrays], dtype=np.int64)
    packed = np.zeros((len(arrays), channels, *sizes.max(0)))
    for padded, array in zip(packed, arrays, strict=True):
        padded[:, : array.shape[1], : array.shape[2]] = array
    return packed, sizes


@compiled
@no_type_check
def _overlaps(atoms, sizes):
    """Return the scalar products of two atoms at all relative positions.

    Args:
        atoms: float64 [kernels, channels, rows, columns], the atoms, padded with zeros at the end.
        sizes: int64 [kernels, 2], rows and columns of each atom.

    Returns:
        float64 [kernels, kernels, 2 * rows - 1, 2 * columns - 1]; the last two axes are the first row and column of the
        second atom relative to the first, plus rows - 1 and columns - 1.
    """
    kernels, channels, rows, columns = atoms.shape
    products = np.zeros((kernels, kernels, 2 * rows - 1, 2 * columns - 1))
    for one in range(kernels):
        for other in range(kernels):
            for down in range(1 - sizes[other, 0], sizes[one, 0]):
                for right in range(1 - sizes[other, 1], sizes[one, 1]):
                    total = 0.0
                    for channel in range(channels):
                        for row in range(max(0, down), min(sizes[one, 0], sizes[other, 0] + down)):
                            for column in range(max(0, right), min(sizes[one, 1], sizes[other, 1] + right)):
                                weight = atoms[one, channel, row, column]
                                total += weight * atoms[other, channel, row - down, column - right]
                    products[one, other, down + rows - 1, right + columns - 1] = total
    return products


def _begin(
    x: Array, channels: int, atoms: Array, sizes: Array, offsets: Array, overlaps: Array, squared: bool
) -> Search:
    """Return a search without active atoms.

    Args:
        x: float64 [channels * height, width], the example; it becomes the residual, which the search modifies.
        channels: Number of channels.
        atoms: float64 [kernels, channels * rows, columns], the atoms, each channel padded with zeros at the end.
        sizes: int64 [kernels, 2], rows and columns of each atom.
        offsets: int64 [kernels, 2], rows and columns of each atom before its position.
        overlaps: float64 [kernels, kernels, 2 * rows - 1, 2 * columns - 1], scalar products of two atoms.
        squared: Whether the loss is the squared error.
    """
    shape = (len(atoms), len(x) // channels, x.shape[1])
    n_blocks = -(-shape[1] * shape[2] // BLOCK_SIZE)
    leaves = 1 << (n_blocks - 1).bit_length()
    search = Search(
        channels=channels,
        atoms=atoms,
        sizes=sizes,
        offsets=offsets,
        overlaps=overlaps,
        residual=x,
        correlation=np.zeros(shape),
        inverse_energy=np.zeros(shape),
        amplitude=np.zeros(shape),
        active=np.zeros(shape, np.bool_),
        refined=np.zeros(shape, np.bool_),
        tree=np.full(2 * leaves, -1.0),
        uses_tree=np.ones(1, np.bool_),
        loss=np.full(2, _total_loss(x.reshape(-1), squared)),
        space=np.empty((2, atoms[0].size + SAMPLES_AT_ONCE)),
        work=np.full(1, float(len(atoms) * shape[1] * shape[2] * atoms[0].size)),
        squared=squared,
    )
    squares, energy = atoms**2, search.inverse_energy
    _correlate(search, squares, energy)
    is_used = energy > MIN_ENERGY_RATIO * squares.sum((1, 2), keepdims=True)
    np.divide(1, energy, out=energy, where=is_used)
    energy[~is_used] = 0
    _update_tree(search, 0, 0, *shape[1:])
    return search


@borrowing
@no_type_check
def _correlate(search, squares, energy):
    """Add the correlation of every atom with the residual, and the energy of every atom inside the example.

    Args:
        search: The state of the search; its correlations are modified in place.
        squares: float64 [kernels, channels * rows, columns], the squared atoms.
        energy: float64 [kernels, height, width], the energies; modified in place.
    """
    kernels, height, width = search.correlation.shape
    for kernel in range(kernels):
        for channel in range(search.channels):
            above, part = channel * height, channel * _rows(search)
            for row in range(height):
                top, first_row, last_row = _range_inside(search, kernel, row, 0)
                for r in range(first_row, last_row):
                    for c in range(search.sizes[kernel, 1]):
                        shift, weight = c - search.offsets[kernel, 1], search.atoms[kernel, part + r, c]
                        for column in range(max(0, -shift), min(width, width - shift)):
                            sample = search.residual[above + top + r, column + shift]
                            search.correlation[kernel, row, column] += weight * sample
                            energy[kernel, row, column] += squares[kernel, part + r, c]


@compiled
@no_type_check
def _take_atoms(search, costs, max_activations, patience, max_work):
    """Repeatedly take the atom that removes most of the squared residual, and keep the prefix of the lowest phi.

    Args:
        search: The state of the search; modified in place. The caller updates its tree.
        costs: float64 [2], inverse compression ratio without an activation, and its increase per activation.
        max_activations: int64, largest number of active atoms.
        patience: int64, atoms that are added without a lower phi before no more are added.
        max_work: float64, multiplications after which no atom is added.
    """
    min_change = MIN_REFIT_CHANGE * _largest(search.residual)
    changed, before = np.empty((1024, 3), np.int64), np.empty(1024)
    n_changed, n_active, n_since_lowest = 0, 0, 0
    lowest = _phi(search, costs, 0)
    while n_active < max_activations and n_since_lowest <= patience and search.work[0] < max_work:
        found, kernel, row, column = _best_atom(search)
        if not found:
            break
        search.active[kernel, row, column] = True
        n_active += 1
        for _ in range(REFIT_SWEEPS):
            for other in range(len(search.atoms)):
                rows = _overlapping_positions(search, kernel, other, row, 0)
                columns = _overlapping_positions(search, kernel, other, column, 1)
                for r in range(rows[0], rows[1]):
                    for c in range(columns[0], columns[1]):
                        if search.active[other, r, c]:
                            change = search.correlation[other, r, c] * search.inverse_energy[other, r, c]
                            if abs(change) > min_change:
                                if n_changed == len(before):
                                    changed, before = _doubled(changed, before)
                                changed[n_changed, 0], changed[n_changed, 1], changed[n_changed, 2] = other, r, c
                                before[n_changed] = search.amplitude[other, r, c]
                                n_changed += 1
                                _change_amplitude(search, other, r, c, change)
        _update_tree(search, row, column, 2 * _rows(search), 2 * search.atoms.shape[2])
        phi = _phi(search, costs, n_active)
        n_since_lowest += 1
        if phi < lowest:
            lowest, n_changed, n_since_lowest = phi, 0, 0
    for index in range(n_changed - 1, -1, -1):
        kernel, row, column = changed[index, 0], changed[index, 1], changed[index, 2]
        _change_amplitude(search, kernel, row, column, before[index] - search.amplitude[kernel, row, column])
    kernels, height, width = search.amplitude.shape
    for kernel in range(kernels):
        for row in range(height):
            for column in range(width):
                search.active[kernel, row, column] = search.amplitude[kernel, row, column] != 0


@inner
@no_type_check
def _largest(samples):
    """Return the largest absolute sample of a residual.

    Args:
        samples: float64 [channels * height, width], the residual.

    Returns:
        float64, the absolute value.
    """
    largest = 0.0
    for row in range(samples.shape[0]):
        for column in range(samples.shape[1]):
            largest = max(largest, abs(samples[row, column]))
    return largest


@compiled
@no_type_check
def _doubled(changed, before):
    """Return two lists with room for twice as many changes.

    Args:
        changed: int64 [changes, 3], kernel, row and column of each change.
        before: float64 [changes], amplitude before each.

    Returns:
        Two arrays, [2 * changes, 3] and [2 * changes]; the second half is not set.
    """
    n = len(before)
    longer_changed, longer_before = np.empty((2 * n, 3), np.int64), np.empty(2 * n)
    for index in range(n):
        longer_before[index] = before[index]
        for axis in range(3):
            longer_changed[index, axis] = changed[index, axis]
    return longer_changed, longer_before


@compiled
@no_type_check
def _adopt_maps(search, amplitude, max_activations):
    """Activate the atoms of activation maps, in the order of kernel and position, up to the largest number.

    Args:
        search: The state of the search, without active atoms; modified in place. The caller updates its tree.
        amplitude: float64 [kernels, height, width], the activation maps.
        max_activations: int64, largest number of active atoms.
    """
    n_active = 0
    kernels, height, width = amplitude.shape
    for kernel in range(kernels):
        for row in range(height):
            for column in range(width):
                if amplitude[kernel, row, column] != 0 and n_active < max_activations:
                    search.active[kernel, row, column] = True
                    _change_amplitude(search, kernel, row, column, amplitude[kernel, row, column])
                    n_active += 1


@borrowing
@no_type_check
def _refine(search, costs, n_active, max_activations, refinements, max_work, area, goal):
    """Move, refit and drop the atoms in an area one at a time, and add others; phi never increases.

    It ends as soon as phi is hardly going to be below the goal: above it by what one activation costs after the second
    sweep, by half of that after the third, and so on.

    Args:
        search: The state of the search; modified in place.
        costs: float64 [2], inverse compression ratio without an activation, and its increase per activation.
        n_active: int64, number of active atoms.
        max_activations: int64, largest number of active atoms.
        refinements: int64, largest number of sweeps over all atoms.
        max_work: float64, multiplications after which no atom is changed.
        area: Four int64: first row, row after the last, first column, column after the last.
        goal: float64, the phi below which the result is of use; infinity for any.

    Returns:
        int64, number of active atoms.
    """
    kernels = len(search.atoms)
    top, bottom, left, right = area
    for sweep in range(refinements):
        if search.uses_tree[0]:
            search.loss[0] = _total_loss(search.residual.reshape(-1), search.squared)
        before = _phi(search, costs, n_active)
        for kernel in range(kernels):
            for row in range(top, bottom):
                for column in range(left, right):
                    due = search.active[kernel, row, column] and not search.refined[kernel, row, column]
                    if due and search.work[0] < max_work:
                        n_active -= not _refine_atom(search, costs, n_active, kernel, row, column)
        while n_active < max_activations and search.work[0] < max_work:
            found, kernel, row, column = _best_atom(search) if search.uses_tree[0] else _best_atom_in(search, area)
            if not found:
                break
            amplitude, change = _fit(search, kernel, row, column, 0.0)
            loss = search.loss[0] + change
            if _phi_of_loss(search, costs, n_active + 1, loss) >= _phi(search, costs, n_active):
                break
            amplitude = _round_amplitude(search, kernel, row, column, amplitude)
            search.active[kernel, row, column] = True
            _change_amplitude(search, kernel, row, column, amplitude)
            _update_tree(search, row, column, _rows(search), search.atoms.shape[2])
            _mark_neighbours_unrefined(search, row, column)
            n_active += 1
        phi = _phi(search, costs, n_active)
        phi_of_activation = costs[1] * (costs[0] + costs[1] * n_active) / phi
        if before - phi <= MIN_PHI_DECREASE * before or (sweep > 0 and phi > goal + phi_of_activation / sweep):
            break
    return n_active


@compiled
@no_type_check
def _perturb(search, costs, max_activations, centres, draws, refinements, max_work):
    """Repeatedly drop some atoms near an activation and refine the area; undo it unless phi decreases.

    Args:
        search: The state of the search; modified in place, without its tree.
        costs: float64 [2], inverse compression ratio without an activation, and its increase per activation.
        max_activations: int64, largest number of active atoms.
        centres: int64 [activations, 3], kernel, row and column of each activation before the perturbations, which take
            turns.
        draws: float64 [perturbations, 1 + DROP_DRAWS], random numbers in [0, 1): the size of the area, and the numbers
            that decide which atoms are dropped.
        refinements: int64, largest number of sweeps over the atoms of an area.
        max_work: float64, multiplications after which no perturbation follows.
    """
    height, width = search.amplitude.shape[1:]
    rows, columns = _rows(search), search.atoms.shape[2]
    n_active = len(centres)
    search.uses_tree[0] = False
    known = np.empty((len(search.atoms), 4 * rows + 2 * MOVE_RADIUS, 4 * columns + 2 * MOVE_RADIUS))
    for turn in range(len(draws)):
        if search.work[0] >= max_work:
            break
        row, column = centres[turn % len(centres), 1], centres[turn % len(centres), 2]
        draw = draws[turn, 0]
        area = _area_around(search, row, column, int((draw + 1) * rows), int((draw + 1) * columns))
        top, left = max(0, area[0] - MOVE_RADIUS), max(0, area[2] - MOVE_RADIUS)
        bottom, right = min(height, area[1] + MOVE_RADIUS), min(width, area[3] + MOVE_RADIUS)
        reach = top, bottom, left, right
        _remember(search, reach, known)
        loss, phi = search.loss[0], _phi(search, costs, n_active)
        near = _area_around(search, row, column, int(draw * rows), int(draw * columns))
        n = n_active - _drop_atoms(search, near, draws[turn, 1:])
        n = _refine(search, costs, n, max_activations, refinements, max_work, area, phi)
        if _phi(search, costs, n) < phi:
            n_active = n
        else:
            _restore(search, reach, known)
            search.loss[0] = loss


@inner
@no_type_check
def _remember(search, area, known):
    """Copy the amplitudes in an area.

    Args:
        search: The state of the search.
        area: Four int64: first row, row after the last, first column, column after the last.
        known: float64 [kernels, >= rows, >= columns], the copy; modified in place.
    """
    for kernel in range(len(search.atoms)):
        for row in range(area[0], area[1]):
            for column in range(area[2], area[3]):
                known[kernel, row - area[0], column - area[2]] = search.amplitude[kernel, row, column]


@inner
@no_type_check
def _restore(search, area, known):
    """Restore the amplitudes in an area, whose atoms then count as refined.

    Args:
        search: The state of the search; modified in place, without its tree.
        area: Four int64: first row, row after the last, first column, column after the last.
        known: float64 [kernels, >= rows, >= columns], the amplitudes.
    """
    for kernel in range(len(search.atoms)):
        for row in range(area[0], area[1]):
            for column in range(area[2], area[3]):
                amplitude = known[kernel, row - area[0], column - area[2]]
                change = amplitude - search.amplitude[kernel, row, column]
                if change != 0:
                    _change_amplitude(search, kernel, row, column, change)
                search.amplitude[kernel, row, column] = amplitude
                search.active[kernel, row, column] = amplitude != 0
                search.refined[kernel, row, column] = True


@inner
@no_type_check
def _area_around(search, row, column, down, right):
    """Return the area within a distance of a position.

    Args:
        search: The state of the search.
        row: int64, row of the position.
        column: int64, column of the position.
        down: int64, distance in rows.
        right: int64, distance in columns.

    Returns:
        Four int64: first row, row after the last, first column, column after the last.
    """
    height, width = search.amplitude.shape[1:]
    return max(0, row - down), min(height, row + down + 1), max(0, column - right), min(width, column + right + 1)


@inner
@no_type_check
def _drop_atoms(search, area, draws):
    """Drop the atoms in an area whose random number is low.

    Args:
        search: The state of the search; modified in place, without its tree.
        area: Four int64: first row, row after the last, first column, column after the last.
        draws: float64 [DROP_DRAWS], random numbers in [0, 1).

    Returns:
        int64, number of dropped atoms.
    """
    count = 0
    for kernel in range(len(search.atoms)):
        for row in range(area[0], area[1]):
            for column in range(area[2], area[3]):
                draw = draws[(5 * kernel + 7 * row + 3 * column) % len(draws)]
                if search.active[kernel, row, column] and draw < DROP_PROBABILITY:
                    search.active[kernel, row, column] = False
                    _change_amplitude(search, kernel, row, column, -search.amplitude[kernel, row, column])
                    _mark_neighbours_unrefined(search, row, column)
                    count += 1
    return count


@inner
@no_type_check
def _refine_atom(search, costs, n_active, kernel, row, column):
    """Move an atom to the neighbour, kernel and amplitude of the lowest loss, or drop it if phi is lower without it.

    Args:
        search: The state of the search; modified in place.
        costs: float64 [2], inverse compression ratio without an activation, and its increase per activation.
        n_active: int64, number of active atoms.
        kernel: int64, kernel of the atom, which is active.
        row: int64, row of the atom.
        column: int64, column of the atom.

    Returns:
        bool, whether the atom is kept, perhaps at another position.
    """
    kernels, height, width = search.amplitude.shape
    before = search.amplitude[kernel, row, column]
    search.active[kernel, row, column] = False
    _change_amplitude(search, kernel, row, column, -before)
    loss_without = search.loss[0]
    min_gain = MIN_GAIN_RATIO * _gain(search, kernel, row, column)
    at = kernel, row, column
    amplitude, lowest = _fit(search, kernel, row, column, np.inf)
    for other in range(kernels):
        for r in range(max(0, row - MOVE_RADIUS), min(height, row + MOVE_RADIUS + 1)):
            for c in range(max(0, column - MOVE_RADIUS), min(width, column + MOVE_RADIUS + 1)):
                tried = (other, r, c) != (kernel, row, column) and not search.active[other, r, c]
                if tried and _gain(search, other, r, c) > min_gain:
                    fitted, change = _fit(search, other, r, c, lowest)
                    if change < lowest:
                        at, amplitude, lowest = (other, r, c), fitted, change
    phi_without = _phi_of_loss(search, costs, n_active - 1, loss_without)
    if amplitude == 0 or phi_without <= _phi_of_loss(search, costs, n_active, loss_without + lowest):
        _update_tree(search, row, column, _rows(search), search.atoms.shape[2])
        _mark_neighbours_unrefined(search, row, column)
        return False
    amplitude = _round_amplitude(search, at[0], at[1], at[2], amplitude)
    search.active[at] = True
    _change_amplitude(search, at[0], at[1], at[2], amplitude)
    _update_tree(search, row, column, 2 * _rows(search), 2 * search.atoms.shape[2])
    if at != (kernel, row, column) or abs(amplitude - before) > UNCHANGED_AMPLITUDE * abs(before):
        _mark_neighbours_unrefined(search, row, column)
    search.refined[at] = True
    return True


@inner
@no_type_check
def _mark_neighbours_unrefined(search, row, column):
    """Mark all atoms that may overlap an atom near a position, so that they are refined again.

    Args:
        search: The state of the search; modified in place.
        row: int64, row of the position.
        column: int64, column of the position.
    """
    down, right = _rows(search) + MOVE_RADIUS, search.atoms.shape[2] + MOVE_RADIUS
    top, bottom, left, last = _area_around(search, row, column, down, right)
    for kernel in range(len(search.atoms)):
        for r in range(top, bottom):
            for c in range(left, last):
                search.refined[kernel, r, c] = False


@borrowing
@no_type_check
def _phi(search, costs, n_active):
    """Return phi of the present description.

    Args:
        search: The state of the search.
        costs: float64 [2], inverse compression ratio without an activation, and its increase per activation.
        n_active: int64, number of active atoms.

    Returns:
        float64, phi.
    """
    return _phi_of_loss(search, costs, n_active, search.loss[0])


@inner
@no_type_check
def _phi_of_loss(search, costs, n_active, loss):
    """Return phi of a number of active atoms and a loss.

    Args:
        search: The state of the search.
        costs: float64 [2], inverse compression ratio without an activation, and its increase per activation.
        n_active: int64, number of active atoms.
        loss: float64, loss of the residual.

    Returns:
        float64, phi.
    """
    return np.hypot(costs[0] + costs[1] * n_active, loss / search.loss[1])


@reordering
@no_type_check
def _total_loss(samples, squared):
    """Return the sum of the squared or absolute samples of a residual.

    Args:
        samples: float64 [samples], the residual.
        squared: bool, whether the loss is the squared error.

    Returns:
        float64, the loss.
    """
    total = 0.0
    if squared:
        for index in range(len(samples)):
            total += samples[index] * samples[index]
    else:
        for index in range(len(samples)):
            total += abs(samples[index])
    return total


@inner
@no_type_check
def _rows(search):
    """Return the largest number of rows of an atom.

    Args:
        search: The state of the search.

    Returns:
        int64, the number of rows of one channel.
    """
    return search.atoms.shape[1] // search.channels


@inner
@no_type_check
def _gain(search, kernel, row, column):
    """Return the decrease of the squared residual that an atom allows.

    Args:
        search: The state of the search.
        kernel: int64, kernel of the atom.
        row: int64, row of the atom.
        column: int64, column of the atom.

    Returns:
        float64, the decrease.
    """
    return search.correlation[kernel, row, column] ** 2 * search.inverse_energy[kernel, row, column]


@inner
@no_type_check
def _range_inside(search, kernel, position, axis):
    """Return the samples of an atom that are inside the example, along one axis.

    Args:
        search: The state of the search.
        kernel: int64, kernel of the atom.
        position: int64, position of the atom along the axis.
        axis: int64, 0 for rows, 1 for columns.

    Returns:
        Three int64: the position of the atom's first sample, its first sample inside, and the sample after the last
        one inside.
    """
    start = position - search.offsets[kernel, axis]
    return start, max(0, -start), min(search.sizes[kernel, axis], search.amplitude.shape[1 + axis] - start)


@inner
@no_type_check
def _overlapping_positions(search, kernel, other, position, axis):
    """Return the positions at which atoms of another kernel overlap an atom, along one axis.

    Args:
        search: The state of the search.
        kernel: int64, kernel of the atom.
        other: int64, the other kernel.
        position: int64, position of the atom along the axis.
        axis: int64, 0 for rows, 1 for columns.

    Returns:
        Two int64: the first position and the position after the last.
    """
    start = position - search.offsets[kernel, axis]
    first = start - search.sizes[other, axis] + 1 + search.offsets[other, axis]
    last = start + search.sizes[kernel, axis] + search.offsets[other, axis]
    return max(0, first), min(search.amplitude.shape[1 + axis], last)


@inner
@no_type_check
def _change_amplitude(search, kernel, row, column, change):
    """Change the amplitude of an atom, the residual, its loss and the correlations, but not the tree.

    Args:
        search: The state of the search; modified in place, without its tree.
        kernel: int64, kernel of the atom.
        row: int64, row of the atom.
        column: int64, column of the atom.
        change: float64, added to the amplitude.
    """
    _subtract(search, kernel, row, column, change)
    top, first_row, last_row = _range_inside(search, kernel, row, 0)
    left, first, last = _range_inside(search, kernel, column, 1)
    is_whole = first_row == 0 and first == 0 and last_row == search.sizes[kernel, 0] and last == search.sizes[kernel, 1]
    for other in range(len(search.atoms)):
        rows = _overlapping_positions(search, kernel, other, row, 0)
        columns = _overlapping_positions(search, kernel, other, column, 1)
        for r in range(rows[0], rows[1]):
            # The product of two atoms is their overlap if at least one of them is whole inside the example.
            known, end = columns if is_whole else _columns_of_whole_atoms(search, other, r, columns)
            products = search.overlaps[kernel, other, r - search.offsets[other, 0] - top + _rows(search) - 1]
            shift = search.atoms.shape[2] - 1 - search.offsets[other, 1] - left
            _subtract_multiple(search.correlation[other, r, known:end], products[shift + known : shift + end], change)
            if not is_whole:
                _subtract_cropped(search, kernel, row, column, change, other, r, columns[0], known)
                _subtract_cropped(search, kernel, row, column, change, other, r, end, columns[1])
        search.work[0] += (rows[1] - rows[0]) * (columns[1] - columns[0])
    search.amplitude[kernel, row, column] += change


@inner
@no_type_check
def _subtract_cropped(search, kernel, row, column, change, other, other_row, start, end):
    """Subtract the correlations of a multiple of an atom with atoms of one row, of which none is whole inside.

    Args:
        search: The state of the search; its correlations are modified in place.
        kernel: int64, kernel of the atom.
        row: int64, row of the atom.
        column: int64, column of the atom.
        change: float64, the factor.
        other: int64, kernel of the other atoms.
        other_row: int64, their row.
        start: int64, column of the first.
        end: int64, the column after the last.
    """
    top, first_row, last_row = _range_inside(search, kernel, row, 0)
    left, first, last = _range_inside(search, kernel, column, 1)
    down = other_row - search.offsets[other, 0] - top
    for other_column in range(start, end):
        right = other_column - search.offsets[other, 1] - left
        product = 0.0
        for channel in range(search.channels):
            part = channel * _rows(search)
            for i in range(max(first_row, down), min(last_row, down + search.sizes[other, 0])):
                for j in range(max(first, right), min(last, right + search.sizes[other, 1])):
                    product += search.atoms[kernel, part + i, j] * search.atoms[other, part + i - down, j - right]
        search.correlation[other, other_row, other_column] -= change * product


@inner
@no_type_check
def _columns_of_whole_atoms(search, kernel, row, columns):
    """Return the part of a range of columns at which the atoms of one row are whole inside the example.

    Args:
        search: The state of the search.
        kernel: int64, kernel of the atoms.
        row: int64, row of the atoms.
        columns: Two int64: first column and column after the last.

    Returns:
        Two int64: first column and column after the last; they are equal if no atom is whole.
    """
    top, (height, width) = row - search.offsets[kernel, 0], search.amplitude.shape[1:]
    if top < 0 or top + search.sizes[kernel, 0] > height:
        return columns[1], columns[1]
    first = max(columns[0], search.offsets[kernel, 1])
    last = min(columns[1], width - search.sizes[kernel, 1] + search.offsets[kernel, 1] + 1)
    return min(first, columns[1]), max(last, min(first, columns[1]))


@inner
@no_type_check
def _subtract(search, kernel, row, column, amount):
    """Subtract a multiple of an atom from the residual, and update the loss.

    Args:
        search: The state of the search; its residual and loss are modified in place.
        kernel: int64, kernel of the atom.
        row: int64, row of the atom.
        column: int64, column of the atom.
        amount: float64, factor of the atom.
    """
    top, first_row, last_row = _range_inside(search, kernel, row, 0)
    left, first, last = _range_inside(search, kernel, column, 1)
    for channel in range(search.channels):
        above, part = channel * search.amplitude.shape[1] + top, channel * _rows(search)
        for r in range(first_row, last_row):
            samples = search.residual[above + r, left + first : left + last]
            weights = search.atoms[kernel, part + r, first:last]
            search.loss[0] += _subtract_from_residual(samples, weights, amount, search.squared)


@reordering
@no_type_check
def _subtract_from_residual(samples, weights, amount, squared):
    """Subtract a multiple of a row of an atom from the residual, and return the change of the loss.

    Args:
        samples: float64 [samples], the residual; modified in place.
        weights: float64 [samples], the row.
        amount: float64, the factor.
        squared: bool, whether the loss is the squared error.

    Returns:
        float64, the change.
    """
    total = 0.0
    if squared:
        for index in range(len(samples)):
            before, after = samples[index], samples[index] - amount * weights[index]
            samples[index] = after
            total += after * after - before * before
    else:
        for index in range(len(samples)):
            before, after = samples[index], samples[index] - amount * weights[index]
            samples[index] = after
            total += abs(after) - abs(before)
    return total


@reordering
@no_type_check
def _subtract_multiple(samples, weights, amount):
    """Subtract a multiple of one row from another.

    Args:
        samples: float64 [samples]; modified in place.
        weights: float64 [samples].
        amount: float64, the factor.
    """
    for index in range(len(samples)):
        samples[index] -= amount * weights[index]


@inner
@no_type_check
def _fit(search, kernel, row, column, limit):
    """Return the amplitude of the lowest loss, and the change of the loss.

    The loss is convex in the amplitude, and of the absolute error piecewise linear: its tangents at the two ends of a
    range bound it from below, and at their intersection either is the optimum or the range becomes smaller (the method
    of Kelley, 1960). The optimum is the weighted median of residual over kernel.

    Args:
        search: The state of the search; its work and its space are modified in place.
        kernel: int64, kernel of the atom, which has an amplitude of 0.
        row: int64, row of the atom.
        column: int64, column of the atom.
        limit: float64, change of the loss; the search for an amplitude ends as soon as none is below it.

    Returns:
        Two float64, amplitude and change; 0 and infinity if no amplitude gives a change below the limit.
    """
    least_squares = search.correlation[kernel, row, column] * search.inverse_energy[kernel, row, column]
    if search.squared:
        return least_squares, -search.correlation[kernel, row, column] * least_squares
    count = _copy_inside(search, kernel, row, column)
    samples, weights = search.space[0, :count], search.space[1, :count]
    at_zero, slope = _loss_and_slope(samples, weights, 0.0)
    sign = -1.0 if slope > 0 else 1.0
    low, low_loss, low_slope = 0.0, at_zero, sign * slope
    high = abs(least_squares) if least_squares != 0 else at_zero
    high_loss, high_slope = _loss_and_slope(samples, weights, sign * high)
    high_slope *= sign
    while high_slope < 0:
        low, low_loss, low_slope = high, high_loss, high_slope
        high *= 2
        high_loss, high_slope = _loss_and_slope(samples, weights, sign * high)
        high_slope *= sign
    best, best_loss = (low, low_loss) if low_loss < high_loss else (high, high_loss)
    while low_slope < high_slope:
        search.work[0] += len(samples)
        middle = (low_loss - high_loss + high_slope * high - low_slope * low) / (high_slope - low_slope)
        bound = low_loss + low_slope * (middle - low)
        if bound - at_zero >= limit:
            return 0.0, np.inf
        if not low < middle < high:
            break
        loss, slope = _loss_and_slope(samples, weights, sign * middle)
        if loss < best_loss:
            best, best_loss = middle, loss
        if best_loss - bound <= LOSS_DIGITS * at_zero:
            break
        if sign * slope < 0:
            low, low_loss, low_slope = middle, loss, sign * slope
        else:
            high, high_loss, high_slope = middle, loss, sign * slope
    return sign * best, best_loss - at_zero


@inner
@no_type_check
def _copy_inside(search, kernel, row, column):
    """Copy the residual and the atom, where the atom is inside the example, to the two rows of the space.

    Args:
        search: The state of the search; its space is modified in place.
        kernel: int64, kernel of the atom.
        row: int64, row of the atom.
        column: int64, column of the atom.

    Returns:
        int64, number of samples.
    """
    top, first_row, last_row = _range_inside(search, kernel, row, 0)
    left, first, last = _range_inside(search, kernel, column, 1)
    count = 0
    for channel in range(search.channels):
        above, part = channel * search.amplitude.shape[1] + top, channel * _rows(search)
        for r in range(first_row, last_row):
            samples = search.residual[above + r, left + first : left + last]
            _copy_row(samples, search.space[0, count : count + len(samples)])
            _copy_row(search.atoms[kernel, part + r, first:last], search.space[1, count : count + len(samples)])
            count += len(samples)
    padded = -(-count // SAMPLES_AT_ONCE) * SAMPLES_AT_ONCE
    for index in range(count, padded):
        search.space[0, index] = search.space[1, index] = 0.0
    return padded


@inner
@no_type_check
def _copy_row(source, target):
    """Copy one row to another, which is faster than an assignment of slices.

    Args:
        source: float64 [samples].
        target: float64 [samples]; modified in place.
    """
    for index in range(len(source)):
        target[index] = source[index]


@reordering
@no_type_check
def _loss_and_slope(samples, weights, amplitude):
    """Return the absolute error of a multiple of an atom, and a subgradient of it in the amplitude.

    Args:
        samples: float64 [samples], the residual.
        weights: float64 [samples], the atom.
        amplitude: float64, the factor.

    Returns:
        Two float64.
    """
    loss, slope = 0.0, 0.0
    for index in range(len(samples)):
        rest = samples[index] - amplitude * weights[index]
        loss += abs(rest)
        slope += -weights[index] if rest > 0 else weights[index]
    return loss, slope


@inner
@no_type_check
def _round_amplitude(search, kernel, row, column, amplitude):
    """Return the ratio of residual over kernel that is nearest to an amplitude, so that its sample is fitted exactly.

    Args:
        search: The state of the search; its space is modified in place.
        kernel: int64, kernel of the atom, which has an amplitude of 0.
        row: int64, row of the atom.
        column: int64, column of the atom.
        amplitude: float64, the amplitude of the lowest loss, up to rounding.

    Returns:
        float64, the amplitude.
    """
    if search.squared:
        return amplitude
    nearest, least = 0.0, np.inf
    for index in range(_copy_inside(search, kernel, row, column)):
        ratio = search.space[0, index] / search.space[1, index]
        if abs(ratio - amplitude) < least and search.space[1, index] != 0:
            nearest, least = ratio, abs(ratio - amplitude)
    return nearest


@borrowing
@no_type_check
def _update_tree(search, row, column, down, right):
    """Update the highest gains of the blocks near a position, if the tree is in use.

    Args:
        search: The state of the search; its tree is modified in place.
        row: int64, row of the position.
        column: int64, column of the position.
        down: int64, rows on each side of the position in which gains may have changed.
        right: int64, columns on each side of it.
    """
    if not search.uses_tree[0]:
        return
    kernels, height, width = search.correlation.shape
    n = height * width
    correlation, inverse_energy = search.correlation.reshape(kernels, n), search.inverse_energy.reshape(kernels, n)
    active, leaves = search.active.reshape(kernels, n), len(search.tree) // 2
    left, last, next_block = max(0, column - right), min(width - 1, column + right), 0
    for line in range(max(0, row - down), min(height, row + down + 1)):
        first_block = max(next_block, (line * width + left) // BLOCK_SIZE)
        for block in range(first_block, (line * width + last) // BLOCK_SIZE + 1):
            highest = -1.0
            for kernel in range(kernels):
                for at in range(block * BLOCK_SIZE, min(n, (block + 1) * BLOCK_SIZE)):
                    gain = correlation[kernel, at] ** 2 * inverse_energy[kernel, at]
                    if gain > highest and not active[kernel, at]:
                        highest = gain
            node = leaves + block
            search.tree[node] = highest
            while node > 1:
                node //= 2
                search.tree[node] = max(search.tree[2 * node], search.tree[2 * node + 1])
            next_block = block + 1


@inner
@no_type_check
def _best_atom(search):
    """Return the inactive atom of the highest gain, by the tree.

    Args:
        search: The state of the search.

    Returns:
        bool, whether an atom has a gain, and three int64: its kernel, row and column. Ties go to the lowest block, then
        to the lowest kernel and position.
    """
    kernels, height, width = search.correlation.shape
    n, leaves, node = height * width, len(search.tree) // 2, 1
    if search.tree[1] <= 0:
        return False, 0, 0, 0
    while node < leaves:
        node = 2 * node if search.tree[2 * node] >= search.tree[2 * node + 1] else 2 * node + 1
    first = (node - leaves) * BLOCK_SIZE
    for kernel in range(kernels):
        for at in range(first, min(n, first + BLOCK_SIZE)):
            row, column = at // width, at % width
            if not search.active[kernel, row, column] and _gain(search, kernel, row, column) == search.tree[1]:
                return True, kernel, row, column
    return False, 0, 0, 0


@inner
@no_type_check
def _best_atom_in(search, area):
    """Return the inactive atom of the highest gain in an area, without the tree.

    Args:
        search: The state of the search.
        area: Four int64: first row, row after the last, first column, column after the last.

    Returns:
        bool, whether an atom has a gain, and three int64: its kernel, row and column. Ties go to the lowest kernel and
        position.
    """
    best, highest = (False, 0, 0, 0), 0.0
    for kernel in range(len(search.amplitude)):
        for row in range(area[0], area[1]):
            for column in range(area[2], area[3]):
                gain = _gain(search, kernel, row, column)
                if gain > highest and not search.active[kernel, row, column]:
                    best, highest = (True, kernel, row, column), gain
    return best

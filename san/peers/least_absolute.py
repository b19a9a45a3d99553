"""Fits of amplitudes by the least absolute error."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import csr_array

from san.peers.peer import Array

__all__ = ["fit_least_absolute", "solve_least_absolute"]

ROUNDING = 1e-9  # a residual or a slope, relative to the largest sample, that counts as zero


def fit_least_absolute(atoms: Array, samples: Array, start: Array) -> Array:
    r"""Return the amplitudes of the least absolute error, for each of many fits.

    .. math:: \min_a \sum_t \Big\lvert x_t - \sum_k a_k w_{kt} \Big\rvert

    This is a linear program, solved exactly by exchanges: at a corner, the fit interpolates as many samples as it has
    atoms. Each step exchanges one of them for the sample at which the error is lowest along the steepest edge. The
    libraries for linear programs solve one fit per call, which takes a hundred times as long for small fits.

    Args:
        atoms: The atoms of each fit, [fits, atoms, samples]; linearly independent, and at most as many as samples.
        samples: The samples to fit, [fits, samples].
        start: Amplitudes near the minimum, such as those of least squares, [fits, atoms].

    Returns:
        The amplitudes, [fits, atoms]; never with a larger error than ``start``.

    Reference:
        Bloomfield and Steiger, "Least absolute deviations curve-fitting", SIAM J. Sci. Stat. Comput. 1980.
    """
    fitted = start.copy()
    scale = np.abs(samples).max(1, keepdims=True, initial=np.finfo(float).tiny)
    # Without noise, samples that are equal can be interpolated by chance, and the steps could stop or go in circles.
    noise = np.random.default_rng(0).uniform(-ROUNDING, ROUNDING, samples.shape[1])
    shaken = samples / scale + noise
    active = np.arange(len(samples))
    at = np.argsort(np.abs(shaken - _combine(atoms, start / scale)), axis=1)[:, : atoms.shape[1]]
    lowest = np.full(len(samples), np.inf)
    while len(active):
        inverse, found, residual = _interpolate(atoms[active], shaken[active], at)
        error = np.abs(residual).sum(1)
        falls = error < lowest[active]
        active, at, inverse, residual = active[falls], at[falls], inverse[falls], residual[falls]
        lowest[active], fitted[active] = error[falls], found[falls] * scale[active]
        at, moves = _exchange(atoms[active], residual, inverse, at)
        active, at = active[moves], at[moves]
    is_lower = _error(atoms, samples, fitted) < _error(atoms, samples, start)
    return np.where(is_lower[:, None], fitted, start)


def solve_least_absolute(placed_atoms: Array, samples: Array) -> Array:
    """Return the amplitudes of the least absolute error of one large fit, by SciPy's linear programming.

    The dual program has one bounded variable per sample, the sign of its residual, and is solved several times faster;
    its multipliers are the amplitudes.

    Args:
        placed_atoms: The atoms at their positions, mostly zero, [samples, activations].
        samples: The samples to fit, [samples].
    """
    covered = placed_atoms.any(1)  # the residual of the other samples does not depend on the amplitudes
    transposed, zeros = csr_array(placed_atoms[covered].T), np.zeros(placed_atoms.shape[1])
    solved = linprog(-samples[covered], A_eq=transposed, b_eq=zeros, bounds=(-1, 1), method="highs")
    amplitudes: Array = -solved.eqlin.marginals
    return amplitudes


def _interpolate(atoms: Array, samples: Array, at: NDArray[np.intp]) -> tuple[Array, Array, Array]:
    """Return the inverse of the interpolated samples of the atoms, the amplitudes and the residuals."""
    inverse = np.asarray(np.linalg.pinv(np.take_along_axis(atoms, at[:, None], axis=2)), dtype=float)
    amplitudes = _combine(inverse, np.take_along_axis(samples, at, axis=1))
    residual = samples - _combine(atoms, amplitudes)
    np.put_along_axis(residual, at, 0, axis=1)
    return inverse, amplitudes, residual


def _exchange(
    atoms: Array, residual: Array, inverse: Array, at: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Exchange one interpolated sample of each fit along its steepest edge.

    Returns:
        The samples interpolated next, and whether the error falls along an edge.
    """
    fits = np.arange(len(atoms))
    edges = inverse @ atoms  # [fits, edges, samples]: the change of the fit where one interpolated sample rises by 1
    slopes = _combine(edges.swapaxes(1, 2), np.sign(residual))
    steepest = np.abs(slopes).argmax(1)
    slope = np.abs(slopes[fits, steepest])
    edge = edges[fits, steepest] * np.sign(slopes[fits, steepest])[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = residual / edge
    steps[~((steps > 0) & (np.abs(edge) > ROUNDING))] = np.inf
    order = steps.argsort(1)
    falls_until = np.cumsum(2 * np.abs(np.take_along_axis(edge, order, axis=1)), axis=1) >= slope[:, None] - 1
    entering = order[fits, falls_until.argmax(1)]
    at = at.copy()
    at[fits, steepest] = entering
    return at, (slope > 1 + ROUNDING) & np.isfinite(steps[fits, entering])


def _combine(matrices: Array, amplitudes: Array) -> Array:
    """Return the sum of the rows of each matrix, weighted by amplitudes, [fits, columns]."""
    summed: Array = (amplitudes[:, None] @ matrices)[:, 0]
    return summed


def _error(atoms: Array, samples: Array, amplitudes: Array) -> Array:
    error: Array = np.abs(samples - _combine(atoms, amplitudes)).sum(1)
    return error

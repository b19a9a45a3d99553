"""Orthogonal matching pursuit of many patches at a time."""

import numpy as np
from numpy.typing import NDArray

from san.peers.peer import Array

__all__ = ["pursue"]


def pursue(atoms: Array, patches: Array) -> Array:
    """Return the amplitudes after each step of the orthogonal matching pursuit of each patch.

    A step selects the atom of the largest absolute correlation with the residual, and refits the amplitudes of all
    selected atoms by least squares. The atoms of a step are those of the step before and one more, so one pursuit gives
    every number of atoms and every tolerance. A pursuit that ends early, at an exact description or at atoms that
    depend on the selected ones, stays there.

    scikit-learn's ``orthogonal_mp_gram`` does the same for one patch per call, which takes 6 to 70 times as long.

    Args:
        atoms: The atoms, [kernels, samples].
        patches: The patches, [patches, samples].

    Returns:
        The amplitudes, [patches, 1 + steps, kernels]; as many steps as atoms, or as samples if these are fewer.
    """
    gram, correlations = atoms @ atoms.T, patches @ atoms.T
    smallest = np.finfo(float).eps  # as in scikit-learn
    n_steps = min(atoms.shape)
    pursuits = np.zeros((len(patches), 1 + n_steps, len(atoms)))
    selected = np.empty((len(patches), n_steps), dtype=np.intp)
    active, residual = np.arange(len(patches)), correlations
    for step in range(n_steps):
        before, best = selected[active, :step], np.abs(residual).argmax(1)
        largest = residual[np.arange(len(active)), best]
        is_new = (np.square(largest) >= smallest) & (before != best[:, None]).all(1)
        is_new &= _distance(gram, before, best) > smallest
        active, best = active[is_new], best[is_new]
        selected[active, step] = best
        of_step = selected[active, : step + 1]
        fitted = _solve(gram, of_step, np.take_along_axis(correlations[active], of_step, axis=1))
        amplitudes = np.zeros((len(active), len(atoms)))
        np.put_along_axis(amplitudes, of_step, fitted, axis=1)
        pursuits[:, step + 1] = pursuits[:, step]
        pursuits[active, step + 1] = amplitudes
        residual = correlations[active] - amplitudes @ gram
    return pursuits


def _distance(gram: Array, selected: NDArray[np.intp], atom: NDArray[np.intp]) -> Array:
    """Return the squared distance of an atom from the span of the selected atoms, for each patch."""
    products = gram[selected, atom[:, None]]
    distance: Array = gram[atom, atom] - (_solve(gram, selected, products) * products).sum(1)
    return distance


def _solve(gram: Array, selected: NDArray[np.intp], right: Array) -> Array:
    """Solve the normal equations of the selected atoms of each patch, [patches, selected]."""
    of_selected = gram[selected[:, :, None], selected[:, None, :]]
    return np.asarray(np.linalg.solve(of_selected, right[..., None])[..., 0], dtype=float)

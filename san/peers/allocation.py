"""Allocate atoms over the patches of an example so that φ of the example is lowest."""

import numpy as np
import torch
from numpy.typing import NDArray

from san.metrics import phi
from san.peers.least_absolute import fit_least_absolute
from san.peers.peer import Array

__all__ = ["allocate_atoms", "refit_least_absolute"]


def allocate_atoms(losses: Array, n_weights: int, n_samples: int, n_dims: int) -> NDArray[np.intp]:
    """Return the number of atoms of each patch with the lowest φ of the example, of all allocations.

    The lowest loss of each total number of atoms is found patch by patch: it is the lowest sum of the loss of the next
    patch with n atoms and the lowest loss of the patches before it with n atoms fewer. To allocate one atom at a time
    to the patch where φ falls most is not always optimal: the second atom of a patch may lower the loss more than the
    first.

    Args:
        losses: The loss of each patch with its first 0, 1, ... atoms, summed over samples, [patches, 1 + atoms].
        n_weights: W, the number of weights of the atoms.
        n_samples: Samples of the example, of all channels.
        n_dims: Number of axes of the example.

    Returns:
        The number of atoms of each patch, [patches].
    """
    n_patches, n_choices = losses.shape
    lowest = np.full(n_patches * (n_choices - 1) + 1, np.inf)
    lowest[0] = 0
    of_last = np.empty((n_patches, len(lowest)), dtype=np.intp)
    for patch, of_patch in enumerate(losses):
        sums = np.full((n_choices, len(lowest)), np.inf)
        for n_atoms, loss in enumerate(of_patch):
            sums[n_atoms, n_atoms:] = lowest[: len(lowest) - n_atoms] + loss
        of_last[patch], lowest = sums.argmin(0), sums.min(0)
    cr_inverse = (n_weights + (n_dims + 1) * np.arange(len(lowest))) / n_samples
    of_total = phi(torch.from_numpy(cr_inverse), torch.from_numpy(lowest / losses[:, 0].sum()))
    total = int(of_total.argmin())
    allocated = np.empty(n_patches, dtype=np.intp)
    for patch in reversed(range(n_patches)):
        allocated[patch] = of_last[patch, total]
        total -= allocated[patch]
    return allocated


def refit_least_absolute(atoms: Array, patches: Array, pursuits: Array) -> Array:
    """Refit the amplitudes after each step of pursuits to the least absolute error, except where a pursuit has ended.

    Args:
        atoms: The atoms, [kernels, samples].
        patches: The patches, [patches, samples].
        pursuits: The amplitudes after each step, [patches, 1 + steps, kernels].

    Returns:
        The refitted amplitudes, of the same atoms, [patches, 1 + steps, kernels].
    """
    refitted = pursuits.copy()
    for n_atoms in range(1, pursuits.shape[1]):
        of_step = pursuits[:, n_atoms]
        is_full = np.count_nonzero(of_step, axis=1) == n_atoms  # the pursuit has not ended before
        selected = np.argsort(of_step[is_full] == 0, axis=1, kind="stable")[:, :n_atoms]
        least_squares = np.take_along_axis(of_step[is_full], selected, axis=1)
        amplitudes = np.zeros((len(selected), len(atoms)))
        fitted = fit_least_absolute(atoms[selected], patches[is_full], least_squares)
        np.put_along_axis(amplitudes, selected, fitted, axis=1)
        refitted[is_full, n_atoms] = amplitudes
    return refitted

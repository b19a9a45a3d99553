"""Online dictionary learning, with the amplitudes of all patches of a batch at a time."""

from itertools import cycle, islice

import numpy as np

from san.peers.peer import Array

__all__ = ["lasso", "learn_dictionary"]

# These constants are scikit-learn's. They change the learned atoms, and so the metrics.
BATCH_SIZE = 256  # patches
TOLERANCE = 1e-3  # change of the atoms, divided by their number, at which the learning has converged
PATIENCE = 10  # batches without a lower mean cost after which the learning ends
UNUSED = 1e-6  # mean squared amplitude of an atom that is replaced by a patch
NOISE = 0.01  # standard deviation of the noise that is added to this patch, relative to that of the patch

SWEEPS = 5  # of coordinate descent, before the signs of the amplitudes change one at a time
CHANGES_PER_ATOM = (
    20  # changes of signs at most; atoms that are linearly dependent, but for rounding, could go in circles
)
RIDGE = 1e-13  # added to the largest squared norm, so that the system of linearly dependent atoms has a solution
ROUNDING = 1e-9  # excess of a correlation over its bound, relative to the bound, that counts as none


def learn_dictionary(patches: Array, n_atoms: int, alpha: float, *, n_passes: int, seed: int) -> Array:
    r"""Learn atoms that describe patches by few amplitudes.

    .. math::
        \min_{W, a} \sum_p \frac{1}{2} \Big\lVert x_p - \sum_k a_{pk} w_k \Big\rVert_2^2
        + \alpha \sum_k \lvert a_{pk} \rvert, \quad \lVert w_k \rVert_2 \le 1

    This is scikit-learn's ``MiniBatchDictionaryLearning``: the same random numbers, batches, updates and end. Its
    ``fit`` validates and solves each patch by a call of ``Lasso``, which takes ten times as long.

    Args:
        patches: The patches, [patches, samples].
        n_atoms: Number of atoms.
        alpha: Weight of the absolute amplitudes, > 0.
        n_passes: Passes over the patches, at most.
        seed: Seed of the order of the patches, and of the patches that replace unused atoms.

    Returns:
        The atoms, of a norm of at most 1, [atoms, samples].

    Reference:
        Mairal, Bach, Ponce and Sapiro, "Online dictionary learning for sparse coding", ICML 2009.
    """
    from sklearn.utils.extmath import randomized_svd

    random = np.random.RandomState(seed)
    _, singular_values, vectors = randomized_svd(patches, n_atoms, random_state=random)
    atoms = np.zeros((n_atoms, patches.shape[1]))
    atoms[: len(vectors)] = singular_values[:, None] * vectors
    shuffled = patches.copy()
    random.shuffle(shuffled)
    batch_size = min(BATCH_SIZE, len(patches))
    batches = [shuffled[first : first + batch_size] for first in range(0, len(shuffled), batch_size)]
    squares, products = np.zeros((n_atoms, n_atoms)), np.zeros((patches.shape[1], n_atoms))
    mean_cost, lowest, n_without = None, np.inf, 0
    for step, batch in enumerate(islice(cycle(batches), n_passes * len(batches))):
        amplitudes = lasso(atoms, batch, alpha)
        errors = batch - amplitudes @ atoms
        cost = (0.5 * np.square(errors).sum() + alpha * np.abs(amplitudes).sum()) / len(batch)
        size = len(batch)
        seen = (step + 1) * size if step < size - 1 else size**2 + step + 1 - size
        kept = (seen + 1 - size) / (seen + 1)
        squares = kept * squares + amplitudes.T @ amplitudes / size
        products = kept * products + batch.T @ amplitudes / size
        before = atoms.copy()
        _update(atoms, squares, products, batch, random)
        if step + 1 <= min(100, len(patches) / size):
            continue
        weight = min(1, size / (len(patches) + 1))
        mean_cost = cost if mean_cost is None else (1 - weight) * mean_cost + weight * cost
        n_without = 0 if mean_cost < lowest else n_without + 1
        lowest = min(lowest, mean_cost)
        if np.linalg.norm(atoms - before) / n_atoms <= TOLERANCE or n_without >= PATIENCE:
            break
    return atoms


def lasso(atoms: Array, patches: Array, alpha: float) -> Array:
    r"""Return the amplitudes that minimize half the squared error and the weighted absolute amplitudes of each patch.

    Given their signs, the amplitudes solve a linear system. An amplitude that changes its sign on the way to this
    solution becomes zero; at the solution, the atom whose correlation with the residual exceeds :math:`\alpha` most
    joins. Each change lowers the minimized sum, so the last solution is the minimum. Coordinate descent gives the first
    signs, most of which are those of the minimum.

    Args:
        atoms: The atoms, [atoms, samples].
        patches: The patches, [patches, samples].
        alpha: Weight of the absolute amplitudes, > 0.

    Returns:
        The amplitudes, [patches, atoms].

    Reference:
        Lee, Battle, Raina and Ng, "Efficient sparse coding algorithms", NeurIPS 2006.
    """
    gram, correlations = atoms @ atoms.T, patches @ atoms.T
    amplitudes = _descend(gram, correlations, alpha)
    signs = np.sign(amplitudes)
    active = np.arange(len(patches))
    for _ in range(CHANGES_PER_ATOM * len(atoms)):
        start, sign, correlation = amplitudes[active], signs[active], correlations[active]
        solved = _solve(gram, correlation - alpha * sign, sign)
        crosses = solved * sign < 0
        ways = np.divide(start, start - solved, out=np.ones_like(start), where=crosses)
        reached = start + ways.min(1, keepdims=True) * (solved - start)
        excess = np.where(sign == 0, np.abs(correlation - solved @ gram) - alpha, 0)
        is_crossing, is_lowest = crosses.any(1), excess.max(1) <= ROUNDING * alpha
        changed = np.where(is_crossing, ways.argmin(1), excess.argmax(1))
        patch = np.arange(len(active))
        reached[is_crossing, changed[is_crossing]] = 0
        joining = np.sign(correlation - solved @ gram)[patch, changed]
        amplitudes[active] = reached
        due = is_crossing | ~is_lowest
        signs[active[due], changed[due]] = np.where(is_crossing, 0, joining)[due]
        active = active[due]
        if not len(active):
            break
    return amplitudes


def _descend(gram: Array, correlations: Array, alpha: float) -> Array:
    """Return the amplitudes after sweeps of coordinate descent over the atoms that are not zero."""
    residual, amplitudes = correlations.T.copy(), np.zeros_like(correlations.T)
    for atom in SWEEPS * np.flatnonzero(gram.diagonal()).tolist():
        square = gram[atom, atom]
        correlation = residual[atom] + square * amplitudes[atom]
        descended = (correlation - np.clip(correlation, -alpha, alpha)) / square
        residual -= gram[atom, :, None] * (descended - amplitudes[atom])
        amplitudes[atom] = descended
    return amplitudes.T.copy()


def _solve(gram: Array, right: Array, signs: Array) -> Array:
    """Solve for the amplitudes whose sign is not 0, of each patch."""
    is_nonzero = signs != 0
    ridge = RIDGE * gram.diagonal().max() * np.eye(len(gram))
    system = np.where(is_nonzero[:, :, None] & is_nonzero[:, None, :], gram + ridge, np.eye(len(gram)))
    solved = np.linalg.solve(system, np.where(is_nonzero, right, 0)[..., None])[..., 0]
    return np.asarray(solved, dtype=float)


def _update(atoms: Array, squares: Array, products: Array, batch: Array, random: np.random.RandomState) -> None:
    """Update each atom in turn by the mean products of amplitudes with one another and with the patches."""
    for atom in range(len(atoms)):
        square = squares[atom, atom]
        if square > UNUSED:
            atoms[atom] += (products[:, atom] - squares[atom] @ atoms) / square
        else:
            patch = batch[random.choice(len(batch))]
            atoms[atom] = patch + random.normal(0, NOISE * (patch.std() or 1), size=len(patch))
        atoms[atom] /= max(np.linalg.norm(atoms[atom]), 1)

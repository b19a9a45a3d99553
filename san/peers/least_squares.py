"""Fits of amplitudes by least squares, for nested selections of atoms."""

import numpy as np
from scipy.linalg import lstsq, qr, solve_triangular

from san.peers.peer import Array

__all__ = ["LeastSquaresPath"]

DEPENDENT = 1e-10  # distance of an atom from the span of those before it, relative to its norm, that counts as zero


class LeastSquaresPath:
    r"""The amplitudes of the least squared error of the first atoms, of any number of atoms, by one QR factorization.

    .. math:: [W, x] = Q R \quad \Rightarrow \quad R_{1..k, 1..k} \, a = R_{1..k, n+1}

    SciPy's ``lstsq`` fits atoms that depend on those before them, with the amplitudes of the least norm.

    Args:
        placed_atoms: The atoms at their positions, [samples, activations].
        samples: The samples to fit, [samples].
    """

    def __init__(self, placed_atoms: Array, samples: Array) -> None:
        self.placed_atoms, self.samples = placed_atoms, samples
        n_atoms = placed_atoms.shape[1]
        (factor,) = qr(np.column_stack([placed_atoms, samples]), mode="r", overwrite_a=True, check_finite=False)
        self.triangle, self.projected = factor[:n_atoms, :n_atoms], factor[:n_atoms, n_atoms]
        is_dependent = np.abs(self.triangle.diagonal()) <= DEPENDENT * np.linalg.norm(placed_atoms, axis=0)
        self.n_independent = int(is_dependent.argmax()) if is_dependent.any() else n_atoms

    def solve(self, n_atoms: int) -> Array:
        """Return the amplitudes of the first atoms."""
        if n_atoms > self.n_independent:
            atoms = self.placed_atoms[:, :n_atoms]
            return np.asarray(lstsq(atoms, self.samples, lapack_driver="gelsy", check_finite=False)[0])
        triangle, projected = self.triangle[:n_atoms, :n_atoms], self.projected[:n_atoms]
        return np.asarray(solve_triangular(triangle, projected, check_finite=False))

"""The description of the lowest phi, by trying all supports that could have it."""

from itertools import combinations

import numpy as np


def atoms(kernel, n):
    """Return the kernel as it is put back at each position of n samples, cut off at the borders, [n, n]."""
    placed = np.zeros((n, n))
    for position in range(n):
        for tap, weight in enumerate(kernel):
            if 0 <= (at := position - (len(kernel) - 1) // 2 + tap) < n:
                placed[position, at] = weight
    return placed


def lowest_phi(x, kernel):
    """Return the lowest phi of a signal with the absolute error, over all supports and amplitudes.

    Of the amplitudes of a support with the least absolute error, one choice reproduces as many samples as there are
    amplitudes; so those that do are tried for all choices of samples.
    """
    n, placed = len(x), atoms(kernel, len(x))
    lowest = np.hypot(len(kernel) / n, 1)
    count = 1
    while (len(kernel) + 2 * count) / n < lowest:
        chosen = np.array(list(combinations(range(n), count)))
        design = placed[chosen].transpose(0, 2, 1)  # [supports, samples, atoms]
        square, right = design[:, chosen], x[chosen]  # [supports, choices, count, count], [choices, count]
        regular = np.abs(np.linalg.det(square)) > 1e-9
        amplitudes = np.linalg.solve(np.where(regular[..., None, None], square, np.eye(count)), right[None, ..., None])
        error = np.abs(x - (design[:, None] @ amplitudes)[..., 0]).sum(-1)
        error = np.where(regular, error, np.inf).min()
        lowest = min(lowest, np.hypot((len(kernel) + 2 * count) / n, error / np.abs(x).sum()))
        count += 1
    return lowest

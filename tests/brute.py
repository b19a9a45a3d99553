"""The lowest phi of a signal, by an exhaustive search over all supports that can have it."""

from itertools import combinations

import numpy as np


def atoms(kernel, n):
    """Return the kernel placed at each position of n samples, cropped at the borders, [n, n]."""
    placed = np.zeros((n, n))
    for position in range(n):
        for offset, weight in enumerate(kernel):
            if 0 <= (sample := position - (len(kernel) - 1) // 2 + offset) < n:
                placed[position, sample] = weight
    return placed


def lowest_phi(x, kernel):
    """Return the lowest phi of a signal with the absolute error, over all supports and amplitudes.

    For a support of k positions, some amplitudes with the lowest absolute error reproduce k samples exactly. So for
    each support the search solves for the amplitudes that reproduce k samples, for all choices of k samples.
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

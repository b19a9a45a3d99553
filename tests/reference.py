"""The operators as loops written from their definitions, which share no code with the package."""

import itertools

import numpy as np


def topk_absolutes(image, k):
    kept = np.zeros_like(image)
    for index in descending(image, list(np.ndindex(image.shape)))[:k]:
        kept[index] = image[index]
    return kept


def extrema_pool_indices(image, side, ceil_mode=False):
    kept = np.zeros_like(image)
    cells = [-(-length // side) if ceil_mode else length // side for length in image.shape]
    for cell in np.ndindex(*cells):
        ranges = [range(at * side, min((at + 1) * side, length)) for at, length in zip(cell, image.shape, strict=True)]
        largest = descending(image, list(itertools.product(*ranges)))[0]
        kept[largest] = image[largest]
    return kept


def extrema(image, distance, require_sign=True):
    kept = np.zeros_like(image)
    remaining = descending(image, candidates(image, require_sign))
    while remaining:
        first = remaining.pop(0)
        kept[first] = image[first]
        remaining = [other for other in remaining if chebyshev(first, other) > distance]
    return kept


def territory(images, distances, require_sign=True):
    """Select from the maps of the kernels of one model, where each kept extremum excludes others in all maps."""
    kept = np.zeros_like(images)
    remaining = [(kernel, *index) for kernel, image in enumerate(images) for index in candidates(image, require_sign)]
    remaining = descending(images, remaining)
    while remaining:
        kernel, *first = remaining.pop(0)
        kept[(kernel, *first)] = images[(kernel, *first)]
        remaining = [other for other in remaining if chebyshev(first, other[1:]) > distances[kernel]]
    return kept


def candidates(image, require_sign=True):
    found = []
    for index in np.ndindex(image.shape):
        peak = image[index] > 0 or not require_sign
        valley = image[index] <= 0 or not require_sign
        for axis, length in enumerate(image.shape):
            after = image[step(index, axis, 1)] - image[index] if index[axis] + 1 < length else 0
            before = image[index] - image[step(index, axis, -1)] if index[axis] > 0 else 0
            peak = peak and not after > 0 and before > 0
            valley = valley and after > 0 and before <= 0
        if peak or valley:
            found.append(index)
    return found


def descending(image, indices):
    return sorted(indices, key=lambda index: (-abs(image[index]), index))


def chebyshev(first, second):
    return max(abs(a - b) for a, b in zip(first, second, strict=True))


def step(index, axis, by):
    return tuple(at + by if other == axis else at for other, at in enumerate(index))


def correlate(x, kernel):
    """Cross-correlate and keep the size, with (m - 1) // 2 zeros before and the rest after."""
    result = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        for offset in np.ndindex(kernel.shape):
            at = tuple(i + o - (m - 1) // 2 for i, o, m in zip(index, offset, kernel.shape, strict=True))
            if all(0 <= i < n for i, n in zip(at, x.shape, strict=True)):
                result[index] += x[at] * kernel[offset]
    return result


def place(activations, kernel):
    """Apply the transpose of `correlate`: place the kernel at each activation, where the kernel was found."""
    result = np.zeros_like(activations)
    for index in np.ndindex(activations.shape):
        for offset in np.ndindex(kernel.shape):
            at = tuple(i + o - (m - 1) // 2 for i, o, m in zip(index, offset, kernel.shape, strict=True))
            if all(0 <= i < n for i, n in zip(at, activations.shape, strict=True)):
                result[at] += activations[index] * kernel[offset]
    return result

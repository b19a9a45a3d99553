"""Straightforward implementations of the paper's algorithms: one map, one extremum and one model at a time.

They share no code with `san`, which is measured and tested against them.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def extrema(similarity: Tensor, distance: int) -> Tensor:
    """Keep the primary extrema of maps [batch, kernels, *space], Algorithm 3, by loops over maps and extrema."""
    kept = torch.zeros_like(similarity)
    for example in range(similarity.shape[0]):
        for kernel in range(similarity.shape[1]):
            image = similarity[example, kernel].detach()
            positions = _candidates(image)
            positions = positions[image[tuple(positions.T)].abs().argsort(descending=True, stable=True)]
            secondary = torch.zeros(len(positions), dtype=torch.bool)
            for index in range(len(positions)):
                if not secondary[index]:
                    near = ((positions - positions[index]).abs() <= distance).all(1)
                    near[: index + 1] = False
                    secondary |= near
            primary = positions[~secondary]
            kept[(example, kernel, *primary.T)] = 1
    return kept * similarity


def _candidates(image: Tensor) -> Tensor:
    """Return the positions, [extrema, dims], of samples that are peaks along all axes or valleys along all axes."""
    peaks, valleys = image > 0, image <= 0
    for axis in range(image.dim()):
        difference = image.diff(dim=axis)
        border = torch.zeros_like(image.narrow(axis, 0, 1))
        after, before = torch.cat([difference, border], axis), torch.cat([border, difference], axis)
        peaks = peaks & ~(after > 0) & (before > 0)
        valleys = valleys & (after > 0) & (before <= 0)
    return (peaks | valleys).nonzero()


def correlate(x: Tensor, kernel: Tensor) -> Tensor:
    """Correlate signals [batch, 1, n] with one kernel [m], keeping their length."""
    before = (len(kernel) - 1) // 2
    return F.conv1d(F.pad(x, [before, len(kernel) - 1 - before]), kernel.view(1, 1, -1))


def train(examples: Tensor, validation: Tensor, kernel_size: int, *, epochs: int, batch_size: int, seed: int) -> float:
    """Train one model with one kernel, Algorithm 4, and return the lowest validation phi over the epochs."""
    torch.manual_seed(seed)
    kernel = (0.1 * torch.randn(kernel_size)).requires_grad_()
    optimizer = torch.optim.Adam([kernel], lr=0.01)
    distance = max(kernel_size - 3, 1)
    best = float("inf")
    for _ in range(epochs):
        for index in torch.randperm(len(examples)).split(batch_size):
            x = examples[index]
            reconstruction = correlate(extrema(correlate(x, kernel), distance), kernel)
            optimizer.zero_grad()
            (reconstruction - x).abs().mean().backward()
            optimizer.step()
        with torch.no_grad():
            maps = extrema(correlate(validation, kernel), distance)
            loss = (correlate(maps, kernel) - validation).abs().mean((1, 2)) / validation.abs().mean((1, 2))
            ratio = (kernel_size + 2 * maps.count_nonzero(dim=(1, 2))) / validation.shape[-1]
            best = min(best, float((ratio**2 + loss**2).sqrt().mean()))
    return best


def pursue(x: Tensor, kernel: Tensor, patience: int) -> Tensor:
    """Return the activations of a signal [n] by the greedy part of phi pursuit, with all correlations recomputed."""
    n, m = len(x), len(kernel)
    before = (m - 1) // 2
    atoms = x.new_zeros(n, n + m)
    for position in range(n):
        atoms[position, position : position + m] = kernel
    atoms = atoms[:, before : before + n]
    energy = atoms.square().sum(1)
    usable = energy > 1e-3 * kernel.square().sum()
    amplitudes, active = torch.zeros_like(x), torch.zeros(n, dtype=torch.bool)
    best, lowest, steps_without_gain = amplitudes.clone(), math.hypot(m / n, 1), 0
    while steps_without_gain <= patience and int(active.sum()) < n:
        gain = (atoms @ (x - amplitudes @ atoms)).square() / energy
        found = int(torch.where(usable & ~active, gain, -1).argmax())
        if gain[found] <= 0:
            break
        active[found] = True
        for _ in range(2):
            for other in range(max(0, found - m + 1), min(n, found + m)):
                change = atoms[other] @ (x - amplitudes @ atoms) / energy[other]
                if active[other] and change.abs() > 1e-2 * x.abs().max():
                    amplitudes[other] += change
        error = float((x - amplitudes @ atoms).abs().sum() / x.abs().sum())
        phi = math.hypot((m + 2 * int(active.sum())) / n, error)
        steps_without_gain += 1
        if phi < lowest:
            best, lowest, steps_without_gain = amplitudes.clone(), phi, 0
    return best

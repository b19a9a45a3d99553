"""Synthetic data, to test whether known kernels at known sparse positions, plus noise, are recovered."""

from collections.abc import Sequence
from math import prod
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from san.activations import Identity
from san.data.arguments import checked_arguments
from san.data.scale import Scale
from san.data.splits import Splits
from san.networks import SparselyActivatedNetwork

__all__ = ["load"]

MAX_SYNTHETIC_WORK = 1e9  # samples of all maps, or squares of their numbers of instances; about ten seconds at most


@checked_arguments
def load(
    *,
    space: Sequence[int],
    kernel_sizes: Sequence[int],
    split: Sequence[int],
    occupancy: float,
    noise: float,
    seed: int,
) -> Splits:
    """Generate examples from random smooth kernels.

    A kernel is white noise in a Hann window, smoothed along each axis and scaled to norm one: compact and without
    symmetry. In each example its instances lie at random positions where no two instances of the same kernel overlap,
    with amplitudes of random sign between one and two.

    Args:
        space: Samples along each axis, one or two numbers.
        kernel_sizes: Samples per axis of each planted kernel.
        split: Numbers of examples for training, validation and test.
        occupancy: Fraction of the space that the instances of a kernel cover, in (0, 1]; less if no more of them fit.
        noise: Standard deviation of the added white noise, relative to the standard deviation of the noiseless
            examples, >= 0.
        seed: Seed of the kernels, positions, amplitudes and noise.

    Raises:
        ValueError: If a kernel does not fit into the space, a number is out of its range, or the data would take too
            long to generate.
    """
    if not 0 < occupancy <= 1 or noise < 0:
        raise ValueError(f"occupancy={occupancy} must be in (0, 1] and noise={noise} must be 0 or more")
    if len(space) not in (1, 2) or min(kernel_sizes) < 2 or max(kernel_sizes) > min(space):
        raise ValueError(
            f"kernel_sizes={list(kernel_sizes)} must be from 2 to the smallest number of space={list(space)}, "
            "and space must have one or two numbers"
        )
    if len(split) != 3 or min(split) < 1:
        raise ValueError(f"split={list(split)} must be three positive numbers of examples")
    instances = max(occupancy * prod(space) / size ** len(space) for size in kernel_sizes)
    if sum(split) * len(kernel_sizes) * max(prod(space), instances**2) > MAX_SYNTHETIC_WORK:
        raise ValueError(
            f"split={list(split)} examples of space={list(space)} with {instances:.0f} instances per kernel take too "
            "long to make: lower one of them"
        )
    generator = torch.Generator().manual_seed(seed)
    kernels = [_random_kernel(size, len(space), generator) for size in kernel_sizes]
    maps = torch.stack(
        [
            torch.stack([_random_activation_map(space, size, occupancy, generator) for size in kernel_sizes])
            for _ in range(sum(split))
        ]
    )
    n_dims: Literal[1, 2] = 1 if len(space) == 1 else 2
    network = SparselyActivatedNetwork(list(kernel_sizes), Identity(), n_dims, decoder="adjoint")
    with torch.no_grad():
        for weight, kernel in zip(network.kernels, kernels, strict=True):
            weight.copy_(kernel)
        clean = network.decode(maps)
    examples = clean + noise * clean.std() * torch.randn(clean.shape, generator=generator)
    train, validation, test = examples.split(list(split))
    return Splits(
        name=f"synthetic/{'+'.join(str(size) for size in kernel_sizes)}",
        train=train,
        validation=validation,
        test=test,
        units="amplitude",
        scale=Scale("none"),
        planted=kernels,
    )


def _random_kernel(size: int, n_dims: int, generator: torch.Generator) -> Tensor:
    """Return a smooth kernel of norm one, [m] or [m, m]."""
    kernel: Tensor = torch.randn([size] * n_dims, generator=generator)
    window = torch.hann_window(size + 2, periodic=False)[1:-1]
    frequencies = torch.fft.fftfreq(size)
    for axis in range(n_dims):
        shape = [-1 if other == axis else 1 for other in range(n_dims)]
        low_pass = torch.exp(-((frequencies * size / 3) ** 2)).view(shape)
        kernel = torch.fft.ifft(torch.fft.fft(kernel, dim=axis) * low_pass, dim=axis).real * window.view(shape)
    return torch.nn.functional.normalize(kernel.flatten(), dim=0).view_as(kernel)


def _random_activation_map(space: Sequence[int], size: int, occupancy: float, generator: torch.Generator) -> Tensor:
    """Return an activation map whose instances lie inside the space and do not overlap, [*space].

    The candidate positions are processed in random order; each is kept if its instance overlaps no kept one.
    """
    before = (size - 1) // 2
    inside = torch.cartesian_prod(*(torch.arange(before, before + length - size + 1) for length in space))
    candidates = inside.view(-1, len(space))[torch.randperm(len(inside), generator=generator)]
    count = max(1, round(occupancy * prod(space) / size ** len(space)))
    kept: list[tuple[int, ...]] = []
    overlaps = np.zeros(space, np.bool_)
    for position in map(tuple, candidates.numpy()):
        if len(kept) == count:
            break
        if not overlaps[position]:
            kept.append(position)
            overlaps[tuple(slice(max(0, at - size + 1), at + size) for at in position)] = True
    amplitudes = 1 + torch.rand(len(kept), generator=generator)
    signs = torch.randint(0, 2, (len(kept),), generator=generator) * 2 - 1
    activation_map = torch.zeros(*space)
    activation_map[tuple(np.transpose(kept))] = amplitudes * signs
    return activation_map

"""Synthetic data: known kernels at known sparse positions, plus noise, to see whether they are found again."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from san.activations import Identity
from san.data.splits import Splits
from san.networks import SparselyActivatedNetwork

__all__ = ["load"]

MOST = 1e9  # samples to be made, or pairs of instances to be kept apart, some ten seconds of either


def load(
    *,
    space: Sequence[int],
    kernel_sizes: Sequence[int],
    split: Sequence[int],
    occupancy: float,
    noise: float,
    seed: int,
) -> Splits:
    """Make examples from random smooth kernels.

    A kernel is white noise in a Hann window, smoothed along each axis, of norm one: compact, and of no symmetry. In
    each example its instances lie at random where no two of the same kernel overlap, with amplitudes of random sign
    between one and two.

    Args:
        space: Samples along each axis, one or two numbers.
        kernel_sizes: Samples a side of each planted kernel.
        split: How many examples are for training, validation and test.
        occupancy: Share of the space that the instances of a kernel cover, in (0, 1]; less where no more fit.
        noise: Standard deviation of the white noise added, in units of that of the examples.
        seed: Of everything random here.

    Raises:
        ValueError: If a kernel does not fit into the space, or a number is out of its range.
    """
    if not 0 < occupancy <= 1 or noise < 0:
        raise ValueError(f"dataset.occupancy={occupancy} must be in (0, 1] and dataset.noise={noise} not negative")
    if len(space) not in (1, 2) or min(kernel_sizes) < 2 or max(kernel_sizes) > min(space):
        raise ValueError(f"dataset.kernel_sizes={list(kernel_sizes)} must be from 2 to the least of "
                         f"dataset.space={list(space)}, which has one or two numbers")  # fmt: skip
    instances = max(occupancy * prod(space) / size ** len(space) for size in kernel_sizes)
    if sum(split) * len(kernel_sizes) * max(prod(space), instances**2) > MOST:
        raise ValueError(f"dataset.split={list(split)} examples of dataset.space={list(space)} with {instances:.0f} "
                         "instances of a kernel each take too long to make: lower one of them")  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    kernels = [_kernel(size, len(space), generator) for size in kernel_sizes]
    maps = torch.stack(
        [
            torch.stack([_activations(space, size, occupancy, generator) for size in kernel_sizes])
            for _ in range(sum(split))
        ]
    )
    network = SparselyActivatedNetwork(list(kernel_sizes), Identity(), len(space), decoder="adjoint")
    with torch.no_grad():
        for weight, kernel in zip(network.kernels, kernels, strict=True):
            weight.copy_(kernel)
        clean = network.decode(maps)
    examples = clean + noise * clean.std() * torch.randn(clean.shape, generator=generator)
    train, validation, test = examples.split(list(split))
    return Splits(
        name=f"synthetic/{'x'.join(str(size) for size in kernel_sizes)}",
        train=train,
        validation=validation,
        test=test,
        units="amplitude",
        planted=kernels,
    )


def _kernel(size: int, n_dims: int, generator: torch.Generator) -> Tensor:
    kernel: Tensor = torch.randn([size] * n_dims, generator=generator)
    window = torch.hann_window(size + 2, periodic=False)[1:-1]
    frequencies = torch.fft.fftfreq(size)
    for axis in range(n_dims):
        shape = [-1 if other == axis else 1 for other in range(n_dims)]
        smooth = torch.exp(-((frequencies * size / 3) ** 2)).view(shape)
        kernel = torch.fft.ifft(torch.fft.fft(kernel, dim=axis) * smooth, dim=axis).real * window.view(shape)
    return torch.nn.functional.normalize(kernel.flatten(), dim=0).view_as(kernel)


def _activations(space: Sequence[int], size: int, occupancy: float, generator: torch.Generator) -> Tensor:
    """Take positions in random order, each at which an instance lies inside the space and overlaps none before."""
    before = (size - 1) // 2
    inside = torch.cartesian_prod(*(torch.arange(before, before + length - size + 1) for length in space))
    shuffled = inside.view(-1, len(space))[torch.randperm(len(inside), generator=generator)]
    count = max(1, round(occupancy * prod(space) / size ** len(space)))
    kept = shuffled[:1]
    for position in shuffled[1:]:
        if len(kept) == count:
            break
        if (kept - position).abs().amax(1).min() >= size:
            kept = torch.cat([kept, position.unsqueeze(0)])
    amplitudes = 1 + torch.rand(len(kept), generator=generator)
    signs = torch.randint(0, 2, (len(kept),), generator=generator) * 2 - 1
    activations = torch.zeros(*space)
    activations[kept.unbind(1)] = amplitudes * signs
    return activations

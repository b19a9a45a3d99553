"""Kernels of several sizes in one tensor: where each lies in its padding, and how it is initialized."""

from collections.abc import Callable, Sequence
from types import EllipsisType
from typing import TypeVar

import torch
from torch import Tensor

from san.ops.choices import check_choice
from san.ops.shapes import Dimensions

__all__ = [
    "KernelSampler",
    "initial_weight",
    "kernel_index",
    "kernels_text",
    "mirror",
    "nearest_of_rank_1",
    "normal_sampler",
    "padding_mask",
    "resized",
    "separated",
    "sizes_text",
    "start_in_padding",
]

Integer = TypeVar("Integer", int, Tensor)

KernelSampler = Callable[[Sequence[int], torch.Generator], Tensor]
"""Draws one kernel: ``sampler(shape, generator)`` returns a tensor of that shape, [m] or [m, m], or of several channels
[channels, m] or [channels, m, m]."""


def start_in_padding(extent: int, size: Integer) -> Integer:
    """Return the first sample of a kernel padded to an extent so that both have the same "same" convolution.

    Args:
        extent: M, samples of the padded kernel along an axis.
        size: m, samples of the kernel along that axis, an integer or a tensor of them; if M is less, the result is
            negative or 0, the offset at which both have one middle.
    """
    return (extent - 1) // 2 - (size - 1) // 2


def sizes_text(sizes: Sequence[int]) -> str:
    """Return the kernel sizes of a model as they are printed and written: 64 of equal sizes, else ``12+40``."""
    return "+".join(map(str, sizes if len(set(sizes)) > 1 else sizes[:1]))


def kernels_text(sizes: Sequence[int]) -> str:
    """Return the kernels of a model in words: ``1 kernel of size 64``, ``2 kernels of size 12+40``."""
    return f"{len(sizes)} kernel{'s' if len(sizes) > 1 else ''} of size {sizes_text(sizes)}"


def mirror(kernel: Tensor, n_dims: int) -> Tensor:
    """Return a kernel reversed along the axes of its space, the last ones, as the paper's decoder places it."""
    return kernel.flip(tuple(range(-n_dims, 0)))


def normal_sampler(mean: float, deviation: float) -> KernelSampler:
    """Return a sampler of kernels whose samples are independent and normal.

    Args:
        mean: Mean of a sample.
        deviation: Standard deviation of a sample, >= 0.
    """
    return lambda shape, generator: mean + deviation * torch.randn(shape, generator=generator)


def kernel_index(kernel: int, size: int, extent: int, n_dims: int) -> tuple[int | slice | EllipsisType, ...]:
    """Return the index of a kernel, of all its channels, in a padded tensor [kernels, ..., *extent] without padding."""
    return (kernel, *_middle(extent, size, n_dims))


def resized(kernel: Tensor, size: int, n_dims: int) -> Tensor:
    """Return a kernel of another size: the middle of a larger one, or a smaller one in the middle of zeros.

    Its sample (m - 1) // 2 stays the middle, so a kernel that is padded with zeros has the same "same" convolution.

    Args:
        kernel: The kernel, [m] or [m, m], or of several channels [channels, m] or [channels, m, m].
        size: Samples per axis of the returned kernel.
        n_dims: 1 for signals, 2 for images.
    """
    own = kernel.shape[-1]
    if size <= own:
        return kernel[_middle(own, size, n_dims)]
    padded = kernel.new_zeros([*kernel.shape[:-n_dims], *[size] * n_dims])
    padded[_middle(size, own, n_dims)] = kernel
    return padded


def _middle(extent: int, size: int, n_dims: int) -> tuple[int | slice | EllipsisType, ...]:
    """Return the index of a kernel in its padding, whatever axes are before its space."""
    start = start_in_padding(extent, size)
    return (..., *[slice(start, start + size)] * n_dims)


def separated(kernels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the factors of the nearest kernels of rank 1: numbers of unit norm over channels, and a waveform.

    The number of the largest absolute value over channels is positive.

    Args:
        kernels: The kernels, [kernels, channels, *extent].

    Returns:
        [kernels, channels] and [kernels, *extent] in float64.
    """
    matrices = kernels.detach().double().flatten(2)
    # The highest eigenvalue is the last one.
    over_channels = torch.linalg.eigh(matrices @ matrices.mT).eigenvectors[..., -1]
    largest = over_channels.gather(1, over_channels.abs().argmax(1, keepdim=True))
    over_channels = torch.where(largest < 0, -over_channels, over_channels)
    waveforms = (over_channels.unsqueeze(1) @ matrices).view(len(kernels), *kernels.shape[2:])
    return over_channels, waveforms


def nearest_of_rank_1(kernels: Tensor) -> Tensor:
    """Return the nearest kernels of rank 1, [kernels, channels, *extent]: products of the factors of each."""
    over_channels, waveforms = separated(kernels)
    shape = (*over_channels.shape, *[1] * (waveforms.dim() - 1))
    return (over_channels.view(shape) * waveforms.unsqueeze(1)).to(kernels)


def padding_mask(sizes: Sequence[int], extent: int, n_dims: int, device: torch.device) -> Tensor:
    """Mark the samples of padded kernels that are not padding, [kernels, *extent] in bool."""
    samples = torch.arange(extent, device=device)
    size = torch.tensor(sizes, device=device).unsqueeze(1)
    start = start_in_padding(extent, size)
    inside = (samples >= start) & (samples < start + size)
    return inside if n_dims == 1 else inside.unsqueeze(1) & inside.unsqueeze(2)


def initial_weight(
    sizes_of_models: Sequence[Sequence[int]],
    n_dims: int,
    n_channels: int,
    *,
    seed: int | None,
    start_indices: Sequence[int],
    sampler: KernelSampler,
) -> Tensor:
    """Draw the kernels of each model; each kernel is a function of the seed, its size and its model's start index.

    Args:
        sizes_of_models: Kernel sizes in samples per axis, of each model.
        n_dims: 1 for signals, 2 for images.
        n_channels: Channels of every kernel.
        seed: Seed of all models; None to draw it from the global generator.
        start_indices: One index per model, which distinguishes models of equal sizes.
        sampler: Draws one kernel.

    Returns:
        The kernels, padded with zeros to the largest: [kernels, *extent] for one channel, [kernels, channels, *extent]
        for several.

    Raises:
        ValueError: If the number of dimensions is another, or there is no channel.
    """
    check_choice("n_dims", n_dims, Dimensions)
    if n_channels < 1:
        raise ValueError(f"channels={n_channels} must be 1 or more")
    sizes = [size for own in sizes_of_models for size in own]
    channels = [] if n_channels == 1 else [n_channels]
    weight = torch.zeros(len(sizes), *channels, *[max(sizes)] * n_dims)
    entropy = int(torch.randint(2**31, ())) if seed is None else seed
    kernel = 0
    for own, start_index in zip(sizes_of_models, start_indices, strict=True):
        seeds = {size: entropy * 65537 + start_index * 1_000_003 + size for size in own}
        generators = {size: torch.Generator().manual_seed(seeds[size]) for size in own}
        for size in own:
            shape = [*channels, *[size] * n_dims]
            weight[kernel_index(kernel, size, max(sizes), n_dims)] = sampler(shape, generators[size])
            kernel += 1
    return weight

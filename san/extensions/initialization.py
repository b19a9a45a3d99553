"""Kernels initialized from the data, instead of the paper's normal distribution."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from san.ops.kernels import KernelSampler, mirror
from san.ops.shapes import Float

__all__ = ["highest_mean_window", "window_sampler"]

CANDIDATES = 20  # random windows per kernel; the one with the highest energy becomes the kernel


def window_sampler(x: Float[Tensor, "batch 1 *space"], mirrored: bool) -> KernelSampler:
    """Return a sampler of unit-norm kernels: the highest-energy of 20 random windows of the examples.

    Args:
        x: The examples.
        mirrored: Whether to mirror the kernels, as the paper's decoder mirrors them again.

    Raises:
        ValueError: On a call of the sampler, if a kernel is longer than the examples.
    """

    def sampler(shape: Sequence[int], generator: torch.Generator) -> Tensor:
        size, length = max(shape), min(x.shape[2:])
        if size > length:
            raise ValueError(f"kernel_size={size} exceeds the signal length {length}; choose 1 to {length}")
        torch.randn(shape, generator=generator)  # skipped numbers: published results start after them
        candidates = [_random_window(x, shape, generator) for _ in range(CANDIDATES)]
        kernel = max(candidates, key=lambda window: float(window.norm()))
        kernel = F.normalize(kernel.flatten(), dim=0).view_as(kernel)
        return mirror(kernel) if mirrored else kernel

    return sampler


def highest_mean_window(x: Float[Tensor, "batch 1 *space"], size: int) -> tuple[Tensor, tuple[int | slice, ...]]:
    """Return the mean of the window with the highest mean, and its position.

    Args:
        x: Values to average, such as squared residuals.
        size: Samples of a window per axis.

    Returns:
        The mean, a scalar, and the index of the window in x.
    """
    means = (F.avg_pool1d if x.dim() == 3 else F.avg_pool2d)(x, size, stride=1)
    example, _, *corner = (int(index) for index in torch.unravel_index(means.argmax(), means.shape))
    return means.max(), (example, 0, *(slice(first, first + size) for first in corner))


def _random_window(x: Tensor, shape: Sequence[int], generator: torch.Generator) -> Tensor:
    window = x[int(torch.randint(len(x), (), generator=generator)), 0]
    for axis, size in enumerate(shape):
        first = int(torch.randint(window.shape[axis] - size + 1, (), generator=generator))
        window = window.narrow(axis, first, size)
    return window

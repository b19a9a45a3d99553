"""What kernels start from, in place of the paper's normal distribution."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from san.shapes import Float

__all__ = ["windows"]

CANDIDATES = 20  # windows, of which the one of the most energy is taken


def windows(x: Float[Tensor, "batch 1 *space"], mirrored: bool) -> Callable[[Sequence[int], torch.Generator], Tensor]:
    """Return what draws kernels from examples: a window of much energy, with a norm of 1.

    Args:
        x: The examples.
        mirrored: Whether to return them mirrored, as the paper's decoder mirrors what it puts back.

    Raises:
        ValueError: On a draw, if a kernel is longer than the examples.
    """

    def draw(shape: Sequence[int], generator: torch.Generator) -> Tensor:
        size, n = max(shape), min(x.shape[2:])
        if size > n:
            raise ValueError(f"kernel_size={size} is longer than the signal, which has {n} samples a side")
        candidates = [_window(x, shape, generator) for _ in range(CANDIDATES)]
        kernel = max(candidates, key=lambda window: float(window.norm()))
        kernel = F.normalize(kernel.flatten(), dim=0).view_as(kernel)
        return kernel.flip(tuple(range(kernel.dim()))) if mirrored else kernel

    return draw


def _window(x: Tensor, shape: Sequence[int], generator: torch.Generator) -> Tensor:
    window = x[int(torch.randint(len(x), (), generator=generator)), 0]
    for axis, size in enumerate(shape):
        start = int(torch.randint(window.shape[axis] - size + 1, (), generator=generator))
        window = window.narrow(axis, start, size)
    return window

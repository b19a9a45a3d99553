"""What kernels start from, in place of the paper's normal distribution."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from san.shapes import Float

__all__ = ["window_of_most", "windows"]

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


def window_of_most(x: Float[Tensor, "batch 1 *space"], size: int) -> tuple[Tensor, tuple[int | slice, ...]]:
    """Return the mean of the window with the largest sum, and where it is.

    Args:
        x: Values of examples, such as squares.
        size: Samples a side of a window.

    Returns:
        The mean, a scalar, and the index of the window in an example and its channel.
    """
    means = (F.avg_pool1d if x.dim() == 3 else F.avg_pool2d)(x, size, stride=1)
    example, _, *starts = (int(index) for index in torch.unravel_index(means.argmax(), means.shape))
    return means.max(), (example, 0, *(slice(start, start + size) for start in starts))


def _window(x: Tensor, shape: Sequence[int], generator: torch.Generator) -> Tensor:
    window = x[int(torch.randint(len(x), (), generator=generator)), 0]
    for axis, size in enumerate(shape):
        start = int(torch.randint(window.shape[axis] - size + 1, (), generator=generator))
        window = window.narrow(axis, start, size)
    return window

"""The "same" correlation of maps with kernels and its transpose, directly or by FFT, whichever takes less."""

from collections.abc import Sequence
from math import log2, prod
from types import ModuleType
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from san.ops.backend import compiled_for
from san.shapes import Float

__all__ = ["convolve", "correlate", "is_direct"]

# Measured by `make bench`: a direct convolution computes at least so many kernels, as its vectors are that wide, and
# takes for each output as long as for so many more multiplications, and with its gradient so many times as long; a
# butterfly of a transform, with or without, takes as long as some.
LANES, OUTPUT, GRADIENT, BUTTERFLY = 16, 16, 3, 12.8


def correlate(
    maps: Float[Tensor, "batch channels *space"],
    weight: Float[Tensor, "kernels *extent"],
    sizes: Sequence[int] | None = None,
    exact: bool = False,
) -> Float[Tensor, "batch kernels *space"]:
    """Correlate maps with kernels: one channel with all of them, or each of as many with its own.

    The size is kept by zeros: (m - 1) // 2 before the first sample, the rest after the last.

    Args:
        maps: What is correlated.
        weight: The kernels, padded to one extent around their middle.
        sizes: Samples of each kernel, if the result is to be exactly zero wherever the maps are under all of it, as it
            is by the direct way and, for rounding, not by a transform.
        exact: Whether equal windows must give equal results, so that no transform is used: what is a plateau in a
            signal is then one in its similarity, of which a selection keeps one sample.
    """
    before = (weight.shape[-1] - 1) // 2
    padded = F.pad(maps, [before, weight.shape[-1] - 1 - before] * (weight.dim() - 1))
    if (compiled := _compiled_for(padded, weight, sizes)) is not None:
        numbers = np.asarray(sizes, dtype=np.int64)
        return torch.from_numpy(compiled.correlate(padded.squeeze(1).numpy(), weight.detach().numpy(), numbers))
    if exact or is_direct(maps, weight):
        return _directly(padded, weight)
    correlated = _by_fft(padded, weight.flip(-1), weight.shape[-1] - 1, maps)
    return correlated if sizes is None or bool(maps.all()) else torch.where(_reached(maps, sizes), correlated, 0)


def convolve(
    maps: Float[Tensor, "batch kernels *space"], weight: Float[Tensor, "kernels *extent"]
) -> Float[Tensor, "batch kernels *space"]:
    """Put each kernel at its activations: the transpose of :func:`correlate`, map by map."""
    n_dims, before = weight.dim() - 1, (weight.shape[-1] - 1) // 2
    if not is_direct(maps, weight):
        return _by_fft(maps, weight, before, maps)
    padded = F.pad(maps, [weight.shape[-1] - 1 - before, before] * n_dims)
    return _directly(padded, weight.flip(tuple(range(1, n_dims + 1))))


def is_direct(maps: Tensor, weight: Tensor) -> bool:
    """Tell whether a sum over the samples of the kernels takes less time than transforms of signals.

    Images are always summed: their kernels are small, and what is zero in them stays exactly so.
    """
    if maps.dtype not in (torch.float32, torch.float64) or maps.dim() != 3 or torch.compiler.is_compiling():
        return True
    space = maps.shape[2:]
    direct = len(maps) * max(len(weight), LANES) * prod(space) * (prod(weight.shape[1:]) + OUTPUT)
    if torch.is_grad_enabled() and weight.requires_grad:
        direct *= GRADIENT
    transforms = len(maps) * maps.shape[1] + len(weight) + len(maps) * len(weight)
    length = _length(maps, weight)
    return bool(direct <= BUTTERFLY * transforms * length * log2(max(2, length)))


def _directly(padded: Tensor, weight: Tensor) -> Tensor:
    if weight.dim() == 2:
        return F.conv1d(padded, weight.unsqueeze(1), groups=padded.shape[1])
    if padded.shape[1] > 1 and weight.requires_grad and not torch.compiler.is_compiling() and compiled_for(padded):
        correlated: Tensor = _MapByMap.apply(padded, weight)
        return correlated
    return F.conv2d(padded, weight.unsqueeze(1), groups=padded.shape[1])


class _MapByMap(torch.autograd.Function):
    """Correlate each map with its own kernel; torch takes ten times as long for the gradient by the kernels."""

    @staticmethod
    def forward(ctx: Any, padded: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(padded, weight)
        return F.conv2d(padded, weight.unsqueeze(1), groups=len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor]:
        padded, weight = ctx.saved_tensors
        by_maps = F.conv_transpose2d(grad, weight.unsqueeze(1), groups=len(weight)) if ctx.needs_input_grad[0] else None
        compiled = cast("ModuleType", compiled_for(padded))
        total = compiled.weigh_everywhere(padded.numpy(), grad.contiguous().numpy(), weight.shape[-1])
        return by_maps, torch.from_numpy(total)


def _compiled_for(padded: Tensor, weight: Tensor, sizes: Sequence[int] | None) -> ModuleType | None:
    """Return the compiled operators where signals are correlated with kernels of known sizes, and not for a gradient.

    They take the least time up to kernels of hundreds of samples.
    """
    if sizes is None or padded.dim() != 3 or torch.compiler.is_compiling():
        return None
    if torch.is_grad_enabled() and (padded.requires_grad or weight.requires_grad):
        return None
    return compiled_for(padded)


def _reached(signals: Tensor, sizes: Sequence[int]) -> Tensor:
    """Mark where a kernel covers any sample of a signal that is not zero."""
    size = torch.tensor(list(sizes), device=signals.device).unsqueeze(1)
    at, before = torch.arange(signals.shape[-1], device=signals.device), (size - 1) // 2
    ends = [(at - before).clamp(min=0), (at - before + size).clamp(max=signals.shape[-1])]
    counts = F.pad((signals != 0).cumsum(-1), (1, 0)).expand(-1, len(size), -1)
    first, last = (counts.gather(-1, end.expand(len(signals), -1, -1)) for end in ends)
    return last > first


def _by_fft(maps: Tensor, weight: Tensor, start: int, like: Tensor) -> Tensor:
    length = _length(like, weight)
    spectrum = torch.fft.rfft(maps, length) * torch.fft.rfft(weight, length)
    full: Tensor = torch.fft.irfft(spectrum, length)
    return full.narrow(-1, start, like.shape[-1])


def _length(maps: Tensor, weight: Tensor) -> int:
    """Return a length, of small factors, for which what wraps around stays out of the samples that are kept."""
    length = maps.shape[-1] + weight.shape[-1] - 1
    step = 1 << max(0, length.bit_length() - 4)
    return -(-length // step) * step

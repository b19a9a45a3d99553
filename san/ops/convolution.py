"""The "same" correlation of maps with kernels and its transpose, directly or by FFT, whichever takes less time."""

from collections.abc import Sequence
from math import log2, prod
from types import ModuleType
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from san.ops.backend import compiled_for
from san.ops.shapes import Float

__all__ = ["convolve", "correlate", "is_direct"]

# The cost model of `is_direct`, in units of one multiplication of a direct convolution, measured by `make bench`. It
# decides between the sum and the transform, whose results agree up to rounding.
MIN_KERNELS = 16
"""Kernels that a direct convolution computes at least, the width of its vectors."""
OUTPUT_COST = 16
"""Cost of one output sample of a direct convolution, in addition to its multiplications."""
GRADIENT_FACTOR = 3
"""Factor of the cost of a direct convolution whose kernels require a gradient."""
BUTTERFLY_COST = 12.8
"""Cost of one butterfly of a transform, with or without a gradient."""


def correlate(
    maps: Float[Tensor, "batch channels *space"],
    weight: Float[Tensor, "kernels *extent"],
    sizes: Sequence[int] | None = None,
    exact: bool = False,
) -> Float[Tensor, "batch kernels *space"]:
    """Correlate maps with kernels: one channel with every kernel, or each channel with equally many of its own.

    Zero padding keeps the size: (m - 1) // 2 samples before the first sample, the rest after the last one.

    Args:
        maps: One channel, or as many as divide the number of kernels.
        weight: The kernels, padded with zeros to one extent around their middle.
        sizes: Size of each kernel in samples. If given, the result is exactly zero wherever the maps are zero under the
            whole kernel; the rounding of a transform is removed there.
        exact: Whether equal windows must give equal results, which excludes transforms. A plateau of a signal is then
            a plateau of its similarity, and a selection keeps one sample of it.
    """
    if 1 < maps.shape[1] < len(weight):
        maps = maps.repeat_interleave(len(weight) // maps.shape[1], dim=1)
    before = (weight.shape[-1] - 1) // 2
    padded = F.pad(maps, [before, weight.shape[-1] - 1 - before] * (weight.dim() - 1))
    if sizes is not None and (compiled := _compiled_for_signals(padded, weight)) is not None:
        products: Tensor = compiled.correlate(padded, weight, sizes)
        return products
    if exact or is_direct(maps, weight):
        return _correlate_directly(padded, weight)
    correlated = _convolve_by_fft(padded, weight.flip(-1), weight.shape[-1] - 1, maps)
    if sizes is None or bool(maps.all()):
        return correlated
    return torch.where(_nonzero_under_kernels(maps, sizes), correlated, 0)


def convolve(
    maps: Float[Tensor, "batch kernels *space"], weight: Float[Tensor, "kernels *extent"]
) -> Float[Tensor, "batch kernels *space"]:
    """Place each kernel at the activations of its map, the transpose of :func:`correlate`."""
    n_dims, before = weight.dim() - 1, (weight.shape[-1] - 1) // 2
    if not is_direct(maps, weight):
        return _convolve_by_fft(maps, weight, before, maps)
    padded = F.pad(maps, [weight.shape[-1] - 1 - before, before] * n_dims)
    return _correlate_directly(padded, weight.flip(tuple(range(1, n_dims + 1))))


def is_direct(maps: Tensor, weight: Tensor) -> bool:
    """Return whether a direct sum over the kernel samples takes less time than transforms of the signals.

    Images are always summed directly: their kernels are small, and zeros stay exactly zero.
    """
    if maps.dtype not in (torch.float32, torch.float64) or maps.dim() != 3 or torch.compiler.is_compiling():
        return True
    space = maps.shape[2:]
    direct = len(maps) * max(len(weight), MIN_KERNELS) * prod(space) * (prod(weight.shape[1:]) + OUTPUT_COST)
    if torch.is_grad_enabled() and weight.requires_grad:
        direct *= GRADIENT_FACTOR
    transforms = len(maps) * maps.shape[1] + len(weight) + len(maps) * len(weight)
    length = _transform_length(maps, weight)
    return bool(direct <= BUTTERFLY_COST * transforms * length * log2(max(2, length)))


def _correlate_directly(padded: Tensor, weight: Tensor) -> Tensor:
    if weight.dim() == 2:
        return F.conv1d(padded, weight.unsqueeze(1), groups=padded.shape[1])
    if padded.shape[1] > 1 and weight.requires_grad and not torch.compiler.is_compiling() and compiled_for(padded):
        correlated: Tensor = _ChannelwiseCorrelation.apply(padded, weight)
        return correlated
    return F.conv2d(padded, weight.unsqueeze(1), groups=padded.shape[1])


class _ChannelwiseCorrelation(torch.autograd.Function):
    """Correlate each channel of images with its own kernel; torch takes ten times as long for the kernels' gradient."""

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
        return by_maps, compiled.weigh_everywhere(padded, grad, weight.shape[-1])


def _compiled_for_signals(padded: Tensor, weight: Tensor) -> ModuleType | None:
    """Return the compiled operators for signals without a gradient.

    They take the least time for kernels of up to hundreds of samples.
    """
    if padded.dim() != 3 or torch.compiler.is_compiling():
        return None
    if torch.is_grad_enabled() and (padded.requires_grad or weight.requires_grad):
        return None
    return compiled_for(padded)


def _nonzero_under_kernels(signals: Tensor, sizes: Sequence[int]) -> Tensor:
    """Mark the positions at which a kernel covers a nonzero sample of a signal, [batch, kernels, samples] in bool."""
    size = torch.tensor(list(sizes), device=signals.device).unsqueeze(1)
    position, before = torch.arange(signals.shape[-1], device=signals.device), (size - 1) // 2
    ends = [(position - before).clamp(min=0), (position - before + size).clamp(max=signals.shape[-1])]
    counts = F.pad((signals != 0).cumsum(-1), (1, 0)).expand(-1, len(size), -1)
    first, last = (counts.gather(-1, end.expand(len(signals), -1, -1)) for end in ends)
    return last > first


def _convolve_by_fft(signals: Tensor, weight: Tensor, start: int, maps: Tensor) -> Tensor:
    """Return the samples of the full convolution from start on, as many as the maps have; it is differentiable once."""
    full: Tensor = _TransformedConvolution.apply(signals, weight, _transform_length(maps, weight))
    return full.narrow(-1, start, maps.shape[-1])


class _TransformedConvolution(torch.autograd.Function):
    """Convolve by transforms of real numbers; torch's own gradient uses complex transforms, which take longer."""

    @staticmethod
    def forward(ctx: Any, signals: Tensor, weight: Tensor, length: int) -> Tensor:
        signal_spectra, weight_spectra = torch.fft.rfft(signals, length), torch.fft.rfft(weight, length)
        ctx.save_for_backward(signal_spectra, weight_spectra)
        ctx.length, ctx.sizes = length, (signals.shape[-1], weight.shape[-1])
        full: Tensor = torch.fft.irfft(signal_spectra * weight_spectra, length)
        return full

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        signal_spectra, weight_spectra = ctx.saved_tensors
        spectra = torch.fft.rfft(grad)
        by_signals, by_weight = None, None
        if ctx.needs_input_grad[0]:
            products = spectra * weight_spectra.conj()
            own = products.sum(1, keepdim=True) if signal_spectra.shape[1] == 1 else products
            by_signals = torch.fft.irfft(own, ctx.length)[..., : ctx.sizes[0]]
        if ctx.needs_input_grad[1]:
            by_weight = torch.fft.irfft((spectra * signal_spectra.conj()).sum(0), ctx.length)[..., : ctx.sizes[1]]
        return by_signals, by_weight, None


def _transform_length(maps: Tensor, weight: Tensor) -> int:
    """Return a length of small factors at which the wrap-around of the transform stays outside the kept samples."""
    length = maps.shape[-1] + weight.shape[-1] - 1
    step = 1 << max(0, length.bit_length() - 4)
    return -(-length // step) * step

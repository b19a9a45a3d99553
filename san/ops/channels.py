"""Kernels of several channels, by the operators of one channel: a kernel has one map, whatever its channels.

The similarity of a kernel is the sum over its channels, and each activation places all channels of its kernel. The
kernels of one channel are [kernels, *extent], those of several [kernels, channels, *extent]. The channels of the models
of a bank are one axis, model after model: [batch, models * channels, *space].
"""

from collections.abc import Iterable, Sequence
from functools import reduce

import torch
from torch import Tensor

from san.ops import convolution, placement
from san.ops.shapes import Float

__all__ = ["convolve", "correlate", "gather", "place"]


def correlate(
    x: Float[Tensor, "batch channels *space"],
    weight: Float[Tensor, "kernels *extent"],
    sizes: Sequence[int],
    exact: bool,
) -> Float[Tensor, "batch kernels *space"]:
    """Correlate an input, or that of each model of a bank, with kernels; see :func:`san.ops.convolution.correlate`."""
    of_channels = _of_channels(weight, x.dim() - 2)
    signals = _channels(x, len(of_channels))
    return _sum(convolution.correlate(one, own, sizes, exact) for one, own in zip(signals, of_channels, strict=True))


def convolve(
    maps: Float[Tensor, "batch kernels *space"], weight: Float[Tensor, "kernels *extent"], sign: int
) -> Float[Tensor, "batch kernels *channels_and_space"]:
    """Place kernels everywhere; see :func:`san.ops.convolution.convolve`.

    Args:
        maps: The activation maps.
        weight: The kernels.
        sign: 1 to place a kernel as it is, -1 to mirror it.

    Returns:
        [batch, kernels, *space] for one channel, [batch, kernels, channels, *space] for several.
    """
    place_one = convolution.convolve if sign == 1 else convolution.correlate
    placed = [place_one(maps, own) for own in _of_channels(weight, maps.dim() - 2)]
    return placed[0] if len(placed) == 1 else torch.stack(placed, dim=2)


def gather(
    x: Float[Tensor, "batch channels *space"],
    weight: Float[Tensor, "kernels *extent"],
    index: Tensor,
    sizes: Sequence[int],
) -> Float[Tensor, "activations"]:
    """Return the similarity at each activation; see :func:`san.ops.placement.gather`."""
    of_channels = _of_channels(weight, x.dim() - 2)
    signals = _channels(x, len(of_channels))
    return _sum(placement.gather(one, own, index, sizes, 1) for one, own in zip(signals, of_channels, strict=True))


def place(
    values: Float[Tensor, "activations"],
    weight: Float[Tensor, "kernels *extent"],
    index: Tensor,
    sizes: Sequence[int],
    sign: int,
    shape: Sequence[int],
) -> Float[Tensor, "batch channels *space"]:
    """Add each value times its kernel at its position; see :func:`san.ops.placement.place`.

    Args:
        values: The activations.
        weight: The kernels.
        index: Example, kernel and position of each activation, [activations, 2 + dims].
        sizes: Size of each kernel in samples per axis.
        sign: 1 to place a kernel as it is, -1 to mirror it.
        shape: [batch, models, *space].
    """
    of_channels = _of_channels(weight, len(shape) - 2)
    placed = [placement.place(values, own, index, sizes, sign, shape) for own in of_channels]
    return placed[0] if len(placed) == 1 else torch.stack(placed, dim=2).flatten(1, 2)


def _of_channels(weight: Tensor, n_dims: int) -> Sequence[Tensor]:
    """Return the kernels of each channel, [kernels, *extent]."""
    return [weight] if weight.dim() == n_dims + 1 else weight.unbind(1)


def _channels(x: Tensor, n_channels: int) -> Sequence[Tensor]:
    """Return the input of each channel, [batch, 1 or models, *space]."""
    return [x] if n_channels == 1 else x.unflatten(1, (-1, n_channels)).unbind(2)


def _sum(parts: Iterable[Tensor]) -> Tensor:
    """Add tensors in their order, without a zero before the first."""
    return reduce(torch.add, parts)

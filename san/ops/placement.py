r"""Kernels at a few positions, as custom operators of torch; samples without an activation cost nothing.

The three operators are the partial derivatives of one form, linear in the source x, the kernels w and the values v:

.. math:: T(x, w, v) = \sum_a v_a \sum_j w^{(k_a)}_j \, x_{b_a, p_a \pm (j - \lfloor (m - 1) / 2 \rfloor)}

Activation a has kernel :math:`k_a`, example :math:`b_a` and position :math:`p_a`. ``gather`` is the derivative by the
values, ``place`` by the source and ``weigh`` by the kernels, so the gradient of each operator consists of the other
two.

Common arguments:
    index: Example, kernel and position of each activation, [activations, 2 + dims], int64, in the order of
        ``torch.nonzero``.
    weight: The kernels, padded with zeros to one extent around their middle, [kernels, *extent].
    sizes: Size of each kernel in samples per axis.
    sign: 1 to place a kernel as it is, -1 to mirror it.
    source: One channel, or one channel per model of equally many kernels, [batch, channels, *space].
"""

from collections.abc import Sequence
from typing import Any, no_type_check

import torch
from torch import Tensor

from san.ops import vectorized
from san.ops.backend import compiled_for
from san.ops.operators import operator

__all__ = ["are_few", "gather", "place", "weigh", "without_rounding"]

RELATIVE_ROUNDING = 1e-6
"""Largest rounding error of a reconstruction, relative to the largest absolute sample of the example; residuals up to
it are set to zero and have no gradient."""

SPARSE_FRACTION = 1 / 8
"""Largest number of activations per sample of the maps for which placing them one by one is faster than a dense
convolution, by ``make bench``; the results of both agree up to rounding."""


def are_few(n_activations: int | Tensor, maps: Tensor) -> bool:
    """Return whether activations are so few that placing them one by one is faster than a dense convolution."""
    return bool(n_activations <= SPARSE_FRACTION * maps.numel())


def without_rounding(reconstruction: Tensor, x: Tensor) -> Tensor:
    """Replace samples of the reconstruction that equal x up to rounding by x, so that they have no gradient."""
    rounding = RELATIVE_ROUNDING * x.abs().amax(dim=tuple(range(1, x.dim())), keepdim=True)
    return x.where((reconstruction - x).abs() <= rounding, reconstruction)


@operator("gather")
def gather(source: Tensor, weight: Tensor, index: Tensor, sizes: Sequence[int], sign: int) -> Tensor:
    """Return the scalar product of kernel and source at each activation, [activations]."""
    if (compiled := compiled_for(source)) is None:
        return vectorized.gather(source, weight, index, sizes, sign)
    values: Tensor = compiled.gather(source, weight, index, sizes, sign)
    return values


@operator("place")
def place(
    values: Tensor, weight: Tensor, index: Tensor, sizes: Sequence[int], sign: int, shape: Sequence[int]
) -> Tensor:
    """Add each value [activations] times its kernel at its position, [batch, channels, *space] as given by shape."""
    if (compiled := compiled_for(values)) is None:
        return vectorized.place(values, weight, index, sizes, sign, shape)
    placed: Tensor = compiled.place(values, weight, index, sizes, sign, shape)
    return placed


@operator("weigh")
def weigh(values: Tensor, source: Tensor, index: Tensor, sizes: Sequence[int], sign: int, extent: int) -> Tensor:
    """Sum, per kernel, the source windows at its activations, each times its value, [kernels, *extent]."""
    if (compiled := compiled_for(values)) is None:
        return vectorized.weigh(values, source, index, sizes, sign, extent)
    total: Tensor = compiled.weigh(values, source, index, sizes, sign, extent)
    return total


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:3])
    ctx.sizes, ctx.sign = inputs[3:5]


def _gather_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    source, weight, index = ctx.saved_tensors
    by_source = place(grad, weight, index, ctx.sizes, ctx.sign, source.shape) if ctx.needs_input_grad[0] else None
    by_weight = weigh(grad, source, index, ctx.sizes, ctx.sign, weight.shape[-1])
    return by_source, by_weight, None, None, None


def _place_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    values, weight, index = ctx.saved_tensors
    by_values = gather(grad, weight, index, ctx.sizes, ctx.sign)
    by_weight = weigh(values, grad, index, ctx.sizes, ctx.sign, weight.shape[-1])
    return by_values, by_weight, None, None, None, None


def _weigh_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    values, source, index = ctx.saved_tensors
    by_values = gather(source, grad, index, ctx.sizes, ctx.sign)
    by_source = place(values, grad, index, ctx.sizes, ctx.sign, source.shape) if ctx.needs_input_grad[1] else None
    return by_values, by_source, None, None, None, None


@torch.library.register_fake("san::gather")
@no_type_check  # sizes are symbols there
def _(source: Tensor, weight: Tensor, index: Tensor, sizes: Sequence[int], sign: int) -> Tensor:
    return source.new_empty(index.shape[0])


@torch.library.register_fake("san::place")
@no_type_check  # sizes are symbols there
def _(values: Tensor, weight: Tensor, index: Tensor, sizes: Sequence[int], sign: int, shape: Sequence[int]) -> Tensor:
    return values.new_empty(shape)


@torch.library.register_fake("san::weigh")
@no_type_check  # sizes are symbols there
def _(values: Tensor, source: Tensor, index: Tensor, sizes: Sequence[int], sign: int, extent: int) -> Tensor:
    return source.new_empty(len(sizes), *[extent] * (source.dim() - 2))


torch.library.register_autograd("san::gather", _gather_backward, setup_context=_save_for_backward)
torch.library.register_autograd("san::place", _place_backward, setup_context=_save_for_backward)
torch.library.register_autograd("san::weigh", _weigh_backward, setup_context=_save_for_backward)

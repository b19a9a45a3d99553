r"""Kernels at a few positions, as custom operators of torch, so that what is not active costs nothing.

All three are partial derivatives of one form, linear in the source, in the kernels and in the values,

.. math:: T(x, w, v) = \sum_a v_a \sum_j w^{(k_a)}_j \, x_{b_a, p_a \pm (j - \lfloor (m - 1) / 2 \rfloor)}

where activation a is of kernel :math:`k_a` in example :math:`b_a` at position :math:`p_a`: ``gather`` is that by the
values, ``place`` that by the source and ``weigh`` that by the kernels. So the gradient of each is the other two.

In all of them ``index`` is [activations, 2 + dims] in the order of ``torch.nonzero``: example, kernel, position; the
kernels are padded to one extent around their middle, and ``sizes`` has their own; sign +1 puts a kernel as it is, and
-1 mirrors it. The source has one channel, or one for every so many kernels.
"""

from collections.abc import Sequence
from typing import Any, no_type_check

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from san.ops import vectorized
from san.ops.backend import compiled_for

__all__ = ["are_few", "gather", "place", "weigh"]

FEW = 1 / 8  # of the samples of maps: up to it, by `make bench`, positions take less time than dense convolutions


def are_few(n_activations: int | Tensor, maps: Tensor) -> bool:
    """Tell whether activations are so few that they are better placed one by one."""
    return bool(n_activations <= FEW * maps.numel())


@torch.library.custom_op("san::gather", mutates_args=())
def gather(source: Tensor, weight: Tensor, index: Tensor, sizes: Sequence[int], sign: int) -> Tensor:
    """Return the scalar product of a kernel and the source at each position, [activations]."""
    if (compiled := compiled_for(source)) is None:
        return vectorized.gather(source, weight, index, sizes, sign)
    two = index.shape[1] == 4
    values = compiled.gather(_plane(source, two), _plane(weight, two), _positions(index), _sizes(sizes), sign)
    return torch.from_numpy(values)


@torch.library.custom_op("san::place", mutates_args=())
def place(
    values: Tensor, weight: Tensor, index: Tensor, sizes: Sequence[int], sign: int, shape: Sequence[int]
) -> Tensor:
    """Add each value times its kernel at its position, [batch, channels, *space] as given by the shape."""
    if (compiled := compiled_for(values)) is None:
        return vectorized.place(values, weight, index, sizes, sign, shape)
    plane = (*shape[:2], *([] if index.shape[1] == 4 else [1]), *shape[2:])
    amounts, kernels = values.detach().contiguous().numpy(), _plane(weight, index.shape[1] == 4)
    placed = compiled.place(amounts, kernels, _positions(index), _sizes(sizes), sign, plane)
    return torch.from_numpy(placed).view(*shape)


@torch.library.custom_op("san::weigh", mutates_args=())
def weigh(values: Tensor, source: Tensor, index: Tensor, sizes: Sequence[int], sign: int, extent: int) -> Tensor:
    """Add up the windows of the source at the positions of each kernel, each times its value, [kernels, *extent]."""
    if (compiled := compiled_for(values)) is None:
        return vectorized.weigh(values, source, index, sizes, sign, extent)
    amounts, windows = values.detach().contiguous().numpy(), _plane(source, index.shape[1] == 4)
    total = compiled.weigh(amounts, windows, _positions(index), _sizes(sizes), sign, extent)
    return torch.from_numpy(total).view(len(sizes), *[extent] * (source.dim() - 2))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
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


@gather.register_fake
@no_type_check  # sizes are symbols there
def _(source: Tensor, weight: Tensor, index: Tensor, sizes: Sequence[int], sign: int) -> Tensor:
    return source.new_empty(index.shape[0])


@place.register_fake
@no_type_check  # sizes are symbols there
def _(values: Tensor, weight: Tensor, index: Tensor, sizes: Sequence[int], sign: int, shape: Sequence[int]) -> Tensor:
    return values.new_empty(shape)


@weigh.register_fake
@no_type_check  # sizes are symbols there
def _(values: Tensor, source: Tensor, index: Tensor, sizes: Sequence[int], sign: int, extent: int) -> Tensor:
    return source.new_empty(len(sizes), *[extent] * (source.dim() - 2))


gather.register_autograd(_gather_backward, setup_context=_keep)
place.register_autograd(_place_backward, setup_context=_keep)
weigh.register_autograd(_weigh_backward, setup_context=_keep)


def _plane(tensor: Tensor, two_dimensions: bool) -> NDArray[np.floating]:
    """Return a contiguous array of two dimensions of space, of height 1 for signals."""
    array = tensor.detach().contiguous().numpy()
    return array if two_dimensions else np.expand_dims(array, -2)


def _positions(index: Tensor) -> NDArray[np.int64]:
    """Return the index with a row, which is 0 for signals."""
    array = index.contiguous().numpy()
    return array if array.shape[1] == 4 else np.insert(array, 2, 0, axis=1)


def _sizes(sizes: Sequence[int]) -> NDArray[np.int64]:
    return np.asarray(sizes, dtype=np.int64)

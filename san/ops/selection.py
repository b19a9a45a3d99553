"""The selection functions as custom operators of torch: from similarity maps to the mask of the kept samples.

A mask has no gradient, so autograd, ``torch.compile`` and ``torch.export`` only see a multiplication by it.
"""

from collections.abc import Sequence
from typing import Any, no_type_check

import torch
from torch import Tensor

from san.ops import vectorized
from san.ops.backend import compiled_for
from san.ops.operators import operator

__all__ = ["extrema", "extrema_pool_indices", "territory", "topk_absolutes"]


@operator("topk_absolutes")
def topk_absolutes(maps: Tensor, counts: Sequence[int]) -> Tensor:
    """Mark the samples of the largest absolute value of each map.

    Args:
        maps: The similarity maps, [batch, kernels, *space].
        counts: Number of samples to mark, >= 1, per kernel.
    """
    return _mask("topk_absolutes", maps, counts)


@operator("extrema_pool_indices")
def extrema_pool_indices(maps: Tensor, sides: Sequence[int], ceil_mode: bool) -> Tensor:
    """Mark the sample of the largest absolute value in each cell of each map.

    Args:
        maps: The similarity maps, [batch, kernels, *space].
        sides: Side of a cell in samples, >= 1, per kernel.
        ceil_mode: Whether samples past the last whole cell form a smaller cell.
    """
    return _mask("extrema_pool_indices", maps, sides, ceil_mode)


@operator("extrema")
def extrema(maps: Tensor, distances: Sequence[int], require_sign: bool) -> Tensor:
    """Mark the primary extrema of each map.

    Args:
        maps: The similarity maps, [batch, kernels, *space].
        distances: Minimum extrema distance in samples, >= 1, per kernel.
        require_sign: Whether to exclude negative local maxima and positive local minima.
    """
    return _mask("extrema", maps, distances, require_sign)


@operator("territory")
def territory(maps: Tensor, distances: Sequence[int], n_models: int, require_sign: bool) -> Tensor:
    """Mark the extrema that are primary across all kernels of their model.

    Args:
        maps: The similarity maps, [batch, kernels, *space].
        distances: Minimum extrema distance in samples, >= 1, per kernel.
        n_models: Number of models, which have equally many kernels.
        require_sign: Whether to exclude negative local maxima and positive local minima.
    """
    return _mask("territory", maps, distances, n_models, require_sign)


def _mask(name: str, maps: Tensor, *options: Any) -> Tensor:
    """Return the mask of a selection by its compiled function, or by torch where there is none."""
    if maps.numel() == 0:
        return maps.new_empty(maps.shape, dtype=torch.bool)
    keep: Tensor = getattr(compiled_for(maps), name, getattr(vectorized, name))(maps, *options)
    return keep.contiguous()


@torch.library.register_fake("san::topk_absolutes")
@no_type_check  # sizes are symbols there
def _(maps: Tensor, counts: Sequence[int]) -> Tensor:
    return maps.new_empty(maps.shape, dtype=torch.bool)


@torch.library.register_fake("san::extrema_pool_indices")
@no_type_check  # sizes are symbols there
def _(maps: Tensor, sides: Sequence[int], ceil_mode: bool) -> Tensor:
    return maps.new_empty(maps.shape, dtype=torch.bool)


@torch.library.register_fake("san::extrema")
@no_type_check  # sizes are symbols there
def _(maps: Tensor, distances: Sequence[int], require_sign: bool) -> Tensor:
    return maps.new_empty(maps.shape, dtype=torch.bool)


@torch.library.register_fake("san::territory")
@no_type_check  # sizes are symbols there
def _(maps: Tensor, distances: Sequence[int], n_models: int, require_sign: bool) -> Tensor:
    return maps.new_empty(maps.shape, dtype=torch.bool)

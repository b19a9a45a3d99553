"""The selection as custom operators of torch: from similarity maps to the mask of what is kept.

A mask has no gradient, so multiplying by it is all that autograd, ``torch.compile`` and ``torch.export`` have to know.
"""

from collections.abc import Sequence
from typing import no_type_check

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from san.ops import vectorized
from san.ops.backend import compiled_for

__all__ = ["extrema", "extrema_pool_indices", "topk_absolutes"]


@torch.library.custom_op("san::topk_absolutes", mutates_args=())
def topk_absolutes(maps: Tensor, counts: Sequence[int]) -> Tensor:
    """Mark the largest absolute values of each map, [batch, kernels, *space], given how many for each kernel."""
    if (compiled := compiled_for(maps)) is None:
        return vectorized.topk_absolutes(maps, counts).contiguous()
    rows, each = _rows(maps, counts)
    return torch.from_numpy(compiled.topk_absolutes(rows.reshape(len(rows), maps.shape[2:].numel()), each)).view(
        maps.shape
    )


@torch.library.custom_op("san::extrema_pool_indices", mutates_args=())
def extrema_pool_indices(maps: Tensor, sides: Sequence[int], ceil_mode: bool) -> Tensor:
    """Mark the largest absolute value of each cell of each map, given the side of a cell for each kernel."""
    if (compiled := compiled_for(maps)) is None:
        return vectorized.extrema_pool_indices(maps, sides, ceil_mode).contiguous()
    keep = compiled.extrema_pool_indices(*_rows(maps, sides), maps.dim() == 3, ceil_mode)
    return torch.from_numpy(keep).view(maps.shape)


@torch.library.custom_op("san::extrema", mutates_args=())
def extrema(maps: Tensor, distances: Sequence[int], require_sign: bool) -> Tensor:
    """Mark the primary extrema of each map, given the minimum distance for each kernel."""
    if (compiled := compiled_for(maps)) is None:
        return vectorized.extrema(maps, distances, require_sign).contiguous()
    keep = compiled.extrema(*_rows(maps, distances), maps.dim() == 3, require_sign)
    return torch.from_numpy(keep).view(maps.shape)


@topk_absolutes.register_fake
@no_type_check  # sizes are symbols there
def _(maps: Tensor, counts: Sequence[int]) -> Tensor:
    return maps.new_empty(maps.shape, dtype=torch.bool)


@extrema_pool_indices.register_fake
@no_type_check  # sizes are symbols there
def _(maps: Tensor, sides: Sequence[int], ceil_mode: bool) -> Tensor:
    return maps.new_empty(maps.shape, dtype=torch.bool)


@extrema.register_fake
@no_type_check  # sizes are symbols there
def _(maps: Tensor, distances: Sequence[int], require_sign: bool) -> Tensor:
    return maps.new_empty(maps.shape, dtype=torch.bool)


def _rows(maps: Tensor, numbers: Sequence[int]) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
    """Return maps as rows [rows, height, width], of width 1 for signals, and the number of each."""
    exact = maps.detach() if maps.dtype in (torch.float32, torch.float64) else maps.detach().float()
    batch, kernels, height, *width = maps.shape
    rows = exact.contiguous().numpy().reshape(batch * kernels, height, *width or [1])
    return rows, np.tile(np.asarray(numbers, dtype=np.int64), batch)

"""Which backend computes: the compiled one on the CPU, torch elsewhere and where numba is not to be had."""

import logging
from functools import cache
from types import ModuleType

import torch
from torch import Tensor

__all__ = ["compiled_for"]

log = logging.getLogger(__name__)


def compiled_for(tensor: Tensor) -> ModuleType | None:
    """Return the compiled operators if they take such a tensor."""
    if tensor.device.type != "cpu" or tensor.dtype not in (torch.float32, torch.float64):
        return None
    return _compiled()


@cache
def _compiled() -> ModuleType | None:
    try:
        from san.ops import compiled
    except ImportError as error:
        log.warning("numba cannot be used (%s): the slower operators of torch are, with the same results", error)
        return None
    return compiled

"""The choice of the backend: compiled operators on the CPU; torch on other devices or without numba."""

import logging
from functools import cache
from types import ModuleType

import torch
from torch import Tensor

__all__ = ["compiled_for"]

log = logging.getLogger(__name__)


def compiled_for(tensor: Tensor) -> ModuleType | None:
    """Return the compiled operators, :mod:`san.ops.compiled`, if they support the device and dtype of a tensor."""
    if tensor.device.type != "cpu" or tensor.dtype not in (torch.float32, torch.float64):
        return None
    return _import_compiled()


@cache
def _import_compiled() -> ModuleType | None:
    """Import the compiled operators; log one warning and return None if numba or numpy is missing."""
    try:
        from san.ops import compiled
    except ImportError as error:
        log.warning("numba cannot be used (%s): slower operators of torch replace it, with the same results", error)
        return None
    return compiled

"""The conversion of tensors to arrays, which numba compiles for."""

from typing import Any

from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Array", "as_array"]

Array = NDArray[Any]


def as_array(tensor: Tensor) -> Array:
    """Return the data of a tensor on the CPU as a contiguous array, copied only if they are not contiguous."""
    array: Array = tensor.detach().contiguous().numpy()
    return array

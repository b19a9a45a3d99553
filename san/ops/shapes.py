"""Shapes: annotations, which are the types of jaxtyping if it is installed and plain tensors otherwise, and checks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
else:
    try:
        from jaxtyping import Bool, Float
    except ImportError:

        class Float:
            """Stand for any tensor: ``Float[Tensor, "batch kernels *space"]`` is then ``Tensor``."""

            def __class_getitem__(cls, _item: object) -> type[Tensor]:
                """Return ``Tensor``; the shape is not checked."""
                return Tensor

        Bool = Float

__all__ = ["Bool", "Float", "space_of"]

AXES = {1: "[batch, 1, samples]", 2: "[batch, 1, rows, columns]"}


def space_of(x: object, n_dims: int, n_models: int) -> Sequence[int]:
    """Return the samples along each axis of a network's input; refuse an input of another type or shape.

    Args:
        x: The input.
        n_dims: 1 for signals, 2 for images.
        n_models: Number of models, which share one channel or have one each.

    Raises:
        TypeError: If the input is not a tensor of floating-point numbers.
        ValueError: If it has another number of axes or channels.
    """
    wanted = f"give a tensor of floating-point numbers {AXES[n_dims]}"
    if not isinstance(x, Tensor):
        raise TypeError(f"the input is of type {type(x).__name__}: {wanted}, by torch.as_tensor")
    if not x.is_floating_point():
        raise TypeError(f"the input has numbers of type {x.dtype}: {wanted}, by x.float()")
    if x.dim() != n_dims + 2:
        raise ValueError(f"the input has the shape {list(x.shape)}: {wanted}")
    if x.shape[1] not in (1, n_models):
        models = f", or one channel for each of the {n_models} models" if n_models > 1 else ""
        raise ValueError(f"the input has the shape {list(x.shape)}, {x.shape[1]} channels: {wanted}{models}")
    return x.shape[2:]

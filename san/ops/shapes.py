"""Shapes: annotations, which are the types of jaxtyping if it is installed and plain tensors otherwise, and checks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

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

__all__ = ["Bool", "Dimensions", "Float", "space_of"]

Dimensions = Literal[1, 2]

AXES = {1: "samples", 2: "rows, columns"}


def space_of(x: object, n_dims: int, n_models: int, n_channels: int = 1) -> Sequence[int]:
    """Return the samples along each axis of a network's input; refuse an input of another type or shape.

    Args:
        x: The input.
        n_dims: 1 for signals, 2 for images.
        n_models: Number of models, which share the channels or have as many each.
        n_channels: Number of channels of a model.

    Raises:
        TypeError: If the input is not a tensor of floating-point numbers.
        ValueError: If it has another number of axes or channels.
    """
    wanted = f"give a tensor of floating-point numbers [batch, {n_channels}, {AXES[n_dims]}]"
    if not isinstance(x, Tensor):
        raise TypeError(f"the input is of type {type(x).__name__}: {wanted}, by torch.as_tensor")
    if not x.is_floating_point():
        raise TypeError(f"the input has numbers of type {x.dtype}: {wanted}, by x.float()")
    if x.dim() != n_dims + 2:
        raise ValueError(f"the input has the shape {list(x.shape)}: {wanted}")
    if x.shape[1] not in (n_channels, n_models * n_channels):
        each = "one channel" if n_channels == 1 else f"{n_channels} channels"
        models = "" if n_models == 1 else f", or {each} for each of the {n_models} models"
        raise ValueError(f"the input has the shape {list(x.shape)}, {x.shape[1]} channels: {wanted}{models}")
    return x.shape[2:]

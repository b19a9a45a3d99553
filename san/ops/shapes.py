"""Shape annotations: the types of jaxtyping if it is installed (tests check them), plain tensors otherwise."""

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

__all__ = ["Bool", "Float"]

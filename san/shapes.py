"""Shape annotations: jaxtyping's where it is installed (they run in the tests), plain tensors where it is not."""

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
                """Drop the shape."""
                return Tensor

        Bool = Float

__all__ = ["Bool", "Float"]

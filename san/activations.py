"""The five activation functions of the paper: the density of a kernel, and the selection by density."""

from abc import abstractmethod
from collections.abc import Sequence
from math import prod

from torch import Tensor

from san import functional
from san.functional import GivenDensity
from san.networks import Encoder, SparselyActivatedNetwork
from san.ops.choices import Flag, check_choice
from san.ops.shapes import Float

__all__ = ["Extrema", "ExtremaPoolIndices", "Identity", "ReLU", "SparseActivation", "TopKAbsolutes"]


class SparseActivation(Encoder):
    """Turn similarity maps into activation maps, each with the density of its kernel.

    A subclass defines ``select``, which keeps samples of each map unchanged and sets the others to zero, and
    ``density`` if its selection depends on the kernel size.
    """

    keeps_similarity = True
    own_density: Sequence[int] | None = None  # the user's d, for all kernels or for each of a model

    def density(self, kernel_size: int, space: Sequence[int]) -> int:
        """Return the paper's d for a kernel on a space, 0 if the activation function has no density.

        Args:
            kernel_size: Samples of the kernel per axis.
            space: Samples of the map along each axis.
        """
        return 0

    @abstractmethod
    def select(
        self, similarity: Float[Tensor, "batch kernels *space"], density: Sequence[int]
    ) -> Float[Tensor, "batch kernels *space"]:
        """Return the activation maps, given the density of each kernel."""

    def encode(
        self, x: Float[Tensor, "batch channels *space"], network: SparselyActivatedNetwork
    ) -> Float[Tensor, "batch kernels *space"]:
        """Select from the similarity maps."""
        maps: Tensor = self(network.similarity(x), network.kernel_sizes, network.n_models)
        return maps

    def forward(
        self,
        similarity: Float[Tensor, "batch kernels *space"],
        kernel_sizes: int | Sequence[int],
        n_models: int = 1,
    ) -> Float[Tensor, "batch kernels *space"]:
        """Return the activation maps.

        Args:
            similarity: The similarity maps.
            kernel_sizes: Samples of the kernels per axis, one for all or one per kernel.
            n_models: Number of models in the bank; every model has the same number of kernels.
        """
        return self.select(similarity, self.densities(kernel_sizes, similarity.shape[1:], n_models))

    def densities(self, kernel_sizes: int | Sequence[int], shape: Sequence[int], n_models: int = 1) -> list[int]:
        """Return the density of each kernel, the user's or the paper's, for maps of a shape [kernels, *space].

        Raises:
            ValueError: If the user gave a number of densities that is neither 1 nor that of the kernels of a model.
        """
        if self.own_density is not None:
            return functional.densities_per_model(self.own_density, shape[0], n_models)
        sizes = [kernel_sizes] * shape[0] if isinstance(kernel_sizes, int) else kernel_sizes
        return [self.density(size, shape[1:]) for size in sizes]


class Identity(SparseActivation):
    """Keep every sample: the densest baseline activation."""

    sparse = False

    def select(self, similarity: Tensor, density: Sequence[int]) -> Tensor:
        """Return the similarity maps unchanged."""
        return similarity


class ReLU(SparseActivation):
    """Keep the positive samples: the usual baseline activation."""

    sparse = False

    def select(self, similarity: Tensor, density: Sequence[int]) -> Tensor:
        """Return the positive part of the similarity maps."""
        return similarity.relu()


class TopKAbsolutes(SparseActivation):
    """Keep the k samples of the largest absolute value; see :func:`san.functional.topk_absolutes`.

    Args:
        density: k of all kernels or of each kernel of a model, >= 1; None for the paper's.
    """

    def __init__(self, density: GivenDensity = None) -> None:
        super().__init__()
        self.own_density = functional.checked_density(density)

    def density(self, kernel_size: int, space: Sequence[int]) -> int:
        """Return k: the number of kernels that fit side by side into the space, at least 1."""
        return max(1, prod([length // kernel_size for length in space]))

    def select(self, similarity: Tensor, density: Sequence[int]) -> Tensor:
        """Return the k largest samples of each map."""
        return functional.topk_absolutes(similarity, density)


class ExtremaPoolIndices(SparseActivation):
    """Keep the sample of the largest absolute value in each cell; see :func:`san.functional.extrema_pool_indices`.

    Args:
        ceil_mode: Whether samples past the last whole cell form a smaller cell.
        density: Side of a cell in samples, of all kernels or of each kernel of a model, >= 1; None for the kernel size.

    Raises:
        ValueError: If the mode is neither true nor false, or a density is invalid.
    """

    def __init__(self, ceil_mode: bool = False, density: GivenDensity = None) -> None:
        super().__init__()
        self.own_density = functional.checked_density(density)
        check_choice("ceil_mode", ceil_mode, Flag)
        self.ceil_mode = ceil_mode

    def density(self, kernel_size: int, space: Sequence[int]) -> int:
        """Return the side of a cell in samples: the kernel size."""
        return kernel_size

    def select(self, similarity: Tensor, density: Sequence[int]) -> Tensor:
        """Return the largest sample of each cell."""
        return functional.extrema_pool_indices(similarity, density, ceil_mode=self.ceil_mode)


class Extrema(SparseActivation):
    """Keep the largest extrema that are more than a distance apart; see :func:`san.functional.extrema`.

    Args:
        border_tolerance: Samples by which two activations of a kernel may overlap, >= 0.
        require_sign: Whether to exclude negative local maxima and positive local minima.
        density: Minimum extrema distance in samples, of all kernels or of each of a model, >= 1; None for the paper's.

    Raises:
        ValueError: If the border tolerance or a density is invalid, or the flag is neither true nor false.
    """

    def __init__(self, border_tolerance: int = 2, require_sign: bool = True, density: GivenDensity = None) -> None:
        super().__init__()
        self.own_density = functional.checked_density(density)
        if not isinstance(border_tolerance, int) or border_tolerance < 0:
            raise ValueError(f"border_tolerance={border_tolerance} must be an integer, 0 or more (samples)")
        check_choice("require_sign", require_sign, Flag)
        self.border_tolerance = border_tolerance
        self.require_sign = require_sign

    def density(self, kernel_size: int, space: Sequence[int]) -> int:
        """Return the minimum extrema distance in samples, at least 1."""
        return max(kernel_size - self.border_tolerance, 1)

    def select(self, similarity: Tensor, density: Sequence[int]) -> Tensor:
        """Return the primary extrema of each map."""
        return functional.extrema(similarity, density, require_sign=self.require_sign)

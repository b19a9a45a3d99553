"""The sparse activation functions as modules: a rule for the density of a kernel, and the selection by it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import cos, pi, prod
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from san import functional
from san.shapes import Float

if TYPE_CHECKING:
    from san.networks import SparselyActivatedNetwork

__all__ = [
    "AnnealedExtrema",
    "DropoutExtrema",
    "Encoder",
    "Extrema",
    "ExtremaPoolIndices",
    "Identity",
    "Moment",
    "ReLU",
    "SparseActivation",
    "Territory",
    "TopKAbsolutes",
]


class Moment(NamedTuple):
    """When a training step is, and which examples of its batch are at hand: every so many, from one on.

    Args:
        epoch: From 0 on.
        batch: Of the epoch, from 0 on.
        rank: Of this process, whose first example it is.
        world_size: Number of processes, and the step from an example to the next.
    """

    epoch: int
    batch: int
    rank: int = 0
    world_size: int = 1


class Encoder(nn.Module, ABC):
    """Find the activation maps of examples, given the network with its kernels."""

    sparse = True  # most of a map is zero, so that reconstructions are cheaper position by position
    keeps_similarity = False  # what is not zero in a map is the similarity itself
    unit_norm = False  # kernels are kept at a Euclidean norm of 1
    moment: Moment | None = None  # set during a training step, for what is otherwise then

    @abstractmethod
    def encode(
        self, x: Float[Tensor, "batch 1 *space"], network: "SparselyActivatedNetwork"
    ) -> Float[Tensor, "batch kernels *space"]:
        """Return the activation maps."""


class SparseActivation(Encoder):
    """Turn similarity maps into activation maps, each map with the density that its kernel size asks for.

    A new one states two things: ``density``, the paper's d for a kernel of m samples a side, and ``select``, what a
    density keeps of a map, unchanged, with zeros elsewhere.
    """

    keeps_similarity = True

    @abstractmethod
    def density(self, kernel_size: int, space: Sequence[int]) -> int:
        """Return the paper's d for a kernel of that many samples a side on that space, 0 where there is none."""

    @abstractmethod
    def select(
        self, similarity: Float[Tensor, "batch kernels *space"], density: Sequence[int]
    ) -> Float[Tensor, "batch kernels *space"]:
        """Return the activation maps, given the density of each kernel."""

    def encode(
        self, x: Float[Tensor, "batch 1 *space"], network: "SparselyActivatedNetwork"
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
            kernel_sizes: Samples a side of the kernels, one for all or one for each.
            n_models: Of a bank, whose kernels follow one another, as many of each model.
        """
        return self.select(similarity, self._densities(similarity, kernel_sizes))

    def _densities(self, similarity: Tensor, kernel_sizes: int | Sequence[int]) -> list[int]:
        n_kernels, *space = similarity.shape[1:]
        sizes = [kernel_sizes] * n_kernels if isinstance(kernel_sizes, int) else kernel_sizes
        return [self.density(size, space) for size in sizes]


class Identity(SparseActivation):
    """Keep everything: the least sparse base of reference."""

    sparse = False

    def density(self, kernel_size: int, space: Sequence[int]) -> int:
        """Return 0: the density does not apply."""
        return 0

    def select(self, similarity: Tensor, density: Sequence[int]) -> Tensor:
        """Return the similarity maps as they are."""
        return similarity


class ReLU(SparseActivation):
    """Keep what is positive."""

    sparse = False

    def density(self, kernel_size: int, space: Sequence[int]) -> int:
        """Return 0: the density does not apply."""
        return 0

    def select(self, similarity: Tensor, density: Sequence[int]) -> Tensor:
        """Return the positive part of the similarity maps."""
        return similarity.relu()


class TopKAbsolutes(SparseActivation):
    """Keep the k samples of the largest absolute value; see :func:`san.functional.topk_absolutes`."""

    def density(self, kernel_size: int, space: Sequence[int]) -> int:
        """Return k: the number of kernels that fit side by side into the space, at least 1."""
        return max(1, prod(length // kernel_size for length in space))

    def select(self, similarity: Tensor, density: Sequence[int]) -> Tensor:
        """Return the k largest of each map."""
        return functional.topk_absolutes(similarity, density)


class ExtremaPoolIndices(SparseActivation):
    """Keep the sample of the largest absolute value in each cell; see :func:`san.functional.extrema_pool_indices`.

    Args:
        ceil_mode: Whether samples past the last whole cell form a smaller cell too.
    """

    def __init__(self, ceil_mode: bool = False) -> None:
        super().__init__()
        self.ceil_mode = ceil_mode

    def density(self, kernel_size: int, space: Sequence[int]) -> int:
        """Return the side of a cell in samples: that of the kernel."""
        return kernel_size

    def select(self, similarity: Tensor, density: Sequence[int]) -> Tensor:
        """Return the largest of each cell."""
        return functional.extrema_pool_indices(similarity, density, ceil_mode=self.ceil_mode)


class Extrema(SparseActivation):
    """Keep the largest extrema that are more than a distance apart; see :func:`san.functional.extrema`.

    Args:
        border_tolerance: Samples by which two instances of a kernel may overlap, >= 0.
        require_sign: Whether negative local maxima and positive local minima are left out.

    Raises:
        ValueError: If the border tolerance is negative, or not an integer.
    """

    def __init__(self, border_tolerance: int = 2, require_sign: bool = True) -> None:
        super().__init__()
        if not isinstance(border_tolerance, int) or border_tolerance < 0:
            raise ValueError(f"border_tolerance={border_tolerance} is not an integer, 0 or more: it counts samples")
        self.border_tolerance = border_tolerance
        self.require_sign = require_sign

    def density(self, kernel_size: int, space: Sequence[int]) -> int:
        """Return the minimum extrema distance in samples, at least 1."""
        return max(kernel_size - self.border_tolerance, 1)

    def select(self, similarity: Tensor, density: Sequence[int]) -> Tensor:
        """Return the primary extrema of each map."""
        return functional.extrema(similarity, density, require_sign=self.require_sign)


class Territory(Extrema):
    """Let the kernels of a model compete for territory: one distance across all of its maps.

    An extremum that is kept drops the lesser ones of all kernels of its model within the distance of its own kernel,
    where :class:`Extrema` drops those of its own map alone; see :func:`san.functional.territory`. Similarities are
    compared as they are, so that a kernel of a larger norm wins territory. With one kernel it is Extrema.

    Args:
        border_tolerance: Samples by which two instances may overlap, >= 0.
        require_sign: Whether negative local maxima and positive local minima are left out.

    Raises:
        ValueError: If the border tolerance is negative, or not an integer.

    Reference:
        Bizopoulos and Koutsouris, "Sparsely Activated Networks", Section VI, the second of the future work.
    """

    def forward(
        self,
        similarity: Float[Tensor, "batch kernels *space"],
        kernel_sizes: int | Sequence[int],
        n_models: int = 1,
    ) -> Float[Tensor, "batch kernels *space"]:
        """Return the activation maps; the models of a bank do not compete with one another."""
        density = self._densities(similarity, kernel_sizes)
        return functional.territory(similarity, density, n_models, require_sign=self.require_sign)


class AnnealedExtrema(Extrema):
    r"""Let the distance of Extrema grow while training, from one sample to the kernel's, by half a cosine.

    .. math:: d_e = \max\left(1, \mathrm{round}\left(d \, \frac{1 - \cos(\pi e / (E - 1))}{2}\right)\right)

    in epoch e of E, counted from 0, and d from the last of them on. At validation and test it is d.

    Args:
        epochs: E, >= 1.
        border_tolerance: Samples by which two instances of a kernel may overlap, >= 0.
        require_sign: Whether negative local maxima and positive local minima are left out.

    Raises:
        ValueError: If the epochs are not a positive integer, or the border tolerance is not one of Extrema.

    Reference:
        Bizopoulos and Koutsouris, "Sparsely Activated Networks", Section VI, the first of the future work.
    """

    def __init__(self, epochs: int, border_tolerance: int = 2, require_sign: bool = True) -> None:
        super().__init__(border_tolerance, require_sign)
        if not isinstance(epochs, int) or epochs < 1:
            raise ValueError(f"activation.epochs={epochs} must be an integer, 1 or more: the epochs of the annealing")
        self.epochs = epochs

    def density(self, kernel_size: int, space: Sequence[int]) -> int:
        """Return the minimum extrema distance in samples, at least 1, of this moment."""
        whole = super().density(kernel_size, space)
        if self.moment is None or self.moment.epoch >= self.epochs - 1:
            return whole
        return max(1, round(whole * (1 - cos(pi * self.moment.epoch / (self.epochs - 1))) / 2))


class DropoutExtrema(Extrema):
    """Leave out each primary extremum with a probability while training.

    What stays is not scaled by 1 / (1 - p): the instances that Extrema keeps hardly overlap, so that each is to
    describe its own samples whether its neighbours are there or not; scaled, it would learn to describe too little of
    them when all are there. What is left out is a function of the seed, the epoch, the batch, the example, the kernel
    of its model and the position. At validation and test all stay.

    Args:
        probability: p, of leaving one out, in [0, 1).
        seed: Of what is left out.
        border_tolerance: Samples by which two instances of a kernel may overlap, >= 0.
        require_sign: Whether negative local maxima and positive local minima are left out.

    Raises:
        ValueError: If the probability is out of its range, or the border tolerance is not one of Extrema.

    Reference:
        Bizopoulos and Koutsouris, "Sparsely Activated Networks", Section VI, the third of the future work.
    """

    def __init__(self, probability: float, seed: int, border_tolerance: int = 2, require_sign: bool = True) -> None:
        super().__init__(border_tolerance, require_sign)
        if not 0 <= probability < 1:
            raise ValueError(f"activation.probability={probability} must be at least 0 and below 1")
        self.probability = probability
        self.seed = seed

    def forward(
        self,
        similarity: Float[Tensor, "batch kernels *space"],
        kernel_sizes: int | Sequence[int],
        n_models: int = 1,
    ) -> Float[Tensor, "batch kernels *space"]:
        """Return the activation maps; every model of a bank leaves out what it would alone."""
        maps = super().forward(similarity, kernel_sizes, n_models)
        if self.moment is None:
            return maps
        epoch, batch, rank, world_size = self.moment
        generator = torch.Generator().manual_seed(((self.seed * 65537 + epoch) * 65537 + batch) % 2**63)
        of_model = (maps.shape[1] // n_models, *maps.shape[2:])
        drawn = torch.rand(len(maps) * world_size, *of_model, generator=generator)[rank::world_size]
        stays = (drawn >= self.probability).to(maps.device).repeat(1, n_models, *[1] * len(of_model[1:]))
        return maps.where(stays, 0)

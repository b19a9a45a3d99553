"""The interface of a baseline method: learn atoms from training examples, describe other examples by them."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from san.activations import Identity
from san.metrics import Loss
from san.networks import SparselyActivatedNetwork, WeightCount
from san.ops.shapes import Dimensions, Float

__all__ = ["Array", "Level", "Peer"]

Array = NDArray[np.float64]

Level = Mapping[str, float]
"""A level of sparsity: one of ``level_names`` of the method and its value, such as ``{"n_nonzero": 2}``."""


class Peer(ABC):
    """Learn atoms from training examples and describe other examples by them.

    Examples are divided by the root mean square of the training examples, so that levels of sparsity do not depend on
    the unit of the data. Maps and reconstructions are returned in the unit of the data. An atom has a part for each
    channel of an example but one activation map, as a kernel of a network has.

    Args:
        train: Training examples.
        kernel_size: Samples per axis of each atom, from 1 to the shortest axis of the space.
        n_kernels: Number of atoms to learn, >= 1.
        seed: Seed of the random choices of the learning.

    Attributes:
        package: Name of the Python package that the method is imported from.
        level_names: Settings that act after the learning; a level of sparsity sets one of them.
        n_channels: Channels of an example, and of an atom.
        scale: Root mean square of the training examples, of all channels.
        atoms: Learned atoms of Euclidean norm 1, [kernels, channels * samples], channel after channel; may be fewer
            than ``n_kernels``.
    """

    package: ClassVar[str]
    level_names: ClassVar[tuple[str, ...]]

    def __init__(
        self, train: Float[Tensor, "batch channels *space"], *, kernel_size: int, n_kernels: int, seed: int
    ) -> None:
        self.kernel_size = kernel_size
        self.n_kernels = n_kernels
        self.n_dims: Dimensions = 1 if train.dim() == 3 else 2
        self.seed = seed
        self.n_channels = train.shape[1]
        self.scale = float(train.square().mean().sqrt())
        self.atoms: Array = np.empty((0, self.n_channels * kernel_size**self.n_dims))

    def n_weights(self, count: WeightCount = "samples") -> int:
        """Count the weights W of the atoms, as :meth:`san.networks.SparselyActivatedNetwork.n_weights` does."""
        sizes = [self.kernel_size] * len(self.atoms)
        network = SparselyActivatedNetwork(sizes, Identity(), self.n_dims, seed=0, channels=self.n_channels)
        return network.n_weights(count)

    @abstractmethod
    def describe(
        self, x: Float[Tensor, "batch channels *space"], levels: Sequence[Level], *, loss: Loss, n_weights: int
    ) -> Iterator[tuple[Float[Tensor, "batch kernels *space"], Float[Tensor, "batch channels *space"]]]:
        """Yield the activation maps and the reconstructions of the examples, one pair per level of sparsity.

        The description of an example does not depend on the other examples.

        Args:
            x: The examples.
            levels: Levels of sparsity.
            loss: The reconstruction loss of φ, for a level that minimizes φ.
            n_weights: W of φ, the number of weights of the atoms.
        """

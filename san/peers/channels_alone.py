"""Each channel of an example described by a network of its own."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from san.metrics import Loss
from san.networks import SparselyActivatedNetwork, WeightCount
from san.ops.shapes import Float
from san.peers.peer import Level

__all__ = ["ChannelsAlone"]


class ChannelsAlone:
    """Describe each channel of an example by a network that sees this channel alone.

    The description of an example has the weights of all networks and the activations of all channels, so an event that
    is in several channels counts in each of them.

    Args:
        networks: A network of one channel for each channel of an example.
    """

    def __init__(self, networks: Sequence[SparselyActivatedNetwork]) -> None:
        self.networks = networks

    def n_weights(self, count: WeightCount = "samples") -> int:
        """Count the weights W of the networks of all channels."""
        return sum(network.n_weights(count) for network in self.networks)

    @torch.no_grad()
    def describe(
        self, x: Float[Tensor, "batch channels *space"], levels: Sequence[Level], *, loss: Loss, n_weights: int
    ) -> Iterator[tuple[Float[Tensor, "batch kernels *space"], Float[Tensor, "batch channels *space"]]]:
        """Yield the activation maps of all channels and the reconstructions, the same pair for each level of sparsity.

        Args:
            x: The examples.
            levels: Levels of sparsity, which change nothing: the activation function of each network determines it.
            loss: Not used.
            n_weights: Not used.
        """
        maps = [network.encode(own) for network, own in zip(self.networks, x.split(1, dim=1), strict=True)]
        reconstructions = [network.decode(own) for network, own in zip(self.networks, maps, strict=True)]
        for _ in levels:
            yield torch.cat(maps, dim=1), torch.cat(reconstructions, dim=1)

"""The baseline methods by name, and the metrics that they are tuned by."""

from collections.abc import Sequence
from importlib.util import find_spec

import torch
from torch import Tensor

from san import DISTRIBUTION
from san.averages import MeanPerModel, MeanPhi
from san.metrics import Loss, inverse_compression_ratio, normalized_reconstruction_loss
from san.networks import WeightCount
from san.ops.shapes import Float
from san.peers.channels_alone import ChannelsAlone
from san.peers.convolutional_sparse_coding import ConvolutionalSparseCoding
from san.peers.patches_omp import PatchesOMP
from san.peers.peer import Level, Peer

__all__ = ["METHODS", "mean_metrics", "require_installed"]

METHODS: dict[str, type[Peer]] = {"patches_omp": PatchesOMP, "csc": ConvolutionalSparseCoding}

BATCH_SIZE = 50  # examples that a method describes at a time; a larger batch takes more memory, with the same metrics


def require_installed(names: Sequence[str]) -> None:
    """Refuse an unknown baseline method, and a method whose library is not installed.

    Args:
        names: Names of baseline methods, keys of ``METHODS``.

    Raises:
        ValueError: If a method is unknown or its library is not installed.
    """
    for name in names:
        if name not in METHODS:
            raise ValueError(f"peers={list(names)}: unknown baseline method {name!r}; choose from {', '.join(METHODS)}")
        if find_spec(METHODS[name].package) is None:
            raise ValueError(
                f"peers={list(names)}: {name} needs {METHODS[name].package}, which is not installed; "
                f"run pip install '{DISTRIBUTION}[peers]' or remove {name}"
            )


def mean_metrics(
    peer: Peer | ChannelsAlone,
    x: Float[Tensor, "batch channels *space"],
    levels: Sequence[Level],
    *,
    loss: Loss,
    count_weights: WeightCount,
) -> list[dict[str, float]]:
    """Return the mean metrics over the examples at each level of sparsity, defined as for a network.

    Args:
        peer: The baseline method, or the networks of the channels alone, that describes the examples.
        x: The examples.
        levels: Levels of sparsity.
        loss: The reconstruction loss.
        count_weights: How to count the weights; see :meth:`san.networks.SparselyActivatedNetwork.n_weights`.

    Returns:
        For each level, the means ``phi``, ``cr_inverse`` and ``loss_normalized``.
    """
    n_weights, n_channels = peer.n_weights(count_weights), x.shape[1]
    mean_phi, mean_ratio, mean_loss = MeanPhi(len(levels)), MeanPerModel(len(levels)), MeanPerModel(len(levels))
    for batch in x.split(BATCH_SIZE):
        described = peer.describe(batch, levels, loss=loss, n_weights=n_weights)
        per_level = [
            (inverse_compression_ratio(maps, n_weights, n_channels), reconstruction)
            for maps, reconstruction in described
        ]
        of_levels, reconstructions = zip(*per_level, strict=True)
        # One call for all levels: Hydra checks a loss of the configuration anew at each call.
        repeated = batch.repeat(len(levels), *[1] * (batch.dim() - 1))
        losses = normalized_reconstruction_loss(torch.cat(reconstructions), repeated, loss)
        ratios, losses = torch.stack(of_levels, dim=1).flatten(), losses.view(len(levels), -1).T.flatten()
        mean_phi.update(ratios, losses)
        mean_ratio.update(ratios)
        mean_loss.update(losses)
    means = {"phi": mean_phi, "cr_inverse": mean_ratio, "loss_normalized": mean_loss}
    values_of = {name: mean.compute().view(-1).tolist() for name, mean in means.items()}
    return [{name: values[level] for name, values in values_of.items()} for level in range(len(levels))]

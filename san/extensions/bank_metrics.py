r"""The metrics of the models of a bank, :math:`CR^{-1}` and :math:`\tilde{\mathcal{L}}` for each example and model."""

from collections.abc import Sequence

import torch
from torch import Tensor

from san.metrics import Loss, inverse_compression_ratio, normalized_reconstruction_loss
from san.ops.shapes import Float

__all__ = ["metrics_per_model", "models_as_examples"]


def metrics_per_model(
    maps: Float[Tensor, "batch kernels *space"],
    reconstruction: Float[Tensor, "batch all_channels *space"],
    x: Float[Tensor, "batch channels *space"],
    n_weights: Sequence[int],
    loss: Loss,
) -> tuple[Float[Tensor, "values"], Float[Tensor, "values"]]:
    r"""Return :math:`CR^{-1}` and :math:`\tilde{\mathcal{L}}` of each model of a bank for each example.

    Args:
        maps: The activation maps; every model has the same number of kernels.
        reconstruction: The reconstruction of each model, their channels model after model.
        x: The examples, the same for all models or the channels of each, model after model.
        n_weights: W of each model.
        loss: The reconstruction loss.

    Returns:
        Two tensors [batch * models]: all models for the first example, then for the next.
    """
    of_models = maps.unflatten(1, (len(n_weights), -1)).flatten(0, 1)
    weights = torch.tensor(n_weights, device=maps.device).repeat(len(x))
    described, examples = models_as_examples(reconstruction, x, len(n_weights))
    return (
        inverse_compression_ratio(of_models, weights, examples.shape[1]),
        normalized_reconstruction_loss(described, examples, loss),
    )


def models_as_examples(
    reconstruction: Float[Tensor, "batch all_channels *space"], x: Float[Tensor, "batch channels *space"], n_models: int
) -> tuple[Float[Tensor, "values own_channels *space"], Float[Tensor, "values own_channels *space"]]:
    """Return the reconstructions of all models as separate examples, and the example that each reconstructs."""
    of_models = reconstruction.unflatten(1, (n_models, -1))
    examples = x.unflatten(1, (-1, of_models.shape[2])).expand_as(of_models)
    return of_models.flatten(0, 1), examples.flatten(0, 1)

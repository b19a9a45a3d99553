r"""The metrics of the models of a bank, :math:`CR^{-1}` and :math:`\tilde{\mathcal{L}}` for each example and model."""

from collections.abc import Sequence

import torch
from torch import Tensor

from san.metrics import Loss, inverse_compression_ratio, normalized_reconstruction_loss
from san.ops.shapes import Float

__all__ = ["metrics_per_model", "models_as_examples"]


def metrics_per_model(
    maps: Float[Tensor, "batch kernels *space"],
    reconstruction: Float[Tensor, "batch models *space"],
    x: Float[Tensor, "batch channels *space"],
    n_weights: Sequence[int],
    loss: Loss,
) -> tuple[Float[Tensor, "values"], Float[Tensor, "values"]]:
    r"""Return :math:`CR^{-1}` and :math:`\tilde{\mathcal{L}}` of each model of a bank for each example.

    Args:
        maps: The activation maps; every model has the same number of kernels.
        reconstruction: The reconstruction of each model.
        x: The examples, one channel for all models or one for each.
        n_weights: W of each model.
        loss: The reconstruction loss.

    Returns:
        Two tensors [batch * models]: all models for the first example, then for the next.
    """
    of_models = maps.unflatten(1, (len(n_weights), -1)).flatten(0, 1)
    weights = torch.tensor(n_weights, device=maps.device).repeat(len(x))
    return (
        inverse_compression_ratio(of_models, weights),
        normalized_reconstruction_loss(*models_as_examples(reconstruction, x), loss),
    )


def models_as_examples(
    reconstruction: Float[Tensor, "batch models *space"], x: Float[Tensor, "batch channels *space"]
) -> tuple[Float[Tensor, "values 1 *space"], Float[Tensor, "values 1 *space"]]:
    """Return the reconstructions of all models as separate examples, and the example that each reconstructs."""
    return reconstruction.flatten(0, 1).unsqueeze(1), x.expand_as(reconstruction).flatten(0, 1).unsqueeze(1)

r"""How verbose and how wrong a description is: :math:`CR^{-1}`, :math:`\tilde{\mathcal{L}}` and :math:`\varphi`."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

from san.shapes import Float

__all__ = [
    "Loss",
    "MeanPhi",
    "figures_per_model",
    "inverse_compression_ratio",
    "loss_per_example",
    "model_by_model",
    "normalized_reconstruction_loss",
    "phi",
]


# A reconstruction loss, called as those of torch.nn.functional are: loss(input, target, reduction="none").
Loss = Callable[..., Tensor]


def inverse_compression_ratio(
    maps: Float[Tensor, "batch kernels *space"], n_weights: int | Tensor
) -> Float[Tensor, "batch"]:
    r"""Count the numbers stored to describe each example, per sample of it.

    .. math:: CR^{-1} = \frac{W + (\dim(x) + 1) A_x}{n}

    An activation costs its amplitude and its position along each axis. Only exact zeros are free.

    Args:
        maps: The activation maps, of which A is the number of samples that are not zero.
        n_weights: W, the number of weights of all kernels; one number, or one for each example.

    Reference:
        Bizopoulos and Koutsouris, "Sparsely Activated Networks", Section II, Eq. 2 to 4.

    Example:
        >>> inverse_compression_ratio(torch.tensor([[[0.0, 2.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0]]]), n_weights=3)
        tensor([0.8750])
    """
    space = maps.shape[2:]
    n_activations = maps.count_nonzero(dim=tuple(range(1, maps.dim())))
    stored = n_weights + (len(space) + 1) * n_activations
    return stored.to(torch.get_default_dtype()) / space.numel()


def normalized_reconstruction_loss(
    reconstruction: Float[Tensor, "batch 1 *space"], x: Float[Tensor, "batch 1 *space"], loss: Loss = F.l1_loss
) -> Float[Tensor, "batch"]:
    r"""Divide the loss of each reconstruction by the loss of reconstructing zeros.

    .. math:: \tilde{\mathcal{L}} = \mathcal{L}(\hat{x}, x) / \mathcal{L}(0, x)

    It is undefined where x is zero everywhere, and NaN or infinite then: datasets refuse such examples by name.

    Args:
        reconstruction: The reconstructions.
        x: What they should be.
        loss: The mean absolute error of the paper, or any other loss like those of ``torch.nn.functional``.

    Reference:
        Bizopoulos and Koutsouris, "Sparsely Activated Networks", Section II, Eq. 5.

    Example:
        >>> normalized_reconstruction_loss(torch.tensor([[[1.0, 1.0]]]), torch.tensor([[[2.0, -2.0]]]))
        tensor([1.])
    """
    return loss_per_example(reconstruction, x, loss) / loss_per_example(torch.zeros_like(x), x, loss)


def loss_per_example(
    reconstruction: Float[Tensor, "batch 1 *space"], x: Float[Tensor, "batch 1 *space"], loss: Loss
) -> Float[Tensor, "batch"]:
    """Average the loss over the samples of each example."""
    return loss(reconstruction, x, reduction="none").flatten(1).mean(1)


def figures_per_model(
    maps: Float[Tensor, "batch kernels *space"],
    reconstruction: Float[Tensor, "batch models *space"],
    x: Float[Tensor, "batch 1 *space"],
    n_weights: Sequence[int],
    loss: Loss,
) -> tuple[Float[Tensor, "figures"], Float[Tensor, "figures"]]:
    r"""Return :math:`CR^{-1}` and :math:`\tilde{\mathcal{L}}` of each model of a bank for each example.

    Args:
        maps: The activation maps, as many of each model.
        reconstruction: Those of the models.
        x: What they should be.
        n_weights: W of each model.
        loss: The reconstruction loss.

    Returns:
        Two tensors, [batch * models]: the models of the first example, then those of the next.
    """
    n_models = len(n_weights)
    each = maps.unflatten(1, (n_models, -1)).flatten(0, 1)
    stored = torch.tensor(n_weights, device=maps.device).repeat(len(x))
    return (
        inverse_compression_ratio(each, stored),
        normalized_reconstruction_loss(*model_by_model(reconstruction, x), loss),
    )


def model_by_model(
    reconstruction: Float[Tensor, "batch models *space"], x: Float[Tensor, "batch 1 *space"]
) -> tuple[Tensor, Tensor]:
    """Take the models of an example for examples, one after another, and return them with what they should be."""
    return reconstruction.flatten(0, 1).unsqueeze(1), x.expand_as(reconstruction).flatten(0, 1).unsqueeze(1)


def phi(cr_inverse: Float[Tensor, "batch"], loss: Float[Tensor, "batch"]) -> Float[Tensor, "batch"]:
    r"""Score each example by how verbose and how wrong its description is.

    .. math:: \varphi = \lVert (CR^{-1}, \tilde{\mathcal{L}}) \rVert_2

    Zero is perfect; a description that says nothing scores 1, all loss and no numbers.

    Args:
        cr_inverse: Numbers stored per sample of the input, dimensionless, >= 0.
        loss: Reconstruction loss over the loss of reconstructing zeros, dimensionless, >= 0.

    Reference:
        Bizopoulos and Koutsouris, "Sparsely Activated Networks", Section II, Eq. 6.

    Example:
        >>> phi(torch.tensor([0.3]), torch.tensor([0.4]))
        tensor([0.5000])
    """
    return torch.hypot(cr_inverse, loss)


class MeanPerModel(Metric):
    """Average over examples, exactly: sums and counts, over unequal batches and over ranks.

    An example that is not a number makes the mean of its model not a number.

    Args:
        n_models: How many means there are; the values of an update are those of the models of an example, one after
            another, then those of the next example.
    """

    total: Tensor
    count: Tensor

    def __init__(self, n_models: int = 1) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(n_models), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, values: Float[Tensor, "batch"]) -> None:
        """Add the values of a batch."""
        by_model = values.view(-1, len(self.total))
        self.total += by_model.sum(0)
        self.count += len(by_model)

    def compute(self) -> Tensor:
        """Return the mean over all examples so far, [models], or a scalar of one model."""
        return (self.total / self.count).squeeze()


class MeanPhi(MeanPerModel):
    r"""Average :math:`\varphi` over examples, exactly: sums and counts, over unequal batches and over ranks.

    It is the mean of norms, so never less than the norm of the mean :math:`CR^{-1}` and the mean
    :math:`\tilde{\mathcal{L}}`. An example that is not a number makes the mean not a number.

    Args:
        n_models: How many means there are; see :class:`MeanPerModel`.

    Reference:
        Bizopoulos and Koutsouris, "Sparsely Activated Networks", Section II, Eq. 7.

    Example:
        >>> mean_phi = MeanPhi()
        >>> mean_phi.update(torch.tensor([0.3, 0.0]), torch.tensor([0.4, 1.0]))
        >>> mean_phi.update(torch.tensor([0.0]), torch.tensor([0.0]))
        >>> mean_phi.compute()
        tensor(0.5000)
    """

    def update(self, cr_inverse: Float[Tensor, "batch"], loss: Float[Tensor, "batch"]) -> None:  # type: ignore[override]
        """Add the examples of a batch, given their inverse compression ratios and normalized losses."""
        super().update(phi(cr_inverse, loss))

r"""How verbose and how wrong a description is: :math:`CR^{-1}`, :math:`\tilde{\mathcal{L}}` and :math:`\varphi`."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from san.ops.shapes import Float

if TYPE_CHECKING:
    from torchmetrics import Metric
else:
    try:
        from torchmetrics import Metric
    except ImportError:

        class Metric:
            """Stand in where torchmetrics is not installed: the functions of this module need torch alone."""

            def __init__(self) -> None:
                raise ModuleNotFoundError("MeanPhi needs torchmetrics: pip install torchmetrics")


__all__ = [
    "Loss",
    "MeanPerModel",
    "MeanPhi",
    "inverse_compression_ratio",
    "loss_per_example",
    "normalized_reconstruction_loss",
    "phi",
]

Loss = Callable[..., Tensor]
"""A reconstruction loss, called as in ``torch.nn.functional``: ``loss(input, target, reduction="none")``."""


def inverse_compression_ratio(
    maps: Float[Tensor, "batch kernels *space"], n_weights: int | Tensor, channels: int = 1
) -> Float[Tensor, "batch"]:
    r"""Count the numbers stored to describe each example, per sample of the example.

    .. math:: CR^{-1} = \frac{W + (\dim(x) + 1) A_x}{n}

    Each activation stores its amplitude and its position along each axis, once for all channels, and
    dim(x) is 1 for signals and 2 for images; n counts the samples of all channels. Only samples equal to zero are free.

    Args:
        maps: The activation maps; A is their number of nonzero samples.
        n_weights: W, the number of weights of all kernels; one number, or one per example.
        channels: Number of channels of an example.

    Reference:
        Bizopoulos and Koutsouris, "Sparsely Activated Networks", Section II, Eq. 2 to 4.

    Example:
        >>> inverse_compression_ratio(torch.tensor([[[0.0, 2.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0]]]), n_weights=3)
        tensor([0.8750])
    """
    space = maps.shape[2:]
    n_activations = maps.count_nonzero(dim=tuple(range(1, maps.dim())))
    stored = n_weights + (len(space) + 1) * n_activations
    return stored / (channels * space.numel())


def normalized_reconstruction_loss(
    reconstruction: Float[Tensor, "batch channels *space"],
    x: Float[Tensor, "batch channels *space"],
    loss: Loss = F.l1_loss,
) -> Float[Tensor, "batch"]:
    r"""Divide the loss of each reconstruction by the loss of reconstructing zeros.

    .. math:: \tilde{\mathcal{L}} = \mathcal{L}(\hat{x}, x) / \mathcal{L}(0, x)

    It is undefined (NaN or infinite) where x is zero everywhere; datasets refuse such examples.

    Args:
        reconstruction: The reconstructions.
        x: The examples.
        loss: The mean absolute error of the paper, or another loss called as in ``torch.nn.functional``.

    Reference:
        Bizopoulos and Koutsouris, "Sparsely Activated Networks", Section II, Eq. 5.

    Example:
        >>> normalized_reconstruction_loss(torch.tensor([[[1.0, 1.0]]]), torch.tensor([[[2.0, -2.0]]]))
        tensor([1.])
    """
    return loss_per_example(reconstruction, x, loss) / loss_per_example(torch.zeros_like(x), x, loss)


def loss_per_example(
    reconstruction: Float[Tensor, "batch channels *space"], x: Float[Tensor, "batch channels *space"], loss: Loss
) -> Float[Tensor, "batch"]:
    """Average the loss over the samples of all channels of each example."""
    return loss(reconstruction, x, reduction="none").flatten(1).mean(1)


def phi(cr_inverse: Float[Tensor, "batch"], loss: Float[Tensor, "batch"]) -> Float[Tensor, "batch"]:
    r"""Score each example by how verbose and how wrong its description is.

    .. math:: \varphi = \lVert (CR^{-1}, \tilde{\mathcal{L}}) \rVert_2

    Zero is perfect; an empty description scores 1, all loss and no numbers.

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
    """Average over examples, exact over unequal batches and over ranks.

    A NaN of an example makes the mean of its model NaN.

    Args:
        n_models: Number of means. An update has the values of all models for the first example, then for the next.
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
        """Return the mean over all examples, [models], or a scalar for one model."""
        return self.total / self.count


class MeanPhi(MeanPerModel):
    r"""Average :math:`\varphi` over examples, exact over unequal batches and over ranks.

    The mean of norms is at least the norm of the mean :math:`CR^{-1}` and the mean :math:`\tilde{\mathcal{L}}`. A NaN
    of an example makes the mean NaN.

    Args:
        n_models: Number of means; see :class:`MeanPerModel`.

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

r"""How verbose and how wrong a description is: :math:`CR^{-1}`, :math:`\tilde{\mathcal{L}}` and :math:`\varphi`."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from san.ops.shapes import Float

__all__ = [
    "Loss",
    "inverse_compression_ratio",
    "loss_per_example",
    "normalized_reconstruction_loss",
    "phi",
]

Loss = Callable[..., Tensor]
"""A reconstruction loss, called as in ``torch.nn.functional``: ``loss(input, target, reduction="none")``."""
AVERAGES = ("MeanPerModel", "MeanPhi")


def __getattr__(name: str) -> Any:
    """Import an average when it is first used: the functions of this module need torch alone, and start faster."""
    if name not in AVERAGES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("san.averages"), name)


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

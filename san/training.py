"""The LightningModule: training by the reconstruction loss, judging by phi."""

import warnings
from collections.abc import Callable, Iterable, Sequence

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric

from san.metrics import (
    Loss,
    MeanPhi,
    inverse_compression_ratio,
    loss_per_example,
    normalized_reconstruction_loss,
)
from san.networks import SparselyActivatedNetwork

__all__ = ["SANModule"]

Batch = Sequence[Tensor]

# The examples are in memory, where worker processes only cost.
warnings.filterwarnings("ignore", message=".*does not have many workers")
# Lightning 2.6 asks torch in a way that torch 2.15 deprecates.
warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated")


class SANModule(pl.LightningModule):
    """Train a Sparsely Activated Network and judge it by phi.

    Each training loss is the mean over the examples of the whole batch, wherever they are, so that gradients do not
    depend on the number of processes.

    Args:
        network: The network.
        loss: The reconstruction loss, such as ``torch.nn.functional.l1_loss``.
        optimizer: Makes the optimizer of the parameters that it is given.
        count_weights: How phi counts the weights of a two-dimensional kernel;
            see :meth:`san.networks.SparselyActivatedNetwork.n_weights`.

    Raises:
        FloatingPointError: While training or validating, if a loss is not finite; it names the epoch and the batch.

    Reference:
        Bizopoulos and Koutsouris, "Sparsely Activated Networks", Section III-B, Algorithm 4.
    """

    def __init__(
        self,
        network: SparselyActivatedNetwork,
        *,
        loss: Loss,
        optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
        count_weights: str,
    ) -> None:
        super().__init__()
        self.network = network
        self.loss = loss
        self.optimizer = optimizer
        self.n_weights = network.n_weights(count_weights)
        self.train_loss = MeanMetric(nan_strategy="disable")
        self.validation_figures = _Figures()
        self.test_figures = _Figures()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Make the optimizer."""
        return self.optimizer(self.parameters())

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Return the loss of a batch, scaled so that the mean over ranks is the mean over examples."""
        x = batch[0]
        losses = loss_per_example(self.network(x), x, self.loss)
        self._refuse_non_finite(losses, "training", batch_index)
        self.train_loss.update(losses.detach())
        self.log("train/loss", self.train_loss, on_step=False, on_epoch=True, batch_size=len(x))
        n_examples = self.trainer.strategy.reduce(torch.tensor(len(x), device=self.device), reduce_op="sum")
        return losses.sum() * self.trainer.world_size / n_examples

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Add the examples of a batch to the validation figures."""
        self._describe(batch[0], "validation", self.validation_figures, batch_index)

    def test_step(self, batch: Batch, batch_index: int) -> None:
        """Add the examples of a batch to the test figures."""
        self._describe(batch[0], "test", self.test_figures, batch_index)

    def _describe(self, x: Tensor, split: str, figures: "_Figures", batch_index: int) -> None:
        maps = self.network.encode(x)
        cr_inverse = inverse_compression_ratio(maps, self.n_weights)
        loss = normalized_reconstruction_loss(self.network.decode(maps), x, self.loss)
        self._refuse_non_finite(loss, split, batch_index)
        figures.update(cr_inverse, loss)
        for name, metric in figures.by_name.items():
            self.log(f"{split}/{name}", metric, on_step=False, on_epoch=True, prog_bar=name == "phi", batch_size=len(x))

    def _refuse_non_finite(self, losses: Tensor, split: str, batch_index: int) -> None:
        if not losses.isfinite().all():
            raise FloatingPointError(
                f"the {split} loss is not finite in epoch {self.current_epoch}, batch {batch_index}: "
                "lower optimizer.lr; the best checkpoint so far is kept"
            )


class _Figures(nn.Module):
    """The means over the examples of a split."""

    def __init__(self) -> None:
        super().__init__()
        self.phi = MeanPhi()
        self.cr_inverse = MeanMetric(nan_strategy="disable")
        self.loss_normalized = MeanMetric(nan_strategy="disable")

    @property
    def by_name(self) -> dict[str, Metric]:
        return {"phi": self.phi, "cr_inverse": self.cr_inverse, "loss_normalized": self.loss_normalized}

    def update(self, cr_inverse: Tensor, loss: Tensor) -> None:
        self.phi.update(cr_inverse, loss)
        self.cr_inverse.update(cr_inverse)
        self.loss_normalized.update(loss)

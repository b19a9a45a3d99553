"""The LightningModules: a network trained by its reconstruction loss and judged by phi, and a classifier."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric, MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MulticlassPrecision,
    MulticlassRecall,
)
from torchmetrics.wrappers import MultitaskWrapper

from san.activations import Moment
from san.growing import GrowingNetwork
from san.metrics import (
    Loss,
    MeanPerModel,
    MeanPhi,
    figures_per_model,
    loss_per_example,
    model_by_model,
)
from san.networks import SparselyActivatedNetwork

__all__ = ["ClassifierModule", "SANModule"]

Batch = Sequence[Tensor]
Figures = dict[str, list[float]]

# The examples are in memory, where worker processes only cost.
warnings.filterwarnings("ignore", message=".*does not have many workers")
# Lightning 2.6 asks torch in a way that torch 2.15 deprecates.
warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated")


class SANModule(pl.LightningModule):
    """Train the models of a Sparsely Activated Network, one or a bank of them, and judge each by phi.

    The training loss of a model is the mean over the examples of the whole batch, wherever they are, so that gradients
    do not depend on the number of processes. The losses of a bank are added: what updates each weight from its own
    gradient alone, as Adam does, then trains each model as if it were the only one.

    What is logged of a bank are the figures of its best model in that epoch.

    Args:
        network: The network.
        loss: The reconstruction loss, such as ``torch.nn.functional.l1_loss``.
        optimizer: Makes the optimizer of the parameters that it is given.
        count_weights: How phi counts the weights of a two-dimensional kernel;
            see :meth:`san.networks.SparselyActivatedNetwork.n_weights`.

    Raises:
        FloatingPointError: While training or validating, if a loss is not finite where there is one model; it names the
            epoch and the batch. In a bank the others go on.

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
        self.count_weights = count_weights
        self.train_loss = MeanMetric(nan_strategy="ignore")
        self.validation_means = _Figures(network.n_models)
        self.test_means = _Figures(network.n_models)
        self.activations = _ActivationsPerKernel(len(network.kernel_sizes))
        self.figures: dict[str, Figures] = {}
        self.dead_kernels: list[int] = []

    @property
    def n_weights(self) -> list[int]:
        """W of each model as it is."""
        return [self.network.n_weights(self.count_weights, model) for model in range(self.network.n_models)]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Make the optimizer."""
        return self.optimizer(self.parameters())

    def on_train_epoch_start(self) -> None:
        """Let a network that grows change its kernels; the optimizer forgets what they were."""
        if isinstance(self.network, GrowingNetwork):
            examples = cast("Any", self.trainer).datamodule.examples
            changed = self.network.begin_epoch(
                self.current_epoch, examples["train"], examples["validation"], self.loss, self.count_weights
            )
            if changed is not None:
                for value in self.trainer.optimizers[0].state[self.network.weight].values():
                    if isinstance(value, Tensor) and value.shape == self.network.weight.shape:
                        value[changed] = 0

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Return the loss of a batch, scaled so that the mean over ranks is the mean over examples."""
        x, activation, trainer = batch[0], self.network.activation, self.trainer
        activation.moment = Moment(self.current_epoch, batch_index, trainer.global_rank, trainer.world_size)
        losses = loss_per_example(*model_by_model(self.network(x), x), self.loss)
        activation.moment = None
        self._refuse_non_finite(self._marked(losses.detach()), "training", batch_index)
        self.train_loss.update(losses.detach())
        self.log("train/loss", self.train_loss, on_step=False, on_epoch=True, batch_size=len(x))
        return _mean_of_the_whole_batch(losses, len(x), trainer)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_index: int) -> None:
        """Keep the kernels at the norm that the encoder asks for."""
        self.network.constrain()

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Add the examples of a batch to the validation figures."""
        self._describe(batch[0], "validation", self.validation_means, batch_index)

    def on_validation_epoch_end(self) -> None:
        """Conclude the validation figures."""
        self._conclude("validation", self.validation_means)

    def test_step(self, batch: Batch, batch_index: int) -> None:
        """Add the examples of a batch to the test figures."""
        self.activations.update(self._describe(batch[0], "test", self.test_means, batch_index))

    def on_test_epoch_end(self) -> None:
        """Conclude the test figures, and find the kernels in use that no test example needed."""
        self._conclude("test", self.test_means)
        dead = (self.activations.compute().view(-1) == 0).nonzero().flatten().tolist()
        in_use = self.network.in_use
        self.dead_kernels = [kernel for kernel in dead if in_use[kernel]]
        self.activations.reset()

    def _describe(self, x: Tensor, split: str, means: "_Figures", batch_index: int) -> Tensor:
        maps = self.network.encode(x)
        cr_inverse, loss = figures_per_model(maps, self.network.decode(maps), x, self.n_weights, self.loss)
        loss = self._marked(loss)
        self._refuse_non_finite(loss, split, batch_index)
        means.update(cr_inverse, loss)
        return maps

    def _marked(self, losses: Tensor) -> Tensor:
        """Take the losses of models with weights that are not finite for not a number: they would describe nothing."""
        n_models = self.network.n_models
        broken = ~self.network.weight.isfinite().view(n_models, -1).all(1)
        return losses.view(-1, n_models).masked_fill(broken, torch.nan).flatten()

    def _conclude(self, split: str, means: "_Figures") -> None:
        figures = means.compute()
        self.figures[split] = {name: values.tolist() for name, values in figures.items()}
        best = int(figures["phi"].nan_to_num(torch.inf).argmin())
        for name, values in figures.items():
            self.log(f"{split}/{name}", values[best], prog_bar=name == "phi", sync_dist=True)

    def _refuse_non_finite(self, losses: Tensor, split: str, batch_index: int) -> None:
        if self.network.n_models == 1 and not losses.isfinite().all():
            raise FloatingPointError(
                f"the {split} loss is not finite in epoch {self.current_epoch}, batch {batch_index}: "
                "lower optimizer.lr; the best checkpoint so far is kept"
            )


class ClassifierModule(pl.LightningModule):
    """Train classifiers by cross-entropy, one or a bank of them, and judge each by accuracy.

    Each has a channel of the examples, [batch, models, *space], to itself. Their losses are added, which trains each as
    if it were the only one; see :class:`SANModule`. What is logged of a bank is the accuracy of its best model.

    Args:
        models: Each gives logits, [batch, classes], for [batch, 1, *space].
        n_classes: Number of classes.
        optimizer: Makes the optimizer of the parameters that it is given.

    Reference:
        Bizopoulos and Koutsouris, "Sparsely Activated Networks", Section IV-B.
    """

    def __init__(
        self,
        models: Sequence[nn.Module],
        *,
        n_classes: int,
        optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
    ) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)
        self.optimizer = optimizer
        self.train_loss = MeanMetric()
        self.validation_accuracy = MeanPerModel(len(models))
        of_one: dict[str, Metric | MetricCollection] = {
            "accuracy": MulticlassAccuracy(n_classes, average="micro", validate_args=False),
            "precision": MulticlassPrecision(n_classes, average=None, validate_args=False),
            "recall": MulticlassRecall(n_classes, average=None, validate_args=False),
            "confusion": MulticlassConfusionMatrix(n_classes, validate_args=False),
        }
        metrics = MetricCollection(of_one)
        self.test_metrics = MultitaskWrapper({str(index): metrics.clone() for index in range(len(models))})
        self.validation: list[float] = []
        self.outcomes: list[dict[str, Any]] = []

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Make the optimizer."""
        return self.optimizer(self.parameters())

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of each model for its channel, [batch, models, classes]."""
        return torch.stack([model(x[:, [index]]) for index, model in enumerate(self.models)], dim=1)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Return the cross-entropy of a batch, scaled so that the mean over ranks is the mean over examples."""
        x, labels = batch
        by_model = labels.unsqueeze(1).expand(-1, len(self.models))
        losses = F.cross_entropy(self(x).flatten(0, 1), by_model.flatten(), reduction="none")
        self.train_loss.update(losses.detach())
        self.log("train/loss", self.train_loss, on_step=False, on_epoch=True, batch_size=len(x))
        return _mean_of_the_whole_batch(losses, len(x), self.trainer)

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Count the right answers of a batch."""
        x, labels = batch
        right = self(x).argmax(2) == labels.unsqueeze(1)
        self.validation_accuracy.update(right.float().flatten())

    def on_validation_epoch_end(self) -> None:
        """Conclude the accuracies."""
        self.validation = self.validation_accuracy.compute().view(-1).tolist()
        self.validation_accuracy.reset()
        self.log("validation/accuracy", max(self.validation), sync_dist=True)

    def test_step(self, batch: Batch, batch_index: int) -> None:
        """Count the answers of a batch for every class; a rank may have a batch of no examples."""
        x, labels = batch
        if len(x):
            logits = {str(index): own for index, own in enumerate(self(x).unbind(1))}
            self.test_metrics.update(logits, dict.fromkeys(logits, labels))

    def on_test_epoch_end(self) -> None:
        """Keep accuracy, precision and recall of each class, and the confusion matrix: rows are what is true."""
        outcomes = self.test_metrics.compute().values()
        self.outcomes = [{name: value.tolist() for name, value in outcome.items()} for outcome in outcomes]
        self.test_metrics.reset()


def _mean_of_the_whole_batch(losses: Tensor, n_examples: int, trainer: pl.Trainer) -> Tensor:
    """Return what, averaged over the ranks, is the sum of the losses over the number of examples of all of them."""
    total = trainer.strategy.reduce(torch.tensor(n_examples, device=losses.device), reduce_op="sum")
    return losses.sum() * trainer.world_size / total


class _ActivationsPerKernel(Metric):
    """Count the activations of each kernel over all examples and ranks."""

    count: Tensor

    def __init__(self, n_kernels: int) -> None:
        super().__init__()
        self.add_state("count", torch.zeros(n_kernels, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, maps: Tensor) -> None:
        self.count += maps.count_nonzero(dim=(0, *range(2, maps.dim())))

    def compute(self) -> Tensor:
        return self.count


class _Figures(nn.Module):
    """The means over the examples of a split, for each model."""

    def __init__(self, n_models: int) -> None:
        super().__init__()
        self.phi = MeanPhi(n_models)
        self.cr_inverse = MeanPerModel(n_models)
        self.loss_normalized = MeanPerModel(n_models)

    def update(self, cr_inverse: Tensor, loss: Tensor) -> None:
        self.phi.update(cr_inverse, loss)
        self.cr_inverse.update(cr_inverse)
        self.loss_normalized.update(loss)

    def compute(self) -> dict[str, Tensor]:
        """Return the means, [models] each, and begin anew."""
        metrics = {"phi": self.phi, "cr_inverse": self.cr_inverse, "loss_normalized": self.loss_normalized}
        means = {name: metric.compute().view(-1) for name, metric in metrics.items()}
        for metric in metrics.values():
            metric.reset()
        return means

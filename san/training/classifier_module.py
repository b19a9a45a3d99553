"""The LightningModule of classifiers, one or a bank of them."""

from collections.abc import Sequence
from typing import Any

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

from san.metrics import MeanPerModel
from san.training.global_mean import mean_over_global_batch
from san.training.trainer_checks import OptimizerFactory, independent_optimizer, refuse_joint_clipping

__all__ = ["ClassifierModule"]

Batch = Sequence[Tensor]


class ClassifierModule(pl.LightningModule):
    """Train classifiers by cross-entropy, one or a bank of them, and evaluate each by accuracy.

    Each classifier has its own channel of the examples, [batch, models, *space]. Labels [batch, models] are those of
    batches of its own, labels [batch] those of all. The losses are added, which trains each classifier as if it were
    alone; see :class:`san.training.san_module.SANModule`. For a bank, the logged accuracy is that of its best
    classifier.

    Args:
        models: Modules from examples [batch, 1, *space] to logits [batch, classes].
        n_classes: Number of classes.
        optimizer: Returns the optimizer of the parameters that it is given.

    Reference:
        Bizopoulos and Koutsouris, "Sparsely Activated Networks", Section IV-B.
    """

    def __init__(
        self,
        models: Sequence[nn.Module],
        *,
        n_classes: int,
        optimizer: OptimizerFactory,
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
        """Return the optimizer, if it trains each classifier as if alone."""
        n_models, n_processes = len(self.models), self.trainer.world_size
        refuse_joint_clipping(self.trainer, n_models)
        parameters = list(self.parameters())
        return independent_optimizer(self.optimizer, parameters, n_models=n_models, n_processes=n_processes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of each classifier for its channel, [batch, models, classes]."""
        return torch.stack([model(x[:, [index]]) for index, model in enumerate(self.models)], dim=1)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Return the cross-entropy of a batch, scaled so that the mean over ranks is the mean over examples."""
        x, labels = batch
        labels_of_models = labels if labels.dim() == 2 else labels.unsqueeze(1).expand(-1, len(self.models))
        losses = F.cross_entropy(self(x).flatten(0, 1), labels_of_models.flatten(), reduction="none")
        self.train_loss.update(losses.detach())
        self.log("train/loss", self.train_loss, on_step=False, on_epoch=True, batch_size=len(x))
        return mean_over_global_batch(losses, len(x), self.trainer)

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Count the correct predictions of a batch."""
        x, labels = batch
        correct = self(x).argmax(2) == labels.unsqueeze(1)
        self.validation_accuracy.update(correct.float().flatten())

    def on_validation_epoch_end(self) -> None:
        """Compute the validation accuracies."""
        self.validation = self.validation_accuracy.compute().view(-1).tolist()
        self.validation_accuracy.reset()
        self.log("validation/accuracy", max(self.validation), sync_dist=True)

    def test_step(self, batch: Batch, batch_index: int) -> None:
        """Add a batch to the test metrics; the batch of a rank may be empty."""
        x, labels = batch
        if len(x):
            logits = {str(index): own for index, own in enumerate(self(x).unbind(1))}
            self.test_metrics.update(logits, dict.fromkeys(logits, labels))

    def on_test_epoch_end(self) -> None:
        """Compute accuracy, precision and recall per class, and the confusion matrix (a row per true class)."""
        outcomes = self.test_metrics.compute().values()
        self.outcomes = [{name: value.tolist() for name, value in outcome.items()} for outcome in outcomes]
        self.test_metrics.reset()

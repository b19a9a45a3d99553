"""The LightningModule of a network or a bank: trained by its reconstruction loss, evaluated by φ."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric

from san.averages import MeanPerModel, MeanPhi
from san.data.scale import Scale
from san.extensions.bank_metrics import metrics_per_model, models_as_examples
from san.metrics import Loss, loss_per_example
from san.networks import SparselyActivatedNetwork, TrainingStep, WeightCount
from san.ops.choices import check_choice
from san.training.epochs import epoch_number
from san.training.global_mean import mean_over_global_batch
from san.training.trainer_checks import (
    OptimizerFactory,
    independent_optimizer,
    refuse_inexact_trainer,
    refuse_joint_clipping,
)

__all__ = ["Metrics", "SANModule"]

Batch = Sequence[Tensor]

Metrics = dict[str, list[float]]
"""Metric values by name (``phi``, ``cr_inverse``, ``loss_normalized``), one per model."""


class SANModule(pl.LightningModule):
    """Train the models of a Sparsely Activated Network, one or a bank of them, and evaluate each by φ.

    The training loss of a model is the mean over the global batch, so gradients do not depend on the number of
    processes. The losses of a bank are added: an optimizer that changes each weight by its own gradient alone, as Adam
    does, then trains each model as if it were alone. Any other optimizer is refused for a bank; see
    :mod:`san.training.trainer_checks`.

    For a bank, the logged metrics are those of its best model in that epoch.

    Args:
        network: The network.
        loss: The reconstruction loss, such as ``torch.nn.functional.l1_loss``.
        optimizer: Returns the optimizer of the parameters that it is given.
        count_weights: How φ counts the weights of a two-dimensional kernel;
            see :meth:`san.networks.SparselyActivatedNetwork.n_weights`.
        config: Plain data that every checkpoint of this module stores.
        scale: Scale of the training data, which every checkpoint stores; None if unknown.
        origin: What every checkpoint stores of the training data; see :attr:`san.data.splits.Splits.origin`.

    Raises:
        ValueError: If the choice is unknown; when training or testing, if the trainer or the optimizer does not fit.
        FloatingPointError: While training or evaluating a single model, if its loss is not finite; the error names the
            epoch and the batch, from 1. The models of a bank continue.

    Reference:
        Bizopoulos and Koutsouris, "Sparsely Activated Networks", Section III-B, Algorithm 4.
    """

    def __init__(
        self,
        network: SparselyActivatedNetwork,
        *,
        loss: Loss,
        optimizer: OptimizerFactory,
        count_weights: WeightCount,
        config: Mapping[str, Any] | None = None,
        scale: Scale | None = None,
        origin: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        check_choice("count_weights", count_weights, WeightCount)
        self.network = network
        self.loss = loss
        self.optimizer = optimizer
        self.count_weights = count_weights
        self.config = config
        self.scale = scale
        self.origin = origin
        self.train_loss = MeanMetric(nan_strategy="ignore")
        self.validation_means = _MetricMeans(network.n_models)
        self.test_means = _MetricMeans(network.n_models)
        self.activations = _ActivationsPerKernel(len(network.kernel_sizes))
        self.metrics: dict[str, Metrics] = {}
        self.validation_per_epoch: list[Metrics] = []
        self.dead_kernels: list[int] = []
        self.stops = False

    @property
    def n_weights(self) -> list[int]:
        """The current W of each model."""
        return [self.network.n_weights(self.count_weights, model) for model in range(self.network.n_models)]

    @property
    def stored_data(self) -> dict[str, Any]:
        """The scale and the origin of the training data as parts of a checkpoint, without those that are unknown."""
        scale = None if self.scale is None else self.scale.to_dict()
        return {name: part for name, part in (("scale", scale), ("origin", self.origin)) if part is not None}

    def setup(self, stage: str) -> None:
        """Refuse a trainer that would change the meaning of a loss, a metric or an epoch."""
        refuse_inexact_trainer(self.trainer, stage)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer, if it trains each model as if alone."""
        n_models, n_processes = self.network.n_models, self.trainer.world_size
        refuse_joint_clipping(self.trainer, n_models)
        parameters = list(self.parameters())
        return independent_optimizer(self.optimizer, parameters, n_models=n_models, n_processes=n_processes)

    def on_train_epoch_start(self) -> None:
        """Take the kernels of the first rank: each rank constrains and renews its own, maybe with another rounding."""
        if self.trainer.world_size > 1:
            torch.distributed.broadcast(self.network.weight.detach(), src=0)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Return the loss of a batch, scaled so that the mean over ranks is the mean over examples."""
        x, trainer = batch[0], self.trainer
        step = TrainingStep(self.current_epoch, batch_index, trainer.global_rank, trainer.world_size)
        with self.network.activation.during(step):
            losses = loss_per_example(*models_as_examples(self.network(x), x, self.network.n_models), self.loss)
        self._refuse_non_finite(self._with_broken_models_nan(losses.detach()), "training", batch_index)
        self.train_loss.update(losses.detach())
        self.log("train/loss", self.train_loss, on_step=False, on_epoch=True, batch_size=len(x))
        return mean_over_global_batch(losses, len(x), trainer)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_index: int) -> None:
        """Scale the kernels to unit norm if the encoder requires it, and defer a stop to the end of the epoch."""
        self.network.constrain()
        self.stops = self.stops or self.trainer.should_stop
        self.trainer.should_stop = self.stops and self.trainer.is_last_batch

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Add a batch to the validation metrics."""
        self._describe(batch[0], "validation", self.validation_means, batch_index)

    def on_validation_epoch_end(self) -> None:
        """Compute the validation metrics."""
        self._compute_metrics("validation", self.validation_means)
        if self.trainer.state.fn == "fit" and not self.trainer.sanity_checking:
            self.validation_per_epoch.append(self.metrics["validation"])

    def test_step(self, batch: Batch, batch_index: int) -> None:
        """Add a batch to the test metrics."""
        self.activations.update(self._describe(batch[0], "test", self.test_means, batch_index))

    def on_test_epoch_end(self) -> None:
        """Compute the test metrics, and find the dead kernels: in use, but without an activation in any example."""
        self._compute_metrics("test", self.test_means)
        counts = self.activations.compute().view(-1).tolist()
        in_use = [used for model in range(self.network.n_models) for used in self.network.in_use(model)]
        self.dead_kernels = [kernel for kernel, count in enumerate(counts) if in_use[kernel] and count == 0]
        self.activations.reset()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the scale and the origin of the data, and the configuration unless a callback has stored one."""
        checkpoint.setdefault("config", self.config)
        checkpoint.update(self.stored_data)

    def _describe(self, x: Tensor, split: str, means: "_MetricMeans", batch_index: int) -> Tensor:
        maps = self.network.encode(x)
        cr_inverse, loss = metrics_per_model(maps, self.network.decode(maps), x, self.n_weights, self.loss)
        loss = self._with_broken_models_nan(loss)
        self._refuse_non_finite(loss, split, batch_index)
        means.update(cr_inverse, loss)
        return maps

    def _with_broken_models_nan(self, losses: Tensor) -> Tensor:
        """Set the losses of models with non-finite weights to NaN: empty maps would make them finite."""
        n_models = self.network.n_models
        broken = ~self.network.weight.isfinite().view(n_models, -1).all(1)
        return losses.view(-1, n_models).masked_fill(broken, torch.nan).flatten()

    def _compute_metrics(self, split: str, means: "_MetricMeans") -> None:
        metrics = means.compute()
        self.metrics[split] = {name: values.tolist() for name, values in metrics.items()}
        best = int(metrics["phi"].nan_to_num(torch.inf).argmin())
        for name, values in metrics.items():
            self.log(f"{split}/{name}", values[best], prog_bar=name == "phi", sync_dist=True)

    def _refuse_non_finite(self, losses: Tensor, split: str, batch_index: int) -> None:
        if self.network.n_models == 1 and not losses.isfinite().all():
            epoch = "" if split == "test" else f"epoch {epoch_number(self.current_epoch)}, "
            raise FloatingPointError(
                f"the {split} loss is not finite in {epoch}batch {batch_index + 1}: "
                "lower optimizer.lr; the best checkpoint so far is kept"
            )


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


class _MetricMeans(nn.Module):
    """The mean metrics of a split, for each model."""

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
        """Return the means, [models] each, and reset them."""
        metrics = {"phi": self.phi, "cr_inverse": self.cr_inverse, "loss_normalized": self.loss_normalized}
        means = {name: metric.compute().view(-1) for name, metric in metrics.items()}
        for metric in metrics.values():
            metric.reset()
        return means

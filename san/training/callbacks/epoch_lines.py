"""Progress of a training: a bar on a terminal, one line per epoch elsewhere."""

import logging
import sys
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar, RichProgressBar
from pytorch_lightning.callbacks.progress.rich_progress import ProcessingSpeedColumn

from san.training.callbacks.phi_checkpoint import MONITOR, is_validated
from san.training.epochs import epoch_number

__all__ = ["EpochLines", "progress"]

log = logging.getLogger(__name__)


def progress(enabled: bool, monitor: str = MONITOR) -> list[ProgressBar]:
    """Return the progress callbacks: a bar on a terminal, one line per epoch elsewhere, none if disabled.

    Args:
        enabled: Whether to show progress; the trainer must be given the same.
        monitor: The metric that a line reports beside the training loss.
    """
    if not enabled:
        return []
    return [_EpochBar(leave=False) if sys.stdout.isatty() else EpochLines(monitor)]


class EpochLines(ProgressBar):
    """Log one line per epoch.

    Args:
        monitor: The metric to report beside the training loss.
    """

    enabled = True

    def __init__(self, monitor: str = MONITOR) -> None:
        super().__init__()
        self.monitor = monitor

    def enable(self) -> None:
        """Log from now on."""
        self.enabled = True

    def disable(self) -> None:
        """Stop logging; Lightning disables all ranks but the first."""
        self.enabled = False

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the training loss, and the metric of an epoch with validation."""
        if self.enabled:
            metrics = trainer.callback_metrics
            validated = (
                f", {self.monitor.replace('/', ' ')} {metrics[self.monitor]:.4f}" if is_validated(trainer) else ""
            )
            log.info(
                "epoch %d of %s: training loss %.4f%s",
                epoch_number(trainer.current_epoch),
                trainer.max_epochs,
                metrics["train/loss"],
                validated,
            )


class _EpochBar(RichProgressBar):
    """The bar of Lightning in one line of 80 characters, with epochs counted from 1.

    It has neither the batches per second nor the name of the logger's version.
    """

    def configure_columns(self, trainer: pl.Trainer) -> list[Any]:
        """Return the columns of the bar; Lightning adds the metrics."""
        return [
            column for column in super().configure_columns(trainer) if not isinstance(column, ProcessingSpeedColumn)
        ]

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """Return the metrics to show, by the names that lines per epoch have."""
        metrics = super().get_metrics(trainer, pl_module)
        return {name.replace("/", " "): value for name, value in metrics.items() if name != "v_num"}

    def _get_train_description(self, current_epoch: int) -> str:
        n_epochs = self.trainer.max_epochs or -1
        of_all = f"/{n_epochs}" if n_epochs > 0 else ""
        return f"Epoch {epoch_number(current_epoch)}{of_all}".ljust(len(self.validation_description))

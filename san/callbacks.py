"""What a run shows while it trains."""

import logging
import sys
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar, RichProgressBar
from pytorch_lightning.loggers import TensorBoardLogger

from san.checkpoint import MONITOR
from san.figures.kernels import draw_kernels

__all__ = ["EpochLines", "KernelFigures", "progress"]

log = logging.getLogger(__name__)


def progress(enabled: bool, monitor: str = MONITOR) -> list[ProgressBar]:
    """Return a bar on a terminal, and a line an epoch elsewhere, so that it does not flood a log file.

    Args:
        enabled: Whether there is to be any, which Lightning wants to be told as well.
        monitor: The metric that a line tells beside the training loss.
    """
    if not enabled:
        return []
    return [RichProgressBar(leave=False) if sys.stdout.isatty() else EpochLines(monitor)]


class EpochLines(ProgressBar):
    """Log one line an epoch, where there is no terminal for a bar.

    Args:
        monitor: The metric that the line tells beside the training loss.
    """

    enabled = True

    def __init__(self, monitor: str = MONITOR) -> None:
        super().__init__()
        self.monitor = monitor

    def enable(self) -> None:
        """Log from now on."""
        self.enabled = True

    def disable(self) -> None:
        """Be silent, as Lightning asks of all ranks but the first."""
        self.enabled = False

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the training loss and the metric."""
        if self.enabled:
            figures = trainer.callback_metrics
            log.info(
                "epoch %d of %s: training loss %.4f, %s %.4f",
                trainer.current_epoch + 1, trainer.max_epochs, figures["train/loss"],
                self.monitor.replace("/", " "), figures[self.monitor],
            )  # fmt: skip


class KernelFigures(pl.Callback):
    """Show the kernels in TensorBoard.

    Args:
        name: Of the dataset, the title.
        sampling_frequency: In hertz; None where there is none.
        every: Epochs between two figures; None for one at the end.
    """

    def __init__(self, name: str, sampling_frequency: float | None, every: int | None) -> None:
        self.name = name
        self.sampling_frequency = sampling_frequency
        self.every = every

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the figure of the kernels as they are."""
        last = trainer.current_epoch + 1 == trainer.max_epochs
        due = self.every is not None and trainer.current_epoch % self.every == 0
        if trainer.is_global_zero and (last or due):
            for logger in trainer.loggers:
                if isinstance(logger, TensorBoardLogger):
                    module: Any = pl_module
                    drawn = draw_kernels(module.network, self.name, self.sampling_frequency)
                    logger.experiment.add_figure("kernels", drawn, trainer.current_epoch)

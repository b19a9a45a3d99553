"""The kernels in TensorBoard while training."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import TensorBoardLogger

from san.figures.kernels import draw_kernels
from san.training.epochs import epoch_number

__all__ = ["KernelFigures"]


class KernelFigures(pl.Callback):
    """Draw the kernels into TensorBoard every few epochs and after the last.

    The data module provides the title, the sampling frequency and the names of the channels.

    Args:
        every: Epochs between two figures; None for the last epoch only.
    """

    def __init__(self, every: int | None) -> None:
        if every is not None and every < 1:
            raise ValueError(f"every={every} must be an integer of at least 1, or null")
        self.every = every

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the figure of the current kernels."""
        last = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        due = self.every is not None and trainer.current_epoch % self.every == 0
        if trainer.is_global_zero and (last or due):
            module: Any = pl_module
            data: Any = trainer.datamodule  # type: ignore[attr-defined]
            for logger in trainer.loggers:
                if isinstance(logger, TensorBoardLogger):
                    drawn = draw_kernels(module.network, data.dataset_name, data.sampling_frequency, data.channels)
                    logger.experiment.add_figure("kernels", drawn, epoch_number(trainer.current_epoch))

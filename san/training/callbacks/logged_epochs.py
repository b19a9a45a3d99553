"""The number of each epoch in every logger, and the run in TensorBoard."""

from pathlib import Path

import pytorch_lightning as pl

from san.training.epochs import epoch_number
from san.training.tensorboard import EPOCH, TensorBoard

__all__ = ["LoggedEpochs"]


class LoggedEpochs(pl.Callback):
    """Log the number of an epoch, from 1, beside its metrics, and begin the run in TensorBoard.

    Args:
        resumed: Checkpoint or run folder that the training resumes, whose epochs TensorBoard keeps; None for a new
            training.
    """

    def __init__(self, resumed: Path | None = None) -> None:
        self.resumed = resumed

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin the run."""
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoard):
                logger.begin(Path(trainer.default_root_dir), self.resumed, trainer.current_epoch)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the number of the epoch."""
        if trainer.state.fn == "fit":
            self.on_train_epoch_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the number of the epoch."""
        pl_module.log(EPOCH, float(epoch_number(trainer.current_epoch)), reduce_fx="max", sync_dist=True)

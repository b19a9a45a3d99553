"""Whether a training that repeats one batch learns it."""

import logging

import pytorch_lightning as pl

__all__ = ["OverfitCheck"]

LEARNED = 0.9  # of the training loss of the first epoch; a training that learns ends below

log = logging.getLogger(__name__)


class OverfitCheck(pl.Callback):
    """Report at the end of a training whether its loss decreased by a tenth at least."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the training loss of the epoch."""
        self.losses.append(float(trainer.callback_metrics["train/loss"]))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the training losses of the first and the last epoch, and whether the model learns."""
        if not trainer.is_global_zero or len(self.losses) < 2:
            return
        first, last = self.losses[0], self.losses[-1]
        losses = f"the training loss went from {first:.4f} to {last:.4f} in {len(self.losses)} epochs"
        if last < LEARNED * first:
            log.info("%s: it learns", losses)
        else:
            log.warning("%s: it does not learn; try another optimizer.lr, kernel_size or initialization", losses)

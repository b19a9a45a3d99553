"""Kernels that are restarted or shifted while training."""

from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from san.extensions.restarts import renew_kernels
from san.networks import TrainingStep
from san.ops.shapes import Float

__all__ = ["KernelRestarts"]

MAX_EXAMPLES = 64  # training examples that a restart encodes


class KernelRestarts(pl.Callback):
    """Renew the kernels every few epochs; see :func:`san.extensions.restarts.renew_kernels`.

    Each process encodes the same first training examples; the kernels of the first process are then used by all.

    Args:
        x: The training examples; the first 64 are encoded, as in a training step.
        every: Epochs between two renewals.
    """

    def __init__(self, x: Float[Tensor, "batch channels *space"], every: int) -> None:
        self.x = x[:MAX_EXAMPLES]
        self.every = every

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Renew the kernels if the epoch is due."""
        if trainer.current_epoch > 0 and trainer.current_epoch % self.every == 0:
            module: Any = pl_module
            with module.network.activation.during(TrainingStep(trainer.current_epoch, batch=0)):
                renew_kernels(module.network, self.x.to(module.device))

"""Kernels that are added and dropped while training."""

from typing import Any

import pytorch_lightning as pl
from torch import Tensor

__all__ = ["KernelGrowth"]


class KernelGrowth(pl.Callback):
    """Change the kernels of a growing network every few epochs, and reset the optimizer state of changed kernels.

    See :meth:`san.extensions.growing.GrowingNetwork.change_kernels`. Each process changes the kernels; those of the
    first one are then used by all.

    Args:
        train: All training examples, [examples, 1, *space].
        validation: All validation examples, [examples, 1, *space].
        every: Epochs between two changes.
    """

    def __init__(self, train: Tensor, validation: Tensor, every: int) -> None:
        self.train = train
        self.validation = validation
        self.every = every

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Change the kernels if the epoch is due."""
        if trainer.current_epoch == 0 or trainer.current_epoch % self.every:
            return
        module: Any = pl_module
        network = module.network
        changed = network.change_kernels(self.train, self.validation, module.loss, module.count_weights)
        changed = trainer.strategy.broadcast(changed.cpu())
        for value in trainer.optimizers[0].state[network.weight].values():
            if isinstance(value, Tensor) and value.shape == network.weight.shape:
                value[changed] = 0

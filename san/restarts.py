"""Kernels that no example needs begin again, from what is described worst."""

import logging
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from san.shapes import Float

__all__ = ["KernelRestarts"]

MOST = 64  # training examples that are looked at
POOLS = (F.avg_pool1d, F.avg_pool2d)

log = logging.getLogger(__name__)


class KernelRestarts(pl.Callback):
    """Start dead kernels again from the windows whose residual is largest.

    Each process looks at the same first training examples, so that the kernels stay the same in all of them.

    Args:
        x: The training examples, of which the first 64 are looked at.
        every: Epochs between two looks.
    """

    def __init__(self, x: Float[Tensor, "batch 1 *space"], every: int) -> None:
        self.x = x[:MOST]
        self.every = every

    @torch.no_grad()
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look for kernels without an activation, and put them where their model is worst."""
        if trainer.current_epoch == 0 or trainer.current_epoch % self.every:
            return
        module: Any = pl_module
        network, x = module.network, self.x.to(module.device)
        maps = network.encode(x)
        own = len(network.kernel_sizes) // network.n_models
        residual = (x - network.decode(maps)).abs()
        for kernel in (maps.transpose(0, 1).flatten(1).count_nonzero(1) == 0).nonzero().flatten().tolist():
            size, left = network.kernel_sizes[kernel], residual[:, [kernel // own]]
            sums = POOLS[network.n_dims - 1](left, size, stride=1)
            example, _, *starts = (int(index) for index in torch.unravel_index(sums.argmax(), sums.shape))
            window = (slice(None), *(slice(start, start + size) for start in starts))
            network.start(kernel, x[example][window].squeeze(0))
            left[example][window] = 0
            log.info("kernel %d is dead, and begins again", kernel + 1)

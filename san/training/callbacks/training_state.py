"""Lightning checkpoints that are never seen half-written."""

import os
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning.utilities import rank_zero_only

from san.storage.checkpoints import copy, save

__all__ = ["copy_once", "save_training"]

copy_once = rank_zero_only(copy)
"""Copy a file on the first rank alone; see :func:`san.storage.checkpoints.copy`."""


def save_training(trainer: pl.Trainer, path: Path) -> None:
    """Write the full state of a training, from which it can resume; a collective call of all ranks."""
    trainer.strategy.checkpoint_io = _AtomicCheckpointIO()
    trainer.save_checkpoint(path, weights_only=False)


class _AtomicCheckpointIO(TorchCheckpointIO):
    """Write beside the target, not to the system's temporary folder, where a kill would leave the file."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        save(checkpoint, Path(path))

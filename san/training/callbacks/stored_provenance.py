"""The provenance of a training in its checkpoints."""

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl

__all__ = ["PART", "StoredProvenance"]

PART = "provenance"
"""The part of a checkpoint that has the provenance; checkpoints of earlier versions lack it."""


class StoredProvenance(pl.Callback):
    """Store the provenance of the training in each checkpoint, so that no other training resumes from it.

    Args:
        content: Plain data.
    """

    def __init__(self, content: Mapping[str, Any]) -> None:
        self.content = dict(content)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the provenance."""
        checkpoint[PART] = self.content

"""Losses that do not depend on the number of processes."""

import pytorch_lightning as pl
import torch
from torch import Tensor

__all__ = ["mean_over_global_batch"]


def mean_over_global_batch(losses: Tensor, n_examples: int, trainer: pl.Trainer) -> Tensor:
    """Scale the local loss so that averaging over ranks gives the mean over the global batch.

    Args:
        losses: Losses of the examples of this rank; several per example are added.
        n_examples: Number of examples of this rank, which may be 0.
        trainer: The trainer; the call is collective.
    """
    total = trainer.strategy.reduce(torch.tensor(n_examples, device=losses.device), reduce_op="sum")
    return losses.sum() * trainer.world_size / total

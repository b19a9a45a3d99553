"""The position of a training step, which training encodings may depend on."""

from typing import NamedTuple

__all__ = ["TrainingStep"]


class TrainingStep(NamedTuple):
    """Position of a training step: epoch, batch, and which interleaved shard of the batch this rank holds.

    Args:
        epoch: Index of the epoch, >= 0.
        batch: Index of the batch in the epoch, >= 0.
        rank: Index of this process, and of its first example in the batch.
        world_size: Number of processes, and the distance between two of its examples.
    """

    epoch: int
    batch: int
    rank: int = 0
    world_size: int = 1

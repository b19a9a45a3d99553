"""Batches for every dataset: global batches of which each rank takes its share."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler, TensorDataset

from san.data.splits import Splits

__all__ = ["GlobalBatches", "SplitsDataModule"]


class GlobalBatches(Sampler[Tensor]):
    """Yield the indices of each batch that belong to this rank.

    The batches are those of a single process, and their order is a function of seed and epoch alone, so neither the
    number of processes nor an interruption changes what is trained on. Every rank has the same number of batches, of
    which some may be empty, and no example is seen twice.

    Args:
        n_examples: Number of examples.
        batch_size: Examples of a batch over all ranks.
        seed: Of the order; None for the order of the examples.
        rank: Of this process.
        world_size: Number of processes.
    """

    def __init__(self, n_examples: int, batch_size: int, seed: int | None, rank: int, world_size: int) -> None:
        self.n_examples = n_examples
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order; Lightning calls it before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Count the batches of an epoch."""
        return -(-self.n_examples // self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        """Yield the indices of each batch."""
        order = torch.arange(self.n_examples)
        if self.seed is not None:
            order = torch.from_numpy(np.random.default_rng([self.seed, self.epoch]).permutation(self.n_examples))
        for batch in order.split(self.batch_size):
            yield batch[self.rank :: self.world_size]


class SplitsDataModule(pl.LightningDataModule):
    """Serve the splits of a dataset from memory.

    Args:
        splits: The examples.
        batch_size: Examples of a batch over all ranks, so that results do not depend on how many there are.
        seed: Of the order of the training examples; None to keep theirs.
    """

    def __init__(self, splits: Splits, batch_size: int, seed: int | None) -> None:
        super().__init__()
        self.splits = splits
        self.batch_size = batch_size
        self.seed = seed

    def train_dataloader(self) -> DataLoader[Sequence[Tensor]]:
        """Return the training batches, in another order each epoch."""
        return self._loader(self.splits.train, self.seed)

    def val_dataloader(self) -> DataLoader[Sequence[Tensor]]:
        """Return the validation batches."""
        return self._loader(self.splits.validation, None)

    def test_dataloader(self) -> DataLoader[Sequence[Tensor]]:
        """Return the test batches."""
        return self._loader(self.splits.test, None)

    def _loader(self, examples: Tensor, seed: int | None) -> DataLoader[Sequence[Tensor]]:
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        batches = GlobalBatches(len(examples), self.batch_size, seed, rank, world_size)
        return DataLoader(TensorDataset(examples), sampler=batches, batch_size=None)

"""Batches for every dataset: global batches, shared among the ranks."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

__all__ = ["GlobalBatches", "SplitsDataModule"]


class GlobalBatches(DistributedSampler[Tensor]):
    """Yield, for each global batch, the indices of the examples that this rank trains on.

    The global batches are those of a single process, and their order is a function of seed and epoch alone, so neither
    the number of processes nor an interruption changes the training. Every rank has the same number of batches, some of
    which may be empty, and no example is seen twice. Lightning does not share a ``DistributedSampler`` among the ranks
    once more, whatever its ``use_distributed_sampler`` is.

    Args:
        n_examples: Number of examples.
        batch_size: Examples per global batch.
        seed: Seed of the order; None for the order of the examples.
        rank: Index of this process.
        world_size: Number of processes.
    """

    def __init__(self, n_examples: int, batch_size: int, seed: int | None, rank: int, world_size: int) -> None:
        self.n_examples = n_examples
        self.batch_size = batch_size
        self.order_seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that determines the order; Lightning calls it before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Return the number of batches per epoch."""
        return -(-self.n_examples // self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        """Yield the indices of each batch."""
        order = torch.arange(self.n_examples)
        if self.order_seed is not None:
            order = torch.from_numpy(np.random.default_rng([self.order_seed, self.epoch]).permutation(self.n_examples))
        for batch in order.split(self.batch_size):
            yield batch[self.rank :: self.world_size]


class SplitsDataModule(pl.LightningDataModule):
    """Serve splits from memory.

    Args:
        examples: Examples of the splits ``train``, ``validation`` and ``test``, [examples, ...].
        batch_size: Examples per global batch, so that results do not depend on the number of ranks.
        seed: Seed of the order of the training examples; None to keep their order.
        labels: Labels of each split, [examples]; a batch then has two parts.
        num_workers: Number of processes that load batches; it changes no batch.
        name: Name of the dataset, for figures.
        sampling_frequency: In hertz, for figures; None if unknown.
    """

    def __init__(
        self,
        examples: Mapping[str, Tensor],
        batch_size: int,
        seed: int | None,
        labels: Mapping[str, Tensor] | None = None,
        num_workers: int = 0,
        *,
        name: str = "",
        sampling_frequency: float | None = None,
    ) -> None:
        super().__init__()
        self.examples = examples
        self.batch_size = batch_size
        self.seed = seed
        self.labels = labels
        self.num_workers = num_workers
        self.dataset_name = name
        self.sampling_frequency = sampling_frequency

    def train_dataloader(self) -> DataLoader[Sequence[Tensor]]:
        """Return the training batches, in a new order each epoch."""
        return self._loader("train", self.seed)

    def val_dataloader(self) -> DataLoader[Sequence[Tensor]]:
        """Return the validation batches."""
        return self._loader("validation", None)

    def test_dataloader(self) -> DataLoader[Sequence[Tensor]]:
        """Return the test batches."""
        return self._loader("test", None)

    def _loader(self, split: str, seed: int | None) -> DataLoader[Sequence[Tensor]]:
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        examples = self.examples[split]
        parts = (examples,) if self.labels is None else (examples, self.labels[split])
        batches = GlobalBatches(len(examples), self.batch_size, seed, rank, world_size)
        if self.trainer:  # a resumed training asks its loading processes for batches before Lightning sets the epoch
            batches.set_epoch(self.trainer.fit_loop.epoch_progress.current.processed)  # type: ignore[attr-defined]
        return DataLoader(
            TensorDataset(*parts),
            sampler=batches,
            batch_size=None,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
        )

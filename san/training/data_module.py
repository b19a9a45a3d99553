"""Batches for every dataset: global batches, shared among the ranks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

__all__ = ["Examples", "GlobalBatches", "Order", "SplitsDataModule", "order_of_models", "shuffled"]

Order = Callable[[int], Tensor]
"""Returns the order of the examples in an epoch."""


def shuffled(n_examples: int, seed: int) -> Order:
    """Return random orders of examples, functions of the seed and the epoch alone."""
    return partial(_permutation, n_examples, seed)


def order_of_models(orders: Sequence[Order | None]) -> Order | None:
    """Return the order of each model of a bank as one order, [examples, models]; [examples] if it is the same one."""
    if all(order is orders[0] for order in orders):
        return orders[0]
    return partial(_stacked, [order for order in orders if order is not None])


def _stacked(orders: Sequence[Order], epoch: int) -> Tensor:
    return torch.stack([order(epoch) for order in orders], dim=1)


def _permutation(n_examples: int, seed: int, epoch: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(n_examples))


class GlobalBatches(DistributedSampler[Tensor]):
    """Yield, for each global batch, the indices of the examples that this rank trains on.

    The global batches are those of a single process, and their order is a function of the epoch alone, so neither the
    number of processes nor an interruption changes the training. Every rank has the same number of batches, some of
    which may be empty, and no example is seen twice. Lightning does not share a ``DistributedSampler`` among the ranks
    once more, whatever its ``use_distributed_sampler`` is.

    Args:
        n_examples: Number of examples.
        batch_size: Examples per global batch.
        order: Returns the order of the examples in an epoch; None for their own order.
        rank: Index of this process.
        world_size: Number of processes.
    """

    def __init__(self, n_examples: int, batch_size: int, order: Order | None, rank: int, world_size: int) -> None:
        self.n_examples = n_examples
        self.batch_size = batch_size
        self.order = order
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
        """Yield the indices of each batch, [batch] or [batch, models] as the order has them."""
        order = torch.arange(self.n_examples) if self.order is None else self.order(self.epoch)
        for batch in order.split(self.batch_size):
            yield batch[self.rank :: self.world_size]


class Examples(Dataset[Sequence[Tensor]]):
    """Examples and their labels, indexed by the batches of :class:`GlobalBatches`.

    Args:
        x: Examples, [examples, channels, *space].
        labels: Labels, [examples]; None without classes.
    """

    def __init__(self, x: Tensor, labels: Tensor | None) -> None:
        self.x = x
        self.labels = labels

    def __getitem__(self, index: Tensor) -> Sequence[Tensor]:
        """Return a batch: one of its own for each model if the index is [batch, models], from the model's channel."""
        n_channels = self.x.shape[1]
        x = self.x[index] if index.dim() == 1 else self.x[index, torch.arange(index.shape[1]) % n_channels]
        return (x,) if self.labels is None else (x, self.labels[index])


class SplitsDataModule(pl.LightningDataModule):
    """Serve splits from memory.

    Args:
        examples: Examples of the splits ``train``, ``validation`` and ``test``, [examples, ...].
        batch_size: Examples per global batch, so that results do not depend on the number of ranks.
        order: Returns the order of the training examples in an epoch, [examples] for all models or [examples, models];
            None to keep their order.
        labels: Labels of each split, [examples]; a batch then has two parts.
        num_workers: Number of processes that load batches; it changes no batch.
        name: Name of the dataset, for figures.
        sampling_frequency: In hertz, for figures; None if unknown.
        channels: Name of each channel, for figures; none if they are unknown.
    """

    def __init__(
        self,
        examples: Mapping[str, Tensor],
        batch_size: int,
        order: Order | None,
        labels: Mapping[str, Tensor] | None = None,
        num_workers: int = 0,
        *,
        name: str = "",
        sampling_frequency: float | None = None,
        channels: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.examples = examples
        self.batch_size = batch_size
        self.order = order
        self.labels = labels
        self.num_workers = num_workers
        self.dataset_name = name
        self.sampling_frequency = sampling_frequency
        self.channels = channels

    def train_dataloader(self) -> DataLoader[Sequence[Tensor]]:
        """Return the training batches, in a new order each epoch."""
        return self._loader("train", self.order)

    def val_dataloader(self) -> DataLoader[Sequence[Tensor]]:
        """Return the validation batches."""
        return self._loader("validation", None)

    def test_dataloader(self) -> DataLoader[Sequence[Tensor]]:
        """Return the test batches."""
        return self._loader("test", None)

    def _loader(self, split: str, order: Order | None) -> DataLoader[Sequence[Tensor]]:
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        examples = self.examples[split]
        batches = GlobalBatches(len(examples), self.batch_size, order, rank, world_size)
        if self.trainer:  # a resumed training asks its loading processes for batches before Lightning sets the epoch
            batches.set_epoch(self.trainer.fit_loop.epoch_progress.current.processed)  # type: ignore[attr-defined]
        return DataLoader(
            Examples(examples, None if self.labels is None else self.labels[split]),
            sampler=batches,
            batch_size=None,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
        )

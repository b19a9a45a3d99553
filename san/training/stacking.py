"""Classifiers on the reconstructions of a selected network, compared with classifiers on the original examples."""

import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import Strategy
from torch import Tensor, nn

from san.data.splits import Labels, Splits
from san.networks import SparselyActivatedNetwork
from san.reporting.provenance import Provenance, data_fingerprint
from san.storage.files import read_json, write_json
from san.training.callbacks.classifier_selection import ClassifierSelection
from san.training.callbacks.phi_checkpoint import TestedEpoch
from san.training.classifier_module import ClassifierModule
from san.training.data_module import Order, SplitsDataModule, order_of_models
from san.training.epochs import epoch_number

__all__ = ["Stacking", "Start", "Starts"]

Outcome = dict[str, Any]
Stacked = tuple[Outcome, nn.Module]

NewTrainer = Callable[[str, int, list[pl.Callback]], pl.Trainer]
"""Returns a trainer: ``new_trainer(name, max_epochs, callbacks)``."""

log = logging.getLogger(__name__)


class Start(NamedTuple):
    """The initial state of a training of a classifier.

    Args:
        state: State of the generator of torch that draws the initial weights.
        order: Returns the order of the training examples in an epoch; None for their own order.
    """

    state: Tensor
    order: Order | None


class Starts(NamedTuple):
    """The initial states of the trainings of one comparison.

    Args:
        name: The seed, or another name of these random numbers.
        models: The start of the classifier of each model.
        baseline: The start of the classifier of the original examples.
    """

    name: str
    models: Sequence[Start]
    baseline: Start


@dataclass(frozen=True)
class Stacking:
    """Train classifiers on the reconstructions of a frozen network and compare them with the baseline.

    The baseline is the same classifier on the original examples.

    Args:
        model: Returns a classifier for a space and a number of classes.
        optimizer: Returns the optimizer of the parameters that it is given.
        max_epochs: Epochs of training.
        batch_size: Examples per global batch.
        max_memory: Bytes of reconstructions to keep in memory; more are memory-mapped from temporary files.

    Raises:
        ValueError: If a number is invalid.

    Reference:
        Bizopoulos and Koutsouris, "Sparsely Activated Networks", Section IV-B.
    """

    model: Callable[..., nn.Module]
    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
    max_epochs: int
    batch_size: int
    max_memory: float

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("max_epochs", "batch_size"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}={value} of the classifier must be an integer, 1 or more")
        if not isinstance(self.max_memory, int | float):
            raise ValueError(f"max_memory={self.max_memory} of the classifier must be a number of bytes")

    def new_classifier(self, splits: Splits, state: Tensor) -> nn.Module:
        """Return a classifier of the examples; its weights are a function of the generator's state alone.

        Raises:
            ValueError: If there are no classes, a split lacks a class, or the classifier does not fit the examples.
        """
        labels = _labels(splits)
        labels.refuse_absent_classes(splits.name)
        if splits.shape[0] > 1:
            raise ValueError(
                f"{splits.name} has {splits.shape[0]} channels, but classifiers have one: choose one channel, or "
                "classifier=none"
            )
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(state)
            return self.model(splits.shape[1:], len(labels.classes))

    def compare(
        self,
        network: SparselyActivatedNetwork,
        splits: Splits,
        *,
        starts: Sequence[Starts],
        tested_epoch: TestedEpoch,
        cache: Path,
        settings: Mapping[str, Any],
        new_trainer: NewTrainer,
        num_workers: int,
    ) -> list[list[Stacked]]:
        """Train classifiers on the reconstructions, and the baseline unless its outcome is cached.

        Args:
            network: The network, on its own device; each model of a bank gets a classifier.
            splits: The examples and their classes.
            starts: The initial states of each comparison.
            tested_epoch: ``best`` for the epoch of the highest validation accuracy (ties: the first), or ``last``.
            cache: Folder of the baseline outcomes, named by everything they depend on, and of temporary files.
            settings: The settings of the classifier and its training that an outcome depends on, as plain data.
            new_trainer: Returns a trainer.
            num_workers: Number of processes that load batches.

        Returns:
            For each comparison and model, the outcome and the classifier with the selected weights. An outcome has the
            number of the selected epoch, its validation accuracy, and under ``test`` the accuracy, the precision and
            recall per class, and the confusion matrix (a row per true class). ``baseline`` is the same on the original
            examples; ``random_numbers`` is the name of the starts; ``accuracy_change`` is the test accuracy minus the
            baseline's, in percentage points.
        """
        labels = _labels(splits)
        data = data_fingerprint(splits)

        def train(
            name: str, kind: str, x: Mapping[str, Tensor], of_models: Sequence[Start]
        ) -> tuple[list[Stacked], Strategy]:
            log.info("training the classifier of the %s", kind)
            classifiers = [self.new_classifier(splits, start.state) for start in of_models]
            order = order_of_models([start.order for start in of_models])
            module = SplitsDataModule(x, self.batch_size, order, labels.by_split, num_workers)
            return self._train(name, classifiers, module, len(labels.classes), tested_epoch, new_trainer)

        compared = []
        reconstructions = self._reconstructions(network, splits.examples, cache)
        for name, of_models, of_baseline in starts:
            suffix = f"-{name}" if len(starts) > 1 else ""
            results, strategy = train(f"classifier{suffix}", "reconstructions", reconstructions, of_models)
            provenance = Provenance.of({"start": name, "epoch": tested_epoch, **settings}, data)
            cached = cache / f"baseline-{provenance.key}.json"
            baseline = strategy.broadcast(read_json(cached))
            if baseline is None:
                ((baseline, _),), _ = train(f"baseline{suffix}", "original examples", splits.examples, [of_baseline])
                if strategy.is_global_zero:
                    write_json(cached, baseline)
            else:
                log.info("reading the accuracy on the original examples from %s", cached)
            for outcome, _ in results:
                change = 100 * (outcome["test"]["accuracy"] - baseline["test"]["accuracy"])
                outcome |= {
                    "random_numbers": name,
                    "classes": list(labels.classes),
                    "baseline": baseline,
                    "accuracy_change": change,
                }
            compared.append(results)
        return compared

    def test(
        self,
        classifier: nn.Module,
        network: SparselyActivatedNetwork,
        splits: Splits,
        *,
        cache: Path,
        trainer: pl.Trainer,
    ) -> Outcome:
        """Return the outcome of a trained classifier on the reconstructions of the test examples.

        Args:
            classifier: A classifier from :meth:`new_classifier`, with its weights.
            network: The network, on its own device.
            splits: The examples and their classes.
            cache: Folder of temporary files.
            trainer: The trainer that runs the test.
        """
        labels = _labels(splits)
        module = ClassifierModule([classifier], n_classes=len(labels.classes), optimizer=self.optimizer)
        reconstructions = self._reconstructions(network, {"test": splits.test}, cache)
        data = SplitsDataModule(reconstructions, self.batch_size, None, labels.by_split)
        trainer.test(module, data, verbose=False)
        return {"classes": list(labels.classes), "test": module.outcomes[0]}

    def _reconstructions(
        self, network: SparselyActivatedNetwork, examples: Mapping[str, Tensor], cache: Path
    ) -> dict[str, Tensor]:
        """Return the reconstructions of each split, [examples, models, *space], computed once, on the CPU."""
        n_bytes = network.n_models * sum(x.nbytes for x in examples.values())
        mapped = n_bytes > self.max_memory
        log.info("reconstructions: %.0f MB, %s", n_bytes / 1e6, "memory-mapped" if mapped else "in memory")
        with torch.no_grad():
            results = {}
            for split, x in examples.items():
                shape = torch.Size([len(x), network.n_models, *x.shape[2:]])
                results[split] = _memory_mapped(cache, shape, x.dtype) if mapped else x.new_empty(shape)
                for batch, target in zip(x.split(self.batch_size), results[split].split(self.batch_size), strict=True):
                    target.copy_(network(batch.to(network.weight.device)))
        return results

    def _train(
        self,
        name: str,
        classifiers: list[nn.Module],
        data: SplitsDataModule,
        n_classes: int,
        tested_epoch: TestedEpoch,
        new_trainer: NewTrainer,
    ) -> tuple[list[Stacked], Strategy]:
        """Train and test classifiers; they end with the weights of their selected epochs."""
        module = ClassifierModule(classifiers, n_classes=n_classes, optimizer=self.optimizer)
        selection = ClassifierSelection(tested_epoch)
        trainer = new_trainer(name, self.max_epochs, [selection])
        trainer.fit(module, data)
        for classifier, state in zip(classifiers, selection.states, strict=True):
            classifier.load_state_dict(state)
        trainer.test(module, data, verbose=False)
        results = [
            ({"best_epoch": epoch_number(epoch), "validation_accuracy": accuracy, "test": outcome}, classifier)
            for epoch, accuracy, outcome, classifier in zip(
                selection.epochs, selection.accuracies, module.outcomes, classifiers, strict=True
            )
        ]
        return results, trainer.strategy


def _labels(splits: Splits) -> Labels:
    if splits.labels is None:
        raise ValueError(f"{splits.name} has no classes; use classifier=none")
    return splits.labels


def _memory_mapped(folder: Path, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    """Return a tensor in an unnamed temporary file, which no kill can leave behind.

    Raises:
        OSError: If the disk has too little space. Without this check the system kills the process on a write.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        n_bytes = shape.numel() * dtype.itemsize
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, n_bytes)
            else:
                file.truncate(n_bytes)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(folder)) from error
        return torch.from_numpy(np.memmap(file, np.uint8, "r+", shape=(n_bytes,))).view(dtype).view(shape)

"""What the reconstructions of a selected network are good for: a classifier on them, and its like on the original."""

import copy
import json
import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import Strategy
from torch import Tensor, nn

from san.data.splits import Labels, Splits
from san.datamodule import SplitsDataModule
from san.networks import SparselyActivatedNetwork
from san.results import fingerprint, write_json
from san.training import ClassifierModule

__all__ = ["Stacking"]

Outcome = dict[str, Any]
Stacked = tuple[Outcome, nn.Module]
# new_trainer(name, max_epochs, callbacks)
NewTrainer = Callable[[str, int, list[pl.Callback]], pl.Trainer]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stacking:
    """Classifiers on the reconstructions of a frozen network, compared with the same on the original examples.

    Args:
        model: Makes a classifier of a space and a number of classes.
        optimizer: Makes the optimizer of the parameters that it is given.
        max_epochs: Epochs of training.
        batch_size: Examples of a batch over all ranks.
        max_memory: Bytes of reconstructions that are kept in memory; more are memory-mapped from temporary files.

    Reference:
        Bizopoulos and Koutsouris, "Sparsely Activated Networks", Section IV-B.
    """

    model: Callable[..., nn.Module]
    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
    max_epochs: int
    batch_size: int
    max_memory: float

    def __post_init__(self) -> None:
        """Refuse numbers that cannot be those of a training.

        Raises:
            ValueError: If there is one.
        """
        for key in ("max_epochs", "batch_size"):
            value = getattr(self, key)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"classifier.{key}={value} must be an integer, 1 or more")
        if not isinstance(self.max_memory, int | float):
            raise ValueError(f"classifier.max_memory={self.max_memory} must be a number of bytes")

    def new_classifier(self, splits: Splits, seed: int) -> nn.Module:
        """Make a classifier of the examples, its weights a function of the seed alone.

        Raises:
            ValueError: If there are no classes, a split lacks one, or the classifier does not fit the examples.
        """
        labels = _labels(splits)
        labels.refuse_absent_classes(splits.name)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.model(splits.shape[1:], len(labels.classes))

    def compare(
        self,
        network: SparselyActivatedNetwork,
        splits: Splits,
        *,
        seeds: Sequence[int],
        epoch: str,
        cache: Path,
        settings: Mapping[str, Any],
        new_trainer: NewTrainer,
    ) -> list[list[Stacked]]:
        """Train classifiers on the reconstructions, and their like on the examples where that was not done before.

        Args:
            network: What reconstructs, on its own device; a bank of models has a classifier for each.
            splits: The examples and their classes.
            seeds: Of the weights and of the order of the examples; one training for each.
            epoch: ``best`` for that of the highest validation accuracy, the first of equals; ``last``.
            cache: Folder of the outcomes on the original examples, each named by all that it depends on, and of
                temporary files.
            settings: What else an outcome depends on, as plain data.
            new_trainer: Makes a trainer of a name, a number of epochs and callbacks.

        Returns:
            For each seed and each model the outcome and the classifier, which has the selected weights. An outcome is
            the selected epoch, its validation accuracy, and under ``test`` the accuracy, the precision and
            the recall of each class, and the confusion matrix, of which each row is a true class; the same on the
            original examples is its ``baseline``, and ``accuracy_change`` is by how many percentage points the first
            test accuracy exceeds the second.
        """
        labels = _labels(splits)
        given = [*splits.examples.values(), *labels.by_split.values()]

        def train(name: str, x: Mapping[str, Tensor], n_models: int, seed: int) -> tuple[list[Stacked], Strategy]:
            classifiers = [self.new_classifier(splits, seed) for _ in range(n_models)]
            data = SplitsDataModule(x, self.batch_size, seed if settings["shuffle"] else None, labels.by_split)
            return self._train(name, classifiers, data, len(labels.classes), epoch, new_trainer)

        compared = []
        with self._reconstructed(network, splits.examples, cache) as examples:
            for seed in seeds:
                suffix = f"-{seed}" if len(seeds) > 1 else ""
                results, strategy = train(f"classifier{suffix}", examples, network.n_models, seed)
                known = cache / f"baseline-{fingerprint({'seed': seed, 'epoch': epoch, **settings}, given)}.json"
                baseline = strategy.broadcast(_read(known))
                if baseline is None:
                    ((baseline, _),), _ = train(f"baseline{suffix}", splits.examples, 1, seed)
                    if strategy.is_global_zero:
                        write_json(known, baseline)
                else:
                    log.info("the accuracy on the original examples is that of %s", known)
                for outcome, _ in results:
                    change = 100 * (outcome["test"]["accuracy"] - baseline["test"]["accuracy"])
                    outcome |= {"classes": list(labels.classes), "baseline": baseline, "accuracy_change": change}
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
            classifier: Of :meth:`new_classifier`, with its weights.
            network: What reconstructs, on its own device.
            splits: The examples and their classes.
            cache: Folder of temporary files.
            trainer: What runs the test.
        """
        labels = _labels(splits)
        module = ClassifierModule([classifier], n_classes=len(labels.classes), optimizer=self.optimizer)
        with self._reconstructed(network, {"test": splits.test}, cache) as examples:
            data = SplitsDataModule(examples, self.batch_size, None, labels.by_split)
            trainer.test(module, data, verbose=False)
        return {"classes": list(labels.classes), "test": module.outcomes[0]}

    @contextmanager
    def _reconstructed(
        self, network: SparselyActivatedNetwork, examples: Mapping[str, Tensor], cache: Path
    ) -> Iterator[dict[str, Tensor]]:
        """Give the reconstructions of splits, [examples, models, *space], each computed once, on the CPU."""
        n_bytes = network.n_models * sum(x.nbytes for x in examples.values())
        mapped = n_bytes > self.max_memory
        log.info("reconstructions: %.0f MB, %s", n_bytes / 1e6, "memory-mapped" if mapped else "in memory")
        with _temporary(cache) as folder, torch.no_grad():
            results = {}
            for split, x in examples.items():
                shape = torch.Size([len(x), network.n_models, *x.shape[2:]])
                results[split] = (
                    torch.from_file(str(folder / split), shared=True, size=shape.numel(), dtype=x.dtype).view(shape)
                    if mapped
                    else x.new_empty(shape)
                )
                for batch, target in zip(x.split(self.batch_size), results[split].split(self.batch_size), strict=True):
                    target.copy_(network(batch.to(network.weight.device)))
            yield results

    def _train(
        self,
        name: str,
        classifiers: list[nn.Module],
        data: SplitsDataModule,
        n_classes: int,
        epoch: str,
        new_trainer: NewTrainer,
    ) -> tuple[list[Stacked], Strategy]:
        """Train and test classifiers, which end with the weights of their selected epochs."""
        module = ClassifierModule(classifiers, n_classes=n_classes, optimizer=self.optimizer)
        selection = _Selection(epoch)
        trainer = new_trainer(name, self.max_epochs, [selection])
        trainer.fit(module, data)
        for classifier, state in zip(classifiers, selection.states, strict=True):
            classifier.load_state_dict(state)
        trainer.test(module, data, verbose=False)
        results = [
            ({"best_epoch": chosen, "validation_accuracy": accuracy, "test": outcome}, classifier)
            for chosen, accuracy, outcome, classifier in zip(
                selection.epochs, selection.accuracies, module.outcomes, classifiers, strict=True
            )
        ]
        return results, trainer.strategy


def _labels(splits: Splits) -> Labels:
    if splits.labels is None:
        raise ValueError(f"{splits.name} has no classes to tell apart: use classifier=none")
    return splits.labels


def _read(path: Path) -> Outcome | None:
    try:
        found: Outcome = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return found


@contextmanager
def _temporary(parent: Path) -> Iterator[Path]:
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        yield Path(folder)


class _Selection(pl.Callback):
    """Keep the weights of each classifier in the epoch of its highest validation accuracy, or in the last.

    Args:
        epoch: ``best`` or ``last``.
    """

    def __init__(self, epoch: str) -> None:
        self.epoch = epoch
        self.epochs: list[int] = []
        self.accuracies: list[float] = []
        self.states: list[dict[str, Tensor]] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        module = cast("ClassifierModule", pl_module)
        if not self.states:
            n_models = len(module.models)
            self.epochs, self.accuracies, self.states = [0] * n_models, [-1.0] * n_models, [{} for _ in module.models]
        for index, (model, accuracy) in enumerate(zip(module.models, module.validation, strict=True)):
            if self.epoch == "last" or accuracy > self.accuracies[index]:
                self.epochs[index], self.accuracies[index] = trainer.current_epoch, accuracy
                self.states[index] = copy.deepcopy(model.state_dict())

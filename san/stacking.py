"""What the reconstructions of a selected network are good for: a classifier on them, and its like on the original."""

import hashlib
import json
import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.strategies import Strategy
from torch import Tensor, nn

from san.data.splits import Labels, Splits
from san.datamodule import SplitsDataModule
from san.networks import SparselyActivatedNetwork
from san.results import versions, write_json
from san.training import ClassifierModule

__all__ = ["Stacking"]

Outcome = dict[str, Any]
# new_trainer(name, max_epochs, callbacks)
NewTrainer = Callable[[str, int, list[pl.Callback]], pl.Trainer]

ACCURACY = "validation/accuracy"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stacking:
    """A classifier on the reconstructions of a frozen network, compared with the same one on the original examples.

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
        classifier: nn.Module,
        network: SparselyActivatedNetwork,
        splits: Splits,
        *,
        seed: int,
        epoch: str,
        cache: Path,
        settings: Mapping[str, Any],
        new_trainer: NewTrainer,
    ) -> Outcome:
        """Train a classifier on the reconstructions, and its like on the examples where that was not done before.

        Args:
            classifier: Of :meth:`new_classifier`; it ends with the selected weights.
            network: What reconstructs, on its own device.
            splits: The examples and their classes.
            seed: Of the weights and of the order of the examples.
            epoch: ``best`` for that of the highest validation accuracy, the first of equals; ``last``.
            cache: Folder of the outcomes on the original examples, each named by all that it depends on, and of
                temporary files.
            settings: What else an outcome depends on, as plain data.
            new_trainer: Makes a trainer of a name, a number of epochs and callbacks.

        Returns:
            The outcome on the reconstructions, that on the examples as ``baseline``, and ``accuracy_change``, by how
            many percentage points the first test accuracy exceeds the second. An outcome is the selected epoch, its
            validation accuracy, and under ``test`` the accuracy, the precision and the recall of each class, and the
            confusion matrix, of which each row is a true class.
        """
        labels = _labels(splits)
        new_data = partial(SplitsDataModule, batch_size=self.batch_size, seed=seed if settings["shuffle"] else None)
        train = partial(self._train, n_classes=len(labels.classes), epoch=epoch, cache=cache, new_trainer=new_trainer)
        with self._reconstructed(network, splits.examples, cache) as examples:
            outcome, strategy = train("classifier", classifier, new_data(examples, labels=labels.by_split))
        known = cache / f"baseline-{_fingerprint(splits, labels, {'seed': seed, 'epoch': epoch, **settings})}.json"
        baseline = strategy.broadcast(_read(known))
        if baseline is None:
            original = new_data(splits.examples, labels=labels.by_split)
            baseline, _ = train("baseline", self.new_classifier(splits, seed), original)
            if strategy.is_global_zero:
                write_json(known, baseline)
        else:
            log.info("the accuracy on the original examples is that of %s", known)
        change = 100 * (outcome["test"]["accuracy"] - baseline["test"]["accuracy"])
        return {"classes": list(labels.classes), **outcome, "baseline": baseline, "accuracy_change": change}

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
        module = ClassifierModule(classifier, n_classes=len(labels.classes), optimizer=self.optimizer)
        with self._reconstructed(network, {"test": splits.test}, cache) as examples:
            data = SplitsDataModule(examples, self.batch_size, None, labels.by_split)
            trainer.test(module, data, verbose=False)
        return {"classes": list(labels.classes), "test": module.outcome}

    @contextmanager
    def _reconstructed(
        self, network: SparselyActivatedNetwork, examples: Mapping[str, Tensor], cache: Path
    ) -> Iterator[dict[str, Tensor]]:
        """Give the reconstructions of splits, each computed once, on the CPU."""
        n_bytes = sum(x.nbytes for x in examples.values())
        mapped = n_bytes > self.max_memory
        log.info("reconstructions: %.0f MB, %s", n_bytes / 1e6, "memory-mapped" if mapped else "in memory")
        with _temporary(cache) as folder, torch.no_grad():
            results = {}
            for split, x in examples.items():
                results[split] = (
                    torch.from_file(str(folder / split), shared=True, size=x.numel(), dtype=x.dtype).view(x.shape)
                    if mapped
                    else torch.empty_like(x)
                )
                for batch, target in zip(x.split(self.batch_size), results[split].split(self.batch_size), strict=True):
                    target.copy_(network(batch.to(network.weight.device)))
            yield results

    def _train(
        self,
        name: str,
        classifier: nn.Module,
        data: SplitsDataModule,
        *,
        n_classes: int,
        epoch: str,
        cache: Path,
        new_trainer: NewTrainer,
    ) -> tuple[Outcome, Strategy]:
        """Train and test a classifier, which ends with the weights of the selected epoch."""
        module = ClassifierModule(classifier, n_classes=n_classes, optimizer=self.optimizer)
        accuracies = _PerEpoch(ACCURACY)
        with _temporary(cache) as folder:
            selection = ModelCheckpoint(folder, "selected", monitor=ACCURACY if epoch == "best" else None, mode="max")
            trainer = new_trainer(name, self.max_epochs, [accuracies, selection])
            trainer.fit(module, data)
            path = selection.best_model_path
            selected = torch.load(path, map_location="cpu", weights_only=True)["epoch"]
            trainer.test(module, data, ckpt_path=path, weights_only=True, verbose=False)
        outcome = {"best_epoch": selected, "validation_accuracy": accuracies.values[selected], "test": module.outcome}
        return outcome, trainer.strategy


def _labels(splits: Splits) -> Labels:
    if splits.labels is None:
        raise ValueError(f"{splits.name} has no classes to tell apart: use classifier=none")
    return splits.labels


def _fingerprint(splits: Splits, labels: Labels, settings: Mapping[str, Any]) -> str:
    """Name all that the accuracy of a classifier depends on: data, settings and versions."""
    digest = hashlib.sha256(json.dumps({**settings, **versions()}, sort_keys=True).encode())
    for split, x in splits.examples.items():
        digest.update(x.contiguous().numpy().tobytes())
        digest.update(labels.by_split[split].numpy().tobytes())
    return digest.hexdigest()[:24]


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


class _PerEpoch(pl.Callback):
    """Keep what was logged under a name in each epoch."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.values: list[float] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.values.append(float(trainer.callback_metrics[self.name]))

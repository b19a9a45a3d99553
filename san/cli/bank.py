"""A bank of models, trained side by side and tested, for the commands that sweep kernel sizes."""

import logging
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig
from torch import Tensor

from san.cli.build import build_callbacks, build_data, build_module, build_trainer, classify
from san.cli.config import stored_configuration
from san.cli.model_results import Results, model_results, warn_of_dead_kernels
from san.cli.random_numbers import RandomNumbers
from san.cli.resume import resumed_provenance, settings_of_bank
from san.cli.settings import effective_settings
from san.cli.trainer_settings import refuse_training_without_validation
from san.data.splits import Splits
from san.networks import WeightCount
from san.reporting.provenance import Provenance, data_fingerprint
from san.storage.checkpoints import load_weights, read
from san.training.callbacks.bank_selection import BankSelection
from san.training.callbacks.stored_provenance import StoredProvenance
from san.training.callbacks.training_state import copy_once, fit
from san.training.data_module import SplitsDataModule
from san.training.epochs import epoch_number
from san.training.san_module import SANModule

__all__ = ["TrainedBank", "bank_name", "evaluate_bank", "refuse_other_banks", "shares", "train_bank"]

COPIES_OF_MAPS = 24  # maximum number of tensors as large as the maps that a training step holds: transforms, gradients

BANK_NAME = re.compile(r"(.+)-(\d+)-(\d+)")  # the activation, and the least and largest kernel size

log = logging.getLogger(__name__)


@dataclass
class TrainedBank:
    """A bank after its training, and everything it was trained by."""

    config: DictConfig
    name: str
    splits: Splits
    module: SANModule
    data: SplitsDataModule
    trainer: pl.Trainer
    selection: BankSelection
    last_weight: Tensor
    random_numbers: RandomNumbers
    count_weights: WeightCount


def shares(sizes: Sequence[int], n_kernels: int, batch: Tensor, max_memory: float) -> list[list[int]]:
    """Share kernel sizes among as few banks as fit into memory.

    Args:
        sizes: The kernel sizes, one model each.
        n_kernels: Number of kernels of a model.
        batch: Examples of a batch, [batch, channels, *space].
        max_memory: Bytes of the maps of a training step; a bank has at least one model.
    """
    n_banks = math.ceil(len(sizes) * n_kernels * batch.nbytes * COPIES_OF_MAPS / max_memory)
    per_bank = math.ceil(len(sizes) / max(1, n_banks))
    return [list(sizes[first : first + per_bank]) for first in range(0, len(sizes), per_bank)]


def bank_name(config: DictConfig, sizes: Sequence[int]) -> str:
    """Return the name of a bank, of its checkpoint and of its logs."""
    n_kernels = f"-{config.n_kernels}-kernels" if config.n_kernels > 1 else ""
    return f"{config.activation_name}{n_kernels}-{sizes[0]}-{sizes[-1]}"


def refuse_other_banks(config: DictConfig, names: Sequence[str]) -> None:
    """Refuse to resume a sweep from the folder of another sweep, before any bank trains.

    The folder of a sweep that was stopped early lacks some banks. The folder of another sweep has none of the banks, or
    has one whose kernel sizes overlap with those of another bank.

    Args:
        config: The configuration.
        names: Names of all banks of the sweep.

    Raises:
        ValueError: If the folder is of another sweep.
    """
    if config.checkpoint is None:
        return
    stems = [path.stem for path in Path(config.checkpoint, "checkpoints").glob("*.ckpt")]
    stored = {stem: found for stem in stems if (found := BANK_NAME.fullmatch(stem))}
    mine = [found for name in names if (found := BANK_NAME.fullmatch(name))]
    others = [
        stem for stem, bank in stored.items() if stem not in names and any(_overlap(bank, other) for other in mine)
    ]
    if others or (stored and stored.keys().isdisjoint(names)):
        raise ValueError(
            f"checkpoint={config.checkpoint} is of another sweep: it has the banks {', '.join(sorted(stored))}, this "
            f"sweep has {', '.join(names)}; to resume it, give its activations, n_kernels, kernel_sizes and "
            "max_memory; to start anew, leave out checkpoint="
        )


def train_bank(config: DictConfig, sizes: Sequence[int], splits: Splits, rounding: int = 0) -> TrainedBank:
    """Train a model for each kernel size, side by side.

    Args:
        config: The configuration.
        sizes: The kernel sizes.
        splits: The examples.
        rounding: Changes the last bits of the initial kernels; see :class:`san.cli.random_numbers.RandomNumbers`.

    Raises:
        FileNotFoundError: If ``checkpoint`` is not the folder of a sweep.
        ValueError: If nothing was trained, a part is invalid, or the checkpoint is of another experiment or damaged.
    """
    name = bank_name(config, sizes)
    path = Path(config.paths.output_dir) / "checkpoints" / f"{name}.ckpt"
    n_starts = config.n_starts
    models = [[size] * config.n_kernels for size in sizes for _ in range(n_starts)]
    stored = stored_configuration(config)
    module = build_module(config, splits, models, list(range(n_starts)) * len(sizes), stored)
    random_numbers = RandomNumbers(config, splits, models, rounding)
    random_numbers.initialize(module.network)
    data = build_data(config, splits, random_numbers.order())
    selection = BankSelection(path)
    settings = settings_of_bank(effective_settings(config), sizes) | random_numbers.settings
    provenance = Provenance.of(settings, data_fingerprint(splits))
    stopped = _checkpoint_to_resume(config, path.name)
    resumed = None if stopped is None else Path(config.checkpoint)
    if stopped is not None:
        content = read(stopped)
        provenance = resumed_provenance(content, provenance, config, data_name=splits.name, sizes=sizes)
        load_weights(module, content, stopped)
        copy_once(stopped, path)
    observers = [selection, StoredProvenance(asdict(provenance))]
    trainer = build_trainer(config, [*build_callbacks(config, splits, module.network), *observers], name, resumed)
    fit(trainer, module, data, None if stopped is None else path)
    refuse_training_without_validation(config.trainer, selection.validation_per_epoch)
    if n_starts > 1:
        best = [
            min(range(first, first + n_starts), key=partial(selection.phi_at, config.protocol.tested_epoch))
            for first in range(0, len(models), n_starts)
        ]
        selection.keep(best)
        module = _subset(config, splits, module, best)
    last_weight = module.network.weight.detach().clone()
    return TrainedBank(
        config, name, splits, module, data, trainer, selection, last_weight, random_numbers, module.count_weights
    )


def evaluate_bank(bank: TrainedBank) -> tuple[list[Results], dict[str, str], list[dict[str, Any]]]:
    """Test the models of a bank by the protocol of its configuration, and its classifiers if it has any.

    Returns:
        The results of the models, the reasons of failed models by name, and each model as a checkpoint of its own.
    """
    config, module, selection = bank.config, bank.module, bank.selection
    tested_epoch = config.protocol.tested_epoch
    network, per_epoch = module.network, selection.validation_per_epoch
    network.load_state_dict({"weight": selection.weight if tested_epoch == "best" else bank.last_weight})
    module.count_weights = config.metric.count_weights
    # The φ of each epoch counts weights as the training did; by another count, the tested epoch is validated again.
    is_recounted = network.n_dims > 1 and module.count_weights != bank.count_weights
    if is_recounted:
        bank.trainer.validate(module, bank.data, verbose=False)
    bank.trainer.test(module, bank.data, verbose=False)
    stacked: list[Any] = [(None, None)] * network.n_models
    if config.classifier:
        starts = bank.random_numbers.classifier_starts(config, [config.seed])
        (stacked,) = classify(config, f"{bank.name}/", bank.splits, network, bank.trainer.strategy, starts)
    stored = stored_configuration(config)
    results, failures, checkpoints = [], {}, []
    for model, sizes in enumerate(network.sizes_of_models):
        epoch = selection.best_epochs[model] if tested_epoch == "best" else len(per_epoch) - 1
        if epoch is None or not math.isfinite(module.metrics["test"]["phi"][model]):
            failures[f"{config.activation_name}, kernel size {sizes[0]}"] = "φ is not finite: lower optimizer.lr"
            continue
        alone = network.model(model)
        outcome, classifier = stacked[model]
        validation, history = per_epoch[epoch], selection.phi_per_epoch(model)
        if is_recounted:
            validation = module.metrics["validation"]
            history = [validation["phi"][model] if other == epoch else math.nan for other in range(len(per_epoch))]
        result = {
            **model_results(config, bank.splits, module, model, outcome),
            "random_numbers": bank.random_numbers.sources[model],
            "best_epoch": epoch_number(epoch),
            "validation": {name: values[model] for name, values in validation.items()},
            "phi_per_epoch": [phi if math.isfinite(phi) else None for phi in history],
        }
        warn_of_dead_kernels(result)
        results.append(result)
        checkpoint = {
            "config": {**stored, "kernel_size": sizes[0], "kernel_sizes": None},
            "state_dict": {f"network.{name}": value for name, value in alone.state_dict().items()},
            "epoch": epoch,
            "callbacks": {},
            **module.stored_data,
            **({} if classifier is None else {"classifier": classifier.state_dict()}),
        }
        checkpoints.append(checkpoint)
    return results, failures, checkpoints


def _subset(config: DictConfig, splits: Splits, module: SANModule, models: Sequence[int]) -> SANModule:
    """Return a module with some of the models of a bank."""
    sizes = module.network.sizes_of_models
    subset = build_module(config, splits, [sizes[model] for model in models])
    by_model = module.network.weight.detach().unflatten(0, (len(sizes), -1))
    subset.network.load_state_dict({"weight": by_model[list(models)].flatten(0, 1)})
    return subset


def _overlap(bank: re.Match[str], other: re.Match[str]) -> bool:
    """Return whether two banks are of the same activation, and their ranges of kernel sizes overlap."""
    (first, last), (other_first, other_last) = (map(int, found.group(2, 3)) for found in (bank, other))
    return bank[1] == other[1] and first <= other_last and other_first <= last


def _checkpoint_to_resume(config: DictConfig, name: str) -> Path | None:
    """Return the checkpoint from which a bank resumes; None to start anew.

    Raises:
        FileNotFoundError: If ``checkpoint`` is not the folder of a sweep.
    """
    if config.checkpoint is None:
        return None
    folder = Path(config.checkpoint)
    if not (folder / "checkpoints").is_dir() and not (folder / ".hydra").is_dir():
        raise FileNotFoundError(f"checkpoint={folder} is not the folder of a sweep")
    stopped = folder / "checkpoints" / name
    if not stopped.is_file():
        log.warning("%s of checkpoint=%s was stopped before its training began: it starts now", stopped.stem, folder)
        return None
    return stopped

"""A bank of models, trained side by side and tested, for the commands that sweep kernel sizes."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig
from torch import Tensor

from san.cli.build import build_callbacks, build_data, build_module, build_trainer, classify
from san.cli.config import stored_configuration
from san.cli.model_results import Results, model_results, warn_of_dead_kernels
from san.data.splits import Splits
from san.storage.checkpoints import read
from san.training.callbacks.bank_selection import BankSelection
from san.training.callbacks.training_state import copy_once
from san.training.data_module import SplitsDataModule
from san.training.san_module import SANModule

__all__ = ["TrainedBank", "evaluate_bank", "shares", "train_bank"]

COPIES_OF_MAPS = 24  # maximum number of tensors as large as the maps that a training step holds: transforms, gradients

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


def shares(sizes: Sequence[int], n_kernels: int, batch: Tensor, max_memory: float) -> list[list[int]]:
    """Share kernel sizes among as few banks as fit into memory.

    Args:
        sizes: The kernel sizes, one model each.
        n_kernels: Number of kernels of a model.
        batch: Examples of a batch, [batch, 1, *space].
        max_memory: Bytes of the maps of a training step; a bank has at least one model.
    """
    n_banks = math.ceil(len(sizes) * n_kernels * batch.nbytes * COPIES_OF_MAPS / max_memory)
    per_bank = math.ceil(len(sizes) / min(len(sizes), max(1, n_banks)))
    return [list(sizes[first : first + per_bank]) for first in range(0, len(sizes), per_bank)]


def train_bank(config: DictConfig, sizes: Sequence[int], splits: Splits) -> TrainedBank:
    """Train a model for each kernel size, side by side.

    Raises:
        ValueError: If nothing was trained, or a part is invalid.
    """
    n_kernels = f"-{config.n_kernels}-kernels" if config.n_kernels > 1 else ""
    name = f"{config.activation_name}{n_kernels}-{sizes[0]}-{sizes[-1]}"
    path = Path(config.paths.output_dir) / "checkpoints" / f"{name}.ckpt"
    n_starts = config.n_starts
    models = [[size] * config.n_kernels for size in sizes for _ in range(n_starts)]
    stored = stored_configuration(config)
    module = build_module(config, splits, models, list(range(n_starts)) * len(sizes), stored)
    data = build_data(config, splits)
    selection = BankSelection(path)
    trainer = build_trainer(config, [*build_callbacks(config, splits, module.network), selection], version=name)
    trainer.fit(module, data, ckpt_path=_checkpoint_to_resume(config, path), weights_only=True)
    if not selection.validation_per_epoch:
        raise ValueError(f"trainer.max_epochs={config.trainer.max_epochs} left nothing to train")
    if n_starts > 1:
        best = [
            min(range(first, first + n_starts), key=partial(selection.phi_at, config.protocol.tested_epoch))
            for first in range(0, len(models), n_starts)
        ]
        selection.keep(best)
        module = _subset(config, splits, module, best)
    last_weight = module.network.weight.detach().clone()
    return TrainedBank(config, name, splits, module, data, trainer, selection, last_weight)


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
    bank.trainer.test(module, bank.data, verbose=False)
    stacked: list[Any] = [(None, None)] * network.n_models
    if config.classifier:
        (stacked,) = classify(config, f"{bank.name}/", bank.splits, network, bank.trainer.strategy, [config.seed])
    stored = stored_configuration(config)
    results, failures, checkpoints = [], {}, []
    for model, sizes in enumerate(network.sizes_of_models):
        epoch = selection.best_epochs[model] if tested_epoch == "best" else len(per_epoch) - 1
        if epoch is None or not math.isfinite(module.metrics["test"]["phi"][model]):
            failures[f"{config.activation_name}, kernel size {sizes[0]}"] = "φ is not finite: lower optimizer.lr"
            continue
        alone = network.model(model)
        outcome, classifier = stacked[model]
        result = {
            **model_results(config, bank.splits, module, model, outcome),
            "best_epoch": epoch,
            "validation": {name: values[model] for name, values in per_epoch[epoch].items()},
            "phi_per_epoch": [phi if math.isfinite(phi) else None for phi in selection.phi_per_epoch(model)],
        }
        warn_of_dead_kernels(result)
        results.append(result)
        checkpoint = {
            "config": {**stored, "kernel_size": sizes[0], "kernel_sizes": None},
            "state_dict": {f"network.{name}": value for name, value in alone.state_dict().items()},
            "epoch": epoch,
            "callbacks": {},
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


def _checkpoint_to_resume(config: DictConfig, path: Path) -> Path | None:
    """Return the checkpoint from which a bank resumes, copied into this run's folder; None to start anew.

    Raises:
        FileNotFoundError: If ``checkpoint`` is not the folder of a sweep.
        ValueError: If the checkpoint is damaged.
    """
    if config.checkpoint is None:
        return None
    folder = Path(config.checkpoint)
    if not (folder / "checkpoints").is_dir() and not (folder / ".hydra").is_dir():
        raise FileNotFoundError(f"checkpoint={folder} is not the folder of a sweep")
    stopped = folder / "checkpoints" / path.name
    if not stopped.is_file():
        log.warning("%s of checkpoint=%s was stopped before its training began: it starts now", path.stem, folder)
        return None
    read(stopped)
    copy_once(stopped, path)
    return path

"""``python -m san.sweep``: all kernel sizes at once, each model trained as if alone."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from san.assembly import build, check, classify, describe, load, plain, restarts, warn_of_dead_kernels
from san.command import CONF, command, compose_with, instantiate

if TYPE_CHECKING:
    import pytorch_lightning as pl
    from torch import Tensor

    from san.bank import BankSelection
    from san.data.splits import Splits
    from san.datamodule import SplitsDataModule
    from san.training import SANModule

__all__ = ["TrainedBank", "evaluate_bank", "main", "parse_numbers", "sweep", "train_bank", "with_activation"]

Results = dict[str, Any]

log = logging.getLogger(__name__)


def sweep(config: DictConfig) -> float:
    """Train a bank of models for each activation function, and write what a multirun of them would.

    Returns:
        The phi of the best model, on the split that the protocol selects by.
    """
    sizes = parse_numbers("kernel_sizes", config.kernel_sizes)
    choices = [
        _with_n_kernels(choice, n_kernels)
        for choice in (with_activation(config, name) for name in config.activations or [None])
        for n_kernels in parse_numbers("n_kernels", config.n_kernels)
    ]
    for choice in choices:
        check(choice, ["n_starts"])

    import pytorch_lightning as pl
    import torch

    from san.bank import shares
    from san.checkpoint import save
    from san.results import lowest_phi, summarise, write_json

    start = time.perf_counter()
    pl.seed_everything(config.seed, workers=True, verbose=False)
    splits = load(config)
    results: list[Results] = []
    failures: dict[str, str] = {}
    checkpoints: list[dict[str, Any]] = []
    for choice in choices:
        for share in shares(
            sizes, choice.n_kernels * choice.n_starts, splits.train[: config.batch_size], config.max_memory
        ):
            bank = train_bank(choice, share, splits)
            tested, failed, kept = evaluate_bank(bank)
            _show(bank, tested)
            results += tested
            failures |= failed
            checkpoints += kept
    folder, split = Path(config.paths.output_dir), config.protocol.selected_by
    best = lowest_phi(results, split)
    if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
        if best is not None:
            save(checkpoints[results.index(best)], folder / "checkpoints" / "best.ckpt")
        seconds = time.perf_counter() - start
        write_json(folder / "results.json", {"models": results, "wall_seconds": seconds, "config": plain(config)})
        summarise(results, split, failures, folder)
    if best is None or failures:
        raise FloatingPointError(f"{len(failures)} of {len(failures) + len(results)} models failed, as the table tells")
    return float(best[split]["phi"])


def parse_numbers(key: str, given: Any) -> list[int]:
    """Return the numbers that ``1..250``, a number, or a list of both means, in order and once each.

    Raises:
        ValueError: If it means something else, or a number below 1.
    """
    numbers: list[int] = []
    for part in given if OmegaConf.is_list(given) else [given]:
        first, dots, last = str(part).partition("..")
        if not (first.isdecimal() and (last.isdecimal() or not dots) and int(first) >= 1):
            raise ValueError(f"{key}={given}: {part} must be a number such as 8, or a range such as 1..250")
        numbers += range(int(first), int(last or first) + 1)
    if not numbers:
        raise ValueError(f"{key}={given} is empty: give a number such as 8, or a range such as 1..250")
    return sorted(set(numbers))


def with_activation(config: DictConfig, name: str | None) -> DictConfig:
    """Return the configuration as it were with another activation function, if one is named, and what that asks for.

    Raises:
        ValueError: If there is no such activation function.
    """
    if name is None:
        return config
    known = sorted(file.stem for file in (CONF / "activation").glob("*.yaml"))
    if name not in known:
        raise ValueError(f"activations={list(config.activations)}: there is no {name}, but {', '.join(known)}")
    choice = compose_with("activation", name)
    OmegaConf.set_struct(choice, False)
    choice.activation_name = name
    return choice


def _with_n_kernels(config: DictConfig, n_kernels: int) -> DictConfig:
    choice = config.copy()
    choice.n_kernels = n_kernels
    return choice


@dataclass
class TrainedBank:
    """A bank after its training, and what it was trained by."""

    config: DictConfig
    name: str
    splits: "Splits"
    module: "SANModule"
    data: "SplitsDataModule"
    trainer: "pl.Trainer"
    selection: "BankSelection"
    last_weight: "Tensor"


def train_bank(config: DictConfig, sizes: Sequence[int], splits: "Splits") -> TrainedBank:
    """Train a model for each kernel size, side by side."""
    from san.bank import BankSelection
    from san.callbacks import KernelFigures, progress
    from san.datamodule import SplitsDataModule

    several = f"-{config.n_kernels}-kernels" if config.n_kernels > 1 else ""
    name = f"{config.activation_name}{several}-{sizes[0]}-{sizes[-1]}"
    path = Path(config.paths.output_dir) / "checkpoints" / f"{name}.ckpt"
    n_starts = config.n_starts
    models = [[size] * config.n_kernels for size in sizes for _ in range(n_starts)]
    module = build(config, splits, models, list(range(n_starts)) * len(sizes))
    order = config.seed if config.shuffle else None
    data = SplitsDataModule(splits.examples, config.batch_size, order, num_workers=config.num_workers)
    selection = BankSelection(path, plain(config))
    kernels = KernelFigures(splits.name, splits.sampling_frequency, every=None)
    trainer = instantiate(
        config.trainer, default_root_dir=config.paths.output_dir, logger=instantiate(config.logger, version=name),
        callbacks=[
            *progress(config.trainer.enable_progress_bar),
            kernels,
            *restarts(config, splits),
            selection,
        ],
    )  # fmt: skip
    trainer.fit(module, data, ckpt_path=_resumed(config, path), weights_only=True)
    if not selection.validation_per_epoch:
        raise ValueError(f"trainer.max_epochs={config.trainer.max_epochs} left nothing to train")
    if n_starts > 1:
        best = [
            min(range(first, first + n_starts), key=partial(selection.phi_at, config.protocol.tested_epoch))
            for first in range(0, len(models), n_starts)
        ]
        selection.keep(best)
        module = _only(config, splits, module, best)
    last_weight = module.network.weight.detach().clone()
    return TrainedBank(config, name, splits, module, data, trainer, selection, last_weight)


def _only(config: DictConfig, splits: "Splits", module: "SANModule", models: Sequence[int]) -> "SANModule":
    """Return the module of some of the models of a bank."""
    sizes = module.network.sizes_of_models
    chosen = build(config, splits, [sizes[model] for model in models])
    by_model = module.network.weight.detach().unflatten(0, (len(sizes), -1))
    chosen.network.load_state_dict({"weight": by_model[list(models)].flatten(0, 1)})
    return chosen


def evaluate_bank(bank: TrainedBank) -> tuple[list[Results], dict[str, str], list[dict[str, Any]]]:
    """Test the models of a bank by the protocol of its configuration, and its classifiers if it has any.

    Returns:
        The results of the models, why there are none of others, and the models as checkpoints of their own.
    """
    config, module, selection = bank.config, bank.module, bank.selection
    epoch = config.protocol.tested_epoch
    network, per_epoch = module.network, selection.validation_per_epoch
    network.load_state_dict({"weight": selection.weight if epoch == "best" else bank.last_weight})
    module.count_weights = config.metric.count_weights
    bank.trainer.test(module, bank.data, verbose=False)
    stacked: list[Any] = [(None, None)] * network.n_models
    if config.classifier:
        (stacked,) = classify(config, f"{bank.name}/", bank.splits, network, bank.trainer.strategy, [config.seed])
    stored = plain(config)
    results, failures, checkpoints = [], {}, []
    for model, sizes in enumerate(network.sizes_of_models):
        chosen = selection.best_epochs[model] if epoch == "best" else len(per_epoch) - 1
        if chosen is None or not isfinite(module.figures["test"]["phi"][model]):
            failures[f"{config.activation_name}, kernel size {sizes[0]}"] = "phi is not finite: lower optimizer.lr"
            continue
        alone = network.model(model)
        outcome, classifier = stacked[model]
        results.append({
            **describe(config, bank.splits, module, model, outcome),
            "best_epoch": chosen,
            "validation": {key: values[model] for key, values in per_epoch[chosen].items()},
            "phi_per_epoch": [phi if isfinite(phi) else None for phi in selection.phi_per_epoch(model)],
        })  # fmt: skip
        warn_of_dead_kernels(results[-1])
        checkpoints.append({
            "config": {**stored, "kernel_size": sizes[0], "kernel_sizes": None},
            "state_dict": {f"network.{key}": value for key, value in alone.state_dict().items()},
            "epoch": chosen,
            "callbacks": {},
            **({} if classifier is None else {"classifier": classifier.state_dict()}),
        })  # fmt: skip
    return results, failures, checkpoints


def _show(bank: TrainedBank, results: Sequence[Results]) -> None:
    """Add phi over the kernel size to TensorBoard."""
    from pytorch_lightning.loggers import TensorBoardLogger

    from san.figures.sweep import draw_sweep
    from san.results import sweep_row

    for logger in bank.trainer.loggers:
        if isinstance(logger, TensorBoardLogger) and results:
            drawn = draw_sweep([sweep_row(model) for model in results], bank.config.protocol.selected_by)
            logger.experiment.add_figure("phi over kernel size", drawn)
            logger.finalize("success")


def _resumed(config: DictConfig, path: Path) -> Path | None:
    """Return where a bank goes on, if it was begun in the folder that is gone on from; it is brought to this run's."""
    from san.checkpoint import copy, read

    if config.checkpoint is None:
        return None
    folder = Path(config.checkpoint)
    if not (folder / "checkpoints").is_dir() and not (folder / ".hydra").is_dir():
        raise FileNotFoundError(f"checkpoint={folder} is not the folder of a sweep")
    begun = folder / "checkpoints" / path.name
    if not begun.is_file():
        log.warning("%s of checkpoint=%s was stopped before its training began: it begins now", path.stem, folder)
        return None
    read(begun)
    copy(begun, path)
    return path


main = command("sweep", sweep, "go on by checkpoint={folder}")

if __name__ == "__main__":
    main()

"""``python -m san.sweep``: all kernel sizes at once, each model trained as if alone."""

import time
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from san.assembly import build, check, classify, describe, load, plain, warn_of_dead_kernels
from san.command import CONF, command, instantiate

if TYPE_CHECKING:
    from san.data.splits import Splits

__all__ = ["main", "parse_sizes", "sweep"]

Results = dict[str, Any]


def sweep(config: DictConfig) -> float:
    """Train a bank of models for each activation function, and write what a multirun of them would.

    Returns:
        The phi of the best model, on the split that the protocol selects by.
    """
    check(config)
    sizes = parse_sizes(config.kernel_sizes)
    choices = [_with_activation(config, name) for name in config.activations or [None]]

    import pytorch_lightning as pl
    import torch

    from san.bank import shares
    from san.files import replacing
    from san.results import summarise, write_json

    start = time.perf_counter()
    pl.seed_everything(config.seed, verbose=False)
    splits = load(config)
    results: list[Results] = []
    failures: dict[str, str] = {}
    checkpoints: list[dict[str, Any]] = []
    for choice in choices:
        for share in shares(sizes, config.n_kernels, splits.train[: config.batch_size], config.max_memory):
            trained, failed, kept = _train_bank(choice, share, splits)
            results += trained
            failures |= failed
            checkpoints += kept
    folder, split = Path(config.paths.output_dir), config.protocol.selected_by
    best = min(range(len(results)), key=lambda index: float(results[index][split]["phi"]), default=None)
    if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
        if best is not None:
            with replacing(folder / "checkpoints" / "best.ckpt") as unfinished:
                torch.save(checkpoints[best], unfinished)
        seconds = time.perf_counter() - start
        write_json(folder / "results.json", {"models": results, "wall_seconds": seconds, "config": plain(config)})
        summarise(results, split, failures, folder)
    if best is None or failures:
        raise FloatingPointError(f"{len(failures)} of {len(failures) + len(results)} models failed, as the table tells")
    return float(results[best][split]["phi"])


def parse_sizes(given: Any) -> list[int]:
    """Return the kernel sizes that ``1..250``, a number, or a list of both means, in order and once each.

    Raises:
        ValueError: If it means something else, or a size below 1.
    """
    sizes: list[int] = []
    for part in given if OmegaConf.is_list(given) else [given]:
        first, dots, last = str(part).partition("..")
        if not (first.isdecimal() and (last.isdecimal() or not dots) and int(first) >= 1):
            raise ValueError(f"kernel_sizes={given}: {part} must be a size such as 8, or a range such as 1..250")
        sizes += range(int(first), int(last or first) + 1)
    if not sizes:
        raise ValueError(f"kernel_sizes={given} is empty: give a size such as 8, or a range such as 1..250")
    return sorted(set(sizes))


def _with_activation(config: DictConfig, name: str | None) -> DictConfig:
    """Return the configuration with an activation function in place of its own."""
    if name is None:
        return config
    path = CONF / "activation" / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in path.parent.glob("*.yaml")))
        raise ValueError(f"activations={list(config.activations)}: there is no {name}, but {known}")
    choice = config.copy()
    OmegaConf.set_struct(choice, False)
    choice.activation = OmegaConf.load(path)
    choice.activation_name = name
    return choice


def _train_bank(
    config: DictConfig, sizes: Sequence[int], splits: "Splits"
) -> tuple[list[Results], dict[str, str], list[dict[str, Any]]]:
    """Train and test a model for each kernel size; return their results, the failures and the models' checkpoints."""
    from pytorch_lightning.loggers import TensorBoardLogger

    from san.bank import BankSelection
    from san.callbacks import KernelFigures, progress
    from san.datamodule import SplitsDataModule
    from san.figures.sweep import draw_sweep
    from san.results import sweep_row

    name = f"{config.activation_name}-{sizes[0]}-{sizes[-1]}"
    path = Path(config.paths.output_dir) / "checkpoints" / f"{name}.ckpt"
    module = build(config, splits, [[size] * config.n_kernels for size in sizes])
    network = module.network
    data = SplitsDataModule(splits.examples, config.batch_size, config.seed if config.shuffle else None)
    stored = plain(config)
    selection = BankSelection(path, stored, config.protocol.tested_epoch)
    kernels = KernelFigures(splits.name, splits.sampling_frequency, every=None)
    trainer = instantiate(
        config.trainer, default_root_dir=config.paths.output_dir, logger=instantiate(config.logger, version=name),
        callbacks=[progress(), kernels, selection],
    )  # fmt: skip
    trainer.fit(module, data, ckpt_path=_resumed(config, path), weights_only=True)
    if not selection.validation_per_epoch:
        raise ValueError(f"trainer.max_epochs={config.trainer.max_epochs} left nothing to train")
    network.load_state_dict({"weight": selection.weight})
    trainer.test(module, data, verbose=False)
    results, failures, checkpoints = [], {}, []
    for model, (size, epoch) in enumerate(zip(sizes, selection.best_epochs, strict=True)):
        if epoch is None:
            failures[f"{config.activation_name}, kernel size {size}"] = "phi was never finite: lower optimizer.lr"
            continue
        alone = network.model(model)
        outcome, classifier = classify(config, f"{name}/{size}/", splits, alone, trainer.strategy) or (None, None)
        results.append({
            **describe(config, splits, module, model, outcome),
            "best_epoch": epoch,
            "validation": {key: values[model] for key, values in selection.validation_per_epoch[epoch].items()},
            "phi_per_epoch": [phi if isfinite(phi) else None for phi in selection.phi_per_epoch(model)],
        })  # fmt: skip
        warn_of_dead_kernels(results[-1])
        checkpoints.append({
            "config": {**stored, "kernel_size": size, "kernel_sizes": None},
            "state_dict": {f"network.{key}": value for key, value in alone.state_dict().items()},
            "epoch": epoch,
            "callbacks": {},
            **({} if classifier is None else {"classifier": classifier.state_dict()}),
        })  # fmt: skip
    drawn = draw_sweep([sweep_row(model) for model in results], config.protocol.selected_by) if results else None
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger) and drawn is not None:
            logger.experiment.add_figure("phi over kernel size", drawn)
            logger.finalize("success")
    return results, failures, checkpoints


def _resumed(config: DictConfig, path: Path) -> Path | None:
    """Return where a bank goes on, if it was begun in the folder that is gone on from."""
    if config.checkpoint is None:
        return None
    folder = Path(config.checkpoint)
    if not (folder / "checkpoints").is_dir():
        raise FileNotFoundError(f"checkpoint={folder} is not the folder of a sweep")
    begun = folder / "checkpoints" / path.name
    return begun if begun.is_file() else None


main = command("sweep", sweep)

if __name__ == "__main__":
    main()

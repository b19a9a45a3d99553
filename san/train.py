"""``python -m san.train``: learn kernels from a dataset and select the epoch by phi."""

import json
import logging
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from san.command import command, instantiate

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from san.data.splits import Splits
    from san.training import SANModule

__all__ = ["build", "describe", "main", "train", "warn_of_dead_kernels"]

log = logging.getLogger(__name__)


def train(config: DictConfig) -> float:
    """Train, select, test, and write what a run leaves.

    Returns:
        The validation phi of the selected epoch, for a sweeper that optimises it.
    """
    stored = cast("dict[str, Any]", OmegaConf.to_container(config))
    plain = {**stored, "activation_name": config.activation_name}
    folder = Path(config.paths.output_dir)
    if config.skip_finished and (phi := _finished(folder, plain)) is not None:
        return phi
    _check(config)

    import pytorch_lightning as pl

    from san.callbacks import KernelFigures, progress
    from san.checkpoint import PhiCheckpoint, add, find, load_weights, read
    from san.datamodule import SplitsDataModule

    start = time.perf_counter()
    pl.seed_everything(config.seed, verbose=False)
    splits = instantiate(config.dataset)
    module = build(config, splits)
    stacking = instantiate(config.classifier)
    classifier = stacking.new_classifier(splits, config.seed) if stacking else None
    _check_batch_sizes(config, splits)
    data = SplitsDataModule(splits.examples, config.batch_size, config.seed if config.shuffle else None)
    checkpoint = PhiCheckpoint(folder / "checkpoints", plain, config.protocol.tested_epoch)
    resumed = None
    if config.checkpoint is not None:
        given = find(config.checkpoint, "last")
        load_weights(module, read(given), given)
        resumed = checkpoint.adopt(given)
    kernels = KernelFigures(splits.name, splits.sampling_frequency, config.kernel_figure_every)
    trainer = instantiate(config.trainer, default_root_dir=str(folder), logger=instantiate(config.logger),
                          callbacks=[progress(), kernels, checkpoint])  # fmt: skip
    trainer.fit(module, data, ckpt_path=resumed, weights_only=True)
    if checkpoint.best_epoch is None:
        raise ValueError(f"trainer.max_epochs={config.trainer.max_epochs} left nothing to train")
    best = Path(checkpoint.best_model_path)
    load_weights(module, read(best), best)
    trainer.test(module, data, verbose=False)
    warn_of_dead_kernels(module)
    accuracies = None
    if classifier is not None:
        module.network.to(trainer.strategy.root_device)
        accuracies = stacking.compare(
            classifier,
            module.network,
            splits,
            seed=config.seed,
            epoch=config.protocol.tested_epoch,
            cache=Path(config.paths.cache_dir),
            settings=_classifier_settings(config),
            new_trainer=partial(_classifier_trainer, config, folder),
        )
        add(best, classifier=classifier.state_dict())
    if trainer.is_global_zero:
        results = {
            **describe(config, splits, module, trainer, accuracies),
            "best_epoch": checkpoint.best_epoch,
            "validation": checkpoint.validation_per_epoch[checkpoint.best_epoch],
            "phi_per_epoch": checkpoint.phi_per_epoch,
            "wall_seconds": time.perf_counter() - start,
            "config": plain,
        }
        _leave(config, results, splits, module, trainer)
    return checkpoint.best_model_score


def build(config: DictConfig, splits: "Splits") -> "SANModule":
    """Make the module that a configuration describes, for the examples at hand."""
    from san.networks import SparselyActivatedNetwork
    from san.training import SANModule

    sizes = [config.kernel_size] * config.n_kernels if config.kernel_sizes is None else list(config.kernel_sizes)
    activation = instantiate(config.activation)
    network = SparselyActivatedNetwork(sizes, activation, splits.n_dims, decoder=config.decoder, seed=config.seed)
    network.check(splits.shape[1:])
    return SANModule(
        network,
        loss=instantiate(config.loss),
        optimizer=instantiate(config.optimizer),
        count_weights=config.metric.count_weights,
    )


def describe(
    config: DictConfig,
    splits: "Splits",
    module: "SANModule",
    trainer: "pl.Trainer",
    classification: dict[str, Any] | None,
) -> dict[str, Any]:
    """Return the part of the results that training and evaluation share."""
    from san.results import FIGURES, versions

    figures = {name: float(trainer.callback_metrics[f"test/{name}"]) for name in FIGURES}
    return {
        "dataset": splits.name,
        "activation": config.activation_name,
        "kernel_sizes": module.network.kernel_sizes,
        "seed": config.seed,
        "n_weights": module.n_weights[0],
        "dead_kernels": module.dead_kernels,
        "test": {**figures, "accuracy": classification["test"]["accuracy"] if classification else None},
        **({"classifier": classification} if classification else {}),
        "versions": versions(),
    }


def warn_of_dead_kernels(module: "SANModule") -> None:
    """Tell which kernels no test example needed, so that a collapse is not taken for a result."""
    dead, n_kernels = module.dead_kernels, len(module.network.kernel_sizes)
    if dead:
        log.warning(
            "%d of %d kernels are dead (%s): their activation maps are zero in every test example%s",
            len(dead), n_kernels, ", ".join(str(kernel + 1) for kernel in dead),
            ", so the model says nothing and φ̄ is that of its weights alone" if len(dead) == n_kernels else "",
        )  # fmt: skip


def _classifier_settings(config: DictConfig) -> dict[str, Any]:
    """Return what the accuracy of a classifier depends on, beside the data, the seed and the protocol."""
    chosen = OmegaConf.masked_copy(config, ["classifier", "trainer", "shuffle"])
    settings = cast("dict[str, Any]", OmegaConf.to_container(chosen, resolve=True))
    del settings["trainer"]["max_epochs"], settings["classifier"]["max_memory"]
    return settings


def _classifier_trainer(config: DictConfig, folder: Path, name: str, max_epochs: int, callbacks: list[Any]) -> Any:
    from san.callbacks import progress

    return instantiate(
        config.trainer, max_epochs=max_epochs, default_root_dir=str(folder),
        logger=instantiate(config.logger, version=name),
        callbacks=[progress("validation/accuracy"), *callbacks],
    )  # fmt: skip


def _check(config: DictConfig) -> None:
    """Refuse what no other part of the program could tell so clearly."""
    least = {"seed": 0, "n_kernels": 1, "kernel_size": 1, "batch_size": 1, "kernel_figure_every": 1}
    values = [(key, config[key]) for key in least]
    values += [("kernel_sizes", size) for size in config.kernel_sizes or []]
    for key, value in values:
        if not isinstance(value, int) or isinstance(value, bool) or value < least.get(key, 1):
            raise ValueError(f"{key}={value} must be an integer, {least.get(key, 1)} or more")
    if HydraConfig.get().mode == RunMode.MULTIRUN and config.trainer.devices != 1:
        raise ValueError(
            f"trainer.devices={config.trainer.devices} in a multirun: each of its jobs trains in one process, "
            "use trainer=cpu or trainer=gpu"
        )


def _check_batch_sizes(config: DictConfig, splits: "Splits") -> None:
    sizes = {"batch_size": config.batch_size}
    if config.classifier:
        sizes["classifier.batch_size"] = config.classifier.batch_size
    for key, size in sizes.items():
        if size > len(splits.train):
            raise ValueError(f"{key}={size} is larger than the {len(splits.train)} training examples: lower it")


def _finished(folder: Path, plain: dict[str, Any]) -> float | None:
    """Return the validation phi that an equal configuration has left in a folder."""
    try:
        results = json.loads((folder / "results.json").read_text())
    except FileNotFoundError:
        return None
    unlike = {"skip_finished", "checkpoint"}
    same = all(results["config"].get(key) == value for key, value in plain.items() if key not in unlike)
    return float(results["validation"]["phi"]) if same else None


def _leave(
    config: DictConfig, results: dict[str, Any], splits: "Splits", module: "SANModule", trainer: "pl.Trainer"
) -> None:
    """Write the results and the figures, log the hyperparameters, and print the table."""
    from pytorch_lightning.loggers import TensorBoardLogger

    from san.figures.confusion_matrix import draw_confusion
    from san.figures.style import Run, save
    from san.results import print_run, sweep_row, write_json

    folder = Path(config.paths.output_dir)
    write_json(folder / "results.json", results)
    run = Run(
        name=splits.name,
        activation=results["activation"],
        network=module.network.cpu(),
        example=splits.test[0],
        phi_per_epoch=results["phi_per_epoch"],
        best_epoch=results["best_epoch"],
        sampling_frequency=splits.sampling_frequency,
        units=splits.units,
    )
    for name, draw in instantiate(config.figure).items():
        save(draw(run), folder / "figures" / f"{name}.png")
    confusion = None
    if "classifier" in results:
        confusion = draw_confusion(results["classifier"], splits.name)
        save(confusion, folder / "figures" / "confusion_matrix.png")
    row = sweep_row(results)
    hyperparameters = {
        **{key: row[key] for key in ("dataset", "activation", "kernel_size", "seed")},
        **{key: config[key] for key in ("decoder", "batch_size")},
        "n_kernels": len(results["kernel_sizes"]),
    }
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            metrics = {f"test/{name}": value for name, value in results["test"].items() if value is not None}
            if confusion is not None:
                logger.experiment.add_figure("confusion_matrix", confusion)
            logger.log_hyperparams(hyperparameters, metrics, step=trainer.global_step)
            logger.finalize("success")
    print_run(results, folder)


main = command("train", train)

if __name__ == "__main__":
    main()

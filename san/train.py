"""``python -m san.train``: learn kernels from a dataset and select the epoch by phi."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from san.assembly import build, check, classify, describe, load, plain, restarts, warn_of_dead_kernels
from san.command import command, instantiate

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from san.data.splits import Splits
    from san.training import SANModule

__all__ = ["main", "sizes_of", "train"]


def train(config: DictConfig) -> float:
    """Train, select, test, and write what a run leaves.

    Returns:
        The validation phi of the selected epoch, for a sweeper that optimises it.
    """
    stored, folder = plain(config), Path(config.paths.output_dir)
    if config.skip_finished and (phi := _finished(folder, stored)) is not None:
        return phi
    check(config, ["kernel_size"] if config.kernel_sizes is None else ["kernel_size", "kernel_sizes"])

    import pytorch_lightning as pl

    from san.callbacks import KernelFigures, progress
    from san.checkpoint import PhiCheckpoint, add, begun, load_weights, read
    from san.datamodule import SplitsDataModule

    start = time.perf_counter()
    pl.seed_everything(config.seed, workers=True, verbose=False)
    splits = load(config)
    module = build(config, splits, [sizes_of(config)])
    order = config.seed if config.shuffle else None
    data = SplitsDataModule(splits.examples, config.batch_size, order, num_workers=config.num_workers)
    checkpoint = PhiCheckpoint(folder / "checkpoints", stored, config.protocol.tested_epoch)
    resumed = None
    if config.checkpoint is not None and (given := begun(config.checkpoint)) is not None:
        load_weights(module, read(given), given)
        resumed = checkpoint.adopt(given)
    callbacks = [
        *progress(config.trainer.enable_progress_bar),
        KernelFigures(splits.name, splits.sampling_frequency, config.kernel_figure_every),
        *restarts(config, splits),
        checkpoint,
    ]
    trainer = instantiate(
        config.trainer, default_root_dir=str(folder), logger=instantiate(config.logger), callbacks=callbacks
    )
    trainer.fit(module, data, ckpt_path=resumed, weights_only=True)
    if checkpoint.best_epoch is None:
        raise ValueError(f"trainer.max_epochs={config.trainer.max_epochs} left nothing to train")
    best = Path(checkpoint.best_model_path)
    load_weights(module, read(best), best)
    trainer.test(module, data, verbose=False)
    outcome = None
    if config.classifier:
        (((outcome, classifier),),) = classify(config, "", splits, module.network, trainer.strategy, [config.seed])
        add(best, classifier=classifier.state_dict())
    if trainer.is_global_zero:
        results = {
            **describe(config, splits, module, 0, outcome),
            "best_epoch": checkpoint.best_epoch,
            "validation": checkpoint.validation_per_epoch[checkpoint.best_epoch],
            "phi_per_epoch": checkpoint.phi_per_epoch,
            "wall_seconds": time.perf_counter() - start,
            "config": stored,
        }
        warn_of_dead_kernels(results)
        _leave(config, results, splits, module, trainer)
    return checkpoint.best_model_score


def sizes_of(config: DictConfig) -> list[int]:
    """Return the kernel sizes of the model that a configuration describes."""
    return [config.kernel_size] * config.n_kernels if config.kernel_sizes is None else list(config.kernel_sizes)


def _finished(folder: Path, stored: dict[str, Any]) -> float | None:
    """Return the validation phi that an equal configuration has left in a folder."""
    try:
        results = json.loads((folder / "results.json").read_text())
    except FileNotFoundError:
        return None
    unlike = {"skip_finished", "checkpoint", "num_workers"}
    same = all(results["config"].get(key) == value for key, value in stored.items() if key not in unlike)
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


main = command("train", train, "go on by checkpoint={folder}")

if __name__ == "__main__":
    main()

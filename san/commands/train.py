"""The command ``san.train``."""

import logging
import time
from collections.abc import Mapping
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from san.checkpoint import PhiCheckpoint, find, read
from san.cli.build import (
    build_callbacks,
    build_data,
    build_module,
    build_trainer,
    check_counts,
    classify,
    load_dataset,
    wants_page,
)
from san.cli.calls import callable_from_python
from san.cli.config import kernel_sizes_of, stored_configuration
from san.cli.model_results import Results, model_results, warn_of_dead_kernels
from san.cli.parts import instantiate
from san.cli.random_numbers import RandomNumbers
from san.cli.recommendation import next_command
from san.cli.resume import resumed_provenance
from san.cli.run_figures import Figures, write_figures
from san.cli.settings import effective_settings
from san.cli.trainer_settings import refuse_training_without_validation
from san.data.splits import Splits
from san.reporting.provenance import Provenance, data_fingerprint
from san.reporting.results import print_next_steps, print_run, sweep_row
from san.storage.checkpoints import add_parts, load_weights
from san.storage.files import read_json, write_json
from san.training.callbacks.stored_provenance import StoredProvenance
from san.training.callbacks.training_state import fit
from san.training.epochs import epoch_number
from san.training.san_module import SANModule
from san.training.tensorboard import TensorBoard
from san.use.kernel_page import write_test_page
from san.use.training import trained_model

__all__ = ["train"]

log = logging.getLogger(__name__)


@callable_from_python
def train(config: DictConfig) -> float:
    """Train a model, select its epoch, test it, and write the files of a run.

    Returns:
        The validation φ of the selected epoch, for a sweeper that optimizes it.
    """
    stored, folder = stored_configuration(config), Path(config.paths.output_dir)
    check_counts(config, ["kernel_size"] if config.kernel_sizes is None else ["kernel_size", "kernel_sizes"])
    figures: Figures = instantiate(config, "figure")
    has_page = wants_page(config.report, bool(figures))
    start = time.perf_counter()
    pl.seed_everything(config.seed, workers=True, verbose=False)
    splits = load_dataset(config)
    sizes = kernel_sizes_of(config)
    random_numbers = RandomNumbers(config, splits, [sizes])
    settings = effective_settings(config) | random_numbers.settings
    provenance = Provenance.of(settings, data_fingerprint(splits))
    if config.skip_finished and (phi := _finished_phi(folder, provenance)) is not None:
        return phi
    module = build_module(config, splits, [sizes], stored=stored)
    random_numbers.initialize(module.network)
    data = build_data(config, splits, random_numbers.order())
    callbacks = build_callbacks(config, splits, module.network)
    checkpoint = next((callback for callback in callbacks if isinstance(callback, PhiCheckpoint)), None)
    resumed, provenance = _resume(config, module, checkpoint, provenance, splits.name)
    trainer = build_trainer(
        config,
        [*callbacks, StoredProvenance(asdict(provenance))],
        resumed=None if resumed is None else Path(config.checkpoint),
    )
    fit(trainer, module, data, resumed)
    best_epoch, per_epoch = _selected_epoch(config, module, checkpoint)
    if checkpoint is not None:
        best = Path(checkpoint.best_model_path)
        load_weights(module, read(best), best)
    trainer.test(module, data, verbose=False)
    outcome = None
    if config.classifier:
        starts = random_numbers.classifier_starts(config, [config.seed])
        (((outcome, classifier),),) = classify(config, "", splits, module.network, trainer.strategy, starts)
        if checkpoint is not None and trainer.is_global_zero:
            add_parts(best, classifier=classifier.state_dict())
    if trainer.is_global_zero:
        results = {
            **model_results(config, splits, module, 0, outcome),
            "random_numbers": random_numbers.sources[0],
            "best_epoch": epoch_number(best_epoch),
            "validation": per_epoch[best_epoch],
            "phi_per_epoch": [phi if isfinite(phi := metrics["phi"]) else None for metrics in per_epoch],
            "wall_seconds": time.perf_counter() - start,
            "fingerprint": provenance.fingerprints,
            "config": stored,
        }
        warn_of_dead_kernels(results)
        _write_run(config, results, splits, module, trainer, figures)
        page = folder / "report.html" if has_page else None
        if page is not None:
            write_test_page(trained_model(module, splits, config.activation_name), splits, page)
        if not (HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN):
            print_next_steps(page, next_command(config, per_epoch[best_epoch]["phi"], folder))
    return per_epoch[best_epoch]["phi"]


def _finished_phi(folder: Path, provenance: Provenance) -> float | None:
    """Return the validation φ in a folder whose results have the same provenance, or None."""
    results = read_json(folder / "results.json")
    if results is None:
        return None
    found = results.get("fingerprint")
    known: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
    other = [name for name, value in provenance.fingerprints.items() if known.get(name) != value]
    if other:
        log.info("%s has results of another %s: it trains again", folder, ", ".join(other))
        return None
    return float(results["validation"]["phi"])


def _resume(
    config: DictConfig, module: SANModule, checkpoint: PhiCheckpoint | None, provenance: Provenance, data_name: str
) -> tuple[Path | None, Provenance]:
    """Return the checkpoint from which the training resumes, and the provenance of the resumed training.

    The checkpoint is copied into this run's folder; it is None to start anew.

    Raises:
        FileNotFoundError: If there is no run at ``checkpoint``.
        ValueError: If the checkpoint is of another experiment, or nothing in this run reads it.
    """
    if config.checkpoint is None:
        return None, provenance
    if checkpoint is None:
        raise ValueError(f"checkpoint={config.checkpoint} cannot be resumed without callbacks.phi_checkpoint: keep it")
    try:
        given = find(config.checkpoint, "last")
    except FileNotFoundError:
        if not Path(config.checkpoint, ".hydra").is_dir():
            raise
        log.warning("checkpoint=%s was stopped before its training began: it starts now", config.checkpoint)
        return None, provenance
    content = read(given)
    provenance = resumed_provenance(content, provenance, config, data_name=data_name)
    load_weights(module, content, given)
    return checkpoint.adopt(given, content), provenance


def _selected_epoch(
    config: DictConfig, module: SANModule, checkpoint: PhiCheckpoint | None
) -> tuple[int, list[dict[str, float]]]:
    """Return the index of the selected epoch, and the validation metrics of each epoch.

    Raises:
        ValueError: If no epoch was validated.
    """
    if checkpoint is not None:
        refuse_training_without_validation(config.trainer, checkpoint.validation_per_epoch)
        return cast("int", checkpoint.best_epoch), checkpoint.validation_per_epoch  # the φ of one model is finite
    per_epoch = [{name: value for name, (value,) in metrics.items()} for metrics in module.validation_per_epoch]
    refuse_training_without_validation(config.trainer, per_epoch)
    return len(per_epoch) - 1, per_epoch


def _write_run(
    config: DictConfig, results: Results, splits: Splits, module: SANModule, trainer: pl.Trainer, figures: Figures
) -> None:
    """Write the results and the figures, log the hyperparameters, and print the table."""
    folder = Path(config.paths.output_dir)
    write_json(folder / "results.json", results)
    drawn = write_figures(figures, results, module.network, splits, folder)
    row = sweep_row(results)
    hyperparameters = {
        **{key: row[key] for key in ("dataset", "activation", "kernel_size", "seed")},
        **{key: config[key] for key in ("decoder", "batch_size")},
        "n_kernels": len(results["kernel_sizes"]),
    }
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoard):
            metrics = {name: row[name] for name in row if name.startswith(("validation_", "test_"))}
            logger.log_selected(results["best_epoch"], hyperparameters, metrics, drawn)
    print_run(results, folder)

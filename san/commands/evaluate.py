"""The command ``san.evaluate``."""

import math
from pathlib import Path

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf

from san.checkpoint import find, read
from san.cli.build import build_module
from san.cli.calls import callable_from_python
from san.cli.config import kernel_sizes_of
from san.cli.evaluation_data import load_test_data
from san.cli.model_results import model_results, warn_of_dead_kernels
from san.cli.parts import instantiate
from san.cli.trained import trained_configuration
from san.cli.trainer_settings import refuse_void_trainer_settings
from san.data.recording import Recording
from san.extensions.streaming import describe
from san.reporting.results import print_run
from san.storage.checkpoints import load_state, load_weights, refuse_other_sizes
from san.storage.files import write_json
from san.training.callbacks.epoch_lines import progress
from san.training.data_module import SplitsDataModule
from san.training.epochs import epoch_number
from san.training.san_module import SANModule
from san.training.trainer_checks import refuse_inexact_trainer

__all__ = ["evaluate"]


@callable_from_python
def evaluate(config: DictConfig) -> float:
    """Test a checkpoint, write ``results.json`` and print the table.

    Returns:
        The test φ.
    """
    path = find(config.checkpoint, "best")
    checkpoint = read(path)
    trained = trained_configuration(checkpoint["config"], path, config.paths if config.dataset is None else None)
    splits = load_test_data(config, trained, checkpoint, path)
    n_kernels, longest = _extent(trained)
    refuse_other_sizes(checkpoint, n_kernels, splits.shape[0], [longest] * splits.n_dims, path)
    module = build_module(trained, splits, [kernel_sizes_of(trained)])
    load_weights(module, checkpoint, path)
    trainer = _new_trainer(config)
    if config.chunk is None:
        trainer.test(module, SplitsDataModule(splits.examples, trained.batch_size, None), verbose=False)
    else:
        _test_in_chunks(module, splits, config.chunk, trainer)
    classification = None
    if "classifier" in checkpoint and trained.classifier and splits.labels is not None:
        stacking = instantiate(trained, "classifier")
        classifier = stacking.new_classifier(splits, torch.get_rng_state())
        load_state(classifier, checkpoint["classifier"], path)
        module.network.to(trainer.strategy.root_device)
        classification = stacking.test(
            classifier, module.network, splits, cache=Path(config.paths.cache_dir), trainer=_new_trainer(config)
        )
    results = {
        **model_results(trained, splits, module, 0, classification),
        "best_epoch": epoch_number(checkpoint["epoch"]),
        "checkpoint": str(path),
        "config": OmegaConf.to_container(config),
        "trained": checkpoint["config"],
    }
    if trainer.is_global_zero:
        warn_of_dead_kernels(results)
        folder = Path(config.paths.output_dir)
        write_json(folder / "results.json", results)
        print_run(results, folder)
    return float(results["test"]["phi"])


def _new_trainer(config: DictConfig) -> pl.Trainer:
    refuse_void_trainer_settings(config.trainer)
    shown = progress(config.trainer.enable_progress_bar)
    trainer: pl.Trainer = instantiate(config, "trainer", logger=False, enable_checkpointing=False, callbacks=shown)
    return trainer


def _extent(trained: DictConfig) -> tuple[int, int]:
    """Return the number of kernels, and the samples per axis of the largest, without a list of the kernels."""
    if trained.kernel_sizes is None:
        return trained.n_kernels, trained.kernel_size
    return len(trained.kernel_sizes), max(trained.kernel_sizes)


def _test_in_chunks(module: SANModule, recording: Recording, chunk: int, trainer: pl.Trainer) -> None:
    """Set the test metrics of a module to those of the whole recording, which the trainer does not test itself."""
    refuse_inexact_trainer(trainer, "test")
    if trainer.world_size > 1:
        raise ValueError(f"trainer.devices={trainer.world_size}: a recording in chunks is read by one process")
    device = trainer.strategy.root_device
    description = describe(
        module.network.to(device),
        lambda start, stop: recording.read(start, stop).to(device),
        recording.n_samples,
        chunk=chunk,
        loss=module.loss,
    )
    cr_inverse = description.inverse_compression_ratio(module.n_weights[0])
    loss = description.normalized_reconstruction_loss()
    if not math.isfinite(loss):
        raise FloatingPointError(
            "the test loss is not finite: the checkpoint has weights that are not finite or too large"
        )
    metrics = {"phi": math.hypot(cr_inverse, loss), "cr_inverse": cr_inverse, "loss_normalized": loss}
    module.metrics["test"] = {name: [value] for name, value in metrics.items()}
    module.dead_kernels = [kernel for kernel, count in enumerate(description.n_activations) if not count]

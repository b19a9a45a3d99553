"""Build the parts that a configuration describes, for every command that trains or tests."""

import logging
from collections.abc import Sequence
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from pytorch_lightning.loggers import Logger
from pytorch_lightning.strategies import Strategy
from torch import nn

from san.activations import SparseActivation, TopKAbsolutes
from san.cli.config import check_numbers
from san.cli.initial_kernels import initialize, kernel_sampler
from san.cli.parts import instantiate
from san.cli.run_name import run_name
from san.cli.settings import effective_settings
from san.cli.trainer_settings import refuse_rare_validation, refuse_void_trainer_settings
from san.data.recording import Recording
from san.data.splits import Splits
from san.extensions.growing import GrowingNetwork
from san.metrics import Loss
from san.networks import Encoder, SparselyActivatedNetwork
from san.ops.choices import shown
from san.training.callbacks.epoch_lines import progress
from san.training.callbacks.kernel_growth import KernelGrowth
from san.training.callbacks.kernel_restarts import KernelRestarts
from san.training.callbacks.logged_epochs import LoggedEpochs
from san.training.data_module import Order, SplitsDataModule
from san.training.san_module import SANModule
from san.training.stacking import Starts

__all__ = [
    "build_callbacks",
    "build_data",
    "build_loggers",
    "build_module",
    "build_trainer",
    "check_counts",
    "check_densities",
    "classify",
    "load_dataset",
    "wants_page",
]

log = logging.getLogger(__name__)

Outcome = dict[str, Any]
EVERY_STEPS = "flush_logs_every_n_steps"  # of Lightning's CSVLogger, which divides by it


def check_counts(config: DictConfig, keys: Sequence[str] = ()) -> None:
    """Refuse counts that are not positive integers, under the usual keys and the given ones.

    Raises:
        ValueError: If a value is invalid.
    """
    check_numbers(config, ("seed", "n_kernels", "batch_size", "num_workers", "kernel_figure_every", *keys))


def check_densities(
    config: DictConfig, n_kernels: int, space: Sequence[int], activation: Encoder | None = None
) -> None:
    """Refuse densities of the activation function that do not fit its kernels or the examples.

    Args:
        config: The configuration.
        n_kernels: Number of kernels of a model.
        space: Samples of an example along each axis.
        activation: The activation function; None for that of the configuration.

    Raises:
        ValueError: If there is neither one density nor one for each kernel, or one is larger than an example.
    """
    if activation is None:
        activation = instantiate(config, "activation")
    if not isinstance(activation, SparseActivation) or activation.own_density is None:
        return
    most = prod(space) if isinstance(activation, TopKAbsolutes) else max(space)
    try:
        largest = max(activation.densities([1] * n_kernels, [n_kernels, *space]))
    except ValueError as error:
        raise ValueError(f"activation.{error}") from error
    if largest > most:
        raise ValueError(f"activation.density={largest} exceeds the {most} samples of an example; choose 1 to {most}")


def wants_page(report: Any, otherwise: bool) -> bool:
    """Return whether to write the page about the kernels.

    Args:
        report: The value of ``report``.
        otherwise: The answer if it is null.

    Raises:
        ValueError: If it is none of true, false and null.
    """
    if report is not None and not isinstance(report, bool):
        raise ValueError(f"report={shown(report)} must be true, false or null")
    return otherwise if report is None else report


def load_dataset(config: DictConfig) -> Splits:
    """Load the dataset, and refuse data that cannot be trained on before any training starts.

    Raises:
        ValueError: If a batch is larger than the data, or the classifier does not fit it.
    """
    splits: Splits = instantiate(config, "dataset")
    batch_sizes = {"batch_size": config.batch_size}
    if config.classifier:
        instantiate(config, "classifier").new_classifier(splits, torch.get_rng_state())
        batch_sizes["classifier.batch_size"] = config.classifier.batch_size
    for key, size in batch_sizes.items():
        if size > len(splits.train):
            raise ValueError(f"{key}={size} exceeds the {len(splits.train)} training examples; lower it")
    return splits


def build_data(config: DictConfig, splits: Splits, order: Order | None) -> SplitsDataModule:
    """Return the data module of a training, with the order of its training examples."""
    return SplitsDataModule(
        splits.examples,
        config.batch_size,
        order,
        num_workers=config.num_workers,
        name=splits.name,
        sampling_frequency=splits.sampling_frequency,
        channels=splits.channels,
    )


def build_module(
    config: DictConfig,
    splits: Splits | Recording,
    models: Sequence[Sequence[int]],
    start_indices: Sequence[int] | None = None,
    stored: dict[str, Any] | None = None,
    activation: Encoder | None = None,
) -> SANModule:
    """Return the module that a configuration describes, for the given examples.

    Args:
        config: The configuration.
        splits: The examples.
        models: The kernel sizes of each model.
        start_indices: One index per model, which distinguishes models of equal sizes.
        stored: Plain data that every checkpoint of the module stores.
        activation: The activation function; None for that of the configuration.

    Raises:
        ValueError: If a part is invalid, or parts are incompatible.
    """
    if activation is None:
        activation = instantiate(config, "activation")
    check_densities(config, len(models[0]), splits.shape[1:], activation)
    if config.kernel == "rank1" and splits.shape[0] == 1:
        log.warning("kernel=rank1 has no effect: the examples have one channel")
    network: SparselyActivatedNetwork = instantiate(config, "network")(
        [size for sizes in models for size in sizes],
        activation,
        splits.n_dims,
        decoder=config.decoder,
        channels=splits.shape[0],
        kernel=config.kernel,
        n_models=len(models),
        seed=config.seed,
        start_indices=start_indices,
        sampler=kernel_sampler(config, splits),
    )
    network.check_space(splits.shape[1:])
    _refuse_incompatible_parts(config, network)
    initialize(network, config)
    return SANModule(
        network,
        loss=_checked_loss(instantiate(config, "loss"), config.loss),
        optimizer=instantiate(config, "optimizer"),
        count_weights=config.metric.count_weights,
        config=stored,
        scale=splits.scale,
        origin=splits.origin if isinstance(splits, Splits) else None,
    )


def build_callbacks(config: DictConfig, splits: Splits, network: SparselyActivatedNetwork) -> list[pl.Callback]:
    """Return the callbacks of a training: progress, those under ``callbacks``, and those that change kernels.

    Raises:
        ValueError: If a callback is invalid.
    """
    callbacks: list[pl.Callback] = [*progress(config.trainer.enable_progress_bar)]
    callbacks += [instantiate(config, f"callbacks.{name}") for name in config.callbacks]
    if config.restart_every is not None:
        check_numbers(config, ["restart_every"])
        callbacks.append(KernelRestarts(splits.train, config.restart_every))
    if isinstance(network, GrowingNetwork):
        callbacks.append(KernelGrowth(splits.train, splits.validation, network.every))
    return callbacks


def build_loggers(config: DictConfig, version: str | None = None) -> list[Logger]:
    """Return the loggers under ``logger``.

    Args:
        config: The configuration.
        version: Replaces the version of each logger that has one, so that several trainings of a run stay apart. A
            logger whose version is null has the name of the run before it; see :mod:`san.cli.run_name`.

    Raises:
        ValueError: If a part is invalid, or a number of steps between two writes of a file is below 1.
    """
    loggers = []
    for name, logger in config.logger.items():
        steps = logger.get(EVERY_STEPS, 1)
        if isinstance(steps, int) and steps < 1:
            raise ValueError(f"logger.{name}.{EVERY_STEPS}={steps} must be 1 or more")
        named = version if logger.get("version", "") is not None else run_name(config, version)
        renamed = {"version": named} if named is not None and "version" in logger else {}
        loggers.append(instantiate(config, f"logger.{name}", **renamed))
    return loggers


def build_trainer(
    config: DictConfig,
    callbacks: list[pl.Callback],
    version: str | None = None,
    resumed: Path | None = None,
    **settings: Any,
) -> pl.Trainer:
    """Return the trainer of a training, which logs and writes into the folder of the run; refuse void settings.

    Args:
        config: The configuration.
        callbacks: The callbacks.
        version: Replaces the version of each logger; see :func:`build_loggers`.
        resumed: Checkpoint or run folder that the training resumes; None to start anew.
        **settings: Settings that replace those of the configuration.
    """
    refuse_void_trainer_settings(config.trainer)
    selects = any(isinstance(callback, pl.callbacks.Checkpoint) for callback in callbacks)
    refuse_rare_validation({**config.trainer, **settings}, selects and config.protocol.tested_epoch == "best")
    trainer: pl.Trainer = instantiate(
        config,
        "trainer",
        default_root_dir=config.paths.output_dir,
        logger=build_loggers(config, version) or False,
        callbacks=[LoggedEpochs(resumed), *callbacks],
        enable_checkpointing=selects,
        **settings,
    )
    return trainer


def classify(
    config: DictConfig,
    name: str,
    splits: Splits,
    network: SparselyActivatedNetwork,
    strategy: Strategy,
    starts: Sequence[Starts],
) -> list[list[tuple[Outcome, nn.Module]]]:
    """Train and test classifiers on the reconstructions of a network, one for each start and model.

    Args:
        config: The configuration.
        name: Prefix of the loggers' versions.
        splits: The examples.
        network: The selected network, or a bank of them.
        strategy: Strategy of the trainer that trained the network.
        starts: Initial weights and orders of each comparison.
    """
    settings = effective_settings(config, ["classifier", "trainer", "shuffle"])
    del settings["trainer"]["max_epochs"]  # the classifier has its own
    compared: list[list[tuple[Outcome, nn.Module]]] = instantiate(config, "classifier").compare(
        network.to(strategy.root_device),
        splits,
        starts=starts,
        tested_epoch=config.protocol.tested_epoch,
        cache=Path(config.paths.cache_dir),
        settings=settings,
        new_trainer=partial(_classifier_trainer, config, name),
        num_workers=config.num_workers,
    )
    return compared


def _classifier_trainer(
    config: DictConfig, prefix: str, name: str, max_epochs: int, callbacks: list[pl.Callback]
) -> pl.Trainer:
    shown = progress(config.trainer.enable_progress_bar, "validation/accuracy")
    return build_trainer(
        config, [*shown, *callbacks], f"{prefix}{name}", max_epochs=max_epochs, check_val_every_n_epoch=1
    )


def _refuse_incompatible_parts(config: DictConfig, network: SparselyActivatedNetwork) -> None:
    replacing_kernels = {
        f"activation={config.activation_name}": network.activation.unit_norm,
        f"restart_every={config.restart_every}": config.restart_every is not None,
    }
    for choice, replaces in replacing_kernels.items():
        if replaces and type(network) is not SparselyActivatedNetwork:
            raise ValueError(
                f"{choice} replaces kernels, but network._target_={config.network._target_} derives them from other "
                "weights: use network=plain"
            )
    smallest = min(network.kernel_sizes)
    if network.activation.unit_norm and smallest == 1 and max(map(len, network.sizes_of_models)) > 1:
        raise ValueError(
            f"kernel_size=1: {config.n_kernels} unit-norm kernels of one sample are equal; use n_kernels=1 or a larger "
            "kernel_size"
        )


def _checked_loss(loss: Loss, config: DictConfig) -> Loss:
    """Return a loss if it returns one value per sample, called as those of torch.nn.functional."""
    sample = torch.ones(1, 1, 2)
    try:
        found = loss(sample, sample, reduction="none")
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"loss={config} cannot be computed of a reconstruction and its example: {error}") from error
    if found.shape != sample.shape:
        raise ValueError(f"loss={config} must return one value per sample of an example")
    return loss

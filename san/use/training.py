"""Train a model in memory: as ``san.train``, without files and without a progress bar."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from san.cli.build import build_callbacks, build_data, build_module, build_trainer, check_counts
from san.cli.config import compose_from_package, kernel_sizes_of
from san.cli.trainer_settings import refuse_training_without_validation
from san.data.scale import Scale
from san.data.splits import Splits
from san.training.callbacks.bank_selection import BankSelection
from san.training.data_module import shuffled
from san.training.san_module import SANModule
from san.use.description import Signal
from san.use.model import Model

__all__ = ["train_model", "trained_model"]


def train_model(activation: str, overrides: Mapping[str, Any], splits: Splits) -> tuple[Model, float]:
    """Train a model of signals or images, and select the epoch of the lowest validation φ̄.

    Args:
        activation: A choice of ``activation=``.
        overrides: Values by key of the configuration.
        splits: The examples.

    Returns:
        The model, and its validation φ̄.

    Raises:
        ValueError: If a value is invalid, or a batch is larger than the training examples.
    """
    dataset = "numpy" if splits.n_dims == 1 else "images"
    fixed = {
        "activation": activation,
        "activation_name": activation,
        "dataset": dataset,
        "path": "memory",
        "logger": "[]",
    }
    config = compose_from_package("train", [f"{key}={value}" for key, value in {**fixed, **overrides}.items()])
    config.callbacks = {}
    config.paths.output_dir = "."  # nothing is written
    config.trainer.enable_progress_bar = False
    check_counts(config, ["kernel_size"])
    if config.batch_size > len(splits.train):
        raise ValueError(f"batch_size={config.batch_size} exceeds the {len(splits.train)} training examples; lower it")
    module = build_module(config, splits, [kernel_sizes_of(config)])
    network, selection = module.network, BankSelection(None)
    order = shuffled(len(splits.train), config.seed)
    with _quiet():
        trainer = build_trainer(config, [*build_callbacks(config, splits, network), selection])
        trainer.fit(module, build_data(config, splits, order))
    refuse_training_without_validation(config.trainer, selection.validation_per_epoch)
    network.load_state_dict({"weight": selection.weight})
    return trained_model(module, splits), selection.phi_at("best", 0)


def trained_model(module: SANModule, splits: Splits) -> Model:
    """Return the model of a module of one model, with what is known of its examples.

    Args:
        module: The trained module.
        splits: The examples that it was trained with.
    """
    network = module.network.model(0).cpu()
    return Model(
        network.requires_grad_(False),
        scale=splits.scale or Scale("none"),
        signal=Signal(splits.name, splits.channel, splits.unit, splits.sampling_frequency),
        space=splits.shape[1:],
        loss=module.loss,
        count_weights=module.count_weights,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide what Lightning logs and warns of, which concerns command lines."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers")
        warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated")
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)

"""Train models in memory: as ``san.train``, without files and without a progress bar."""

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from san.cli.build import build_callbacks, build_data, build_module, build_trainer, check_counts
from san.cli.composition import checked_composition, is_checked
from san.cli.config import check_activation, compose_from_package
from san.cli.environment import without_void_warnings
from san.cli.trainer_settings import refuse_training_without_validation
from san.data.scale import Scale, Scaling
from san.data.scaling import scaled_splits
from san.data.splits import Splits
from san.networks import Encoder
from san.training.callbacks.bank_selection import BankSelection
from san.training.data_module import shuffled
from san.training.san_module import SANModule
from san.use.description import Origin
from san.use.model import Model

__all__ = ["Trained", "selecting_splits", "train_models", "trained_model"]

_composing = threading.Lock()  # Hydra has one state for all threads


class Trained(NamedTuple):
    """A trained model, and how it was selected.

    Args:
        model: The model of the epoch with the lowest validation φ̄.
        phi: Its validation φ̄.
        seconds: Time of the training of all models that were trained side by side.
    """

    model: Model
    phi: float
    seconds: float


def train_models(
    activation: str | Encoder,
    kernel_sizes: Sequence[int | np.integer[Any]],
    overrides: Mapping[str, Any],
    splits: Splits,
) -> list[Trained]:
    """Train a model of signals or images for each kernel size, and select the epoch of each.

    Args:
        activation: A choice of ``activation=``, or an encoder, which is copied and trained with the defaults of the
            paper's activation functions.
        kernel_sizes: Samples per axis of the kernels of each model.
        overrides: Values by key of the configuration.
        splits: The examples; the test split is not used.

    Raises:
        ValueError: If a value is invalid, or a batch is larger than the training examples.
    """
    if isinstance(activation, str):
        check_activation(activation)
        name, own, choice = activation, None, {"activation": activation}
    elif isinstance(activation, Encoder):
        name, own, choice = type(activation).__name__, deepcopy(activation), {}
    else:
        raise ValueError(f"activation={activation!r} must be a name or a san.activations.SparseActivation object")
    fixed = {
        **choice,
        "activation_name": name,
        "dataset": "numpy" if splits.n_dims == 1 else "images",
        "path": "memory",
        "logger": "[]",
    }
    chosen = [f"{key}={value}" for key, value in {**fixed, **overrides}.items()]
    with _composing, nullcontext() if is_checked() else checked_composition():  # which merges equal choices once
        config = compose_from_package("train", chosen)
    config.callbacks = {}
    config.paths.output_dir = "."  # nothing is written
    config.trainer.enable_progress_bar = False
    config.kernel_sizes = sizes = np.asarray(kernel_sizes).tolist()
    check_counts(config, ["kernel_sizes"])
    if config.batch_size > len(splits.train):
        raise ValueError(f"batch_size={config.batch_size} exceeds the {len(splits.train)} training examples; lower it")
    start = time.perf_counter()
    models = [[size] * config.n_kernels for size in sizes]
    module = build_module(config, splits, models, activation=own)
    network, selection = module.network, BankSelection(None)
    with _quiet(), _unchanged_torch():
        trainer = build_trainer(config, [*build_callbacks(config, splits, network), selection])
        trainer.fit(module, build_data(config, splits, shuffled(len(splits.train), config.seed)))
    refuse_training_without_validation(config.trainer, selection.validation_per_epoch)
    network.load_state_dict({"weight": selection.weight})
    seconds = time.perf_counter() - start
    return [
        Trained(trained_model(module, splits, name, index), selection.phi_at("best", index), seconds)
        for index in range(len(sizes))
    ]


def trained_model(module: SANModule, splits: Splits, activation: str, index: int = 0) -> Model:
    """Return a model of a module, with the scale and the origin of its examples.

    Args:
        module: The trained module.
        splits: The examples that it was trained with.
        activation: Name of the activation function.
        index: Index of the model, of a bank.
    """
    return Model(
        module.network.model(index).cpu().requires_grad_(False),
        activation=activation,
        scale=splits.scale or Scale("none"),
        origin=Origin(splits.name, splits.channels, splits.channel_units, splits.sampling_frequency),
        space=splits.shape[1:],
        loss=module.loss,
        count_weights=module.count_weights,
    )


def selecting_splits(examples: Tensor, validation_fraction: float, *, scaling: Scaling, **known: Any) -> Splits:
    """Return splits whose last examples select; they stand for the test examples, which a training does not use.

    Args:
        examples: The examples, [examples, channels, samples], in float64.
        validation_fraction: Share of the examples that select; at least one does, and at least one trains.
        scaling: Scaling of the examples, by the statistics of those that train.
        **known: What is known of the examples; see :func:`san.data.scaling.scaled_splits`.

    Raises:
        ValueError: If there is one example alone, or the share is not between 0 and 1.
    """
    if not 0 < validation_fraction < 1 or len(examples) < 2:
        raise ValueError(
            f"validation_fraction={validation_fraction} of {len(examples)} windows must leave at least one to train on "
            "and one to select by: give a longer recording, a shorter window or a fraction between 0 and 1"
        )
    n_validation = min(max(1, round(validation_fraction * len(examples))), len(examples) - 1)
    train, validation = examples.split([len(examples) - n_validation, n_validation])
    parts = [train, validation, validation]
    return scaled_splits(parts, scaling=scaling, value_range=[-1, 1], scaled_by="train", **known)


@contextmanager
def _unchanged_torch() -> Iterator[None]:
    """Restore the random numbers of torch and its choice of deterministic algorithms, which a trainer sets."""
    was_deterministic = torch.are_deterministic_algorithms_enabled()
    warns_only = torch.is_deterministic_algorithms_warn_only_enabled()
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(was_deterministic, warn_only=warns_only)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide logs and warnings of Lightning, which concern command lines."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    with without_void_warnings():
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)

"""Checks of the configuration of a job, before it reads data."""

import logging
from collections.abc import Collection
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from san.cli.command_line import meant_command
from san.cli.config import check_kinds, check_numbers, parse_numbers
from san.cli.initial_kernels import check_initialization
from san.cli.keys import TRAINING, is_referenced, key_of, keys_of
from san.cli.parts import MAY_BE_EMPTY, check_part, instantiate
from san.cli.trainer_settings import refuse_void_trainer_settings
from san.networks import Decoder, KernelForm, WeightCount
from san.ops.choices import check_choice

__all__ = ["check_job", "refuse_keys_of_multiruns", "warn_of_choices_without_effect"]

PARTS = ("activation", "dataset", "loss", "network", "optimizer", "trainer")
PARTS_OF = {"evaluate": ("dataset", "trainer"), "encode": ("dataset",)}  # of commands that build some alone
NAMED = ("callbacks", "logger")
COUNTS = ("seed", "batch_size", "num_workers", "kernel_figure_every")
COUNTS_OF = {"train": ("n_kernels", "kernel_size"), "sweep": ("n_starts",), "compare": ("n_starts", "peer_examples")}
CHOICES = {"decoder": Decoder, "kernel": KernelForm, "metric.count_weights": WeightCount}
OF_MULTIRUNS = ("hydra.sweep.", "hydra.sweeper", "hydra/sweeper", "hydra.launcher", "hydra/launcher")

log = logging.getLogger(__name__)


def check_job(config: DictConfig, command: str) -> None:
    """Refuse values and parts of a configuration that are invalid whatever the data.

    Args:
        config: The configuration of a job.
        command: The command.

    Raises:
        ValueError: If there is one, or a value without a default is missing.
    """
    check_kinds(config)
    plain: Any = OmegaConf.to_container(config, resolve=False)
    if missing := [key for key in keys_of(command) if plain.get(key) == "???"]:
        needed = " ".join(f"{key}={key.upper()}" for key in missing)
        raise ValueError(f"san.{command} needs {needed}: add it to the command; --help explains it")
    if command in TRAINING:
        _check_training(config, command)
    for part in PARTS_OF.get(command, PARTS):
        if part in config and not (config[part] is None and command not in TRAINING):
            check_part(config, part)
    for part in MAY_BE_EMPTY:
        if config.get(part):
            check_part(config, part)
    for part in NAMED:
        for name in config.get(part, ()):
            check_part(config, f"{part}.{name}")


def _check_training(config: DictConfig, command: str) -> None:
    check_numbers(config, (*COUNTS, *COUNTS_OF[command]))
    for key in ("kernel_sizes", "n_kernels") if command != "train" else ():
        if config[key] is not None:
            parse_numbers(key, config[key])
    if command == "train" and config.kernel_sizes is not None:
        check_numbers(config, ["kernel_sizes"])
    if config.restart_every is not None:
        check_numbers(config, ["restart_every"])
    for key, choices in CHOICES.items():
        check_choice(key, OmegaConf.select(config, key), choices)
    check_initialization(config)
    refuse_void_trainer_settings(config.trainer)
    instantiate(config, "activation")


def refuse_keys_of_multiruns(command: str, arguments: Collection[str]) -> None:
    """Refuse overrides that have an effect in a multirun alone, in a run.

    Raises:
        ValueError: If there is one.
    """
    overrides = HydraConfig.get().overrides
    found = [text for text in overrides.hydra if text.lstrip("+").startswith(OF_MULTIRUNS)]
    found += [text for text in overrides.task if key_of(text) == "sweep"]
    if found:
        raise ValueError(f"{found[0]} is of a multirun alone: {meant_command(command, ['-m', *arguments])}")


def warn_of_choices_without_effect(config: DictConfig, command: str) -> None:
    """Log the choices of a training that leave its results as they are.

    Args:
        config: The configuration of a job.
        command: The command.
    """
    if command not in TRAINING:
        return
    job = HydraConfig.get()
    typed = [key_of(override) for override in job.overrides.task]
    plain: Any = OmegaConf.to_container(config, resolve=False)
    several = config.get("activations")
    names = several if OmegaConf.is_list(several) else [config.activation_name]
    n_kernels = len(config.kernel_sizes) if command == "train" and config.kernel_sizes else config.n_kernels
    if "territory" in names and n_kernels == 1:
        log.warning("activation=territory with one kernel is extrema: give n_kernels=2 or more")
    if "border_tolerance" in typed and several is None and not is_referenced(plain, "border_tolerance"):
        log.warning(
            "border_tolerance=%s has no effect: activation=%s has none", config.border_tolerance, config.activation_name
        )
    every, epochs = config.restart_every, OmegaConf.select(config, "trainer.max_epochs")
    if "restart_every" in typed and every is not None and isinstance(epochs, int) and 0 <= epochs <= every:
        log.warning("restart_every=%d has no effect in %d epochs", every, epochs)
    if job.mode == RunMode.RUN and command == "train" and "experiment" in typed and job.sweeper.get("params"):
        log.warning(
            "experiment=%s trains one model here; -m trains all models of the table", job.runtime.choices["experiment"]
        )

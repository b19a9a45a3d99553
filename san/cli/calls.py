"""The functions of commands, called from Python with a configuration of ``hydra.compose`` and no run of Hydra."""

from collections.abc import Callable
from functools import wraps
from importlib import import_module
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError

from san.cli.composition import is_checked
from san.cli.config import CONF, check_kinds
from san.cli.environment import command_environment
from san.cli.processes import n_processes
from san.cli.ranks import started_by_torchrun

__all__ = ["callable_from_python", "function_of"]

Command = Callable[[DictConfig], float]

DESCRIPTION = """Run ``python -m san.{name}`` with a configuration, in this process and without a run of Hydra.

Its files are those of the command. The implementation is imported by the first call.

Args:
    config: The configuration ``{name}`` of this package, from ``hydra.compose``, with ``paths.output_dir``.

Returns:
    The φ that a sweeper of Hydra would minimize.

Raises:
    ValueError: If ``paths.output_dir`` or another value is missing or invalid.
"""


def function_of(name: str) -> Callable[[Any], float]:
    """Return the function of a command, which imports its implementation when it is called.

    Args:
        name: The command; its implementation is ``san.commands.<name>.<name>``.
    """

    def call(config: Any) -> float:
        implementation: Command = getattr(import_module(f"san.commands.{name}"), name)
        return implementation(config)

    call.__name__ = call.__qualname__ = name
    call.__module__ = f"san.{name}"
    call.__doc__ = DESCRIPTION.format(name=name)
    return call


def callable_from_python(implementation: Command) -> Command:
    """Make the implementation of a command callable outside of it, with a configuration of ``hydra.compose``.

    Args:
        implementation: The function. Outside of a command, it then runs in the environment of one, and raises
            ``ValueError`` if the configuration needs a run of Hydra.
    """

    @wraps(implementation)
    def call(config: DictConfig) -> float:
        if is_checked():  # a command runs
            return implementation(config)
        with command_environment():
            return implementation(_without_hydra(config))

    return call


def _without_hydra(config: DictConfig) -> DictConfig:
    """Return a configuration with the values that a run of Hydra would know, as far as they can be known.

    Raises:
        TypeError: If it is no configuration.
        ValueError: If a value cannot be known, or is invalid.
    """
    if not isinstance(config, DictConfig):
        raise TypeError(f"the configuration is a {type(config).__name__}: compose it by hydra.compose")
    config = config.copy()
    if "paths" not in config or "trainer" not in config:
        raise ValueError("the configuration is of no command of san: compose it from its folder conf/")
    if "activation_name" in config and _refers_to_hydra(config, "activation_name"):
        config.activation_name = _activation_name(config)
    try:
        _ = config.paths.output_dir
    except InterpolationResolutionError as error:
        raise ValueError(
            "paths.output_dir is not known without a run of Hydra: add the override paths.output_dir=FOLDER"
        ) from error
    check_kinds(config)
    if config.get("activations"):
        raise ValueError(
            f"activations={config.activations} is for the command line: call the function once for each activation"
        )
    if not started_by_torchrun() and (count := n_processes(config)) != 1:
        raise ValueError(
            f"trainer.devices={config.trainer.devices}: {count} processes are for the command line; a function trains "
            "in one, so set trainer.devices=1"
        )
    return config


def _refers_to_hydra(config: DictConfig, key: str) -> bool:
    plain: Any = OmegaConf.to_container(config, resolve=False)
    return str(plain[key]).startswith("${hydra:")


def _activation_name(config: DictConfig) -> str:
    """Return the choice of this package with the activation function of a configuration, or the name of its class."""
    target = str(OmegaConf.select(config, "activation._target_"))
    for file in sorted((CONF / "activation").glob("*.yaml")):
        content: Any = OmegaConf.load(file)
        if content.get("activation", content)["_target_"] == target:
            return file.stem
    return target.rpartition(".")[2]

"""One part of a configuration, built after everything that it names is checked."""

from collections.abc import Mapping
from typing import Any

import hydra
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from san.cli.allow_list import refuse_absent_targets, refuse_foreign_targets
from san.cli.arguments import refuse_unknown_arguments
from san.cli.config import refuse_address, resolved_part
from san.cli.errors import is_mistake

__all__ = ["MAY_BE_EMPTY", "check_part", "instantiate"]

MAY_BE_EMPTY = ("classifier", "figure")


def instantiate(config: DictConfig, place: str, **kwargs: Any) -> Any:
    """Build the object at a place of a configuration, if everything it names is allowed; see :mod:`san.cli.allow_list`.

    Args:
        config: The whole configuration.
        place: Key of the part, such as ``dataset``.
        **kwargs: Further arguments of the object.

    Returns:
        The object; for ``figure``, the functions by name.

    Raises:
        ValueError: If the part is missing or names any other object, is not keys and values, has a key or a value that
            the object does not accept, or needs a package that is missing.
    """
    part = check_part(config, place)
    try:
        return hydra.utils.instantiate(part, _convert_="all", **kwargs)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, ModuleNotFoundError):
            raise ValueError(f"{place} needs a package that is not installed: {cause}") from error
        # A message that begins with an argument's name begins with its key on the command line.
        prefix = f"{place}." if str(cause).partition("=")[0] in part else ""
        for kind in (ValueError, FileNotFoundError):
            if prefix and type(cause) is kind:
                raise kind(f"{prefix}{cause}") from error
        if isinstance(cause, Exception) and is_mistake(cause):
            if place == "trainer":
                raise ValueError(f"trainer: {cause}") from error
            raise cause from error
        raise


def check_part(config: DictConfig, place: str) -> Any:
    """Return a part of a configuration in plain containers, if everything in it is allowed and known.

    Args:
        config: The whole configuration.
        place: Key of the part, such as ``dataset``.

    Raises:
        ValueError: If the part is missing or names any other object, is not keys and values, or has a key or a value
            that its object does not accept.
    """
    if not OmegaConf.is_config(node := OmegaConf.select(config, place)):
        found = "null" if node is None else repr(str(node)[:100])
        raise ValueError(f"{place}={found} must be keys and values with a _target_: choose one by {_choice_of(place)}")
    # Resolved once, so that the checked object is the called object.
    part = resolved_part(config, place)
    refuse_foreign_targets(part, place)
    refuse_absent_targets(part, place)
    for below, named in part.items() if place in MAY_BE_EMPTY and "_target_" not in part else [("", part)]:
        if not (isinstance(named, Mapping) and "_target_" in named):
            where = f"{place}.{below}".rstrip(".")
            raise ValueError(f"{where} names no _target_: choose one by {_choice_of(where)}")
    refuse_unknown_arguments(part, place)
    if place.startswith("logger."):
        for key, value in part.items():
            refuse_address(value, f"{place}.{key}")
    return part


def _choice_of(place: str) -> str:
    group, _, name = place.partition(".")
    return f"~{place}, or leave it as it is" if name else f"{group}=NAME"

"""Keys on the command line: the known keys of a command, and the nearest known key to an unknown one."""

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError

from san.cli.command_line import meant_command
from san.cli.config import CONF
from san.cli.errors import plain_name
from san.cli.yaml_comments import Group, Source

__all__ = [
    "TRAINING",
    "apply_known",
    "exists",
    "is_referenced",
    "key_of",
    "keys_of",
    "refuse_added_groups",
    "several_values",
    "typed_keys",
    "unknown_group",
]

COMMANDS = ("train", "sweep", "evaluate", "encode", "decode", "compare", "reproduce")
TRAINING = ("train", "sweep", "compare")  # commands with the keys of conf/base.yaml
# Below these keys a user adds entries under names of the user's choice, which the command checks.
NAMED_ENTRIES = ("callbacks", "figure", "grids.images", "grids.signals", "kernel_forms", "logger", "seeds_of")
ANYWHERE = ("debug", "experiment", "sweep")  # groups whose choices set keys of others

Apply = Callable[[list[Override], DictConfig], None]


def typed_keys(config: DictConfig) -> list[str]:
    """Return the keys and groups of the overrides that a configuration was composed with, without those of Hydra."""
    return [key_of(override) for override in config.hydra.overrides.task]


def apply_known(apply: Apply, overrides: list[Override], config: DictConfig, command: str) -> None:
    """Apply overrides to a composed configuration, and refuse keys that nothing reads, also those with a plus.

    Args:
        apply: The function of Hydra that applies them.
        overrides: The overrides of keys, without those of groups.
        config: The configuration, before its overrides.
        command: The command.

    Raises:
        ValueError: If a key is neither in the configuration, nor an argument of a part or an entry to add, nor does a
            value of the configuration refer to it.
    """
    keys = [str(override.key_or_group) for override in overrides]
    pluses = [override.is_add() or override.is_force_add() for override in overrides]
    added = [key for key, plus in zip(keys, pluses, strict=True) if plus and not exists(config, key)]
    before = list(_names(OmegaConf.to_container(config, resolve=False)))
    try:
        apply(overrides, config)
    except ConfigCompositionException as error:
        cause = error.__cause__
        if not isinstance(cause, ConfigKeyError | ConfigAttributeError):
            raise
        raise ValueError(_unknown(_named_in(str(error)) or str(cause.full_key), config, before, command)) from error
    for key in added:
        if not (key.startswith("hydra.") or _is_read(config, key)):
            raise ValueError(_unknown(key, config, before, command))


def refuse_added_groups(config: DictConfig) -> None:
    """Refuse groups of this package that the user adds with a plus to a command that does not read them.

    Raises:
        ValueError: If there is one.
    """
    for override in config.hydra.overrides.task:
        group = key_of(override)
        known = [*ANYWHERE, *(found.name for found in _groups_of(str(config.hydra.job.config_name)))]
        if override.startswith("+") and (CONF / group).is_dir() and group not in known:
            raise ValueError(unknown_group(group))


def several_values(key: str, values: str, config: DictConfig) -> str:
    """Return how to write an override with several values: as a list, or in a multirun.

    Args:
        key: The key or group.
        values: Its values, with commas between them.
        config: The configuration without it.
    """
    command, name = str(config.hydra.job.config_name), key.lstrip("+")
    if not (exists(config, name) or name in config.hydra.runtime.choices):
        return _unknown(name, config, list(_names(OmegaConf.to_container(config, resolve=False))), command)
    given = f"{key}={values}"
    as_list = [f"{key}=[{values}]" if word == given else word for word in sys.argv[1:]]
    of_list, of_jobs = meant_command(command, as_list), meant_command(command, ["-m", *sys.argv[1:]])
    value = OmegaConf.select(config, name)
    takes_several = any(group.takes_several for group in _groups_of(command) if group.name == name)
    if takes_several or OmegaConf.is_list(value) or (value is None and name.endswith("s")):
        return f"{given} is a list, which has brackets: {of_list}"
    if value is None and name not in config.hydra.runtime.choices:
        return f"{given} has several values; as a list: {of_list}; one job for each: {of_jobs}"
    return f"{given} has several values, one for each job: {of_jobs}"


def unknown_group(group: str) -> str:
    """Return that a command does not have a group, and which commands have it."""
    having = [f"san.{command}" for command in COMMANDS if any(found.name == group for found in _groups_of(command))]
    return f"{group} is not known{f': it is a group of {_joined(having)}' if having else ''}"


def exists(config: DictConfig, key: str) -> bool:
    """Return whether a configuration has a key, whatever its value."""
    node: Any = config
    for part in re.split(r"[.\[]", key.replace("]", "")):
        if OmegaConf.is_list(node):
            return part.isdecimal() and int(part) < len(node)
        if not OmegaConf.is_dict(node) or part not in node:
            return False
        node = node._get_node(part)
    return True


def is_referenced(node: Any, key: str) -> bool:
    """Return whether a text in plain containers refers to a key, or to a key below it."""
    if isinstance(node, Mapping):
        return any(is_referenced(value, key) for value in node.values())
    if isinstance(node, list):
        return any(is_referenced(value, key) for value in node)
    return isinstance(node, str) and re.search(rf"\$\{{\s*{re.escape(key)}\b", node) is not None


def keys_of(command: str) -> list[str]:
    """Return the keys that a command has with every choice."""
    return [entry.name for source in _sources_of(command) for entry in source.entries]


def key_of(override: str) -> str:
    """Return the key or group of an override."""
    return override.partition("=")[0].lstrip("+~").partition("@")[0]


def _named_in(message: str) -> str:
    """Return the key that an error of Hydra names, empty if it names none."""
    found = re.match(r"Could not override '(.+)'\.", message)
    return found[1] if found else ""


def _is_read(config: DictConfig, key: str) -> bool:
    """Return whether something reads a key that no file has: the object of a part, a named entry, or a reference."""
    parts = key.split(".")
    above = [OmegaConf.select(config, ".".join(parts[:end])) for end in range(1, len(parts))]
    if any(OmegaConf.is_dict(node) and "_target_" in node for node in above):
        return True  # refuse_unknown_arguments compares it with the arguments
    if key.startswith(tuple(f"{name}." for name in NAMED_ENTRIES)):
        return True
    return is_referenced(OmegaConf.to_container(config, resolve=False), key)


def _unknown(key: str, config: DictConfig, known: Sequence[str], command: str) -> str:
    """Return that a key is not known, and which key was probably meant or where it is known."""
    group, _, below = key.partition(".")
    others = [f"san.{other}" for other in COMMANDS if other != command and key in keys_of(other)]
    of_choices = [f"{name}={', '.join(found)}" for name, found in _choices_with(key, command).items()]
    if of_choices and (command in TRAINING or not others):
        return f"{key} is not known: it is a key of {_joined(of_choices)}; choose one of them"
    near = _meant(key, known)
    question = f" (did you mean {near}?)" if near else ""
    if others:
        return f"{key} is not known{question}: it is a key of {_joined(others)}"
    if near:
        return f"{key} is not known{question}"
    if below and OmegaConf.is_dict(node := OmegaConf.select(config, group)) and "_target_" in node:
        return f"{key} is not known; an argument of the {group} that no file sets needs a plus: +{key}=VALUE"
    return f"{key} is not known; python -m san.{command} --help lists the keys"


def _meant(key: str, known: Sequence[str]) -> str:
    """Return the known key nearest to an unknown key, by its whole name or by its last part; empty if there is none."""
    plain = {plain_name(name): name for name in reversed(known)}
    if found := plain.get(plain_name(key)):
        return found
    above, dot, last = key.rpartition(".")
    if dot and (siblings := [name for name in known if name.startswith(f"{above}.") and name.endswith(f"_{last}")]):
        return siblings[0]
    if close := get_close_matches(key, known, n=1, cutoff=0.8):
        return close[0]
    by_last: dict[str, str] = {}
    for name in sorted(known, key=lambda name: name.count(".")):
        by_last.setdefault(name.rpartition(".")[2], name)
    if last in by_last:
        return by_last[last]
    if close := get_close_matches(last, by_last, n=1, cutoff=0.8):
        return by_last[close[0]]
    ending = [name for name in by_last if name.endswith(f"_{last}")]
    return by_last[ending[0]] if ending else ""


def _names(node: Any, above: str = "") -> Iterator[str]:
    """Yield the keys in plain containers that a user can give."""
    for key, below in node.items() if isinstance(node, Mapping) else ():
        name = f"{above}{key}"
        if name != "hydra" and not str(key).startswith("_"):
            yield name
            yield from _names(below, f"{name}.")


@cache
def _sources_of(command: str) -> tuple[Source, ...]:
    names = ("base", command) if command in TRAINING else (command,)
    return tuple(Source(CONF / f"{name}.yaml", name) for name in names if (CONF / f"{name}.yaml").is_file())


def _groups_of(command: str) -> list[Group]:
    return [group for source in _sources_of(command) for group in source.groups]


def _choices_with(key: str, command: str) -> dict[str, list[str]]:
    """Return the choices of each group of a command whose files set a key."""
    found: dict[str, list[str]] = {}
    for group in sorted({group.name for group in _groups_of(command)}):
        for file in sorted((CONF / group).glob("*.yaml")):
            if any(entry.name == key for entry in _of_choice(file).entries):
                found.setdefault(group, []).append(file.stem)
    return found


def _of_choice(file: Path) -> Source:
    source = Source(file, f"{file.parent.name}/{file.stem}")
    is_global = any(line.startswith("# @package _global_") for line in source.lines[:1])
    return Source(file, source.name, "" if is_global else file.parent.name)


def _joined(names: Sequence[str]) -> str:
    return " or ".join([*([", ".join(names[:-1])] if names[1:] else []), *names[-1:]])

"""The options of the run that a training resumes, so that its command need not repeat them."""

import logging
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from san.cli.allow_list import resolved_parts
from san.cli.config import CONF, recompose
from san.cli.earlier_versions import with_earlier_defaults, with_moved_targets
from san.cli.keys import key_of
from san.storage.checkpoints import find, read

__all__ = ["with_options_of_checkpoint"]

# What a checkpoint does not decide: where data and results are, which may be a stranger's choice, and this resumption.
OF_THE_READER = ("allow", "checkpoint", "hydra", "paths", "skip_finished")
OF_FILES = ("figure", "logger")  # groups that name files: only choices of this package are taken from a checkpoint
FOLDERS = ("data_dir", "dirpath", "save_dir")

log = logging.getLogger(__name__)


def with_options_of_checkpoint(config: DictConfig) -> DictConfig:
    """Return the configuration of a run with the options of its checkpoint, except those that the user gives.

    Without a checkpoint, or if it was stopped before its training began, the configuration is returned unchanged.

    Args:
        config: The composed configuration of a running job.

    Raises:
        FileNotFoundError: If there is no run at ``checkpoint``, or several.
        ValueError: If the checkpoint is damaged, or is no training's.
    """
    given = config.checkpoint
    if not (isinstance(given, str) and given):
        return config
    _refuse_several_runs(given)
    try:
        path = find(given, "last")
    except FileNotFoundError:
        if Path(given, ".hydra").is_dir():
            return config
        raise
    checkpoint = read(path)
    if "optimizer_states" not in checkpoint:
        raise ValueError(f"{path} has weights but no training state to resume; give a run folder of san.train")
    stored: Any = checkpoint["config"]
    resolved = _resolved(stored, config)
    kept = {key: value for key, value in resolved.items() if key not in (*OF_THE_READER, *OF_FILES)}
    kept |= {group: chosen for group in OF_FILES if (chosen := _own_choices(group, stored.get(group))) is not None}
    here: Any = OmegaConf.to_container(config, resolve=False)
    merged: DictConfig = OmegaConf.create(_merged(here, kept, stored, "", _given()))
    OmegaConf.set_struct(merged, True)
    return merged


def _refuse_several_runs(given: str) -> None:
    """Refuse the folder of a multirun, which has a run in each of its folders."""
    if Path(given, "multirun.yaml").is_file():
        raise FileNotFoundError(
            f"checkpoint={given} is a multirun: resume one of its jobs by checkpoint={Path(given, '0')}, or all by -m "
            f"hydra.sweep.dir={given} skip_finished=true and its overrides"
        )


def _resolved(stored: Any, config: DictConfig) -> dict[str, Any]:
    """Return the configuration of a checkpoint with its references resolved; skip parts with refused references."""
    paths = {"paths": OmegaConf.to_container(config.paths, resolve=True)}
    resolved_parts(stored, [], paths)
    found: dict[str, Any] = {}
    for key in stored.keys() - set(OF_THE_READER):
        with suppress(ValueError):
            found |= with_moved_targets(resolved_parts(stored, [key], paths))
    return with_earlier_defaults(found)


def _own_choices(group: str, stored: Any) -> dict[str, Any] | None:
    """Return the entries of a group that are choices of this package, as it defines them; None if one is not."""
    if not isinstance(stored, Mapping):
        return None
    own = {}
    for name in stored:
        file = CONF / group / f"{name}.yaml"
        content: Any = OmegaConf.to_container(OmegaConf.load(file)) if file in (CONF / group).glob("*.yaml") else {}
        if stored[name] != content.get(name):
            log.warning("checkpoint= does not decide %s.%s: give %s=[...] to have it again", group, name, group)
            return None
        own[name] = content[name]
    return own


def _given() -> set[str]:
    """Return the keys that the user gives: those typed, and those that a typed choice of a group sets."""
    typed = list(HydraConfig.get().overrides.task)
    choices = HydraConfig.get().runtime.choices
    groups = [override for override in typed if key_of(override) in choices]
    keys = {key_of(override) for override in typed}
    if groups:
        defaults, chosen = (OmegaConf.to_container(recompose(these), resolve=False) for these in ([], groups))
        keys |= set(_changes(defaults, chosen, ""))
    return keys | ({"activation_name"} if "activation" in keys else set())


def _changes(before: Any, after: Any, place: str) -> Collection[str]:
    """Return the keys with another value, or that only one of two configurations has."""
    if not (isinstance(before, Mapping) and isinstance(after, Mapping)):
        return [] if before == after else [place]
    return [
        change
        for key in before.keys() | after.keys()
        for change in _changes(before.get(key), after.get(key), f"{place}.{key}" if place else key)
    ]


def _merged(here: Any, stored: Any, written: Any, place: str, given: Collection[str]) -> Any:
    """Return the stored values, and those here at the given keys, and below and above them.

    A value that is the same reference here and in the checkpoint stays a reference.

    Args:
        here: Plain containers of the configuration, with references.
        stored: Plain containers of the checkpoint, without references.
        written: The same with references.
        place: Key of the containers.
        given: The keys that the user gives.
    """
    if place in given or here == written:
        return here
    if not (isinstance(here, Mapping) and isinstance(stored, Mapping)):
        return stored
    written = written if isinstance(written, Mapping) else {}
    is_same = here.get("_target_") == stored.get("_target_") and place not in OF_FILES
    merged = {}
    for key in [*here, *(key for key in stored if key not in here)]:
        below = f"{place}.{key}" if place else key
        is_given = any(f"{other}.".startswith(f"{below}.") for other in given)
        if key in FOLDERS or key not in stored:
            if key in here and (is_same or is_given):
                merged[key] = here[key]
            elif key == "data_dir" and key in stored:
                merged[key] = "${paths.data_dir}"
        elif key in here:
            merged[key] = _merged(here[key], stored[key], written.get(key), below, given)
        elif not is_given:
            merged[key] = stored[key]
    return merged

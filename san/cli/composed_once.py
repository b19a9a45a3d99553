"""Keep the merged files of a choice of configuration files for the next configurations of this process.

Defaults lists and the merging of their files take most of the time of a composition. The jobs of a multirun, and the
commands called from one Python process, often choose the same files and differ in values alone.
"""

from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository
from hydra._internal.defaults_list import DefaultsList, Overrides, create_defaults_list
from hydra.core.default_element import ResultDefault
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from san.cli.config import CONF, is_foreign

__all__ = ["defaults_once", "merged_once"]

VISITED = "config_path="  # before the name of a file in Hydra's repository


@dataclass
class _Composed:
    """A defaults list, the last changes of its files in this package, and the merged files."""

    changes: dict[Path, int]
    defaults: DefaultsList
    merged: DictConfig | None = None


_known: dict[tuple[Any, ...], _Composed] = {}


def defaults_once(
    repo: CachingConfigRepository,
    config_name: str | None,
    overrides_list: list[Override],
    **options: bool,
) -> DefaultsList:
    """Return the defaults list of a configuration, created once for the same choices among the files of packages.

    Args:
        repo: The sources of configurations.
        config_name: Name of the primary configuration.
        overrides_list: The overrides, of choices and of values.
        **options: Further arguments of Hydra's function that creates a defaults list.
    """
    values = Overrides(repo, overrides_list).config_overrides
    choices = [override.input_line for override in overrides_list if override not in values]
    sources = [source.full_path() for source in repo.get_sources()]
    key = (config_name, *options.values(), *sources, *choices)
    known = _known.get(key)
    if known is None or known.changes != _changes(known.changes):
        defaults = create_defaults_list(repo, config_name, overrides_list, **options)
        if any(map(is_foreign, sources)):
            return defaults
        names = (visited.removeprefix(VISITED) for visited in repo.cache)
        known = _known[key] = _Composed(_changes(CONF / f"{name}.yaml" for name in names), defaults)
    return replace(known.defaults, config_overrides=values)


def merged_once(
    merge: Callable[..., DictConfig],
    loader: ConfigLoaderImpl,
    defaults: list[ResultDefault],
    repo: CachingConfigRepository,
) -> DictConfig:
    """Return the merged files of a defaults list; the files of a kept list are merged once.

    Args:
        merge: Hydra's method that merges the files of a defaults list, of the other arguments.
        loader: The loader of configurations.
        defaults: The defaults list.
        repo: The sources of configurations.
    """
    known = next((known for known in _known.values() if known.defaults.defaults is defaults), None)
    if known is None:
        return merge(loader, defaults, repo)
    if known.merged is None:
        known.merged = merge(loader, defaults, repo)
    return deepcopy(known.merged)


def _changes(files: Iterable[Path]) -> dict[Path, int]:
    """Return the last change of each file of this package; other names are of files in Hydra's packages."""
    return {file: file.stat().st_mtime_ns for file in files if file.is_file()}

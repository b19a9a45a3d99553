"""Limits of a configuration, and of the files from outside the package that it includes.

What a user types is trusted; what a file says is not, whoever wrote it. Such a file chooses parts and values, but
nothing that starts programs: it sets no launcher, sweeper or callback of Hydra, and reads no environment variable.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy, deepcopy
from pathlib import Path
from typing import Any, cast

import yaml
from hydra._internal import config_loader_impl
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, ConfigRepository
from hydra._internal.defaults_list import create_defaults_list
from hydra._internal.hydra import Hydra
from hydra.core.default_element import InputDefault, ResultDefault
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException
from hydra.plugins.config_source import ConfigResult
from hydra.plugins.sweeper import Sweeper
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.resolvers import oc

from san.cli.allow_list import refuse_foreign_hydra, refuse_foreign_targets
from san.cli.composed_once import defaults_once, merged_once
from san.cli.config import FILE, is_foreign
from san.cli.jobs import check_jobs
from san.cli.keys import apply_known, key_of, refuse_added_groups, several_values, unknown_group
from san.cli.useless_keys import refuse_useless_keys
from san.cli.yaml_comments import LOADER, text_of

__all__ = ["checked_composition", "is_checked"]

PLAIN_REFERENCE = re.compile(r"\$\{\s*(\.*[\w-]+(\.[\w-]+|\[\w+\])*\s*\}|(hydra|now):)")
REFERENCE = re.compile(r"\$\{\s*([\w.\[\]-]+)\s*\}")
TYPED_KEYS = {"hydra", "overrides"}  # san.reproduce passes its overrides on to san.sweep
ABSENT_GROUP = re.compile(r"Could not override '(.+)'\. No match in the defaults list")
SEVERAL_VALUES = re.compile(r"Ambiguous value for argument '(.*?)=(.*)'")
MAX_VALUES, MAX_DEPTH = 10_000, 20  # of a file; repeated values count at each place
MAX_VISITS = 1_000  # of files by the defaults lists of a configuration
MAX_EXPANDED = 100_000  # values of a configuration, with those that they refer to
CHARACTERS_OF_A_VALUE = 100  # of a text that counts as one more value
MAX_REFERENCES = 500  # characters of a text with references, which OmegaConf parses slowly

_read_files: dict[tuple[str, str, int], ConfigResult | None] = {}  # of this package and of Hydra, by their last change


@contextmanager
def checked_composition() -> Iterator[None]:
    """Check the configurations that Hydra composes inside this context, before anything is built from them.

    Files from outside the package are refused that set what only the command line may, and configurations that name
    foreign objects, or have typed keys that nothing reads. All jobs of a multirun are checked before its first one.
    Hydra has no public hook for a file that it has read, for the place where it puts the content, and between composing
    a configuration and building its launcher, so methods of its loader are replaced. Two resolvers that create nodes,
    and so could name an object after the check, are removed; this project uses neither.

    Hydra composes a configuration once more, only to learn whether ``hydra.mode`` is set, and reads the files of each
    configuration anew, from sources that it copies with all content. Here the command line alone sets the mode, a file
    of a package is read once, the files of the same choices are merged once, and sources are shared.
    """
    load_file, visit = ConfigRepository.load_config, CachingConfigRepository.load_config
    load_part, load = ConfigLoaderImpl._load_single_config, ConfigLoaderImpl.load_configuration
    command = ""
    apply, validate = ConfigLoaderImpl._apply_overrides_to_config, Sweeper.validate_batch_is_legal
    merge, mode_of = ConfigLoaderImpl._compose_config_from_defaults_list, Hydra.get_mode

    def load_checked_file(repository: ConfigRepository, config_path: str) -> ConfigResult | None:
        source = next((source for source in repository.get_sources() if source.is_config(config_path)), None)
        if source is None:
            return load_file(repository, config_path)
        path = Path(source.path, source._normalize_file_name(config_path))
        if not is_foreign(source.full_path()):
            version = path.stat().st_mtime_ns if source.scheme() == "file" else 0
            place = (source.full_path(), config_path, version)
            if place not in _read_files:
                _read_files[place] = load_file(repository, config_path)
            return deepcopy(_read_files[place])
        _refuse_excess(path)
        try:
            loaded = cast("ConfigResult", load_file(repository, config_path))
            content: Any = OmegaConf.to_container(loaded.config)
        except Exception as error:  # of the constructors of YAML, which can be of any type
            raise ValueError(f"{path} cannot be read as a configuration: {error or type(error).__name__}") from error
        if not isinstance(content, Mapping):
            raise ValueError(f"{path} has a {type(content).__name__}, not keys and values")
        for choice in loaded.defaults_list or []:
            _refuse_choice(choice, path)
        _refuse_typed_keys(content, path)
        _refuse_values(content, "", path)
        return loaded

    def share_sources(repository: CachingConfigRepository, delegate: ConfigRepository) -> None:
        repository.delegate = copy(delegate)  # which gets a list of sources of its own
        repository.cache = {}

    def visit_few(repository: CachingConfigRepository, config_path: str) -> ConfigResult | None:
        visits = vars(repository)["visits"] = vars(repository).get("visits", 0) + 1
        if visits > MAX_VISITS:
            raise ValueError(f"{config_path}: the defaults lists name more than {MAX_VISITS} files")
        return visit(repository, config_path)

    def load_checked_part(loader: ConfigLoaderImpl, default: ResultDefault, repo: Any) -> ConfigResult:
        name = str(default.config_path)
        if name.startswith("/") or ".." in name.split("/"):
            raise ValueError(f"{name} is not a name in a folder of configurations: name its folder by --config-dir")
        loaded = load_part(loader, default, repo)
        if is_foreign(loaded.path):
            content: Any = OmegaConf.to_container(loaded.config)
            _refuse_typed_keys(content, Path(loaded.path.removeprefix(FILE), f"{name}.yaml"))
        return loaded

    def merge_once(loader: ConfigLoaderImpl, defaults: list[ResultDefault], repo: Any) -> DictConfig:
        return merged_once(merge, loader, defaults, repo)

    def apply_checked(overrides: list[Override], config: DictConfig) -> None:
        apply_known(apply, overrides, config, command)

    def load_checked(
        loader: ConfigLoaderImpl, config_name: str, overrides: list[str], run_mode: RunMode, **options: Any
    ) -> DictConfig:
        nonlocal command
        command = str(config_name)
        is_typed = run_mode == RunMode.RUN and options.get("from_shell", True)
        try:
            config = load(loader, config_name, overrides, run_mode, **options)
            content: Any = OmegaConf.to_container(config, resolve=False)
            _refuse_expansion(content)
        except RecursionError as error:
            raise ValueError("the configuration refers to itself, or has too many levels") from error
        except ConfigCompositionException as error:
            if group := ABSENT_GROUP.match(str(error)):
                raise ValueError(unknown_group(group[1])) from error
            if not (is_typed and (several := SEVERAL_VALUES.match(str(error)))):
                raise
            unswept = load(loader, config_name, overrides, RunMode.MULTIRUN, **options)
            refuse_useless_keys(unswept)
            raise ValueError(several_values(several[1], several[2], unswept)) from error
        if "allow" in content:
            raise ValueError("allow is for the command line and SAN_ALLOW alone: remove it from the configuration file")
        refuse_foreign_targets(content, "")
        refuse_foreign_hydra(content["hydra"])
        if is_typed:
            refuse_added_groups(config)
            refuse_useless_keys(config)
        return config

    def typed_mode(hydra: Hydra, config_name: str | None, overrides: list[str]) -> Any:
        is_typed = any(key_of(override) in ("hydra", "hydra.mode") for override in overrides)
        return mode_of(hydra, config_name, overrides) if is_typed else None

    def validate_jobs(sweeper: Any, jobs: Sequence[Sequence[str]]) -> None:
        check_jobs(sweeper.hydra_context.config_loader, sweeper.config, jobs)

    replaced: list[tuple[Any, str, Any, Any]] = [
        (Hydra, "get_mode", mode_of, typed_mode),
        (ConfigRepository, "load_config", load_file, load_checked_file),
        (CachingConfigRepository, "__init__", CachingConfigRepository.__init__, share_sources),
        (CachingConfigRepository, "load_config", visit, visit_few),
        (ConfigLoaderImpl, "_load_single_config", load_part, load_checked_part),
        (ConfigLoaderImpl, "load_configuration", load, load_checked),
        (ConfigLoaderImpl, "_apply_overrides_to_config", staticmethod(apply), staticmethod(apply_checked)),
        (Sweeper, "validate_batch_is_legal", validate, validate_jobs),
        (config_loader_impl, "create_defaults_list", create_defaults_list, defaults_once),
        (ConfigLoaderImpl, "_compose_config_from_defaults_list", merge, merge_once),
    ]
    resolvers: dict[str, Any] = {"oc.create": oc.create, "oc.decode": oc.decode}
    for owner, name, _, checked in replaced:
        setattr(owner, name, checked)
    for name in resolvers:
        OmegaConf.clear_resolver(name)
    try:
        yield
    finally:
        for owner, name, original, _ in replaced:
            setattr(owner, name, original)
        for name, function in resolvers.items():
            OmegaConf.register_new_resolver(name, function, replace=True)


def is_checked() -> bool:
    """Return whether this process checks the configurations that Hydra composes; it does while a command runs."""
    return ConfigRepository.load_config.__module__ == __name__


def _refuse_excess(path: Path) -> None:
    """Refuse a file with more values than a person writes; an alias has all values of its anchor."""
    of_anchor: dict[str, int] = {}
    opened: list[tuple[str | None, int]] = []
    count, text = 0, text_of(path)
    try:
        for event in yaml.parse(text, Loader=LOADER):
            if isinstance(event, yaml.AliasEvent):
                count += of_anchor.get(event.anchor, MAX_VALUES)  # too many if the anchor is still open: it has itself
            elif isinstance(event, yaml.ScalarEvent):
                count += 1
                of_anchor[event.anchor] = 1
            elif isinstance(event, yaml.CollectionStartEvent):
                opened.append((event.anchor, count))
                count += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                anchor, before = opened.pop()
                of_anchor[str(anchor)] = count - before
            if count > MAX_VALUES or len(opened) > MAX_DEPTH:
                raise ValueError(f"{path} has more than {MAX_VALUES} values or {MAX_DEPTH} levels")
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error


def _refuse_choice(choice: InputDefault, path: Path) -> None:
    """Refuse an entry of a defaults list that could reach Hydra's groups or a file elsewhere."""
    group, value, package = (getattr(choice, name, None) or "" for name in ("group", "value", "package"))
    named = f"{group or getattr(choice, 'path', None) or ''}{'@' if package else ''}{package}"
    if "hydra" in re.split(r"[/.@:]", named) or "${" in named:
        raise ValueError(f"{path} chooses {named}: give choices of Hydra on the command line, and remove this one")
    if ".." in f"{named}{value}":
        raise ValueError(f"{path} chooses {named}={value}, which is not a name in a folder of configurations")


def _refuse_typed_keys(content: Mapping[str, Any], path: Path) -> None:
    """Refuse keys, such as ``hydra``, that only the command line may set."""
    for key in TYPED_KEYS & content.keys():
        below = content[key]
        named = f"{key}.{next(iter(below), '')}".rstrip(".") if isinstance(below, Mapping) else key
        raise ValueError(f"{path} sets {named}: give it on the command line, and remove it from the file")


def _refuse_values(node: Any, place: str, path: Path) -> None:
    """Refuse values that are no plain data, and references that do more than to refer."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if not isinstance(key, str):
                raise ValueError(f"{path} has the key {key!r} in {place or 'the file'}, which is not a text")
            _refuse_values(value, f"{place}.{key}" if place else key, path)
    elif isinstance(node, list):
        for value in node:
            _refuse_values(value, place, path)
    elif isinstance(node, str) and "${" in node:
        starts = [found.start() for found in re.finditer(r"\$\{", node)]
        if len(node) > MAX_REFERENCES:
            raise ValueError(f"{path} sets {place} to a text with references of more than {MAX_REFERENCES} characters")
        if not all(PLAIN_REFERENCE.match(node, start) for start in starts):
            raise ValueError(
                f"{path} sets {place}={node}: a file may refer to keys, such as ${{kernel_size}}, but not "
                "read environment variables or call other resolvers"
            )
    elif not (node is None or isinstance(node, str | int | float)):
        raise ValueError(f"{path} sets {place} to a {type(node).__name__}, not a text, a number, true, false or null")


def _refuse_expansion(content: Mapping[str, Any]) -> None:
    """Refuse a configuration that has too many values after its references are resolved."""
    known: dict[str, int] = {}

    def size(node: Any, place: str) -> int:
        if isinstance(node, Mapping):
            return 1 + sum(size(value, f"{place}.{key}") for key, value in node.items())
        if isinstance(node, list):
            return 1 + sum(size(value, f"{place}.{index}") for index, value in enumerate(node))
        if not isinstance(node, str):
            return 1
        references = (size_of(found[1], place) for found in REFERENCE.finditer(node))
        return 1 + len(node) // CHARACTERS_OF_A_VALUE + sum(references)

    def size_of(reference: str, place: str) -> int:
        above = place.split(".")[: -len(dots[0])] if (dots := re.match(r"\.+", reference)) else []
        keys = [*above, *filter(None, re.split(r"[.\[\]]", reference))]
        name = ".".join(filter(None, keys))
        if name not in known:
            known[name] = 1  # of a reference to itself, which OmegaConf reports
            known[name] = size(_at(content, name.split(".")), f".{name}")
        if known[name] > MAX_EXPANDED:
            raise ValueError(f"{name} in the configuration has more than {MAX_EXPANDED} values with those it refers to")
        return known[name]

    if size(content, "") > MAX_EXPANDED:
        raise ValueError(f"the configuration has more than {MAX_EXPANDED} values with those it refers to")


def _at(node: Any, keys: Sequence[str]) -> Any:
    """Return the value at a place of plain containers, None if there is none."""
    for key in keys:
        if isinstance(node, list) and key.isdecimal() and int(key) < len(node):
            node = node[int(key)]
        else:
            node = node.get(key) if isinstance(node, Mapping) else None
    return node

"""What a configuration file from outside the package may say.

What a user types is trusted; what a file says is not, whoever wrote it. Such a file chooses parts and values, but
nothing that starts programs: it sets no launcher, sweeper or callback of Hydra, and reads no environment variable.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra.core.default_element import InputDefault, ResultDefault
from hydra.plugins.config_source import ConfigResult
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from san.cli.config import CONF
from san.cli.yaml_comments import LOADER

__all__ = ["checked_files"]

FILE = "file://"
PLAIN_REFERENCE = re.compile(r"\$\{\s*(\.*[\w-]+(\.[\w-]+|\[\w+\])*\s*\}|(hydra|now):)")
MAX_BYTES, MAX_VALUES, MAX_DEPTH = 100_000, 10_000, 20  # of a file; repeated values count at each place
MAX_REFERENCES = 500  # characters of a text with references, which OmegaConf parses slowly


@contextmanager
def checked_files() -> Iterator[None]:
    """Refuse files from outside the package that set what only the command line may, before Hydra composes them.

    Hydra has no public hook for a file that it has read, nor for the place where it puts the content, so a method of
    its repository and one of its loader are replaced inside this context.
    """
    load_file, load_part = ConfigRepository.load_config, ConfigLoaderImpl._load_single_config

    def load_checked_file(repository: ConfigRepository, config_path: str) -> ConfigResult | None:
        source = next((source for source in repository.get_sources() if source.is_config(config_path)), None)
        if source is None or not _is_foreign(source.full_path()):
            return load_file(repository, config_path)
        path = Path(source.path, source._normalize_file_name(config_path))
        _refuse_excess(path)
        try:
            loaded = cast("ConfigResult", load_file(repository, config_path))
            content: Any = OmegaConf.to_container(loaded.config)
        except (yaml.YAMLError, OmegaConfBaseException, ValueError) as error:
            raise ValueError(f"{path} cannot be read as a configuration: {error}") from error
        if not isinstance(content, Mapping):
            raise ValueError(f"{path} has a {type(content).__name__}, not keys and values")
        for choice in loaded.defaults_list or []:
            _refuse_choice(choice, path)
        _refuse_hydra(content, path)
        _refuse_resolvers(content, "", path)
        return loaded

    def load_checked_part(loader: ConfigLoaderImpl, default: ResultDefault, repo: Any) -> ConfigResult:
        name = str(default.config_path)
        if name.startswith("/") or ".." in name.split("/"):
            raise ValueError(f"{name} is not a name in a folder of configurations: name its folder by --config-dir")
        loaded = load_part(loader, default, repo)
        if _is_foreign(loaded.path):
            content: Any = OmegaConf.to_container(loaded.config)
            _refuse_hydra(content, Path(loaded.path.removeprefix(FILE), f"{name}.yaml"))
        return loaded

    ConfigRepository.load_config = load_checked_file  # type: ignore[assignment, method-assign]
    ConfigLoaderImpl._load_single_config = load_checked_part  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        ConfigRepository.load_config = load_file  # type: ignore[method-assign]
        ConfigLoaderImpl._load_single_config = load_part  # type: ignore[method-assign]


def _is_foreign(place: str) -> bool:
    """Return whether a place of configurations is a folder outside the package, and not part of an installed one."""
    return place.startswith(FILE) and os.path.realpath(place.removeprefix(FILE)) != os.path.realpath(CONF)


def _refuse_excess(path: Path) -> None:
    """Refuse a file with more values than a person writes; an alias has all values of its anchor."""
    if (n_bytes := path.stat().st_size) > MAX_BYTES:
        raise ValueError(f"{path} has {n_bytes} bytes; a configuration file may have {MAX_BYTES}")
    of_anchor: dict[str, int] = {}
    opened: list[tuple[str | None, int]] = []
    count = 0
    try:
        for event in yaml.parse(path.read_text(encoding="utf-8"), Loader=LOADER):
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
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error


def _refuse_choice(choice: InputDefault, path: Path) -> None:
    """Refuse an entry of a defaults list that could reach Hydra's groups or a file elsewhere."""
    group, value, package = (getattr(choice, name, None) or "" for name in ("group", "value", "package"))
    named = f"{group or getattr(choice, 'path', None) or ''}{'@' if package else ''}{package}"
    if "hydra" in re.split(r"[/.@:]", named) or "${" in named:
        raise ValueError(f"{path} chooses {named}: give choices of Hydra on the command line, and remove this one")
    if ".." in f"{named}{value}":
        raise ValueError(f"{path} chooses {named}={value}, which is not a name in a folder of configurations")


def _refuse_hydra(content: Mapping[str, Any], path: Path) -> None:
    if "hydra" in content:
        settings = content["hydra"]
        key = f"hydra.{next(iter(settings), '')}".rstrip(".") if isinstance(settings, Mapping) else "hydra"
        raise ValueError(
            f"{path} sets {key}: give settings of Hydra on the command line, and remove them from the file"
        )


def _refuse_resolvers(node: Any, place: str, path: Path) -> None:
    if isinstance(node, Mapping):
        for key, value in node.items():
            _refuse_resolvers(value, f"{place}.{key}" if place else str(key), path)
    elif isinstance(node, Sequence) and not isinstance(node, str):
        for value in node:
            _refuse_resolvers(value, place, path)
    elif isinstance(node, str) and "${" in node:
        starts = [found.start() for found in re.finditer(r"\$\{", node)]
        if len(node) > MAX_REFERENCES:
            raise ValueError(f"{path} sets {place} to a text with references of more than {MAX_REFERENCES} characters")
        if not all(PLAIN_REFERENCE.match(node, start) for start in starts):
            raise ValueError(
                f"{path} sets {place}={node}: a configuration file may refer to keys, such as "
                "${kernel_size}, but not read environment variables or call other resolvers"
            )

"""The help of a command, read from the YAML files of its configuration and their comments."""

import re
import shutil
import textwrap
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode

from san.cli.config import CONF, FILE, package_configuration
from san.cli.yaml_comments import MOST_USED, TO_APPEND, Group, Source

__all__ = ["Help", "help_text", "read_help"]

REQUIRED = "???"
REFERENCE = re.compile(r"\$\{([\w.]+)\}")  # to another key
SHARED = "base"  # the file of keys that all commands that train have
SEARCH_PATH = "hydra.searchpath"
MAX_WIDTH, MIN_WIDTH, LEFT_SHARE = 120, 60, 1 / 3  # characters of a line, and how much of them the left column may have
USAGE = """\
Usage: python -m san.{name} [KEY=VALUE ...] [GROUP=CHOICE ...]
       python -m san.{name} -m KEY=VALUE,VALUE GROUP=CHOICE,CHOICE ...     one job for each combination

  --config-dir FOLDER   adds groups and choices of your own
  --cfg job             prints the configuration, and runs nothing
  --version             prints the version
  --hydra-help          lists the other options, which are Hydra's"""

Rows = list[tuple[str, str]]


class Help(NamedTuple):
    """The help of a command in parts; a row is what a user types, and its description.

    Args:
        summary: What the command does.
        most_used: The most used overrides.
        examples: Example command lines.
        groups: The title of each group, and its choices; those selected begin with a star.
        keys: The title of each file of the configuration that is merged, and its keys with their values.
    """

    summary: str
    most_used: Rows
    examples: Sequence[str]
    groups: Sequence[tuple[str, Rows]]
    keys: Sequence[tuple[str, Rows]]


def help_text(command: str, given: Namespace) -> str:
    """Return the help of a command as text; see :func:`read_help`."""
    found = read_help(command, given)
    blocks = [
        [f"san.{command}: {found.summary}"],
        [USAGE.format(name=command)],
        ["Most used:", *_table(found.most_used)],
        ["Examples:", *(f"  {example}" for example in found.examples)],
        ["GROUPS, with their choices; * is selected"],
        *([title, *_table(rows)] for title, rows in found.groups),
        ["KEYS, with their values"],
        *([title, *_table(rows)] for title, rows in found.keys),
    ]
    return "\n\n".join("\n".join(block) for block in blocks)


def read_help(command: str, given: Namespace) -> Help:
    """Read the help of a command from its configuration, for the choices that the arguments select.

    Args:
        command: The command; ``conf/<command>.yaml`` is its primary configuration.
        given: The arguments, as Hydra parses them.

    Raises:
        FileNotFoundError: If there is no folder ``--config-dir``.
        hydra.errors.HydraException: If an argument is not an override, or there is no such choice.
    """
    overrides = OverridesParser.create().parse_overrides(given.overrides)
    searched = _search_path(given.config_dir, overrides)
    folders = [CONF, *(Path(place.removeprefix(FILE)) for place in searched if not place.startswith("pkg://"))]
    others = [str(override.input_line) for override in overrides if override.key_or_group != SEARCH_PATH]
    name, mode = given.config_name or command, RunMode.MULTIRUN if given.multirun else RunMode.RUN
    with package_configuration():
        loader = GlobalHydra.instance().config_loader()
        everywhere = f"{SEARCH_PATH}=[{','.join(map(_quoted, searched))}]"
        composed = loader.compute_defaults_list(name, [*others, everywhere], mode)
    merged = [
        Source(path, item.config_path, item.package or "")
        for item in composed.defaults
        if not str(item.config_path).startswith("hydra/") and (path := _find(f"{item.config_path}.yaml", folders))
    ]
    values = {entry.name: entry.value for source in merged for entry in source.entries if entry.value}
    values |= {override.key_or_group: override.input_line.partition("=")[2] for override in composed.config_overrides}
    values = {key: _resolved(value, values) for key, value in values.items()}
    primary = next(source for source in merged if source.name == name)
    sources = [primary, *sorted((source for source in merged if source is not primary), key=_is_choice)]
    groups = _groups(primary, sources, folders)
    return Help(
        primary.summary,
        _most_used(primary.words(MOST_USED), sources, groups, values),
        primary.examples,
        [(_title(group), _choices(group, sources, folders)) for group in groups],
        [(_origin(source), rows) for source in sources if (rows := _keys(source, sources, values))],
    )


def _search_path(config_dir: str | None, overrides: Sequence[Any]) -> list[str]:
    """Return the places of configurations beside the package's, of ``--config-dir`` and ``hydra.searchpath``."""
    if config_dir and not Path(config_dir).is_dir():
        raise FileNotFoundError(f"--config-dir {config_dir} is not a folder")
    searched = [place for override in overrides if override.key_or_group == SEARCH_PATH for place in override.value()]
    return [*([f"{FILE}{Path(config_dir).absolute()}"] if config_dir else []), *map(str, searched)]


def _quoted(text: str) -> str:
    """Return a text as an override quotes it."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _find(file: str, folders: Sequence[Path]) -> Path | None:
    return next((folder / file for folder in folders if (folder / file).is_file()), None)


def _resolved(value: str, values: Mapping[str, str]) -> str:
    """Return a value with the values of other keys in the place of references to them."""
    while (found := REFERENCE.sub(lambda match: values.get(match[1], match[0]), value)) != value:
        value = found
    return value


def _is_choice(source: Source) -> bool:
    return "/" in source.name


def _groups(primary: Source, sources: Sequence[Source], folders: Sequence[Path]) -> list[Group]:
    """Return the groups of the defaults lists, and those to append: named by the command's file, or the user's own."""
    found = {group.name: group for source in sources if not _is_choice(source) for group in source.groups}
    files = [path.relative_to(folder) for folder in folders[1:] for path in folder.rglob("*.yaml")]
    own = {file.parent.as_posix() for file in files if len(file.parts) > 1 and file.parts[0] != "hydra"}
    appended = [*primary.words(TO_APPEND), *sorted(name for name in own if not (CONF / name).is_dir())]
    return [*found.values(), *(Group(name, is_appended=True) for name in appended if name not in found)]


def _title(group: Group) -> str:
    choice = "[CHOICE,...]" if group.takes_several else "CHOICE"
    return f"{'+' if group.is_appended else ''}{group.name}={choice}{f': {group.comment}' if group.comment else ''}"


def _choices(group: Group, sources: Sequence[Source], folders: Sequence[Path]) -> Rows:
    selected = {source.name for source in sources}
    paths = {path.stem: path for folder in reversed(folders) for path in (folder / group.name).glob("*.yaml")}
    return [
        (f"{'*' if f'{group.name}/{choice}' in selected else ' '} {choice}", Source(paths[choice], choice).summary)
        for choice in sorted(paths)
    ]


def _most_used(
    names: Iterable[str], sources: Sequence[Source], groups: Sequence[Group], values: Mapping[str, str]
) -> Rows:
    comments = {entry.name: entry.comment for source in reversed(sources) for entry in source.entries if entry.comment}
    group_of = {group.name: group for group in groups}
    rows = []
    for name in names:
        if name in group_of:
            choices = [source.path.stem for source in sources if source.name.startswith(f"{name}/")]
            rows.append((f"{name}={','.join(choices) or 'CHOICE'}", group_of[name].comment))
        else:
            rows.append(_row(name, values[name], comments.get(name, "")))
    return rows


def _row(key: str, value: str, comment: str) -> tuple[str, str]:
    return f"{key}={value}", f"{'required: ' if value == REQUIRED else ''}{comment}"


def _as_another(value: str) -> str:
    """Return that a key has the value of another key by default; empty if its value is no reference."""
    refers = REFERENCE.fullmatch(value)
    return f"by default as {refers[1]}" if refers else ""


def _origin(source: Source) -> str:
    group, _, choice = source.name.rpartition("/")
    if source.name == SHARED:
        return f"{choice}: {source.summary}"
    elsewhere = f" in {source.package}" if source.package not in ("", group) else ""
    return f"{group}={choice}{elsewhere}" if group else choice


def _keys(source: Source, sources: Sequence[Source], values: Mapping[str, str]) -> Rows:
    """Return the keys of a file; a key of several files is described in the first that comments on it."""
    described: dict[str, Source] = {}
    for is_commented in (True, False):
        for other in sources:
            for entry in other.entries:
                if bool(entry.comment) is is_commented:
                    described.setdefault(entry.name, other)
    rows: Rows = []
    also: list[str] = []
    joined = ""
    for entry in source.entries:
        if joined and entry.name.startswith(joined):
            continue
        below = [other for other in source.entries if other.name.startswith(f"{entry.name}.")]
        if described[entry.name] is not source:
            also += [] if entry.value is None else [f"{entry.name}={_resolved(entry.value, values)}"]
        elif entry.value is not None:
            rows.append(_row(entry.name, values[entry.name], entry.comment or _as_another(entry.value)))
        elif entry.comment:
            joined = "" if any(other.comment for other in below) else f"{entry.name}."
            leaves = [f"{other.name.removeprefix(joined)}={values[other.name]}" for other in below if joined]
            rows.append((f"{entry.name}.KEY", f"{entry.comment}{': ' if leaves else ''}{' '.join(leaves)}"))
    return [*rows, *([("also sets", " ".join(also))] if also else [])]


def _table(rows: Rows) -> list[str]:
    """Return lines of two columns; the right column is wrapped."""
    width = max(MIN_WIDTH, min(MAX_WIDTH, shutil.get_terminal_size((MAX_WIDTH, 0)).columns))
    margin = 2 + min(int(width * LEFT_SHARE), max((len(left) for left, _ in rows), default=0)) + 2
    lines: list[str] = []
    for left, right in rows:
        wrapped = textwrap.wrap(right, max(width - margin, 20), break_long_words=False, break_on_hyphens=False)
        first = [f"  {left}"] if len(left) > margin - 4 or not wrapped else []
        lines += first
        lines += [
            f"{'' if first or index else f'  {left}':{margin}}{line}".rstrip() for index, line in enumerate(wrapped)
        ]
    return lines

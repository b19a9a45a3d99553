"""A YAML file of the configuration with its comments, which the help of a command prints.

The comment at the top of a command's file describes the command, then names its most used overrides, the groups outside
its defaults list, and examples. The comment at the top of another file describes that choice; a comment beside an entry
of a defaults list describes the group, and one beside or above a key describes the key.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import yaml

__all__ = ["LOADER", "MOST_USED", "TO_APPEND", "Entry", "Group", "Source", "text_of"]

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MOST_USED, TO_APPEND, EXAMPLES = "Most used:", "To append:", "Examples:"
MAX_BYTES = 100_000  # of a file
NOT_FOR_USERS = ("defaults", "hydra", "_target_", "_partial_")


def text_of(path: Path) -> str:
    """Return the content of a configuration file.

    Raises:
        ValueError: If it is not a regular file, is too large, or is not in UTF-8.
    """
    if not path.is_file():
        raise ValueError(f"{path} is not a regular file")
    if (n_bytes := path.stat().st_size) > MAX_BYTES:
        raise ValueError(f"{path} has {n_bytes} bytes; a configuration file may have {MAX_BYTES}")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error


class Entry(NamedTuple):
    """A key of a YAML file.

    Args:
        name: The key, after those above it.
        value: The value as it is written; None for a mapping.
        comment: The comment beside or above the key.
    """

    name: str
    value: str | None
    comment: str


class Group(NamedTuple):
    """A configuration group.

    Args:
        name: The group.
        comment: The comment beside the group in the defaults list.
        takes_several: Whether several of its choices can be selected.
        is_appended: Whether it is outside the defaults list.
    """

    name: str
    comment: str = ""
    takes_several: bool = False
    is_appended: bool = False


@dataclass(frozen=True)
class Source:
    """A YAML file of the configuration, with its comments.

    Args:
        path: The file.
        name: ``<group>/<choice>``, or the name of the file outside the groups.
        package: Where its keys are in the configuration; empty at the top.
    """

    path: Path
    name: str
    package: str = ""

    @cached_property
    def lines(self) -> list[str]:
        """The lines of the file."""
        return text_of(self.path).splitlines()

    @cached_property
    def header(self) -> list[str]:
        """The lines of the comment at the top of the file."""
        comments = self.lines[: self._first_key]
        return [line.removeprefix("#").strip() for line in comments if not line.startswith("# @package")]

    @cached_property
    def summary(self) -> str:
        """The comment at the top of the file, without its lists."""
        listed = (MOST_USED, TO_APPEND, EXAMPLES)
        end = next((index for index, line in enumerate(self.header) if line.startswith(listed)), len(self.header))
        return " ".join(self.header[:end])

    @cached_property
    def examples(self) -> list[str]:
        """The example command lines in the comment at the top of the file."""
        return self.header[self.header.index(EXAMPLES) + 1 :] if EXAMPLES in self.header else []

    @cached_property
    def entries(self) -> list[Entry]:
        """The keys of the file that a user can set, as the command line names them."""
        return list(self._walk(self._pairs, f"{self.package}." if self.package else ""))

    @cached_property
    def groups(self) -> list[Group]:
        """The groups of the defaults list."""
        return [
            Group(group.value, self._comment(group, choice), isinstance(choice, yaml.SequenceNode))
            for key, value in self._pairs
            for item in (value.value if key.value == "defaults" else ())
            for group, choice in (item.value if isinstance(item, yaml.MappingNode) else ())
            if not group.value.startswith(("/", "override "))
        ]

    def words(self, title: str) -> list[str]:
        """Return the words of a line of the comment at the top of the file."""
        return [word for line in self.header if line.startswith(title) for word in line.removeprefix(title).split()]

    @cached_property
    def _first_key(self) -> int:
        """Index of the first line below the comment at the top of the file."""
        return next((index for index, line in enumerate(self.lines) if not line.startswith("#")), len(self.lines))

    @cached_property
    def _pairs(self) -> list[tuple[Any, Any]]:
        root = yaml.compose("\n".join(self.lines), Loader=LOADER)
        return root.value if isinstance(root, yaml.MappingNode) else []

    def _walk(self, pairs: Iterable[tuple[Any, Any]], prefix: str) -> Iterator[Entry]:
        for key, value in pairs:
            name, is_mapping = f"{prefix}{key.value}", isinstance(value, yaml.MappingNode)
            if key.value in NOT_FOR_USERS or (is_mapping and not value.value):  # an empty mapping is filled by a group
                continue
            yield Entry(name, None if is_mapping else self._text(value), self._comment(key, value))
            if is_mapping:
                yield from self._walk(value.value, f"{name}.")

    def _text(self, node: Any) -> str:
        """Return a value as it is written, on one line."""
        if isinstance(node, yaml.SequenceNode):
            return f"[{','.join(map(self._text, node.value))}]"
        first, last = node.start_mark, node.end_mark
        lines = [*self.lines[first.line : last.line], *(line[: last.column] for line in self.lines[last.line :][:1])]
        return " ".join(" ".join(lines)[first.column :].split()) or "null"

    def _comment(self, key: Any, value: Any) -> str:
        """Return the comment beside a key, else the one above it."""
        is_block = isinstance(value, yaml.CollectionNode) and not value.flow_style
        end = key.end_mark if is_block else value.end_mark
        beside = "".join(self.lines[end.line : end.line + 1])[end.column :].lstrip(" :")
        if beside.startswith("#"):
            return beside.removeprefix("#").strip()
        above: list[str] = []
        for line in reversed(self.lines[self._first_key : key.start_mark.line]):
            if not line.startswith(f"{' ' * key.start_mark.column}#"):
                break
            above.insert(0, line.strip().removeprefix("#").strip())
        return " ".join(above)

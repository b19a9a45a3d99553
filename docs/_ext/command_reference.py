"""Write a page about each command from the comments of its configuration, which ``--help`` prints, too."""

import re
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from san.cli.help import Help, Rows, read_help

COMMANDS = ("train", "sweep", "evaluate", "encode", "decode", "compare", "reproduce")
CHOICES, KEYS = ("choice", "description"), ("key and default", "description")

CODE = re.compile(r"[a-z_]=|^~?\w+_\w+$")  # an override, or a name of several words


def setup(app: Any) -> dict[str, bool]:
    """Write the pages before Sphinx lists its sources."""
    app.connect("config-inited", lambda app, _: write_pages(Path(app.srcdir) / "commands"))
    return {"parallel_read_safe": True}


def write_pages(folder: Path) -> None:
    """Write ``<command>.md`` for each command."""
    folder.mkdir(exist_ok=True)
    for command in COMMANDS:
        (folder / f"{command}.md").write_text("\n".join(_page(command)) + "\n", encoding="utf-8")


def _page(command: str) -> Iterator[str]:
    found = _help(command)
    yield f"# san.{command}\n\n{_prose(found.summary)}\n"
    yield from ("```sh", *found.examples, "```", "")
    yield "## Most used\n"
    yield from _table(("override", "description"), found.most_used)
    yield f"## Groups\n\n`python -m san.{command} GROUP=CHOICE`; ★ marks a choice of the defaults.\n"
    for title, rows in found.groups:
        yield f"### {_heading(title)}\n"
        yield from _table(CHOICES, rows)
    yield f"## Keys\n\n`python -m san.{command} KEY=VALUE`; the values are the defaults.\n"
    for title, rows in found.keys:
        yield f"### {_heading(title)}\n"
        yield from _table(KEYS, rows)
    if command == "train":
        yield "## Keys of other choices\n\nThese keys exist if you select the choice.\n"
        for title, rows in _other_choices(found):
            yield f"### {title}\n"
            yield from _table(KEYS, rows)


def _other_choices(found: Help) -> Iterator[tuple[str, Rows]]:
    """Yield the title and the keys of each choice that the defaults do not select."""
    shown = {title for title, _ in found.keys}
    for title, rows in found.groups:
        group = re.match(r"\+?[\w/]+", title)[0]
        for choice, _ in rows:
            name = choice.removeprefix("*").strip()
            own = f"{group.removeprefix('+')}={name}"
            several = "[" in title.partition(":")[0]
            for other, keys in _help("train", f"{group}=[{name}]" if several else f"{group}={name}").keys:
                if other.split(" in ")[0] == own and other not in shown:
                    yield other, keys


def _help(command: str, *overrides: str) -> Help:
    return read_help(command, Namespace(overrides=[*overrides], config_dir=None, config_name=None, multirun=False))


def _heading(title: str) -> str:
    name, separator, comment = title.partition(": ")
    return f"{name}{separator}{_prose(comment)}".replace("[CHOICE,...]", "…").replace("CHOICE", "…")


def _table(columns: tuple[str, str], rows: Rows) -> Iterator[str]:
    yield f"| {columns[0]} | {columns[1]} |\n|---|---|"
    for left, right in rows:
        star = "★ " if left.startswith("*") else ""
        code = left.removeprefix("*").strip().replace("|", "\\|")
        yield f"| {star}`{code}` | {_prose(right)} |"
    yield ""


def _prose(text: str) -> str:
    """Return a comment as Markdown, with overrides and names as code and the characters of markup escaped."""
    return " ".join(f"`{word}`" if CODE.search(word) else _escaped(word) for word in text.split())


def _escaped(word: str) -> str:
    return re.sub(r"([*_<>|\[\]`])", r"\\\1", word)

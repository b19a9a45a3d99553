"""The console that tables are printed on."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rich.box import HEAVY_HEAD
from rich.cells import cell_len, chop_cells
from rich.console import Console
from rich.table import Table
from rich.text import Text

from san.storage.text import printable

__all__ = ["Heading", "console", "numbers", "print_table", "texts"]

PLAIN_SYMBOLS = {"φ̄": "phi", "φ": "phi", "CR⁻¹": "1/CR", "L̃": "L", "±": "+/-"}
UNLIMITED_WIDTH = 1_000_000  # columns of a file or a pipe
FOLD = re.compile(r"(?<=[/_+=])(?=\w)|(?<=-)(?=[^\W\d])|(?=\s)")  # places where a text folds, never in a number
MAX_PIECE = 16  # characters; a longer piece between two folds is cut if the terminal is too narrow
WIDTH_OF_BORDER = 3  # of a cell: one line, and a space on either side


@dataclass(frozen=True)
class Heading:
    """The heading of a column of a table.

    Args:
        text: The heading; it folds at spaces and line breaks.
        is_number: Whether the cells are numbers, which are aligned at the right and not folded.
    """

    text: str
    is_number: bool = False


def texts(*headings: str) -> list[Heading]:
    """Return headings of columns of texts."""
    return [Heading(text) for text in headings]


def numbers(*headings: str) -> list[Heading]:
    """Return headings of columns of numbers."""
    return [Heading(text, is_number=True) for text in headings]


def console() -> "_PlainConsole":
    """Return a console that prints the plain spelling of symbols that standard output cannot encode.

    A file or a pipe has no width: nothing printed to it is cut or wrapped.
    """
    plain = _PlainConsole(markup=False, emoji=False)  # as names from files may have brackets and colons
    if not plain.is_terminal:
        plain.width = UNLIMITED_WIDTH
    return plain


def print_table(
    headings: Sequence[Heading],
    rows: Sequence[Sequence[str]],
    *,
    low_value: Sequence[str] = (),
    style: str = "",
    is_boxed: bool = True,
) -> list[str]:
    """Print a table that fits the terminal if its columns can be narrow enough, and is wider otherwise.

    Texts fold after separators such as ``/`` and ``_``. Columns of low value are dropped from a table that is still too
    wide.

    Args:
        headings: The heading of each column.
        rows: The cells of each row; a row may lack its last cells.
        low_value: Headings of the columns that may be dropped, the first first.
        style: Style of the table, as of Rich.
        is_boxed: Whether the table has lines.

    Returns:
        The headings of the dropped columns.
    """
    out = console()
    columns = [
        _Column(heading, out.plain(heading.text), [out.plain(row[index]) if index < len(row) else "" for row in rows])
        for index, heading in enumerate(headings)
    ]
    dropped: list[str] = []
    for name in low_value:
        if _width([column.narrowest for column in columns]) > out.width:
            dropped += [name for column in columns if column.heading.text == name]
            columns = [column for column in columns if column.heading.text != name]
    widths = _fitting_widths(columns, out.width)
    table = Table(style=style, box=HEAVY_HEAD if is_boxed else None)
    for column, width in zip(columns, widths, strict=True):
        table.add_column(
            _folded(column.title, width), justify="right" if column.heading.is_number else "left", width=width
        )
    for index in range(len(rows)):
        table.add_row(*(_folded(column.cells[index], width) for column, width in zip(columns, widths, strict=True)))
    out.width = max(out.width, _width(widths))
    out.print(table)
    return dropped


@dataclass
class _Column:
    """A column of printable texts."""

    heading: Heading
    title: str
    cells: list[str]

    @cached_property
    def narrowest(self) -> int:
        """The width that folds nothing but at its folds, or a long text at ``MAX_PIECE`` characters."""
        pieces = [
            piece for cell in self.cells for piece in (cell.split("\n") if self.heading.is_number else _pieces(cell))
        ]
        longest = max(map(cell_len, pieces), default=0)
        return max(
            1, *map(cell_len, self.title.split()), longest if self.heading.is_number else min(longest, MAX_PIECE)
        )

    @cached_property
    def widest(self) -> int:
        """The width that folds nothing."""
        return max(cell_len(line) for text in (self.title, *self.cells) for line in text.split("\n"))


def _fitting_widths(columns: Sequence[_Column], width: int) -> list[int]:
    """Return the width of each column in a table of a width: the widest ones fold first."""
    widths = [column.widest for column in columns]
    while _width(widths) > width:
        foldable = [index for index, column in enumerate(columns) if widths[index] > column.narrowest]
        if not foldable:
            break
        widths[max(foldable, key=widths.__getitem__)] -= 1
    return widths


def _width(widths: Sequence[int]) -> int:
    return sum(widths) + WIDTH_OF_BORDER * len(widths) + 1


def _pieces(text: str) -> list[str]:
    """Return the pieces of a text between its folds, without the spaces before them."""
    return [piece.strip() for piece in FOLD.split(text)]


def _folded(text: str, width: int) -> str:
    """Return a text with line breaks at its folds, so that no line is longer than a width."""
    lines: list[str] = []
    for given in text.split("\n"):
        line = ""
        for piece in FOLD.split(given):
            if cell_len(line + piece) <= width:
                line += piece
            else:
                *whole, line = [line, *chop_cells(piece.lstrip(), width)]
                lines += [one for one in whole if one]
        lines.append(line)
    return "\n".join(lines)


class _PlainConsole(Console):
    """Replace unprintable characters and symbols that the stream cannot encode, before columns are measured."""

    def plain(self, text: str) -> str:
        """Return a text as it is printed."""
        text = printable(text)
        try:
            text.encode(self.encoding)
        except UnicodeEncodeError:
            for symbol, plain in PLAIN_SYMBOLS.items():
                text = text.replace(symbol, plain)
        return text

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(self.plain(text), **options)

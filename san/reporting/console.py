"""The console that tables are printed on."""

from typing import Any

from rich.console import Console, JustifyMethod
from rich.table import Column, Table
from rich.text import Text

from san.storage.text import printable

__all__ = ["column", "console", "print_table"]

PLAIN_SYMBOLS = {"φ̄": "phi", "φ": "phi", "CR⁻¹": "1/CR", "L̃": "L", "±": "+/-"}
UNLIMITED_WIDTH = 1_000_000  # columns of a file or a pipe
MIN_CELL_WIDTH = 6  # characters, as of 0.1234
WIDTH_OF_BORDER = 3  # of a cell: one line, and a space on either side


def console() -> Console:
    """Return a console that prints the plain spelling of symbols that standard output cannot encode.

    A file or a pipe has no width: nothing printed to it is cut or wrapped.
    """
    plain = _PlainConsole(markup=False, emoji=False)  # as names from files may have brackets and colons
    if not plain.is_terminal:
        plain.width = UNLIMITED_WIDTH
    return plain


def column(heading: str, justify: JustifyMethod = "left") -> Column:
    """Return a column of a table, whose cells fold on a narrow terminal."""
    return Column(heading, justify=justify, overflow="fold", min_width=MIN_CELL_WIDTH)


def print_table(table: Table) -> None:
    """Print a table of columns that fold, without losing a character on a terminal of any width."""
    out = console()
    out.width = max(out.width, len(table.columns) * (MIN_CELL_WIDTH + WIDTH_OF_BORDER) + 1)
    out.print(table)


class _PlainConsole(Console):
    """Replace unprintable characters and symbols that the stream cannot encode, before columns are measured."""

    def render_str(self, text: str, **options: Any) -> Text:
        text = printable(text)
        try:
            text.encode(self.encoding)
        except UnicodeEncodeError:
            for symbol, plain in PLAIN_SYMBOLS.items():
                text = text.replace(symbol, plain)
        return super().render_str(text, **options)

"""The dialect of a CSV file: comment lines, the separator of its columns, and its decimal mark."""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

__all__ = ["COMMENTS", "Dialect", "dialect_of"]

SEPARATORS = ("\t", ";", ",", " ")  # the first that divides all lines alike; a space stands for any white space
NAMES = {"\t": "tabs", ";": "semicolons", ",": "commas", " ": "white space"}
COMMENTS = ("#", "%")
MAX_LINES = 100  # to compare
NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
COMMA_NUMBER = re.compile(r"\s*[+-]?(\d+,?\d*|,\d+)([eE][+-]?\d+)?\s*")


@dataclass(frozen=True)
class Dialect:
    """How a table is written.

    Args:
        separator: Separator of the columns; a space stands for any white space.
        decimal: Decimal mark, ``.`` or ``,``.
        has_comments: Whether lines that begin with ``#`` or ``%`` are skipped.
        headings: Headings in the last comment before the rows; empty if there are none.
    """

    separator: str = ","
    decimal: str = "."
    has_comments: bool = False
    headings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The separator and the decimal mark in words."""
        return f"{NAMES[self.separator]} between columns, decimal {'comma' if self.decimal == ',' else 'point'}"


def dialect_of(path: Path) -> Dialect:
    """Return the dialect of a file, from its first lines.

    Args:
        path: Path of the file, in UTF-8.

    Raises:
        UnicodeDecodeError: If the file is not text in UTF-8.
        ValueError: If it has comments and no row.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = [line for line in islice(file, MAX_LINES) if line.strip()]
    rows = [line for line in lines if not line.startswith(COMMENTS)]
    comments = [line for line in lines if line.startswith(COMMENTS)]
    if comments and not rows:
        raise ValueError("it has comments alone")
    if not rows:
        return Dialect()
    for separator in SEPARATORS:
        divided = list(_divided(rows, separator))
        n_columns = len(divided[0])
        if n_columns > 1 and all(len(fields) == n_columns for fields in divided):
            break
    else:
        separator, divided, n_columns = ",", list(_divided(rows, ",")), 0
    decimal = _decimal(separator, divided)
    if not comments:
        return Dialect(separator, decimal)
    return _with_comments(lines, separator, decimal, n_columns)


def _with_comments(lines: list[str], separator: str, decimal: str, n_columns: int) -> Dialect:
    """Return the dialect of lines that begin with a comment mark: comments, or one line of headings.

    The only such line is the headings as they are, such as ``#,ECG`` of a table with numbered rows, if it is the first
    and has as many fields as the rows. Otherwise the last comment above the rows may be the headings behind its mark.
    """
    first_row = next(index for index, line in enumerate(lines) if not line.startswith(COMMENTS))
    above = lines[:first_row]
    below = [line for line in lines[first_row:] if line.startswith(COMMENTS)]
    (first,) = _divided([lines[first_row]], separator)
    if not above or not all(_is_number(field, decimal) for field in first):
        return Dialect(separator, decimal, has_comments=True)
    (written,) = _divided(above[-1:], separator)
    if len(above) == 1 and not below and written[0].strip() in COMMENTS and len(written) == n_columns:
        return Dialect(separator, decimal)
    (behind,) = _divided([above[-1].lstrip("#% ")], separator)
    headings = tuple(field.strip() for field in behind) if len(behind) == n_columns else ()
    return Dialect(separator, decimal, has_comments=True, headings=headings)


def _divided(lines: list[str], separator: str) -> Iterator[list[str]]:
    """Yield the fields of each line."""
    if separator == " ":
        yield from (line.split() for line in lines)
        return
    try:
        yield from csv.reader(io.StringIO("".join(lines)), delimiter=separator)
    except csv.Error:
        yield []


def _decimal(separator: str, rows: list[list[str]]) -> str:
    """Return the decimal mark of fields: a comma if some are numbers with a comma, and none with a point."""
    if separator == ",":
        return "."
    fields = [field for row in rows for field in row]
    has_comma = any("," in field and COMMA_NUMBER.fullmatch(field) for field in fields)
    has_point = any("." in field and NUMBER.fullmatch(field) for field in fields)
    return "," if has_comma and not has_point else "."


def _is_number(field: str, decimal: str) -> bool:
    pattern = COMMA_NUMBER if decimal == "," else NUMBER
    return not field.strip() or pattern.fullmatch(field) is not None

"""Read tables from CSV files, and refuse files that pandas would misread."""

import logging
import warnings
from pathlib import Path
from typing import Any

import pandas as pd

__all__ = ["read", "read_columns"]

MAX_LINE_BYTES = 100_000  # pandas takes minutes for more columns
SEPARATORS = (";", "\t")  # of other dialects
MAX_QUOTED = 60  # characters of a first line in errors

log = logging.getLogger(__name__)


def read(path: Path, **options: Any) -> pd.DataFrame:
    """Read a table with one line of headings.

    Args:
        path: Path of the file; a compressed file is not decompressed.
        **options: Further options of :func:`pandas.read_csv`.

    Raises:
        ValueError: If the file is not text, a line is too long, or a row has more fields than there are headings, as
            pandas would take its first fields for row names.
    """
    _refuse_long_lines(path)
    return _parse(path, **options)


def read_columns(path: Path, headings: bool | None) -> tuple[pd.DataFrame, list[str]]:
    """Read a table with or without a line of headings; return it with the names of its columns.

    The names are the headings as written, which may be repeated, or the indices of the columns.

    Args:
        path: Path of the file; a compressed file is not decompressed.
        headings: Whether the first line has headings; None if it has them unless all of its fields are numbers.

    Raises:
        ValueError: If the file cannot be read as :func:`read` does, has another separator than the comma, or a first
            line that may be headings or samples: numbers that count from 0 or 1, or other numbers beside text.
    """
    _refuse_long_lines(path)
    fields = _parse(path, header=None, nrows=1, dtype=str, keep_default_na=False).iloc[0].str.strip().tolist()
    if any(separator in field for field in fields for separator in SEPARATORS):
        raise ValueError("its first line has semicolons or tabs: separate the columns by commas, decimals by points")
    has_headings = _has_headings(fields) if headings is None else headings
    if has_headings:
        return _parse(path), fields
    if headings is None:
        log.warning("%s has no headings: its first line is numbers, and is read as samples", path)
    return _parse(path, header=None), [str(index) for index in range(len(fields))]


def _has_headings(fields: list[str]) -> bool:
    """Return whether the fields of the first line are headings, and refuse those that may be samples, too."""
    numbers = [field for field in fields if _is_number(field)]
    texts = [field for field in fields if field and not _is_number(field)]
    are_counted = any(numbers == [str(start + index) for index in range(len(numbers))] for start in (0, 1))
    if not numbers or (are_counted and texts and not any(text[0].isdigit() for text in texts)):
        return True
    if not are_counted and not texts:
        return False
    line = ",".join(fields)
    quoted = line if len(line) <= MAX_QUOTED else f"{line[:MAX_QUOTED]} ..."
    raise ValueError(f"its first line, {quoted}, may be headings or samples: give headings=true or headings=false")


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _refuse_long_lines(path: Path) -> None:
    with path.open("rb") as file:
        number = 1
        while line := file.readline(MAX_LINE_BYTES + 1):
            if len(line) > MAX_LINE_BYTES:
                raise ValueError(f"line {number} has more than {MAX_LINE_BYTES} bytes")
            number += 1


def _parse(path: Path, **options: Any) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            return pd.read_csv(path, compression=None, encoding="utf-8", index_col=False, low_memory=False, **options)
        except (pd.errors.ParserWarning, OverflowError) as error:
            raise ValueError(error) from error

"""Read tables from CSV files, and refuse files that pandas would misread."""

import csv
import logging
import warnings
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

__all__ = ["read", "read_columns"]

MAX_LINE_BYTES = 100_000
MAX_COLUMNS = 10_000  # the time of pandas grows with the square of the columns of equal headings
MAX_LINES_OF_HEADINGS = 100  # a heading in quotes may have line breaks
MAX_FILLED_CELLS, MAX_CELLS_PER_BYTE = 5_000_000, 2  # pandas fills rows that have fewer fields than there are columns
SEPARATORS = (";", "\t")  # of other dialects
MAX_QUOTED = 60  # characters of a first line in errors

log = logging.getLogger(__name__)


def read(path: Path, **options: Any) -> pd.DataFrame:
    """Read a table with one line of headings.

    Args:
        path: Path of the file; a compressed file is not decompressed.
        **options: Further options of :func:`pandas.read_csv`.

    Raises:
        ValueError: If the file is not text, has too many columns or too long a line, or a row has more fields than
            there are headings, as pandas would take its first fields for row names.
    """
    _refuse_excessive_size(path)
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
    _refuse_excessive_size(path)
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


def _refuse_excessive_size(path: Path) -> None:
    """Refuse a table that would take pandas more memory or time than its size in bytes suggests."""
    n_lines = n_rows = 0
    with path.open("rb") as file:
        while line := file.readline(MAX_LINE_BYTES + 1):
            n_lines += 1
            n_rows += not line.isspace()
            if len(line) > MAX_LINE_BYTES:
                raise ValueError(f"line {n_lines} has more than {MAX_LINE_BYTES} bytes")
    n_columns = _count_columns(path)
    if n_columns > MAX_COLUMNS:
        raise ValueError(f"its first line has {n_columns} fields, {MAX_COLUMNS} columns at most are read")
    if n_rows * n_columns > max(MAX_CELLS_PER_BYTE * path.stat().st_size, MAX_FILLED_CELLS):
        raise ValueError(f"it has {n_columns} columns, but most of its {n_rows} rows have fewer fields")


def _count_columns(path: Path) -> int:
    """Return the number of fields of the first record, which has several lines if a line break is quoted."""
    with path.open(encoding="utf-8", newline="") as file:
        records = csv.reader(islice((line for line in file if not line.isspace()), MAX_LINES_OF_HEADINGS))
        try:
            n_columns = len(next(records, []))
        except csv.Error as error:
            raise ValueError(error) from error
    if n_columns and records.line_num == MAX_LINES_OF_HEADINGS:
        raise ValueError("a quote in its first line is not closed")
    return n_columns


def _parse(path: Path, **options: Any) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            return pd.read_csv(path, compression=None, encoding="utf-8", index_col=False, low_memory=False, **options)
        except (pd.errors.ParserWarning, OverflowError) as error:
            raise ValueError(error) from error

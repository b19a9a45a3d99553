"""Read tables from CSV files, and refuse files that pandas would misread."""

import csv
import io
import logging
import warnings
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from san.data.csv_dialect import COMMENTS, Dialect, dialect_of

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
    _refuse_long_lines(path)
    _refuse_excessive_size(path, Dialect())
    return _parse(path, **options)


def read_columns(path: Path, headings: bool | None) -> tuple[pd.DataFrame, list[str], str]:
    """Read a table with or without a line of headings; return it with the names of its columns and its decimal mark.

    The names are the headings as written, which may be repeated, or the indices of the columns. A column that has texts
    beside numbers keeps its decimal mark.

    Args:
        path: Path of the file; a compressed file is not decompressed.
        headings: Whether the first line has headings; None if it has them unless all of its fields are numbers.

    Raises:
        ValueError: If the file cannot be read as :func:`read` does, its lines are not divided alike, or its first line
            may be headings or samples: numbers that count from 0 or 1, or other numbers beside text.
    """
    _refuse_long_lines(path)
    dialect = dialect_of(path)
    _refuse_excessive_size(path, dialect)
    options: dict[str, Any] = {"sep": r"\s+" if dialect.separator == " " else dialect.separator}
    options["decimal"] = dialect.decimal
    if dialect != Dialect():
        log.info("%s: %s", path, dialect.name)

    def parse(**others: Any) -> pd.DataFrame:
        content = _without_comments(path) if dialect.has_comments else path
        return _parse(content, **options, **others)

    fields = parse(header=None, nrows=1, dtype=str, keep_default_na=False).iloc[0].str.strip().tolist()
    if dialect.separator == "," and any(separator in field for field in fields for separator in SEPARATORS):
        raise ValueError("its first line has semicolons or tabs, which do not divide all lines alike")
    if len(fields) == 1:
        _report_blank_lines(path)
    if dialect.headings and headings is not False:
        return parse(header=None), list(dialect.headings), dialect.decimal
    has_headings = _has_headings(fields, dialect.decimal) if headings is None else headings
    if has_headings:
        return parse(), fields, dialect.decimal
    if headings is None:
        log.warning("%s has no headings: its first line is numbers, and is read as samples", path)
    return parse(header=None), [str(index) for index in range(len(fields))], dialect.decimal


def _report_blank_lines(path: Path) -> None:
    """Warn of blank lines between the rows of one column, which may be missing samples."""
    with path.open("rb") as file:
        lines = [line.isspace() for line in file]
    while lines and lines[-1]:
        lines.pop()
    if n_blank := sum(lines):
        log.warning("%s: %d blank lines are skipped; fill them, such as by nan, if samples are missing", path, n_blank)


def _without_comments(path: Path) -> io.StringIO:
    """Return the lines that are no comments."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return io.StringIO("".join(line for line in file if not line.startswith(COMMENTS)), newline="")


def _has_headings(fields: list[str], decimal: str) -> bool:
    """Return whether the fields of the first line are headings, and refuse those that may be samples, too."""
    numbers = [field for field in fields if _is_number(field.replace(decimal, "."))]
    texts = [field for field in fields if field and not _is_number(field.replace(decimal, "."))]
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
    """Refuse a file that is hardly a table, before all of a line is read as text."""
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES + 1), b""), start=1):
            if len(line) > MAX_LINE_BYTES:
                raise ValueError(f"line {number} has more than {MAX_LINE_BYTES} bytes")


def _refuse_excessive_size(path: Path, dialect: Dialect) -> None:
    """Refuse a table that would take pandas more memory or time than its size in bytes suggests."""
    with path.open("rb") as file:
        n_rows = sum(not line.isspace() for line in file)
    n_columns = _count_columns(path, dialect)
    if n_columns > MAX_COLUMNS:
        raise ValueError(f"its first line has {n_columns} fields, {MAX_COLUMNS} columns at most are read")
    if n_rows * n_columns > max(MAX_CELLS_PER_BYTE * path.stat().st_size, MAX_FILLED_CELLS):
        raise ValueError(f"it has {n_columns} columns, but most of its {n_rows} rows have fewer fields")


def _count_columns(path: Path, dialect: Dialect) -> int:
    """Return the number of fields of the first record, which has several lines if a line break is quoted."""
    with path.open(encoding="utf-8", newline="") as file:
        lines = (line for line in file if not line.isspace())
        if dialect.has_comments:
            lines = (line for line in lines if not line.removeprefix("\ufeff").startswith(COMMENTS))
        if dialect.separator == " ":
            return len(next(lines, "").split())
        records = csv.reader(islice(lines, MAX_LINES_OF_HEADINGS), delimiter=dialect.separator)
        try:
            n_columns = len(next(records, []))
        except csv.Error as error:
            raise ValueError(error) from error
    if n_columns and records.line_num == MAX_LINES_OF_HEADINGS:
        raise ValueError("a quote in its first line is not closed")
    return n_columns


def _parse(content: Path | io.StringIO, **options: Any) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            return pd.read_csv(
                content, compression=None, encoding="utf-8", index_col=False, low_memory=False, **options
            )
        except (pd.errors.ParserWarning, OverflowError) as error:
            raise ValueError(error) from error

"""The user's own signal: a column of each CSV file, or several."""

import logging
from functools import partial
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from san.data import csv_files
from san.data.arguments import checked_arguments
from san.data.file_splits import file_splits
from san.data.files import existing_file, reason
from san.data.names import Channels, indices_of
from san.data.signal import Signal, one_or_several, signal_name
from san.data.splits import Splits
from san.data.times import Sampling, sampling_of, time_column
from san.ops.choices import check_choice

__all__ = ["SUFFIXES", "Headings", "load", "read"]

SUFFIXES = (".csv", ".tsv", ".txt")

Headings = Literal[True, False, None]

DECIMAL_COMMA = r"\s*[+-]?\d*,\d+\s*"

log = logging.getLogger(__name__)


@checked_arguments
def load(
    *,
    path: str,
    column: Channels,
    sampling_frequency: float | None,
    headings: Headings = None,
    time: int | str | bool | None = None,
    **options: Any,
) -> Splits:
    """Read columns of one file, or of each file of a folder or pattern, and divide it into windows.

    Args:
        path: Path of a file or folder, or a pattern; see :func:`san.data.file_splits.file_splits`.
        column: Index or heading of a column, several, ``all``, or None for the only one; times do not count.
        sampling_frequency: Sampling frequency in hertz; None to take it from the column of times, if there is one.
        headings: Whether the first line has headings; None if it has them unless all of its fields are numbers.
        time: Index or heading of the column of times; False for none; None for one with a heading such as ``time``.
        **options: Windows, splits, scaling and invalid samples; see :func:`san.data.scaling.signal_splits`.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If a file cannot be read as :func:`read` does, or an option is invalid or does not fit the signal.
    """
    reader = partial(read, column=column, sampling_frequency=sampling_frequency, headings=headings, time=time)
    return file_splits(reader, path, SUFFIXES, **options)


@checked_arguments
def read(
    *,
    path: str,
    column: Channels = None,
    sampling_frequency: float | None = None,
    headings: Headings = None,
    time: int | str | bool | None = None,
) -> Signal:
    """Read columns; a field that is empty or not a number, or a row that its time shows missing, is an invalid sample.

    Args:
        path: Path of a file with commas, semicolons, tabs or white space between the columns.
        column: Index or heading of a column, several, ``all``, or None for the only one; times do not count.
        sampling_frequency: Sampling frequency in hertz; None to take it from the column of times, if there is one.
        headings: Whether the first line has headings; None if it has them unless all of its fields are numbers.
        time: Index or heading of the column of times; False for none; None for one with a heading such as ``time``.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file cannot be read or its first line may be headings or samples, if the column is unknown
            or may be another one, or if the times are irregular or give another sampling frequency.
    """
    check_choice("headings", headings, Headings)
    file, place = existing_file(path, "give a CSV file, or a folder or pattern of them"), f"path={path}"
    try:
        table, names, decimal = csv_files.read_columns(file, headings)
    except UnicodeDecodeError as error:
        raise ValueError(f"{place} cannot be read as a table: it is not text in UTF-8, save it as such") from error
    except (ValueError, OSError) as error:
        raise ValueError(f"{place} cannot be read as a table: {reason(error)}") from error
    times = time_column(time, names, place)
    indices = indices_of("column", column, names, place, but=times)
    for index in indices:
        log.info("%s: column %d (%s) of %d, %d rows", path, index, names[index], len(names), len(table))
    units = _units(table, decimal)
    if units:
        table = table.iloc[1:]
    sampling = Sampling(sampling_frequency)
    if times is not None and times not in indices:
        fields = _with_points(table.iloc[:, times], decimal)
        heading = f"{names[times]} [{units[times]}]" if units else names[times]
        sampling = sampling_of(fields, heading, sampling_frequency, f"{place}, column={names[times]}")
    values = [
        sampling.placed(_numbers(_with_points(table.iloc[:, index], decimal), f"{place}, column={names[index]}"))
        for index in indices
    ]
    chosen = tuple(names[index] for index in indices)
    return Signal(
        signal_name("csv", file.stem, chosen),
        one_or_several(values),
        sampling.frequency,
        chosen,
        tuple(units[index] if units else "" for index in indices),
    )


def _units(table: pd.DataFrame, decimal: str) -> list[str]:
    """Return the fields of a row of units below the headings: texts alone, above a row with a number; else none."""
    if len(table) < 2 or table.iloc[0].isna().any():
        return []
    rows = (_with_points(table.iloc[row].astype(str), decimal) for row in (0, 1))
    first, second = (pd.to_numeric(row, errors="coerce") for row in rows)
    if first.notna().any() or second.isna().all():
        return []
    units = [str(unit).strip(" '\"[]()") for unit in table.iloc[0]]
    log.warning("the first row is read as units: %s", ", ".join(units))
    return units


def _with_points(fields: "pd.Series[Any]", decimal: str) -> "pd.Series[Any]":
    """Return texts with decimal points; pandas leaves the commas of a column that is not of numbers alone."""
    if decimal == "." or pd.api.types.is_numeric_dtype(fields.dtype):
        return fields
    return fields.map(lambda field: field.replace(decimal, ".") if isinstance(field, str) else field)


def _numbers(fields: "pd.Series[Any]", place: str) -> NDArray[np.float64]:
    """Return the numbers of a column, NaN if a field is not a number; refuse decimal commas."""
    try:
        numbers: NDArray[np.float64] = pd.to_numeric(fields, errors="coerce").to_numpy(dtype="float64", copy=True)
    except OverflowError as error:
        raise ValueError(f"{place}: an integer is too large") from error
    texts = fields[np.isnan(numbers) & fields.notna().to_numpy()].astype(str)
    commas = texts[texts.str.fullmatch(DECIMAL_COMMA)]
    if len(commas):
        raise ValueError(f"{place}: {commas.iloc[0]} has a decimal comma; write decimal points")
    return numbers

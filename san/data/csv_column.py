"""The user's own signal: one column of a CSV file."""

import logging
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from san.data import csv_files
from san.data.arguments import checked_arguments
from san.data.files import existing_file
from san.data.names import index_of
from san.data.scaling import signal_splits
from san.data.signal import Signal
from san.data.splits import Splits
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
    column: int | str | None,
    sampling_frequency: float | None,
    headings: Headings = None,
    **options: Any,
) -> Splits:
    """Read a column and divide it into windows; a field that is empty or not a number is an invalid sample.

    Args:
        path: Path of a file with commas between the columns.
        column: Index or heading of the column; None for the only column.
        sampling_frequency: Sampling frequency in hertz; None if unknown.
        headings: Whether the first line has headings; None if it has them unless all of its fields are numbers.
        **options: Windows, splits, scaling and invalid samples; see :func:`san.data.scaling.signal_splits`.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file cannot be read or its first line may be headings or samples, if the column is unknown or
            may be another one, or if an option is invalid or does not fit the signal.
    """
    signal = read(path=path, column=column, sampling_frequency=sampling_frequency, headings=headings)
    return signal_splits(
        signal.samples,
        name=signal.name,
        sampling_frequency=signal.sampling_frequency,
        channel=signal.channel,
        **options,
    )


@checked_arguments
def read(
    *,
    path: str,
    column: int | str | None = None,
    sampling_frequency: float | None = None,
    headings: Headings = None,
) -> Signal:
    """Read a column; a field that is empty or not a number is an invalid sample.

    Args:
        path: Path of a file with commas between the columns.
        column: Index or heading of the column; None for the only column.
        sampling_frequency: Sampling frequency in hertz; None if unknown.
        headings: Whether the first line has headings; None if it has them unless all of its fields are numbers.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file cannot be read or its first line may be headings or samples, or if the column is unknown
            or may be another one.
    """
    check_choice("headings", headings, Headings)
    file = existing_file(path, "give a CSV file")
    try:
        table, names = csv_files.read_columns(file, headings)
    except (ValueError, OSError) as error:
        raise ValueError(f"path={path} cannot be read as a table: {error}") from error
    index = index_of("column", column, names, f"path={path}")
    log.info("%s: column %d (%s) of %d, %d rows", path, index, names[index], len(names), len(table))
    values = _numbers(table.iloc[:, index], f"path={path}, column={names[index]}")
    return Signal(f"csv/{file.stem}/{names[index]}", values, sampling_frequency, names[index])


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

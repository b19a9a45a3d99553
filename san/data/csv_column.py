"""The user's own signal: one column of a CSV file."""

from pathlib import Path
from typing import Any

import pandas as pd

from san.data import csv_files
from san.data.scaling import signal_splits
from san.data.splits import Splits

__all__ = ["load"]


def load(*, path: str, column: int | str, sampling_frequency: float | None, **options: Any) -> Splits:
    """Read a column and divide it into windows; a field that is empty or not a number is an invalid sample.

    Args:
        path: Path of a file with one line of headings and with commas between the columns.
        column: Index or heading of the column.
        sampling_frequency: Sampling frequency in hertz; None if unknown.
        **options: Windows, splits, scaling and invalid samples; see :func:`san.data.scaling.signal_splits`.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file cannot be read, or an option is invalid or does not fit the signal.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"path={path} is not there: give a CSV file")
    try:
        table = csv_files.read(file)
    except (ValueError, OSError) as error:
        raise ValueError(f"path={path} cannot be read as a table: {error}") from error
    headings = [str(heading) for heading in table.columns]
    if isinstance(column, int) and 0 <= column < len(headings):
        index = column
    elif str(column) in headings:
        index = headings.index(str(column))
    else:
        choices = ", ".join(f"{position} ({heading})" for position, heading in enumerate(headings))
        raise ValueError(f"column={column} is not a column of path={path}; choose one of {choices}")
    try:
        values = pd.to_numeric(table.iloc[:, index], errors="coerce").to_numpy(dtype="float64", copy=True)
    except OverflowError as error:
        raise ValueError(f"path={path}, column={column}: an integer is too large") from error
    name = f"csv/{file.stem}/{headings[index]}"
    return signal_splits(values, name=name, sampling_frequency=sampling_frequency, **options)

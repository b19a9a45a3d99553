"""One column of a table of one's own."""

from pathlib import Path
from typing import Any

import pandas as pd

from san.data import csv_files
from san.data.scaling import signal_splits
from san.data.splits import Splits

__all__ = ["load"]


def load(*, path: str, column: int | str, sampling_frequency: float | None, **how: Any) -> Splits:
    """Read a column and cut it into windows; what is empty or not a number is an invalid sample.

    Args:
        path: Of a file with one line of headings, and commas between the columns.
        column: Index or heading.
        sampling_frequency: In hertz; None where it is not known.
        **how: It is cut, split and scaled; see :func:`san.data.scaling.signal_splits`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, cut or scaled as asked.
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
        choices = ", ".join(f"{at} ({heading})" for at, heading in enumerate(headings))
        raise ValueError(f"path={path} has no column {column}: column can be {choices}")
    try:
        values = pd.to_numeric(table.iloc[:, index], errors="coerce").to_numpy(dtype="float64", copy=True)
    except OverflowError as error:
        raise ValueError(f"path={path}, column {column}: an integer is too large") from error
    name = f"csv/{file.stem}/{headings[index]}"
    return signal_splits(values, name=name, sampling_frequency=sampling_frequency, **how)

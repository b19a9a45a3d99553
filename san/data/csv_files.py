"""Tables in CSV files, read as they are or not at all."""

import warnings
from pathlib import Path
from typing import Any

import pandas as pd

__all__ = ["read"]

LONGEST = 100_000  # bytes of a line: more columns take pandas minutes


def read(path: Path, **how: Any) -> pd.DataFrame:
    """Read a table with one line of headings.

    Args:
        path: Of the file, which is not unpacked where it is compressed.
        **how: Further options of :func:`pandas.read_csv`.

    Raises:
        ValueError: If it is not text, a line is too long, or a row has more fields than there are headings, which
            pandas would take for names of the rows.
    """
    with path.open("rb") as file:
        number = 1
        while line := file.readline(LONGEST + 1):
            if len(line) > LONGEST:
                raise ValueError(f"line {number} has more than {LONGEST} bytes")
            number += 1
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            return pd.read_csv(path, compression=None, index_col=False, low_memory=False, **how)
        except (pd.errors.ParserWarning, OverflowError) as error:
            raise ValueError(error) from error

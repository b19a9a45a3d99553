"""Read tables from CSV files, and refuse files that pandas would misread."""

import warnings
from pathlib import Path
from typing import Any

import pandas as pd

__all__ = ["read"]

MAX_LINE_BYTES = 100_000  # pandas takes minutes for more columns


def read(path: Path, **options: Any) -> pd.DataFrame:
    """Read a table with one line of headings.

    Args:
        path: Path of the file; a compressed file is not decompressed.
        **options: Further options of :func:`pandas.read_csv`.

    Raises:
        ValueError: If the file is not text, a line is too long, or a row has more fields than there are headings, as
            pandas would take its first fields for row names.
    """
    with path.open("rb") as file:
        number = 1
        while line := file.readline(MAX_LINE_BYTES + 1):
            if len(line) > MAX_LINE_BYTES:
                raise ValueError(f"line {number} has more than {MAX_LINE_BYTES} bytes")
            number += 1
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            return pd.read_csv(path, compression=None, encoding="utf-8", index_col=False, low_memory=False, **options)
        except (pd.errors.ParserWarning, OverflowError) as error:
            raise ValueError(error) from error

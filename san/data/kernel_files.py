"""Kernels in a file of the user: a NumPy array, or a CSV file with one column per kernel."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from san.data import csv_files
from san.data.files import existing_file

__all__ = ["read_kernels"]

NUMBERS = "biuf"  # kinds of dtype: bool, int, uint, float
MAX_VALUES = 10**7  # of a file
ADVICE = "give a .npy or .csv file of kernels"
AXES = {1: "samples", 2: "rows, columns"}


def read_kernels(path: str, n_dims: int, channels: int = 1) -> list[Tensor]:
    """Read kernels of signals or images.

    Args:
        path: Path of a ``.npy`` file, [m] or [kernels, m] for signals and [m, m] or [kernels, m, m] for images, of
            several channels with an axis of channels before; or of a ``.csv`` file of signals of one channel, with one
            column per kernel. Empty fields may end the column of a shorter kernel.
        n_dims: 1 for signals, 2 for images.
        channels: Channels of every kernel.

    Returns:
        The kernels in float32, [m] or [m, m], of several channels [channels, m] or [channels, m, m].

    Raises:
        FileNotFoundError: If there is no file.
        ValueError: If the file cannot be read, or holds anything else than kernels.
    """
    file = existing_file(path, ADVICE, key="initial_kernels")
    readers = {".npy": _of_array, ".csv": _of_table}
    if (suffix := file.suffix.lower()) not in readers:
        raise ValueError(f"initial_kernels={path} ends in {suffix or 'nothing'}: {ADVICE}")
    try:
        kernels = readers[suffix](file, n_dims, channels)
    except Exception as error:  # numpy raises errors of any type for a damaged file
        raise ValueError(f"initial_kernels={path} cannot be read as kernels: {error}") from error
    return [torch.from_numpy(kernel.astype(np.float32)) for kernel in kernels]


def _of_array(file: Path, n_dims: int, channels: int) -> list[NDArray[Any]]:
    array = np.load(file, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray) or array.dtype.kind not in NUMBERS:
        raise ValueError("it is not one array of real numbers")
    n_axes = n_dims + (channels > 1)
    if array.ndim not in (n_axes, n_axes + 1) or (channels > 1 and array.shape[-n_axes] != channels):
        one = f"{f'{channels}, ' if channels > 1 else ''}{AXES[n_dims]}"
        raise ValueError(f"it has the shape {list(array.shape)}; give [{one}] (one kernel) or [kernels, {one}]")
    if not 0 < array.size <= MAX_VALUES:
        raise ValueError(f"it has {array.size} values; 1 to {MAX_VALUES} are read")
    kernels = array[None] if array.ndim == n_axes else array
    if len(set(kernels.shape[-n_dims:])) > 1:
        raise ValueError(f"its kernels have the shape {list(kernels.shape[-n_dims:])}, but must be square")
    return list(kernels)


def _of_table(file: Path, n_dims: int, channels: int) -> list[NDArray[Any]]:
    if n_dims != 1:
        raise ValueError("a table has kernels of signals, but the examples are images: give a .npy file")
    if channels > 1:
        raise ValueError(f"a table has kernels of one channel, but the examples have {channels}: give a .npy file")
    try:
        table, names, _ = csv_files.read_columns(file, None)
    except ValueError as error:
        reason = str(error).partition(": give headings=")[0]  # kernels have no such key
        raise ValueError(f"{reason}; name the columns by texts, such as kernel1,kernel2, or not at all") from error
    return [_column(table.iloc[:, index], name) for index, name in enumerate(names)]


def _column(fields: "pd.Series[Any]", name: str) -> NDArray[np.float64]:
    """Return the numbers of a column, without the empty fields at its end."""
    filled = fields.notna().to_numpy().nonzero()[0]
    fields = fields.iloc[: filled[-1] + 1 if len(filled) else 0]
    numbers: NDArray[np.float64] = pd.to_numeric(fields, errors="coerce").to_numpy(dtype="float64")
    if not len(numbers) or np.isnan(numbers).any():
        raise ValueError(f"column {name} has {'a field that is no number' if len(numbers) else 'no numbers'}")
    return numbers

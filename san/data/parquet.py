"""The user's own recordings in Parquet or Feather: a column of each file, or several."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from san.data.arguments import checked_arguments
from san.data.file_splits import file_splits
from san.data.files import existing_file, reason
from san.data.names import Channels, indices_of
from san.data.optional import imported
from san.data.signal import Signal, one_or_several, signal_name
from san.data.sizes import refuse_excess
from san.data.splits import Splits
from san.data.times import Sampling, sampling_of, time_column

__all__ = ["SUFFIXES", "load", "read"]

PARQUET, FEATHER = (".parquet", ".pq"), (".feather", ".arrow")
SUFFIXES = (*PARQUET, *FEATHER)


@checked_arguments
def load(
    *,
    path: str,
    column: Channels,
    sampling_frequency: float | None,
    time: int | str | bool | None = None,
    **options: Any,
) -> Splits:
    """Read columns of one file, or of each file of a folder or pattern, and divide it into windows.

    Args:
        path: Path of a file or folder, or a pattern; see :func:`san.data.file_splits.file_splits`.
        column: Index or name of a column, several, ``all``, or None for the only one; times do not count.
        sampling_frequency: Sampling frequency in hertz; None to take it from the column of times, if there is one.
        time: Index or name of the column of times; False for none; None for one that is named as such.
        **options: Windows, splits, scaling and invalid samples; see :func:`san.data.scaling.signal_splits`.

    Raises:
        FileNotFoundError: If there is no file.
        ValueError: If a file cannot be read, there is no such column, its times are irregular, or an option is invalid
            or does not fit it.
    """
    reader = partial(read, column=column, sampling_frequency=sampling_frequency, time=time)
    return file_splits(reader, path, SUFFIXES, **options)


@checked_arguments
def read(
    *,
    path: str,
    column: Channels = None,
    sampling_frequency: float | None = None,
    time: int | str | bool | None = None,
) -> Signal:
    """Read columns; null is an invalid sample.

    Args:
        path: Path of a Parquet or Feather file.
        column: Index or name of a column, several, ``all``, or None for the only one; times do not count.
        sampling_frequency: Sampling frequency in hertz; None to take it from the column of times, if there is one.
        time: Index or name of the column of times; False for none; None for one that is named as such.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If pyarrow is not installed, the file is truncated or damaged, there is no such column, it has no
            numbers, or its times are irregular.
    """
    file = existing_file(path, "give a Parquet or Feather file, or a folder or pattern of them")
    place = f"path={path}"
    names = _names(file, path)
    times = time_column(time, names, place)
    indices = indices_of("column", column, names, place, but=times)
    sampling = Sampling(sampling_frequency)
    if times is not None and times not in indices:
        fields = _column(file, times, names, path).to_pandas()
        sampling = sampling_of(fields, names[times], sampling_frequency, f"{place}, column={names[times]}")
    values = [
        sampling.placed(_numbers(_column(file, index, names, path), f"{place}, column={names[index]}", path))
        for index in indices
    ]
    chosen = tuple(names[index] for index in indices)
    return Signal(signal_name("parquet", file.stem, chosen), one_or_several(values), sampling.frequency, chosen)


def _names(file: Path, path: str) -> list[str]:
    """Return the names of the columns, after the number of rows was compared with the size of the file."""
    try:
        if file.suffix.lower() in FEATHER:
            schema = imported("pyarrow.ipc", path).open_file(file.read_bytes()).schema
        else:
            with imported("pyarrow.parquet", path).ParquetFile(file) as opened:
                schema = opened.schema_arrow
                refuse_excess(opened.metadata.num_rows, file)
        return [str(name) for name in schema.names]
    except Exception as error:  # pyarrow raises errors of many types for a damaged file
        raise _unreadable(path, error) from error


def _column(file: Path, index: int, names: list[str], path: str) -> Any:
    """Read one column."""
    ipc, parquet = imported("pyarrow.ipc", path), imported("pyarrow.parquet", path)
    try:
        if file.suffix.lower() in FEATHER:
            options = ipc.IpcReadOptions(included_fields=[index], use_threads=False)
            column = ipc.open_file(file.read_bytes(), options=options).read_all().column(0)
        elif names.count(names[index]) > 1:
            raise ValueError(f"several columns have the name {names[index]}")
        else:
            with parquet.ParquetFile(file, page_checksum_verification=True) as opened:
                column = opened.read(columns=[names[index]], use_threads=False).column(0)
        column.validate(full=True)
    except Exception as error:
        raise _unreadable(path, error) from error
    return column


def _numbers(column: Any, place: str, path: str) -> NDArray[np.float64]:
    """Return a column as numbers, NaN if null; refuse a column of another type."""
    arrow = imported("pyarrow", path)
    is_number = (arrow.types.is_integer, arrow.types.is_floating, arrow.types.is_decimal, arrow.types.is_boolean)
    if not any(is_kind(column.type) for is_kind in is_number):
        raise ValueError(f"{place} has values of type {column.type}, not numbers: choose another column")
    return np.array(column.cast(arrow.float64(), safe=False).to_numpy(), dtype=np.float64)


def _unreadable(path: str, error: Exception) -> ValueError:
    return ValueError(f"path={path} cannot be read as Parquet or Feather, it is damaged: {reason(error)}")

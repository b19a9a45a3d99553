"""Read one recording by the format that its file name says, without splitting or scaling it."""

from collections.abc import Callable, Mapping
from inspect import signature
from pathlib import Path
from typing import Any

from san.data import csv_column, edf, mat, numpy_array, parquet, wav, wfdb_record
from san.data.signal import Signal

__all__ = ["READERS", "read_recording"]

READERS: Mapping[str, Callable[..., Signal]] = {
    suffix: module.read
    for module in (csv_column, edf, mat, numpy_array, parquet, wav, wfdb_record)
    for suffix in module.SUFFIXES
}
"""The function ``read(path, **options)`` of each suffix."""


def read_recording(path: str, **options: Any) -> Signal:
    """Read one recording.

    Args:
        path: Path of a file, whose suffix names its format, or of a WFDB record without suffix.
        **options: Options of the format, such as ``channel``, ``column``, ``variable`` or ``sampling_frequency``; None
            stands for an option that is not given.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If no reader has the suffix, the file cannot be read, or an option is invalid or is not one of the
            format.
    """
    suffix = Path(path).suffix.lower()
    if Path(f"{path}.hea").is_file():
        suffix = ".hea"
    if suffix not in READERS:
        raise ValueError(
            f"path={path} has {f'the suffix {suffix}' if suffix else 'no suffix'}; give a file of "
            f"{', '.join(sorted(READERS))}, or a WFDB record"
        )
    read = READERS[suffix]
    given = {key: value for key, value in options.items() if value is not None}
    known = [name for name in signature(read).parameters if name != "path"]
    for key in given:
        if key not in known:
            raise ValueError(f"{key}={given[key]} does not apply to {suffix} files, which have {', '.join(known)}")
    return read(path=path, **given)

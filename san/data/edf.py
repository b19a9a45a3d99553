"""The user's own recordings in EDF, EDF+, BDF or BDF+: one channel of each file."""

import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from san.data.arguments import checked_arguments
from san.data.file_splits import file_splits
from san.data.files import existing_file, reason
from san.data.names import index_of
from san.data.optional import imported
from san.data.signal import Signal, agreed_frequency
from san.data.splits import Splits

__all__ = ["SUFFIXES", "load", "read"]

SUFFIXES = (".edf", ".bdf")
DISCONTINUOUS = ("EDF+D", "BDF+D")


@checked_arguments
def load(*, path: str, channel: int | str | None, **options: Any) -> Splits:
    """Read a channel of one file, or of each file of a folder or pattern, and divide it into windows.

    Args:
        path: Path of a file or folder, or a pattern; see :func:`san.data.file_splits.file_splits`.
        channel: Index or name of the channel; None for the only channel.
        **options: Windows, splits, scaling and invalid samples; see :func:`san.data.scaling.signal_splits`.

    Raises:
        FileNotFoundError: If there is no file.
        ValueError: If a file cannot be read, there is no such channel, or an option is invalid or does not fit it.
    """
    return file_splits(partial(read, channel=channel), path, SUFFIXES, **options)


@checked_arguments
def read(*, path: str, channel: int | str | None = None, sampling_frequency: float | None = None) -> Signal:
    """Read a channel at its own sampling frequency, in its own unit; annotations are not a channel.

    Args:
        path: Path of an EDF or BDF file.
        channel: Index or name of the channel; None for the only channel.
        sampling_frequency: Sampling frequency in hertz, which must be that of the channel; None to take it.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If edfio is not installed, the file is truncated, damaged or discontinuous, or there is no such
            channel.
    """
    file = existing_file(path, "give an EDF or BDF file, or a folder or pattern of them")
    edfio = imported("edfio", path)
    is_bdf = file.suffix.lower() == ".bdf"
    open_file = edfio.read_bdf if is_bdf else partial(edfio.read_edf, lazy_load_data=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of files that are incomplete
            recording = open_file(file, header_encoding="latin-1")
            names = [str(label) for label in recording.labels]
            has_gaps = recording.reserved.startswith(DISCONTINUOUS) and not recording.is_continuous
    except Exception as error:  # edfio raises errors of any type for a damaged file
        raise _unreadable(path, error) from error
    if has_gaps:
        raise ValueError(f"path={path} is discontinuous (EDF+D): export each of its continuous parts to a file")
    index = index_of("channel", channel, names, f"path={path}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            signal = recording.signals[index]
            samples: NDArray[np.float64] = np.array(signal.data, dtype=np.float64)
            frequency, unit = float(signal.sampling_frequency), str(signal.physical_dimension).strip()
    except Exception as error:
        raise _unreadable(path, error) from error
    frequency = agreed_frequency(sampling_frequency, frequency, f"path={path}")
    return Signal(f"edf/{Path(path).stem}/{names[index]}", samples, frequency, names[index], unit)


def _unreadable(path: str, error: Exception) -> ValueError:
    return ValueError(f"path={path} cannot be read as EDF or BDF, it is damaged or incomplete: {reason(error)}")

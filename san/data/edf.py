"""The user's own recordings in EDF, EDF+, BDF or BDF+: a channel of each file, or several."""

import warnings
from collections.abc import Sequence
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
from san.data.signal import Signal, agreed_frequency, one_or_several, signal_name
from san.data.splits import Splits

__all__ = ["SUFFIXES", "load", "read"]

SUFFIXES = (".edf", ".bdf")
DISCONTINUOUS = ("EDF+D", "BDF+D")
MAX_NAMED = 10  # channels of one sampling frequency in an error


@checked_arguments
def load(*, path: str, channel: Channels, **options: Any) -> Splits:
    """Read channels of one file, or of each file of a folder or pattern, and divide it into windows.

    Args:
        path: Path of a file or folder, or a pattern; see :func:`san.data.file_splits.file_splits`.
        channel: Index or name of a channel, several, or ``all``; None for the only channel.
        **options: Windows, splits, scaling and invalid samples; see :func:`san.data.scaling.signal_splits`.

    Raises:
        FileNotFoundError: If there is no file.
        ValueError: If a file cannot be read, there is no such channel, or an option is invalid or does not fit it.
    """
    return file_splits(partial(read, channel=channel), path, SUFFIXES, **options)


@checked_arguments
def read(*, path: str, channel: Channels = None, sampling_frequency: float | None = None) -> Signal:
    """Read channels of one sampling frequency, each in its own unit; annotations are not a channel.

    Args:
        path: Path of an EDF or BDF file.
        channel: Index or name of a channel, several, or ``all``; None for the only channel.
        sampling_frequency: Sampling frequency in hertz, which must be that of the channel; None to take it.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If edfio is not installed, the file is truncated, damaged or discontinuous, there is no such
            channel, or the channels have different sampling frequencies.
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
    indices = indices_of("channel", channel, names, f"path={path}")
    chosen = [names[index] for index in indices]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            signals = [recording.signals[index] for index in indices]
            frequencies = [float(signal.sampling_frequency) for signal in signals]
            units = tuple(str(signal.physical_dimension).strip() for signal in signals)
    except Exception as error:
        raise _unreadable(path, error) from error
    _refuse_different_frequencies(frequencies, chosen, f"path={path}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            samples: list[NDArray[np.float64]] = [np.array(signal.data, dtype=np.float64) for signal in signals]
    except Exception as error:
        raise _unreadable(path, error) from error
    frequency = agreed_frequency(sampling_frequency, frequencies[0], f"path={path}")
    name = signal_name("edf", Path(path).stem, chosen)
    return Signal(name, one_or_several(samples), frequency, tuple(chosen), units)


def _refuse_different_frequencies(frequencies: Sequence[float], names: Sequence[str], place: str) -> None:
    """Refuse channels that have different numbers of samples."""
    by_frequency: dict[float, list[str]] = {}
    for frequency, name in zip(frequencies, names, strict=True):
        by_frequency.setdefault(frequency, []).append(name)
    if len(by_frequency) > 1:
        found = "; ".join(
            f"{frequency:g} hertz: {', '.join(own[:MAX_NAMED])}{' ...' if len(own) > MAX_NAMED else ''}"
            for frequency, own in by_frequency.items()
        )
        raise ValueError(
            f"channel: those of {place} have different sampling frequencies ({found}): choose channels of one of them"
        )


def _unreadable(path: str, error: Exception) -> ValueError:
    return ValueError(f"path={path} cannot be read as EDF or BDF, it is damaged or incomplete: {reason(error)}")

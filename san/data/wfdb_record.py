"""The user's own signal: a channel of a WFDB record, or several."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from san.data.arguments import checked_arguments
from san.data.file_splits import file_splits
from san.data.files import existing_file
from san.data.names import Channels
from san.data.recording import Recording, open_recording
from san.data.signal import Signal, agreed_frequency, one_or_several
from san.data.splits import Splits
from san.data.wfdb_files import open_channels, read_channels

__all__ = ["SUFFIXES", "load", "read", "stream"]

SUFFIXES = (".hea",)


@checked_arguments
def load(*, path: str, channel: Channels, **options: Any) -> Splits:
    """Read channels and divide them into windows.

    Args:
        path: Path of the record, with or without ``.hea``, or a folder or pattern of ``.hea`` files; see
            :func:`san.data.file_splits.file_splits`.
        channel: Index or name of a channel, several, or ``all``; None for the only channel.
        **options: Windows, splits, scaling and invalid samples; see :func:`san.data.scaling.signal_splits`.

    Raises:
        FileNotFoundError: If the record does not exist.
        ValueError: If the record cannot be read, or an option is invalid or does not fit the signal.
    """
    place = f"{path}.hea" if Path(f"{path}.hea").is_file() else path
    return file_splits(partial(read, channel=channel), place, SUFFIXES, **options)


@checked_arguments
def read(*, path: str, channel: Channels = None, sampling_frequency: float | None = None) -> Signal:
    """Read channels.

    Args:
        path: Path of the record, with or without ``.hea``.
        channel: Index or name of a channel, several, or ``all``; None for the only channel.
        sampling_frequency: Sampling frequency in hertz, which must be that of the record; None to take it.

    Raises:
        FileNotFoundError: If the record does not exist.
        ValueError: If the record cannot be read, or there is no such channel.
    """
    record = _record_path(path)
    content = read_channels(str(record), record, channel, None)
    frequency = agreed_frequency(sampling_frequency, float(content.fs), f"path={path}")
    samples = one_or_several(np.asarray(content.p_signal.T, dtype=np.float64))
    names, units = (tuple(map(str, own)) for own in (content.sig_name, content.units))
    return Signal(f"wfdb/{record.name}", samples, frequency, names, units)


@checked_arguments
def stream(*, path: str, channel: Channels, chunk: int, **options: Any) -> Recording:
    """Open channels for reading in chunks.

    Args:
        path: Path of the record, with or without ``.hea``.
        channel: Index or name of a channel, several, or ``all``; None for the only channel.
        chunk: Number of samples to read at a time.
        **options: Scaling and invalid samples; see :func:`san.data.recording.open_recording`.

    Raises:
        FileNotFoundError: If the record does not exist.
        ValueError: If the record cannot be read, or an option is invalid or does not fit it.
    """
    record = _record_path(path)
    read_samples, n_samples, sampling_frequency, names, units = open_channels(str(record), record, channel)
    return open_recording(
        read_samples,
        n_samples,
        name=f"wfdb/{record.name}",
        sampling_frequency=sampling_frequency,
        chunk=chunk,
        channels=names,
        channel_units=units,
        **options,
    )


def _record_path(path: str) -> Path:
    """Return the path of a record without its suffix, and refuse a record that does not exist."""
    record = Path(str(path).removesuffix(".hea"))
    existing_file(f"{record}.hea", "give the path of a WFDB record, with or without .hea")
    return record

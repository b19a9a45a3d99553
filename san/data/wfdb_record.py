"""The user's own signal: one channel of a WFDB record."""

from pathlib import Path
from typing import Any

from san.data.arguments import checked_arguments
from san.data.files import existing_file
from san.data.recording import Recording, open_recording
from san.data.scaling import signal_splits
from san.data.splits import Splits
from san.data.wfdb_files import open_channel, read_channel

__all__ = ["load", "stream"]


@checked_arguments
def load(*, path: str, channel: int | str, **options: Any) -> Splits:
    """Read a channel and divide it into windows.

    Args:
        path: Path of the record, with or without ``.hea``.
        channel: Index or name of the channel.
        **options: Windows, splits, scaling and invalid samples; see :func:`san.data.scaling.signal_splits`.

    Raises:
        FileNotFoundError: If the record does not exist.
        ValueError: If the record cannot be read, or an option is invalid or does not fit the signal.
    """
    record = _record_path(path)
    content = read_channel(str(record), record, channel, None)
    return signal_splits(
        content.p_signal[:, 0],
        name=f"wfdb/{record.name}",
        sampling_frequency=float(content.fs),
        channel=str(content.sig_name[0]),
        unit=str(content.units[0]),
        **options,
    )


@checked_arguments
def stream(*, path: str, channel: int | str, chunk: int, **options: Any) -> Recording:
    """Open a channel for reading in chunks.

    Args:
        path: Path of the record, with or without ``.hea``.
        channel: Index or name of the channel.
        chunk: Number of samples to read at a time.
        **options: Scaling and invalid samples; see :func:`san.data.recording.open_recording`.

    Raises:
        FileNotFoundError: If the record does not exist.
        ValueError: If the record cannot be read, or an option is invalid or does not fit it.
    """
    record = _record_path(path)
    read_samples, n_samples, sampling_frequency = open_channel(str(record), record, channel)
    return open_recording(
        read_samples,
        n_samples,
        name=f"wfdb/{record.name}",
        sampling_frequency=sampling_frequency,
        chunk=chunk,
        **options,
    )


def _record_path(path: str) -> Path:
    """Return the path of a record without its suffix, and refuse a record that does not exist."""
    record = Path(str(path).removesuffix(".hea"))
    existing_file(f"{record}.hea", "give the path of a WFDB record, with or without .hea")
    return record

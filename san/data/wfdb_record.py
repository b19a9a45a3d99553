"""One channel of a WFDB record of one's own."""

from pathlib import Path
from typing import Any

from san.data.recording import Recording, open_recording
from san.data.scaling import signal_splits
from san.data.splits import Splits
from san.data.wfdb_files import open_channel, read_channel

__all__ = ["load", "stream"]


def load(*, path: str, channel: int | str, **how: Any) -> Splits:
    """Read a channel and cut it into windows.

    Args:
        path: Of the record, with or without ``.hea``.
        channel: Index or name.
        **how: It is cut, split and scaled; see :func:`san.data.scaling.signal_splits`.

    Raises:
        FileNotFoundError: If there is no such record.
        ValueError: If it cannot be read, cut or scaled as asked.
    """
    record = _find(path)
    content = read_channel(str(record), record, channel, None)
    return signal_splits(
        content.p_signal[:, 0], name=f"wfdb/{record.name}", sampling_frequency=float(content.fs), **how
    )


def stream(*, path: str, channel: int | str, chunk: int, **how: Any) -> Recording:
    """Open a channel of which pieces are read when they are asked for.

    Args:
        path: Of the record, with or without ``.hea``.
        channel: Index or name.
        chunk: Samples to read at a time.
        **how: It is scaled; see :func:`san.data.recording.open_recording`.

    Raises:
        FileNotFoundError: If there is no such record.
        ValueError: If it cannot be read or scaled as asked.
    """
    record = _find(path)
    samples, n_samples, sampling_frequency = open_channel(str(record), record, channel)
    return open_recording(
        samples, n_samples, name=f"wfdb/{record.name}", sampling_frequency=sampling_frequency, chunk=chunk, **how
    )


def _find(path: str) -> Path:
    record = Path(path.removesuffix(".hea"))
    if not record.with_name(f"{record.name}.hea").is_file():
        raise FileNotFoundError(f"path={path} is not a WFDB record: {record}.hea is not there")
    return record

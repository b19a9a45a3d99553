"""The user's own recordings as sound, WAV or FLAC: a channel of each file, or several."""

import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from san.data.arguments import checked_arguments
from san.data.file_splits import file_splits
from san.data.files import existing_file, reason
from san.data.names import Channels, indices_of
from san.data.signal import Signal, agreed_frequency, one_or_several
from san.data.sizes import refuse_excess
from san.data.splits import Splits

__all__ = ["SUFFIXES", "load", "read"]

SUFFIXES = (".wav", ".flac")
FORMATS = ("WAV", "WAVEX", "RF64", "FLAC")
BLOCK = 2**18  # frames
# What libsndfile says of a data chunk that is shorter than its size; a program that writes to a pipe cannot know it.
SHORTENED, UNKNOWN_SIZE = re.compile(r"^data : (\d+) \(should be \d+\)", re.MULTILINE), 0x7FFF0000


@checked_arguments
def load(*, path: str, channel: Channels, **options: Any) -> Splits:
    """Read channels of one file, or of each file of a folder or pattern, and divide it into windows.

    Args:
        path: Path of a file or folder, or a pattern; see :func:`san.data.file_splits.file_splits`.
        channel: Index of a channel, several, or ``all``; None for the only channel.
        **options: Windows, splits, scaling and invalid samples; see :func:`san.data.scaling.signal_splits`.

    Raises:
        FileNotFoundError: If there is no file.
        ValueError: If a file cannot be read, there is no such channel, or an option is invalid or does not fit it.
    """
    return file_splits(partial(read, channel=channel), path, SUFFIXES, **options)


@checked_arguments
def read(*, path: str, channel: Channels = None, sampling_frequency: float | None = None) -> Signal:
    """Read channels; integers are divided by the largest integer of their bits.

    Args:
        path: Path of a WAV or FLAC file.
        channel: Index of a channel, several, or ``all``; None for the only channel.
        sampling_frequency: Sampling frequency in hertz, which must be that of the file; None to take it.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is of another format, truncated or damaged, or there is no such channel.
    """
    file = existing_file(path, "give a WAV or FLAC file, or a folder or pattern of them")
    try:
        with soundfile.SoundFile(str(file)) as sound:
            if sound.format not in FORMATS:
                raise ValueError(f"its format is {sound.format_info}")
            _refuse_truncated(sound.extra_info)
            refuse_excess(sound.frames, file)
            every = [str(one) for one in range(sound.channels)]
            indices = indices_of("channel", channel, every, f"path={path}")
            frequency, n_samples = float(sound.samplerate), int(sound.frames)
            samples: NDArray[np.float64] = np.empty((len(indices), n_samples))
            for start in range(0, n_samples, BLOCK):
                block = sound.read(min(BLOCK, n_samples - start), dtype="float64", always_2d=True)
                if len(block) < min(BLOCK, n_samples - start):
                    raise ValueError(f"it ends at sample {start + len(block)}, but its header gives {n_samples}")
                samples[:, start : start + len(block)] = block[:, indices].T
    except Exception as error:
        if str(error).startswith("channel="):
            raise
        why = reason(error) if isinstance(error, ValueError) else "it is truncated, damaged or of another format"
        raise ValueError(f"path={path} cannot be read as WAV or FLAC: {why}") from error
    frequency = agreed_frequency(sampling_frequency, frequency, f"path={path}")
    channels = ("",) if channel is None else tuple(map(str, indices))
    return Signal(f"wav/{Path(path).stem}", one_or_several(samples), frequency, channels)


def _refuse_truncated(said: str) -> None:
    """Refuse a WAV file whose data are shorter than its header gives, which libsndfile reads without an error."""
    found = SHORTENED.search(said)
    if found and int(found[1]) < UNKNOWN_SIZE:
        raise ValueError("it is truncated, its header gives more bytes than it has")

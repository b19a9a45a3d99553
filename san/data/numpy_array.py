"""The user's own signals or images: an array in a file of NumPy or torch."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from san.data.arguments import checked_arguments
from san.data.arrays import array_splits, brackets, check_axes, one_channel
from san.data.file_splits import file_splits
from san.data.files import matching_files
from san.data.numpy_files import SUFFIXES, open_array
from san.data.recording import Recording, open_recording
from san.data.signal import Signal
from san.data.splits import Splits

__all__ = ["SUFFIXES", "load", "read", "stream"]


@checked_arguments
def load(
    *,
    path: str,
    sampling_frequency: float | None,
    variable: str | None = None,
    channel: int | None = None,
    axes: Sequence[str] | None = None,
    **options: Any,
) -> Splits:
    """Read signals or images.

    An array whose axes may be others is refused unless ``axes`` names them: with two axes, one under 100 and the other
    over 1000, because it may be channels by samples; with three axes, the last two of which differ by more than a
    factor of 2, because it may be examples by channels by samples.

    Args:
        path: Path of a ``.npy``, ``.npz`` or ``.pt`` file: [samples], one long signal, which is divided into windows;
            [examples, samples], signals; or [examples, rows, columns], images. Or a folder or pattern of files with one
            long signal each; see :func:`san.data.file_splits.file_splits`.
        sampling_frequency: Sampling frequency in hertz; None if unknown. Images have none.
        variable: Name of the array in a file of several; None for the only one.
        channel: Index of one channel of channels by samples, or samples by channels; None for all other arrays.
        axes: Names of the axes, which confirm that they are [time], [examples, time] or [examples, rows, columns]; None
            to take them by their number.
        **options: Windows, splits, scaling and invalid samples; see :func:`san.data.scaling.signal_splits`.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file cannot be read, or an option is invalid or does not fit the array.
    """
    if channel is not None or matching_files(path, SUFFIXES) is not None:
        reader = partial(read, variable=variable, channel=channel, sampling_frequency=sampling_frequency)
        return file_splits(reader, path, SUFFIXES, **options)
    array, place = open_array(path, variable), f"path={path}"
    check_axes(array.shape, axes, place)
    name = f"numpy/{Path(path).stem}"
    return array_splits(array, name=name, sampling_frequency=sampling_frequency, place=place, **options)


@checked_arguments
def read(
    *,
    path: str,
    variable: str | None = None,
    channel: int | None = None,
    sampling_frequency: float | None = None,
) -> Signal:
    """Read one long signal.

    Args:
        path: Path of a ``.npy``, ``.npz`` or ``.pt`` file, [samples], or 2 axes if a channel is given.
        variable: Name of the array in a file of several; None for the only one.
        channel: Index of the channel along the shorter axis; None for an array of 1 axis.
        sampling_frequency: Sampling frequency in hertz; None if unknown.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file cannot be read or is not one signal.
    """
    samples = _copied(open_array(path, variable), channel, path, slice(None))
    return Signal(f"numpy/{Path(path).stem}", samples, sampling_frequency, "" if channel is None else str(channel))


@checked_arguments
def stream(
    *,
    path: str,
    sampling_frequency: float | None,
    chunk: int,
    variable: str | None = None,
    channel: int | None = None,
    axes: Sequence[str] | None = None,
    **options: Any,
) -> Recording:
    """Open a long signal for reading in chunks.

    Args:
        path: Path of a ``.npy`` file, [samples], or 2 axes if a channel is given.
        sampling_frequency: Sampling frequency in hertz; None if unknown.
        chunk: Number of samples to read at a time.
        variable: None, because a ``.npy`` file has one array.
        channel: Index of the channel along the shorter axis; None for an array of 1 axis.
        axes: [time] or None.
        **options: Scaling and invalid samples; see :func:`san.data.recording.open_recording`.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file cannot be read or is not one signal, or an option is invalid or does not fit it.
    """
    if Path(path).suffix.lower() in (".npz", ".pt"):
        raise ValueError(f"path={path} cannot be read in chunks: save its array as a .npy file")
    array = open_array(path, variable)
    if channel is None and array.ndim != 1:
        raise ValueError(
            f"path={path} has {array.ndim} axes, the shape {brackets(array.shape)}: to read it in chunks, give an "
            "array of 1 axis, [samples], or the index of a channel"
        )
    if channel is None:
        check_axes(array.shape, axes, f"path={path}")
    return open_recording(
        # Each chunk opens the memory map again, so that it does not count as used memory.
        lambda start, stop: _copied(open_array(path, None), channel, path, slice(start, stop)),
        len(one_channel(array, channel, f"path={path}")),
        name=f"numpy/{Path(path).stem}",
        sampling_frequency=sampling_frequency,
        chunk=chunk,
        **options,
    )


def _copied(array: NDArray[Any], channel: int | None, path: str, part: slice) -> NDArray[np.float64]:
    """Return a copy of a part of one signal."""
    return np.array(one_channel(array, channel, f"path={path}")[part], dtype=np.float64)

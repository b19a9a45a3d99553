"""The user's own signals or images, of one channel or several: an array in a file of NumPy or torch."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from san.data.arguments import checked_arguments
from san.data.arrays import array_signal, array_splits
from san.data.axes import axes_of, refuse_images
from san.data.file_splits import file_splits
from san.data.files import matching_files
from san.data.names import Channels
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
    channel: Channels = None,
    axes: Sequence[str] | None = None,
    n_dims: int = 1,
    **options: Any,
) -> Splits:
    """Read one long recording, which is divided into windows, or examples or images, by the axes of the array.

    Args:
        path: Path of a ``.npy``, ``.npz`` or ``.pt`` file. Or a folder or pattern of files with one long recording
            each; see :func:`san.data.file_splits.file_splits`.
        sampling_frequency: Sampling frequency in hertz; None if unknown. Images have none.
        variable: Name of the array in a file of several; None for the only one.
        channel: Index of a channel, several, ``all``, or None for every channel; without ``axes``, a channel of two
            axes is along the shorter one.
        axes: Names of the axes, in the order of the file; None to take them by their number; see
            :func:`san.data.axes.axes_of`.
        n_dims: 1 for signals; 2 for images, whose last two axes are rows and columns.
        **options: Windows, splits, scaling and invalid samples; see :func:`san.data.scaling.signal_splits`.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file cannot be read, or an option is invalid or does not fit the array.
    """
    if matching_files(path, SUFFIXES) is not None:
        refuse_images(n_dims, f"path={path}, a folder or pattern of recordings")
        reader = partial(read, variable=variable, channel=channel, sampling_frequency=sampling_frequency, axes=axes)
        return file_splits(reader, path, SUFFIXES, **options)
    array, place = open_array(path, variable), f"path={path}"
    own = axes_of(array.shape, axes=axes, n_dims=n_dims, channel=channel, place=place)
    name = f"numpy/{Path(path).stem}"
    return array_splits(array, own, name=name, sampling_frequency=sampling_frequency, place=place, **options)


@checked_arguments
def read(
    *,
    path: str,
    variable: str | None = None,
    channel: Channels = None,
    sampling_frequency: float | None = None,
    axes: Sequence[str] | None = None,
) -> Signal:
    """Read one long recording.

    Args:
        path: Path of a ``.npy``, ``.npz`` or ``.pt`` file, [samples], or 2 axes if ``channel`` or ``axes`` is given.
        variable: Name of the array in a file of several; None for the only one.
        channel: Index of a channel, several, ``all``, or None for every channel; without ``axes``, a channel of two
            axes is along the shorter one.
        sampling_frequency: Sampling frequency in hertz; None if unknown.
        axes: [channels, time] or [time, channels]; None to take them by their number.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file cannot be read or is not one recording.
    """
    array = open_array(path, variable)
    own = axes_of(array.shape, axes=axes, channel=channel, place=f"path={path}", is_recording=True)
    return array_signal(array, own, f"numpy/{Path(path).stem}", sampling_frequency)


@checked_arguments
def stream(
    *,
    path: str,
    sampling_frequency: float | None,
    chunk: int,
    variable: str | None = None,
    channel: Channels = None,
    axes: Sequence[str] | None = None,
    n_dims: int = 1,
    **options: Any,
) -> Recording:
    """Open a long recording for reading in chunks.

    Args:
        path: Path of a ``.npy`` file, [samples], or 2 axes if ``channel`` or ``axes`` is given.
        sampling_frequency: Sampling frequency in hertz; None if unknown.
        chunk: Number of samples to read at a time.
        variable: None, because a ``.npy`` file has one array.
        channel: Index of a channel, several, ``all``, or None for every channel; without ``axes``, a channel of two
            axes is along the shorter one.
        axes: [channels, time] or [time, channels]; None to take them by their number.
        n_dims: 1, because images are not read in chunks.
        **options: Scaling and invalid samples; see :func:`san.data.recording.open_recording`.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file cannot be read or is not one signal, or an option is invalid or does not fit it.
    """
    if Path(path).suffix.lower() in (".npz", ".pt"):
        raise ValueError(f"path={path} cannot be read in chunks: save its array as a .npy file")
    refuse_images(n_dims, f"chunk={chunk}, which reads one recording")
    array, name = open_array(path, variable), f"numpy/{Path(path).stem}"
    own = axes_of(array.shape, axes=axes, channel=channel, place=f"path={path}", is_recording=True)
    return open_recording(
        # Each chunk opens the memory map again, so that it does not count as used memory.
        lambda start, stop: array_signal(open_array(path, None), own, name, None, slice(start, stop)).samples,
        own.length(array.shape),
        name=name,
        sampling_frequency=sampling_frequency,
        chunk=chunk,
        channels=own.channels,
        **options,
    )

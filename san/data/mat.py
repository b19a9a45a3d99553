"""The user's own signals or images, of one channel or several: a variable in a MAT-file of MATLAB or Octave."""

import warnings
from collections.abc import Sequence
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat, whosmat

from san.data.arguments import checked_arguments
from san.data.arrays import array_signal, array_splits, check_numbers, chosen_variable
from san.data.axes import axes_of, refuse_images
from san.data.file_splits import file_splits
from san.data.files import existing_file, matching_files, reason
from san.data.names import Channels
from san.data.signal import Signal
from san.data.sizes import refuse_excess
from san.data.splits import Splits

__all__ = ["SUFFIXES", "load", "read"]

SUFFIXES = (".mat",)
HDF5 = b"MATLAB 7.3"
NUMERIC = ("double", "single", "logical", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))


@checked_arguments
def load(
    *,
    path: str,
    variable: str | None,
    channel: Channels,
    sampling_frequency: float | None,
    axes: Sequence[str] | None = None,
    n_dims: int = 1,
    **options: Any,
) -> Splits:
    """Read a variable: one long recording, examples or images, as :func:`san.data.numpy_array.load` reads an array.

    Args:
        path: Path of a MAT-file of version 4 to 7, or a folder or pattern of files with one long recording each; see
            :func:`san.data.file_splits.file_splits`.
        variable: Name of the variable; None for the only array of more than one number.
        channel: Index of a channel, several, ``all``, or None for every channel; without ``axes``, a channel of two
            axes is along the shorter one.
        sampling_frequency: Sampling frequency in hertz; None if unknown. Images have none.
        axes: Names of the axes, in the order of the file; None to take them by their number; see
            :func:`san.data.axes.axes_of`.
        n_dims: 1 for signals; 2 for images, whose last two axes are rows and columns.
        **options: Windows, splits, scaling and invalid samples; see :func:`san.data.scaling.signal_splits`.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file cannot be read, there is no such variable, or an option is invalid or does not fit it.
    """
    if matching_files(path, SUFFIXES) is not None:
        refuse_images(n_dims, f"path={path}, a folder or pattern of recordings")
        reader = partial(read, variable=variable, channel=channel, sampling_frequency=sampling_frequency, axes=axes)
        return file_splits(reader, path, SUFFIXES, **options)
    array, name = _read(path, variable, axes)
    own = axes_of(array.shape, axes=axes, n_dims=n_dims, channel=channel, place=f"path={path}")
    return array_splits(array, own, name=name, sampling_frequency=sampling_frequency, place=f"path={path}", **options)


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
        path: Path of a MAT-file of version 4 to 7.
        variable: Name of the variable; None for the only array of more than one number.
        channel: Index of a channel, several, ``all``, or None for every channel; without ``axes``, a channel of two
            axes is along the shorter one.
        sampling_frequency: Sampling frequency in hertz; None if unknown.
        axes: [channels, time] or [time, channels]; None to take them by their number.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file cannot be read, or the variable is not one recording.
    """
    array, name = _read(path, variable, axes)
    own = axes_of(array.shape, axes=axes, channel=channel, place=f"path={path}", is_recording=True)
    return array_signal(array, own, name, sampling_frequency)


def _read(path: str, variable: str | None, axes: Sequence[str] | None) -> tuple[NDArray[Any], str]:
    """Return a variable, a row or a column with 1 axis unless two are named, and its name in results."""
    file = existing_file(path, "give a MAT-file, or a folder or pattern of them")
    with file.open("rb") as opened:
        if opened.read(len(HDF5)) == HDF5:
            raise ValueError(f"path={path} is a MAT-file of version 7.3: save it by save(..., '-v7') in MATLAB")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of variables of the same name
            shapes = {name: shape for name, shape, kind in whosmat(file, appendmat=False) if kind in NUMERIC}
            chosen = chosen_variable(variable, shapes, f"path={path}")
            refuse_excess(prod(shapes[chosen]), file)
            array = np.asarray(loadmat(file, appendmat=False, variable_names=[chosen])[chosen])
        check_numbers(array.dtype)
    except Exception as error:  # scipy raises errors of any type for a damaged file
        if str(error).startswith("variable="):
            raise
        raise ValueError(f"path={path} cannot be read as a MAT-file: {reason(error)}") from error
    is_vector = array.ndim == 2 and 1 in array.shape and (axes is None or len(axes) == 1)
    return array.ravel() if is_vector else array, f"mat/{Path(path).stem}/{chosen}"

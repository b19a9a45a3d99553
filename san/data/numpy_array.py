"""The user's own signals or images: an array in NumPy's file format."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from san.data.recording import Recording, open_recording
from san.data.scaling import scaled_splits, signal_splits, split_in_order
from san.data.splits import Splits

__all__ = ["load", "stream"]


def load(*, path: str, sampling_frequency: float | None, **options: Any) -> Splits:
    """Read signals or images.

    Args:
        path: Path of a ``.npy`` file: [samples], one long signal, which is divided into windows; [examples, samples],
            signals; or [examples, rows, columns], images.
        sampling_frequency: Sampling frequency in hertz; None if unknown.
        **options: Windows, splits, scaling and invalid samples; see :func:`san.data.scaling.signal_splits`.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file cannot be read, or an option is invalid or does not fit the array.
    """
    array = _read(path, slice(None))
    name = f"numpy/{Path(path).stem}"
    if array.ndim == 1:
        return signal_splits(array, name=name, sampling_frequency=sampling_frequency, **options)
    if array.ndim not in (2, 3):
        raise ValueError(
            f"path={path} has {array.ndim} axes: give an array of 1 axis (a long signal), 2 (signals) or 3 (images)"
        )
    return scaled_splits(
        split_in_order(torch.from_numpy(array).unsqueeze(1), options["fractions"], name),
        name=name,
        scaling=options["scaling"],
        value_range=options["value_range"],
        sampling_frequency=sampling_frequency if array.ndim == 2 else None,
    )


def stream(*, path: str, sampling_frequency: float | None, chunk: int, **options: Any) -> Recording:
    """Open a long signal for reading in chunks.

    Args:
        path: Path of a ``.npy`` file, [samples].
        sampling_frequency: Sampling frequency in hertz; None if unknown.
        chunk: Number of samples to read at a time.
        **options: Scaling and invalid samples; see :func:`san.data.recording.open_recording`.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file cannot be read or is not one signal, or an option is invalid or does not fit it.
    """
    shape = _open_memory_map(path).shape
    if len(shape) != 1:
        raise ValueError(f"path={path} has {len(shape)} axes: to read it in chunks, give an array of 1 axis")
    return open_recording(
        lambda start, stop: _read(path, slice(start, stop)),
        shape[0],
        name=f"numpy/{Path(path).stem}",
        sampling_frequency=sampling_frequency,
        chunk=chunk,
        **options,
    )


def _open_memory_map(path: str) -> NDArray[Any]:
    if not Path(path).is_file():
        raise FileNotFoundError(f"path={path} is not there: give a .npy file")
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:
        raise ValueError(f"path={path} cannot be read as an array of numbers: {error}") from error
    return array


def _read(path: str, part: slice) -> NDArray[np.float64]:
    """Return a copy of a part of the array, and close the memory map so that it does not count as used memory."""
    try:
        return _open_memory_map(path)[part].astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"path={path} cannot be read as an array of numbers: {error}") from error

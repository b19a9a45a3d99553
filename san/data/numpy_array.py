"""An array of one's own, in NumPy's file format."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from san.data.recording import Recording, open_recording
from san.data.scaling import scaled_splits, signal_splits, split_in_order
from san.data.splits import Splits

__all__ = ["load", "stream"]


def load(*, path: str, sampling_frequency: float | None, **how: Any) -> Splits:
    """Read signals or images.

    Args:
        path: Of a ``.npy`` file: [samples], one long signal that is cut into windows; [examples, samples]; or
            [examples, rows, columns], images.
        sampling_frequency: In hertz; None where it is not known.
        **how: They are cut, split and scaled; see :func:`san.data.scaling.signal_splits`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, cut or scaled as asked.
    """
    array = _read(path, slice(None))
    name = f"numpy/{Path(path).stem}"
    if array.ndim == 1:
        return signal_splits(array, name=name, sampling_frequency=sampling_frequency, **how)
    if array.ndim not in (2, 3):
        raise ValueError(f"path={path} has {array.ndim} axes: 1 is a long signal, 2 are signals, 3 are images")
    return scaled_splits(
        split_in_order(torch.from_numpy(array).unsqueeze(1), how["fractions"], name),
        name=name,
        scaling=how["scaling"],
        value_range=how["value_range"],
        sampling_frequency=sampling_frequency if array.ndim == 2 else None,
    )


def stream(*, path: str, sampling_frequency: float | None, chunk: int, **how: Any) -> Recording:
    """Open a long signal of which pieces are read when they are asked for.

    Args:
        path: Of a ``.npy`` file, [samples].
        sampling_frequency: In hertz; None where it is not known.
        chunk: Samples to read at a time.
        **how: It is scaled; see :func:`san.data.recording.open_recording`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read or scaled as asked, or is not one signal.
    """
    shape = _map(path).shape
    if len(shape) != 1:
        raise ValueError(f"path={path} has {len(shape)} axes: to read it in pieces it must be one long signal")
    return open_recording(
        lambda start, stop: _read(path, slice(start, stop)), shape[0], name=f"numpy/{Path(path).stem}",
        sampling_frequency=sampling_frequency, chunk=chunk, **how,
    )  # fmt: skip


def _map(path: str) -> NDArray[Any]:
    if not Path(path).is_file():
        raise FileNotFoundError(f"path={path} is not there: give a .npy file")
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:
        raise ValueError(f"path={path} cannot be read as an array of numbers: {error}") from error
    return array


def _read(path: str, part: slice) -> NDArray[np.float64]:
    """Return a part of an array; what is mapped of the file is let go of, so that it is not counted as memory."""
    try:
        return _map(path)[part].astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"path={path} cannot be read as an array of numbers: {error}") from error

"""The user's own signals or images: an array in NumPy's file format."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from san.data.arguments import checked_arguments
from san.data.files import existing_file
from san.data.recording import Recording, open_recording
from san.data.scaling import scaled_splits, signal_splits, split_in_order
from san.data.signal import Signal
from san.data.splits import Splits

__all__ = ["SUFFIXES", "load", "read", "stream"]

SUFFIXES = (".npy",)
AXES = (["time"], ["examples", "time"], ["examples", "rows", "columns"])
NUMBERS = "biuf"  # kinds of dtype: bool, int, uint, float
# Two axes of fewer than FEW and of more than MANY may be the channels and the samples of one recording.
FEW, MANY = 100, 1000
MAX_ASPECT_RATIO = 2  # of images; channels by samples are longer


@checked_arguments
def load(*, path: str, sampling_frequency: float | None, axes: Sequence[str] | None = None, **options: Any) -> Splits:
    """Read signals or images.

    An array whose axes may be others is refused unless ``axes`` names them: with two axes, one under 100 and the other
    over 1000, because it may be channels by samples; with three axes, the last two of which differ by more than a
    factor of 2, because it may be examples by channels by samples.

    Args:
        path: Path of a ``.npy`` file: [samples], one long signal, which is divided into windows; [examples, samples],
            signals; or [examples, rows, columns], images.
        sampling_frequency: Sampling frequency in hertz; None if unknown. Images have none.
        axes: Names of the axes, which confirm that they are [time], [examples, time] or [examples, rows, columns]; None
            to take them by their number.
        **options: Windows, splits, scaling and invalid samples; see :func:`san.data.scaling.signal_splits`.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file cannot be read, or an option is invalid or does not fit the array.
    """
    _check_axes(_open_memory_map(path).shape, axes, path)
    array = _read(path, slice(None))
    name = f"numpy/{Path(path).stem}"
    if array.ndim == 1:
        return signal_splits(array, name=name, sampling_frequency=sampling_frequency, **options)
    if array.ndim == 3 and sampling_frequency is not None:
        raise ValueError(
            f"sampling_frequency={sampling_frequency} does not apply to path={path}, whose 3 axes are images "
            "[examples, rows, columns]: of signals, save one channel as [examples, samples]"
        )
    return scaled_splits(
        split_in_order(torch.from_numpy(array).unsqueeze(1), options["fractions"], name),
        name=name,
        scaling=options["scaling"],
        value_range=options["value_range"],
        scaled_by=options["scaled_by"],
        scale=options.get("scale"),
        sampling_frequency=sampling_frequency,
    )


@checked_arguments
def read(*, path: str, sampling_frequency: float | None = None) -> Signal:
    """Read one long signal.

    Args:
        path: Path of a ``.npy`` file, [samples].
        sampling_frequency: Sampling frequency in hertz; None if unknown.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file cannot be read or is not one signal.
    """
    shape = _open_memory_map(path).shape
    if len(shape) != 1:
        raise ValueError(f"path={path} has the shape {_brackets(shape)}: give an array of 1 axis, [samples]")
    return Signal(f"numpy/{Path(path).stem}", _read(path, slice(None)), sampling_frequency)


@checked_arguments
def stream(
    *, path: str, sampling_frequency: float | None, chunk: int, axes: Sequence[str] | None = None, **options: Any
) -> Recording:
    """Open a long signal for reading in chunks.

    Args:
        path: Path of a ``.npy`` file, [samples].
        sampling_frequency: Sampling frequency in hertz; None if unknown.
        chunk: Number of samples to read at a time.
        axes: [time] or None.
        **options: Scaling and invalid samples; see :func:`san.data.recording.open_recording`.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file cannot be read or is not one signal, or an option is invalid or does not fit it.
    """
    shape = _open_memory_map(path).shape
    if len(shape) != 1:
        raise ValueError(
            f"path={path} has {len(shape)} axes, the shape {_brackets(shape)}: to read it in chunks, give an array of "
            "1 axis, [samples]"
        )
    _check_axes(shape, axes, path)
    return open_recording(
        lambda start, stop: _read(path, slice(start, stop)),
        shape[0],
        name=f"numpy/{Path(path).stem}",
        sampling_frequency=sampling_frequency,
        chunk=chunk,
        **options,
    )


def _check_axes(shape: tuple[int, ...], axes: Sequence[str] | None, path: str) -> None:
    """Refuse an array whose axes are not the given ones, or may be others than their number says."""
    if 0 in shape:
        raise ValueError(f"path={path} has the shape {_brackets(shape)}: it has no samples")
    if not 1 <= len(shape) <= len(AXES):
        number = "" if shape else ", a single number"
        raise ValueError(
            f"path={path} has {len(shape)} axes, the shape {_brackets(shape)}{number}: give an array of samples, "
            "[samples] (a long signal), [examples,samples] (signals) or [examples,rows,columns] (images)"
        )
    expected = AXES[len(shape) - 1]
    if axes is not None:
        if list(axes) != expected:
            raise ValueError(
                f"axes={_brackets(axes)} must be {_brackets(expected)} or null: path={path} has {len(shape)} axes"
            )
        return
    shorter, longer = min(shape[-2:]), max(shape[-2:])
    if len(shape) == 2 and shorter < FEW and longer > MANY:
        other, advice = "channels by samples", "save one channel as an array of 1 axis"
    elif len(shape) == 3 and longer > MAX_ASPECT_RATIO * shorter:
        other, advice = "examples by channels by samples", "save one channel as [examples, samples]"
    else:
        return
    raise ValueError(
        f"path={path} has the shape {_brackets(shape)}, which may be {other}: give axes={_brackets(expected)} if it is "
        f"{' by '.join(expected)}, or {advice}"
    )


def _brackets(items: Sequence[object]) -> str:
    """Return items as the command line takes a list."""
    return items if isinstance(items, str) else f"[{','.join(map(str, items))}]"


def _open_memory_map(path: str) -> NDArray[Any]:
    file = existing_file(path, "give a .npy file")
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("it is an archive of several arrays (.npz)")
        if array.dtype.kind == "c":
            raise ValueError(f"its numbers are complex ({array.dtype}), save their real, imaginary or absolute values")
        if array.dtype.kind not in NUMBERS:
            raise ValueError(f"its type is {array.dtype}")
    except Exception as error:
        raise ValueError(f"path={path} cannot be read as an array of numbers: {error}") from error
    return array


def _read(path: str, part: slice) -> NDArray[np.float64]:
    """Return a copy of a part of the array, and close the memory map so that it does not count as used memory."""
    return np.array(_open_memory_map(path)[part], dtype=np.float64)

"""Arrays in files, of any format: find the variable, check its axes, and take one channel."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from san.data.scaling import scaled_splits, signal_splits, split_in_order
from san.data.splits import Splits

__all__ = ["array_splits", "brackets", "check_axes", "check_numbers", "chosen_variable", "one_channel"]

AXES = (["time"], ["examples", "time"], ["examples", "rows", "columns"])
NUMBERS = "biuf"  # kinds of dtype: bool, int, uint, float
# Two axes of fewer than FEW and of more than MANY may be the channels and the samples of one recording.
FEW, MANY = 100, 1000
MAX_ASPECT_RATIO = 2  # of images; channels by samples are longer
MAX_NAMED = 30  # variables in an error


def chosen_variable(variable: str | None, shapes: Mapping[str, Sequence[int]], place: str) -> str:
    """Return the name of the array to read.

    Args:
        variable: The user's choice; None for the only array of more than one number.
        shapes: Shape of each array of the file.
        place: The file, for errors.

    Raises:
        ValueError: If there is no such array, or the choice is None and there are several.
    """
    names = [f"{name} {brackets(shape)}" for name, shape in shapes.items()]
    named = ", ".join(names[:MAX_NAMED]) + (" ..." if len(names) > MAX_NAMED else "")
    if not shapes:
        raise ValueError(f"{place} has no array of numbers")
    if variable is None:
        long = [name for name, shape in shapes.items() if prod(shape) > 1]
        if len(long) == 1:
            return long[0]
        raise ValueError(f"variable=null: {place} has several arrays; choose one of {named}")
    if variable not in shapes:
        raise ValueError(f"variable={variable} is not an array of numbers in {place}; choose one of {named}")
    return variable


def check_numbers(dtype: np.dtype[Any]) -> None:
    """Refuse arrays that are not of real numbers.

    Raises:
        ValueError: If the type is complex, text, a date, an object or structured.
    """
    if dtype.kind == "c":
        raise ValueError(f"its numbers are complex ({dtype}), save their real, imaginary or absolute values")
    if dtype.kind not in NUMBERS:
        raise ValueError(f"its type is {dtype}")


def check_axes(shape: tuple[int, ...], axes: Sequence[str] | None, place: str) -> None:
    """Refuse an array whose axes are not the given ones, or may be others than their number says.

    Args:
        shape: Shape of the array.
        axes: The user's names of the axes; None to take them by their number.
        place: The file, for errors.

    Raises:
        ValueError: If the array has no samples or other axes, or may be channels by samples.
    """
    if 0 in shape:
        raise ValueError(f"{place} has the shape {brackets(shape)}: it has no samples")
    if not 1 <= len(shape) <= len(AXES):
        number = "" if shape else ", a single number"
        raise ValueError(
            f"{place} has {len(shape)} axes, the shape {brackets(shape)}{number}: give an array of samples, "
            "[samples] (a long signal), [examples,samples] (signals) or [examples,rows,columns] (images)"
        )
    expected = AXES[len(shape) - 1]
    if axes is not None:
        if list(axes) != expected:
            raise ValueError(
                f"axes={brackets(axes)} must be {brackets(expected)} or null: {place} has {len(shape)} axes"
            )
        return
    shorter, longer = min(shape[-2:]), max(shape[-2:])
    if len(shape) == 2 and shorter < FEW and longer > MANY:
        other, advice = "channels by samples", "choose one channel by its index, such as channel=0"
    elif len(shape) == 3 and longer > MAX_ASPECT_RATIO * shorter:
        other, advice = "examples by channels by samples", "save one channel as [examples, samples]"
    else:
        return
    raise ValueError(
        f"{place} has the shape {brackets(shape)}, which may be {other}: give axes={brackets(expected)} if it is "
        f"{' by '.join(expected)}, or {advice}"
    )


def one_channel(array: NDArray[Any], channel: int | None, place: str) -> NDArray[Any]:
    """Return a view of one long signal, [samples]: an array of 1 axis, or one channel along the shorter of 2 axes.

    Args:
        array: The array.
        channel: Index of the channel; None for an array of 1 axis.
        place: The file, for errors.

    Raises:
        ValueError: If the array has no samples, is not one signal, or has no such channel.
    """
    shape = brackets(array.shape)
    if array.size == 0:
        raise ValueError(f"{place} has the shape {shape}: it has no samples")
    if channel is None:
        if array.ndim == 1:
            return array
        advice = ", or choose one channel by its index, such as channel=0" if array.ndim == 2 else ""
        raise ValueError(f"{place} has the shape {shape}: give an array of 1 axis, [samples]{advice}")
    if array.ndim != 2 or array.shape[0] == array.shape[1]:
        raise ValueError(f"channel={channel}: {place} has the shape {shape}, which is not channels by samples")
    channels = array if array.shape[0] < array.shape[1] else array.T
    if not 0 <= channel < len(channels):
        raise ValueError(
            f"channel={channel} is not a channel of {place}, whose shape is {shape}; give 0 to {len(channels) - 1}"
        )
    view: NDArray[Any] = channels[channel]
    return view


def array_splits(
    array: NDArray[Any], *, name: str, sampling_frequency: float | None, place: str, **options: Any
) -> Splits:
    """Make splits from one long signal, signals or images.

    Args:
        array: The array, whose axes are checked: [samples], [examples, samples] or [examples, rows, columns].
        name: Name of the data in results and errors.
        sampling_frequency: Sampling frequency in hertz; None if unknown. Images have none.
        place: The file, for errors.
        **options: Windows, splits, scaling and invalid samples; see :func:`san.data.scaling.signal_splits`.

    Raises:
        ValueError: If images have a sampling frequency, or an option is invalid or does not fit the array.
    """
    samples = np.array(array, dtype=np.float64)
    if samples.ndim == 1:
        return signal_splits(samples, name=name, sampling_frequency=sampling_frequency, **options)
    if samples.ndim == 3 and sampling_frequency is not None:
        raise ValueError(
            f"sampling_frequency={sampling_frequency} does not apply to {place}, whose 3 axes are images "
            "[examples, rows, columns]: of signals, save one channel as [examples, samples]"
        )
    return scaled_splits(
        split_in_order(torch.from_numpy(samples).unsqueeze(1), options["fractions"], name),
        name=name,
        scaling=options["scaling"],
        value_range=options["value_range"],
        scaled_by=options["scaled_by"],
        scale=options.get("scale"),
        sampling_frequency=sampling_frequency,
    )


def brackets(items: Sequence[object]) -> str:
    """Return items as the command line takes a list."""
    return items if isinstance(items, str) else f"[{','.join(map(str, items))}]"

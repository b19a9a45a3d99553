"""Arrays in files, of any format: find the variable, and make a recording or splits from it by its axes."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from san.data.axes import ArrayAxes, brackets
from san.data.names import channel_place
from san.data.scaling import Nan, finite_samples, scaled_splits, signal_splits, split_in_order
from san.data.signal import Signal, one_or_several
from san.data.splits import Splits
from san.ops.choices import check_choice

__all__ = ["array_signal", "array_splits", "check_numbers", "chosen_variable"]

NUMBERS = "biuf"  # kinds of dtype: bool, int, uint, float
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


def array_signal(
    array: NDArray[Any], axes: ArrayAxes, name: str, sampling_frequency: float | None, part: slice = slice(None)
) -> Signal:
    """Return an array, or a part of its samples, as one recording.

    Args:
        array: The array, without an axis of examples.
        axes: Its axes, from :func:`san.data.axes.axes_of`.
        name: Name of the recording.
        sampling_frequency: Sampling frequency in hertz; None if unknown.
        part: The samples to take.
    """
    samples = np.array(axes.arranged(array, part), dtype=np.float64)
    return Signal(name, one_or_several(samples), sampling_frequency, axes.channels)


def array_splits(
    array: NDArray[Any], axes: ArrayAxes, *, name: str, sampling_frequency: float | None, place: str, **options: Any
) -> Splits:
    """Make splits from one long recording, examples or images.

    Args:
        array: The array.
        axes: Its axes, from :func:`san.data.axes.axes_of`.
        name: Name of the data in results and errors.
        sampling_frequency: Sampling frequency in hertz; None if unknown. Images have none.
        place: The file, for errors.
        **options: Windows, splits, scaling and invalid samples; see :func:`san.data.scaling.signal_splits`.

    Raises:
        ValueError: If images have a sampling frequency, or an option is invalid or does not fit the array.
    """
    if not axes.has_examples:
        signal = array_signal(array, axes, name, sampling_frequency)
        return signal_splits(
            signal.samples, name=name, sampling_frequency=sampling_frequency, channels=axes.channels, **options
        )
    if axes.n_dims == 2 and sampling_frequency is not None:
        raise ValueError(
            f"sampling_frequency={sampling_frequency} does not apply to {place}, whose {array.ndim} axes are images "
            f"{brackets(axes.names)}: leave it out, or name the axes of signals, such as axes=[examples,channels,time]"
        )
    samples = np.array(axes.arranged(array), dtype=np.float64)
    if axes.n_dims == 1:
        _make_finite(samples, options["nan"], name, axes.channels)
    return scaled_splits(
        split_in_order(torch.from_numpy(samples), options["fractions"], name),
        name=name,
        scaling=options["scaling"],
        value_range=options["value_range"],
        scaled_by=options["scaled_by"],
        scale=options.get("scale"),
        sampling_frequency=sampling_frequency,
        channels=axes.channels,
    )


def _make_finite(examples: NDArray[np.float64], nan: Nan, name: str, channels: Sequence[str]) -> None:
    """Refuse invalid samples of examples, [examples, channels, samples], or replace them in place."""
    check_choice("nan", nan, Nan)
    for index in np.flatnonzero(~np.isfinite(examples).all((1, 2))):
        place = f"{name}, example {index}"
        for position in range(examples.shape[1]):
            row = examples[index, position]
            row[:] = finite_samples(row, nan, channel_place(place, position, channels))

"""Recordings as a model describes them: arrays of numbers, at the sampling frequency of its training data."""

import logging
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from san.data.names import channel_place
from san.data.scale import FITTED, Scaling
from san.data.signal import Signal
from san.data.splits import check_sampling_frequency

__all__ = ["Array", "agreed_channels", "agreed_units", "as_array", "as_numbers", "described_frequency", "resampled"]

TOLERANCE = 1e-3  # relative difference of two sampling frequencies that count as equal
EXACTNESS = 10**6  # largest denominator of a sampling frequency in hertz
MOST_NAMED = 12  # channels in an error
LARGEST_FACTOR = 10**5  # by which samples are repeated or left out; more would need a filter of a million numbers

Array = NDArray[np.float64]

log = logging.getLogger(__name__)


def as_array(x: ArrayLike, n_dims: int, n_channels: int = 1) -> tuple[Array, bool]:
    """Return recordings as [examples, channels, *space] in float64; masked samples are NaN.

    Args:
        x: One recording or several with an axis of examples: an array, a list, a tensor, a Series or a DataFrame. It
            has an axis of channels if there are several.
        n_dims: 1 for signals, 2 for images.
        n_channels: Number of channels.

    Returns:
        The recordings, and whether one was given without an axis of examples.

    Raises:
        ValueError: If x has no numbers, another number of axes or another number of channels.
    """
    space = "samples" if n_dims == 1 else "rows, columns"
    own = space if n_channels == 1 else f"channels, {space}"
    shapes = f"[{own}] or [examples, {own}]"
    given = as_numbers(x, shapes)
    n_axes = n_dims + (n_channels > 1)
    of_channels = f" of {n_channels} channels" if n_channels > 1 else ""
    if given.ndim not in (n_axes, n_axes + 1) or 0 in given.shape:
        raise ValueError(f"x has the shape {list(given.shape)}: give {shapes}{of_channels}")
    if n_channels > 1 and given.shape[-n_axes] != n_channels:
        advice = ", transposed" if given.shape[-1] == n_channels else ""
        raise ValueError(
            f"x has the shape {list(given.shape)}, but the model has {n_channels} channels: give {shapes}{advice}"
        )
    is_single = given.ndim == n_axes
    return given.reshape(-1, n_channels, *given.shape[-n_dims:]), is_single


def as_numbers(x: ArrayLike, shapes: str) -> Array:
    """Return an array in float64; masked samples are NaN.

    Args:
        x: An array, a list, a tensor, a Series or a DataFrame of examples in rows.
        shapes: What to give instead, for errors.

    Raises:
        ValueError: If x has no numbers, or rows of unequal length.
    """
    if isinstance(x, pd.DataFrame) and x.shape[1] == 1:
        raise ValueError(f"x is a table of one column, {x.columns[0]}: give the column")
    if isinstance(x, Tensor):
        x = x.detach().cpu()
        x = (x.double() if x.is_floating_point() else x).numpy()
    if np.ma.isMaskedArray(x):
        x = np.ma.filled(np.ma.asarray(x).astype(np.float64), np.nan)
    try:
        given = np.asarray(x)
    except ValueError as error:
        raise ValueError(f"x has rows of unequal length: encode them one by one ({error})") from error
    if given.dtype.kind not in "biuf":
        raise ValueError(f"x has values of type {given.dtype}: give numbers, {shapes}")
    return given.astype(np.float64)


def agreed_channels(signal: Signal, trained: Sequence[str]) -> None:
    """Refuse a signal of other channels than the training data, or of the same in another order.

    Names are compared where both are known; an index, which a file without names gives, says nothing of a name.

    Args:
        signal: The signal.
        trained: Name of each channel of the training data; empty if unknown.

    Raises:
        ValueError: If the number of channels or a name differs.
    """
    known = ", ".join(name for name in trained[:MOST_NAMED] if name) + (", ..." if len(trained) > MOST_NAMED else "")
    choice = f": choose those of the training data, {known}" if known.strip(", .") else ""
    if signal.n_channels != len(trained):
        raise ValueError(
            f"{signal.name} has {_counted(signal.n_channels)}, but the training data have {len(trained)}{choice}"
        )
    for position, (found, wanted) in enumerate(zip(signal.channels, trained, strict=True)):
        if found and wanted and found != wanted and found.isdecimal() == wanted.isdecimal():
            order = " in this order" if sorted(signal.channels) == sorted(trained) else ""
            difference = f"channel {position} is {found}, but that of the training data is {wanted}"
            raise ValueError(f"{signal.name}: {difference}{choice}{order}")


def _counted(n_channels: int) -> str:
    return "1 channel" if n_channels == 1 else f"{n_channels} channels"


def described_frequency(given: Any, trained: float | None, resample: bool) -> float | None:
    """Return the sampling frequency at which recordings are described.

    Args:
        given: That of the recordings, in hertz; None if unknown.
        trained: That of the training data; None if unknown.
        resample: Whether to resample recordings.

    Returns:
        That of the recordings if it counts as equal or that of the training data is unknown, else that of the training.

    Raises:
        ValueError: If the given one is invalid, or is not that of the training data and not to be resampled.
    """
    if isinstance(given, bool) or not isinstance(given, int | float | np.number | None):
        raise ValueError(f"sampling_frequency={given!r} must be a number (hertz)")
    if given is None:
        return trained
    frequency = float(given)
    check_sampling_frequency(frequency, "x")
    if trained is None:
        log.warning("the sampling frequency of the training data is unknown; that of the recording is %g Hz", frequency)
        return frequency
    if abs(frequency - trained) <= TOLERANCE * trained:
        return frequency
    if not resample:
        raise ValueError(
            f"sampling_frequency={frequency:g} is not {trained:g} hertz, that of the training data: "
            "resample=true resamples the recording"
        )
    return trained


def agreed_units(signal: Signal, trained: Sequence[str], scaling: Scaling) -> tuple[str, ...]:
    """Return the unit of each channel of a signal, or that of the training data if it is unknown.

    Args:
        signal: The signal.
        trained: Unit of each channel of the training data; empty if unknown.
        scaling: Scaling of the training data.

    Raises:
        ValueError: If a channel of the training data has another unit, and its statistics scale the signal.
    """
    pairs = list(zip(signal.channel_units, trained, strict=True))
    for unit, wanted in dict.fromkeys(pairs) if scaling in FITTED else ():
        if unit == wanted:
            continue
        is_of_all = len(set(pairs)) == 1
        place = signal.name if is_of_all else channel_place(signal.name, pairs.index((unit, wanted)), signal.channels)
        if unit and wanted:
            raise ValueError(
                f"{place} is in {unit}, but the training data are in {wanted}, whose statistics "
                "scale it: convert the recording, or train with scaling=example"
            )
        units = [one or "an unknown unit" for one in (unit, wanted)]
        log.warning("%s is in %s, but the statistics of training data in %s scale it", place, *units)
    return tuple(unit or wanted for unit, wanted in pairs)


def resampled(recordings: Array, frequency: float, wanted: float) -> Array:
    """Return recordings at another sampling frequency, low-pass filtered if it is lower.

    Args:
        recordings: The recordings, [examples, channels, samples].
        frequency: Their sampling frequency in hertz.
        wanted: The other one.

    Raises:
        ValueError: If the ratio of the frequencies is not one of numbers small enough for a filter.
    """
    from scipy.signal import resample_poly  # slow to import

    exact = [Fraction(float(one)).limit_denominator(EXACTNESS) for one in (wanted, frequency)]
    ratio = exact[0] / exact[1] if all(exact) else Fraction(0)
    if not ratio or max(ratio.numerator, ratio.denominator) > LARGEST_FACTOR:
        raise ValueError(
            f"a recording of {frequency:g} hertz cannot be resampled to {wanted:g} hertz: resample it otherwise"
        )
    # Without the mean, of which the filter would leave a ripple; beyond the ends, samples continue a line.
    mean = recordings.mean(-1, keepdims=True)
    found: Array = mean + resample_poly(recordings - mean, ratio.numerator, ratio.denominator, axis=-1, padtype="line")
    return found

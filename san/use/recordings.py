"""Recordings as a model describes them: arrays of numbers, at the sampling frequency of its training data."""

import logging
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.signal import resample_poly
from torch import Tensor

from san.data.scale import FITTED, Scaling
from san.data.signal import Signal
from san.data.splits import check_sampling_frequency

__all__ = ["Array", "agreed_unit", "as_array", "described_frequency", "resampled"]

TOLERANCE = 1e-3  # relative difference of two sampling frequencies that count as equal
EXACTNESS = 10**6  # largest denominator of a sampling frequency in hertz
LARGEST_FACTOR = 10**5  # by which samples are repeated or left out; more would need a filter of a million numbers

Array = NDArray[np.float64]

log = logging.getLogger(__name__)


def as_array(x: ArrayLike, n_dims: int) -> Array:
    """Return one recording, or several with an axis of examples, in float64; masked samples are NaN.

    Args:
        x: An array, a list, a tensor, a Series or a DataFrame of examples in rows.
        n_dims: 1 for signals, 2 for images.

    Raises:
        ValueError: If x has no numbers, or another number of axes.
    """
    if isinstance(x, pd.DataFrame) and x.shape[1] == 1 and n_dims == 1:
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
    shapes = "[samples] or [examples, samples]" if n_dims == 1 else "[rows, columns] or [examples, rows, columns]"
    if given.dtype.kind not in "biuf":
        raise ValueError(f"x has values of type {given.dtype}: give numbers, {shapes}")
    if given.ndim not in (n_dims, n_dims + 1) or 0 in given.shape:
        raise ValueError(f"x has the shape {list(given.shape)}: give {shapes}")
    return given.astype(np.float64)


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


def agreed_unit(signal: Signal, trained: str, scaling: Scaling) -> str:
    """Return the unit of a signal, or that of the training data if it is unknown.

    Args:
        signal: The signal.
        trained: Unit of the training data; empty if unknown.
        scaling: Scaling of the training data.

    Raises:
        ValueError: If the training data have another unit, and their statistics scale the signal.
    """
    if signal.unit != trained and scaling in FITTED:
        if signal.unit and trained:
            raise ValueError(
                f"{signal.name} is in {signal.unit}, but the training data are in {trained}, whose statistics "
                "scale it: convert the recording, or train with scaling=example"
            )
        units = [unit or "an unknown unit" for unit in (signal.unit, trained)]
        log.warning("%s is in %s, but the statistics of training data in %s scale it", signal.name, *units)
    return signal.unit or trained


def resampled(recordings: Array, frequency: float, wanted: float) -> Array:
    """Return recordings at another sampling frequency, low-pass filtered if it is lower.

    Args:
        recordings: The recordings, [examples, samples].
        frequency: Their sampling frequency in hertz.
        wanted: The other one.

    Raises:
        ValueError: If the ratio of the frequencies is not one of numbers small enough for a filter.
    """
    exact = [Fraction(float(one)).limit_denominator(EXACTNESS) for one in (wanted, frequency)]
    ratio = exact[0] / exact[1] if all(exact) else Fraction(0)
    if not ratio or max(ratio.numerator, ratio.denominator) > LARGEST_FACTOR:
        raise ValueError(
            f"a recording of {frequency:g} hertz cannot be resampled to {wanted:g} hertz: resample it otherwise"
        )
    # Without the mean, of which the filter would leave a ripple; beyond the ends, samples continue a line.
    mean = recordings.mean(1, keepdims=True)
    found: Array = mean + resample_poly(recordings - mean, ratio.numerator, ratio.denominator, axis=1, padtype="line")
    return found

"""From samples to splits: what is done about invalid samples, and how signals are cut, split and scaled."""

import logging
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from san.data.splits import Labels, Splits, standardize

__all__ = ["cut", "finite", "scaled_splits", "signal_splits", "split_in_order"]

log = logging.getLogger(__name__)


def signal_splits(
    samples: NDArray[np.float64],
    *,
    name: str,
    sampling_frequency: float | None,
    window: int,
    stride: int | None,
    fractions: Sequence[float],
    scaling: str,
    value_range: Sequence[float],
    nan: str,
) -> Splits:
    """Make splits of one long signal.

    Args:
        samples: [samples].
        name: What results call the signal.
        sampling_frequency: In hertz; None where it is not known.
        window: Samples of a window; see :func:`cut`, also for the next two.
        stride: Samples from window to window; None for no overlap.
        fractions: Of the signal, for training, validation and test, in order.
        scaling: See :func:`scaled_splits`.
        value_range: The least and the largest value, where scaling is ``range``.
        nan: ``refuse`` or ``interpolate``; see :func:`finite`.

    Raises:
        ValueError: If the signal cannot be cut or scaled as asked.
    """
    signal = torch.from_numpy(finite(samples, nan, name))
    parts = cut(signal, window=window, stride=stride, fractions=fractions, name=name)
    return scaled_splits(
        parts, name=name, scaling=scaling, value_range=value_range, sampling_frequency=sampling_frequency
    )


def finite(samples: NDArray[np.float64], nan: str, name: str) -> NDArray[np.float64]:
    """Return the samples of a signal, refusing invalid ones or interpolating linearly between valid ones.

    Args:
        samples: [samples].
        nan: ``refuse`` or ``interpolate``.
        name: What to call the signal in an error.

    Raises:
        ValueError: If a sample is not finite and is not to be interpolated, or the choice is unknown.
    """
    if nan not in ("refuse", "interpolate"):
        raise ValueError(f"dataset.nan={nan} must be 'refuse' or 'interpolate'")
    invalid = ~np.isfinite(samples)
    if not invalid.any():
        return samples
    count = f"{name} has {invalid.sum()} invalid samples, the first at {invalid.argmax()}"
    if nan == "refuse" or invalid.all():
        raise ValueError(f"{count}: choose another channel or file, or dataset.nan=interpolate")
    log.warning("%s: interpolated", count)
    valid = np.flatnonzero(~invalid)
    return np.interp(np.arange(len(samples)), valid, samples[valid])


def split_in_order(examples: Tensor, fractions: Sequence[float], name: str) -> list[Tensor]:
    """Split along the first axis, in order, for training, validation and test.

    Raises:
        ValueError: If the fractions are not three positive numbers of sum one, or leave a part empty.
    """
    if len(fractions) != 3 or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-9:
        raise ValueError(f"dataset.fractions={list(fractions)} must be three positive numbers of sum one")
    ends = [round(sum(fractions[:count]) * len(examples)) for count in range(4)]
    parts = [examples[start:end] for start, end in pairwise(ends)]
    if not all(len(part) for part in parts):
        raise ValueError(f"{name}: {len(examples)} examples or samples are too few for fractions={list(fractions)}")
    return parts


def cut(signal: Tensor, *, window: int, stride: int | None, fractions: Sequence[float], name: str) -> list[Tensor]:
    """Cut a long signal into windows; no two windows of different splits share a sample.

    Args:
        signal: [samples].
        window: Samples of a window.
        stride: Samples from the start of one window to that of the next; None for the window.
        fractions: Of the signal, for training, validation and test, in order.
        name: What to call the signal in an error.

    Raises:
        ValueError: If a number is not positive, or a part is shorter than a window.
    """
    step = window if stride is None else stride
    if window < 1 or step < 1:
        raise ValueError(f"window={window} and stride={stride} must be positive numbers of samples")
    parts = split_in_order(signal, fractions, name)
    shortest = min(len(part) for part in parts)
    if shortest < window:
        raise ValueError(
            f"{name}: the shortest of its three parts has {shortest} samples, a window {window}: "
            "lower window, or change fractions"
        )
    return [part.unfold(0, window, step).unsqueeze(1) for part in parts]


def scaled_splits(
    parts: Sequence[Tensor],
    *,
    name: str,
    scaling: str,
    value_range: Sequence[float],
    sampling_frequency: float | None = None,
    labels: Labels | None = None,
) -> Splits:
    """Scale the three parts and make splits of them.

    Args:
        parts: [examples, 1, *space] each, in float64.
        name: What results call the data.
        scaling: ``none``; ``example``: mean zero and standard deviation one in each; ``all``: in all together;
            ``range``: the least and the largest of all samples become those of the value range.
        value_range: The least and the largest value, where scaling is ``range``.
        sampling_frequency: In hertz; None where there is none.
        labels: The classes; None where there are none.

    Raises:
        ValueError: If the choice is unknown, or what is to be scaled is constant.
    """
    samples = torch.cat([part.flatten() for part in parts])
    if scaling not in ("none", "example", "all", "range"):
        raise ValueError(f"scaling={scaling} must be 'none', 'example', 'all' or 'range'")
    if scaling in ("all", "range") and samples.min() == samples.max():
        raise ValueError(f"{name} is constant: there is nothing to scale")
    if scaling == "range" and (len(value_range) != 2 or value_range[0] >= value_range[1]):
        raise ValueError(f"dataset.value_range={list(value_range)} must be two numbers, the lesser first")
    if scaling == "example":
        scaled = [standardize(part, name) for part in parts]
    elif scaling == "all":
        scaled = [(part - samples.mean()) / samples.std() for part in parts]
    elif scaling == "range":
        least, largest = value_range
        width = samples.max() - samples.min()
        scaled = [least + (largest - least) * (part - samples.min()) / width for part in parts]
    else:
        scaled = list(parts)
    train, validation, test = (part.to(torch.get_default_dtype()) for part in scaled)
    units = {"none": "amplitude", "range": "amplitude (scaled)"}.get(scaling, "amplitude (SD)")
    return Splits(
        name=name,
        train=train,
        validation=validation,
        test=test,
        sampling_frequency=sampling_frequency,
        units=units,
        labels=labels,
    )

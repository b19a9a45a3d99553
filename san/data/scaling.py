"""From samples to splits: treat invalid samples, divide signals into windows, split and scale them."""

import logging
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from san.data.arguments import checked_arguments
from san.data.names import channel_place
from san.data.scale import Scale, ScaledBy, Scaling, check_scaling
from san.data.splits import Labels, Splits, per_channel
from san.ops.choices import check_choice

__all__ = [
    "Nan",
    "ScaledBy",
    "Scaling",
    "check_fractions",
    "finite_samples",
    "scaled_splits",
    "signal_splits",
    "split_in_order",
    "split_into_windows",
    "windows_of",
]

Nan = Literal["refuse", "interpolate"]

log = logging.getLogger(__name__)


@checked_arguments
def signal_splits(
    samples: NDArray[np.float64],
    *,
    name: str,
    sampling_frequency: float | None,
    window: int,
    stride: int | None,
    fractions: Sequence[float],
    scaling: Scaling,
    value_range: Sequence[float],
    scaled_by: ScaledBy,
    nan: Nan,
    scale: Mapping[str, Any] | None = None,
    channels: Sequence[str] = ("",),
    channel_units: Sequence[str] = ("",),
) -> Splits:
    """Make splits from one long recording.

    Args:
        samples: The recording, [samples] of one channel or [channels, samples] of several.
        name: Name of the signal in results and errors.
        sampling_frequency: Sampling frequency in hertz; None if unknown.
        window: Samples per window; see :func:`split_into_windows`.
        stride: Samples from the start of one window to the start of the next; None for windows without overlap.
        fractions: Fractions of the signal for training, validation and test, in order.
        scaling: Scaling of the windows; see :func:`scaled_splits`.
        value_range: Values that the minimum and the maximum are scaled to, if scaling is ``range``.
        scaled_by: Windows with the statistics for ``all`` and ``range``; see :func:`scaled_splits`.
        nan: Treatment of invalid samples, ``refuse`` or ``interpolate``; see :func:`finite_samples`.
        scale: Scale of a checkpoint, whose statistics replace those of this signal; see :func:`scaled_splits`.
        channels: Name of each channel or column; empty if unknown.
        channel_units: Physical unit of each channel; empty if unknown.

    Raises:
        ValueError: If an argument is invalid, or the signal is too short, constant or has invalid samples.
    """
    signal = torch.from_numpy(finite_samples(samples, nan, name, channels))
    parts = split_into_windows(signal, window=window, stride=stride, fractions=fractions, name=name)
    return scaled_splits(
        parts,
        name=name,
        scaling=scaling,
        value_range=value_range,
        scaled_by=scaled_by,
        scale=scale,
        sampling_frequency=sampling_frequency,
        channels=channels,
        channel_units=channel_units,
    )


def finite_samples(
    samples: NDArray[np.float64], nan: Nan, name: str, channels: Sequence[str] = ("",)
) -> NDArray[np.float64]:
    """Refuse invalid samples, or interpolate linearly between valid samples; return the finite samples.

    Args:
        samples: The signal, [samples] of one channel or [channels, samples] of several, each treated by itself.
        nan: Treatment of invalid samples: ``refuse`` or ``interpolate``.
        name: Name of the signal in errors.
        channels: Name of each of several channels in errors; empty if unknown.

    Raises:
        ValueError: If the choice is unknown, no sample of a channel is finite, or one is not and ``nan`` is ``refuse``.
    """
    check_choice("nan", nan, Nan)
    invalid = ~np.isfinite(samples)
    if not invalid.any():
        return samples
    if samples.ndim == 2:
        names = channels if len(channels) == len(samples) else [""] * len(samples)
        places = [channel_place(name, position, names) for position in range(len(samples))]
        return np.stack([finite_samples(own, nan, place) for own, place in zip(samples, places, strict=True)])
    finding = f"{name} has {invalid.sum()} invalid samples, the first at {invalid.argmax()}"
    if nan == "refuse" or invalid.all():
        raise ValueError(f"{finding}: choose another channel or file, or nan=interpolate")
    log.warning("%s: interpolated", finding)
    valid = np.flatnonzero(~invalid)
    return np.interp(np.arange(len(samples)), valid, samples[valid])


@checked_arguments
def split_in_order(examples: Tensor, fractions: Sequence[float], name: str) -> list[Tensor]:
    """Split along the first axis into three consecutive parts, for training, validation and test.

    Args:
        examples: The examples, or the samples of one signal.
        fractions: Fractions for training, validation and test, in order.
        name: Name of the data in errors.

    Raises:
        ValueError: If the fractions are not three positive numbers of sum one, or leave a part empty.
    """
    check_fractions(fractions)
    ends = [round(sum(fractions[:count]) * len(examples)) for count in range(4)]
    parts = [examples[start:end] for start, end in pairwise(ends)]
    if not all(len(part) for part in parts):
        raise ValueError(f"{name}: {len(examples)} examples or samples are too few for fractions={list(fractions)}")
    return parts


def check_fractions(fractions: Sequence[float]) -> None:
    """Refuse fractions that are not three positive numbers of sum one.

    Args:
        fractions: Fractions for training, validation and test, in order.

    Raises:
        ValueError: If they are not.
    """
    if len(fractions) != 3 or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-9:
        raise ValueError(f"fractions={list(fractions)} must be three positive numbers of sum one")


@checked_arguments
def split_into_windows(
    signal: Tensor, *, window: int, stride: int | None, fractions: Sequence[float], name: str
) -> list[Tensor]:
    """Split a long signal into three parts and each part into windows; no two splits share a sample.

    Args:
        signal: The signal, [samples] of one channel or [channels, samples] of several.
        window: Samples per window.
        stride: Samples from the start of one window to the start of the next; None for windows without overlap.
        fractions: Fractions of the signal for training, validation and test, in order.
        name: Name of the signal in errors.

    Raises:
        ValueError: If a number is not positive, or a part is shorter than a window.
    """
    step = window if stride is None else stride
    if window < 1 or step < 1:
        raise ValueError(f"window={window} and stride={stride} must be positive numbers of samples")
    parts = split_in_order(signal.movedim(-1, 0), fractions, name)
    shortest = min(len(part) for part in parts)
    if shortest < window:
        raise ValueError(
            f"{name}: window={window} exceeds the shortest of its three parts, {shortest} samples: lower window, or "
            "change fractions"
        )
    return [windows_of(part.movedim(0, -1), window, step) for part in parts]


def windows_of(signal: Tensor, window: int, step: int) -> Tensor:
    """Return the windows of a signal, of all channels together, as a view, [windows, channels, samples].

    Args:
        signal: The signal, [samples] of one channel or [channels, samples] of several.
        window: Samples per window.
        step: Samples from the start of one window to the start of the next.
    """
    channels = signal if signal.dim() == 2 else signal.unsqueeze(0)
    return channels.unfold(1, window, step).transpose(0, 1)


@checked_arguments
def scaled_splits(
    parts: Sequence[Tensor],
    *,
    name: str,
    scaling: Scaling,
    value_range: Sequence[float],
    scaled_by: ScaledBy,
    scale: Mapping[str, Any] | None = None,
    sampling_frequency: float | None = None,
    labels: Labels | None = None,
    channels: Sequence[str] = ("",),
    channel_units: Sequence[str] = ("",),
) -> Splits:
    """Scale the training, validation and test examples, and make splits from them.

    Args:
        parts: The three parts, each [examples, channels, *space], in float64.
        name: Name of the data in results and errors.
        scaling: ``none``; ``example`` for mean zero and sample standard deviation one in each example; ``all`` to
            subtract one mean from all examples and divide them by one deviation; ``range`` to map one minimum and one
            maximum to the value range. Each channel is scaled by its own statistics.
        value_range: Values that the minimum and the maximum are scaled to, if scaling is ``range``. Samples beyond the
            minimum and the maximum, which validation and test examples may have, are scaled to values outside it.
        scaled_by: Examples whose mean and deviation, or minimum and maximum, scale all examples: ``train``, or ``all``
            for those of the three parts, as in the paper.
        scale: Plain data of a :class:`san.data.scale.Scale`, such as the part ``scale`` of a checkpoint: its statistics
            replace those of the parts.
        sampling_frequency: Sampling frequency in hertz; None if unknown or not applicable.
        labels: Classes of the examples; None without classes.
        channels: Name of each channel or column; empty if unknown.
        channel_units: Physical unit of each channel before scaling; empty if unknown.

    Raises:
        ValueError: If a choice is unknown, the value range is invalid, a channel of the data to scale is constant, or
            the scale has another scaling, value range or number of channels.
    """
    n_channels = parts[0].shape[1]
    names = per_channel(channels, n_channels, "channels", name)
    check_choice("scaled_by", scaled_by, ScaledBy)
    given = None if scale is None else Scale.from_dict(scale)
    check_scaling(scaling, value_range, given)
    fitted = given or Scale.fit(scaling, parts if scaled_by == "all" else parts[:1], value_range, name, names)
    dtype = torch.get_default_dtype()
    train, validation, test = (fitted.apply(part, name, channels=names).to(dtype).contiguous() for part in parts)
    units = {"none": "amplitude", "range": "amplitude (scaled)"}.get(scaling, "amplitude (SD)")
    return Splits(
        name=name,
        train=train,
        validation=validation,
        test=test,
        sampling_frequency=sampling_frequency,
        units=units,
        labels=labels,
        scale=fitted,
        channels=names,
        channel_units=per_channel(channel_units, n_channels, "channel_units", name),
        test_statistics=fitted.statistics(parts[2], name, names),
    )

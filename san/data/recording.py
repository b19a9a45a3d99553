"""Recordings of any length as one example, read and scaled in chunks."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from san.data.arguments import checked_arguments
from san.data.names import OfChannels, channel_place
from san.data.scale import FITTED, Scale, Scaling, Statistics, check_scaling
from san.data.scaling import Nan
from san.data.splits import check_sampling_frequency, per_channel
from san.ops.choices import check_choice

__all__ = ["Recording", "SampleReader", "open_recording"]

SampleReader = Callable[[int, int], NDArray[np.float64]]
"""Reads samples, ``read_samples(start, stop)``: from start to before stop, [samples], or [channels, samples]."""

INITIAL_SEARCH_SAMPLES = 1024  # distance from a chunk in which to search first for a valid sample

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recording(OfChannels):
    """One example of any length, read in chunks.

    Args:
        name: Name of the recording in results, such as ``wfdb/night``.
        n_samples: Length of the recording in samples.
        sampling_frequency: Sampling frequency in hertz; None if unknown.
        read_samples: Reads valid samples, unscaled.
        scale: Scale of the samples.
        statistics: The numbers that it scales the samples of this recording by.
        channels: Name of each channel; empty if unknown.
        channel_units: Physical unit of each channel before scaling; empty if unknown.
    """

    name: str
    n_samples: int
    sampling_frequency: float | None
    read_samples: SampleReader
    scale: Scale
    statistics: Statistics
    channels: tuple[str, ...] = ("",)
    channel_units: tuple[str, ...] = ("",)
    n_dims = 1
    labels = None

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return len(self.channels)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the example, [channels, samples]."""
        return (self.n_channels, self.n_samples)

    def read(self, start: int, stop: int) -> Tensor:
        """Return the scaled samples from start to before stop, [samples], or [channels, samples] of several channels.

        Args:
            start: First sample.
            stop: The sample after the last.
        """
        samples = torch.tensor(self.read_samples(start, stop)).view(1, self.n_channels, -1)
        scaled = self.scale.apply(samples, self.name, self.statistics).to(torch.get_default_dtype())[0]
        return scaled[0] if self.n_channels == 1 else scaled


@checked_arguments
def open_recording(
    read_samples: SampleReader,
    n_samples: int,
    *,
    name: str,
    sampling_frequency: float | None,
    chunk: int,
    nan: Nan,
    scaling: Scaling,
    value_range: Sequence[float],
    scale: Mapping[str, Any] | None = None,
    channels: Sequence[str] = ("",),
    channel_units: Sequence[str] = ("",),
    **window_options: Any,
) -> Recording:
    """Open a recording, after one pass over it that computes its statistics and refuses invalid samples.

    Args:
        read_samples: Reads samples as stored, with invalid samples as NaN.
        n_samples: Length of the recording in samples.
        name: Name of the recording in results and errors.
        sampling_frequency: Sampling frequency in hertz; None if unknown.
        chunk: Number of samples to read at a time.
        nan: Treatment of invalid samples: ``refuse``, or ``interpolate`` linearly between valid samples.
        scaling: ``none``; ``example`` for mean zero and sample standard deviation one; ``all``; ``range``.
        value_range: Values that the minimum and the maximum are scaled to, if scaling is ``range``.
        scale: Plain data of a :class:`san.data.scale.Scale`, such as the part ``scale`` of a checkpoint: the statistics
            for ``all`` and ``range``. Without it they are those of the recording.
        channels: Name of each channel; empty if unknown.
        channel_units: Physical unit of each channel; empty if unknown.
        **window_options: Options for windows and splits. They do not apply to a single example; the log names them.

    Raises:
        ValueError: If a choice is unknown, the sampling frequency is not positive, the scale has another scaling or
            value range, or the recording has no samples, or a channel of it has invalid samples or is constant.
    """
    check_choice("nan", nan, Nan)
    check_sampling_frequency(sampling_frequency, name)
    given = None if scale is None else Scale.from_dict(scale)
    check_scaling(scaling, value_range, given)
    if n_samples < 1:
        raise ValueError(f"{name} has no samples")
    not_applied = "".join(f"; {option} does not apply" for option in window_options)
    log.info("%s: %d samples are one example, read %d at a time%s", name, n_samples, chunk, not_applied)
    read_valid = (
        _interpolating(read_samples, n_samples, name, channels)
        if nan == "interpolate"
        else _refusing(read_samples, name, channels)
    )
    found = [_Statistics() for _ in channels]
    for start in range(0, n_samples, chunk):
        read = read_valid(start, min(start + chunk, n_samples))
        for own, samples in zip(found, np.atleast_2d(read), strict=True):
            own.add(samples)
    _refuse_constant(found, scaling, given, name, channels)
    fitted = given or Scale.of(scaling, [own.standard for own in found], [own.extent for own in found], value_range)
    names = tuple(channels)
    units = per_channel(channel_units, len(names), "channel_units", name)
    numbers = _numbers_of(found, fitted, name)
    return Recording(name, n_samples, sampling_frequency, read_valid, fitted, numbers, names, units)


def _refuse_constant(
    found: Sequence["_Statistics"], scaling: Scaling, given: Scale | None, name: str, channels: Sequence[str]
) -> None:
    """Refuse a constant channel that would be scaled by itself, and a recording that is zero in all channels."""
    constant = [position for position, own in enumerate(found) if own.minimum == own.maximum]
    if not constant:
        return
    if scaling == "example" or (scaling in FITTED and given is None):
        place, level = channel_place(name, constant[0], channels), found[constant[0]].minimum
        raise ValueError(f"{place} is {level:g} everywhere, phi is undefined there: choose another channel or file")
    levels = torch.tensor([own.minimum for own in found], dtype=torch.float64).view(1, -1, 1)
    if len(constant) == len(found) and not (given or Scale("none")).apply(levels, name).any():
        shown = ", ".join(f"{own.minimum:g}" for own in found)
        raise ValueError(f"{name} is {shown} everywhere, phi is undefined there: choose another channel or file")


def _numbers_of(found: Sequence["_Statistics"], scale: Scale, name: str) -> Statistics:
    """Return the numbers that scale the recording: one of each if it has one channel, else [1, channels, 1]."""
    of_example = torch.tensor([own.standard for own in found], dtype=torch.float64).view(1, len(found), 1, 2)
    if scale.kind != "example":
        return scale.statistics(of_example[..., 0], name)
    if len(found) == 1:
        return Statistics(*found[0].standard)
    return Statistics(*of_example.unbind(-1))


class _Statistics:
    """Mean, standard deviation and range of samples, updated chunk by chunk without loss of precision.

    Reference:
        Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = self.squared_deviations = 0.0
        self.minimum, self.maximum = math.inf, -math.inf

    @property
    def standard(self) -> tuple[float, float]:
        """The mean and the sample standard deviation."""
        return self.mean, math.sqrt(self.squared_deviations / max(1, self.count - 1))

    @property
    def extent(self) -> tuple[float, float]:
        """The minimum and the width."""
        return self.minimum, self.maximum - self.minimum

    def add(self, samples: NDArray[np.float64]) -> None:
        """Add the samples of a chunk."""
        count, mean = len(samples), float(samples.mean())
        difference, total = mean - self.mean, self.count + count
        self.squared_deviations += float(((samples - mean) ** 2).sum()) + difference**2 * self.count * count / total
        self.mean += difference * count / total
        self.count = total
        self.minimum, self.maximum = min(self.minimum, float(samples.min())), max(self.maximum, float(samples.max()))


def _refusing(read_samples: SampleReader, name: str, channels: Sequence[str]) -> SampleReader:
    """Return a reader that refuses invalid samples."""

    def read(start: int, stop: int) -> NDArray[np.float64]:
        chunk = read_samples(start, stop)
        for position, invalid in enumerate(np.atleast_2d(~np.isfinite(chunk))):
            if invalid.any():
                raise ValueError(
                    f"{channel_place(name, position, channels)} has invalid samples, the first at "
                    f"{start + int(invalid.argmax())}: choose another channel or file, or nan=interpolate"
                )
        return chunk

    return read


def _interpolating(read_samples: SampleReader, n_samples: int, name: str, channels: Sequence[str]) -> SampleReader:
    """Return a reader that interpolates linearly, between valid samples that may be far outside the chunk."""
    if len(channels) > 1:
        return _interpolating_each(read_samples, n_samples, name, channels)

    def read(start: int, stop: int) -> NDArray[np.float64]:
        distance = 0
        while True:
            first, last = max(0, start - distance), min(n_samples, stop + distance)
            chunk = read_samples(first, last)
            valid = np.isfinite(chunk)
            has_valid_before = first == 0 or valid[: start - first + 1].any()
            if has_valid_before and (last == n_samples or valid[stop - first - 1 :].any()):
                break
            distance = max(INITIAL_SEARCH_SAMPLES, 2 * distance)
        if valid.all():
            return chunk[start - first : stop - first]
        if not valid.any():
            raise ValueError(f"{name} has no valid sample: choose another channel or file")
        positions = np.flatnonzero(valid)
        return np.interp(np.arange(start - first, stop - first), positions, chunk[positions])

    return read


def _interpolating_each(read_samples: SampleReader, n_samples: int, name: str, channels: Sequence[str]) -> SampleReader:
    """Return a reader that interpolates each channel by itself, [channels, samples]."""

    def of_channel(position: int) -> SampleReader:
        place = channel_place(name, position, channels)
        return _interpolating(lambda start, stop: read_samples(start, stop)[position], n_samples, place, [""])

    readers = [of_channel(position) for position in range(len(channels))]

    def read(start: int, stop: int) -> NDArray[np.float64]:
        chunk = read_samples(start, stop)
        if np.isfinite(chunk).all():
            return chunk
        return np.stack(
            [own if np.isfinite(own).all() else readers[position](start, stop) for position, own in enumerate(chunk)]
        )

    return read

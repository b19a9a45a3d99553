"""The common result of all readers: one recording in physical units, neither scaled nor split."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from san.data.names import OfChannels
from san.data.splits import check_sampling_frequency, per_channel

__all__ = ["TOLERANCE", "Signal", "agreed_frequency", "one_or_several", "signal_name"]

TOLERANCE = 1e-3
"""Largest relative difference of sampling frequencies that are the same."""


@dataclass(frozen=True)
class Signal(OfChannels):
    """One channel or several channels of a file.

    Args:
        name: Name of the signal in results and errors, such as ``csv/night/ECG``.
        samples: The samples in their physical unit, at least one: [samples] of one channel, [channels, samples] of
            several; invalid samples are NaN.
        sampling_frequency: Sampling frequency in hertz; None if unknown.
        channels: Name of each channel or column; empty if unknown.
        channel_units: Physical unit of each channel, such as ``mV``; empty if unknown.

    Raises:
        ValueError: If there are no samples or other axes, the sampling frequency is not positive, or the numbers of
            names and channels differ.
    """

    name: str
    samples: NDArray[np.float64]
    sampling_frequency: float | None = None
    channels: tuple[str, ...] = ("",)
    channel_units: tuple[str, ...] = ("",)

    def __post_init__(self) -> None:
        """Check the samples, the sampling frequency and the names."""
        check_sampling_frequency(self.sampling_frequency, self.name)
        shape = self.samples.shape
        if 0 in shape:
            raise ValueError(f"{self.name} has no samples")
        if len(shape) not in (1, 2) or (len(shape) == 2 and shape[0] == 1):
            raise ValueError(
                f"{self.name} has the shape {list(shape)}: give [samples] of one channel, or [channels, samples] of "
                "several"
            )
        for name in ("channels", "channel_units"):
            object.__setattr__(self, name, per_channel(getattr(self, name), self.n_channels, name, self.name))

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return 1 if self.samples.ndim == 1 else len(self.samples)

    @property
    def n_samples(self) -> int:
        """Number of samples of each channel."""
        return int(self.samples.shape[-1])


def one_or_several(channels: NDArray[np.float64] | Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return [samples] of one channel, or [channels, samples] of several.

    Args:
        channels: The samples of each channel, of equal length.
    """
    return channels[0] if len(channels) == 1 else np.asarray(channels)


def signal_name(kind: str, stem: str, channels: Sequence[str]) -> str:
    """Return the name of a signal in results: ``csv/night/ECG`` of one channel, ``csv/night`` of several.

    Args:
        kind: The format.
        stem: Name of the file without its suffix.
        channels: Name of each channel.
    """
    return f"{kind}/{stem}/{channels[0]}" if len(channels) == 1 else f"{kind}/{stem}"


def agreed_frequency(given: float | None, found: float, place: str) -> float:
    """Return the sampling frequency of a file, and refuse another one that the user gave.

    Args:
        given: The user's sampling frequency in hertz; None if not given.
        found: The sampling frequency of the file in hertz.
        place: The file, for the error.

    Raises:
        ValueError: If the two differ by more than one in a thousand.
    """
    if given is not None and abs(given - found) > found * TOLERANCE:
        raise ValueError(f"sampling_frequency={given:g} is not that of {place}, {found:g} hertz: leave it out")
    return found

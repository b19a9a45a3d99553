"""The common result of all readers: one recorded signal in physical units, neither scaled nor split."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from san.data.splits import check_sampling_frequency

__all__ = ["TOLERANCE", "Signal", "agreed_frequency"]

TOLERANCE = 1e-3
"""Largest relative difference of sampling frequencies that are the same."""


@dataclass(frozen=True)
class Signal:
    """One signal of a file.

    Args:
        name: Name of the signal in results and errors, such as ``csv/night/ECG``.
        samples: The samples in their physical unit, [samples], at least one; invalid samples are NaN.
        sampling_frequency: Sampling frequency in hertz; None if unknown.
        channel: Name of the channel or column; empty if unknown.
        unit: Physical unit of the samples, such as ``mV``; empty if unknown.

    Raises:
        ValueError: If there are no samples, or the sampling frequency is not positive.
    """

    name: str
    samples: NDArray[np.float64]
    sampling_frequency: float | None = None
    channel: str = ""
    unit: str = ""

    def __post_init__(self) -> None:
        """Check the samples and the sampling frequency."""
        check_sampling_frequency(self.sampling_frequency, self.name)
        if not len(self.samples):
            raise ValueError(f"{self.name} has no samples")


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

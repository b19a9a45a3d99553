"""A recording of any length as one example, read and scaled piece by piece."""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Recording", "open_recording"]

# samples(start, stop): those of the file from start to before stop, [samples]
Samples = Callable[[int, int], NDArray[np.float64]]

NEAR = 1024  # samples in which to look for valid ones beside a piece, at first

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recording:
    """One example of any length, of which pieces are read when they are asked for.

    Args:
        name: What results call it, such as ``wfdb/night``.
        n_samples: Its length.
        sampling_frequency: In hertz; None where it is not known.
        samples: Returns valid samples as they are in the file.
        scale: Scales them.
    """

    name: str
    n_samples: int
    sampling_frequency: float | None
    samples: Samples
    scale: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    n_dims = 1
    labels = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the example, [1, samples]."""
        return (1, self.n_samples)

    def read(self, start: int, stop: int) -> Tensor:
        """Return the scaled samples from a first to before a last, [samples]."""
        return torch.from_numpy(self.scale(self.samples(start, stop))).to(torch.get_default_dtype())


def open_recording(
    samples: Samples,
    n_samples: int,
    *,
    name: str,
    sampling_frequency: float | None,
    chunk: int,
    nan: str,
    scaling: str,
    value_range: Sequence[float],
    **cutting: Any,
) -> Recording:
    """Go through a recording once, for what its scaling needs to know of the whole, and return it.

    Args:
        samples: Reads samples.
        n_samples: Their number.
        name: What results call the recording.
        sampling_frequency: In hertz; None where it is not known.
        chunk: Samples to read at a time.
        nan: ``refuse`` or ``interpolate``, linearly between valid samples.
        scaling: ``none``; ``example`` or ``all``: mean zero and sample standard deviation one; ``range``.
        value_range: The least and the largest value, where scaling is ``range``.
        **cutting: How a dataset is cut into windows and split, which does not apply to one example.

    Raises:
        ValueError: If a choice is unknown, or the recording cannot be scaled or described.
    """
    if nan not in ("refuse", "interpolate"):
        raise ValueError(f"dataset.nan={nan} must be 'refuse' or 'interpolate'")
    if scaling not in ("none", "example", "all", "range"):
        raise ValueError(f"scaling={scaling} must be 'none', 'example', 'all' or 'range'")
    if scaling == "range" and (len(value_range) != 2 or value_range[0] >= value_range[1]):
        raise ValueError(f"dataset.value_range={list(value_range)} must be two numbers, the lesser first")
    if n_samples < 1:
        raise ValueError(f"{name} has no samples")
    log.info("%s: %d samples are one example, read %d at a time%s", name, n_samples, chunk,
             "".join(f"; {key} does not apply" for key in cutting))  # fmt: skip
    valid = _interpolated(samples, n_samples, name) if nan == "interpolate" else _refusing(samples, name)
    moments = _Moments()
    for start in range(0, n_samples, chunk):
        moments.add(valid(start, min(start + chunk, n_samples)))
    least, largest = moments.least, moments.largest
    if least == largest and (scaling != "none" or least == 0):
        raise ValueError(f"{name} is {least:g} everywhere, phi is undefined there: choose another channel or file")
    base, gain, origin, unit = 0.0, 1.0, 0.0, 1.0
    if scaling in ("example", "all"):
        origin, unit = moments.mean, moments.deviation
    elif scaling == "range":
        base, gain, origin, unit = value_range[0], value_range[1] - value_range[0], least, largest - least
    return Recording(name, n_samples, sampling_frequency, valid, lambda x: base + gain * (x - origin) / unit)


class _Moments:
    """Mean, standard deviation and range of samples, added piece by piece without a loss of precision.

    Reference:
        Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = self.squares = 0.0
        self.least, self.largest = math.inf, -math.inf

    @property
    def deviation(self) -> float:
        """The sample standard deviation."""
        return math.sqrt(self.squares / (self.count - 1))

    def add(self, samples: NDArray[np.float64]) -> None:
        """Add a piece."""
        count, mean = len(samples), float(samples.mean())
        apart, total = mean - self.mean, self.count + count
        self.squares += float(((samples - mean) ** 2).sum()) + apart**2 * self.count * count / total
        self.mean += apart * count / total
        self.count = total
        self.least, self.largest = min(self.least, float(samples.min())), max(self.largest, float(samples.max()))


def _refusing(samples: Samples, name: str) -> Samples:
    def read(start: int, stop: int) -> NDArray[np.float64]:
        piece = samples(start, stop)
        invalid = ~np.isfinite(piece)
        if invalid.any():
            raise ValueError(
                f"{name} has invalid samples, the first at {start + int(invalid.argmax())}: choose another channel or "
                "file, or dataset.nan=interpolate"
            )
        return piece

    return read


def _interpolated(samples: Samples, n_samples: int, name: str) -> Samples:
    """Interpolate linearly between valid samples, of which those beside a piece are looked for as far as need be."""

    def read(start: int, stop: int) -> NDArray[np.float64]:
        reach = 0
        while True:
            first, last = max(0, start - reach), min(n_samples, stop + reach)
            piece = samples(first, last)
            valid = np.isfinite(piece)
            before = first == 0 or valid[: start - first + 1].any()
            if before and (last == n_samples or valid[stop - first - 1 :].any()):
                break
            reach = max(NEAR, 2 * reach)
        if valid.all():
            return piece[start - first : stop - first]
        if not valid.any():
            raise ValueError(f"{name} has no valid sample: choose another channel or file")
        known = np.flatnonzero(valid)
        return np.interp(np.arange(start - first, stop - first), known, piece[known])

    return read

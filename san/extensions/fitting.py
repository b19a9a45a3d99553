"""Kernel sizes that fit signals or images, from their autocorrelation."""

import torch
from torch import Tensor

from san.ops.shapes import Float

__all__ = ["CANDIDATES", "fitting_sizes"]

CANDIDATES = ("extrema_pool_indices", "topk_absolutes", "extrema", "phi_pursuit")
"""The activation functions to try on a signal, the fastest first."""

N_SIZES = 10
SHORTEST = 2  # samples
WAVES = 8  # the sizes are from an eighth to eight times the lag of the first zero of the autocorrelation
LARGEST_PART = 4  # φ of a kernel of a quarter of an example is at least 1/4
SMALLEST_PART = 64  # of an example: details may be much shorter than its slowest wave


def fitting_sizes(x: Float[Tensor, "batch channels *space"]) -> list[int]:
    r"""Return kernel sizes from a part of a wave to several periods of the examples.

    The lag :math:`\tau` at which the mean autocorrelation of the examples first falls to zero is a quarter of the
    period of an oscillation, or about the width of a pulse. The sizes are evenly spaced on a logarithmic scale from
    :math:`\tau / 8`, or 1/64 of an example if that is shorter, to :math:`8 \tau`, at most a quarter of an example,
    because φ is larger than the part of the example that the weights take.

    Args:
        x: The examples, scaled or not; each has its mean removed. Images have the larger of the lags of both axes.

    Returns:
        At most ten sizes in samples per axis, increasing, each from 2 to a quarter of the shortest axis (at least 1).

    Example:
        >>> fitting_sizes(torch.sin(torch.arange(1000) * 2 * torch.pi / 100).view(1, 1, -1))
        [3, 5, 8, 13, 21, 33, 52, 83, 131, 208]
    """
    longest = max(1, min(x.shape[2:]) // LARGEST_PART)
    lag = max(_first_zero(x.movedim(axis, -1).flatten(0, -2)) for axis in range(2, x.dim()))
    first = min(max(SHORTEST, min(lag / WAVES, min(x.shape[2:]) / SMALLEST_PART)), longest)
    last = min(max(first, WAVES * lag), longest)
    spaced = torch.logspace(torch.tensor(first).log2(), torch.tensor(last).log2(), N_SIZES, base=2)
    return sorted({min(round(size), longest) for size in spaced.tolist()})


def _first_zero(lines: Tensor) -> int:
    """Return the first lag, in samples, at which the mean autocorrelation of lines [lines, samples] is not positive."""
    length = lines.shape[-1]
    centred = lines.double() - lines.double().mean(-1, keepdim=True)
    spectrum = torch.fft.rfft(centred, 2 * length).abs().square().mean(0)
    negative = (torch.fft.irfft(spectrum)[:length] <= 0).nonzero()
    return int(negative[0]) if len(negative) else length

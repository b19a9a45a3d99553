r"""A signal of any length, described piece by piece: the figures of the whole, in the memory of a piece.

What :class:`~san.networks.SparselyActivatedNetwork` computes of a sample depends on few others. The similarity and the
reconstruction depend on those nearer than the length m of the longest kernel, so that a piece is read with so many more
on both sides. What an activation function keeps is certain

- of Identity and ReLU everywhere, as each sample is decided alone;
- of Extrema-Pool indices in whole cells, and pieces begin at the start of one;
- of Extrema up to a *cut*, given that it is certain where the piece begins. A cut is a sample c after which there is no
  candidate within d, or which is kept and not less than any candidate within d after it. What decides on a candidate
  is larger, or as large and before it; so nothing after a kept c decides on it or on what is larger and before it, and
  what is smaller and within d before it is dropped anyhow. Hence nothing after c + d can change what is kept up to
  there. A piece ends at its last cut, and the next one begins with a sample that is known to be kept, which stands
  there as an infinite one. Equal and falling extrema, each within d of the next, may be as many as they like; only if
  rising ones fill a whole piece has it no cut.
- Top-k absolutes compares all samples of the signal: two passes count the digits of all absolute values, which gives
  the least one that is kept exactly, and how many of its equals are.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import singledispatch

import torch
import torch.nn.functional as F
from torch import Tensor

from san.activations import (
    Encoder,
    Extrema,
    ExtremaPoolIndices,
    Identity,
    ReLU,
    SparseActivation,
    Territory,
    TopKAbsolutes,
)
from san.networks import SparselyActivatedNetwork
from san.ops import selection, vectorized

__all__ = ["Description", "Selector", "describe", "selectors"]

LEAST = 16  # kernel lengths in a piece, so that what is read twice is little
DIGIT = 16  # bits

# read(start, stop): the samples of the signal from start to before stop, [samples]
Read = Callable[[int, int], Tensor]
# The similarity of the whole signal, piece after piece, [1, kernels, samples]
Pieces = Callable[[], Iterable[Tensor]]


@dataclass(frozen=True)
class Description:
    """What phi is computed from.

    Args:
        n_samples: Of the signal.
        n_activations: Of each kernel.
        error: Sum over all samples of the loss of the reconstruction.
        silence: The same of reconstructing zeros.
    """

    n_samples: int
    n_activations: list[int]
    error: float
    silence: float

    def inverse_compression_ratio(self, n_weights: int) -> float:
        """Return CR⁻¹; see :func:`san.metrics.inverse_compression_ratio`."""
        return (n_weights + 2 * sum(self.n_activations)) / self.n_samples

    def normalized_reconstruction_loss(self) -> float:
        """Return L̃; see :func:`san.metrics.normalized_reconstruction_loss`."""
        return self.error / self.silence


class Selector(ABC):
    """Select the activations of one kernel, piece after piece.

    Args:
        start: The sample of the signal that the next piece must begin with.
    """

    start: int

    @abstractmethod
    def select(self, similarity: Tensor, at_end: bool) -> tuple[Tensor, int]:
        """Return the activation map of a piece, and how many of its samples are certain.

        Args:
            similarity: From the sample ``start`` on, [1, 1, samples].
            at_end: Whether it ends where the signal does.
        """

    @abstractmethod
    def go_on(self, needed: int) -> None:
        """Choose the start of the next piece so that its map is certain from a sample of this piece on."""


@torch.no_grad()
def describe(
    network: SparselyActivatedNetwork,
    read: Read,
    n_samples: int,
    *,
    chunk: int,
    loss: Callable[..., Tensor] = F.l1_loss,
) -> Description:
    """Encode and decode a signal piece by piece.

    The activations are those of the whole signal, and the sums are in float64. Beside the network there are never more
    than some copies of the maps of a piece in memory.

    Args:
        network: One model, of signals.
        read: Returns the samples from a first to before a last, [samples]; it is asked for some more than once.
        n_samples: Of the signal.
        chunk: Samples of a piece, at least sixteen kernel lengths, or the whole signal.
        loss: The reconstruction loss, such as ``torch.nn.functional.l1_loss``.

    Raises:
        ValueError: If the chunk is too short, the network is a bank or of images, the activation function is not known
            to be local, or a chunk has no cut.

    Example:
        >>> from san.activations import Extrema
        >>> network = SparselyActivatedNetwork([8], Extrema(), seed=0)
        >>> x = torch.sin(torch.arange(1000) / 3)
        >>> describe(network, lambda start, stop: x[start:stop], 1000, chunk=128).n_activations
        [106]
    """
    if network.n_dims != 1 or network.n_models != 1:
        raise ValueError("only one model of signals can describe a recording in pieces")
    network.check([n_samples])
    sizes = network.kernel_sizes
    reach = max(sizes)
    if chunk < min(LEAST * reach, n_samples):
        raise ValueError(
            f"chunk={chunk} is too short for kernels of {reach} samples: give {LEAST * reach} or more, or null to read "
            "all at once"
        )

    def similarity(start: int, stop: int) -> tuple[Tensor, Tensor]:
        first = max(0, start - reach)
        x = read(first, min(n_samples, stop + reach)).view(1, 1, -1)
        return x[..., start - first :], network.similarity(x)[..., start - first : stop - first]

    def pieces() -> Iterable[Tensor]:
        return (similarity(at, min(at + chunk, n_samples))[1] for at in range(0, n_samples, chunk))

    activation = network.activation
    densities = []
    if isinstance(activation, SparseActivation):
        densities = [activation.density(size, [n_samples]) for size in sizes]
    each = selectors(activation, densities, pieces)
    n_activations = torch.zeros(len(sizes), dtype=torch.int64)
    error = silence = 0.0
    done = 0
    while done < n_samples:
        needed, stop = max(0, done - reach), min(done + chunk, n_samples)
        first = min(needed, *(selector.start for selector in each))
        x, similar = similarity(first, stop)
        maps = torch.zeros_like(similar)
        certain = stop
        for kernel, selector in enumerate(each):
            own = slice(selector.start - first, None)
            maps[:, [kernel], own], n_certain = selector.select(similar[:, [kernel], own], stop == n_samples)
            certain = min(certain, selector.start + n_certain)
        end = certain if certain == n_samples else certain - reach
        if end <= done:
            raise ValueError(
                f"chunk={chunk} is too short: from sample {done} to {stop} each extremum depends on the next, so none "
                f"is certain; give {2 * chunk} or more, or null to read all at once"
            )
        reconstruction = network.decode(maps[..., needed - first : certain - first])[..., done - needed : end - needed]
        target = x[..., done - first : end - first]
        n_activations += maps[..., done - first : end - first].count_nonzero(dim=(0, 2)).cpu()
        error += float(loss(reconstruction, target, reduction="none").sum(dtype=torch.float64))
        silence += float(loss(torch.zeros_like(target), target, reduction="none").sum(dtype=torch.float64))
        done = end
        for selector in each:
            selector.go_on(max(0, done - reach))
    return Description(n_samples, n_activations.tolist(), error, silence)


@singledispatch
def selectors(activation: Encoder, densities: Sequence[int], pieces: Pieces) -> list[Selector]:
    """Make a selector for each kernel; a new activation function registers its own, and is refused until then.

    Args:
        activation: What selects.
        densities: The density of each kernel on the whole signal.
        pieces: The similarity of the whole signal, for what has to see all of it first.

    Raises:
        ValueError: If it is not known how far the decisions of the activation function reach.
    """
    raise ValueError(
        f"{type(activation).__name__} cannot be computed in pieces: san.streaming does not know how far its decisions "
        "reach; use chunk=null to read all at once"
    )


@selectors.register(Identity)
@selectors.register(ReLU)
def _(activation: SparseActivation, densities: Sequence[int], pieces: Pieces) -> list[Selector]:
    return [_Cells(activation, density, 1) for density in densities]


@selectors.register
def _(activation: ExtremaPoolIndices, densities: Sequence[int], pieces: Pieces) -> list[Selector]:
    return [_Cells(activation, density, density) for density in densities]


@selectors.register
def _(activation: Extrema, densities: Sequence[int], pieces: Pieces) -> list[Selector]:
    return [_Extrema(density, activation.require_sign) for density in densities]


@selectors.register
def _(activation: Territory, densities: Sequence[int], pieces: Pieces) -> list[Selector]:
    return selectors.dispatch(object)(activation, densities, pieces)


@selectors.register
def _(activation: TopKAbsolutes, densities: Sequence[int], pieces: Pieces) -> list[Selector]:
    return [_Largest(*threshold) for threshold in _thresholds(densities, pieces)]


class _Cells(Selector):
    """Select in cells that do not depend on one another.

    Args:
        activation: What selects.
        density: Of the kernel.
        side: Of a cell in samples; the first one begins with the signal.
    """

    def __init__(self, activation: SparseActivation, density: int, side: int) -> None:
        self.activation = activation
        self.density = density
        self.side = side
        self.start = 0

    def select(self, similarity: Tensor, at_end: bool) -> tuple[Tensor, int]:
        length = similarity.shape[-1]
        maps = self.activation.select(similarity, [self.density])
        return maps, length if at_end else length - length % self.side

    def go_on(self, needed: int) -> None:
        self.start = needed - needed % self.side


class _Extrema(Selector):
    """Select extrema from a sample on of which it is known that nothing within the distance after it is kept.

    Args:
        distance: The minimum extrema distance in samples.
        require_sign: See :func:`san.functional.extrema`.
    """

    def __init__(self, distance: int, require_sign: bool) -> None:
        self.distance = distance
        self.require_sign = require_sign
        self.start = 0
        self.anchored = False
        self.keep = torch.empty(0, dtype=torch.bool)

    def select(self, similarity: Tensor, at_end: bool) -> tuple[Tensor, int]:
        if self.anchored:
            infinite = similarity.new_tensor([[[0.0, torch.inf]]])
            walled = torch.cat([infinite, similarity[..., 1:]], dim=-1)
            keep = selection.extrema(walled, [self.distance], self.require_sign)[..., 1:]
            keep[..., 0] = False
        else:
            keep = selection.extrema(similarity, [self.distance], self.require_sign)
        self.keep = keep.flatten()
        certain = similarity.shape[-1] if at_end else self._last_cut(similarity) + self.distance + 1
        return torch.where(keep, similarity, 0), certain

    def go_on(self, needed: int) -> None:
        """Start from what is kept last before a sample, or where there is no candidate for the distance."""
        last = needed - 1
        kept = self.keep[: max(0, needed - self.start)].nonzero()
        before = self.start + int(kept[-1]) if len(kept) else self.start if self.anchored else None
        # Nothing is kept from there to the last sample, so there is no candidate but within the distance of these two.
        empty = last - 2 * self.distance
        if empty >= (0 if before is None else before + self.distance):
            self.start, self.anchored = empty, True
        elif before is not None:
            self.start, self.anchored = before, True

    def _last_cut(self, similarity: Tensor) -> int:
        """Return the last cut of a piece; where there is none, so small a number that nothing is certain."""
        distance, total = self.distance, similarity.shape[-1]
        length = min(8 * distance + 8, total)
        while True:
            tail = similarity[..., -length:]
            # Whether the first and the last sample are candidates depends on others.
            values = torch.where(vectorized.candidates(tail, self.require_sign), tail.abs(), -1)[..., 1:-1]
            after = vectorized.window(values, 0, [1], [distance]).flatten()
            kept = self.keep[-length:][1:-1]
            cuts = (after < 0) | (kept & (values.flatten() >= after))
            known = cuts[: max(0, len(cuts) - distance)].nonzero()
            if len(known):
                return total - length + 1 + int(known[-1])
            if length == total:
                return -distance - 1
            length = min(2 * length, total)


class _Largest(Selector):
    """Select what is larger than a threshold in absolute value, and the first ones that are equal to it.

    Args:
        threshold: The threshold.
        count: How many of its equals are kept.
    """

    def __init__(self, threshold: Tensor, count: int) -> None:
        self.threshold = threshold
        self.count = count
        self.start = 0
        self.equal = torch.empty(0, dtype=torch.bool)

    def select(self, similarity: Tensor, at_end: bool) -> tuple[Tensor, int]:
        magnitude = similarity.abs()
        equal = magnitude == self.threshold
        self.equal = equal.flatten()
        keep = (magnitude > self.threshold) | (equal & (equal.cumsum(-1) <= self.count))
        return torch.where(keep, similarity, 0), similarity.shape[-1]

    def go_on(self, needed: int) -> None:
        self.count -= int(self.equal[: needed - self.start].sum())
        self.start = needed


def _thresholds(counts: Sequence[int], pieces: Pieces) -> list[tuple[Tensor, int]]:
    """Return, for each kernel, the least of so many largest absolute values, and how many equal to it are among them.

    The bits of floating-point numbers that are not negative are in the order of their values, so the digits of the
    threshold are found one after another, by counting them over the whole signal.
    """
    dtype = next(iter(pieces())).dtype
    whole = {torch.float32: torch.int32, torch.float64: torch.int64}[dtype]
    left, prefixes = list(counts), [0] * len(counts)
    for shift in range(8 * dtype.itemsize - DIGIT, -1, -DIGIT):
        totals = torch.zeros(len(counts), 1 << DIGIT, dtype=torch.int64)
        for similarity in pieces():
            for kernel, bits in enumerate(similarity[0].abs().view(whole) >> shift):
                digits = bits[bits >> DIGIT == prefixes[kernel]] & ((1 << DIGIT) - 1)
                totals[kernel] += digits.bincount(minlength=1 << DIGIT).cpu()
        for kernel, total in enumerate(totals):
            at_least = total.flip(0).cumsum(0).flip(0)
            digit = int((at_least >= left[kernel]).nonzero()[-1])
            left[kernel] -= int(at_least[digit] - total[digit])
            prefixes[kernel] = prefixes[kernel] << DIGIT | digit
    thresholds = torch.tensor(prefixes, dtype=whole).view(dtype)
    return list(zip(thresholds, left, strict=True))

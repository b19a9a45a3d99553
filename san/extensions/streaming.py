r"""Describe a signal of any length chunk by chunk: the metrics of the whole signal, in the memory of one chunk.

Each sample of a description depends on few samples of the signal. A sample of the similarity or the reconstruction
depends on samples nearer than the length m of the longest kernel, so each chunk is read with m more samples on both
sides. How far an activation function looks depends on the function:

- Identity and ReLU decide each sample alone.
- Extrema-Pool indices decides each cell alone, so a chunk starts at the first sample of a cell.
- Extrema with distance d depends on distant samples through chains of extrema, but no chain crosses a *cut*. A cut is a
  sample c with no candidate in the next d samples, or a kept sample c with no larger candidate in the next d samples.
  No sample after c + d changes a decision up to c + d, because a candidate is excluded only by a larger one, or by an
  equal one before it:

  - Candidates in the d samples after a kept c exclude neither c nor any larger candidate before c; c excludes them.
  - Smaller candidates in the d samples before a kept c are excluded by c as well.

  A chunk ends at its last cut. The next chunk starts at a sample that is known to be kept, which is replaced by an
  infinite one. A chain of equal or falling extrema, each within d of the next, may be of any length; only a chain of
  rising extrema that fills a whole chunk leaves the chunk without a cut.
- Top-k absolutes compares all samples of the signal. Two passes over the signal, four in float64, count the digits of
  all absolute values; the counts give the smallest kept value exactly, and how many samples of that value are kept.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import singledispatch

import torch
import torch.nn.functional as F
from torch import Tensor

from san.activations import Extrema, ExtremaPoolIndices, Identity, ReLU, SparseActivation, TopKAbsolutes
from san.extensions.territory import Territory
from san.metrics import Loss
from san.networks import Encoder, SparselyActivatedNetwork
from san.ops import selection, vectorized

__all__ = ["ChunkedDescription", "Selector", "describe", "selectors"]

MIN_KERNELS_PER_CHUNK = 16  # minimum chunk in lengths of the longest kernel, so that few samples are read twice
DIGIT_BITS = 16  # bits of the absolute value that one pass over the signal counts

SignalReader = Callable[[int, int], Tensor]
"""Reads from start to before stop, ``read(start, stop)``: [samples], of several channels [channels, samples]."""

SimilarityChunks = Callable[[], Iterable[Tensor]]
"""Starts a pass over the similarity of the whole signal, chunk after chunk, each [1, kernels, samples]."""


@dataclass(frozen=True)
class ChunkedDescription:
    """Counts and sums of the description of a whole signal, from which its metrics follow.

    Args:
        n_samples: Length of the signal in samples.
        n_activations: Number of activations of each kernel.
        error: Loss of the reconstruction, summed over all samples of all channels.
        zeros_error: Loss of reconstructing zeros, summed over all samples of all channels.
        channels: Number of channels.
    """

    n_samples: int
    n_activations: list[int]
    error: float
    zeros_error: float
    channels: int = 1

    def inverse_compression_ratio(self, n_weights: int) -> float:
        """Return CR⁻¹ of the signal; see :func:`san.metrics.inverse_compression_ratio`.

        Args:
            n_weights: W, the number of weights of all kernels.
        """
        return (n_weights + 2 * sum(self.n_activations)) / (self.channels * self.n_samples)

    def normalized_reconstruction_loss(self) -> float:
        """Return L̃ of the signal; see :func:`san.metrics.normalized_reconstruction_loss`."""
        return self.error / self.zeros_error


class Selector(ABC):
    """Select the activations of one kernel, chunk after chunk.

    Attributes:
        start: Sample of the signal at which the similarity given to the next ``select`` must start.
    """

    start: int

    @abstractmethod
    def select(self, similarity: Tensor, at_end: bool) -> tuple[Tensor, int]:
        """Return the activation map of a chunk, and the number of its first samples that are certain.

        Args:
            similarity: Similarity map from the sample ``start`` on, [1, 1, samples].
            at_end: Whether the chunk ends at the end of the signal.
        """

    @abstractmethod
    def advance(self, first_needed: int) -> None:
        """Move ``start`` so that the map of the next chunk is certain from a sample on.

        Args:
            first_needed: That sample of the signal; it is in the certain part of the current chunk.
        """


@torch.no_grad()
def describe(
    network: SparselyActivatedNetwork,
    read: SignalReader,
    n_samples: int,
    *,
    chunk: int,
    loss: Loss = F.l1_loss,
) -> ChunkedDescription:
    """Encode and decode a signal chunk by chunk.

    The activations equal the activations of the whole signal, and the sums are in float64. Memory holds the network and
    a few copies of the maps of one chunk.

    Args:
        network: Network of one model, for signals.
        read: Reads samples, ``read(start, stop)``: from start to before stop, [samples], of several channels [channels,
            samples]; some are read more than once.
        n_samples: Length of the signal in samples.
        chunk: Length of a chunk in samples, at least 16 times the longest kernel, or the length of the signal.
        loss: The reconstruction loss, called as in ``torch.nn.functional``.

    Raises:
        ValueError: If the chunk is too short, a chunk has no cut, the network is a bank or for images, or the
            activation function has no selector.

    Example:
        >>> from san.activations import Extrema
        >>> network = SparselyActivatedNetwork([8], Extrema(), seed=0)
        >>> x = torch.sin(torch.arange(1000) / 3)
        >>> describe(network, lambda start, stop: x[start:stop], 1000, chunk=128).n_activations
        [106]
    """
    if network.n_dims != 1 or network.n_models != 1:
        raise ValueError(
            f"n_dims={network.n_dims}, n_models={network.n_models}: a network that describes a signal in chunks must "
            "have 1 of both; use bank.model(index) for a model of a bank"
        )
    network.check_space([n_samples])
    sizes = network.kernel_sizes
    reach = max(sizes)
    shortest = MIN_KERNELS_PER_CHUNK * reach
    if chunk < min(shortest, n_samples):
        raise ValueError(
            f"chunk={chunk} is too short for kernels of {reach} samples; choose {shortest} or more, or the length of "
            f"the signal, {n_samples}"
        )

    def signal_and_similarity(start: int, stop: int) -> tuple[Tensor, Tensor]:
        first = max(0, start - reach)
        x = read(first, min(n_samples, stop + reach)).view(1, network.channels, -1)
        return x[..., start - first :], network.similarity(x)[..., start - first : stop - first]

    def similarity_chunks() -> Iterable[Tensor]:
        starts = range(0, n_samples, chunk)
        return (signal_and_similarity(start, min(start + chunk, n_samples))[1] for start in starts)

    activation = network.activation
    densities = []
    if isinstance(activation, SparseActivation):
        densities = activation.densities(sizes, [len(sizes), n_samples])
    selector_per_kernel = selectors(activation, densities, similarity_chunks)
    n_activations = torch.zeros(len(sizes), dtype=torch.int64)
    error = zeros_error = 0.0
    done = 0
    while done < n_samples:
        # Maps are needed from `needed` on, to decode from `done` on; selectors may start even before.
        needed, stop = max(0, done - reach), min(done + chunk, n_samples)
        first = min(needed, *(selector.start for selector in selector_per_kernel))
        x, similarity = signal_and_similarity(first, stop)
        maps = torch.zeros_like(similarity)
        certain = stop
        for kernel, selector in enumerate(selector_per_kernel):
            selected = slice(selector.start - first, None)
            maps[:, [kernel], selected], n_certain = selector.select(
                similarity[:, [kernel], selected], stop == n_samples
            )
            certain = min(certain, selector.start + n_certain)
        end = certain if certain == n_samples else certain - reach
        if end <= done:
            raise ValueError(
                f"chunk={chunk} is too short: from sample {done} to {stop} each extremum depends on the next, so none "
                f"is certain; choose {2 * chunk} or more, or the length of the signal, {n_samples}"
            )
        reconstruction = network.decode(maps[..., needed - first : certain - first])[..., done - needed : end - needed]
        target = x[..., done - first : end - first]
        n_activations += maps[..., done - first : end - first].count_nonzero(dim=(0, 2)).cpu()
        error += float(loss(reconstruction, target, reduction="none").sum(dtype=torch.float64))
        zeros_error += float(loss(torch.zeros_like(target), target, reduction="none").sum(dtype=torch.float64))
        done = end
        for selector in selector_per_kernel:
            selector.advance(max(0, done - reach))
    return ChunkedDescription(n_samples, n_activations.tolist(), error, zeros_error, network.channels)


@singledispatch
def selectors(activation: Encoder, densities: Sequence[int], similarity_chunks: SimilarityChunks) -> list[Selector]:
    """Make the selector of each kernel for an activation function.

    An activation function is refused until a function that makes its selectors is registered for its class.

    Args:
        activation: The activation function.
        densities: Density of each kernel on the whole signal; empty if the encoder is not a SparseActivation.
        similarity_chunks: Starts a pass over the similarity of the whole signal, for functions that need all of it.

    Raises:
        ValueError: If no function is registered for the class of the activation function.
    """
    name = type(activation).__name__
    raise ValueError(
        f"{name} cannot be computed in chunks, because san.extensions.streaming does not know how far its decisions "
        f"reach; encode the whole signal at once, or register selectors for {name}"
    )


@selectors.register(Identity)
@selectors.register(ReLU)
def _(activation: SparseActivation, densities: Sequence[int], similarity_chunks: SimilarityChunks) -> list[Selector]:
    return [_CellSelector(activation, density, 1) for density in densities]


@selectors.register
def _(activation: ExtremaPoolIndices, densities: Sequence[int], similarity_chunks: SimilarityChunks) -> list[Selector]:
    return [_CellSelector(activation, density, density) for density in densities]


@selectors.register
def _(activation: Extrema, densities: Sequence[int], similarity_chunks: SimilarityChunks) -> list[Selector]:
    return [_ExtremaSelector(density, activation.require_sign) for density in densities]


@selectors.register
def _(activation: Territory, densities: Sequence[int], similarity_chunks: SimilarityChunks) -> list[Selector]:
    return selectors.dispatch(object)(activation, densities, similarity_chunks)


@selectors.register
def _(activation: TopKAbsolutes, densities: Sequence[int], similarity_chunks: SimilarityChunks) -> list[Selector]:
    return [_LargestSelector(*threshold) for threshold in _thresholds(densities, similarity_chunks)]


class _CellSelector(Selector):
    """Select in cells that do not depend on one another.

    Args:
        activation: The activation function.
        density: Density of the kernel.
        side: Length of a cell in samples; the first cell starts at the first sample of the signal.
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

    def advance(self, first_needed: int) -> None:
        self.start = first_needed - first_needed % self.side


class _ExtremaSelector(Selector):
    """Select extrema, starting at a kept sample or before as many empty samples as the distance.

    Args:
        distance: Minimum extrema distance in samples.
        require_sign: See :func:`san.functional.extrema`.
    """

    def __init__(self, distance: int, require_sign: bool) -> None:
        self.distance = distance
        self.require_sign = require_sign
        self.start = 0
        self.is_anchored = False  # whether the start is known to be kept, or may be taken as kept
        self.keep = torch.empty(0, dtype=torch.bool)

    def select(self, similarity: Tensor, at_end: bool) -> tuple[Tensor, int]:
        if self.is_anchored:
            # The anchor is an infinite peak, which no other sample can exclude; the zero before it makes it a peak.
            anchor = similarity.new_tensor([[[0.0, torch.inf]]])
            anchored = torch.cat([anchor, similarity[..., 1:]], dim=-1)
            keep = selection.extrema(anchored, [self.distance], self.require_sign)[..., 1:]
            keep[..., 0] = False
        else:
            keep = selection.extrema(similarity, [self.distance], self.require_sign)
        self.keep = keep.flatten()
        n_certain = similarity.shape[-1] if at_end else self._last_cut(similarity) + self.distance + 1
        return torch.where(keep, similarity, 0), n_certain

    def advance(self, first_needed: int) -> None:
        """Move the start to the last kept sample before a sample, or into a gap without candidates before it."""
        last = first_needed - 1
        kept = self.keep[: max(0, first_needed - self.start)].nonzero()
        last_kept = self.start + int(kept[-1]) if len(kept) else self.start if self.is_anchored else None
        # Nothing is kept between the last kept sample and `last`, so all candidates between them are within the
        # distance of one of the two. If the two are far enough apart, an anchor between them excludes no candidate.
        gap = last - 2 * self.distance
        if gap >= (0 if last_kept is None else last_kept + self.distance):
            self.start, self.is_anchored = gap, True
        elif last_kept is not None:
            self.start, self.is_anchored = last_kept, True

    def _last_cut(self, similarity: Tensor) -> int:
        """Return the last cut of a chunk; if there is none, a number so small that no sample is certain."""
        distance, total = self.distance, similarity.shape[-1]
        length = min(8 * distance + 8, total)
        while True:
            tail = similarity[..., -length:]
            # Samples outside the tail decide whether its first and last sample are candidates.
            values = torch.where(vectorized.candidates(tail, self.require_sign), tail.abs(), -1)[..., 1:-1]
            after = vectorized.window_maximum(values, 0, [1], [distance]).flatten()
            kept = self.keep[-length:][1:-1]
            is_cut = (after < 0) | (kept & (values.flatten() >= after))
            cuts = is_cut[: max(0, len(is_cut) - distance)].nonzero()
            if len(cuts):
                return total - length + 1 + int(cuts[-1])
            if length == total:
                return -distance - 1
            length = min(2 * length, total)


class _LargestSelector(Selector):
    """Select the samples above a threshold in absolute value, and the first samples that equal it.

    Args:
        threshold: The threshold, a scalar.
        count: Number of samples equal to the threshold to keep.
    """

    def __init__(self, threshold: Tensor, count: int) -> None:
        self.threshold = threshold
        self.count = count
        self.start = 0
        self.is_equal = torch.empty(0, dtype=torch.bool)

    def select(self, similarity: Tensor, at_end: bool) -> tuple[Tensor, int]:
        magnitude = similarity.abs()
        is_equal = magnitude == self.threshold
        self.is_equal = is_equal.flatten()
        keep = (magnitude > self.threshold) | (is_equal & (is_equal.cumsum(-1) <= self.count))
        return torch.where(keep, similarity, 0), similarity.shape[-1]

    def advance(self, first_needed: int) -> None:
        self.count -= int(self.is_equal[: first_needed - self.start].sum())
        self.start = first_needed


def _thresholds(counts: Sequence[int], similarity_chunks: SimilarityChunks) -> list[tuple[Tensor, int]]:
    """Find the smallest of the k largest absolute values of each kernel's map, without sorting the map.

    The bits of floating-point numbers that are not negative are in the order of their values. So the digits of the
    threshold follow one after another, from the highest on, each from the counts of one pass over the whole signal.

    Args:
        counts: k of each kernel.
        similarity_chunks: Starts a pass over the similarity of the whole signal.

    Returns:
        For each kernel the threshold, and how many samples equal to it are among the k largest.
    """
    dtype = next(iter(similarity_chunks())).dtype
    integer = {torch.float32: torch.int32, torch.float64: torch.int64}[dtype]
    remaining, prefixes = list(counts), [0] * len(counts)
    for shift in range(8 * dtype.itemsize - DIGIT_BITS, -1, -DIGIT_BITS):
        totals = torch.zeros(len(counts), 1 << DIGIT_BITS, dtype=torch.int64)
        for similarity in similarity_chunks():
            for kernel, bits in enumerate(similarity[0].abs().view(integer) >> shift):
                digits = bits[bits >> DIGIT_BITS == prefixes[kernel]] & ((1 << DIGIT_BITS) - 1)
                totals[kernel] += digits.bincount(minlength=1 << DIGIT_BITS).cpu()
        for kernel, total in enumerate(totals):
            at_least = total.flip(0).cumsum(0).flip(0)
            digit = int((at_least >= remaining[kernel]).nonzero()[-1])
            remaining[kernel] -= int(at_least[digit] - total[digit])
            prefixes[kernel] = prefixes[kernel] << DIGIT_BITS | digit
    thresholds = torch.tensor(prefixes, dtype=integer).view(dtype)
    return list(zip(thresholds, remaining, strict=True))

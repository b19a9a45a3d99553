"""A trained model: its kernels, and the description of any recording by them."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from numbers import Integral
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from san.data.scale import Scale, Statistics
from san.data.scaling import Nan, finite_samples
from san.data.signal import Signal, agreed_frequency
from san.extensions.bank_metrics import metrics_per_model
from san.extensions.phi_pursuit import PhiPursuit
from san.extensions.signs import shown_atoms, signs
from san.figures.kernels import draw_kernels
from san.metrics import Loss
from san.networks import SparselyActivatedNetwork, WeightCount
from san.ops.kernels import kernels_text
from san.reporting.progress import Advance, progress_bar
from san.use.description import Array, Description, Origin, Window
from san.use.notebook import as_html
from san.use.recordings import agreed_channels, agreed_units, as_array, described_frequency, resampled

__all__ = ["Model"]

BATCH_SAMPLES = 2**18  # samples of the windows that are encoded together


class Model:
    """A trained network with the scale and the origin of its training data; :func:`san.load` makes one.

    Args:
        network: The network, of one model.
        activation: Name of its activation function or encoder.
        scale: How samples are scaled before they are encoded.
        origin: What is known of the samples that the model was trained on.
        space: Samples along each axis of a training example.
        loss: The reconstruction loss of φ, called as in ``torch.nn.functional``.
        count_weights: How φ counts the weights of a two-dimensional kernel.

    Attributes:
        candidates: The models that :func:`san.fit` compared, the best first: ``activation``, ``kernel_size``,
            ``validation_phi`` and the ``seconds`` of training all kernel sizes; None of other models.
    """

    def __init__(
        self,
        network: SparselyActivatedNetwork,
        *,
        activation: str,
        scale: Scale,
        origin: Origin,
        space: tuple[int, ...],
        loss: Loss,
        count_weights: WeightCount,
    ) -> None:
        self.network = network.eval()
        self.activation = activation
        self.scale = scale
        self.origin = origin
        self.space = space
        self.loss = loss
        self.count_weights = count_weights
        self.candidates: pd.DataFrame | None = None

    @property
    def kernels(self) -> list[NDArray[np.float32]]:
        """The kernels as an event places them, in the unit of scaled samples per amplitude.

        Each is [m] or [m, m], and of several channels [channels, m] or [channels, m, m]. The largest deflection of each
        is positive; see :mod:`san.extensions.signs`.
        """
        return [atom.numpy().copy() for atom in shown_atoms(self.network)]

    @property
    def sampling_frequency(self) -> float | None:
        """Sampling frequency of the training data in hertz; None if unknown or not applicable."""
        return self.origin.sampling_frequency

    def encode(
        self,
        x: ArrayLike | Signal,
        *,
        window: int | np.integer[Any] | Literal["training"] | None = "training",
        sampling_frequency: float | None = None,
        resample: bool = False,
        nan: Nan = "refuse",
        progress: bool = False,
    ) -> Description:
        """Describe recordings.

        Args:
            x: One recording, [samples], or several, [examples, samples], in physical units; of a model of several
                channels, [channels, samples] or [examples, channels, samples]; of a model of images, rows and columns
                instead of samples. An array, a list, a tensor, a Series or a DataFrame; or a signal that
                :func:`san.read` read from a file.
            window: Samples of the windows that are described one by one: those of the training examples, a number, or
                None for the whole recording. The last window of a recording has the rest, if that is at least as long
                as a kernel; otherwise the rest belongs to the window before it. Images are always described as a whole.
            sampling_frequency: Of the recordings, in hertz; None if it is that of the training data, or unknown.
            resample: Whether to resample recordings of another sampling frequency to that of the training data; their
                description is of the resampled recording.
            nan: Treatment of invalid samples: ``refuse``, or ``interpolate`` linearly between valid samples.
            progress: Whether to show on a terminal how many windows are described, and the remaining time.

        Raises:
            ValueError: If the recordings have another number of axes, other channels, a sample that is not a finite
                number, fewer samples than a kernel, another sampling frequency, or another unit than that which scales
                them; or if a channel of a window is constant and scaled by itself.
        """
        # An array is in the units of the training data, and of their channels if these are several.
        n_channels = self.network.channels
        names = self.origin.channels if n_channels > 1 else ("",)
        origin = Origin("x", names, self.origin.channel_units)
        if isinstance(x, Signal):
            if x.sampling_frequency is not None:
                sampling_frequency = agreed_frequency(sampling_frequency, x.sampling_frequency, x.name)
            if n_channels > 1 or x.n_channels > 1:
                agreed_channels(x, self.origin.of_channels(n_channels).channels)
            units = self.origin.of_channels(n_channels).channel_units
            origin = Origin(x.name, x.channels, agreed_units(x, units, self.scale.kind))
            x = x.samples
        origin = origin.of_channels(n_channels)
        recordings, is_single = self._recordings(x, nan, origin)
        frequency = described_frequency(sampling_frequency, self.sampling_frequency, resample)
        if sampling_frequency is not None and frequency is not None and frequency != sampling_frequency:
            recordings = resampled(recordings, sampling_frequency, frequency)
        origin = origin._replace(sampling_frequency=frequency)
        self.network.check_space(recordings.shape[2:])
        starts = self._starts(recordings.shape[2], window)
        with progress_bar(f"{origin.name}, windows", len(recordings) * len(starts), is_wanted=progress) as advance:
            windows = self._describe(recordings, starts, origin.channels, advance)
        return Description(
            self.network, self.scale, origin, recordings.shape, windows, is_single, recordings=recordings
        )

    @torch.no_grad()
    def encode_scaled(
        self, examples: Tensor, statistics: Statistics | None = None, origin: Origin | None = None
    ) -> Description:
        """Describe examples that are already scaled, each as a whole.

        Args:
            examples: Scaled examples, [examples, channels, *space], such as those of :class:`san.data.splits.Splits`.
            statistics: The numbers by which each example was scaled. Without them the description of a model with
                scaling=example is in the unit of the scaled samples.
            origin: Origin of the examples; None for the origin of the training data.

        Raises:
            ValueError: If the examples have other axes, another number of channels or another sampling frequency than
                the training data, or fewer samples than a kernel.
        """
        if examples.dim() != self.network.n_dims + 2:
            raise ValueError(f"the examples have {examples.dim() - 2} axes, but the kernels have {self.network.n_dims}")
        n_channels = self.network.channels
        if examples.shape[1] != n_channels:
            raise ValueError(f"the examples have {examples.shape[1]} channels, but the kernels have {n_channels}")
        self.network.check_space(examples.shape[2:])
        scale, origin = self.scale, (self.origin if origin is None else origin).of_channels(n_channels)
        described_frequency(origin.sampling_frequency, self.sampling_frequency, resample=False)
        if statistics is None and scale.kind == "example":
            scale, origin = Scale("none"), origin._replace(channel_units=("",) * n_channels)
        used = scale.statistics(examples, origin.name) if statistics is None else statistics
        recordings = scale.undo(examples.double(), used).numpy()
        offsets, units = _per_example(used, examples)
        windows = []
        per_batch = max(1, BATCH_SAMPLES // examples[0].numel())
        for batch in torch.arange(len(examples)).split(per_batch):
            x = examples[batch].to(self.network.weight.dtype)
            places = [(int(example), 0) for example in batch]
            windows += self._windows(x, Statistics(offsets[batch], units[batch]), places)
        return Description(
            self.network, scale, origin, recordings.shape, windows, is_single=False, recordings=recordings
        )

    def decode(self, maps: Array) -> Array:
        """Return the reconstruction of activation maps, in the units of the recordings.

        Args:
            maps: Amplitudes as :attr:`san.use.description.Description.events` has them, [examples, kernels, *space].

        Returns:
            [examples, *space], or of several channels [examples, channels, *space].

        Raises:
            ValueError: If each example is scaled by itself, because the maps do not have its mean and deviation.
        """
        if self.scale.kind == "example":
            raise ValueError("the mean of each example is not in its activation maps: train with scaling=all")
        sizes = (1.0,) if self.scale.kind == "none" else self.scale.sizes
        is_physical = len({*sizes}) == len({*self.origin.channel_units}) == 1
        scaled = torch.from_numpy(maps / sizes[0] if is_physical else maps).to(self.network.weight.dtype)
        as_trained = scaled * signs(self.network).view(-1, *[1] * self.network.n_dims)
        with torch.no_grad():
            decoded: Array = self.scale.undo(self.network.decode(as_trained).double()).numpy()
        return decoded[:, 0] if self.network.channels == 1 else decoded

    def plot(self) -> Figure:
        """Draw the kernels."""
        labels = self.origin.of_channels(self.network.channels).labels
        return draw_kernels(self.network, self.origin.name, self.sampling_frequency, labels)

    def __repr__(self) -> str:
        """Return the kernel sizes and the training data in one line."""
        sizes = self.network.kernel_sizes
        kernels = kernels_text(sizes)
        return f"Model({self.origin.name}: {self.activation}, {kernels})"

    def _repr_html_(self) -> str:
        return as_html(self.plot(), repr(self))

    def _recordings(self, x: ArrayLike, nan: Nan, origin: Origin) -> tuple[Array, bool]:
        """Return recordings as [examples, channels, *space], and whether one was given without an axis of examples."""
        recordings, is_single = as_array(x, self.network.n_dims, self.network.channels)
        if self.network.n_dims == 1:
            recordings = np.stack(
                [np.atleast_2d(finite_samples(_squeezed(own), nan, origin.name, origin.channels)) for own in recordings]
            )
        elif not np.isfinite(recordings).all():
            raise ValueError(f"x has {int((~np.isfinite(recordings)).sum())} pixels that are not finite")
        return recordings, is_single

    def _starts(self, n_samples: int, window: Any) -> list[int]:
        """Return the first sample of each window of a recording."""
        if window is None or self.network.n_dims == 2:
            return [0]
        length = self.space[0] if window == "training" else window
        longest = max(self.network.kernel_sizes)
        if not isinstance(length, Integral) or length < longest:
            raise ValueError(f"window={window} must be an integer, as long as the longest kernel, {longest}, or longer")
        last = n_samples - longest
        return [start for start in range(0, n_samples, int(length)) if start == 0 or start <= last]

    @torch.no_grad()
    def _describe(
        self, recordings: Array, starts: Sequence[int], channels: Sequence[str], advance: Advance
    ) -> list[Window]:
        """Describe the windows of recordings, in batches of windows of equal length."""
        stops = [*starts[1:], recordings.shape[2]]
        places = [
            (example, start, stop)
            for example in range(len(recordings))
            for start, stop in zip(starts, stops, strict=True)
        ]
        windows: list[Window] = []
        for length, group in groupby(places, lambda place: place[2] - place[1]):
            own = list(group)
            per_batch = max(1, BATCH_SAMPLES // recordings[0, :, :length].size)
            for first in range(0, len(own), per_batch):
                batch = self._describe_batch(recordings, own[first : first + per_batch], channels)
                windows += batch
                advance(len(batch))
        return windows

    def _describe_batch(
        self, recordings: Array, places: Sequence[tuple[int, int, int]], channels: Sequence[str]
    ) -> list[Window]:
        """Describe windows of equal length, given the example, the first sample and the end of each."""
        scaled, used = [], []
        for example, group in groupby(places, lambda place: place[0]):
            own = list(group)
            samples = torch.from_numpy(np.stack([recordings[example, :, start:stop] for _, start, stop in own]))
            x, statistics = self._scaled(samples, f"x[{example}]", channels)
            zero = (~x.flatten(1).any(1)).nonzero()
            if len(zero):
                raise ValueError(f"x[{example}] is zero from sample {own[int(zero[0])][1]} on, where φ is undefined")
            scaled.append(x)
            used.append(_per_example(statistics, x))
        statistics = Statistics(*(torch.cat(values) for values in zip(*used, strict=True)))
        return self._windows(torch.cat(scaled), statistics, [(example, start) for example, start, _ in places])

    def _scaled(self, samples: Tensor, name: str, channels: Sequence[str]) -> tuple[Tensor, Statistics]:
        """Return scaled windows of a recording, [windows, channels, *space], and the numbers that scale them."""
        statistics = self.scale.statistics(samples, name, channels)
        x = self.scale.apply(samples, name, statistics).to(self.network.weight.dtype)
        if not x.isfinite().all() or not all(torch.as_tensor(one).isfinite().all() for one in statistics):
            raise ValueError(f"{name} has samples of up to {float(samples.abs().max()):g}, too large to scale")
        return x, statistics

    def _windows(self, x: Tensor, statistics: Statistics, places_of_windows: Sequence[tuple[int, int]]) -> list[Window]:
        """Describe scaled windows, [windows, channels, *space], given the example and the first sample of each."""
        with self._work_for(x.shape[2:]):
            maps = self.network.encode(x)
        n_weights = [self.network.n_weights(self.count_weights)]
        ratios, losses = metrics_per_model(maps, self.network.decode(maps), x, n_weights, self.loss)
        if not (ratios.isfinite().all() and losses.isfinite().all()):
            raise ValueError("φ is not finite: the samples or the kernels are too large or too small")
        offsets, units = _per_example(statistics, x)
        windows = []
        for one, (own, (example, start)) in enumerate(zip(maps, places_of_windows, strict=True)):
            places = own.nonzero()
            windows.append(
                Window(
                    example=example,
                    start=start,
                    statistics=Statistics(offsets[one], units[one]),
                    places=places,
                    amplitudes=own[tuple(places.unbind(1))],
                    cr_inverse=float(ratios[one]),
                    loss_normalized=float(losses[one]),
                )
            )
        return windows

    @contextmanager
    def _work_for(self, space: Sequence[int]) -> Iterator[None]:
        """Let φ pursuit work as long for each sample of a longer window as for one of a training example."""
        encoder = self.network.activation
        if not isinstance(encoder, PhiPursuit):
            yield
            return
        of_example = encoder.max_work
        encoder.max_work = of_example * max(1.0, math.prod(space) / math.prod(self.space))
        try:
            yield
        finally:
            encoder.max_work = of_example


def _per_example(statistics: Statistics, examples: Tensor) -> tuple[Tensor, Tensor]:
    """Return the offset and the unit of each channel of each example, [examples, channels, *ones] in float64."""
    shape = (*examples.shape[:2], *[1] * (examples.dim() - 2))
    offsets, units = (torch.as_tensor(value, dtype=torch.float64).expand(shape) for value in statistics)
    return offsets, units


def _squeezed(recording: Array) -> Array:
    """Return a recording [channels, samples], or [samples] of one channel."""
    return recording[0] if len(recording) == 1 else recording

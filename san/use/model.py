"""A trained model: its kernels, and the description of any recording by them."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
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
from san.figures.kernels import draw_kernels
from san.metrics import Loss
from san.networks import SparselyActivatedNetwork, WeightCount
from san.use.description import Array, Description, Origin, Window
from san.use.notebook import as_html
from san.use.recordings import agreed_unit, as_array, described_frequency, resampled

__all__ = ["Model"]

BATCH_SAMPLES = 2**18  # samples of the windows that are encoded together


class Model:
    """A trained network with what its use needs; :func:`san.load` makes one.

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
        """The kernels as an event places them, each [m] or [m, m], in the unit of scaled samples per amplitude."""
        return [atom.detach().numpy().copy() for atom in self.network.atoms]

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
    ) -> Description:
        """Describe recordings.

        Args:
            x: One recording, [samples], or several, [examples, samples], in physical units; of a model of images,
                [rows, columns] or [examples, rows, columns]. An array, a list, a tensor, a Series or a DataFrame; or a
                signal that :func:`san.read` read from a file.
            window: Samples of the windows that are described one by one: those of the training examples, a number, or
                None for the whole recording. The last window of a recording has the rest, if that is at least as long
                as a kernel; otherwise the rest belongs to the window before it. Images are always described as a whole.
            sampling_frequency: Of the recordings, in hertz; None if it is that of the training data, or unknown.
            resample: Whether to resample recordings of another sampling frequency to that of the training data; their
                description is of the resampled recording.
            nan: Treatment of invalid samples: ``refuse``, or ``interpolate`` linearly between valid samples.

        Raises:
            ValueError: If the recordings have another number of axes, a sample that is not a finite number, fewer
                samples than a kernel, another sampling frequency, or another unit than that which scales them; or if a
                window is constant and scaled by itself.
        """
        # An array is in the unit of the training data, of which its name and channel say nothing.
        origin, name = Origin("x", unit=self.origin.unit), "x"
        if isinstance(x, Signal):
            name = x.name
            if x.sampling_frequency is not None:
                sampling_frequency = agreed_frequency(sampling_frequency, x.sampling_frequency, name)
            origin = Origin(name, x.channel, agreed_unit(x, self.origin.unit, self.scale.kind))
            x = x.samples
        recordings, is_single = self._recordings(x, nan, name)
        frequency = described_frequency(sampling_frequency, self.sampling_frequency, resample)
        if sampling_frequency is not None and frequency is not None and frequency != sampling_frequency:
            recordings = resampled(recordings, sampling_frequency, frequency)
        origin = origin._replace(sampling_frequency=frequency)
        self.network.check_space(recordings.shape[1:])
        starts = self._starts(recordings.shape[1], window)
        windows = [
            one for example, recording in enumerate(recordings) for one in self._describe(example, recording, starts)
        ]
        return Description(
            self.network, self.scale, origin, recordings.shape, windows, is_single, recordings=recordings
        )

    @torch.no_grad()
    def encode_scaled(
        self, examples: Tensor, statistics: Statistics | None = None, origin: Origin | None = None
    ) -> Description:
        """Describe examples that are already scaled, each as a whole.

        Args:
            examples: Scaled examples, [examples, 1, *space], such as those of :class:`san.data.splits.Splits`.
            statistics: The numbers by which each example was scaled. Without them the description of a model with
                scaling=example is in the unit of the scaled samples.
            origin: What is known of the examples; None if that is what is known of the training data.

        Raises:
            ValueError: If the examples have other axes or another sampling frequency than the training data, or fewer
                samples than a kernel.
        """
        if examples.dim() != self.network.n_dims + 2:
            raise ValueError(f"the examples have {examples.dim() - 2} axes, but the kernels have {self.network.n_dims}")
        self.network.check_space(examples.shape[2:])
        scale, origin = self.scale, self.origin if origin is None else origin
        described_frequency(origin.sampling_frequency, self.sampling_frequency, resample=False)
        if statistics is None and scale.kind == "example":
            scale, origin = Scale("none"), origin._replace(unit="")
        used = scale.statistics(examples, origin.name) if statistics is None else statistics
        recordings = scale.undo(examples.double(), used)[:, 0].numpy()
        offsets, units = _per_example(used, len(examples))
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
        """Return the reconstruction of activation maps, in the unit of the recordings.

        Args:
            maps: Amplitudes in the unit of the recordings, [examples, kernels, *space].

        Raises:
            ValueError: If each example is scaled by itself, because the maps do not have its mean and deviation.
        """
        if self.scale.kind == "example":
            raise ValueError("the mean of each example is not in its activation maps: train with scaling=all")
        (size,) = (1.0,) if self.scale.kind == "none" else self.scale.sizes
        scaled = torch.from_numpy(maps / size).to(self.network.weight.dtype)
        with torch.no_grad():
            decoded: Array = self.scale.undo(self.network.decode(scaled).double())[:, 0].numpy()
        return decoded

    def plot(self) -> Figure:
        """Draw the kernels."""
        return draw_kernels(self.network, self.origin.name, self.sampling_frequency)

    def __repr__(self) -> str:
        """Return the kernel sizes and the training data in one line."""
        sizes = ", ".join(map(str, self.network.kernel_sizes))
        return f"Model({self.origin.name}: {self.activation}, kernels of {sizes} samples per axis)"

    def _repr_html_(self) -> str:
        return as_html(self.plot(), repr(self))

    def _recordings(self, x: ArrayLike, nan: Nan, name: str) -> tuple[Array, bool]:
        """Return recordings as [examples, *space] in float64, and whether one was given without an axis of examples."""
        given = as_array(x, self.network.n_dims)
        is_single = given.ndim == self.network.n_dims
        recordings = given[None] if is_single else given
        if self.network.n_dims == 1:
            recordings = np.stack([finite_samples(own, nan, name) for own in recordings])
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
    def _describe(self, example: int, recording: Array, starts: Sequence[int]) -> list[Window]:
        """Describe the windows of a recording in batches; the last window, which may be of another length, alone."""
        parts = np.split(recording, starts[1:])
        per_batch = max(1, BATCH_SAMPLES // parts[0].size)
        bounds = [*range(0, len(parts) - 1, per_batch), len(parts) - 1, len(parts)]
        return [
            window
            for first, last in pairwise(bounds)
            for window in self._describe_batch(
                example, starts[first:last], torch.from_numpy(np.stack(parts[first:last])).unsqueeze(1)
            )
        ]

    def _describe_batch(self, example: int, starts: Sequence[int], samples: Tensor) -> list[Window]:
        name = f"x[{example}]"
        statistics = self.scale.statistics(samples, name)
        x = self.scale.apply(samples, name, statistics).to(self.network.weight.dtype)
        if not x.isfinite().all() or not all(torch.as_tensor(one).isfinite().all() for one in statistics):
            raise ValueError(f"{name} has samples of up to {float(samples.abs().max()):g}, too large to scale")
        zero = (~x.flatten(1).any(1)).nonzero()
        if len(zero):
            raise ValueError(f"{name} is zero from sample {starts[int(zero[0])]} on, where φ is undefined")
        return self._windows(x, statistics, [(example, start) for start in starts])

    def _windows(self, x: Tensor, statistics: Statistics, places_of_windows: Sequence[tuple[int, int]]) -> list[Window]:
        """Describe scaled windows, [windows, 1, *space], given the example and the first sample of each."""
        with self._work_for(x.shape[2:]):
            maps = self.network.encode(x)
        n_weights = [self.network.n_weights(self.count_weights)]
        ratios, losses = metrics_per_model(maps, self.network.decode(maps), x, n_weights, self.loss)
        if not (ratios.isfinite().all() and losses.isfinite().all()):
            raise ValueError("φ is not finite: the samples or the kernels are too large or too small")
        offsets, units = _per_example(statistics, len(x))
        windows = []
        for one, (own, (example, start)) in enumerate(zip(maps, places_of_windows, strict=True)):
            places = own.nonzero()
            windows.append(
                Window(
                    example=example,
                    start=start,
                    statistics=Statistics(float(offsets[one]), float(units[one])),
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


def _per_example(statistics: Statistics, n_examples: int) -> tuple[Tensor, Tensor]:
    """Return the offset and the unit of each example, [examples] in float64."""
    offsets, units = (torch.as_tensor(value, dtype=torch.float64).flatten().expand(n_examples) for value in statistics)
    return offsets, units

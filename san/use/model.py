"""A trained model: its kernels, and the description of any recording by them."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from scipy.signal import resample_poly
from torch import Tensor

from san.data.scale import Scale, Statistics
from san.extensions.bank_metrics import metrics_per_model
from san.figures.kernels import draw_kernels
from san.metrics import Loss
from san.networks import SparselyActivatedNetwork, WeightCount
from san.use.description import Array, Description, Signal, Window

__all__ = ["Model"]

BATCH_SAMPLES = 2**18  # samples of the windows that are encoded together


class Model:
    """A trained network with what its use needs; :func:`san.load` makes one.

    Args:
        network: The network, of one model.
        scale: How samples are scaled before they are encoded.
        signal: What is known of the samples that the model was trained on.
        space: Samples along each axis of a training example.
        loss: The reconstruction loss of φ, called as in ``torch.nn.functional``.
        count_weights: How φ counts the weights of a two-dimensional kernel.
    """

    def __init__(
        self,
        network: SparselyActivatedNetwork,
        *,
        scale: Scale,
        signal: Signal,
        space: tuple[int, ...],
        loss: Loss,
        count_weights: WeightCount,
    ) -> None:
        self.network = network.eval()
        self.scale = scale
        self.signal = signal
        self.space = space
        self.loss = loss
        self.count_weights = count_weights

    @property
    def kernels(self) -> list[NDArray[np.float32]]:
        """The kernels as an event places them, each [m] or [m, m], in the unit of scaled samples per amplitude."""
        return [atom.detach().numpy().copy() for atom in self.network.atoms]

    @property
    def sampling_frequency(self) -> float | None:
        """Sampling frequency of the training data in hertz; None if unknown or not applicable."""
        return self.signal.sampling_frequency

    def encode(
        self,
        x: ArrayLike,
        *,
        window: int | Literal["training"] | None = "training",
        sampling_frequency: float | None = None,
        resample: bool = False,
    ) -> Description:
        """Describe recordings.

        Args:
            x: One recording, [samples], or several, [examples, samples], in physical units; of a model of images,
                [rows, columns] or [examples, rows, columns]. An array, a list, a tensor, a Series or a DataFrame.
            window: Samples of the windows that are described one by one: those of the training examples, a number, or
                None for the whole recording. The last window of a recording has the rest, if that is at least as long
                as a kernel; otherwise the rest belongs to the window before it. Images are always described as a whole.
            sampling_frequency: Of the recordings, in hertz; None if it is that of the training data, or unknown.
            resample: Whether to resample recordings of another sampling frequency to that of the training data; their
                description is of the resampled recording.

        Raises:
            ValueError: If the recordings have another number of axes, a sample that is not a finite number, fewer
                samples than a kernel, or another sampling frequency; or if a window is constant and scaled by itself.
        """
        recordings, is_single = self._recordings(x)
        recordings = self._at_frequency_of_training(recordings, sampling_frequency, resample)
        self.network.check_space(recordings.shape[1:])
        starts = self._starts(recordings.shape[1], window)
        windows = [
            one for example, recording in enumerate(recordings) for one in self._describe(example, recording, starts)
        ]
        return Description(self.network, self.scale, self.signal, recordings, windows, is_single)

    @torch.no_grad()
    def encode_scaled(self, examples: Tensor, statistics: Statistics | None = None) -> Description:
        """Describe examples that are already scaled, each as a whole.

        Args:
            examples: Scaled examples, [examples, 1, *space], such as those of :class:`san.data.splits.Splits`.
            statistics: The numbers by which each example was scaled. Without them the description of a model with
                scaling=example is in the unit of the scaled samples.

        Raises:
            ValueError: If an example has fewer samples than a kernel.
        """
        self.network.check_space(examples.shape[2:])
        scale, signal = self.scale, self.signal
        if statistics is None and scale.kind == "example":
            scale, signal = Scale("none"), signal._replace(unit="")
        used = scale.statistics(examples, self.signal.name) if statistics is None else statistics
        recordings = scale.undo(examples.double(), used)[:, 0].numpy()
        offsets, units = _per_example(used, len(examples))
        windows = []
        per_batch = max(1, BATCH_SAMPLES // examples[0].numel())
        for batch in torch.arange(len(examples)).split(per_batch):
            x = examples[batch].to(self.network.weight.dtype)
            places = [(int(example), 0) for example in batch]
            windows += self._windows(x, Statistics(offsets[batch], units[batch]), places)
        return Description(self.network, scale, signal, recordings, windows, is_single=False)

    def decode(self, maps: Array) -> Array:
        """Return the reconstruction of activation maps, in the unit of the recordings.

        Args:
            maps: Amplitudes in the unit of the recordings, [examples, kernels, *space].

        Raises:
            ValueError: If each example is scaled by itself, because the maps do not have its mean and deviation.
        """
        if self.scale.kind == "example":
            raise ValueError("the mean of each example is not in its activation maps: train with scaling=all")
        size = 1.0 if self.scale.kind == "none" else self.scale.unit / (self.scale.highest - self.scale.lowest)
        scaled = torch.from_numpy(maps / size).to(self.network.weight.dtype)
        with torch.no_grad():
            decoded: Array = self.scale.undo(self.network.decode(scaled).double())[:, 0].numpy()
        return decoded

    def plot(self) -> Figure:
        """Draw the kernels."""
        return draw_kernels(self.network, self.signal.name, self.sampling_frequency)

    def _recordings(self, x: ArrayLike) -> tuple[Array, bool]:
        """Return recordings as [examples, *space] in float64, and whether one was given without an axis of examples."""
        if isinstance(x, Tensor):
            x = x.detach().cpu().numpy()
        given = np.asarray(x)
        n_dims = self.network.n_dims
        shapes = "[samples] or [examples, samples]" if n_dims == 1 else "[rows, columns] or [examples, rows, columns]"
        if given.dtype.kind not in "biuf":
            raise ValueError(f"x has values of type {given.dtype}: give numbers, {shapes}")
        if given.ndim not in (n_dims, n_dims + 1) or 0 in given.shape:
            raise ValueError(f"x has the shape {list(given.shape)}: give {shapes}")
        is_single = given.ndim == n_dims
        recordings = (given[None] if is_single else given).astype(np.float64)
        if not np.isfinite(recordings).all():
            n_invalid = int((~np.isfinite(recordings)).sum())
            raise ValueError(f"x has {n_invalid} samples that are not finite: interpolate or remove them")
        return recordings, is_single

    def _at_frequency_of_training(self, recordings: Array, frequency: float | None, resample: bool) -> Array:
        trained = self.sampling_frequency
        if frequency is None or frequency == trained:
            return recordings
        if trained is None:
            raise ValueError(
                f"sampling_frequency={frequency:g}: that of the training data is unknown; leave it out if it is equal"
            )
        if not resample:
            raise ValueError(
                f"sampling_frequency={frequency:g} is not {trained:g} hertz, that of the training data: "
                "add resample=True"
            )
        ratio = Fraction(trained / frequency).limit_denominator(1000)
        resampled: Array = resample_poly(recordings, ratio.numerator, ratio.denominator, axis=1)
        return resampled

    def _starts(self, n_samples: int, window: int | str | None) -> list[int]:
        """Return the first sample of each window of a recording."""
        if window is None or self.network.n_dims == 2:
            return [0]
        length = self.space[0] if window == "training" else window
        longest = max(self.network.kernel_sizes)
        if not isinstance(length, int) or length < longest:
            raise ValueError(f"window={window} must be an integer, as long as the longest kernel, {longest}, or longer")
        last = n_samples - longest
        return [start for start in range(0, n_samples, length) if start == 0 or start <= last]

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
        if not x.flatten(1).any(1).all():
            raise ValueError(f"{name} is zero from sample {starts[0]} on, where φ is undefined")
        return self._windows(x, statistics, [(example, start) for start in starts])

    def _windows(self, x: Tensor, statistics: Statistics, places_of_windows: Sequence[tuple[int, int]]) -> list[Window]:
        """Describe scaled windows, [windows, 1, *space], given the example and the first sample of each."""
        maps = self.network.encode(x)
        n_weights = [self.network.n_weights(self.count_weights)]
        ratios, losses = metrics_per_model(maps, self.network.decode(maps), x, n_weights, self.loss)
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


def _per_example(statistics: Statistics, n_examples: int) -> tuple[Tensor, Tensor]:
    """Return the offset and the unit of each example, [examples] in float64."""
    offsets, units = (torch.as_tensor(value, dtype=torch.float64).flatten().expand(n_examples) for value in statistics)
    return offsets, units

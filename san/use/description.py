"""What a model says of recordings: events, reconstruction, φ and a figure, in the units of the recordings."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from san.data.scale import Scale, Statistics
from san.figures.description import draw_description
from san.networks import SparselyActivatedNetwork

__all__ = ["Description", "Signal", "Window"]

Array = NDArray[np.float64]


class Signal(NamedTuple):
    """What is known of the samples that a model describes.

    Args:
        name: Name of the recording that the model was trained on.
        channel: Name of its channel; empty if unknown.
        unit: Physical unit of the samples, such as ``mV``; empty if unknown.
        sampling_frequency: In hertz; None if unknown or not applicable.
    """

    name: str
    channel: str
    unit: str
    sampling_frequency: float | None


class Window(NamedTuple):
    """A part of a recording that is described alone.

    Args:
        example: Index of the recording.
        start: First sample of the window in the recording; 0 for an image.
        statistics: Numbers by which its samples are scaled, two floats.
        places: Place of each activation, [activations, 1 + dims] in int64: kernel, then the sample in the window or
            row and column.
        amplitudes: Amplitude of each activation in scaled samples, [activations].
        cr_inverse: CR⁻¹ of the window.
        loss_normalized: L̃ of the window.
    """

    example: int
    start: int
    statistics: Statistics
    places: Tensor
    amplitudes: Tensor
    cr_inverse: float
    loss_normalized: float


@dataclass(frozen=True)
class Description:
    """The description of recordings by a model: a table of events, each of which places one kernel at one sample.

    Args:
        network: The network, on the CPU.
        scale: How samples are scaled before they are encoded.
        signal: What is known of the samples.
        recordings: The recordings, [examples, *space], in their unit.
        windows: The windows of all recordings, in order.
        is_single: Whether one recording was given, without an axis of examples.
    """

    network: SparselyActivatedNetwork
    scale: Scale
    signal: Signal
    recordings: Array
    windows: Sequence[Window]
    is_single: bool

    @cached_property
    def events(self) -> pd.DataFrame:
        """The events: ``example``, ``kernel``, ``sample`` (``row`` and ``column`` in an image) and ``amplitude``.

        Indices count from 0. If the sampling frequency is known, ``time`` is in seconds from the first sample. An event
        adds its kernel times its amplitude to the reconstruction, in the unit of the recordings.
        """
        names = ["example", "kernel", *(["sample"] if self.network.n_dims == 1 else ["row", "column"])]
        rows = []
        for window in self.windows:
            place = window.places.clone()
            place[:, 1] += window.start
            found = pd.DataFrame(place.numpy(), columns=names[1:])
            found.insert(0, "example", window.example)
            found["amplitude"] = window.amplitudes.double().numpy() * self._unit(window)
            rows.append(found)
        table = pd.concat(rows).sort_values(["example", *names[2:], "kernel"], ignore_index=True)
        if self.signal.sampling_frequency is not None and self.network.n_dims == 1:
            table.insert(3, "time", table["sample"] / self.signal.sampling_frequency)
        return table

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """The metrics of each window: ``example``, ``start``, ``phi``, ``cr_inverse`` and ``loss_normalized``."""
        rows = [(window.example, window.start, window.cr_inverse, window.loss_normalized) for window in self.windows]
        table = pd.DataFrame(rows, columns=["example", "start", "cr_inverse", "loss_normalized"])
        table.insert(2, "phi", np.hypot(table["cr_inverse"], table["loss_normalized"]))
        return table

    @property
    def phi(self) -> float:
        """φ̄, the mean of φ over all windows."""
        return float(self.metrics["phi"].mean())

    @property
    def cr_inverse(self) -> float:
        """Mean of CR⁻¹ over all windows."""
        return float(self.metrics["cr_inverse"].mean())

    @property
    def loss_normalized(self) -> float:
        """Mean of L̃ over all windows."""
        return float(self.metrics["loss_normalized"].mean())

    @property
    def parts(self) -> list[Array]:
        """The samples of each window, views of the recordings."""
        is_image = self.network.n_dims == 2
        return [
            self.recordings[window.example, slice(None) if is_image else slice(window.start, stop)]
            for window, stop in zip(self.windows, self._stops(), strict=True)
        ]

    def decode(self) -> Array:
        """Return the reconstruction in the unit and the shape of the recordings."""
        decoded = np.empty_like(self.recordings)
        for window, stop in zip(self.windows, self._stops(), strict=True):
            part = decoded[window.example]
            if self.network.n_dims == 1:
                part = part[window.start : stop]
            part[...] = self._decode_window(window, part.shape)
        return decoded[0] if self.is_single else decoded

    def plot(self, example: int = 0) -> Figure:
        """Draw a recording with its reconstruction, the events of each kernel, and the kernels.

        Args:
            example: Index of the recording.

        Raises:
            ValueError: If there is no such recording.
        """
        if not 0 <= example < len(self.recordings):
            raise ValueError(f"example={example} must be from 0 to {len(self.recordings) - 1}")
        decoded = self.decode()
        return draw_description(
            self.recordings[example],
            decoded if self.is_single else decoded[example],
            self.events[self.events["example"] == example],
            [atom.detach() for atom in self.network.atoms],
            name=self.signal.name,
            unit=self.signal.unit,
            sampling_frequency=self.signal.sampling_frequency,
        )

    def _stops(self) -> list[int]:
        """Return the end of each window in its recording: the start of the next, or the end of the recording."""
        ends = [window.start or self.recordings.shape[1] for window in self.windows[1:]]
        return [*ends, self.recordings.shape[1]]

    def _decode_window(self, window: Window, space: Sequence[int]) -> Array:
        maps = torch.zeros(1, len(self.network.kernel_sizes), *space)
        maps[0].index_put_(window.places.unbind(1), window.amplitudes)
        with torch.no_grad():
            reconstruction = self.network.decode(maps)
        undone: Array = self.scale.undo(reconstruction.double(), window.statistics)[0, 0].numpy()
        return undone

    def _unit(self, window: Window) -> float:
        """Return the size of a scaled amplitude of one in the unit of the recordings."""
        if self.scale.kind == "none":
            return 1.0
        return float(window.statistics.unit) / (self.scale.highest - self.scale.lowest)

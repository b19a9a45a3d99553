"""Descriptions of recordings: events, reconstruction, φ and a figure, in the units of the recordings."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from san.data.names import only
from san.data.scale import Scale, Statistics
from san.data.splits import per_channel
from san.extensions.signs import signs
from san.figures.channels import channel_labels
from san.figures.description import draw_description
from san.networks import SparselyActivatedNetwork
from san.ops.placement import are_few
from san.use.notebook import as_html
from san.use.recordings import Array

__all__ = ["Array", "Description", "Origin", "Window"]

MOST_DRAWN = 5000  # samples of a figure


class Origin(NamedTuple):
    """Origin of the described samples: name, channels, units and sampling frequency.

    Args:
        name: Name of the recording, or of the data that the model was trained on.
        channels: Name of each channel; empty if unknown.
        channel_units: Physical unit of the samples of each channel, such as ``mV``; empty if unknown.
        sampling_frequency: In hertz; None if unknown or not applicable.
    """

    name: str
    channels: tuple[str, ...] = ("",)
    channel_units: tuple[str, ...] = ("",)
    sampling_frequency: float | None = None

    @property
    def channel(self) -> str:
        """Name of the only channel; empty if it is unknown or there are several."""
        return only(self.channels)

    @property
    def unit(self) -> str:
        """Physical unit of all channels; empty if it is unknown or there are several."""
        return only(tuple(dict.fromkeys(self.channel_units)))

    @property
    def labels(self) -> tuple[str, ...]:
        """A different label for each channel: its name or, if that is unknown or not its own, its index from 0."""
        return channel_labels(self.channels)

    def of_channels(self, n_channels: int) -> "Origin":
        """Return the origin with a name and a unit of each channel; unknown ones are empty.

        Raises:
            ValueError: If the numbers of names and channels differ.
        """
        names = per_channel(self.channels, n_channels, "channels", self.name)
        units = per_channel(self.channel_units, n_channels, "channel_units", self.name)
        return self._replace(channels=names, channel_units=units)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: of one channel with its ``channel`` and ``unit``, of several with lists of them."""
        if len(self.channels) > 1:
            return self._asdict()
        return {
            "name": self.name,
            "channel": self.channel,
            "unit": self.unit,
            "sampling_frequency": self.sampling_frequency,
        }


class Window(NamedTuple):
    """A part of a recording that is described alone.

    Args:
        example: Index of the recording.
        start: First sample of the window in the recording; 0 for an image.
        statistics: Numbers by which its samples are scaled, each one number or [channels, *ones].
        places: Place of each activation, [activations, 1 + dims] in int64: kernel, then the sample in the window or
            row and column.
        amplitudes: Amplitude of each activation in scaled samples, for the kernels as they are stored, [activations].
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
    """The description of recordings by a model: a table of events. An event places one kernel at one sample.

    Args:
        network: The network, on the CPU.
        scale: How samples are scaled before they are encoded.
        origin: What is known of the samples.
        shape: Shape of the recordings, [examples, channels, *space].
        windows: The windows of all recordings, in order.
        is_single: Whether one recording was given, without an axis of examples.
        recordings: The recordings in their units, [examples, channels, *space]; None if the description was read from a
            file.
    """

    network: SparselyActivatedNetwork
    scale: Scale
    origin: Origin
    shape: tuple[int, ...]
    windows: Sequence[Window]
    is_single: bool
    recordings: Array | None = None

    @property
    def events(self) -> pd.DataFrame:
        """The events: ``example``, ``kernel``, ``sample`` (``row`` and ``column`` in an image) and ``amplitude``.

        All indices count from 0. The largest deflection of each kernel is positive, so that the sign of an amplitude is
        the direction of the largest deflection of its event. If the sampling frequency is known, ``time`` is in seconds
        from the first sample. An event adds its kernel times its amplitude to the reconstruction, in the unit of the
        recordings. If several channels have different units or are scaled by different numbers, the amplitudes are of
        the scaled channels: an event then adds its kernel times its amplitude times the number of each channel in
        ``sizes``.
        """
        return self._events[0]

    @property
    def shown_amplitudes(self) -> Tensor:
        """The amplitudes in scaled samples of all windows, for kernels with a positive largest deflection, [events]."""
        kernels = torch.cat([window.places[:, 0] for window in self.windows])
        return torch.cat([window.amplitudes for window in self.windows]) * signs(self.network)[kernels]

    @property
    def sizes(self) -> Array:
        """The size of an amplitude of one in the unit of each channel, at each event, [events, channels].

        It is 1 if the amplitudes have the unit of the recordings.
        """
        return self._events[1]

    @cached_property
    def is_physical(self) -> bool:
        """Whether the amplitudes of events have the unit of the recordings, which all channels must share."""
        if len(set(self.origin.channel_units)) > 1:
            return False
        sizes = np.array([self._sizes(window) for window in self.windows])
        return bool((sizes == sizes[:, :1]).all())

    @property
    def amplitude_label(self) -> str:
        """The name of the amplitudes of events, with their unit."""
        if not self.is_physical:
            return "amplitude (scaled)" if self.scale.kind != "none" else "amplitude"
        return f"amplitude ({self.origin.unit})" if self.origin.unit else "amplitude"

    @cached_property
    def _events(self) -> tuple[pd.DataFrame, Array]:
        names = ["kernel", *(["sample"] if self.network.n_dims == 1 else ["row", "column"])]
        counts = [len(window.amplitudes) for window in self.windows]
        places = torch.cat([window.places for window in self.windows]).numpy()
        table = pd.DataFrame(places, columns=names)
        table.insert(0, "example", np.repeat([window.example for window in self.windows], counts))
        table[names[1]] += np.repeat([window.start for window in self.windows], counts)
        amplitudes = self.shown_amplitudes.double().numpy()
        sizes = np.repeat([self._sizes(window) for window in self.windows], counts, axis=0)
        table["amplitude"] = amplitudes * sizes[:, 0] if self.is_physical else amplitudes
        sizes = np.ones_like(sizes) if self.is_physical else sizes
        table = table.sort_values(["example", *names[1:], "kernel"])
        sizes = sizes[table.index]
        table = table.reset_index(drop=True)
        if self.origin.sampling_frequency is not None and self.network.n_dims == 1:
            table.insert(3, "time", table["sample"] / self.origin.sampling_frequency)
        return table, sizes

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
        """The samples of each window, [channels, *space], views of the recordings.

        Raises:
            ValueError: If the description was read from a file, which has no recordings.
        """
        if self.recordings is None:
            raise ValueError("a description that was read from a file has no recordings: describe them again")
        return [self.recordings[window.example][self._extent(window, stop)] for window, stop in self._bounds()]

    @property
    def centres(self) -> list[int]:
        """The sample of each kernel, per axis, that lies at the place of its event."""
        mirrored = self.network.decoder == "paper"
        return [size // 2 if mirrored else (size - 1) // 2 for size in self.network.kernel_sizes]

    def decode(self) -> Array:
        """Return the reconstruction in the units of the recordings.

        Returns:
            [samples] or, of several channels, [channels, samples]; of images [rows, columns] or [channels, rows,
            columns]. With an axis of examples first, unless one recording was given without it.
        """
        decoded = self._decoded()
        if self.shape[1] == 1:
            decoded = decoded[:, 0]
        return decoded[0] if self.is_single else decoded

    def plot(self, example: int = 0, start: int | None = None, stop: int | None = None) -> Figure:
        """Draw a recording with its reconstruction, the events of each kernel, and the kernels.

        Args:
            example: Index of the recording.
            start: First sample to draw; None for the first one or, in a recording of more than 5,000 samples, for the
                first one of the window with the median φ.
            stop: Sample to end before; None for the end, or for 5,000 samples.

        Raises:
            ValueError: If there is no such recording, or nothing is left to draw.
        """
        if not 0 <= example < self.shape[0]:
            raise ValueError(f"example={example} must be from 0 to {self.shape[0] - 1}")
        length = self.shape[2]
        if start is None:
            start = 0 if length <= MOST_DRAWN or self.network.n_dims == 2 else self._typical_start(example)
        stop = min(length, start + MOST_DRAWN) if stop is None else min(stop, length)
        if not (all(isinstance(one, int | np.integer) for one in (start, stop)) and 0 <= start < stop):
            raise ValueError(f"start={start} and stop={stop} must be in order, from 0 to {length}")
        part = (slice(None), slice(None) if self.network.n_dims == 2 else slice(start, stop))
        events = self.events[self.events["example"] == example]
        if self.network.n_dims == 1:
            events = events[events["sample"].between(start, stop - 1)]
        return draw_description(
            None if self.recordings is None else self.recordings[example][part],
            self._decoded()[example][part],
            events,
            self.network,
            start=start,
            name=self.origin.name,
            labels=self.origin.labels,
            units=self.origin.channel_units,
            amplitude_label=self.amplitude_label,
            sampling_frequency=self.origin.sampling_frequency,
        )

    def __repr__(self) -> str:
        """Return the size of the description and its metrics in one line."""
        return (
            f"Description({self.origin.name}: {len(self.events)} events of {len(self.network.kernel_sizes)} kernels, "
            f"φ̄ {self.phi:.3f}, CR⁻¹ {self.cr_inverse:.3f}, L̃ {self.loss_normalized:.3f})"
        )

    def _repr_html_(self) -> str:
        return as_html(self.plot(), repr(self))

    def _typical_start(self, example: int) -> int:
        """Return the first sample of the window of a recording whose φ is the median."""
        own = self.metrics[self.metrics["example"] == example].sort_values("phi")
        return int(own["start"].iloc[(len(own) - 1) // 2])

    def _bounds(self) -> list[tuple[Window, int]]:
        """Return each window with its end: the start of the next, or the end of the recording."""
        stops = [*(window.start or self.shape[2] for window in self.windows[1:]), self.shape[2]]
        return list(zip(self.windows, stops, strict=True))

    def _extent(self, window: Window, stop: int) -> tuple[slice, ...]:
        """Return the index of a window, all channels of it, in its recording; images are described as a whole."""
        return (slice(None), slice(None) if self.network.n_dims == 2 else slice(window.start, stop))

    def _decoded(self) -> Array:
        """Return the reconstruction in the units and the shape of the recordings, [examples, channels, *space]."""
        decoded = np.empty(self.shape)
        for window, stop in self._bounds():
            part = decoded[window.example][self._extent(window, stop)]
            part[...] = self._decode_window(window, part.shape[1:])
        return decoded

    def _decode_window(self, window: Window, space: Sequence[int]) -> Array:
        maps = torch.zeros(()).expand(1, len(self.network.kernel_sizes), *space)  # takes no memory
        with torch.no_grad():
            if are_few(len(window.amplitudes), maps):
                index = torch.cat([torch.zeros_like(window.places[:, :1]), window.places], dim=1)
                reconstruction = self.network._place(window.amplitudes, index.contiguous(), maps)
            else:
                maps = maps.clone()
                maps[0].index_put_(window.places.unbind(1), window.amplitudes)
                reconstruction = self.network.decode(maps)
        undone: Array = self.scale.undo(reconstruction.double(), window.statistics)[0].numpy()
        return undone

    def _sizes(self, window: Window) -> Array:
        """Return the size of a scaled sample of one in the unit of each channel, [channels]."""
        if self.scale.kind == "none":
            return np.ones(self.shape[1])
        units = torch.as_tensor(window.statistics.unit, dtype=torch.float64).flatten().expand(self.shape[1])
        sizes: Array = units.numpy() / (self.scale.highest - self.scale.lowest)
        return sizes

"""Recordings, kernels and images of several channels: leads below one another, or a heat map of many channels."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from matplotlib.image import AxesImage
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from torch import Tensor

from san.figures.style import COLORS, IMAGE_COLORMAP, show_image, time_axis
from san.networks import SparselyActivatedNetwork
from san.ops.kernels import separated

__all__ = [
    "MAX_LEADS",
    "RGB",
    "Curve",
    "EventRow",
    "channel_labels",
    "channels_first",
    "draw_kernel",
    "draw_map",
    "draw_traces",
    "kernel_height",
    "show_channels",
    "stacked_figure",
]

Array = NDArray[np.float64]

MAX_LEADS = 12  # channels that are drawn as traces; more are a heat map
MAX_LABELS = 16  # of the channels of a heat map
LEAD_HEIGHT, ROW_HEIGHT, MAP_HEIGHT = 0.62, 1.35, 2.1  # inches
RGB = 3  # channels of an image that is drawn in its colors
GAP = 1.1  # from one trace to the next, in peak-to-peak values of the largest


class Curve(NamedTuple):
    """A recording or a reconstruction of several channels.

    Args:
        label: Text of the legend.
        values: The samples, [channels, samples].
        color: Colour of its traces.
        alpha: Opacity of its traces.
    """

    label: str
    values: Array
    color: str
    alpha: float = 1.0


class EventRow(NamedTuple):
    """The events of one kernel, and the similarity that they are selected from.

    Args:
        kernel: Index of the kernel.
        title: Title of the row.
        times: Time of each event, [events].
        amplitudes: Amplitude of each event, [events].
        similarity: Similarity at each sample, [samples]; None to draw the events alone.
    """

    kernel: int
    title: str
    times: Array
    amplitudes: Array
    similarity: Array | None = None


def channel_labels(names: Sequence[str]) -> tuple[str, ...]:
    """Return a different label for each channel: its name or, if that is unknown or not its own, its index from 0."""
    taken = [name or str(index) for index, name in enumerate(names)]
    return tuple(label if taken.count(label) == 1 else f"{index} {label}" for index, label in enumerate(taken))


def channels_first(kernel: Tensor, n_dims: int) -> Tensor:
    """Return a kernel with an axis of channels, [channels, m] or [channels, m, m]."""
    return kernel.detach().cpu().reshape(-1, *kernel.shape[kernel.dim() - n_dims :])


def stacked_figure(
    title: str,
    times: Array,
    time_label: str,
    curves: Sequence[Curve],
    rows: Sequence[EventRow],
    network: SparselyActivatedNetwork,
    *,
    labels: Sequence[str],
    units: Sequence[str],
    event_label: str,
    sampling_frequency: float | None,
) -> Figure:
    """Draw the leads of a recording below one another, the events of each kernel beneath, and the kernels at the right.

    More than 12 channels are a heat map of each curve, without the mean of each channel.

    Args:
        title: Title.
        times: Time of each sample, [samples].
        time_label: Label of the time axis.
        curves: The recording and its reconstruction, or one of them.
        rows: The events of each drawn kernel.
        network: The network.
        labels: Label of each channel.
        units: Label of the amplitudes of each channel; empty if unknown.
        event_label: Label of the amplitudes of events.
        sampling_frequency: Sampling frequency in hertz; None if it is unknown.
    """
    is_map = len(labels) > MAX_LEADS
    heights = [MAP_HEIGHT] * len(curves) if is_map else [max(LEAD_HEIGHT, 1.8 / len(labels))] * len(labels)
    row_height, n_upper = kernel_height(network), len(heights)
    heights += [row_height] * len(rows)
    layout = ConstrainedLayoutEngine(hspace=0.0, h_pad=0.02)  # leads touch
    drawn = Figure(figsize=(9.5, sum(heights) + 0.8), layout=layout)
    grid = drawn.add_gridspec(len(heights), 2, width_ratios=(3, 1.35), height_ratios=heights)
    upper = [drawn.add_subplot(grid[position, 0]) for position in range(n_upper)]
    (_draw_maps if is_map else _draw_leads)(drawn, upper, times, curves, labels, units)
    upper[0].set_title(title)
    for place, row in enumerate(rows, start=n_upper):
        axes = drawn.add_subplot(grid[place, 0])
        axes.axhline(0, color="0.85", linewidth=0.8, zorder=0)
        if row.similarity is not None:
            axes.plot(times, row.similarity, color=COLORS["similarity"], alpha=0.4)
        axes.vlines(row.times, 0, row.amplitudes, color=COLORS["activation"], linewidth=0.8)
        axes.plot(row.times, row.amplitudes, "o", color=COLORS["activation"], markersize=2.5)
        axes.set(title=row.title, ylabel=event_label, xlim=(times[0], times[-1]))
        is_last = place == len(heights) - 1
        axes.tick_params(labelbottom=is_last)
        if is_last:
            axes.set_xlabel(time_label)
        draw_kernel(
            drawn,
            grid[place, 1],
            network,
            row.kernel,
            labels,
            sampling_frequency,
            has_time_label=is_last,
            title="m = {m}",
        )
    return drawn


def kernel_height(network: SparselyActivatedNetwork) -> float:
    """Return the height of the panel of a kernel in inches."""
    return MAP_HEIGHT if network.channels > MAX_LEADS else max(ROW_HEIGHT, 0.19 * network.channels + 0.6)


def draw_kernel(
    drawn: Figure,
    place: SubplotSpec,
    network: SparselyActivatedNetwork,
    kernel: int,
    labels: Sequence[str],
    sampling_frequency: float | None,
    *,
    has_time_label: bool,
    title: str,
) -> None:
    """Draw a kernel of several channels as the decoder places it: a trace for each, or a heat map of more than 12.

    A kernel of rank 1 is drawn as its factors: a waveform, and a bar for the weight of each channel.

    Args:
        drawn: The figure.
        place: Place in the figure.
        network: The network, of signals.
        kernel: Index of the kernel.
        labels: Label of each channel.
        sampling_frequency: Sampling frequency in hertz; None if it is unknown.
        has_time_label: Whether to label the time axis.
        title: Title, with {m} for the number of samples.
    """
    atom = channels_first(network.atoms[kernel], 1)
    values = atom.double().numpy()
    times, time_label = time_axis(values.shape[1], sampling_frequency)
    size = title.format(m=values.shape[1])
    is_factored = network.kernel == "rank1"
    grid = place.subgridspec(1, 2 if is_factored else 1, width_ratios=(1.4, 1) if is_factored else (1,))
    axes = drawn.add_subplot(grid[0])
    if is_factored:
        over_channels, waveforms = separated(atom.unsqueeze(0))
        axes.axhline(0, color="0.85", linewidth=0.8, zorder=0)
        axes.plot(times, waveforms[0], color=COLORS["kernel"], marker="." if len(times) < 12 else None)
        axes.set(title=size, ylabel="waveform v")
        _draw_weights(drawn.add_subplot(grid[1]), over_channels[0].numpy(), labels)
    elif len(values) > MAX_LEADS:
        image = draw_map(axes, values, times, labels)
        drawn.colorbar(image, ax=axes, label="weight", shrink=0.9)
        axes.set_title(size)
    else:
        draw_traces(axes, times, [values], [COLORS["kernel"]], labels)
        axes.set_ylabel("weight")
        axes.set_title(size)
    if has_time_label:
        axes.set_xlabel(time_label)


def draw_traces(
    axes: Axes, times: Array, curves: Sequence[Array], colors: Sequence[str], labels: Sequence[str]
) -> None:
    """Draw channels below one another in one scale, each around a line at its zero, and name them at the left.

    A bar at the right has the length of the number beside it.

    Args:
        axes: The axes.
        times: Time of each sample, [samples].
        curves: Samples, each [channels, samples].
        colors: Colour of each curve.
        labels: Label of each channel.
    """
    heights = [np.maximum(values.max(1), 0) - np.minimum(values.min(1), 0) for values in curves]
    distance = GAP * (float(np.max(heights)) or 1.0)
    zeros = [-distance * position for position in range(len(labels))]
    for zero in zeros:
        axes.axhline(zero, color="0.85", linewidth=0.8, zorder=0)
    for values, color in zip(curves, colors, strict=True):
        for zero, own in zip(zeros, values, strict=True):
            axes.plot(times, zero + own, color=color, marker="." if len(times) < 12 else None)
    axes.set_yticks(zeros, list(labels))
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    length = _round_down(0.8 * distance)
    bar: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "clip_on": False}
    axes.plot([1.02, 1.02], [zeros[-1], zeros[-1] + length], color="0.3", linewidth=1.5, solid_capstyle="butt", **bar)
    axes.text(1.04, zeros[-1] + length / 2, f"{length:g}", rotation=90, va="center", fontsize="small", **bar)


def _round_down(value: float) -> float:
    """Return the largest number with one digit, 1, 2 or 5, that is not larger."""
    power = 10.0 ** np.floor(np.log10(value))
    return float(power * max(digit for digit in (1, 2, 5) if digit * power <= value * (1 + 1e-9)))


def show_channels(axes: Axes, image: Tensor, title: str, limits: tuple[float, float] | None = None) -> None:
    """Show an image or a kernel of images, [channels, rows, columns].

    One channel has positive values in red and negative values in blue; three channels are red, green and blue, gray
    where they are zero, unless limits are given; other numbers of channels are shown beside one another.

    Args:
        axes: The axes.
        image: The image.
        title: Title.
        limits: Values that are black and white; None for values around zero.
    """
    n_channels = len(image)
    if n_channels != RGB:
        gap = image.new_full((*image.shape[1:-1], max(1, image.shape[-1] // 16)), torch.nan)
        parts = [part for own in image.detach() for part in (own, gap)]
        show_image(axes, torch.cat(parts[:-1], dim=1), title)
        return
    pixels = image.detach().double().movedim(0, -1).numpy()
    largest = float(np.abs(pixels).max()) or 1.0
    low, high = (-largest, largest) if limits is None else limits
    axes.imshow(((pixels - low) / ((high - low) or 1.0)).clip(0, 1))
    axes.set(title=title, xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _draw_leads(
    drawn: Figure,
    every: Sequence[Axes],
    times: Array,
    curves: Sequence[Curve],
    labels: Sequence[str],
    units: Sequence[str],
) -> None:
    """Draw each channel in axes of its own, below one another."""
    for position, (axes, label) in enumerate(zip(every, labels, strict=True)):
        for curve in curves:
            text = curve.label if position == 0 else ""
            axes.plot(times, curve.values[position], color=curve.color, alpha=curve.alpha, label=text)
        unit = f"\n({units[position]})" if units[position] else ""
        axes.set_ylabel(f"{label}{unit}", rotation=0, ha="right", va="center")
        axes.yaxis.set_major_locator(MaxNLocator(2, min_n_ticks=2))
        axes.margins(y=0.12)
        axes.set_xlim(times[0], times[-1])
        axes.tick_params(axis="x", labelbottom=False, length=0)
        axes.spines["bottom"].set_color("0.85")
    drawn.legend(loc="outside lower center", ncols=len(curves))


def _draw_maps(
    drawn: Figure,
    every: Sequence[Axes],
    times: Array,
    curves: Sequence[Curve],
    labels: Sequence[str],
    units: Sequence[str],
) -> None:
    """Draw each curve as a heat map of channels and samples, without the mean of each channel."""
    mean = curves[0].values.mean(1, keepdims=True)
    same_unit = len(set(units)) == 1
    size = np.ones((len(labels), 1)) if same_unit else np.abs(curves[0].values - mean).max(1, keepdims=True)
    size[size == 0] = 1.0
    limit = float(np.quantile(np.abs((curves[0].values - mean) / size), 0.995))
    unit = units[0] if same_unit else "each channel to its largest"
    label = f"{unit}, mean removed" if unit else "mean removed"
    for axes, curve in zip(every, curves, strict=True):
        image = draw_map(axes, (curve.values - mean) / size, times, labels, limit)
        drawn.colorbar(image, ax=axes, label=label, extend="both", pad=0.01)
        axes.set_ylabel(curve.label)
        axes.tick_params(axis="x", labelbottom=False)


def draw_map(axes: Axes, values: Array, times: Array, labels: Sequence[str], limit: float | None = None) -> AxesImage:
    """Draw channels and samples as a heat map, red positive and blue negative, and name some channels."""
    high = limit or float(np.abs(values).max()) or 1.0
    step = float(times[1] - times[0]) if len(times) > 1 else 1.0
    extent = (float(times[0]) - step / 2, float(times[-1]) + step / 2, len(values) - 0.5, -0.5)
    image = axes.imshow(
        values, cmap=IMAGE_COLORMAP, vmin=-high, vmax=high, aspect="auto", extent=extent, interpolation="nearest"
    )
    axes.set_yticks(*_some_labels(labels), fontsize=6.5)
    return image


def _some_labels(labels: Sequence[str]) -> tuple[list[int], list[str]]:
    """Return the positions of the labels that fit, evenly spaced, and these labels."""
    step = -(-len(labels) // MAX_LABELS)
    return list(range(0, len(labels), step)), list(labels[::step])


def _draw_weights(axes: Axes, weights: Array, labels: Sequence[str]) -> None:
    """Draw the weight of each channel as a bar, and name the channels, or some of many."""
    places = np.arange(len(weights))
    axes.barh(places, weights, color=COLORS["kernel"], height=0.7)
    axes.axvline(0, color="0.5", linewidth=0.8)
    axes.set_yticks(*_some_labels(labels))
    if len(labels) > MAX_LEADS:
        axes.tick_params(axis="y", labelsize=6.5)
    axes.set_ylim(len(weights) - 0.5, -0.5)
    limit = 1.1 * (float(np.abs(weights).max()) or 1.0)
    largest = _round_down(limit)
    is_signed = bool(weights.min() < 0)
    axes.set_xlim(-limit if is_signed else 0.0, limit)
    axes.set_xticks([-largest if is_signed else 0.0, largest])
    axes.set_title("weights u")

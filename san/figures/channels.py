"""Signals, their kernels and events: channels below one another, or a heat map of many channels."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from matplotlib.image import AxesImage
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from torch import Tensor

from san.extensions.signs import shown_atoms
from san.figures.style import COLORS, IMAGE_COLORMAP, set_heading, time_axis
from san.networks import SparselyActivatedNetwork
from san.ops.kernels import separated

__all__ = [
    "MAX_LEADS",
    "Curve",
    "EventRow",
    "channel_labels",
    "channels_first",
    "draw_kernel",
    "draw_map",
    "draw_traces",
    "kernel_height",
    "stacked_figure",
]

Array = NDArray[np.float64]

MAX_LEADS = 12  # channels that are drawn as traces; more are a heat map
MAX_LABELS = 16  # of the channels of a heat map
LEAD_HEIGHT, PARTIAL_HEIGHT, ROW_HEIGHT, MAP_HEIGHT = 0.62, 1.15, 1.7, 2.3  # inches
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
    """The events of one kernel, the similarity from which they are selected, and their partial reconstruction.

    Args:
        kernel: Index of the kernel.
        title: Title of the row.
        times: Time of each event, [events].
        amplitudes: Amplitude of each event, [events].
        similarity: Similarity at each sample, [samples]; None to draw the events alone.
        partial: Title and samples of the partial reconstruction, [samples]; None to draw none.
    """

    kernel: int
    title: str
    times: Array
    amplitudes: Array
    similarity: Array | None = None
    partial: tuple[str, Array] | None = None


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
    """Draw the channels of a recording below one another, then the events of each kernel, and the kernels at the right.

    All panels at the left have one time axis, and each kernel has its own. More than 12 channels are a heat map of each
    curve, without the mean of each channel.

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
    heights = [MAP_HEIGHT] * len(curves) if is_map else [max(LEAD_HEIGHT, 1.6 / len(labels))] * len(labels)
    n_upper, n_panels = len(heights), [1 if row.partial is None else 2 for row in rows]
    heights += [kernel_height(network) if n == 1 else PARTIAL_HEIGHT for n in n_panels for _ in range(n)]
    layout = ConstrainedLayoutEngine(hspace=0.0, h_pad=0.02)  # leads touch
    drawn = Figure(figsize=(9.5, sum(heights) + 1.1), layout=layout)
    grid = drawn.add_gridspec(len(heights), 2, width_ratios=(3, 1.35), height_ratios=heights)
    left = [drawn.add_subplot(grid[0, 0])]
    left += [drawn.add_subplot(grid[place, 0], sharex=left[0]) for place in range(1, len(heights))]
    upper = left[:n_upper]
    if is_map:
        _draw_maps(drawn, upper, times, curves, labels, units)
    else:
        _draw_leads(upper, times, curves, labels, units)
        upper[0].set_title(" and ".join(curve.label for curve in curves))
    place = n_upper
    for row, n in zip(rows, n_panels, strict=True):
        _draw_events(left[place], times, row, event_label)
        if row.partial is not None:
            partial_title, values = row.partial
            left[place + 1].axhline(0, color="0.85", linewidth=0.8, zorder=0)
            left[place + 1].plot(times, values, color=COLORS["reconstruction"])
            left[place + 1].set(title=partial_title, ylabel=_with_unit("amplitude", units[0], " "))
        number = f"kernel {row.kernel}" if len(network.kernel_sizes) > 1 else "kernel"
        cell = grid[place : place + n, 1]
        draw_kernel(drawn, cell, network, row.kernel, labels, sampling_frequency, title=number + ", m = {m}")
        place += n
    for axes in left[:-1]:
        axes.tick_params(axis="x", labelbottom=False)
    left[-1].set(xlabel=time_label, xlim=(times[0], times[-1]))
    _add_legend(drawn, left)
    set_heading(drawn, title)
    return drawn


def _draw_events(axes: Axes, times: Array, row: EventRow, label: str) -> None:
    """Draw each event as a stem, over the similarity."""
    axes.axhline(0, color="0.85", linewidth=0.8, zorder=0)
    if row.similarity is not None:
        axes.plot(times, row.similarity, color=COLORS["similarity"], alpha=0.4, label="similarity s")
    axes.vlines(row.times, 0, row.amplitudes, color=COLORS["activation"], linewidth=0.8)
    name = "event" if row.similarity is None else "activation α"
    axes.plot(row.times, row.amplitudes, "o", color=COLORS["activation"], markersize=2.5, label=name)
    axes.set(title=row.title, ylabel=label)


def _add_legend(drawn: Figure, panels: Sequence[Axes]) -> None:
    """Name each kind of line once, below the panels."""
    lines = {str(line.get_label()): line for axes in panels for line in axes.lines}
    named = {label: line for label, line in lines.items() if not label.startswith("_")}
    if named:
        drawn.legend(list(named.values()), list(named), loc="outside lower center", ncols=len(named))


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
    title: str,
) -> None:
    """Draw a kernel of signals as the decoder places it: a trace for each channel, or a heat map of more than 12.

    A kernel of rank 1 is drawn as its factors: a waveform, and a bar for the weight of each channel.

    Args:
        drawn: The figure.
        place: Place in the figure.
        network: The network, of signals.
        kernel: Index of the kernel.
        labels: Label of each channel.
        sampling_frequency: Sampling frequency in hertz; None if it is unknown.
        title: Title, with {m} for the number of samples.
    """
    atom = channels_first(shown_atoms(network)[kernel], 1)
    values = atom.double().numpy()
    times, time_label = time_axis(values.shape[1], sampling_frequency)
    is_factored = network.kernel == "rank1" and network.channels > 1
    parts = place.subgridspec(1, 2, width_ratios=(1.4, 1)) if is_factored else [place]
    axes = drawn.add_subplot(parts[0])
    axes.set(title=title.format(m=values.shape[1]), xlabel=time_label, ylabel="weight")
    if is_factored:
        over_channels, waveforms = separated(atom.unsqueeze(0))
        _draw_waveform(axes, times, waveforms[0].numpy())
        axes.set_ylabel("waveform v")
        _draw_weights(drawn.add_subplot(parts[1]), over_channels[0].numpy(), labels)
    elif len(values) == 1:
        _draw_waveform(axes, times, values[0])
    elif len(values) > MAX_LEADS:
        axes.set_ylabel("")
        drawn.colorbar(draw_map(axes, values, times, labels), ax=axes, label="weight", shrink=0.9)
    else:
        draw_traces(axes, times, [values], [COLORS["kernel"]], labels)


def _draw_waveform(axes: Axes, times: Array, values: Array) -> None:
    axes.axhline(0, color="0.85", linewidth=0.8, zorder=0)
    axes.plot(times, values, color=COLORS["kernel"], marker="." if len(times) < 12 else None)


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


def _draw_leads(
    every: Sequence[Axes],
    times: Array,
    curves: Sequence[Curve],
    labels: Sequence[str],
    units: Sequence[str],
) -> None:
    """Draw each channel in axes of its own, below one another."""
    for position, (axes, label) in enumerate(zip(every, labels, strict=True)):
        for curve in curves:
            axes.plot(times, curve.values[position], color=curve.color, alpha=curve.alpha, label=curve.label)
        axes.set_ylabel(_with_unit(label, units[position], "\n"), rotation=0, ha="right", va="center")
        axes.yaxis.set_major_locator(MaxNLocator(2, min_n_ticks=2))
        axes.margins(y=0.12)
        axes.tick_params(axis="x", length=0)
        axes.spines["bottom"].set_color("0.85")


def _with_unit(label: str, unit: str, separator: str) -> str:
    return f"{label}{separator}({unit})" if unit else label


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

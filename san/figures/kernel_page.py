"""The panels of the page about kernels: a kernel, where it fires, its intervals and its amplitudes.

Their captions are text of the page, so that they stay readable on a small screen.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from san.figures.channels import MAX_LEADS, draw_map, draw_traces
from san.figures.images import RGB, show_channels
from san.figures.style import COLORS, as_bytes, own_style
from san.storage.text import printable

__all__ = ["MAX_DRAWN_SAMPLES", "Chart", "Excerpt", "event_counts_png", "image_example_png", "image_kernel_png"]

Array = NDArray[np.float64]

MAX_DRAWN_SAMPLES = 2000  # of a signal; a longer one is drawn around an event
WIDTH, HEIGHT = 4.2, 2.3  # inches
MARGINS = (0.18, 0.21, 0.79, 0.67)  # left, bottom, width and height of the axes in the figure
BINS = 30
DOTS_PER_INCH = 120
N_TICKS = 5


class Excerpt(NamedTuple):
    """A part of an example, and where one kernel fires in it.

    Args:
        times: Time of each sample, [samples]; unused for an image.
        samples: The samples, [channels, samples] or [channels, rows, columns].
        reconstruction: The reconstruction by all kernels, of the same shape.
        covered: Whether an event of the kernel adds to each sample, of the same shape.
        events: Sample, or row and column, of each event of the kernel, [events, dims].
        labels: Label of each channel, with the range of its samples.
    """

    times: Array
    samples: Array
    reconstruction: Array
    covered: NDArray[np.bool_]
    events: NDArray[np.int64]
    labels: Sequence[str] = ("",)


class Chart:
    """Draw panels with axes, each as the bytes of a PNG file; the same bytes for the same panel.

    All panels use one pair of axes, with fixed margins: to make axes, and to lay them out, takes matplotlib longest.
    """

    def __init__(self) -> None:
        with own_style():
            self.figure = Figure(figsize=(WIDTH, HEIGHT))
            self.axes = self.figure.add_axes(MARGINS)

    def kernel(
        self, times: Array, values: Array, *, time_label: str, label: str, labels: Sequence[str] = ("",)
    ) -> bytes:
        """Draw a kernel of a signal; its channels below one another, or more than 12 as a heat map.

        Args:
            times: Time of each sample, [m].
            values: The kernel, [channels, m].
            time_label: Label of the time axis.
            label: Label of the other axis.
            labels: Label of each channel.
        """
        if len(values) > 1:
            return _kernel_of_channels(times, values, time_label, label, labels)
        with own_style():
            axes = self._empty(time_label, label)
            axes.axhline(0, color="0.85", linewidth=0.8)
            axes.plot(times, values[0], color=COLORS["kernel"], linewidth=1.5, marker="." if len(times) < 25 else None)
            return _png(self.figure)

    def histogram(self, values: Array, *, label: str) -> bytes:
        """Draw the distribution of some values, at least one.

        Args:
            values: The values.
            label: Label of their axis.
        """
        with own_style():
            axes = self._empty(label, "count")
            axes.stairs(*np.histogram(values, BINS), fill=True, color="0.45")
            axes.set_ylim(bottom=0)
            axes.yaxis.set_major_locator(MaxNLocator(N_TICKS, integer=True))
            return _png(self.figure)

    def example(self, excerpt: Excerpt, *, time_label: str, label: str) -> bytes:
        """Draw a signal and its reconstruction, shaded where the kernel adds to it, below a mark for each event.

        Several channels are below one another, each scaled to its range.

        Args:
            excerpt: The signal.
            time_label: Label of the time axis.
            label: Label of the amplitude axis.
        """
        if len(excerpt.samples) > 1:
            return _example_of_channels(excerpt, time_label)
        times, color = excerpt.times, COLORS["reconstruction"]
        at = times[excerpt.events[:, 0]]
        covered = np.where(excerpt.covered, excerpt.reconstruction, np.nan)[0]
        marks = _marks()
        step = times[1] - times[0] if len(times) > 1 else 1.0
        with own_style():
            axes = self._empty(time_label, label)
            axes.plot(times, covered, color=color, alpha=0.3, linewidth=5, solid_capstyle="butt")
            axes.plot(times, excerpt.samples[0], color=COLORS["input"], alpha=0.6)
            axes.plot(times, excerpt.reconstruction[0], color=color, linewidth=0.8)
            axes.plot(at, np.full(len(at), 1.04), "v", transform=axes.get_xaxis_transform(), **marks)
            axes.set_xlim(times[0] - step, times[-1] + step)
            return _png(self.figure)

    def _empty(self, x_label: str, y_label: str) -> Axes:
        """Return the axes without the panel before; labels begin no formula."""
        axes = self.axes
        for artist in [*axes.lines, *axes.patches]:
            artist.remove()
        axes.relim()
        axes.autoscale(True)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(N_TICKS, steps=[1, 2, 2.5, 5, 10]))
        axes.set_xlabel(printable(x_label), parse_math=False)
        axes.set_ylabel(printable(y_label), parse_math=False)
        return axes


def _kernel_of_channels(times: Array, values: Array, time_label: str, label: str, labels: Sequence[str]) -> bytes:
    with own_style():
        drawn, axes = _axes_of_channels(min(len(values), MAX_LEADS))
        if len(values) > MAX_LEADS:
            drawn.colorbar(draw_map(axes, values, times, labels), ax=axes).set_label(printable(label), parse_math=False)
        else:
            draw_traces(axes, times, [values], [COLORS["kernel"]], labels)
            axes.set_ylabel(printable(label), parse_math=False)
        _finish(axes, time_label)
        return _png(drawn)


def _example_of_channels(excerpt: Excerpt, time_label: str) -> bytes:
    times, color = excerpt.times, COLORS["reconstruction"]
    low, high = excerpt.samples.min(1, keepdims=True), excerpt.samples.max(1, keepdims=True)
    size = np.where(high > low, high - low, 1.0)
    zeros = -1.15 * np.arange(len(excerpt.samples))
    samples, reconstruction = ((own - low) / size + zeros[:, None] for own in (excerpt.samples, excerpt.reconstruction))
    at = times[excerpt.events[:, 0]]
    with own_style():
        drawn, axes = _axes_of_channels(len(samples))
        covered = np.where(excerpt.covered, reconstruction, np.nan)
        axes.plot(times, covered.T, color=color, alpha=0.3, linewidth=4, solid_capstyle="butt")
        axes.plot(times, samples.T, color=COLORS["input"], alpha=0.6, linewidth=0.8)
        axes.plot(times, reconstruction.T, color=color, linewidth=0.7)
        axes.plot(at, np.full(len(at), 1.03), "v", transform=axes.get_xaxis_transform(), **_marks())
        axes.set_yticks(zeros + 0.5, list(excerpt.labels))
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlim(times[0], times[-1])
        _finish(axes, time_label)
        return _png(drawn)


def _axes_of_channels(n_channels: int) -> tuple[Figure, Axes]:
    """Return a figure that is high enough for the channels, with one pair of axes."""
    drawn = Figure(figsize=(WIDTH, max(HEIGHT, 0.32 * n_channels + 0.8)), layout="constrained")
    return drawn, drawn.add_subplot()


def _finish(axes: Axes, time_label: str) -> None:
    """Label the time axis; labels begin no formula."""
    axes.set_xlabel(printable(time_label), parse_math=False)
    for text in axes.get_yticklabels():
        text.set_text(printable(text.get_text()))
        text.set_parse_math(False)


def _marks() -> dict[str, Any]:
    return {"color": COLORS["activation"], "markersize": 4, "clip_on": False}


def image_kernel_png(kernel: Array) -> bytes:
    """Draw a kernel of images, [channels, m, m]."""
    drawn, (axes,) = _images(1)
    show_channels(axes, torch.from_numpy(kernel), "")
    return _png(drawn)


def event_counts_png(counts: Array) -> bytes:
    """Draw how many events lie at each pixel, the darker the more, [rows, columns]."""
    drawn, (axes,) = _images(1)
    axes.imshow(counts, cmap="Greys", vmin=0, vmax=max(float(counts.max()), 1.0))
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=True, color="0.7")
    return _png(drawn)


def image_example_png(excerpt: Excerpt) -> bytes:
    """Draw an image with a ring around each event of the kernel, beside its reconstruction.

    Args:
        excerpt: The image.
    """
    drawn, (left, right) = _images(2)
    limits = (float(excerpt.samples.min()), float(excerpt.samples.max()))
    show_channels(left, torch.from_numpy(excerpt.samples), "", color_limits=limits)
    rows, columns = excerpt.events.T
    left.plot(columns, rows, "o", markerfacecolor="none", markeredgecolor=COLORS["activation"], markersize=5)
    if len(excerpt.samples) in (1, RGB):
        left.set(xlim=(-0.5, excerpt.samples.shape[2] - 0.5), ylim=(excerpt.samples.shape[1] - 0.5, -0.5))
    show_channels(right, torch.from_numpy(excerpt.reconstruction), "", color_limits=limits)
    return _png(drawn)


def _images(n_axes: int) -> tuple[Figure, list[Axes]]:
    drawn = Figure(figsize=(WIDTH, HEIGHT), facecolor="none")
    width = 1 / n_axes
    return drawn, [drawn.add_axes((width * index + 0.01, 0.02, width - 0.02, 0.96)) for index in range(n_axes)]


def _png(drawn: Figure) -> bytes:
    return as_bytes(drawn, "png", DOTS_PER_INCH, {"Software": None})

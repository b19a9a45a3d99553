"""The panels of the page about kernels: a kernel, where it fires, its intervals and its amplitudes.

Their captions are text of the page, so that they stay readable on a small screen. The margins are fixed, because a page
has many panels and matplotlib takes longest for the layout.
"""

import io
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from san.figures.style import COLORS, show_image, styled

__all__ = [
    "MAX_DRAWN_SAMPLES",
    "Excerpt",
    "draw_histogram",
    "draw_image",
    "draw_image_example",
    "draw_image_kernel",
    "draw_kernel",
    "draw_signal_example",
    "png",
]

Array = NDArray[np.float64]

MAX_DRAWN_SAMPLES = 2000  # of a signal; a longer one is drawn around an event
WIDTH, HEIGHT = 4.2, 2.3  # inches
BINS = 30
DOTS_PER_INCH = 120


class Excerpt(NamedTuple):
    """A part of an example, and where one kernel fires in it.

    Args:
        times: Time of each sample, [samples]; unused for an image.
        samples: The samples, [samples] or [rows, columns].
        reconstruction: The reconstruction by all kernels, of the same shape.
        covered: Whether an event of the kernel adds to each sample, of the same shape.
        events: Sample, or row and column, of each event of the kernel, [events, dims].
    """

    times: Array
    samples: Array
    reconstruction: Array
    covered: NDArray[np.bool_]
    events: NDArray[np.int64]


def png(drawn: Figure) -> bytes:
    """Return a figure as a PNG file, the same bytes for the same figure."""
    buffer = io.BytesIO()
    drawn.savefig(buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()


@styled
def draw_kernel(times: Array, values: Array, *, time_label: str, label: str) -> Figure:
    """Draw a kernel of a signal.

    Args:
        times: Time of each sample, [m].
        values: The kernel, [m].
        time_label: Label of the time axis.
        label: Label of the other axis.
    """
    drawn, axes = _panel(time_label, label)
    axes.axhline(0, color="0.85", linewidth=0.8)
    axes.plot(times, values, color=COLORS["kernel"], linewidth=1.5, marker="." if len(values) < 25 else None)
    return drawn


@styled
def draw_histogram(values: Array, *, label: str) -> Figure:
    """Draw the distribution of some values, at least one.

    Args:
        values: The values.
        label: Label of their axis.
    """
    drawn, axes = _panel(label, "count")
    axes.hist(values, bins=BINS, color="0.45")
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    return drawn


@styled
def draw_signal_example(excerpt: Excerpt, *, time_label: str, label: str) -> Figure:
    """Draw a signal and its reconstruction, shaded where the kernel adds to it, below a mark for each event.

    Args:
        excerpt: The signal.
        time_label: Label of the time axis.
        label: Label of the amplitude axis.
    """
    drawn, axes = _panel(time_label, label)
    times = excerpt.times
    covered = np.where(excerpt.covered, excerpt.reconstruction, np.nan)
    axes.plot(times, covered, color=COLORS["reconstruction"], alpha=0.3, linewidth=5, solid_capstyle="butt")
    axes.plot(times, excerpt.samples, color=COLORS["input"], alpha=0.6)
    axes.plot(times, excerpt.reconstruction, color=COLORS["reconstruction"], linewidth=0.8)
    at = times[excerpt.events[:, 0]]
    axes.plot(
        at,
        np.full(len(at), 1.04),
        "v",
        color=COLORS["activation"],
        markersize=4,
        transform=axes.get_xaxis_transform(),
        clip_on=False,
    )
    step = times[1] - times[0] if len(times) > 1 else 1.0
    axes.set_xlim(times[0] - step, times[-1] + step)
    return drawn


@styled
def draw_image_kernel(kernel: Array) -> Figure:
    """Draw a kernel of images, [m, m]."""
    drawn, (axes,) = _images(1)
    show_image(axes, torch.from_numpy(kernel), "")
    return drawn


@styled
def draw_image(counts: Array) -> Figure:
    """Draw how many events lie at each pixel, the darker the more, [rows, columns]."""
    drawn, (axes,) = _images(1)
    axes.imshow(counts, cmap="Greys", vmin=0, vmax=max(float(counts.max()), 1.0))
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=True, color="0.7")
    return drawn


@styled
def draw_image_example(excerpt: Excerpt) -> Figure:
    """Draw an image with a ring around each event of the kernel, beside its reconstruction.

    Args:
        excerpt: The image.
    """
    drawn, (left, right) = _images(2)
    show_image(left, torch.from_numpy(excerpt.samples), "")
    rows, columns = excerpt.events.T
    left.plot(columns, rows, "o", markerfacecolor="none", markeredgecolor=COLORS["activation"], markersize=5)
    left.set(xlim=(-0.5, excerpt.samples.shape[1] - 0.5), ylim=(excerpt.samples.shape[0] - 0.5, -0.5))
    show_image(right, torch.from_numpy(excerpt.reconstruction), "")
    return drawn


def _panel(x_label: str, y_label: str) -> tuple[Figure, Axes]:
    drawn = Figure(figsize=(WIDTH, HEIGHT))
    axes = drawn.add_axes((0.18, 0.21, 0.79, 0.67))
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.locator_params(nbins=5)
    return drawn, axes


def _images(n_axes: int) -> tuple[Figure, list[Axes]]:
    drawn = Figure(figsize=(WIDTH, HEIGHT), facecolor="none")
    width = 1 / n_axes
    return drawn, [drawn.add_axes((width * index + 0.01, 0.02, width - 0.02, 0.96)) for index in range(n_axes)]

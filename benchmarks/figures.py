"""The figures of the benchmark."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from san.figures.style import COLORS, figure, styled


@styled
def draw_growth(growth: Mapping[str, Any]) -> Figure:
    """Draw the time of a forward and backward pass over samples and over examples, with linear growth for reference."""
    drawn = figure(7.0, 3.2)
    for place, axis in enumerate(("samples", "examples"), start=1):
        axes = drawn.add_subplot(1, 2, place)
        counts, times = growth[axis], [1e3 * seconds for seconds in growth[f"by_{axis}"]]
        axes.loglog(
            counts, [times[-1] * count / counts[-1] for count in counts], color="0.6", linestyle="--", label="linear"
        )
        plain_times = [1e3 * seconds for seconds in growth[f"plain_by_{axis}"]]
        axes.loglog(counts[: len(plain_times)], plain_times, color="0.4", marker="o", markersize=4, label="plain loops")
        axes.loglog(counts, times, color=COLORS["kernel"], marker="o", markersize=4, label="san")
        axes.set(
            title=f"forward and backward, m = 100: slope {growth[f'slope_of_{axis}']:.2f}",
            xlabel="samples (8 examples)" if axis == "samples" else "examples (8,000 samples)",
            ylabel="time (ms)",
        )
        axes.legend()
    return drawn


@styled
def draw_sweep_times(times: Mapping[str, list[float]]) -> Figure:
    """Draw the time of training many kernel sizes, as one bank and one at a time, over the number of kernel sizes."""
    drawn = figure(5.0, 3.4)
    axes = drawn.add_subplot()
    axes.loglog(times["sizes"], times["plain"], color="0.4", marker="o", markersize=4, label="plain, one at a time")
    axes.loglog(times["sizes"], times["ours"], color=COLORS["kernel"], marker="o", markersize=4, label="one bank")
    axes.set(title="mitdb, Extrema, 30 epochs", xlabel="kernel sizes in the sweep", ylabel="time (s)")
    axes.legend()
    return drawn

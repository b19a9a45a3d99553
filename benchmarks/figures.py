"""The figures of the benchmark."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from san.figures.style import COLORS, figure, styled


@styled
def draw_growth(grown: Mapping[str, Any]) -> Figure:
    """Draw the time of a forward and backward pass over samples and over examples, beside a linear growth."""
    drawn = figure(7.0, 3.2)
    for place, axis in enumerate(("samples", "examples"), start=1):
        axes = drawn.add_subplot(1, 2, place)
        at, taken = grown[axis], [1e3 * seconds for seconds in grown[f"by_{axis}"]]
        axes.loglog(at, [taken[-1] * x / at[-1] for x in at], color="0.6", linestyle="--", label="linear")
        plain = [1e3 * seconds for seconds in grown[f"plain_by_{axis}"]]
        axes.loglog(at[: len(plain)], plain, color="0.4", marker="o", markersize=4, label="plain loops")
        axes.loglog(at, taken, color=COLORS["kernel"], marker="o", markersize=4, label="san")
        axes.set(
            title=f"forward and backward, m = 100: slope {grown[f'slope_of_{axis}']:.2f}",
            xlabel="samples (8 examples)" if axis == "samples" else "examples (8,000 samples)",
            ylabel="time (ms)",
        )
        axes.legend()
    return drawn


@styled
def draw_sweep_times(times: Mapping[str, list[float]]) -> Figure:
    """Draw the time of a sweep over the number of kernel sizes, as one bank and one at a time."""
    drawn = figure(5.0, 3.4)
    axes = drawn.add_subplot()
    axes.loglog(times["sizes"], times["plain"], color="0.4", marker="o", markersize=4, label="plain, one at a time")
    axes.loglog(times["sizes"], times["ours"], color=COLORS["kernel"], marker="o", markersize=4, label="one bank")
    axes.set(title="mitdb, Extrema, 30 epochs", xlabel="kernel sizes in the sweep", ylabel="time (s)")
    axes.legend()
    return drawn

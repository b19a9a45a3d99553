"""Figures 3 to 5 of the paper: all models of Table I, what they reach, and the kernels that are selected."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.ticker import FixedLocator, MaxNLocator
from numpy.typing import NDArray
from scipy.stats import gaussian_kde

from san.figures.style import activation_color, figure, in_paper_order, label, styled, time_axis

__all__ = ["draw_density", "draw_kernel_grid", "draw_planes"]

# The models of one activation function on one database, all kernel sizes.
Cells = Mapping[tuple[str, str], Sequence[Mapping[str, Any]]]


@styled
def draw_planes(cells: Cells) -> Figure:
    """Draw, for each database, the error over the verbosity of each model, as in Fig. 3 of the paper.

    Inside the quarter circle phi is below 1; right of 1 a model stores more numbers than the data has, and above 1 its
    error is that of a model which says nothing, or more. A ring marks the selected model of an activation function,
    whose kernel is drawn beside.
    """
    databases = list(dict.fromkeys(database for database, _ in cells))
    activations = in_paper_order({activation for _, activation in cells})
    columns = min(3, len(databases))
    rows = -(-len(databases) // columns)
    drawn = figure(4.2 * columns, 3.6 * rows)
    for place, database in enumerate(databases, start=1):
        axes = drawn.add_subplot(rows, columns, place)
        _regions(axes)
        for index, activation in enumerate(activations):
            models = cells.get((database, activation), [])
            color = activation_color(activation, activations)
            ratio, loss = (_test(models, name) for name in ("cr_inverse", "loss_normalized"))
            axes.plot(ratio, loss, ".", color=color, markersize=2.5, alpha=0.4, label=label(activation))
            for model in models:
                if "patterns" in model:
                    at = (model["test"]["cr_inverse"], model["test"]["loss_normalized"])
                    axes.plot(*at, "o", color=color, markersize=6, markeredgecolor="black")
                    inset = axes.inset_axes((0.76, 0.8 - 0.18 * index, 0.23, 0.15))
                    pattern = model["patterns"][0]
                    inset.plot(pattern, color=color, marker="." if len(pattern) == 1 else None)
                    inset.set_axis_off()
        axes.set(title=database, xlabel="CR⁻¹ (dimensionless)", ylabel="L̃ (dimensionless)", xlim=(0, 3), ylim=(0, 1.4))
    _legend(drawn, activations)
    return drawn


@styled
def draw_density(cells: Cells) -> Figure:
    """Draw where the models of each activation function lie, and phi over epochs and sizes, as in Fig. 4.

    Lines are means over databases (and sizes, or not), bands one standard deviation to either side.
    """
    activations = in_paper_order({activation for _, activation in cells})
    drawn = figure(11.0, 3.6)
    plane, epochs, sizes = (drawn.add_subplot(1, 3, place) for place in (1, 2, 3))
    _regions(plane)
    for activation in activations:
        color = activation_color(activation, activations)
        own = [models for (_, other), models in cells.items() if other == activation]
        everything = [model for models in own for model in models]
        _contours(plane, np.stack([_test(everything, name) for name in ("cr_inverse", "loss_normalized")]), color)
        histories = np.array(
            [[np.nan if phi is None else phi for phi in model["phi_per_epoch"]] for model in everything]
        )
        _band(epochs, np.arange(1, histories.shape[1] + 1), histories, color, label(activation))
        common = sorted(set.intersection(*({model["kernel_sizes"][0] for model in models} for models in own)))
        by_size = [{model["kernel_sizes"][0]: model["test"]["phi"] for model in models} for models in own]
        _band(sizes, np.array(common), np.array([[phi[size] for size in common] for phi in by_size]), color, "")
    plane.set(
        title="all models", xlabel="CR⁻¹ (dimensionless)", ylabel="L̃ (dimensionless)", xlim=(0, 2.1), ylim=(0, 1.4)
    )
    epochs.set(title="over the epochs", xlabel="epoch", ylabel="validation φ̄ (dimensionless)")
    sizes.set(title="over the kernel size", xlabel="kernel size (samples)", ylabel="test φ̄ (dimensionless)")
    _legend(drawn, activations)
    return drawn


@styled
def draw_kernel_grid(cells: Cells, sampling_frequencies: Mapping[str, float | None]) -> Figure:
    """Draw the kernel of each selected model as it reconstructs, activation functions by databases, as in Fig. 5.

    Args:
        cells: The models.
        sampling_frequencies: Of the databases, in hertz.
    """
    databases = list(dict.fromkeys(database for database, _ in cells))
    activations = in_paper_order({activation for _, activation in cells})
    drawn = figure(2.1 * len(databases) + 0.6, 1.5 * len(activations) + 0.4)
    grid = drawn.subplots(len(activations), len(databases), squeeze=False)
    for row, activation in enumerate(activations):
        for column, database in enumerate(databases):
            axes = grid[row, column]
            axes.tick_params(labelleft=False, left=False)
            if row == 0:
                axes.set_title(database)
            if column == 0:
                axes.set_ylabel(label(activation))
            for model in cells.get((database, activation), []):
                if "patterns" in model:
                    pattern = model["patterns"][0]
                    times, time_label = time_axis(len(pattern), sampling_frequencies.get(database))
                    axes.axhline(0, color="0.85", linewidth=0.8)
                    axes.plot(times, pattern, color=activation_color(activation, activations),
                              marker="." if len(pattern) < 12 else None)  # fmt: skip
                    ticks = FixedLocator([0]) if len(pattern) == 1 else MaxNLocator(3, steps=[1, 2, 5, 10])
                    axes.xaxis.set_major_locator(ticks)
                    if row == len(activations) - 1:
                        axes.set_xlabel(time_label)
    return drawn


def _test(models: Sequence[Mapping[str, Any]], name: str) -> NDArray[np.float64]:
    return np.array([float(model["test"][name]) for model in models])


def _regions(axes: Axes) -> None:
    axes.add_patch(Circle((0, 0), 1, color="0.93", zorder=0))
    axes.axvline(1, color="0.75", linewidth=0.8, linestyle="--", zorder=0)
    axes.axhline(1, color="0.75", linewidth=0.8, linestyle="--", zorder=0)
    axes.text(0.04, 0.04, "φ < 1", color="0.45", fontsize="small")
    axes.text(1.04, 0.04, "more than the data", color="0.45", fontsize="small")
    axes.text(0.04, 1.04, "no better than nothing", color="0.45", fontsize="small")


def _contours(axes: Axes, points: NDArray[np.float64], color: str) -> None:
    """Draw the kernel-density estimate of points, or the points where they have no area to estimate one in."""
    if points.shape[1] < 5 or (np.ptp(points, axis=1) < 1e-3).any():
        axes.plot(*points, ".", color=color, markersize=3)
        return
    x, y = np.meshgrid(np.linspace(0, 2.1, 120), np.linspace(0, 1.4, 120))
    density = gaussian_kde(points)(np.stack([x.ravel(), y.ravel()])).reshape(x.shape)
    axes.contour(x, y, density, levels=density.max() * np.array([0.05, 0.2, 0.5, 0.8]), colors=color, linewidths=0.8)


def _band(axes: Axes, at: NDArray[Any], lines: NDArray[np.float64], color: str, name: str) -> None:
    mean, deviation = np.nanmean(lines, axis=0), np.nanstd(lines, axis=0)
    axes.plot(at, mean, color=color, label=name)
    axes.fill_between(at, mean - deviation, mean + deviation, color=color, alpha=0.15, linewidth=0)


def _legend(drawn: Figure, activations: Sequence[str]) -> None:
    """Name each activation function once, by a marker that can be seen."""
    handles = [drawn.axes[0].plot([], [], "o", color=activation_color(name, activations))[0] for name in activations]
    drawn.legend(handles, [label(name) for name in activations], loc="outside lower center", ncols=len(activations))

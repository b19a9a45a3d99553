"""Figures 3 to 5 of the paper: the metrics of all models of Table I, their density, and the selected kernels."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.ticker import FixedLocator, MaxNLocator
from numpy.typing import NDArray
from scipy.stats import gaussian_kde

from san.extensions.signs import sign_of
from san.figures.style import figure, in_paper_order, method_color, method_label, styled, time_axis

__all__ = ["draw_density", "draw_kernel_grid", "draw_planes"]

Cells = Mapping[tuple[str, str], Sequence[Mapping[str, Any]]]
"""The models of all kernel sizes, for each database and activation function. A selected model has ``atoms``."""


@styled
def draw_planes(cells: Cells) -> Figure:
    """Draw, for each database, the test L̃ over the test CR⁻¹ of each model, as in Fig. 3 of the paper.

    Inside the quarter circle, phi is below 1. Right of 1, a model stores more numbers than the data; above 1, its error
    exceeds the error of reconstructing zeros. A ring marks the selected model of each activation function, and its
    kernel is drawn and named at the right of the axes.

    Args:
        cells: The models.
    """
    databases = list(dict.fromkeys(database for database, _ in cells))
    activations = in_paper_order({activation for _, activation in cells})
    columns = min(3, len(databases))
    rows = -(-len(databases) // columns)
    drawn = figure(4.8 * columns, 3.6 * rows)
    for place, database in enumerate(databases, start=1):
        axes = drawn.add_subplot(rows, columns, place)
        _draw_regions(axes)
        for index, activation in enumerate(activations):
            models = cells.get((database, activation), [])
            color = method_color(activation, activations)
            ratio, loss = (_test_metric(models, metric) for metric in ("cr_inverse", "loss_normalized"))
            axes.plot(ratio, loss, ".", color=color, markersize=2.5, alpha=0.4, label=method_label(activation))
            for model in models:
                if "atoms" in model:
                    at = (model["test"]["cr_inverse"], model["test"]["loss_normalized"])
                    axes.plot(*at, "o", color=color, markersize=6, markeredgecolor="black")
                    inset = axes.inset_axes((1.04, 0.84 - 0.2 * index, 0.26, 0.11))
                    atom = _shown(model["atoms"][0])
                    inset.plot(atom, color=color, marker="." if len(atom) == 1 else None)
                    inset.set_axis_off()
                    name = f"{method_label(activation)},\nm = {len(atom)}"
                    inset.set_title(name, fontsize=6.5, color=color, pad=1)
        axes.set(title=database, xlabel="test CR⁻¹ (dimensionless)", ylabel="test L̃ (dimensionless)")
        axes.set(xlim=(0, 3), ylim=(0, 1.4))
    _add_legend(drawn, activations)
    return drawn


@styled
def draw_density(cells: Cells) -> Figure:
    """Draw the density of the models of each activation function, and phi over epochs and kernel sizes, as in Fig. 4.

    Lines are means over databases, over the epochs also over kernel sizes. Bands extend one standard deviation to
    either side.

    Args:
        cells: The models.
    """
    activations = in_paper_order({activation for _, activation in cells})
    drawn = figure(11.0, 3.6)
    plane, epochs, sizes = (drawn.add_subplot(1, 3, place) for place in (1, 2, 3))
    _draw_regions(plane)
    for activation in activations:
        color = method_color(activation, activations)
        by_database = [models for (_, other), models in cells.items() if other == activation]
        models = [model for of_database in by_database for model in of_database]
        points = np.stack([_test_metric(models, metric) for metric in ("cr_inverse", "loss_normalized")])
        _draw_contours(plane, points, color)
        histories = np.array([[np.nan if phi is None else phi for phi in model["phi_per_epoch"]] for model in models])
        _draw_band(epochs, np.arange(1, histories.shape[1] + 1), histories, color)
        phi_by_size = [
            {model["kernel_sizes"][0]: model["test"]["phi"] for model in of_database} for of_database in by_database
        ]
        common = sorted(set.intersection(*(set(phi) for phi in phi_by_size)))
        _draw_band(sizes, np.array(common), np.array([[phi[size] for size in common] for phi in phi_by_size]), color)
    plane.set(title="density of all models", xlabel="test CR⁻¹ (dimensionless)", ylabel="test L̃ (dimensionless)")
    plane.set(xlim=(0, 2.1), ylim=(0, 1.4))
    epochs.set(title="φ̄ over the epochs", xlabel="epoch", ylabel="validation φ̄ (dimensionless)")
    sizes.set(title="φ̄ over the kernel size", xlabel="kernel size m (samples)", ylabel="test φ̄ (dimensionless)")
    _add_legend(drawn, activations)
    return drawn


@styled
def draw_kernel_grid(cells: Cells, sampling_frequencies: Mapping[str, float | None]) -> Figure:
    """Draw the kernel of each selected model as the decoder places it, activation functions by databases, as in Fig. 5.

    Args:
        cells: The models.
        sampling_frequencies: Sampling frequency of each database in hertz; None if it is unknown.
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
                axes.set_ylabel(method_label(activation))
            for model in cells.get((database, activation), []):
                if "atoms" in model:
                    atom = _shown(model["atoms"][0])
                    times, time_label = time_axis(len(atom), sampling_frequencies.get(database))
                    axes.axhline(0, color="0.85", linewidth=0.8)
                    marker = "." if len(atom) < 12 else None
                    axes.plot(times, atom, color=method_color(activation, activations), marker=marker)
                    ticks = FixedLocator([0]) if len(atom) == 1 else MaxNLocator(3, steps=[1, 2, 5, 10])
                    axes.xaxis.set_major_locator(ticks)
                    if row == len(activations) - 1:
                        axes.set_xlabel(time_label)
    return drawn


def _shown(atom: Sequence[float]) -> NDArray[np.float64]:
    """Return a kernel with a positive largest deflection."""
    return sign_of(torch.tensor(atom)) * np.asarray(atom)


def _test_metric(models: Sequence[Mapping[str, Any]], metric: str) -> NDArray[np.float64]:
    return np.array([float(model["test"][metric]) for model in models])


def _draw_regions(axes: Axes) -> None:
    """Draw and label the regions of phi below 1, of CR⁻¹ above 1 and of L̃ above 1."""
    axes.add_patch(Circle((0, 0), 1, color="0.93", zorder=0))
    axes.axvline(1, color="0.75", linewidth=0.8, linestyle="--", zorder=0)
    axes.axhline(1, color="0.75", linewidth=0.8, linestyle="--", zorder=0)
    axes.text(0.04, 0.04, "φ < 1", color="0.45", fontsize="small")
    axes.text(1.04, 0.04, "larger than the data", color="0.45", fontsize="small")
    axes.text(0.04, 1.04, "worse than zeros", color="0.45", fontsize="small")


def _draw_contours(axes: Axes, points: NDArray[np.float64], color: str) -> None:
    """Draw contours of the kernel-density estimate of points; draw the points if they are too few or have no area."""
    if points.shape[1] < 5 or (np.ptp(points, axis=1) < 1e-3).any():
        axes.plot(*points, ".", color=color, markersize=3)
        return
    x, y = np.meshgrid(np.linspace(0, 2.1, 120), np.linspace(0, 1.4, 120))
    density = gaussian_kde(points)(np.stack([x.ravel(), y.ravel()])).reshape(x.shape)
    axes.contour(x, y, density, levels=density.max() * np.array([0.05, 0.2, 0.5, 0.8]), colors=color, linewidths=0.8)


def _draw_band(axes: Axes, x: NDArray[Any], lines: NDArray[np.float64], color: str) -> None:
    """Draw the mean of lines, with a band of one standard deviation to either side; NaN is skipped."""
    mean, deviation = np.nanmean(lines, axis=0), np.nanstd(lines, axis=0)
    axes.plot(x, mean, color=color)
    axes.fill_between(x, mean - deviation, mean + deviation, color=color, alpha=0.15, linewidth=0)


def _add_legend(drawn: Figure, activations: Sequence[str]) -> None:
    """Name each activation function once, by an opaque marker."""
    handles = [drawn.axes[0].plot([], [], "o", color=method_color(name, activations))[0] for name in activations]
    labels = [method_label(name) for name in activations]
    drawn.legend(handles, labels, loc="outside lower center", ncols=len(activations))

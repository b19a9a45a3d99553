"""The normalized loss over the inverse compression ratio of every method of a comparison."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from san.figures.style import BASELINE_METHOD_STYLES, figure, method_color, method_label, styled

__all__ = ["draw_frontier", "frontier"]

MIN_NAME_DISTANCE = 0.06  # between the names beside the axes, as a fraction of the height of the axes
MAX_AXIS_LIMIT = 1.05  # of both axes: above 1, a description is larger than the data or worse than zeros


@styled
def draw_frontier(methods: Sequence[Mapping[str, Any]], name: str) -> Figure:
    """Draw the test L̃ over the test CR⁻¹ of all settings of each method.

    A line joins the settings on the method's frontier: no other setting of the method is better in both metrics. A
    large marker is the selected setting. Along an arc, phi is equal. Activation functions have circles and solid lines,
    baseline methods squares and dashed lines. Names stand beside the axes at the heights of their markers, with phi.

    Args:
        methods: The methods of the results of a comparison.
        name: Name of the dataset.
    """
    names = [method["method"] for method in methods]
    selected = {method["method"]: _point(method["chosen"]) for method in methods}
    inside = [point for point in selected.values() if max(point) < MAX_AXIS_LIMIT]
    limit = min(MAX_AXIS_LIMIT, 1.25 * max(max(point) for point in inside)) if inside else MAX_AXIS_LIMIT
    drawn = figure(7.8, 4.9)
    drawn.set_layout_engine("none")  # a layout engine would leave no room for the names
    axes = drawn.add_axes((0.6 / 7.8, 0.5 / 4.9, 4.1 / 7.8, 4.1 / 4.9))
    axes.set(title=name, xlabel="test CR⁻¹ (dimensionless)", ylabel="test L̃ (dimensionless)")
    axes.set(xlim=(0, limit), ylim=(0, limit), aspect="equal")
    _draw_arcs(axes, limit)
    heights = _separated([selected[method][1] / limit for method in names])
    for method, height in zip(methods, heights, strict=True):
        key = method["method"]
        color = method_color(key, names)
        marker, line = ("s", "--") if key in BASELINE_METHOD_STYLES else ("o", "-")
        points = np.array([_point(setting) for setting in method["settings"]])
        opacity = min(0.25, 200 / len(points))  # a large grid must not hide the others
        axes.plot(*points.T, marker, color=color, markersize=2, markeredgewidth=0, alpha=opacity, zorder=2)
        axes.plot(*frontier(points).T, line, color=color, linewidth=1.4, zorder=3)
        outline: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 0.9}
        axes.plot(*selected[key], marker, color=color, markersize=7.5, zorder=5, **outline)
        text = f"{method_label(key)}, φ̄ {method['chosen']['test']['phi']:.3f}"
        _draw_name(axes, selected[key], height, limit, text, color)
    return drawn


def frontier(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the points without another point below and left of them, from left to right, [points, 2]."""
    in_order = points[np.lexsort((points[:, 1], points[:, 0]))]
    lowest_before = np.minimum.accumulate(np.concatenate([[np.inf], in_order[:-1, 1]]))
    return in_order[in_order[:, 1] < lowest_before]


def _point(setting: Mapping[str, Any]) -> tuple[float, float]:
    return setting["test"]["cr_inverse"], setting["test"]["loss_normalized"]


def _draw_arcs(axes: Axes, limit: float) -> None:
    """Draw arcs of equal phi, each labelled at its end: above the lower border, or left of the right border."""
    step = 0.2 if limit > 0.6 else 0.1
    angle = np.linspace(0, np.pi / 2, 200)
    for radius in np.arange(step, limit * np.sqrt(2) - step / 4, step):
        axes.plot(radius * np.cos(angle), radius * np.sin(angle), color="0.82", linewidth=0.7, zorder=1)
        end = np.arcsin(0.055 * limit / radius) if radius <= limit else np.arccos(0.96 * limit / radius)
        axes.text(
            radius * np.cos(end),
            radius * np.sin(end),
            f"φ = {radius:.1f}",
            color="0.45",
            fontsize=7,
            zorder=2.5,
            rotation=np.degrees(end) - 90,
            ha="center",
            va="center",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.8},
        )


def _separated(heights: Sequence[float]) -> list[float]:
    """Move the heights of names, in fractions of the axes, until no names overlap."""
    order = np.argsort(heights)
    places = np.clip(np.array(heights, dtype=float)[order], 0, 1)
    for at in range(1, len(places)):
        places[at] = max(places[at], places[at - 1] + MIN_NAME_DISTANCE)
    places -= max(0.0, places[-1] - 1)
    for at in range(len(places) - 2, -1, -1):
        places[at] = min(places[at], places[at + 1] - MIN_NAME_DISTANCE)
    moved = np.empty_like(places)
    moved[order] = places
    return [float(place) for place in moved]


def _draw_name(axes: Axes, point: tuple[float, float], height: float, limit: float, text: str, color: str) -> None:
    """Write the name of a marker beside the axes, joined to it by a thin line unless it is outside the axes."""
    outside = max(point) > limit
    axes.annotate(
        f"{text} (outside)" if outside else text,
        (limit, height * limit) if outside else point,
        xytext=(1.04, height),
        textcoords=axes.transAxes,
        color=color,
        va="center",
        annotation_clip=False,
        arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.5, "alpha": 0 if outside else 0.45, "shrinkB": 4},
    )

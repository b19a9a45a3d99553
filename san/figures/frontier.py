"""The normalized loss over the inverse compression ratio of every method of a comparison."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from san.figures.style import BASELINE_METHOD_STYLES, figure, method_color, method_label, styled

__all__ = ["draw_frontier", "frontier"]

N_COLUMNS = 2  # of the legend
MAX_AXIS_LIMIT = 1.05  # of both axes: above 1, a description is larger than the data or worse than zeros


@styled
def draw_frontier(methods: Sequence[Mapping[str, Any]], name: str) -> Figure:
    """Draw the test L̃ over the test CR⁻¹ of all settings of each method.

    A line joins the settings on the method's frontier: no other setting of the method is better in both metrics. A
    large open marker is the selected setting. Along an arc, phi is equal. Activation functions have circles and solid
    lines, baseline methods squares and dashed lines. The legend has the test phi of each, the lowest first.

    Args:
        methods: The methods of the results of a comparison.
        name: Name of the dataset.
    """
    names = [method["method"] for method in methods]
    selected = {method["method"]: _point(method["chosen"]) for method in methods}
    inside = [point for point in selected.values() if max(point) < MAX_AXIS_LIMIT]
    limit = min(MAX_AXIS_LIMIT, 1.25 * max(max(point) for point in inside)) if inside else MAX_AXIS_LIMIT
    drawn = figure(5.6, 5.6 + 0.22 * -(-len(names) // N_COLUMNS))
    axes = drawn.add_subplot()
    axes.set(title=name, xlabel="test CR⁻¹ (dimensionless)", ylabel="test L̃ (dimensionless)")
    axes.set(xlim=(0, limit), ylim=(0, limit), aspect="equal")
    _draw_arcs(axes, limit)
    handles = []
    for method in sorted(methods, key=lambda method: float(method["chosen"]["test"]["phi"])):
        key = method["method"]
        color = method_color(key, names)
        marker, line = ("s", "--") if key in BASELINE_METHOD_STYLES else ("o", "-")
        points = np.array([_point(setting) for setting in method["settings"]])
        opacity = min(0.25, 200 / len(points))  # a large grid must not hide the others
        axes.plot(*points.T, marker, color=color, markersize=2, markeredgewidth=0, alpha=opacity, zorder=2)
        axes.plot(*frontier(points).T, line, color=color, linewidth=1.2, zorder=3)
        outside = " (outside)" if max(selected[key]) > limit else ""
        label = f"{method_label(key)}, φ̄ = {method['chosen']['test']['phi']:.3f}{outside}"
        ring: dict[str, Any] = {"markersize": 8.5, "markerfacecolor": "none", "markeredgewidth": 2.2}  # hides no other
        (handle,) = axes.plot(*selected[key], marker, color=color, zorder=5, label=label, **ring)
        handles.append(handle)
    drawn.legend(handles=handles, loc="outside lower center", ncols=min(N_COLUMNS, len(names)))
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

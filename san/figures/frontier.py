"""The error over the verbosity of every method that was compared."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from san.figures.style import PEERS, activation_color, figure, label, styled

__all__ = ["draw_frontier", "frontier"]

NAMES_APART = 0.06  # of the height of the axes, at least
MOST = 1.05  # of both axes: beyond 1 a description is of more numbers than the data, or worse than none


@styled
def draw_frontier(methods: Sequence[Mapping[str, Any]], name: str) -> Figure:
    """Draw the test error over the test verbosity of all settings of each method.

    A line joins the settings of a method that no other of its own is better than in both, a large marker is the chosen
    setting, and arcs are of equal phi. Activation functions are circles and full lines, peers squares and dashed lines.
    Names are beside the axes, in the order of the chosen errors, with their phi.

    Args:
        methods: Of the results of a comparison.
        name: Of the dataset.
    """
    names = [method["method"] for method in methods]
    chosen = {method["method"]: _point(method["chosen"]) for method in methods}
    inside = [point for point in chosen.values() if max(point) < MOST]
    limit = min(MOST, 1.25 * max(max(point) for point in inside)) if inside else MOST
    drawn = figure(7.8, 4.9)
    drawn.set_layout_engine("none")  # which would make no room for the names
    axes = drawn.add_axes((0.6 / 7.8, 0.5 / 4.9, 4.1 / 7.8, 4.1 / 4.9))
    axes.set(title=name, xlabel="CR⁻¹ on test (dimensionless)", ylabel="L̃ on test (dimensionless)",
             xlim=(0, limit), ylim=(0, limit), aspect="equal")  # fmt: skip
    _arcs(axes, limit)
    places = _apart([chosen[method][1] / limit for method in names])
    for method, place in zip(methods, places, strict=True):
        key = method["method"]
        color, peer = activation_color(key, names), key in PEERS
        points = np.array([_point(setting) for setting in method["settings"]])
        axes.plot(*points.T, "s" if peer else "o", color=color, markersize=2, markeredgewidth=0, alpha=0.25, zorder=2)
        axes.plot(*frontier(points).T, "--" if peer else "-", color=color, linewidth=1.4, zorder=3)
        axes.plot(*chosen[key], "s" if peer else "o", color=color, markersize=7.5, markeredgecolor="white",
                  markeredgewidth=0.9, zorder=5)  # fmt: skip
        _name(axes, chosen[key], place, limit, f"{label(key)}, φ̄ {method['chosen']['test']['phi']:.3f}", color)
    return drawn


def frontier(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the points that no other is below and left of, from left to right, [points, 2]."""
    in_order = points[np.lexsort((points[:, 1], points[:, 0]))]
    lowest_before = np.minimum.accumulate(np.concatenate([[np.inf], in_order[:-1, 1]]))
    return in_order[in_order[:, 1] < lowest_before]


def _point(setting: Mapping[str, Any]) -> tuple[float, float]:
    return setting["test"]["cr_inverse"], setting["test"]["loss_normalized"]


def _arcs(axes: Axes, limit: float) -> None:
    """Draw circles of equal phi, each named where it ends: above the lower border, or left of the right one."""
    step = 0.2 if limit > 0.6 else 0.1
    angle = np.linspace(0, np.pi / 2, 200)
    for radius in np.arange(step, limit * np.sqrt(2) - step / 4, step):
        axes.plot(radius * np.cos(angle), radius * np.sin(angle), color="0.82", linewidth=0.7, zorder=1)
        at = np.arcsin(0.055 * limit / radius) if radius <= limit else np.arccos(0.96 * limit / radius)
        axes.text(
            radius * np.cos(at), radius * np.sin(at), f"φ = {radius:.1f}", color="0.45", fontsize=7, zorder=2.5,
            rotation=np.degrees(at) - 90, ha="center", va="center",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.8},
        )  # fmt: skip


def _apart(heights: Sequence[float]) -> list[float]:
    """Return the heights of names, in units of the axes: those of their markers, moved until none overlap."""
    order = np.argsort(heights)
    places = np.clip(np.array(heights, dtype=float)[order], 0, 1)
    for at in range(1, len(places)):
        places[at] = max(places[at], places[at - 1] + NAMES_APART)
    places -= max(0.0, places[-1] - 1)
    for at in range(len(places) - 2, -1, -1):
        places[at] = min(places[at], places[at + 1] - NAMES_APART)
    moved = np.empty_like(places)
    moved[order] = places
    return [float(place) for place in moved]


def _name(axes: Axes, point: tuple[float, float], place: float, limit: float, text: str, color: str) -> None:
    """Name a marker beside the axes, with a thin line to it, or an arrow to the border where it is outside."""
    outside = max(point) > limit
    axes.annotate(
        f"{text} (outside)" if outside else text,
        point if not outside else (limit, place * limit),
        xytext=(1.04, place), textcoords=axes.transAxes, color=color, va="center", annotation_clip=False,
        arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.5, "alpha": 0 if outside else 0.45, "shrinkB": 4},
    )  # fmt: skip

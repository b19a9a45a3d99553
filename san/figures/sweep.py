"""Phi over the kernel size, and over the number of kernels, for the models of a sweep."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import product
from statistics import fmean
from textwrap import fill
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from san.figures.style import figure, in_paper_order, method_color, method_label, styled
from san.ops.choices import check_choice

__all__ = ["SelectionSplit", "draw_surface", "draw_sweep"]

SelectionSplit = Literal["validation", "test"]
"""The split whose phi selects a model."""

ABOVE_EMPTY = 1.1  # φ of an empty description is 1
MAX_STRETCH = 1.5  # of an axis: the largest value that is shown, over the end of a clipped axis
NO_BREAK = "\u00a0"
TITLE_WIDTH = 58  # characters of a line above a panel
MAX_LABELLED_CELLS = 100  # a surface with more cells shows colours only, without numbers


@styled
def draw_sweep(rows: Sequence[Mapping[str, Any]], split: SelectionSplit = "validation") -> Figure:
    """Draw phi over the kernel size, with one panel per dataset and one line per activation function.

    If several models share a dataset, an activation function and a kernel size (different seeds, for example), the line
    shows their mean and the band their range. A ring marks the best model of each panel, and its title names it. An
    axis that much worse models would stretch ends at 1.1, above the φ of an empty description, or at twice the lowest
    φ; triangles at its end mark the models above, and the title has their range.

    Args:
        rows: The rows of sweep.csv.
        split: The split whose phi is drawn and selects the best model.

    Raises:
        ValueError: If the split is unknown.
    """
    check_choice("split", split, SelectionSplit)
    phi = f"{split}_phi"
    datasets = sorted({row["dataset"] for row in rows})
    activations = in_paper_order({row["activation"] for row in rows})
    names = [method_label(activation) for activation in activations]
    n_columns, n_rows = min(3, len(datasets)), -(-len(datasets) // 3)
    drawn = figure(max(5.0, 4.2 * n_columns), 3.8 * n_rows)
    for index, dataset in enumerate(datasets):
        axes = drawn.add_subplot(n_rows, n_columns, index + 1)
        panel = [row for row in rows if row["dataset"] == dataset]
        sizes = sorted({row["kernel_size"] for row in panel}, key=_size_order)
        are_numbers = all(isinstance(size, int) for size in sizes)
        place = {size: size if are_numbers else at for at, size in enumerate(sizes)}
        for activation in activations:
            models: dict[Any, list[float]] = defaultdict(list)
            for row in panel:
                if row["activation"] == activation:
                    models[place[row["kernel_size"]]].append(row[phi])
            at = sorted(models)
            color = method_color(activation, activations)
            marker = "o" if len(at) < 30 else None
            means = [fmean(models[x]) for x in at]
            axes.plot(at, means, color=color, marker=marker, markersize=4, label=method_label(activation))
            axes.fill_between(at, [min(models[x]) for x in at], [max(models[x]) for x in at], color=color, alpha=0.2)
        best = min(panel, key=lambda row: float(row[phi]))
        winner = f"{method_label(best['activation'])}, m = {best['kernel_size']}, φ̄ = {best[phi]:.3f}"
        limit = _limit([float(row[phi]) for row in panel])
        models_of = {
            activation: [
                (place[row["kernel_size"]], float(row[phi])) for row in panel if row["activation"] == activation
            ]
            for activation in activations
        }
        clipped = "" if limit is None else _draw_clipped(axes, limit, models_of)
        ring: dict[str, Any] = {"markersize": 9, "markerfacecolor": "none", "markeredgecolor": "black"}
        axes.plot(place[best["kernel_size"]], best[phi], "o", **ring)
        if len(sizes) < 10:
            axes.set_xticks([place[size] for size in sizes], [str(size) for size in sizes])
        axes.set(title=f"{dataset}\nbest: {winner}{clipped}")
        axes.set(xlabel="kernel size m (samples)", ylabel=f"{split} φ̄ (dimensionless)")
    lines = {line.get_label(): line for axes in drawn.axes for line in axes.lines if line.get_label() in names}
    drawn.legend([lines[name] for name in names], names, loc="outside lower center", ncols=min(3, len(names)))
    return drawn


@styled
def draw_surface(rows: Sequence[Mapping[str, Any]], split: SelectionSplit = "validation") -> Figure:
    """Draw phi over kernel size and number of kernels, with one panel per dataset and activation function.

    If several models share a cell (different seeds, for example), the cell shows their mean. A square marks the best
    cell of each panel, and its title names it. The colours end where the axis of :func:`draw_sweep` ends.

    Args:
        rows: The rows of sweep.csv, each with ``n_kernels``.
        split: The split whose phi is drawn and selects the best cell.

    Raises:
        ValueError: If the split is unknown.
    """
    check_choice("split", split, SelectionSplit)
    phi = f"{split}_phi"
    sizes = sorted({row["kernel_size"] for row in rows}, key=_size_order)
    counts = sorted({row["n_kernels"] for row in rows})
    activations = in_paper_order({row["activation"] for row in rows})
    datasets = sorted({row["dataset"] for row in rows})
    drawn = figure(
        len(activations) * max(3.4, 0.45 * len(sizes) + 1.2), len(datasets) * max(2.2, 0.45 * len(counts) + 1.2)
    )
    panels = drawn.subplots(len(datasets), len(activations), squeeze=False, sharex=True, sharey=True)
    values = [float(row[phi]) for row in rows]
    lowest, limit = min(values), _limit(values)
    highest = max(values) if limit is None else limit
    for axes, (dataset, activation) in zip(panels.flat, product(datasets, activations), strict=True):
        cells: dict[tuple[int, int], list[float]] = defaultdict(list)
        for row in rows:
            if (row["dataset"], row["activation"]) == (dataset, activation):
                cells[counts.index(row["n_kernels"]), sizes.index(row["kernel_size"])].append(row[phi])
        surface = np.full((len(counts), len(sizes)), np.nan)
        for cell, values in cells.items():
            surface[cell] = fmean(values)
        axes.imshow(surface, cmap="viridis", vmin=lowest, vmax=highest, origin="lower", aspect="auto")
        if surface.size <= MAX_LABELLED_CELLS:
            for count, size in cells:
                color = "white" if surface[count, size] < (lowest + highest) / 2 else "black"
                number = f"{surface[count, size]:.2f}"
                axes.text(size, count, number, ha="center", va="center", fontsize=7, color=color)
        best = np.unravel_index(np.nanargmin(surface), surface.shape)
        square: dict[str, Any] = {"markersize": 22, "markeredgecolor": "#D55E00", "markeredgewidth": 2}
        axes.plot(*reversed(best), "s", markerfacecolor="none", **square)
        n_kernels, size = counts[int(best[0])], sizes[int(best[1])]
        winner = f"m = {size}, {n_kernels} kernel{'s' if n_kernels > 1 else ''}, φ̄ = {surface[best]:.3f}"
        axes.set(title=f"{dataset}, {method_label(activation)}\nbest: {winner}")
        axes.set(xlabel="kernel size m (samples)", ylabel="number of kernels")
        axes.set_xticks(range(len(sizes)), [str(size) for size in sizes])
        axes.set_yticks(range(len(counts)), [str(count) for count in counts])
        axes.label_outer()
    extend = "neither" if limit is None else "max"
    drawn.colorbar(panels[0, 0].images[0], ax=panels, label=f"{split} φ̄ (dimensionless)", extend=extend)
    return drawn


def _limit(values: Sequence[float]) -> float | None:
    """Return the end of the axis of φ if the largest values would squeeze the others; None to show all."""
    limit = max(ABOVE_EMPTY, 2 * min(values))
    return limit if max(values) > MAX_STRETCH * limit else None


def _draw_clipped(axes: Axes, limit: float, models: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """End the axis of φ, mark the models above it below its end, and return their ranges as lines of a title.

    Args:
        axes: The axes.
        limit: The end of the axis.
        models: The place and the φ of each model, for each activation function.
    """
    lowest = min(phi for own in models.values() for _, phi in own)
    axes.set_ylim(max(0.0, lowest - 0.1 * (limit - lowest)), limit)
    ranges: list[str] = []
    for name, own in models.items():
        above = [(place, phi) for place, phi in own if phi > limit]
        if above:
            places, values = zip(*above, strict=True)
            height = 0.98 - 0.035 * len(ranges)
            mark: dict[str, Any] = {"color": method_color(name, list(models)), "markersize": 4}
            axes.plot(places, [height] * len(places), "^", transform=axes.get_xaxis_transform(), **mark)
            low, high = f"{min(values):.2f}", f"{max(values):.2f}"
            text = f"{method_label(name)} {low}" + (f" to {high}" if high != low else "")
            ranges.append(text.replace(" ", NO_BREAK))
    return "\n" + fill(f"▲ above the axis: {', '.join(ranges)}", TITLE_WIDTH)


def _size_order(size: int | str) -> list[int]:
    """Return the numbers of a kernel size, such as 8 or ``8+9``, to sort by."""
    return [int(part) for part in str(size).split("+")]

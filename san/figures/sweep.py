"""Phi over the kernel size, and over the number of kernels, for the models of a sweep."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import product
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from san.figures.style import activation_color, figure, in_paper_order, label, styled

__all__ = ["draw_surface", "draw_sweep"]


MOST_NUMBERS = 100  # cells of a surface in which the number is written


@styled
def draw_sweep(rows: Sequence[Mapping[str, Any]], split: str = "validation") -> Figure:
    """Draw phi over the kernel size, a panel a dataset and a line an activation function.

    Where several models share a dataset, an activation and a kernel size (seeds, say), the line is their mean and the
    band their range. A ring marks the best model of each panel.

    Args:
        rows: The rows of sweep.csv.
        split: The split whose phi is drawn, and chooses the best: ``validation`` or ``test``.
    """
    phi = f"{split}_phi"
    datasets = sorted({row["dataset"] for row in rows})
    activations = in_paper_order({row["activation"] for row in rows})
    names = [label(activation) for activation in activations]
    drawn = figure(max(5.0, 4.2 * min(3, len(datasets))), 3.8 * -(-len(datasets) // 3))
    for index, dataset in enumerate(datasets):
        axes = drawn.add_subplot(-(-len(datasets) // 3), min(3, len(datasets)), index + 1)
        chosen = [row for row in rows if row["dataset"] == dataset]
        sizes = sorted({row["kernel_size"] for row in chosen}, key=_order)
        place = {size: size if all(isinstance(other, int) for other in sizes) else at for at, size in enumerate(sizes)}
        for activation in activations:
            models: dict[Any, list[float]] = defaultdict(list)
            for row in chosen:
                if row["activation"] == activation:
                    models[place[row["kernel_size"]]].append(row[phi])
            at = sorted(models)
            color = activation_color(activation, activations)
            marker = "o" if len(at) < 30 else None
            axes.plot(at, [fmean(models[x]) for x in at], color=color, marker=marker, markersize=4,
                      label=label(activation))  # fmt: skip
            axes.fill_between(at, [min(models[x]) for x in at], [max(models[x]) for x in at], color=color, alpha=0.2)
        best = min(chosen, key=lambda row: float(row[phi]))
        axes.plot(place[best["kernel_size"]], best[phi], "o", markersize=9, markerfacecolor="none",
                  markeredgecolor="black")  # fmt: skip
        if len(sizes) < 10:
            axes.set_xticks([place[size] for size in sizes], [str(size) for size in sizes])
        axes.set(title=dataset, xlabel="kernel size (samples)", ylabel=f"{split} φ̄ (dimensionless)")
    lines = {line.get_label(): line for axes in drawn.axes for line in axes.lines if line.get_label() in names}
    drawn.legend([lines[name] for name in names], names, loc="outside lower center", ncols=min(3, len(names)))
    return drawn


@styled
def draw_surface(rows: Sequence[Mapping[str, Any]], split: str = "validation") -> Figure:
    """Draw phi over kernel size and number of kernels, a panel a dataset and activation function.

    Where several models share a cell (seeds, say), it is their mean. A ring marks the best model of each panel.

    Args:
        rows: The rows of sweep.csv, each with ``n_kernels``.
        split: The split whose phi is drawn, and chooses the best: ``validation`` or ``test``.
    """
    phi = f"{split}_phi"
    sizes = sorted({row["kernel_size"] for row in rows}, key=_order)
    counts = sorted({row["n_kernels"] for row in rows})
    activations = in_paper_order({row["activation"] for row in rows})
    datasets = sorted({row["dataset"] for row in rows})
    drawn = figure(
        len(activations) * max(3.4, 0.45 * len(sizes) + 1.2), len(datasets) * max(2.2, 0.45 * len(counts) + 1.2)
    )
    panels = drawn.subplots(len(datasets), len(activations), squeeze=False, sharex=True, sharey=True)
    lowest, highest = (function(row[phi] for row in rows) for function in (min, max))
    for axes, (dataset, activation) in zip(panels.flat, product(datasets, activations), strict=True):
        cells: dict[tuple[int, int], list[float]] = defaultdict(list)
        for row in rows:
            if (row["dataset"], row["activation"]) == (dataset, activation):
                cells[counts.index(row["n_kernels"]), sizes.index(row["kernel_size"])].append(row[phi])
        surface = np.full((len(counts), len(sizes)), np.nan)
        for cell, values in cells.items():
            surface[cell] = fmean(values)
        axes.imshow(surface, cmap="viridis", vmin=lowest, vmax=highest, origin="lower", aspect="auto")
        if surface.size <= MOST_NUMBERS:
            for count, size in cells:
                dark = surface[count, size] < (lowest + highest) / 2
                axes.text(size, count, f"{surface[count, size]:.2f}", ha="center", va="center", fontsize=7,
                          color="white" if dark else "black")  # fmt: skip
        best = np.unravel_index(np.nanargmin(surface), surface.shape)
        axes.plot(*reversed(best), "s", markersize=22, markerfacecolor="none", markeredgecolor="#D55E00",
                  markeredgewidth=2)  # fmt: skip
        axes.set(title=f"{dataset}, {label(activation)}", xlabel="kernel size (samples)", ylabel="kernels")
        axes.set_xticks(range(len(sizes)), [str(size) for size in sizes])
        axes.set_yticks(range(len(counts)), [str(count) for count in counts])
        axes.label_outer()
    drawn.colorbar(panels[0, 0].images[0], ax=panels, label=f"{split} φ̄ (dimensionless)")
    return drawn


def _order(size: int | str) -> list[int]:
    return [int(part) for part in str(size).split("+")]

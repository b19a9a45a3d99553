"""The forward pass of one example, step by step, as in Fig. 2 of the paper."""

import logging
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from san.figures.channels import RGB, Curve, EventRow, channel_labels, channels_first, show_channels, stacked_figure
from san.figures.style import (
    COLORS,
    Run,
    figure,
    kernels_to_draw,
    method_label,
    styled,
    time_axis,
)

__all__ = ["draw"]

log = logging.getLogger(__name__)


@styled
def draw(run: Run) -> Figure:
    """Draw the input, the kernels, the similarity and activation maps, and the partial and complete reconstructions.

    Of too many kernels to read, those whose partial reconstructions have the most energy are drawn; the title says so.
    """
    network, x = run.network, run.example.unsqueeze(0)
    with torch.no_grad():
        similarity, maps = network.similarity(x)[0], network.encode(x)[0]
        steps = {
            "similarity": similarity,
            "maps": maps,
            "partial": network.partial_reconstructions(maps.unsqueeze(0))[0],
            "reconstruction": network.decode(maps.unsqueeze(0))[0],
        }
    indices, note = kernels_to_draw(steps["partial"].flatten(1).square().sum(1).tolist())
    title = f"{run.name}, {method_label(run.activation)}"
    if note:
        log.info("the figure of the forward pass shows %s", note)
        title += f", {note}"
    if network.n_dims == 2:
        return _images(run, steps, indices, title)
    return (_signals if network.channels == 1 else _stacked)(run, steps, indices, title)


def _signals(run: Run, steps: dict[str, Tensor], indices: Sequence[int], title: str) -> Figure:
    x, n_kernels = run.example[0].numpy(), len(indices)
    times, time_label = time_axis(len(x), run.sampling_frequency)
    heights = {"x": 2.0, "kernel": 1.4, "similarity": 2.0, "maps": 2.0, "partial": 2.0, "reconstruction": 2.0}
    if n_kernels == 1:
        del heights["partial"]
    rows = {name: row for row, name in enumerate(heights)}
    drawn = figure(max(7.0, 4.5 * n_kernels), 1.25 * len(rows))
    grid = drawn.add_gridspec(len(rows), n_kernels, height_ratios=list(heights.values()))

    def add(name: str, column: slice | int, title: str, y_label: str = "") -> Axes:
        axes = drawn.add_subplot(grid[rows[name], column])
        axes.axhline(0, color="0.85", linewidth=0.8, zorder=0)
        axes.set(title=title, ylabel=y_label, xlim=(times[0], times[-1]))
        axes.tick_params(labelbottom=name == "reconstruction")
        return axes

    all_columns = slice(None)
    axes = add("x", all_columns, f"{title}: input x", run.units)
    axes.plot(times, x, color=COLORS["input"])
    atoms = run.network.atoms
    for place, index in enumerate(indices):
        number = f"$^{{({index})}}$" if n_kernels > 1 else ""
        atom, similarity, activations = atoms[index], steps["similarity"][index], steps["maps"][index]
        middle = (len(x) - len(atom)) // 2
        axes = add("kernel", place, f"kernel w{number}, m = {len(atom)}, as the decoder places it", "weight")
        axes.plot(times[middle : middle + len(atom)], atom.detach(), color=COLORS["kernel"])
        axes = add("similarity", place, f"similarity s{number}", "similarity")
        axes.plot(times, similarity, color=COLORS["similarity"])
        count = int(activations.count_nonzero())
        axes = add("maps", place, f"activations α{number}: {count} of {len(x)} samples", "similarity")
        _draw_activations(axes, times, similarity, activations)
        if "partial" in rows:
            axes = add("partial", place, f"partial reconstruction r{number}", run.units)
            axes.plot(times, steps["partial"][index], color=COLORS["reconstruction"])
    axes = add("reconstruction", all_columns, "reconstruction x̂ over the input", run.units)
    axes.plot(times, x, color=COLORS["input"], alpha=0.4)
    axes.plot(times, steps["reconstruction"][0], color=COLORS["reconstruction"])
    axes.set_xlabel(time_label)
    return drawn


def _stacked(run: Run, steps: dict[str, Tensor], indices: Sequence[int], title: str) -> Figure:
    """Draw several channels below one another, and the activations of each kernel, one row for all channels."""
    x = run.example.double().numpy()
    times, time_label = time_axis(x.shape[1], run.sampling_frequency)
    rows = []
    for index in indices:
        activations = steps["maps"][index]
        kept = activations.nonzero().flatten()
        number = f"$^{{({index})}}$" if len(indices) > 1 else ""
        rows.append(
            EventRow(
                index,
                f"activations α{number}: {len(kept)} of {len(activations)} samples, over the similarity",
                times[kept.numpy()],
                activations[kept].double().numpy(),
                steps["similarity"][index].double().numpy(),
            )
        )
    return stacked_figure(
        title,
        times,
        time_label,
        [
            Curve("input x", x, COLORS["input"], 0.5),
            Curve("reconstruction x̂", steps["reconstruction"].double().numpy(), COLORS["reconstruction"]),
        ],
        rows,
        run.network,
        labels=channel_labels(run.channels or ("",) * len(x)),
        units=[run.units.removeprefix("amplitude").strip(" ()")] * len(x),
        event_label="similarity",
        sampling_frequency=run.sampling_frequency,
    )


def _draw_activations(axes: Axes, times: NDArray[np.float64], similarity: Tensor, activations: Tensor) -> None:
    """Draw each activation as a stem, over the similarity map."""
    axes.plot(times, similarity, color=COLORS["similarity"], alpha=0.4)
    kept = activations.nonzero().flatten()
    axes.vlines(times[kept], 0, activations[kept], color=COLORS["activation"], linewidth=0.8)
    axes.plot(times[kept], activations[kept], "o", color=COLORS["activation"], markersize=2.5)


def _images(run: Run, steps: dict[str, Tensor], indices: Sequence[int], title: str) -> Figure:
    n_kernels, atoms = len(indices), run.network.atoms
    drawn = figure(9.0, 1.7 * max(n_kernels, 1) + 0.4)
    grid = drawn.add_gridspec(n_kernels, 6)
    limits = (float(run.example.min()), float(run.example.max()))
    show_channels(drawn.add_subplot(grid[:, 0]), run.example, "input x", limits)
    for row, index in enumerate(indices):
        number = f"$^{{({index})}}$" if n_kernels > 1 else ""
        panels = {
            f"kernel w{number}": channels_first(atoms[index], 2),
            f"similarity s{number}": steps["similarity"][index].unsqueeze(0),
            f"activations α{number}: {int(steps['maps'][index].count_nonzero())}": steps["maps"][index].unsqueeze(0),
            f"partial r{number}": channels_first(steps["partial"][index], 2),
        }
        for column, (panel, image) in enumerate(panels.items(), start=1):
            show_channels(drawn.add_subplot(grid[row, column]), image, panel)
    show_channels(drawn.add_subplot(grid[:, 5]), steps["reconstruction"], "reconstruction x̂", limits)
    note = "red positive, blue negative, each panel scaled to its largest magnitude"
    if run.network.channels == RGB:
        note += "\nkernels and partial reconstructions in their colors, gray where they are zero"
    elif run.network.channels > 1:
        note += "; channels side by side"
    drawn.suptitle(f"{title}\n{note}")
    return drawn

"""A recording beside its description: the reconstruction over it, the events of each kernel, and the kernels."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from san.figures.style import COLORS, figure, kernels_to_draw, show_image, styled, time_axis

__all__ = ["draw_description"]


@styled
def draw_description(
    recording: NDArray[np.float64] | None,
    reconstruction: NDArray[np.float64],
    events: pd.DataFrame,
    kernels: Sequence[Tensor],
    *,
    start: int,
    name: str,
    unit: str,
    sampling_frequency: float | None,
) -> Figure:
    """Draw a recording with its reconstruction, the amplitude of each event, and the kernels beside their events.

    Of too many kernels to read, those whose events have the most energy are drawn; the title says so.

    Args:
        recording: The samples, [samples] or [rows, columns]; None to draw the reconstruction alone.
        reconstruction: The reconstruction, of the same shape and unit.
        events: The events of the recording; see :attr:`san.use.description.Description.events`.
        kernels: The kernels as an event places them, each [m] or [m, m].
        start: Index of the first of the given samples in the whole recording.
        name: Title.
        unit: Physical unit of the samples; empty if unknown.
        sampling_frequency: Sampling frequency in hertz; None if it is unknown.
    """
    energies = [
        float(kernel.square().sum()) * float((events.loc[events["kernel"] == index, "amplitude"] ** 2).sum())
        for index, kernel in enumerate(kernels)
    ]
    indices, note = kernels_to_draw(energies)
    title = f"{name}: {note}" if note else name
    if reconstruction.ndim == 2:
        return _images(recording, reconstruction, events, kernels, indices, title)
    label = f"amplitude ({unit})" if unit else "amplitude"
    times, time_label = time_axis(start + len(reconstruction), sampling_frequency)
    all_times, times = times, times[start:]
    drawn = figure(9.0, 2.2 + 1.3 * len(indices))
    grid = drawn.add_gridspec(1 + len(indices), 2, width_ratios=(4, 1), height_ratios=(1.8, *[1.0] * len(indices)))
    axes = drawn.add_subplot(grid[0, 0])
    if recording is not None:
        axes.plot(times, recording, color=COLORS["input"], alpha=0.5, label="recording")
    axes.plot(times, reconstruction, color=COLORS["reconstruction"], label="reconstruction")
    axes.set(title=title, ylabel=label, xlim=(times[0], times[-1]))
    drawn.legend(loc="outside lower center", ncols=2)
    for row, index in enumerate(indices, start=1):
        own = events[events["kernel"] == index]
        axes = drawn.add_subplot(grid[row, 0])
        axes.axhline(0, color="0.85", linewidth=0.8)
        at = all_times[own["sample"]]
        axes.vlines(at, 0, own["amplitude"], color=COLORS["activation"], linewidth=0.8)
        axes.plot(at, own["amplitude"], "o", color=COLORS["activation"], markersize=2.5)
        axes.set(title=f"kernel {index}: {len(own)} events", ylabel=label, xlim=(times[0], times[-1]))
        if row == len(indices):
            axes.set_xlabel(time_label)
        kernel = kernels[index]
        kernel_times, kernel_label = time_axis(len(kernel), sampling_frequency)
        axes = drawn.add_subplot(grid[row, 1])
        axes.axhline(0, color="0.85", linewidth=0.8)
        axes.plot(kernel_times, kernel, color=COLORS["kernel"], marker="." if len(kernel) < 12 else None)
        axes.set(title=f"m = {len(kernel)}")
        if row == len(indices):
            axes.set_xlabel(kernel_label)
    return drawn


def _images(
    recording: NDArray[np.float64] | None,
    reconstruction: NDArray[np.float64],
    events: pd.DataFrame,
    kernels: Sequence[Tensor],
    indices: Sequence[int],
    title: str,
) -> Figure:
    drawn = figure(8.0, 1.9 * max(len(indices), 1) + 0.4)
    grid = drawn.add_gridspec(max(len(indices), 1), 4)
    if recording is not None:
        show_image(drawn.add_subplot(grid[:, 0]), torch.from_numpy(recording), "image")
    for row, index in enumerate(indices):
        own = events[events["kernel"] == index]
        maps = np.zeros(reconstruction.shape)
        maps[own["row"], own["column"]] = own["amplitude"]
        show_image(drawn.add_subplot(grid[row, 1]), kernels[index], f"kernel {index}")
        show_image(drawn.add_subplot(grid[row, 2]), torch.from_numpy(maps), f"{len(own)} events")
    show_image(drawn.add_subplot(grid[:, 3]), torch.from_numpy(reconstruction), "reconstruction")
    drawn.suptitle(title)
    return drawn

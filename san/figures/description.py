"""A recording beside its description: the reconstruction over it, the events of each kernel, and the kernels."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from san.figures.channels import Curve, EventRow, channels_first, show_channels, stacked_figure
from san.figures.style import COLORS, figure, kernels_to_draw, styled, time_axis
from san.networks import SparselyActivatedNetwork

__all__ = ["draw_description"]


@styled
def draw_description(
    recording: NDArray[np.float64] | None,
    reconstruction: NDArray[np.float64],
    events: pd.DataFrame,
    network: SparselyActivatedNetwork,
    *,
    start: int,
    name: str,
    labels: Sequence[str],
    units: Sequence[str],
    amplitude_label: str,
    sampling_frequency: float | None,
) -> Figure:
    """Draw a recording with its reconstruction, the amplitude of each event, and the kernels beside their events.

    Of too many kernels to read, those whose events have the most energy are drawn; the title says so.

    Args:
        recording: The samples, [channels, samples] or [channels, rows, columns]; None to draw the reconstruction alone.
        reconstruction: The reconstruction, of the same shape and units.
        events: The events of the recording; see :attr:`san.use.description.Description.events`.
        network: The network.
        start: Index of the first of the given samples in the whole recording.
        name: Title.
        labels: Label of each channel.
        units: Physical unit of each channel; empty if unknown.
        amplitude_label: Label of the amplitudes of events.
        sampling_frequency: Sampling frequency in hertz; None if it is unknown.
    """
    kernels = [atom.detach() for atom in network.atoms]
    energies = [
        float(kernel.square().sum()) * float((events.loc[events["kernel"] == index, "amplitude"] ** 2).sum())
        for index, kernel in enumerate(kernels)
    ]
    indices, note = kernels_to_draw(energies)
    title = f"{name}: {note}" if note else name
    if network.n_dims == 2:
        return _images(recording, reconstruction, events, kernels, indices, title)
    label = amplitude_label
    times, time_label = time_axis(start + reconstruction.shape[1], sampling_frequency)
    all_times, times = times, times[start:]
    if network.channels > 1:
        curves = [Curve("reconstruction", reconstruction, COLORS["reconstruction"])]
        if recording is not None:
            curves.insert(0, Curve("recording", recording, COLORS["input"], 0.5))
        rows = []
        for index in indices:
            own = events[events["kernel"] == index]
            at, amplitudes = all_times[own["sample"]], own["amplitude"].to_numpy()
            rows.append(EventRow(index, f"kernel {index}: {len(own)} events", at, amplitudes))
        return stacked_figure(
            title,
            times,
            time_label,
            curves,
            rows,
            network,
            labels=labels,
            units=units,
            event_label=amplitude_label,
            sampling_frequency=sampling_frequency,
        )
    drawn = figure(9.0, 2.2 + 1.3 * len(indices))
    grid = drawn.add_gridspec(1 + len(indices), 2, width_ratios=(4, 1), height_ratios=(1.8, *[1.0] * len(indices)))
    axes = drawn.add_subplot(grid[0, 0])
    if recording is not None:
        axes.plot(times, recording[0], color=COLORS["input"], alpha=0.5, label="recording")
    axes.plot(times, reconstruction[0], color=COLORS["reconstruction"], label="reconstruction")
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
    shown = reconstruction if recording is None else recording
    limits = (float(shown.min()), float(shown.max()))
    if recording is not None:
        show_channels(drawn.add_subplot(grid[:, 0]), torch.from_numpy(recording), "image", limits)
    for row, index in enumerate(indices):
        own = events[events["kernel"] == index]
        maps = np.zeros(reconstruction.shape[1:])
        maps[own["row"], own["column"]] = own["amplitude"]
        show_channels(drawn.add_subplot(grid[row, 1]), channels_first(kernels[index], 2), f"kernel {index}")
        show_channels(drawn.add_subplot(grid[row, 2]), torch.from_numpy(maps).unsqueeze(0), f"{len(own)} events")
    show_channels(drawn.add_subplot(grid[:, 3]), torch.from_numpy(reconstruction), "reconstruction", limits)
    drawn.suptitle(title)
    return drawn

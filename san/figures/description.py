"""A recording beside its description: the reconstruction over it, the events of each kernel, and the kernels."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from san.extensions.signs import shown_atoms
from san.figures.channels import Curve, EventRow, channels_first, stacked_figure
from san.figures.images import ImageColumn, image_figure
from san.figures.style import COLORS, active_kernels_to_draw, styled, time_axis
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

    Of too many kernels to read, those whose events have the most energy are drawn, and kernels without events are
    not; the title says so.

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
    kernels = shown_atoms(network)
    energies = [
        float(kernel.square().sum()) * float((events.loc[events["kernel"] == index, "amplitude"] ** 2).sum())
        for index, kernel in enumerate(kernels)
    ]
    counts = np.bincount(events["kernel"], minlength=len(kernels))
    indices, note = active_kernels_to_draw(energies, counts.tolist())
    title = f"{name}: {note}" if note else name
    if network.n_dims == 2:
        return _images(recording, reconstruction, events, kernels, indices, title)
    times, time_label = time_axis(start + reconstruction.shape[1], sampling_frequency)
    curves = [Curve("reconstruction", reconstruction, COLORS["reconstruction"])]
    if recording is not None:
        curves.insert(0, Curve("recording", recording, COLORS["input"], 0.5))
    rows = []
    for index in indices:
        own = events[events["kernel"] == index]
        title_of_row = f"kernel {index}: {len(own)} events"
        rows.append(EventRow(index, title_of_row, times[own["sample"]], own["amplitude"].to_numpy()))
    return stacked_figure(
        title,
        times[start:],
        time_label,
        curves,
        rows,
        network,
        labels=labels if network.channels > 1 else ("amplitude",),
        units=units,
        event_label=amplitude_label,
        sampling_frequency=sampling_frequency,
    )


def _images(
    recording: NDArray[np.float64] | None,
    reconstruction: NDArray[np.float64],
    events: pd.DataFrame,
    kernels: Sequence[Tensor],
    indices: Sequence[int],
    title: str,
) -> Figure:
    shown = reconstruction if recording is None else recording
    of_kernels, of_events = {}, {}
    for index in indices:
        own = events[events["kernel"] == index]
        maps = np.zeros(reconstruction.shape[1:])
        maps[own["row"], own["column"]] = own["amplitude"]
        of_kernels[f"kernel {index}"] = channels_first(kernels[index], 2)
        of_events[f"kernel {index}: {len(own)} events"] = torch.from_numpy(maps).unsqueeze(0)
    columns = [
        ImageColumn("pixel", {} if recording is None else {"image": torch.from_numpy(recording)}, is_natural=True),
        ImageColumn("weight", of_kernels),
        ImageColumn("amplitude", of_events),
        ImageColumn("pixel", {"reconstruction": torch.from_numpy(reconstruction)}, is_natural=True),
    ]
    limits = (float(shown.min()), float(shown.max()))
    return image_figure(title, [column for column in columns if column.images], limits, side=1.9)

"""The learned kernels, as the decoder places them."""

import logging
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from san.figures.channels import channel_labels, channels_first, draw_kernel, kernel_height, show_channels
from san.figures.style import (
    COLORS,
    MAX_DRAWN_KERNELS,
    Run,
    figure,
    kernels_to_draw,
    styled,
    time_axis,
)
from san.networks import SparselyActivatedNetwork

__all__ = ["draw", "draw_kernels"]

log = logging.getLogger(__name__)


@styled
def draw(run: Run) -> Figure:
    """Draw the kernels of the selected network."""
    _, note = _drawn(run.network)
    if note:
        log.info("the figure of the kernels shows %s", note)
    return draw_kernels(run.network, run.name, run.sampling_frequency, run.channels)


@styled
def draw_kernels(
    network: SparselyActivatedNetwork, name: str, sampling_frequency: float | None, channels: Sequence[str] = ()
) -> Figure:
    """Draw each kernel of a network as the decoder places it at an activation of 1: mirrored by the paper's decoder.

    The channels of a kernel are traces below one another, more than 12 a heat map; of a kernel of rank 1, the waveform
    and the weight of each channel are drawn. A kernel of color images is gray where it is zero.

    Of too many kernels to read, those with the largest sum of squared weights are drawn; of a bank of models, kernels
    evenly spaced from the first to the last. The title says so.

    Args:
        network: The network.
        name: Name of the dataset.
        sampling_frequency: Sampling frequency in hertz; None if it is unknown.
        channels: Name of each channel; none if they are unknown.
    """
    indices, note = _drawn(network)
    all_atoms = network.atoms
    atoms = {index: all_atoms[index].detach().cpu() for index in indices}
    is_stacked = network.n_dims == 1 and network.channels > 1
    columns = min(len(atoms), 3 if is_stacked else 6)
    rows = -(-len(atoms) // columns)
    drawn = figure(3.2 * columns, 2.6 * rows)
    if is_stacked:
        drawn.set_size_inches(4.6 * columns, (kernel_height(network) + 1) * rows)
        grid = drawn.add_gridspec(rows, columns)
        labels = channel_labels(channels or ("",) * network.channels)
        for place, index in enumerate(atoms):
            title = (f"kernel {index}" if len(all_atoms) > 1 else "kernel") + ", m = {m} samples"
            cell = grid[place // columns, place % columns]
            draw_kernel(drawn, cell, network, index, labels, sampling_frequency, has_time_label=True, title=title)
        atoms = {}
    for place, (index, atom) in enumerate(atoms.items(), start=1):
        axes = drawn.add_subplot(rows, columns, place)
        title = f"kernel {index}" if len(all_atoms) > 1 else "kernel"
        if network.n_dims == 1:
            times, time_label = time_axis(len(atom), sampling_frequency)
            axes.axhline(0, color="0.8", linewidth=0.8)
            axes.plot(times, atom, color=COLORS["kernel"], marker="." if len(atom) < 12 else None)
            axes.set(title=f"{title}, m = {len(atom)} samples", xlabel=time_label, ylabel="weight")
        else:
            show_channels(axes, channels_first(atom, 2), f"{title}, m = {atom.shape[-1]} pixels per axis")
    drawn.suptitle(f"{name}: {note}" if note else name)
    return drawn


def _drawn(network: SparselyActivatedNetwork) -> tuple[list[int], str]:
    """Return the indices of the kernels to draw, and a note on the selection for the title."""
    n_kernels = len(network.kernel_sizes)
    if len(network.sizes_of_models) > 1 and n_kernels > MAX_DRAWN_KERNELS:
        indices = [round(index) for index in np.linspace(0, n_kernels - 1, MAX_DRAWN_KERNELS)]
        return indices, f"{len(indices)} of {n_kernels} kernels, evenly spaced from the first to the last"
    return kernels_to_draw([float(kernel.detach().square().sum()) for kernel in network.kernels])

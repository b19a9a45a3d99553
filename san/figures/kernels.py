"""The learned kernels, as the decoder places them."""

import logging
from collections.abc import Sequence
from itertools import product

import numpy as np
from matplotlib.figure import Figure

from san.extensions.signs import shown_atoms
from san.figures.channels import channel_labels, channels_first, draw_kernel, kernel_height
from san.figures.images import RGB, show_channels
from san.figures.style import MAX_DRAWN_KERNELS, Run, add_colorbar, figure, kernels_to_draw, set_heading, styled
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

    The largest deflection of each kernel is positive. The channels of a kernel are traces below one another, more than
    12 a heat map; of a kernel of rank 1, the waveform and the weight of each channel are drawn. A kernel of color
    images is gray where it is zero.

    Of too many kernels to read, those with the largest sum of squared weights are drawn; of a bank of models, kernels
    evenly spaced from the first to the last. The title says so.

    Args:
        network: The network.
        name: Name of the dataset.
        sampling_frequency: Sampling frequency in hertz; None if it is unknown.
        channels: Name of each channel; none if they are unknown.
    """
    indices, note = _drawn(network)
    heading = f"{name}: {note}" if note else name
    if network.channels == RGB and network.n_dims == 2:
        heading += "\nin color, gray for zero"
    titles = {index: f"kernel {index}" if len(network.kernel_sizes) > 1 else "kernel" for index in indices}
    columns = min(len(indices), 3 if network.channels > 1 else 6)
    rows = -(-len(indices) // columns)
    drawn = figure(3.2 * columns, 2.6 * rows)
    grid = drawn.add_gridspec(rows, columns)
    places = dict(zip(indices, product(range(rows), range(columns)), strict=False))
    if network.n_dims == 1:
        if network.channels > 1:
            drawn.set_size_inches(4.6 * columns, (kernel_height(network) + 1) * rows)
        labels = channel_labels(channels or ("",) * network.channels)
        for index, place in places.items():
            title = titles[index] + ", m = {m} samples"
            draw_kernel(drawn, grid[place], network, index, labels, sampling_frequency, title=title)
    else:
        atoms = [channels_first(atom, 2) for atom in shown_atoms(network)]
        drawn.set_size_inches(2.3 * columns, 2.3 * rows + (0.7 if network.channels == RGB else 1.2))
        limit = max(float(atoms[index].abs().max()) for index in indices)
        for index, place in places.items():
            title = f"{titles[index]}, {' × '.join(map(str, atoms[index].shape[1:]))} pixels"
            show_channels(drawn.add_subplot(grid[place]), atoms[index], title, limit=limit)
        add_colorbar(drawn, drawn.axes, "weight")
    set_heading(drawn, heading)
    return drawn


def _drawn(network: SparselyActivatedNetwork) -> tuple[list[int], str]:
    """Return the indices of the kernels to draw, and a note on the selection for the title."""
    n_kernels = len(network.kernel_sizes)
    if len(network.sizes_of_models) > 1 and n_kernels > MAX_DRAWN_KERNELS:
        indices = [round(index) for index in np.linspace(0, n_kernels - 1, MAX_DRAWN_KERNELS)]
        return indices, f"{len(indices)} of {n_kernels} kernels, evenly spaced from the first to the last"
    return kernels_to_draw([float(kernel.detach().square().sum()) for kernel in network.kernels])

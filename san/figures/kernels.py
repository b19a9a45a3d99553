"""The learned kernels, as the decoder places them."""

import numpy as np
from matplotlib.figure import Figure

from san.figures.style import COLORS, Run, figure, show_image, styled, time_axis
from san.networks import SparselyActivatedNetwork

__all__ = ["draw", "draw_kernels"]

MAX_DRAWN_KERNELS = 12


@styled
def draw(run: Run) -> Figure:
    """Draw each kernel of the selected network."""
    return draw_kernels(run.network, run.name, run.sampling_frequency)


@styled
def draw_kernels(network: SparselyActivatedNetwork, name: str, sampling_frequency: float | None) -> Figure:
    """Draw each kernel of a network as the decoder places it at an activation of 1: mirrored by the paper's decoder.

    From a larger network, ``MAX_DRAWN_KERNELS`` kernels are drawn, evenly spaced from the first to the last.

    Args:
        network: The network.
        name: Name of the dataset.
        sampling_frequency: Sampling frequency in hertz; None if it is unknown.
    """
    atoms = dict(enumerate(atom.detach().cpu() for atom in network.atoms))
    if len(atoms) > MAX_DRAWN_KERNELS:
        atoms = {round(index): atoms[round(index)] for index in np.linspace(0, len(atoms) - 1, MAX_DRAWN_KERNELS)}
    columns = min(len(atoms), 6)
    rows = -(-len(atoms) // columns)
    drawn = figure(3.2 * columns, 2.6 * rows)
    for place, (index, atom) in enumerate(atoms.items(), start=1):
        axes = drawn.add_subplot(rows, columns, place)
        title = f"kernel {index + 1}" if len(atoms) > 1 else "kernel"
        if network.n_dims == 1:
            times, time_label = time_axis(len(atom), sampling_frequency)
            axes.axhline(0, color="0.8", linewidth=0.8)
            axes.plot(times, atom, color=COLORS["kernel"], marker="." if len(atom) < 12 else None)
            axes.set(title=f"{title}, m = {len(atom)} samples", xlabel=time_label, ylabel="weight")
        else:
            show_image(axes, atom, f"{title}, m = {len(atom)} pixels per axis")
    drawn.suptitle(name)
    return drawn

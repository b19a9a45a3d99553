"""The learned kernels, as they reconstruct."""

import numpy as np
from matplotlib.figure import Figure

from san.figures.style import COLORS, Run, figure, show_image, styled, time_axis
from san.networks import SparselyActivatedNetwork

__all__ = ["draw", "draw_kernels"]

MOST = 12  # kernels of a figure


@styled
def draw(run: Run) -> Figure:
    """Draw each kernel of the selected network."""
    return draw_kernels(run.network, run.name, run.sampling_frequency)


@styled
def draw_kernels(network: SparselyActivatedNetwork, name: str, sampling_frequency: float | None) -> Figure:
    """Draw each kernel of a network as the pattern that it puts back, mirrored for the paper's decoder.

    Of a large bank some are drawn, from the first to the last.
    """
    patterns = dict(enumerate(pattern.detach().cpu() for pattern in network.patterns))
    if len(patterns) > MOST:
        patterns = {round(index): patterns[round(index)] for index in np.linspace(0, len(patterns) - 1, MOST)}
    columns = min(len(patterns), 6)
    rows = -(-len(patterns) // columns)
    drawn = figure(3.2 * columns, 2.6 * rows)
    for place, (index, pattern) in enumerate(patterns.items(), start=1):
        axes = drawn.add_subplot(rows, columns, place)
        title = f"kernel {index + 1}" if len(patterns) > 1 else "kernel"
        if network.n_dims == 1:
            times, time_label = time_axis(len(pattern), sampling_frequency)
            axes.axhline(0, color="0.8", linewidth=0.8)
            axes.plot(times, pattern, color=COLORS["kernel"], marker="." if len(pattern) < 12 else None)
            axes.set(title=f"{title}, {len(pattern)} samples", xlabel=time_label, ylabel="weight")
        else:
            show_image(axes, pattern, f"{title}, {len(pattern)} x {len(pattern)} pixels")
    drawn.suptitle(name)
    return drawn

"""The activation functions on one signal and one image, as in Fig. 1 of the paper."""

from collections.abc import Mapping

from matplotlib.figure import Figure
from torch import Tensor

from san.activations import SparseActivation
from san.figures.style import COLORS, activation_color, figure, in_paper_order, label, show_image, styled, time_axis

__all__ = ["draw_activations"]


@styled
def draw_activations(
    activations: Mapping[str, SparseActivation],
    signal: Tensor,
    image: Tensor,
    kernel_sizes: tuple[int, int],
    sampling_frequency: float | None,
) -> Figure:
    """Draw what each activation function keeps.

    Args:
        activations: By name.
        signal: Taken for a similarity map, [samples].
        image: Taken for one, [height, width].
        kernel_sizes: Samples of the kernels, of the signal and a side of the image, that the densities follow from.
        sampling_frequency: Of the signal, in hertz.
    """
    names = in_paper_order(activations)
    drawn = figure(2.6 * len(names), 4.6)
    grid = drawn.add_gridspec(2, len(names), height_ratios=(1.0, 1.2))
    times, time_label = time_axis(len(signal), sampling_frequency)
    for column, name in enumerate(names):
        kept = activations[name](signal.view(1, 1, -1), kernel_sizes[0])[0, 0]
        axes = drawn.add_subplot(grid[0, column])
        axes.plot(times, signal, color=COLORS["similarity"], alpha=0.5)
        where = kept.nonzero().flatten()
        color = activation_color(name)
        axes.vlines(times[where], 0, kept[where], color=color, linewidth=0.8)
        axes.plot(times[where], kept[where], "o", color=color, markersize=2.5)
        axes.set(title=f"{label(name)}: {len(where)} of {len(signal)}", xlabel=time_label,
                 ylabel="similarity" if column == 0 else "")  # fmt: skip
        chosen = activations[name](image[None, None], kernel_sizes[1])[0, 0]
        show_image(drawn.add_subplot(grid[1, column]), chosen, f"{int(chosen.count_nonzero())} of {image.numel()}")
    return drawn

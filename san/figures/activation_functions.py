"""The activation functions on one signal and one image, as in Fig. 1 of the paper."""

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from san.activations import SparseActivation
from san.figures.style import (
    COLORS,
    add_colorbar,
    figure,
    in_paper_order,
    method_color,
    method_label,
    show_image,
    styled,
    time_axis,
)

__all__ = ["draw_activations"]


@styled
def draw_activations(
    activations: Mapping[str, SparseActivation],
    signal: Tensor,
    image: Tensor,
    kernel_sizes: tuple[int, int],
    sampling_frequency: float | None,
) -> Figure:
    """Draw the activation maps of each activation function, given a signal and an image as similarity maps.

    Args:
        activations: The activation functions, by name.
        signal: Similarity map of a signal, [samples].
        image: Similarity map of an image, [height, width].
        kernel_sizes: Samples per axis of the kernels of the signal and of the image, which determine the densities.
        sampling_frequency: Sampling frequency of the signal in hertz; None if it is unknown.
    """
    names = in_paper_order(activations)
    drawn = figure(2.6 * len(names), 5.2)
    grid = drawn.add_gridspec(2, len(names), height_ratios=(1.0, 1.2))
    times, time_label = time_axis(len(signal), sampling_frequency)
    limit = float(image.abs().max())  # of all activations, which are kept similarities
    panels: list[Axes] = []
    for column, name in enumerate(names):
        activation_map = activations[name](signal.view(1, 1, -1), kernel_sizes[0])[0, 0]
        axes = drawn.add_subplot(grid[0, column])
        axes.plot(times, signal, color=COLORS["similarity"], alpha=0.5)
        kept = activation_map.nonzero().flatten()
        color = method_color(name)
        axes.vlines(times[kept], 0, activation_map[kept], color=color, linewidth=0.8)
        axes.plot(times[kept], activation_map[kept], "o", color=color, markersize=2.5)
        axes.set(title=f"{method_label(name)}: {len(kept)} of {len(signal)}", xlabel=time_label)
        if column == 0:
            axes.set_ylabel("activation over similarity")
        image_map = activations[name](image[None, None], kernel_sizes[1])[0, 0]
        title = f"{int(image_map.count_nonzero())} of {image.numel()}"
        panels.append(drawn.add_subplot(grid[1, column]))
        show_image(panels[-1], image_map, title, limit)
    add_colorbar(drawn, panels, "activation")
    return drawn

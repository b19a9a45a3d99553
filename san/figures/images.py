"""Images, their kernels and maps: gray, in colors, or of other channels beside one another."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from san.figures.style import add_colorbar, figure, set_heading, show_image

__all__ = ["RGB", "ImageColumn", "image_figure", "show_channels"]

RGB = 3  # channels of an image that is drawn in its colors


class ImageColumn(NamedTuple):
    """Images below one another.

    Args:
        label: Quantity of the pixels, with its unit; columns of one quantity share their scale.
        images: The images, [channels, rows, columns], by their titles.
        is_natural: Whether three channels have the colours of the data, instead of gray for zero.
    """

    label: str
    images: Mapping[str, Tensor]
    is_natural: bool = False


def image_figure(
    title: str, columns: Sequence[ImageColumn], color_limits: tuple[float, float], *, side: float = 1.55
) -> Figure:
    """Draw images in columns, with one scale and one colour bar for all columns of one quantity.

    Args:
        title: Title.
        columns: The columns; one of a single image is as high as the others together.
        color_limits: Values of three channels that are black and white in columns with ``is_natural``.
        side: Width of a column in inches.
    """
    n_rows = max(1, *(len(column.images) for column in columns))
    drawn = figure(side * len(columns), (side + 0.2) * n_rows + 1.1)
    grid = drawn.add_gridspec(n_rows, len(columns))
    limits = {
        column.label: max(
            float(image.abs().max())
            for other in columns
            if other.label == column.label
            for image in other.images.values()
        )
        for column in columns
    }
    for place, column in enumerate(columns):
        panels = []
        for row, (name, image) in enumerate(column.images.items()):
            panels.append(drawn.add_subplot(grid[row if len(column.images) > 1 else slice(None), place]))
            natural = color_limits if column.is_natural else None
            show_channels(panels[-1], image, name, limit=limits[column.label], color_limits=natural)
        add_colorbar(drawn, panels, column.label)
    set_heading(drawn, title)
    return drawn


def show_channels(
    axes: Axes,
    image: Tensor,
    title: str,
    *,
    limit: float | None = None,
    color_limits: tuple[float, float] | None = None,
) -> None:
    """Show an image or a kernel of images, [channels, rows, columns].

    One channel has positive values in red and negative values in blue; three channels are red, green and blue, gray
    where they are zero, unless limits are given; other numbers of channels are shown beside one another.

    Args:
        axes: The axes.
        image: The image.
        title: Title.
        limit: Absolute value of the darkest red and blue, or of black and white; None for the largest of the image.
        color_limits: Values of three channels that are black and white; None for values around zero.
    """
    n_channels = len(image)
    if n_channels != RGB:
        gap = image.new_full((*image.shape[1:-1], max(1, image.shape[-1] // 16)), torch.nan)
        parts = [part for own in image.detach() for part in (own, gap)]
        show_image(axes, torch.cat(parts[:-1], dim=1), title, limit)
        return
    pixels = image.detach().double().movedim(0, -1).numpy()
    largest = limit or float(np.abs(pixels).max()) or 1.0
    low, high = (-largest, largest) if color_limits is None else color_limits
    axes.imshow(((pixels - low) / ((high - low) or 1.0)).clip(0, 1))
    axes.set(title=title, xticks=[], yticks=[])
    axes.spines[:].set_visible(False)

"""The inputs of a run's figures, and the style and the files of every figure."""

import io
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from torch import Tensor

from san.networks import SparselyActivatedNetwork
from san.storage.files import replacing
from san.storage.text import printable

__all__ = [
    "BASELINE_METHOD_STYLES",
    "COLORS",
    "IMAGE_COLORMAP",
    "MAX_DRAWN_KERNELS",
    "Run",
    "activation_label",
    "active_kernels_to_draw",
    "add_colorbar",
    "as_bytes",
    "figure",
    "in_paper_order",
    "kernels_to_draw",
    "method_color",
    "method_label",
    "own_style",
    "save",
    "set_heading",
    "show_image",
    "styled",
    "time_axis",
]

logging.getLogger("fontTools").setLevel(logging.WARNING)  # it reports each step of embedding a font in a PDF


class MethodStyle(NamedTuple):
    """Label and colour of an activation function or a baseline method."""

    label: str
    color: str


# The colours of Okabe and Ito, which stay distinct under colour blindness.
COLORS = {
    "input": "#0072B2",
    "kernel": "#D55E00",
    "similarity": "#009E73",
    "activation": "#000000",
    "reconstruction": "#D55E00",
}
ACTIVATION_STYLES = {
    "identity": MethodStyle("Identity", "#999999"),
    "relu": MethodStyle("ReLU", "#E69F00"),
    "topk_absolutes": MethodStyle("top-k absolutes", "#56B4E9"),
    "extrema_pool_indices": MethodStyle("Extrema-Pool indices", "#009E73"),
    "extrema": MethodStyle("Extrema", "#D55E00"),
    "phi_pursuit": MethodStyle("φ pursuit", "#0072B2"),
}
FORM_STYLES = {
    "phi_pursuit_rank1": MethodStyle("φ pursuit, rank 1", "#882255"),
    "phi_pursuit_alone": MethodStyle("φ pursuit, channels alone", "#44AA99"),
}
BASELINE_METHOD_STYLES = {
    "patches_omp": MethodStyle("patches + OMP", "#000000"),
    "csc": MethodStyle("convolutional sparse coding", "#CC79A7"),
}
METHOD_STYLES = ACTIVATION_STYLES | FORM_STYLES | BASELINE_METHOD_STYLES
MAX_DRAWN_KERNELS = 12
FORMATS = ("png", "pdf")  # of the files of each figure; any that matplotlib writes
OTHER_COLORS = ("#F0E442", "#999933", "#332288", "#AA4499", "#DDCC77")  # the last four are from Tol's muted scheme
IMAGE_COLORMAP = "RdBu_r"
MATPLOTLIB_STYLE: Any = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": "medium",
    "axes.titley": 1.0,  # without a fixed place, matplotlib lays out all ticks a second time
    "figure.autolayout": False,
    "figure.constrained_layout.use": False,  # neither lays out again what has its layout
    "font.size": 9.0,
    "legend.frameon": False,
    "lines.linewidth": 1.0,
    "pdf.fonttype": 42,  # text that other programs can edit
}


@dataclass(frozen=True)
class Run:
    """Inputs of the figures of a run.

    Args:
        name: Name of the dataset.
        activation: Name of the activation function.
        network: The selected network, on the CPU.
        example: An example of the test split, [channels, *space].
        phi_per_epoch: Validation phi of each epoch, None for an epoch without validation.
        best_epoch: Number of the selected epoch, from 1.
        sampling_frequency: Sampling frequency in hertz; None if it is unknown.
        units: Label of the amplitude axis.
        channels: Name of each channel; none if they are unknown.
    """

    name: str
    activation: str
    network: SparselyActivatedNetwork
    example: Tensor
    phi_per_epoch: Sequence[float | None]
    best_epoch: int
    sampling_frequency: float | None
    units: str
    channels: Sequence[str] = ()


P = ParamSpec("P")


def own_style() -> AbstractContextManager[None]:
    """Return a context with the style of the project, which leaves the caller's style unchanged."""
    return matplotlib.rc_context(MATPLOTLIB_STYLE)


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Apply the style of the project inside a drawing function, and leave the caller's style unchanged.

    Names from files are drawn as they are: in printable characters, and dollar signs begin no formula.
    """

    @wraps(draw)
    def draw_with_style(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with own_style():
            drawn = draw(*args, **kwargs)
        for text in drawn.findobj(Text):
            if isinstance(text, Text) and (content := text.get_text()):  # the labels of ticks are empty until drawn
                text.set_text(printable(content))
                text.set_parse_math(False)
        return drawn

    return draw_with_style


def figure(width: float, height: float) -> Figure:
    """Return an empty figure without a window.

    Args:
        width: Width in inches.
        height: Height in inches.
    """
    return Figure(figsize=(width, height), layout="constrained")


def as_bytes(drawn: Figure, suffix: str, dpi: float, metadata: Mapping[str, str | None] | None = None) -> bytes:
    """Return a figure as the bytes of a file. It is laid out the first time; all its files have this layout.

    Args:
        drawn: The figure.
        suffix: Suffix of the file, any that matplotlib writes.
        dpi: Dots per inch.
        metadata: Metadata in place of those that matplotlib adds; None as a value leaves one out.
    """
    buffer = io.BytesIO()
    with own_style():
        if drawn.axes and (layout := drawn.get_layout_engine()) is not None:
            layout.execute(drawn)
            drawn.set_layout_engine(None)  # savefig draws a figure with a layout engine twice
        drawn.savefig(buffer, format=suffix, dpi=dpi, metadata=metadata)
    return buffer.getvalue()


def save(drawn: Figure, path: Path, formats: Sequence[str] = FORMATS) -> None:
    """Write a figure in each of the formats; no reader sees a file half-written, and equal figures are equal files.

    Args:
        drawn: The figure.
        path: Path of the files without their suffix.
        formats: Suffixes of the files.
    """
    for suffix in formats:
        written = as_bytes(drawn, suffix, 150, {"CreationDate": None} if suffix == "pdf" else None)
        with replacing(path.with_name(f"{path.name}.{suffix}")) as unfinished:
            unfinished.write_bytes(written)


def set_heading(drawn: Figure, text: str) -> None:
    """Set the title of a figure of several panels, at the left as the titles of panels."""
    drawn.suptitle(text, x=0.01, ha="left", fontsize="large")


def method_color(name: str, others: Sequence[str] = ()) -> str:
    """Return the colour of an activation function or a baseline method, the same in every figure.

    Args:
        name: Name of the activation function or baseline method.
        others: All names in the figure; names without a colour of their own are distinguished among these.
    """
    if name in METHOD_STYLES:
        return METHOD_STYLES[name].color
    without_style = sorted({name, *others} - set(METHOD_STYLES))
    return OTHER_COLORS[without_style.index(name) % len(OTHER_COLORS)]


def method_label(name: str) -> str:
    """Return the paper's name of an activation function or the usual name of a baseline method."""
    return METHOD_STYLES[name].label if name in METHOD_STYLES else name


def in_paper_order(names: Iterable[str]) -> list[str]:
    """Sort names of activation functions: first the paper's, in its order, then the others by name."""
    order = list(ACTIVATION_STYLES)
    return sorted(names, key=lambda name: (order.index(name) if name in order else len(order), name))


def kernels_to_draw(energies: Sequence[float]) -> tuple[list[int], str]:
    """Return the kernels to draw, those with the most energy if there are too many to read.

    Args:
        energies: The energy of each kernel.

    Returns:
        The indices of the kernels, in order, and a note on the selection for the title, empty if all are drawn.
    """
    by_energy = sorted(range(len(energies)), key=lambda index: -energies[index])
    drawn = sorted(by_energy[:MAX_DRAWN_KERNELS])
    left_out = len(drawn) < len(energies)
    return drawn, f"the {len(drawn)} of {len(energies)} kernels with the most energy" if left_out else ""


def active_kernels_to_draw(energies: Sequence[float], n_activations: Sequence[int]) -> tuple[list[int], str]:
    """Return the kernels to draw beside their activations; kernels without activations are skipped.

    Args:
        energies: The energy of each kernel.
        n_activations: The number of activations of each kernel.

    Returns:
        The indices of the kernels, in order, and a note on the selection for the title, empty if all are drawn.
    """
    active = [index for index, count in enumerate(n_activations) if count]
    drawn, note = kernels_to_draw([energies[index] for index in active])
    silent = [str(index) for index, count in enumerate(n_activations) if not count]
    listed = f"{len(silent)} kernels" if len(silent) > MAX_DRAWN_KERNELS else f"kernel {', '.join(silent)}"
    notes = [note, f"no activations of {listed}" if silent else ""]
    return [active[index] for index in drawn], "; ".join(one for one in notes if one)


def activation_label(units: str) -> str:
    """Return the label of an axis of activations, which have the unit of the samples, given the label of these."""
    return f"activation {units[units.rindex('(') :]}" if units.endswith(")") else "activation"


def time_axis(length: int, sampling_frequency: float | None) -> tuple[NDArray[np.float64], str]:
    """Return the times of samples and the label of their axis: in seconds, or in samples if the rate is unknown.

    Args:
        length: Number of samples.
        sampling_frequency: Sampling frequency in hertz; None if it is unknown.
    """
    if sampling_frequency is None:
        return np.arange(length, dtype=float), "time (samples)"
    return np.arange(length) / sampling_frequency, "time (s)"


def show_image(axes: Axes, image: Tensor, title: str, limit: float | None = None) -> AxesImage:
    """Show an image with positive values in red and negative values in blue; NaN is empty.

    Args:
        axes: The axes.
        image: The image.
        title: Title.
        limit: Absolute value of the darkest colours; None for the largest of the image.
    """
    pixels = image.detach().numpy()
    limit = limit or float(np.nanmax(abs(pixels))) or 1.0
    shown = axes.imshow(pixels, cmap=IMAGE_COLORMAP, vmin=-limit, vmax=limit)
    axes.set(title=title, xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return shown


def add_colorbar(drawn: Figure, panels: Sequence[Axes], label: str) -> None:
    """Add the colour bar of images of one scale below their panels; none below images in their own colours."""
    (first, *_) = panels[0].images
    pixels = first.get_array()
    if pixels is not None and pixels.ndim == 2:
        n_columns = len({spec.colspan.start for axes in panels if (spec := axes.get_subplotspec()) is not None})
        options: dict[str, Any] = {"location": "bottom", "aspect": 15 * n_columns, "pad": 0.03, "panchor": False}
        bar = drawn.colorbar(first, ax=panels, label=label, **options)
        bar.locator = MaxNLocator(3, symmetric=True)
        bar.update_ticks()

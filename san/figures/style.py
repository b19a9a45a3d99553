"""How every figure looks, and what it is drawn from."""

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from san.files import replacing
from san.networks import SparselyActivatedNetwork

__all__ = [
    "COLORS",
    "PEERS",
    "Run",
    "activation_color",
    "figure",
    "in_paper_order",
    "label",
    "save",
    "show_image",
    "styled",
    "time_axis",
]

# Okabe and Ito's colours, which stay apart for the colour-blind.
COLORS = {
    "input": "#0072B2",
    "kernel": "#D55E00",
    "similarity": "#009E73",
    "activation": "#000000",
    "reconstruction": "#D55E00",
}
ACTIVATIONS = {
    "identity": ("Identity", "#999999"),
    "relu": ("ReLU", "#E69F00"),
    "topk_absolutes": ("top-k absolutes", "#56B4E9"),
    "extrema_pool_indices": ("Extrema-Pool indices", "#009E73"),
    "extrema": ("Extrema", "#D55E00"),
    "phi_pursuit": ("φ pursuit", "#0072B2"),
}
PEERS = {"patches_omp": ("patches + OMP", "#000000"), "csc": ("convolutional sparse coding", "#CC79A7")}
OTHERS = ("#F0E442", "#882255", "#44AA99", "#999933", "#332288")  # the last four of Tol's muted
IMAGE = "RdBu_r"
STYLE: Any = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": "medium",
    "font.size": 9.0,
    "legend.frameon": False,
    "lines.linewidth": 1.0,
}


@dataclass(frozen=True)
class Run:
    """What a run's figures are drawn from.

    Args:
        name: Of the dataset.
        activation: Name of the activation function.
        network: The selected network, on the CPU.
        example: An example of the test split, [1, *space].
        phi_per_epoch: Validation phi of each epoch.
        best_epoch: The selected one.
        sampling_frequency: In hertz; None where there is none.
        units: Label of the amplitude's axis.
    """

    name: str
    activation: str
    network: SparselyActivatedNetwork
    example: Tensor
    phi_per_epoch: Sequence[float]
    best_epoch: int
    sampling_frequency: float | None
    units: str


P = ParamSpec("P")


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Give the project's style to all that a function draws, and leave that of others alone."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawn


def figure(width: float, height: float) -> Figure:
    """Make an empty figure, in inches, that belongs to no window."""
    return Figure(figsize=(width, height), layout="constrained")


def save(drawn: Figure, path: Path) -> None:
    """Write a figure in the format of the path's suffix, never seen half-written."""
    buffer = io.BytesIO()
    drawn.savefig(buffer, format=path.suffix[1:], dpi=150)
    with replacing(path) as unfinished:
        unfinished.write_bytes(buffer.getbuffer())


def activation_color(name: str, others: Sequence[str] = ()) -> str:
    """Return the colour of an activation function or a peer, the same in every figure.

    Args:
        name: Of the activation function or peer.
        others: All names in the figure, to tell apart those that are not the paper's.
    """
    known = ACTIVATIONS | PEERS
    if name in known:
        return known[name][1]
    strangers = sorted({name, *others} - set(known))
    return OTHERS[strangers.index(name) % len(OTHERS)]


def in_paper_order(names: Iterable[str]) -> list[str]:
    """Sort names of activation functions, the paper's first and in its order."""
    order = list(ACTIVATIONS)
    return sorted(names, key=lambda name: (order.index(name) if name in order else len(order), name))


def label(name: str) -> str:
    """Return the paper's name of an activation function, or the usual one of a peer."""
    known = ACTIVATIONS | PEERS
    return known[name][0] if name in known else name


def time_axis(length: int, sampling_frequency: float | None) -> tuple[NDArray[np.float64], str]:
    """Return the instants of samples and the label of their axis: seconds, or samples where the rate is unknown."""
    if sampling_frequency is None:
        return np.arange(length, dtype=float), "time (samples)"
    return np.arange(length) / sampling_frequency, "time (s)"


def show_image(axes: Axes, image: Tensor, title: str) -> None:
    """Show an image with red above and blue below zero."""
    pixels = image.detach().numpy()
    limit = float(abs(pixels).max()) or 1.0
    axes.imshow(pixels, cmap=IMAGE, vmin=-limit, vmax=limit)
    axes.set(title=title, xticks=[], yticks=[])
    axes.spines[:].set_visible(False)

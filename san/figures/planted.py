"""The kernels that generated synthetic data, and the learned kernels that are most like them."""

from collections.abc import Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from san.extensions.recovery import Recovery
from san.figures.style import COLORS, MAX_DRAWN_KERNELS, figure, set_heading, show_image, styled
from san.ops.kernels import start_in_padding

__all__ = ["draw_planted"]


@styled
def draw_planted(planted: Sequence[Tensor], atoms: Sequence[Tensor], found: Sequence[Recovery], name: str) -> Figure:
    """Draw each planted kernel and, shifted to it and scaled to its norm and sign, the learned kernel most like it.

    At most 12 planted kernels are drawn, the first; the title says so.

    Args:
        planted: The planted kernels.
        atoms: The learned kernels as the decoder places them.
        found: The learned kernel of each planted kernel.
        name: Name of the dataset.
    """
    pairs = list(zip(planted, found, strict=True))[:MAX_DRAWN_KERNELS]
    is_image = planted[0].dim() == 2
    columns = min(len(pairs), 3)
    drawn = figure(4.2 * columns, 2.9 * -(-len(pairs) // columns))
    cells = drawn.subfigures(-(-len(pairs) // columns), columns, squeeze=False).flat
    for index, ((kernel, match), cell) in enumerate(zip(pairs, cells, strict=False)):
        learned = _like(kernel, atoms[match.kernel].detach().cpu(), match)
        title = f"planted kernel {index}, learned kernel {match.kernel}:\ncorrelation {match.correlation:.3f}"
        if is_image:
            for axes, image, label in zip(cell.subplots(1, 2), (kernel, learned), ("planted", "learned"), strict=True):
                show_image(axes, image, label)
            cell.suptitle(title, fontsize="medium")
        else:
            _draw_signals(cell.subplots(), kernel, learned, match, title)
    note = f": the first {len(pairs)} of {len(planted)} planted kernels" if len(pairs) < len(planted) else ""
    set_heading(drawn, f"{name}{note}")
    return drawn


def _draw_signals(axes: Axes, kernel: Tensor, learned: Tensor, match: Recovery, title: str) -> None:
    axes.axhline(0, color="0.8", linewidth=0.8)
    axes.plot(kernel, color=COLORS["input"], linewidth=2.5, alpha=0.5, label="planted")
    axes.plot(learned, color=COLORS["kernel"], label="learned")
    axes.set(title=f"{title} at a shift of {match.shift[0]} samples", xlabel="time (samples)", ylabel="weight")
    axes.legend()


def _like(kernel: Tensor, atom: Tensor, match: Recovery) -> Tensor:
    """Return the part of a learned kernel under a planted kernel, NaN where it has no sample, in its norm and sign."""
    anchor = start_in_padding(atom.shape[-1], kernel.shape[-1])
    learned = torch.full_like(kernel, torch.nan)
    target, source = [], []
    for shift in match.shift:
        first = shift + anchor  # sample of the learned kernel at the first planted one
        start, stop = max(-first, 0), min(kernel.shape[-1], atom.shape[-1] - first)
        target.append(slice(start, stop))
        source.append(slice(start + first, stop + first))
    learned[tuple(target)] = atom[tuple(source)].to(kernel)
    scale = kernel.norm() / atom.norm().clamp_min(torch.finfo(atom.dtype).tiny)
    same_sign: Tensor = learned * scale * torch.sign((learned.nan_to_num() * kernel).sum())
    return same_sign

"""How well learned kernels match the planted kernels that generated synthetic data."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from san.ops.kernels import start_in_padding

__all__ = ["Recovery", "recoveries"]


class Recovery(NamedTuple):
    """The learned kernel that is most like a planted kernel.

    Args:
        kernel: Index of the learned kernel.
        correlation: Absolute correlation of both kernels at the best shift, in [0, 1]; a kernel is zero outside its
            samples, and the sign of a kernel is arbitrary, because activations have both signs.
        shift: Samples along each axis from the planted to the learned kernel, where both are placed at one position.
        energy_inside: Fraction of the energy of the planted kernel that is inside the learned kernel at this shift; a
            learned kernel that is cut off at its border has less than 1.
    """

    kernel: int
    correlation: float
    shift: tuple[int, ...]
    energy_inside: float


def recoveries(planted: Sequence[Tensor], atoms: Sequence[Tensor]) -> list[Recovery]:
    """Return, for each planted kernel, the learned kernel of the highest correlation, the first of equal ones.

    Args:
        planted: The planted kernels, each [m] or [m, m].
        atoms: The learned kernels as the decoder places them, each [m] or [m, m].

    Example:
        >>> import torch
        >>> recoveries([torch.tensor([0.0, 3.0, 4.0])], [torch.ones(3), torch.tensor([-3.0, -4.0, 0.0])])
        [Recovery(kernel=1, correlation=1.0, shift=(-1,), energy_inside=1.0)]
    """
    return [
        max((_recovery(kernel, index, atom) for index, atom in enumerate(atoms)), key=lambda found: found.correlation)
        for kernel in planted
    ]


def _recovery(planted: Tensor, index: int, atom: Tensor) -> Recovery:
    """Compare two kernels at every shift at which they overlap."""
    planted, atom, n_dims = planted.double(), atom.detach().double().cpu(), planted.dim()
    before = planted.shape[-1] - 1
    padded = F.pad(atom, [before] * 2 * n_dims)
    convolve = F.conv1d if n_dims == 1 else F.conv2d
    products = convolve(padded[None, None], planted[None, None])[0, 0].abs()
    best = torch.unravel_index(products.argmax(), products.shape)
    first = [int(position) - before for position in best]  # sample of the learned kernel at the first planted one
    anchors = start_in_padding(atom.shape[-1], planted.shape[-1])
    inside = planted[tuple(slice(max(-start, 0), max(atom.shape[-1] - start, 0)) for start in first)]
    norms = float(planted.norm() * atom.norm())
    return Recovery(
        kernel=index,
        correlation=float(products.max()) / norms if norms else 0.0,
        shift=tuple(start - anchors for start in first),
        energy_inside=float(inside.square().sum() / planted.square().sum()),
    )

"""Kernels initialized from the data or from given kernels, instead of the paper's normal distribution."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from san.networks import SparselyActivatedNetwork
from san.ops.kernels import KernelSampler, mirror, resized
from san.ops.shapes import Float

__all__ = ["highest_mean_window", "set_atoms", "window_sampler"]

CANDIDATES = 20  # random windows per kernel; the one with the highest energy becomes the kernel


def window_sampler(x: Float[Tensor, "batch channels *space"], mirrored: bool) -> KernelSampler:
    """Return a sampler of unit-norm kernels: the highest-energy of 20 random windows of the examples.

    Args:
        x: The examples.
        mirrored: Whether to mirror the kernels, as the paper's decoder mirrors them again.

    Raises:
        ValueError: On a call of the sampler, if a kernel is longer than the examples.
    """

    def sampler(shape: Sequence[int], generator: torch.Generator) -> Tensor:
        size, length = shape[-1], min(x.shape[2:])
        if size > length:
            raise ValueError(f"kernel_size={size} exceeds the signal length {length}; choose 1 to {length}")
        torch.randn(shape, generator=generator)  # skipped numbers: published results start after them
        candidates = [_random_window(x, shape, generator) for _ in range(CANDIDATES)]
        kernel = max(candidates, key=lambda window: float(window.norm()))
        kernel = F.normalize(kernel.flatten(), dim=0).view_as(kernel)
        return mirror(kernel, x.dim() - 2) if mirrored else kernel

    return sampler


@torch.no_grad()
def set_atoms(network: SparselyActivatedNetwork, atoms: Sequence[Tensor]) -> None:
    """Set the kernels of each model of a bank, so that the decoder places the given atoms.

    A kernel of another size is cropped to its middle or padded with zeros on both sides, see
    :func:`san.ops.kernels.resized`. A padded kernel encodes and decodes as before.

    Args:
        network: The network or bank; its kernels are changed.
        atoms: An atom for each kernel of a model, of any size and of the shape of the network's kernels.
    """
    own = [atom if network.decoder == "adjoint" else mirror(atom, network.n_dims) for atom in atoms]
    for index, (kernel, size) in enumerate(zip(network.kernels, network.kernel_sizes, strict=True)):
        kernel.copy_(resized(own[index % len(own)], size, network.n_dims))
    network.constrain()


def highest_mean_window(x: Float[Tensor, "batch channels *space"], size: int) -> tuple[Tensor, tuple[int | slice, ...]]:
    """Return the mean of the window with the highest mean over all channels, and its position.

    Args:
        x: Values to average, such as squared residuals.
        size: Samples of a window per axis.

    Returns:
        The mean, a scalar, and the index of the window in x, which has the shape of a kernel there.
    """
    means = (F.avg_pool1d if x.dim() == 3 else F.avg_pool2d)(x.mean(1, keepdim=True), size, stride=1)
    example, _, *corner = (int(index) for index in torch.unravel_index(means.argmax(), means.shape))
    channels = 0 if x.shape[1] == 1 else slice(None)
    return means.max(), (example, channels, *(slice(first, first + size) for first in corner))


def _random_window(x: Tensor, shape: Sequence[int], generator: torch.Generator) -> Tensor:
    window = x[int(torch.randint(len(x), (), generator=generator))]
    for axis, size in enumerate(shape[-(x.dim() - 2) :], start=1):
        first = int(torch.randint(window.shape[axis] - size + 1, (), generator=generator))
        window = window.narrow(axis, first, size)
    return window.reshape(shape)

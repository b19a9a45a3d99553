"""Dead kernels that are restarted and cropped kernels that are shifted, while training."""

import logging
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from san.extensions.initialization import highest_mean_window
from san.networks import SparselyActivatedNetwork
from san.ops.kernels import mirror
from san.ops.shapes import Float

__all__ = ["renew_kernels"]

MIN_ENERGY_GAIN = 1.02  # a kernel is shifted if the energy of its window grows by at least this factor

log = logging.getLogger(__name__)


@torch.no_grad()
def renew_kernels(network: SparselyActivatedNetwork, x: Float[Tensor, "batch channels *space"]) -> None:
    r"""Restart dead kernels, and shift kernels whose pattern extends beyond their ends.

    A kernel without an activation restarts from the window with the largest absolute residual of its model; the window
    is then taken. Any other kernel is extended on both sides by the least-squares fit of the residual r around its
    activations,

    .. math:: w_j + \sum_p \alpha_p r_{p + j} / \sum_p \alpha_p^2

    and becomes the highest-energy window of the extended kernel, if its energy is at least 2 % higher.

    Args:
        network: The network or bank; its kernels are changed.
        x: Examples.
    """
    maps = network.encode(x)
    by_model = (-1, network.channels)
    residual = x.unflatten(1, by_model) - network.decode(maps).unflatten(1, by_model)
    per_model = len(network.kernel_sizes) // network.n_models
    undescribed = residual.abs()
    for kernel, size in enumerate(network.kernel_sizes):
        model = kernel // per_model
        activations = maps[:, kernel]
        if not activations.any():
            _, window = highest_mean_window(undescribed[:, model], size)
            _set_atom(network, kernel, x[window])
            undescribed[:, model][window] = 0
            log.info("kernel %d was dead and is restarted", kernel)
            continue
        extended = _extended_atom(network, kernel, activations, residual[:, model])
        space = extended.shape[-network.n_dims :]
        energy, window = highest_mean_window(extended.square().view(1, network.channels, *space), size)
        middle: Any = (..., *[slice(size // 2, size // 2 + size)] * network.n_dims)
        if energy > MIN_ENERGY_GAIN * extended[middle].square().mean():
            inside: Any = (..., *window[2:])
            _set_atom(network, kernel, extended[inside])


def _set_atom(network: SparselyActivatedNetwork, kernel: int, atom: Tensor) -> None:
    """Replace a kernel so that the decoder places it as the atom."""
    network.kernels[kernel].copy_(mirror(atom, network.n_dims) if network.decoder == "paper" else atom)
    network.constrain()


def _extended_atom(
    network: SparselyActivatedNetwork, kernel: int, activations: Tensor, residual: Tensor
) -> Float[Tensor, "*extent"]:
    """Return the atom of a kernel, extended by half its size on each side by the residual [batch, channels, *space]."""
    size = network.kernel_sizes[kernel]
    extension = size // 2
    before = extension + ((size - 1) // 2 if network.decoder == "adjoint" else size // 2)
    padded = F.pad(residual, [before, size + 2 * extension] * network.n_dims)
    example, *position = activations.nonzero(as_tuple=True)
    offsets = torch.arange(size + 2 * extension, device=residual.device)
    channels = torch.arange(network.channels, device=residual.device)
    if network.n_dims == 1:
        columns = position[0].view(-1, 1, 1) + offsets
        windows = padded[example.view(-1, 1, 1), channels.view(-1, 1), columns]
    else:
        rows = position[0].view(-1, 1, 1, 1) + offsets.view(-1, 1)
        columns = position[1].view(-1, 1, 1, 1) + offsets
        windows = padded[example.view(-1, 1, 1, 1), channels.view(-1, 1, 1), rows, columns]
    atom = F.pad(network.atoms[kernel], [extension] * 2 * network.n_dims)
    values = activations[activations != 0]
    fitted: Tensor = torch.tensordot(values, windows, 1) / values.square().sum()
    return fitted.view(atom.shape) + atom

"""Kernels that are dead begin again, and those that are cut off are moved, while training."""

import logging
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from san.initialization import window_of_most
from san.networks import SparselyActivatedNetwork
from san.shapes import Float

__all__ = ["KernelRestarts", "renew_kernels"]

MOST = 64  # training examples that are looked at
GAIN = 1.02  # of a kernel's energy, for which it is moved

log = logging.getLogger(__name__)


class KernelRestarts(pl.Callback):
    """Renew the kernels every so many epochs; see :func:`renew_kernels`.

    Each process looks at the same first training examples, so that the kernels stay the same in all of them.

    Args:
        x: The training examples, of which the first 64 are looked at.
        every: Epochs between two looks.
    """

    def __init__(self, x: Float[Tensor, "batch 1 *space"], every: int) -> None:
        self.x = x[:MOST]
        self.every = every

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Renew the kernels, if it is time to."""
        if trainer.current_epoch > 0 and trainer.current_epoch % self.every == 0:
            module: Any = pl_module
            renew_kernels(module.network, self.x.to(module.device))


@torch.no_grad()
def renew_kernels(network: SparselyActivatedNetwork, x: Float[Tensor, "batch 1 *space"]) -> None:
    r"""Start dead kernels again, and move those that are cut off.

    A kernel without an activation begins again from the window of its model's largest absolute residual, which is then
    taken. Any other is continued on both sides by the least squares fit of the residual r around its activations,

    .. math:: w_j + \sum_p \alpha_p r_{p + j} / \sum_p \alpha_p^2

    and becomes the part of that with the most energy, if that is more than its own.

    Args:
        network: The network, or a bank of them, whose kernels are changed.
        x: Examples.
    """
    maps = network.encode(x)
    residual = x - network.decode(maps)
    own = len(network.kernel_sizes) // network.n_models
    left = residual.abs()
    for kernel, size in enumerate(network.kernel_sizes):
        model = slice(kernel // own, kernel // own + 1)
        activations = maps[:, kernel]
        if not activations.any():
            _, window = window_of_most(left[:, model], size)
            network.start(kernel, x[window])
            left[:, model][window] = 0
            log.info("kernel %d is dead, and begins again", kernel + 1)
            continue
        longer = _continued(network, kernel, activations, residual[:, model])
        energy, window = window_of_most(longer.square()[None, None], size)
        middle = (slice(size // 2, size // 2 + size),) * network.n_dims
        if energy > GAIN * longer[middle].square().mean():
            network.start(kernel, longer[window[2:]])


def _continued(network: SparselyActivatedNetwork, kernel: int, activations: Tensor, residual: Tensor) -> Tensor:
    """Return the pattern of a kernel with half its size more on each side, by the residual [batch, 1, *space]."""
    size = network.kernel_sizes[kernel]
    more = size // 2
    before = more + ((size - 1) // 2 if network.decoder == "adjoint" else size // 2)
    padded = F.pad(residual, [before, size + 2 * more] * network.n_dims)
    example, *position = activations.nonzero(as_tuple=True)
    taps = torch.arange(size + 2 * more, device=residual.device)
    if network.n_dims == 1:
        windows = padded[example, 0][torch.arange(len(example)).unsqueeze(1), position[0].unsqueeze(1) + taps]
    else:
        rows, columns = position[0].view(-1, 1, 1) + taps.view(1, -1, 1), position[1].view(-1, 1, 1) + taps
        windows = padded[example.view(-1, 1, 1), 0, rows, columns]
    values = activations[activations != 0]
    fitted: Tensor = torch.tensordot(values, windows, 1) / values.square().sum()
    return fitted + F.pad(network.patterns[kernel], [more] * 2 * network.n_dims)

"""Kernels as a parameter of a module: of several sizes and channels in one tensor, full or of rank 1."""

from collections.abc import Sequence
from types import EllipsisType
from typing import Literal

import torch
from torch import Tensor, nn

from san.ops.choices import check_choice
from san.ops.kernels import kernel_index, nearest_of_rank_1, padding_mask
from san.ops.shapes import Dimensions

__all__ = ["KernelForm", "StoredKernels"]

KernelForm = Literal["full", "rank1"]


class StoredKernels(nn.Module):
    """Store kernels padded with zeros to the largest; the padding stays zero and has no gradient.

    Args:
        weight: The kernels, [kernels, *extent] of one channel, [kernels, channels, *extent] of several.
        kernel_sizes: Samples per axis of each kernel.
        n_dims: 1 for signals, 2 for images.
        kernel: ``full``, or ``rank1`` for the product of one number per channel, of unit norm, and one waveform.

    Attributes:
        channels: Channels of every kernel.

    Raises:
        ValueError: If the form of the kernels is unknown.
    """

    def __init__(self, weight: Tensor, kernel_sizes: Sequence[int], n_dims: Dimensions, kernel: KernelForm) -> None:
        super().__init__()
        check_choice("kernel", kernel, KernelForm)
        self.weight = nn.Parameter(weight)
        self.kernel_sizes = list(kernel_sizes)
        self.n_dims = n_dims
        self.channels = 1 if weight.dim() == n_dims + 1 else weight.shape[1]
        self.kernel = kernel

    @property
    def kernels(self) -> list[Tensor]:
        """Views of the kernels without padding: [m], [m, m], of several channels [channels, m] or [channels, m, m]."""
        return [self.weight[self._index(kernel)] for kernel in range(len(self.kernel_sizes))]

    @torch.no_grad()
    def project(self, unit_norm: bool) -> None:
        """Replace kernels by the nearest of rank 1, if they are to be of rank 1.

        Args:
            unit_norm: Whether to scale the kernels to a norm of 1, too.
        """
        if self.kernel == "rank1" and self.channels > 1:
            finite = self.weight.isfinite().flatten(1).all(1)  # a model that diverges leaves the others of a bank alone
            self.weight[finite] = nearest_of_rank_1(self.weight[finite])
        if unit_norm:
            # In double precision, so that the padding does not change the norm.
            norms = self.weight.double().flatten(1).norm(dim=1).clamp(min=1e-12)
            self.weight.copy_(self.weight / norms.view(-1, *[1] * (self.weight.dim() - 1)))

    def _padded_kernels(self) -> Tensor:
        """Return the padded kernels, without a gradient in the padding."""
        return self._masked(self.weight)

    def _masked(self, weight: Tensor) -> Tensor:
        """Set the padding of padded kernels to zero."""
        if len(set(self.kernel_sizes)) == 1:
            return weight
        inside = padding_mask(self.kernel_sizes, weight.shape[-1], self.n_dims, weight.device)
        return weight * (inside if weight.dim() == inside.dim() else inside.unsqueeze(1))

    def _index(self, kernel: int) -> tuple[int | slice | EllipsisType, ...]:
        return kernel_index(kernel, self.kernel_sizes[kernel], self.weight.shape[-1], self.n_dims)

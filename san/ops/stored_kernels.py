"""Kernels as parameters of a module: of several sizes and channels in one tensor, full or of rank 1."""

from collections.abc import Sequence
from types import EllipsisType
from typing import Literal

import torch
from torch import Tensor, nn

from san.ops.channels import outer, separate
from san.ops.choices import check_choice
from san.ops.kernels import kernel_index, padding_mask
from san.ops.shapes import Dimensions

__all__ = ["KernelForm", "StoredKernels"]

KernelForm = Literal["full", "rank1"]


class StoredKernels(nn.Module):
    """Store kernels padded with zeros to the largest; the padding stays zero and has no gradient.

    Args:
        kernel_sizes: Samples per axis of each kernel, >= 1.
        n_dims: 1 for signals, 2 for images.
        channels: Channels of every kernel, >= 1.
        kernel: ``full``, or ``rank1`` for the product of a weight per channel, of unit norm, and one waveform.

    Attributes:
        weight: The kernels, [kernels, *extent] of one channel, [kernels, channels, *extent] of several; of rank 1 their
            waveforms, [kernels, *extent].
        channel_weight: Of rank 1, the weight of each channel, [kernels, channels].

    Raises:
        ValueError: If there is no kernel, a size or the number of channels is below 1, or a choice is unknown.
    """

    channel_weight: nn.Parameter

    def __init__(self, kernel_sizes: Sequence[int], n_dims: Dimensions, channels: int, kernel: KernelForm) -> None:
        super().__init__()
        if not kernel_sizes or min(kernel_sizes) < 1:
            raise ValueError(f"kernel_sizes={list(kernel_sizes)} must be one or more integers, each at least 1")
        check_choice("n_dims", n_dims, Dimensions)
        check_choice("kernel", kernel, KernelForm)
        if channels < 1:
            raise ValueError(f"channels={channels} must be 1 or more")
        self.kernel_sizes = list(kernel_sizes)
        self.n_dims = n_dims
        self.channels = channels
        self.kernel = kernel

    @property
    def kernels(self) -> list[Tensor]:
        """The kernels without their padding, [m] or [m, m], of several channels [channels, m] or [channels, m, m].

        They are views of the weights, unless they are of rank 1.
        """
        weight = self._joint_weight()
        return [weight[self._index(kernel)] for kernel in range(len(self.kernel_sizes))]

    @torch.no_grad()
    def set_kernel(self, index: int, kernel: Tensor) -> None:
        """Replace a kernel, of the shape of :attr:`kernels`; of rank 1, by the nearest of rank 1."""
        if self.kernel == "rank1":
            self.channel_weight[index], kernel = separate(kernel.view(self.channels, *kernel.shape[-self.n_dims :]))
        self.weight[self._index(index)] = kernel

    def store(self, weight: Tensor) -> None:
        """Make parameters of kernels, [kernels, *extent] of one channel or [kernels, channels, *extent] of several."""
        if self.kernel == "rank1":
            factors = [separate(own.view(self.channels, *own.shape[-self.n_dims :])) for own in weight]
            over_channels, weight = (torch.stack(parts) for parts in zip(*factors, strict=True))
            self.channel_weight = nn.Parameter(over_channels)
        self.weight = nn.Parameter(weight)

    @torch.no_grad()
    def normalize(self, unit_norm: bool) -> None:
        """Scale the weights over channels of rank 1 to unit norm, without a change of the kernels.

        Args:
            unit_norm: Whether to scale the kernels to unit norm, too.
        """
        if self.kernel == "rank1":
            self.weight.mul_(_to_unit_norm(self.channel_weight).view(-1, *[1] * self.n_dims))
        if unit_norm:
            _to_unit_norm(self.weight)

    def _padded_kernels(self) -> Tensor:
        """Return the padded kernels, without a gradient in the padding."""
        return self._masked(self._joint_weight())

    def _joint_weight(self) -> Tensor:
        """Return the padded kernels, [kernels, *extent] of one channel or [kernels, channels, *extent] of several."""
        if self.kernel == "full":
            return self.weight
        kernels = outer(self.channel_weight, self.weight)
        return kernels if self.channels > 1 else kernels.squeeze(1)

    def _masked(self, weight: Tensor) -> Tensor:
        """Set the padding of padded kernels to zero."""
        if len(set(self.kernel_sizes)) == 1:
            return weight
        inside = padding_mask(self.kernel_sizes, weight.shape[-1], self.n_dims, weight.device)
        return weight * (inside if weight.dim() == inside.dim() else inside.unsqueeze(1))

    def _index(self, kernel: int) -> tuple[int | slice | EllipsisType, ...]:
        return kernel_index(kernel, self.kernel_sizes[kernel], self.weight.shape[-1], self.n_dims)


def _to_unit_norm(weight: Tensor) -> Tensor:
    """Scale each row of weights to a norm of 1 in place, and return the norms before, [rows].

    In double precision, so that padding does not change the norm.
    """
    norms: Tensor = weight.double().flatten(1).norm(dim=1).clamp(min=1e-12)
    weight.copy_(weight / norms.view(-1, *[1] * (weight.dim() - 1)))
    return norms

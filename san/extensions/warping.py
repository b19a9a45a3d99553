"""Kernels that occur at several scales, warped by a grid sampler with learned scales."""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from san.networks import Encoder, SparselyActivatedNetwork, WeightCount
from san.ops.shapes import Dimensions

__all__ = ["WarpedNetwork"]


class WarpedNetwork(SparselyActivatedNetwork):
    r"""Let each kernel occur at several learned scales.

    .. math:: w^{(i, j)}_t = w^{(i)}_{c + (t - c) / \exp(a^{(i, j)})} \qquad a^{(i, 0)} = 0

    where c is the middle of the kernel, between two samples if m is even. Kernels form groups of ``n_scales``. The
    first kernel of a group is an ordinary kernel; each other one is that kernel warped by a grid sampler: interpolated
    linearly, equally along both axes of an image, zero beyond the ends, and cropped to the kernel size. Each kernel has
    its own map. W counts the weights of the first kernel and one number, a, for each other kernel; the optimizer learns
    all of them.

    A warped kernel stores its a in the middle of its part of ``weight``, which is zero elsewhere. Initial scales are
    half an octave apart: a is -1/2, 1/2, -1, 1 and so on, times the logarithm of 2.

    Args:
        kernel_sizes: Samples per axis of each kernel, >= 1; equal within a group.
        activation: Encoder that computes the activation maps.
        n_dims: 1 for signals, 2 for images.
        n_scales: Number of kernels of a group, >= 1; with 1 it is a plain network.
        **options: As of :class:`san.networks.SparselyActivatedNetwork`.

    Raises:
        ValueError: If the kernels of a model cannot be shared evenly by groups, the sizes of a group differ, or as for
            the base class.

    Reference:
        Bizopoulos and Koutsouris, "Sparsely Activated Networks", the end of Section V; Jaderberg et al., "Spatial
        Transformer Networks", 2015.

    Example:
        >>> from san.activations import Extrema
        >>> network = WarpedNetwork([9, 9], Extrema(), n_scales=2)
        >>> network.n_weights(), network.encode(torch.randn(4, 1, 100)).shape
        (10, torch.Size([4, 2, 100]))
    """

    def __init__(
        self, kernel_sizes: Sequence[int], activation: Encoder, n_dims: Dimensions = 1, *, n_scales: int, **options: Any
    ) -> None:
        super().__init__(kernel_sizes, activation, n_dims, **options)
        if self.channels > 1 or self.kernel != "full":
            raise ValueError(
                f"channels={self.channels}, kernel={self.kernel}: warped kernels have one channel and are full: choose "
                "one channel and kernel=full, or network=plain"
            )
        per_model = len(self.sizes_of_models[0])
        if not isinstance(n_scales, int) or n_scales < 1 or per_model % n_scales:
            raise ValueError(
                f"n_scales={n_scales} must be an integer that divides the number of kernels of a model, {per_model}; "
                "set n_kernels to a multiple of n_scales"
            )
        groups = [self.kernel_sizes[first : first + n_scales] for first in range(0, len(self.kernel_sizes), n_scales)]
        if any(len(set(group)) > 1 for group in groups):
            raise ValueError(f"kernel_sizes={self.kernel_sizes} must be equal within each group of n_scales={n_scales}")
        self.n_scales = n_scales
        self.options = {"n_scales": n_scales}
        with torch.no_grad():
            for kernel in range(len(self.kernel_sizes)):
                if scale := kernel % n_scales:
                    self.weight[kernel] = 0
                    octaves = (scale + 1) // 2 / 2
                    self.weight[(kernel, *self._middle)] = math.log(2) * (octaves if scale % 2 == 0 else -octaves)

    @property
    def kernels(self) -> list[Tensor]:
        """The kernels without their padding, of shape [m] or [m, m], warped."""
        weight = self._padded_kernels()
        return [weight[self._index(kernel)] for kernel in range(len(self.kernel_sizes))]

    def n_weights(self, count: WeightCount = "samples", model: int = 0) -> int:
        """Count the weights W of a model: the weights of the first kernel of each group, and one number per other."""
        n_kernels = len(self.sizes_of_models[model]) // self.n_scales
        return super().n_weights(count, model) // self.n_scales + n_kernels * (self.n_scales - 1)

    @property
    def _middle(self) -> tuple[int, ...]:
        return ((self.weight.shape[-1] - 1) // 2,) * self.n_dims

    def _padded_kernels(self) -> Tensor:
        own = self._masked(self.weight)
        first = own.unflatten(0, (-1, self.n_scales))[:, :1].expand(-1, self.n_scales, *own.shape[1:]).flatten(0, 1)
        is_warped = torch.arange(len(own), device=own.device) % self.n_scales > 0
        middle: tuple[int | slice, ...] = (slice(None), *self._middle)
        scales = self.weight[middle].where(is_warped, 0).exp()
        # On the CPU, because the gradient of the grid sampler is not deterministic on a GPU.
        warped = self._warp(first.cpu(), scales.cpu()).to(own.device)
        return torch.where(is_warped.view(-1, *[1] * self.n_dims), self._masked(warped), own)

    def _warp(self, kernels: Tensor, scales: Tensor) -> Tensor:
        """Stretch each padded kernel by its scale about its middle."""
        extent = kernels.shape[-1]
        sizes = torch.tensor(self.kernel_sizes, dtype=kernels.dtype)
        middle = (self._middle[0] + (sizes - 1) % 2 / 2).unsqueeze(1)
        at = middle + (torch.arange(extent) - middle) / scales.unsqueeze(1)
        along = 2 * at / max(extent - 1, 1) - 1  # the sampler's coordinates: -1 is the first sample, 1 the last
        if self.n_dims == 1:
            grid = torch.stack([along, torch.zeros_like(along)], dim=-1).unsqueeze(1)
            planes = kernels.unsqueeze(1).unsqueeze(1)
        else:
            shape = (-1, extent, extent)
            grid = torch.stack([along.unsqueeze(1).expand(shape), along.unsqueeze(2).expand(shape)], dim=-1)
            planes = kernels.unsqueeze(1)
        return F.grid_sample(planes, grid, align_corners=True).view(kernels.shape)

"""Kernels that occur in several scales: warped by a grid sampler, which learns how far."""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from san.activations import Encoder
from san.networks import SparselyActivatedNetwork

__all__ = ["WarpedNetwork"]


class WarpedNetwork(SparselyActivatedNetwork):
    r"""Let each kernel occur in several scales, which are learned.

    .. math:: w^{(i, j)}_t = w^{(i)}_{c + (t - c) / \exp(a^{(i, j)})} \qquad a^{(i, 0)} = 0

    with c the middle of the kernel, between samples where m is even. Of every ``n_scales`` kernels, one after another,
    the first is a kernel as usual, and each other is that one warped by a grid sampler: interpolated linearly, in both
    dimensions of an image alike, with zeros beyond its ends, and cut to its size. Each has a map of its own. W counts
    the weights of the first and one number, a, of each other; they are learned together, by the same optimizer.

    A warped kernel keeps its a in the middle of its part of ``weight``, and zeros beside it. They start half an octave
    apart: a is -1/2, 1/2, -1, 1 and so on, times the logarithm of 2.

    Args:
        kernel_sizes: Samples a side of each kernel, >= 1, the same for all scales of one.
        activation: What turns similarity maps into activation maps.
        n_dims: 1 for signals, 2 for images.
        n_scales: Of each kernel, >= 1; with one it is a plain network.
        **how: As of :class:`san.networks.SparselyActivatedNetwork`.

    Raises:
        ValueError: If the kernels of a model cannot be shared evenly by the scales, sizes of one differ, or as of a
            plain network.

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
        self, kernel_sizes: Sequence[int], activation: Encoder, n_dims: int = 1, *, n_scales: int, **how: Any
    ) -> None:
        super().__init__(kernel_sizes, activation, n_dims, **how)
        own = len(self.sizes_of_models[0])
        if not isinstance(n_scales, int) or n_scales < 1 or own % n_scales:
            raise ValueError(
                f"network.n_scales={n_scales} must be an integer that divides the {own} kernels of a model: "
                "set n_kernels to a multiple of it"
            )
        groups = [self.kernel_sizes[start : start + n_scales] for start in range(0, len(self.kernel_sizes), n_scales)]
        if any(len(set(group)) > 1 for group in groups):
            raise ValueError(
                f"kernel_sizes={self.kernel_sizes}: {n_scales} kernels, one after another, must be as long"
            )
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
        """The kernels without their padding, of shape [m] or [m, m], each scale as it is warped."""
        weight = self._weight()
        return [weight[self._inside(kernel)] for kernel in range(len(self.kernel_sizes))]

    def n_weights(self, count: str = "samples", model: int = 0) -> int:
        """Count the weights W of a model: those of each kernel once, and one number of each scale but the first."""
        n_kernels = len(self.sizes_of_models[model]) // self.n_scales
        return super().n_weights(count, model) // self.n_scales + n_kernels * (self.n_scales - 1)

    @property
    def _middle(self) -> tuple[int, ...]:
        return ((self.weight.shape[-1] - 1) // 2,) * self.n_dims

    def _weight(self) -> Tensor:
        own = self._cut(self.weight)
        first = own.unflatten(0, (-1, self.n_scales))[:, :1].expand(-1, self.n_scales, *own.shape[1:]).flatten(0, 1)
        warped = torch.arange(len(own), device=own.device) % self.n_scales > 0
        middle: tuple[int | slice, ...] = (slice(None), *self._middle)
        scales = self.weight[middle].where(warped, 0).exp()
        # On the CPU, as the gradient of the sampler is not deterministic on a GPU.
        sampled = self._sample(first.cpu(), scales.cpu()).to(own.device)
        return torch.where(warped.view(-1, *[1] * self.n_dims), self._cut(sampled), own)

    def _sample(self, kernels: Tensor, scales: Tensor) -> Tensor:
        """Return padded kernels stretched by a scale each about their own middle."""
        extent = kernels.shape[-1]
        sizes = torch.tensor(self.kernel_sizes, dtype=kernels.dtype)
        middle = (self._middle[0] + (sizes - 1) % 2 / 2).unsqueeze(1)
        at = middle + (torch.arange(extent) - middle) / scales.unsqueeze(1)
        along = 2 * at / max(extent - 1, 1) - 1  # what the sampler calls the first sample is -1, and the last 1
        if self.n_dims == 1:
            grid = torch.stack([along, torch.zeros_like(along)], dim=-1).unsqueeze(1)
            planes = kernels.unsqueeze(1).unsqueeze(1)
        else:
            shape = (-1, extent, extent)
            grid = torch.stack([along.unsqueeze(1).expand(shape), along.unsqueeze(2).expand(shape)], dim=-1)
            planes = kernels.unsqueeze(1)
        return F.grid_sample(planes, grid, align_corners=True).view(kernels.shape)

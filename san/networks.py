"""The Sparsely Activated Network: the forward pass of the paper, and a bank of such models trained side by side."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, Literal

import torch
from torch import Tensor, nn

from san.ops import channels as ops
from san.ops.choices import check_choice
from san.ops.kernels import KernelSampler, initial_weight, mirror, normal_sampler
from san.ops.placement import are_few, without_rounding
from san.ops.shapes import Dimensions, Float, space_of
from san.ops.step import TrainingStep
from san.ops.stored_kernels import KernelForm, StoredKernels

__all__ = ["Decoder", "Encoder", "KernelForm", "SparselyActivatedNetwork", "TrainingStep", "WeightCount"]

Decoder = Literal["paper", "adjoint"]
WeightCount = Literal["samples", "side"]


class Encoder(nn.Module, ABC):
    """Compute the activation maps of examples, given a network and its kernels.

    Attributes:
        sparse: Whether most samples of a map are zero, so that sparse reconstruction is cheaper.
        keeps_similarity: Whether each nonzero sample of a map equals the similarity there.
        unit_norm: Whether the kernels are kept at a Euclidean norm of 1.
        step: The current training step; None outside of one, where the encoding is the evaluation encoding.
    """

    sparse = True
    keeps_similarity = False
    unit_norm = False
    step: TrainingStep | None = None

    @abstractmethod
    def encode(
        self, x: Float[Tensor, "batch channels *space"], network: "SparselyActivatedNetwork"
    ) -> Float[Tensor, "batch kernels *space"]:
        """Return the activation maps."""

    @contextmanager
    def during(self, step: TrainingStep) -> Iterator[None]:
        """Encode as in a training step inside this context."""
        self.step = step
        try:
            yield
        finally:
            self.step = None


class SparselyActivatedNetwork(StoredKernels):
    r"""Describe an input by kernels and the sparse positions and amplitudes of their activations.

    .. math::
        s^{(i)} = x * w^{(i)} \qquad \alpha^{(i)} = \phi(s^{(i)}, d^{(i)}) \qquad
        r^{(i)} = \alpha^{(i)} * w^{(i)} \qquad \hat{x} = \sum_i r^{(i)}

    The convolution keeps the size of x by zero padding: (m - 1) // 2 samples before, the rest after; there is no bias.
    As in every deep-learning framework it is a cross-correlation. The paper's decoder applies the same operation, so it
    places the *mirrored* kernel at each activation. The adjoint decoder is the exact transpose of the encoder and
    places the kernel itself, where the encoder found it.

    A kernel has a part for each channel of x but one activation map: similarities add up over channels, and each
    activation places all parts. A kernel of rank 1 is the product of a weight per channel, of unit norm, and one
    waveform.

    All kernels are stored in one tensor, padded with zeros to the largest, so that kernels of different sizes are one
    convolution. The padding stays zero and has no gradient. A bank of models is a network with more kernels whose
    partial reconstructions are summed per model; all models have one input, or each has its channels in a longer one.

    Args:
        kernel_sizes: Samples per axis of each kernel, >= 1; in a bank, model after model.
        activation: Encoder that computes the activation maps.
        n_dims: 1 for signals, 2 for images.
        decoder: ``paper`` for the paper's second convolution, ``adjoint`` for the transpose of the first.
        initial_deviation: Standard deviation of the zero-mean normal distribution of the initial kernels.
        n_models: Number of models in the bank; every model has the same number of kernels.
        seed: Seed of the initial kernels; None to draw it from the global generator.
        start_indices: One index per model, which distinguishes models of equal sizes; None for zeros.
        sampler: Draws each initial kernel instead of the normal distribution.
        channels: Channels of the input of a model.
        kernel: ``full``, or ``rank1`` for kernels of rank 1.

    Raises:
        ValueError: If there is no kernel, a size is below 1, a choice is unknown or the kernels cannot be shared evenly
            by the models; on a call, if the input has another shape or is shorter than a kernel.

    Reference:
        Bizopoulos and Koutsouris, "Sparsely Activated Networks", Section III-B, Eq. 9 to 13.

    Example:
        >>> from san.activations import Extrema
        >>> network = SparselyActivatedNetwork([8, 5], Extrema(border_tolerance=2))
        >>> network.encode(torch.randn(4, 1, 100)).shape
        torch.Size([4, 2, 100])
    """

    options: Mapping[str, Any] = {}  # constructor arguments of a subclass, beyond those of this class

    def __init__(
        self,
        kernel_sizes: Sequence[int],
        activation: Encoder,
        n_dims: Dimensions = 1,
        *,
        decoder: Decoder = "paper",
        initial_deviation: float = 0.1,
        n_models: int = 1,
        seed: int | None = None,
        start_indices: Sequence[int] | None = None,
        sampler: KernelSampler | None = None,
        channels: int = 1,
        kernel: KernelForm = "full",
    ) -> None:
        sizes = list(kernel_sizes)
        if not sizes or min(sizes) < 1:
            raise ValueError(f"kernel_sizes={sizes} must be one or more integers, each at least 1")
        check_choice("decoder", decoder, Decoder)
        if n_models < 1 or len(sizes) % n_models:
            raise ValueError(f"n_models={n_models} must divide the number of kernels, {len(sizes)}")
        per_model = len(sizes) // n_models
        models = [sizes[first : first + per_model] for first in range(0, len(sizes), per_model)]
        starts, sampler = start_indices or [0] * n_models, sampler or normal_sampler(0, initial_deviation)
        weight = initial_weight(models, n_dims, channels, seed=seed, start_indices=starts, sampler=sampler)
        super().__init__(weight, sizes, n_dims, kernel)
        self.sizes_of_models = models
        self.activation = activation
        self.decoder = decoder
        self.n_models = n_models
        self.constrain()

    def similarity(self, x: Float[Tensor, "batch channels *space"]) -> Float[Tensor, "batch kernels *space"]:
        """Correlate the input, or that of each model of a bank, with each kernel, Eq. 10."""
        self.check_space(space_of(x, self.n_dims, self.n_models, self.channels))
        return ops.correlate(x, self._padded_kernels(), self.kernel_sizes, exact=self.activation.sparse)

    def encode(self, x: Float[Tensor, "batch channels *space"]) -> Float[Tensor, "batch kernels *space"]:
        """Return the activation maps, Eq. 11."""
        return self.activation.encode(x, self)

    def partial_reconstructions(
        self, maps: Float[Tensor, "batch kernels *space"]
    ) -> Float[Tensor, "batch kernels *channels_and_space"]:
        """Place each kernel at its activations, Eq. 12; of several channels, [batch, kernels, channels, *space]."""
        return ops.convolve(maps, self._padded_kernels(), self._sign)

    def decode(self, maps: Float[Tensor, "batch kernels *space"]) -> Float[Tensor, "batch all_channels *space"]:
        """Return the reconstruction of each model, the sum of its partial reconstructions, Eq. 13."""
        if not (maps.requires_grad or torch.compiler.is_compiling()) and are_few(maps.count_nonzero(), maps):
            index = maps.nonzero().contiguous()
            return self._place(maps[tuple(index.unbind(1))], index, maps)
        of_models = torch.sum(self.partial_reconstructions(maps).unflatten(1, (self.n_models, -1)), dim=2)
        return of_models if self.channels == 1 else of_models.flatten(1, -self.n_dims - 1)

    def forward(self, x: Float[Tensor, "batch channels *space"]) -> Float[Tensor, "batch all_channels *space"]:
        """Return the reconstruction of the input, in a bank that of each model."""
        if self.activation.sparse and not torch.compiler.is_compiling():
            return self._sparse_forward(x)
        reconstruction = self.decode(self.encode(x))
        return reconstruction if self.activation.keeps_similarity else self._without_rounding(reconstruction, x)

    @property
    def atoms(self) -> list[Tensor]:
        """The kernels as the decoder places them at an activation of 1: mirrored by the paper's decoder."""
        if self.decoder == "adjoint":
            return self.kernels
        return [mirror(kernel, self.n_dims) for kernel in self.kernels]

    def n_weights(self, count: WeightCount = "samples", model: int = 0) -> int:
        """Count the weights W of a model.

        A kernel of c channels has c times as many weights, and one of rank 1 has c more.

        Args:
            count: ``samples`` counts m * m for a two-dimensional kernel, as the paper defines W; ``side`` counts m, as
                its printed tables do. In one dimension they are the same.
            model: Index of the model in the bank.

        Raises:
            ValueError: If the choice is unknown.

        Reference:
            Bizopoulos and Koutsouris, "Sparsely Activated Networks", Section II, Eq. 2.
        """
        check_choice("count", count, WeightCount)
        power = self.n_dims if count == "samples" else 1
        used = [size for size, in_use in zip(self.sizes_of_models[model], self.in_use(model), strict=True) if in_use]
        own: list[int] = [size**power for size in used]
        return sum(own) + self.channels * len(own) if self.kernel == "rank1" else sum(own) * self.channels

    def check_space(self, space: Sequence[int]) -> None:
        """Refuse a signal or image that is shorter than a kernel.

        Raises:
            ValueError: If a kernel is longer than an axis.
        """
        longest, shortest = max(self.kernel_sizes), min(space)
        if longest > shortest:
            raise ValueError(f"kernel_size={longest} exceeds the signal length {shortest}; choose 1 to {shortest}")

    def in_use(self, model: int) -> list[bool]:
        """Return whether each kernel of a model is in use; always, unless a subclass adds or drops kernels."""
        return [True] * len(self.sizes_of_models[model])

    def model(self, index: int) -> "SparselyActivatedNetwork":
        """Return a copy of one model of the bank, as a network of its own that encodes as in evaluation."""
        sizes, activation = self.sizes_of_models[index], deepcopy(self.activation)
        activation.step = None
        form: dict[str, Any] = {"decoder": self.decoder, "channels": self.channels, "kernel": self.kernel}
        alone = type(self)(sizes, activation, self.n_dims, seed=0, **form, **self.options).to(self.weight)
        with torch.no_grad():
            for kernel in range(len(sizes)):
                alone.weight[alone._index(kernel)] = self.weight[self._index(index * len(sizes) + kernel)]
        return alone

    def constrain(self) -> None:
        """Project the kernels to those allowed: of rank 1, or of unit norm; called after each optimizer step."""
        self.project(self.activation.unit_norm)

    # The sparse path.

    def _sparse_forward(self, x: Tensor) -> Tensor:
        """Reconstruct from the activations alone; where they are few, so is the gradient.

        Samples that an encoder fits up to rounding are returned exactly and without a gradient: the sign of their
        residual is rounding noise, which would differ with the number of processes.
        """
        with torch.no_grad():
            maps = self.encode(x)
        index = maps.nonzero().contiguous()
        if not self.activation.keeps_similarity:
            return self._without_rounding(self._place(maps[tuple(index.unbind(1))], index, maps), x)
        if are_few(len(index), maps):
            return self._place(ops.gather(x, self._padded_kernels(), index, self.kernel_sizes), index, maps)
        return self.decode(self.encode(x))

    def _without_rounding(self, reconstruction: Tensor, x: Tensor) -> Tensor:
        """Replace samples that are equal up to rounding by those of the input, of each model."""
        is_shared = 1 < x.shape[1] < reconstruction.shape[1]
        return without_rounding(reconstruction, x.repeat(1, self.n_models, *[1] * self.n_dims) if is_shared else x)

    def _place(self, values: Tensor, index: Tensor, maps: Tensor) -> Tensor:
        """Add each value times its kernel at its position, [batch, models * channels, *space]."""
        shape = [len(maps), self.n_models, *maps.shape[2:]]
        return ops.place(values, self._padded_kernels(), index, self.kernel_sizes, self._sign, shape)

    @property
    def _sign(self) -> int:
        return -1 if self.decoder == "paper" else 1

"""The Sparsely Activated Network: a bank of kernels that finds its own patterns and puts them back."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from san.activations import Encoder
from san.ops.convolution import convolve, correlate
from san.ops.placement import are_few, gather, place
from san.shapes import Float

__all__ = ["SparselyActivatedNetwork"]

ROUNDING = 1e-6  # of the largest sample of an example


class SparselyActivatedNetwork(nn.Module):
    r"""Describe an input by kernels and the few positions and amplitudes at which they occur.

    .. math::
        s^{(i)} = x * w^{(i)} \qquad \alpha^{(i)} = \phi(s^{(i)}, d^{(i)}) \qquad
        r^{(i)} = \alpha^{(i)} * w^{(i)} \qquad \hat{x} = \sum_i r^{(i)}

    The convolution keeps the size of x by zeros: (m - 1) // 2 before the first sample, the rest after the last; there
    is no bias. As in every deep-learning framework it is a cross-correlation, and the paper's decoder is the same one,
    so what it puts back at a spike is the *mirrored* kernel. The adjoint decoder is the exact transpose of the encoder
    and puts back the kernel itself, where the encoder found it.

    The kernels lie side by side in one tensor, padded with zeros to the largest of them, so that kernels of different
    sizes are still one convolution; the padding stays zero and has no gradient. A bank of several models is the same
    network with more kernels, of which each model adds up its own.

    Args:
        kernel_sizes: Samples a side of each kernel, >= 1; those of the first model, then of the next.
        activation: What finds the activation maps.
        n_dims: 1 for signals, 2 for images.
        decoder: ``paper`` for the paper's second convolution, ``adjoint`` for the transpose of the first.
        initial_deviation: Standard deviation of the normal distribution with mean zero that the kernels start from.
        n_models: Number of models, which have as many kernels each.
        seed: Of the initial kernels of each model, which are a function of it, of their sizes and of the start alone;
            None to draw it from the global generator.
        starts: Numbers that tell models of equal sizes apart, one for each model; None for 0.
        draw: Draws an initial kernel of a shape, in place of the normal distribution; such as that of
            :func:`san.initialization.windows`.

    Raises:
        ValueError: If there is no kernel, a kernel size is not a positive integer, or a choice is unknown; on a call,
            if a kernel is longer than the input.

    Reference:
        Bizopoulos and Koutsouris, "Sparsely Activated Networks", Section III-B, Eq. 9 to 13.

    Example:
        >>> from san.activations import Extrema
        >>> network = SparselyActivatedNetwork([8, 5], Extrema(border_tolerance=2))
        >>> network.encode(torch.randn(4, 1, 100)).shape
        torch.Size([4, 2, 100])
    """

    options: Mapping[str, Any] = {}  # what else a network of this kind is made with

    def __init__(
        self,
        kernel_sizes: Sequence[int],
        activation: Encoder,
        n_dims: int = 1,
        *,
        decoder: str = "paper",
        initial_deviation: float = 0.1,
        n_models: int = 1,
        seed: int | None = None,
        starts: Sequence[int] | None = None,
        draw: Callable[[Sequence[int], torch.Generator], Tensor] | None = None,
    ) -> None:
        super().__init__()
        sizes = list(kernel_sizes)
        if not sizes or min(sizes) < 1:
            raise ValueError(f"kernel sizes are {sizes}: there must be one for each kernel, a positive integer")
        if n_dims not in (1, 2):
            raise ValueError(f"n_dims={n_dims} must be 1 (signals) or 2 (images)")
        if decoder not in ("paper", "adjoint"):
            raise ValueError(f"decoder={decoder} must be 'paper' or 'adjoint'")
        if n_models < 1 or len(sizes) % n_models:
            raise ValueError(f"{len(sizes)} kernels cannot be shared evenly by n_models={n_models}")
        self.kernel_sizes = sizes
        each = len(sizes) // n_models
        self.sizes_of_models = [sizes[start : start + each] for start in range(0, len(sizes), each)]
        self.activation = activation
        self.n_dims = n_dims
        self.decoder = decoder
        self.n_models = n_models
        weight = torch.zeros(len(sizes), *[max(sizes)] * n_dims)
        entropy = int(torch.randint(2**31, ())) if seed is None else seed
        for model, (own, start) in enumerate(zip(self.sizes_of_models, starts or [0] * n_models, strict=True)):
            seeds = {size: entropy * 65537 + start * 1_000_003 + size for size in own}
            generators = {size: torch.Generator().manual_seed(seeds[size]) for size in own}
            for kernel, size in enumerate(own, start=model * len(own)):
                shape, generator = [size] * n_dims, generators[size]
                drawn = initial_deviation * torch.randn(shape, generator=generator)
                weight[self._inside(kernel)] = drawn if draw is None else draw(shape, generator)
        self.weight = nn.Parameter(weight)
        self.constrain()

    def constrain(self) -> None:
        """Bring the kernels to a norm of 1, if the encoder asks for it; to be called after each step of training."""
        if self.activation.unit_norm:
            with torch.no_grad():
                # In double precision, so that padding makes no difference.
                norms = self.weight.double().flatten(1).norm(dim=1).clamp(min=1e-12)
                self.weight.copy_(self.weight / norms.view(-1, *[1] * self.n_dims))

    def start(self, kernel: int, pattern: Float[Tensor, "*space"]) -> None:
        """Let a kernel begin again, from the pattern that it is to put back."""
        mirrored = self.decoder == "paper"
        with torch.no_grad():
            self.kernels[kernel].copy_(pattern.flip(tuple(range(self.n_dims))) if mirrored else pattern)
        self.constrain()

    def model(self, index: int) -> "SparselyActivatedNetwork":
        """Return a copy of one model of the bank, as a network of its own."""
        sizes = self.sizes_of_models[index]
        alone = type(self)(sizes, self.activation, self.n_dims, decoder=self.decoder, seed=0, **self.options)
        with torch.no_grad():
            for kernel in range(len(sizes)):
                alone.weight[alone._inside(kernel)] = self.weight[self._inside(index * len(sizes) + kernel)]
        return alone

    @property
    def kernels(self) -> list[Tensor]:
        """The kernels without their padding, views of shape [m] or [m, m]."""
        return [self.weight[self._inside(kernel)] for kernel in range(len(self.kernel_sizes))]

    @property
    def patterns(self) -> list[Tensor]:
        """What the decoder puts back for an activation of one: the kernels, mirrored for the paper's decoder."""
        if self.decoder == "adjoint":
            return self.kernels
        return [kernel.flip(tuple(range(self.n_dims))) for kernel in self.kernels]

    @property
    def in_use(self) -> list[bool]:
        """Whether each kernel is a part of its model: all of them, where none is created or dropped."""
        return [True] * len(self.kernel_sizes)

    def n_weights(self, count: str = "samples", model: int = 0) -> int:
        """Count the weights W of a model.

        Args:
            model: Which one of a bank.
            count: ``samples`` counts m * m for a two-dimensional kernel, as the paper defines it; ``side`` counts m,
                as its printed tables do. In one dimension they are the same.

        Raises:
            ValueError: If the choice is unknown.

        Reference:
            Bizopoulos and Koutsouris, "Sparsely Activated Networks", Section II, Eq. 2.
        """
        if count not in ("samples", "side"):
            raise ValueError(f"count_weights={count} must be 'samples' or 'side'")
        power = self.n_dims if count == "samples" else 1
        return sum(size**power for size in self.sizes_of_models[model])

    def check(self, space: Sequence[int]) -> None:
        """Refuse a space that a kernel does not fit into.

        Raises:
            ValueError: If a kernel is longer than an axis.
        """
        longest, shortest = max(self.kernel_sizes), min(space)
        if longest > shortest:
            raise ValueError(f"kernel_size={longest} is longer than the signal, which has {shortest} samples a side")

    def similarity(self, x: Float[Tensor, "batch 1 *space"]) -> Float[Tensor, "batch kernels *space"]:
        """Correlate the input with each kernel, Eq. 10."""
        self.check(x.shape[2:])
        return correlate(x, self._weight(), self.kernel_sizes, exact=self.activation.sparse)

    def encode(self, x: Float[Tensor, "batch 1 *space"]) -> Float[Tensor, "batch kernels *space"]:
        """Return the activation maps, Eq. 11."""
        return self.activation.encode(x, self)

    def partial_reconstructions(
        self, maps: Float[Tensor, "batch kernels *space"]
    ) -> Float[Tensor, "batch kernels *space"]:
        """Put each kernel back at its activations, Eq. 12."""
        return (correlate if self.decoder == "paper" else convolve)(maps, self._weight())

    def decode(self, maps: Float[Tensor, "batch kernels *space"]) -> Float[Tensor, "batch models *space"]:
        """Return the reconstruction of each model, the sum of the partial ones, Eq. 13."""
        if not (maps.requires_grad or torch.compiler.is_compiling()) and are_few(maps.count_nonzero(), maps):
            index = maps.nonzero().contiguous()
            return self._place(maps[tuple(index.unbind(1))], index, maps)
        n_kernels = len(self.kernel_sizes) // self.n_models
        partial = self.partial_reconstructions(maps)
        return partial.view(len(maps), self.n_models, n_kernels, *maps.shape[2:]).sum(2)

    def forward(self, x: Float[Tensor, "batch 1 *space"]) -> Float[Tensor, "batch models *space"]:
        """Encode and decode; where activations are few, the gradient is computed at their positions alone.

        A sample that an encoder has fitted up to rounding is returned as it is, without a gradient: the sign of what
        is left there would be one of rounding, and another one for every number of processes.
        """
        if self.activation.sparse and not torch.compiler.is_compiling():
            with torch.no_grad():
                maps = self.encode(x)
            index = maps.nonzero().contiguous()
            if not self.activation.keeps_similarity:
                return _exact(self._place(maps[tuple(index.unbind(1))], index, maps), x)
            if are_few(len(index), maps):
                return self._place(gather(x, self._weight(), index, self.kernel_sizes, 1), index, maps)
        return self.decode(self.encode(x))

    def _place(self, values: Tensor, index: Tensor, maps: Tensor) -> Tensor:
        sign = -1 if self.decoder == "paper" else 1
        shape = [len(maps), self.n_models, *maps.shape[2:]]
        placed: Tensor = place(values, self._weight(), index, self.kernel_sizes, sign, shape)
        return placed

    def _weight(self) -> Tensor:
        """Return the padded kernels, cut off from the gradient where they are padding."""
        return self._cut(self.weight)

    def _cut(self, weight: Tensor) -> Tensor:
        """Return padded kernels with zeros where they are padding."""
        if len(set(self.kernel_sizes)) == 1:
            return weight
        taps = torch.arange(self.weight.shape[-1], device=self.weight.device)
        sizes = torch.tensor(self.kernel_sizes, device=self.weight.device).unsqueeze(1)
        starts = (max(self.kernel_sizes) - 1) // 2 - (sizes - 1) // 2
        inside = (taps >= starts) & (taps < starts + sizes)
        return weight * (inside if self.n_dims == 1 else inside.unsqueeze(1) & inside.unsqueeze(2))

    def _inside(self, kernel: int) -> tuple[int | slice, ...]:
        """Index a kernel inside the padded tensor so that its "same" convolution is that of the padded one."""
        size = self.kernel_sizes[kernel]
        start = (max(self.kernel_sizes) - 1) // 2 - (size - 1) // 2
        return (kernel, *[slice(start, start + size)] * self.n_dims)


def _exact(reconstruction: Tensor, x: Tensor) -> Tensor:
    """Return x in place of what differs from it by no more than rounding."""
    rounding = ROUNDING * x.abs().amax(dim=tuple(range(1, x.dim())), keepdim=True)
    return x.where((reconstruction - x).abs() <= rounding, reconstruction)

"""Extrema, some of which are dropped during training: the third future work of the paper."""

from collections.abc import Sequence

import torch
from torch import Tensor

from san.activations import Extrema
from san.functional import GivenDensity
from san.ops.shapes import Float

__all__ = ["DropoutExtrema"]


class DropoutExtrema(Extrema):
    """Drop each primary extremum with a probability while training; keep all at validation and test.

    The remaining activations are not scaled by 1 / (1 - p). The activations that Extrema keeps hardly overlap, so each
    should describe its own samples whether its neighbours are there or not; scaled, a kernel would learn to describe
    too little when all are there. The dropped activations are a function of the seed, the epoch, the batch, the
    example, the kernel within its model and the position.

    Args:
        probability: p, in [0, 1).
        seed: Seed of the dropped activations.
        border_tolerance: Samples by which two activations of a kernel may overlap, >= 0.
        require_sign: Whether to exclude negative local maxima and positive local minima.
        density: Minimum extrema distance in samples, as of :class:`san.activations.Extrema`.

    Raises:
        ValueError: If the probability is out of range, or the border tolerance or a density is invalid.

    Reference:
        Bizopoulos and Koutsouris, "Sparsely Activated Networks", Section VI, the third future work.
    """

    def __init__(
        self,
        probability: float,
        seed: int,
        border_tolerance: int = 2,
        require_sign: bool = True,
        density: GivenDensity = None,
    ) -> None:
        super().__init__(border_tolerance, require_sign, density)
        if not 0 <= probability < 1:
            raise ValueError(f"probability={probability} must be at least 0 and below 1")
        self.probability = probability
        self.seed = seed

    def forward(
        self,
        similarity: Float[Tensor, "batch kernels *space"],
        kernel_sizes: int | Sequence[int],
        n_models: int = 1,
    ) -> Float[Tensor, "batch kernels *space"]:
        """Return the activation maps; every model of a bank drops the activations that it would drop alone."""
        maps = super().forward(similarity, kernel_sizes, n_models)
        if self.step is None:
            return maps
        epoch, batch, rank, world_size = self.step
        generator = torch.Generator().manual_seed(((self.seed * 65537 + epoch) * 65537 + batch) % 2**63)
        of_model = (maps.shape[1] // n_models, *maps.shape[2:])
        drawn = torch.rand(len(maps) * world_size, *of_model, generator=generator)[rank::world_size]
        kept = (drawn >= self.probability).to(maps.device).repeat(1, n_models, *[1] * len(of_model[1:]))
        return maps.where(kept, 0)

"""The search of φ pursuit as a custom operator of torch: from examples and kernels to activation maps."""

from collections.abc import Sequence
from math import log10
from typing import no_type_check

import torch
from torch import Tensor

from san.ops import selection
from san.ops.backend import compiled_for
from san.ops.channels import correlate
from san.ops.kernels import mirror
from san.ops.operators import operator

__all__ = ["pursue"]


@operator("pursue")
def pursue(
    x: Tensor,
    kernels: Sequence[Tensor],
    n_weights: Sequence[int],
    distances: Sequence[int],
    adjoint: bool,
    squared: bool,
    max_activations: int,
    max_work: float,
    patience: int,
    refinements: int,
    perturbations: int,
) -> Tensor:
    """Return activation maps of low φ, [batch, kernels, *space], computed on the CPU for any device of x.

    The search sees each kernel at a norm of about 1, so a kernel of another norm has the same activations, with
    amplitudes divided by that norm. A kernel of zeros has none.

    Args:
        x: The examples, [batch, channels, *space].
        kernels: The kernels, [m] or [m, m], of several channels [channels, m] or [channels, m, m], model after model.
        n_weights: Number of weights W, per model.
        distances: Minimum distance of extrema in samples, per kernel, of the extrema that are refined as an alternative
            start; empty for no alternative start.
        adjoint: Whether the decoder is the adjoint one; if not, it mirrors the kernels.
        squared: Whether φ is of the squared error; if not, of the absolute error.
        max_activations: Maximum number of activations per example and model; 0 for no limit.
        max_work: Multiplications, per example and model, after which the search ends.
        patience: Number of atoms added without a lower φ after which greedy selection stops.
        refinements: Maximum number of passes over all atoms.
        perturbations: Perturbations per activation.

    Raises:
        ValueError: If numba is not available.
    """
    compiled = compiled_for(torch.empty(0))
    if compiled is None:
        raise ValueError("PhiPursuit needs numba, which is not available: pip install numba, or choose Extrema")
    space = x.shape[2:]
    norms = torch.stack([kernel.double().norm() for kernel in kernels]).cpu()
    # Rounded to the digits of x, so that the norm of a unit kernel counts as exactly 1 and changes no bit of the maps.
    digits = -round(log10(torch.finfo(x.dtype).resolution))
    scales = torch.where(norms > 0, norms.log2().round(decimals=digits).exp2(), 1)
    placed = kernels if adjoint else [mirror(kernel, x.dim() - 2) for kernel in kernels]
    atoms = [kernel.cpu().double() / scale for kernel, scale in zip(placed, scales, strict=True)]
    scale_of_map = scales.view(-1, *[1] * len(space))
    initial_maps = None
    if distances:
        similarity = _similarity(x, kernels)
        keep = selection.extrema(similarity, distances, True)
        initial_maps = torch.where(keep, similarity, 0).cpu().double() / scale_of_map
    maps: Tensor = compiled.pursue(
        x,
        atoms,
        adjoint=adjoint,
        n_weights=n_weights,
        initial_maps=initial_maps,
        squared=squared,
        per_activation=len(space) + 1,
        max_activations=max_activations or space.numel(),
        patience=patience,
        refinements=refinements,
        perturbations=perturbations,
        max_work=max_work,
    )
    return maps / scale_of_map.to(maps)


@torch.library.register_fake("san::pursue")
@no_type_check  # sizes are symbols there
def _(x: Tensor, kernels: Sequence[Tensor], *_args: object) -> Tensor:
    return x.new_empty(x.shape[0], len(kernels), *x.shape[2:])


def _similarity(x: Tensor, kernels: Sequence[Tensor]) -> Tensor:
    """Return the similarity maps; each is the same in any batch and bank, to the last bit.

    torch rounds a two-dimensional convolution differently in a larger one, and the search amplifies the difference.
    """
    examples = [x] if x.dim() == 3 else x.split(1)
    of_examples = [
        torch.cat([correlate(example, kernel.unsqueeze(0), [kernel.shape[-1]], True) for kernel in kernels], dim=1)
        for example in examples
    ]
    return torch.cat(of_examples)

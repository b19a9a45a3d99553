"""The sign in which kernels and activations are shown: the largest deflection of each kernel is positive.

A kernel and its activations can change their sign together without a change of the reconstruction, and chance decides
which sign a training finds. Figures, events, pages and :attr:`san.use.model.Model.kernels` have this sign; the stored
weights, ``network.encode`` and the metrics are as trained.
"""

import torch
from torch import Tensor

from san.networks import SparselyActivatedNetwork

__all__ = ["shown_atoms", "sign_of", "signs"]


def sign_of(atom: Tensor) -> float:
    """Return the sign of the largest absolute sample of a kernel, the first of equal ones; 1 for a kernel of zeros.

    Example:
        >>> sign_of(torch.tensor([0.5, -2.0, 1.0]))
        -1.0
    """
    samples = atom.detach().flatten()
    return -1.0 if float(samples[samples.abs().argmax()]) < 0 else 1.0


def signs(network: SparselyActivatedNetwork) -> Tensor:
    """Return the number, 1 or -1, that each kernel and its activation map are multiplied by to be shown, [kernels]."""
    return torch.tensor([sign_of(atom) for atom in network.atoms])


def shown_atoms(network: SparselyActivatedNetwork) -> list[Tensor]:
    """Return the kernels as the decoder places them, on the CPU, with a positive largest deflection."""
    return [sign_of(atom) * atom.detach().cpu() for atom in network.atoms]

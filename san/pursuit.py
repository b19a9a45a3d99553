"""An encoder that looks for the description of the lowest phi, given the kernels."""

from math import prod
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from san.activations import Encoder, Extrema
from san.ops.backend import compiled_for

if TYPE_CHECKING:
    from san.networks import SparselyActivatedNetwork

__all__ = ["PhiPursuit"]

LEAST = {
    "max_activations": 1, "max_work": 1, "patience": 0, "refinements": 0, "training_refinements": 0, "perturbations": 0,
}  # fmt: skip
LOSSES = {"torch.nn.functional.l1_loss": False, "torch.nn.functional.mse_loss": True}


class PhiPursuit(Encoder):
    r"""Choose positions and amplitudes of the kernels so that phi of each example is low; there is no density to set.

    Atoms, kernels as they are put back at one position, are taken greedily, as in orthogonal matching pursuit: the one
    that removes most of the squared residual, by its energy inside the example, and the amplitudes of those that
    overlap it again. The prefix of the lowest phi is kept. Then one atom after another is moved by a sample or two, or
    to another kernel, its amplitude set to the optimum of the loss, a weighted median of residual over kernel for the
    absolute error, and it is dropped where phi is lower without it; no such step raises phi. When not training, the
    activations of Extrema are refined in the same way, and the better of both descriptions is perturbed: some atoms
    near one are dropped and what is near is refined, which stays so where phi is lower.

    The maps are constants in the gradient: that through an optimal amplitude vanishes. Kernels are kept at unit norm.

    Args:
        loss: The loss that phi has, as the configuration names it.
        count_weights: How phi counts the weights of a two-dimensional kernel.
        max_activations: Of an example, of all kernels together; None for no more than that phi is better without.
        max_work: Multiplications for an example, of which a core does about 1e9 a second; it then goes on with what it
            has. A limit of time that does not depend on the machine.
        patience: Atoms that are added without a lower phi before no more are.
        refinements: Times that all atoms are refined, at most, >= 0.
        training_refinements: The same while training, >= 0.
        perturbations: Times, for each activation, that some near one are dropped and what is near is refined, >= 0; it
            stays so where phi is lower. While training there are none.

    Raises:
        ValueError: If a number is not in its range, or the loss is another.

    Reference:
        Mallat and Zhang, "Matching pursuits with time-frequency dictionaries", 1993; Pati et al., "Orthogonal matching
        pursuit", 1993; Lourenço, Martin and Stützle, "Iterated local search", 2003.
    """

    unit_norm = True

    def __init__(
        self,
        loss: str = "torch.nn.functional.l1_loss",
        count_weights: str = "samples",
        max_activations: int | None = None,
        max_work: float = 1e11,
        patience: int = 10,
        refinements: int = 10,
        training_refinements: int = 2,
        perturbations: int = 3,
    ) -> None:
        super().__init__()
        if loss not in LOSSES:
            raise ValueError(f"activation=phi_pursuit minimises {' or '.join(LOSSES)}, not loss._target_={loss}")
        for name, lowest in LEAST.items():
            value = locals()[name]
            whole = isinstance(value, int) or (name == "max_work" and isinstance(value, float))
            if not (value is None and name == "max_activations") and not (whole and value >= lowest):
                kind = "a number" if name == "max_work" else "an integer"
                raise ValueError(f"activation.{name}={value} must be {kind}, {lowest} or more")
        self.other = Extrema()
        self.squared = LOSSES[loss]
        self.count_weights = count_weights
        self.max_activations = max_activations
        self.max_work = max_work
        self.patience = patience
        self.refinements = refinements
        self.training_refinements = training_refinements
        self.perturbations = perturbations

    def encode(self, x: Tensor, network: "SparselyActivatedNetwork") -> Tensor:
        """Return the activation maps, [batch, kernels, *space], computed on the CPU wherever the examples are.

        Raises:
            ValueError: If numba cannot be used.
        """
        network.check(x.shape[2:])
        with torch.no_grad():
            kernels = [pattern.detach().cpu().double() for pattern in network.patterns]
        compiled = compiled_for(torch.empty(0))
        if compiled is None:
            raise ValueError("activation=phi_pursuit needs numba, which cannot be used here: choose another activation")
        rows = max(kernel.shape[0] for kernel in kernels) if network.n_dims == 2 else 1
        atoms = np.zeros((len(kernels), rows, max(network.kernel_sizes)))
        sizes = np.ones((len(kernels), 2), dtype=np.int64)
        for atom, size, kernel in zip(atoms, sizes, kernels, strict=True):
            size[-network.n_dims :] = kernel.shape
            atom[: size[0], : size[1]] = kernel.numpy()
        offsets = (sizes - 1) // 2 if network.decoder == "adjoint" else sizes // 2
        space = x.shape[2:]
        maps = compiled.pursue(
            x.detach().cpu().double().numpy().reshape(len(x), -1 if network.n_dims == 2 else 1, space[-1]),
            atoms, sizes, offsets,
            np.array([network.n_weights(self.count_weights, model) for model in range(network.n_models)]),
            None if self.training else self._extrema(x, network),
            squared=self.squared, per_activation=len(space) + 1,
            most=prod(space) if self.max_activations is None else self.max_activations,
            patience=self.patience,
            refinements=self.training_refinements if self.training else self.refinements,
            perturbations=0 if self.training else self.perturbations,
            most_work=self.max_work,
        )  # fmt: skip
        return torch.from_numpy(maps).to(x).view(len(x), len(kernels), *space)

    def _extrema(self, x: Tensor, network: "SparselyActivatedNetwork") -> NDArray[np.float64]:
        """Return the activation maps of Extrema with the same kernels, [batch, kernels, rows, columns]."""
        with torch.no_grad():
            maps = self.other(network.similarity(x), network.kernel_sizes).cpu().double().numpy()
        return maps if network.n_dims == 2 else np.expand_dims(maps, 2)

"""An encoder that searches for the description of the lowest φ, given the kernels."""

from typing import Literal

import torch
from torch import Tensor

from san.activations import Extrema
from san.networks import Encoder, SparselyActivatedNetwork, WeightCount
from san.ops.choices import check_choice
from san.ops.pursuit import pursue
from san.ops.shapes import space_of

__all__ = ["PhiPursuit"]

PursuitLoss = Literal["torch.nn.functional.l1_loss", "torch.nn.functional.mse_loss"]

MINIMA = {
    "max_activations": 1,
    "max_work": 1,
    "patience": 0,
    "refinements": 0,
    "training_refinements": 0,
    "perturbations": 0,
}


class PhiPursuit(Encoder):
    r"""Choose positions and amplitudes of the kernels to minimize φ of each example; there is no density to set.

    An atom is a kernel as the decoder places it at one position. Four stages:

    1. *Greedy selection*, as in orthogonal matching pursuit: add the atom that removes most of the squared residual,
       relative to its energy inside the example, and refit the amplitudes of the atoms that overlap it. Keep the prefix
       of the lowest φ.
    2. *Refinement*: move each atom by a sample or two or to another kernel, set its amplitude to the optimum of the
       loss (for the absolute error a weighted median of residual over kernel), and drop it if φ is lower without it. No
       such change raises φ.
    3. *Alternative start*, outside of training steps: refine the activations of Extrema in the same way and keep the
       better of both descriptions.
    4. *Perturbation*, outside of training steps: drop some atoms near one and refine their surroundings; undo it unless
       φ is lower. Each activation is such a centre ``perturbations`` times.

    The maps are constants in the gradient, because the gradient through an optimal amplitude is zero. The kernels are
    kept at unit norm; kernels of other norms have the same activations, with amplitudes divided by their norms.

    Args:
        loss: Target of the loss in φ, as the configuration names it.
        count_weights: How φ counts the weights of a two-dimensional kernel.
        max_activations: Maximum number of activations per example over all kernels; None for no limit.
        max_work: Multiplications per example, about 1e9 per second and core, after which the search stops with its
            current description. A time limit that does not depend on the machine.
        patience: Number of atoms added without a lower φ after which greedy selection stops.
        refinements: Maximum number of passes over all atoms, >= 0.
        training_refinements: The same in a training step, >= 0.
        perturbations: Perturbations per activation, >= 0.

    Raises:
        ValueError: If a number is out of range, or the loss is another one.

    Reference:
        Mallat and Zhang, "Matching pursuits with time-frequency dictionaries", 1993; Pati et al., "Orthogonal matching
        pursuit", 1993; Lourenço, Martin and Stützle, "Iterated local search", 2003.
    """

    unit_norm = True

    def __init__(
        self,
        *,
        loss: PursuitLoss,
        count_weights: WeightCount,
        max_activations: int | None,
        max_work: float,
        patience: int,
        refinements: int,
        training_refinements: int,
        perturbations: int,
    ) -> None:
        super().__init__()
        check_choice("loss", loss, PursuitLoss)
        for name, minimum in MINIMA.items():
            value = locals()[name]
            is_number = isinstance(value, int) or (name == "max_work" and isinstance(value, float))
            if not (value is None and name == "max_activations") and not (is_number and value >= minimum):
                kind = "a number" if name == "max_work" else "an integer"
                raise ValueError(f"{name}={value} must be {kind}, {minimum} or more")
        self.extrema = Extrema()
        self.squared = loss == "torch.nn.functional.mse_loss"
        self.count_weights: WeightCount = count_weights
        self.max_activations = max_activations
        self.max_work = max_work
        self.patience = patience
        self.refinements = refinements
        self.training_refinements = training_refinements
        self.perturbations = perturbations

    def encode(self, x: Tensor, network: SparselyActivatedNetwork) -> Tensor:
        """Return the activation maps, [batch, kernels, *space], computed on the CPU for any device of x.

        Raises:
            ValueError: If numba is not available.
        """
        network.check_space(space_of(x, network.n_dims, 1, network.channels))
        is_evaluation = self.step is None
        with torch.no_grad():
            maps: Tensor = pursue(
                x,
                [kernel.detach() for kernel in network.kernels],
                n_weights=[network.n_weights(self.count_weights, model) for model in range(network.n_models)],
                distances=[self.extrema.density(size, x.shape[2:]) for size in network.kernel_sizes if is_evaluation],
                adjoint=network.decoder == "adjoint",
                squared=self.squared,
                max_activations=self.max_activations or 0,
                max_work=float(self.max_work),
                patience=self.patience,
                refinements=self.refinements if is_evaluation else self.training_refinements,
                perturbations=self.perturbations if is_evaluation else 0,
            )
        return maps

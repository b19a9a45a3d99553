"""Convolutional dictionary learning and sparse coding by basis pursuit denoising (sporco)."""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import product
from math import inf, prod

import numpy as np
import torch
from torch import Tensor

from san.metrics import Loss, inverse_compression_ratio, normalized_reconstruction_loss, phi
from san.ops.shapes import Float
from san.peers.least_absolute import solve_least_absolute, solve_least_squares
from san.peers.peer import Array, Level, Peer

__all__ = ["ConvolutionalSparseCoding"]

# These constants change the atoms and the maps, and so the metrics.
MAX_ITERATIONS = 100  # iterations of the learning, and of the coding, at most; fewer leave the objective higher
RELATIVE_TOLERANCE = 1e-3  # relative primal and dual residuals, dimensionless, at which the coding has converged

Description = tuple[Tensor, Tensor]
"""The maps and the reconstruction of one example, [1, kernels, *space] and [1, channels, *space]."""

Solve = Callable[[Array, Array], Array]
"""A fit: the amplitudes, given the atoms at their positions, [channels * samples, activations], and the samples."""


class ConvolutionalSparseCoding(Peer):
    r"""Describe an example by the circular convolutions of sparse maps with learned atoms.

    .. math::
        \min_{\alpha} \frac{1}{2} \Big\lVert x - \sum_i \alpha^{(i)} * w^{(i)} \Big\rVert_2^2
        + \lambda \sum_i \lVert \alpha^{(i)} \rVert_1

    Activations of an absolute value above a threshold, in units of the root mean square of the training examples, are
    kept. Their amplitudes are refitted by least squares if the numbers stored for an example, (dim + 1) per activation,
    are at most its samples, of all channels. The levels of sparsity:

    - ``threshold``: this threshold.
    - ``threshold_by_phi``: for each example, the threshold that gives the lowest φ: this value, or this value doubled
      any number of times. The amplitudes are refitted to the least absolute error if that gives a lower φ.

    Of several channels, the atoms are sporco's multi-channel dictionary: each has one map and a part for each channel.

    The convolution is circular, as sporco defines it, so an atom may wrap around the end of an example. Each example is
    coded alone, because sporco adapts and stops the coding of a batch by all of its examples.

    Args:
        train: Training examples.
        kernel_size: Samples per axis of each atom, from 1 to the shortest axis of the space.
        n_kernels: Number of atoms to learn, >= 1.
        sparsity: The weight of the absolute activations, λ, > 0, for examples of a root mean square of 1.
        seed: Seed of the initial atoms, which are windows of the training examples.

    Reference:
        Wohlberg, "Efficient algorithms for convolutional sparse representations", IEEE TIP 2016; sporco's
        ``ConvBPDNDictLearn`` and ``ConvBPDN``.
    """

    package = "sporco"
    level_names = ("threshold", "threshold_by_phi")

    def __init__(
        self,
        train: Float[Tensor, "batch channels *space"],
        *,
        kernel_size: int,
        n_kernels: int,
        sparsity: float,
        seed: int,
    ) -> None:
        super().__init__(train, kernel_size=kernel_size, n_kernels=n_kernels, seed=seed)
        from sporco import fft
        from sporco.dictlrn.cbpdndl import ConvBPDNDictLearn

        # Measured FFTW plans differ from run to run, and so would results. One thread is fastest for short transforms.
        fft.pyfftw_planner_effort, fft.pyfftw_threads = "FFTW_ESTIMATE", 1
        self.sparsity = sparsity
        self.atom_shape = [kernel_size] * self.n_dims
        options = ConvBPDNDictLearn.Options({"Verbose": False, "MaxMainIter": MAX_ITERATIONS})
        learning = ConvBPDNDictLearn(
            self._initial_atoms(train), self._examples_last(train), sparsity, options, dimK=1, dimN=self.n_dims
        )
        learned = learning.solve().reshape(*self.atom_shape, self.n_channels, n_kernels)
        self.atoms = np.moveaxis(learned, (-1, -2), (0, 1)).reshape(n_kernels, -1)

    def describe(
        self, x: Float[Tensor, "batch channels *space"], levels: Sequence[Level], *, loss: Loss, n_weights: int
    ) -> Iterator[tuple[Float[Tensor, "batch kernels *space"], Float[Tensor, "batch channels *space"]]]:
        """Yield the activation maps and the reconstructions of the examples, one pair per level of sparsity.

        The examples are coded once; each level thresholds and refits the same maps.

        Args:
            x: The examples.
            levels: Levels of sparsity: ``threshold`` or ``threshold_by_phi``; see the class.
            loss: The reconstruction loss of φ.
            n_weights: W of φ, the number of weights of the atoms.
        """
        described = [list(self._describe_one(example[None], levels, loss, n_weights)) for example in x]
        for of_level in zip(*described, strict=True):
            maps, reconstructions = zip(*of_level, strict=True)
            yield torch.cat(maps), torch.cat(reconstructions)

    def _describe_one(self, x: Tensor, levels: Sequence[Level], loss: Loss, n_weights: int) -> Iterator[Description]:
        """Yield the maps and the reconstruction of one example for each level of sparsity."""
        coded = self._code(x)

        @cache  # levels share thresholds
        def keep(threshold: float, solve: Solve) -> Description:
            return self._refit(np.where(np.abs(coded) > threshold, coded, 0), x, solve)

        for level in levels:
            ((name, value),) = level.items()
            if name == "threshold":
                yield keep(value, solve_least_squares)
            else:
                thresholds = [value]
                while thresholds[-1] < np.abs(coded).max():
                    thresholds.append(2 * thresholds[-1])
                yield _lowest_phi(keep, thresholds, x, loss, n_weights)

    def _initial_atoms(self, train: Tensor) -> Array:
        """Draw a window of a training example for each atom, or noise if the window is zero.

        Returns:
            The atoms in sporco's order of axes, [*atom_shape, channels, kernels].
        """
        generator = np.random.default_rng(self.seed)
        atoms = np.empty((*self.atom_shape, self.n_channels, self.n_kernels))
        for kernel in range(self.n_kernels):
            example = train[generator.integers(len(train))].movedim(0, -1).double().numpy() / self.scale
            corner = [generator.integers(length - self.kernel_size + 1) for length in example.shape[:-1]]
            window = example[tuple(slice(start, start + self.kernel_size) for start in corner)]
            atoms[..., kernel] = window if window.any() else generator.standard_normal(window.shape)
        return atoms

    def _code(self, x: Tensor) -> Array:
        """Return the activation maps of one example before the threshold, [kernels, *space]."""
        from sporco.admm.cbpdn import ConvBPDN

        options = ConvBPDN.Options({"Verbose": False, "MaxMainIter": MAX_ITERATIONS, "RelStopTol": RELATIVE_TOLERANCE})
        by_channel = self.atoms.reshape(-1, self.n_channels, *self.atom_shape)
        atoms = np.moveaxis(by_channel, (0, 1), (-1, -2))
        coding = ConvBPDN(atoms, self._examples_last(x), self.sparsity, options, dimK=1, dimN=self.n_dims)
        coded: Array = np.moveaxis(coding.solve().reshape(*x.shape[2:], self.n_kernels), -1, 0)
        return coded

    def _refit(self, maps: Array, x: Tensor, solve: Solve) -> Description:
        """Refit the amplitudes of one example and return its maps and its reconstruction, in the unit of the data.

        Args:
            maps: The activation maps, [kernels, *space]; the nonzero samples are overwritten.
            x: The example, [1, channels, *space].
            solve: The fit of the amplitudes.
        """
        example = x.double().numpy().ravel() / self.scale
        kernels, *positions = maps.nonzero()
        offsets = np.indices(self.atom_shape).reshape(self.n_dims, -1, 1)
        space = x.shape[2:]
        covered = (np.stack(positions).reshape(self.n_dims, 1, -1) + offsets) % np.reshape(space, (-1, 1, 1))
        in_channel = np.ravel_multi_index(tuple(covered), space)
        by_channel = self.atoms[kernels].T.reshape(self.n_channels, len(in_channel), len(kernels))
        placed = np.zeros((self.n_channels, prod(space), len(kernels)))
        placed[:, in_channel, np.arange(len(kernels))] = by_channel
        placed_atoms: Array = placed.reshape(example.size, len(kernels))
        if 0 < len(kernels) * (self.n_dims + 1) <= example.size:
            maps[(kernels, *positions)] = solve(placed_atoms, example)
        reconstruction = placed_atoms @ maps[(kernels, *positions)]
        return self._in_data_units(maps[None]), self._in_data_units(reconstruction.reshape(x.shape))

    def _examples_last(self, x: Tensor) -> Array:
        """Return the scaled examples in sporco's order of axes, [*space, channels, examples]."""
        scaled: Array = np.moveaxis(x.double().numpy(), (0, 1), (-1, -2)) / self.scale
        return scaled

    def _in_data_units(self, values: Array) -> Tensor:
        return torch.from_numpy(self.scale * values).float()


def _lowest_phi(
    keep: Callable[[float, Solve], Description], thresholds: Sequence[float], x: Tensor, loss: Loss, n_weights: int
) -> Description:
    """Return the description of one example with the lowest φ, over ascending thresholds and both fits."""
    best, lowest = keep(thresholds[-1], solve_least_squares), inf
    for threshold, solve in product(reversed(thresholds), (solve_least_squares, solve_least_absolute)):
        maps, reconstruction = keep(threshold, solve)
        ratio = inverse_compression_ratio(maps, n_weights, x.shape[1])
        if ratio.item() > lowest:  # a lower threshold keeps more activations
            break
        of_fit = phi(ratio, normalized_reconstruction_loss(reconstruction, x, loss)).item()
        if of_fit < lowest:
            best, lowest = (maps, reconstruction), of_fit
    return best

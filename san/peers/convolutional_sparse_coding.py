"""Convolutional dictionary learning and sparse coding by basis pursuit denoising (sporco)."""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import product
from math import inf, prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from san.metrics import Loss, inverse_compression_ratio, loss_per_example, phi
from san.ops.shapes import Float
from san.peers.least_absolute import solve_least_absolute
from san.peers.least_squares import LeastSquaresPath
from san.peers.peer import Array, Level, Peer

__all__ = ["ConvolutionalSparseCoding"]

# These constants change the atoms and the maps, and so the metrics.
MAX_ITERATIONS = 100  # iterations of the learning, and of the coding, at most; fewer leave the objective higher
RELATIVE_TOLERANCE = 1e-3  # relative primal and dual residuals, dimensionless, at which the coding has converged

Description = tuple[Tensor, Tensor]
"""The maps and the reconstruction of one example, [1, kernels, *space] and [1, channels, *space]."""

Keep = Callable[[int, bool], Description]
"""The description by a number of the largest activations, refitted to the least squared or the least absolute error."""


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
        # FastSolve leaves out statistics of each iteration alone.
        parts = {"CBPDN": {"FastSolve": True}, "CCMOD": {"FastSolve": True}}
        options = ConvBPDNDictLearn.Options({"Verbose": False, "MaxMainIter": MAX_ITERATIONS, **parts})
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
        sizes = np.sort(np.abs(coded), axis=None)[::-1]
        thresholds_of = [_thresholds(level, sizes[0]) for level in levels]
        counts = {threshold: int((sizes > threshold).sum()) for of_level in thresholds_of for threshold in of_level}
        example = x.double().numpy().ravel() / self.scale
        largest = np.argsort(-np.abs(coded), axis=None, kind="stable")[: max(counts.values(), default=0)]
        at = np.unravel_index(largest, coded.shape)
        placed = self._place(at, x.shape[2:])
        # The activations above a threshold are the first columns, so one factorization gives every fit.
        refitted = [count for count in counts.values() if 0 < count * (self.n_dims + 1) <= example.size]
        path = LeastSquaresPath(placed[:, : max(refitted, default=0)], example)

        @cache  # levels share thresholds, and thresholds share activations
        def keep(count: int, absolute: bool) -> Description:
            kept = tuple(axis[:count] for axis in at)
            amplitudes = coded[kept]
            if count in refitted:
                amplitudes = solve_least_absolute(placed[:, :count], example) if absolute else path.solve(count)
            maps = np.zeros_like(coded)
            maps[kept] = amplitudes
            reconstruction = (placed[:, :count] @ amplitudes).reshape(x.shape)
            return self._in_data_units(maps[None]), self._in_data_units(reconstruction)

        for level, thresholds in zip(levels, thresholds_of, strict=True):
            of_level = [counts[threshold] for threshold in thresholds]
            if "threshold" in level:
                yield keep(of_level[0], False)
            else:
                yield _lowest_phi(keep, of_level, x, loss, n_weights)

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

        ends = {"MaxMainIter": MAX_ITERATIONS, "RelStopTol": RELATIVE_TOLERANCE}
        options = ConvBPDN.Options({"Verbose": False, "FastSolve": True, **ends})
        by_channel = self.atoms.reshape(-1, self.n_channels, *self.atom_shape)
        atoms = np.moveaxis(by_channel, (0, 1), (-1, -2))
        coding = ConvBPDN(atoms, self._examples_last(x), self.sparsity, options, dimK=1, dimN=self.n_dims)
        coded: Array = np.moveaxis(coding.solve().reshape(*x.shape[2:], self.n_kernels), -1, 0)
        return coded

    def _place(self, at: Sequence[NDArray[np.intp]], space: Sequence[int]) -> Array:
        """Return the atom of each activation at its position, [channels * samples, activations].

        Args:
            at: The kernel of each activation, and its position along each axis.
            space: Samples along each axis of the example.
        """
        kernels, *positions = at
        offsets = np.indices(self.atom_shape).reshape(self.n_dims, -1, 1)
        covered = (np.stack(positions).reshape(self.n_dims, 1, -1) + offsets) % np.reshape(space, (-1, 1, 1))
        in_channel = np.ravel_multi_index(tuple(covered), tuple(space))
        by_channel = self.atoms[kernels].T.reshape(self.n_channels, len(in_channel), len(kernels))
        placed = np.zeros((self.n_channels, prod(space), len(kernels)))
        placed[:, in_channel, np.arange(len(kernels))] = by_channel
        return placed.reshape(self.n_channels * prod(space), len(kernels))

    def _examples_last(self, x: Tensor) -> Array:
        """Return the scaled examples in sporco's order of axes, [*space, channels, examples]."""
        scaled: Array = np.moveaxis(x.double().numpy(), (0, 1), (-1, -2)) / self.scale
        return scaled

    def _in_data_units(self, values: Array) -> Tensor:
        return torch.from_numpy(self.scale * values).float()


def _thresholds(level: Level, largest: float) -> list[float]:
    """Return the thresholds of a level: one or, with the lowest φ, the value doubled up to the largest activation."""
    ((name, value),) = level.items()
    thresholds = [value]
    while name == "threshold_by_phi" and thresholds[-1] < largest:
        thresholds.append(2 * thresholds[-1])
    return thresholds


def _lowest_phi(keep: Keep, counts: Sequence[int], x: Tensor, loss: Loss, n_weights: int) -> Description:
    """Return the description of one example with the lowest φ, over descending numbers of activations and both fits."""
    of_zeros = loss_per_example(torch.zeros_like(x), x, loss)
    best, lowest = keep(counts[-1], False), inf
    for count, absolute in product(reversed(counts), (False, True)):
        maps, reconstruction = keep(count, absolute)
        ratio = inverse_compression_ratio(maps, n_weights, x.shape[1])
        if ratio.item() > lowest:  # a lower threshold keeps more activations
            break
        of_fit = phi(ratio, loss_per_example(reconstruction, x, loss) / of_zeros).item()
        if of_fit < lowest:
            best, lowest = (maps, reconstruction), of_fit
    return best

"""Convolutional dictionary learning and sparse coding by basis pursuit denoising (sporco)."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from scipy.linalg import lstsq
from torch import Tensor

from san.ops.shapes import Float
from san.peers.peer import Array, Level, Peer

__all__ = ["ConvolutionalSparseCoding"]

# These constants change the atoms and the maps, and so the metrics.
MAX_ITERATIONS = 100  # iterations of the learning, and of the coding, at most; fewer leave the objective higher
RELATIVE_TOLERANCE = 1e-3  # relative primal and dual residuals, dimensionless, at which the coding has converged


class ConvolutionalSparseCoding(Peer):
    r"""Describe an example by the circular convolutions of sparse maps with learned atoms.

    .. math::
        \min_{\alpha} \frac{1}{2} \Big\lVert x - \sum_i \alpha^{(i)} * w^{(i)} \Big\rVert_2^2
        + \lambda \sum_i \lVert \alpha^{(i)} \rVert_1

    A level of sparsity is a ``threshold``, in units of the root mean square of the training examples: activations of an
    absolute value above the threshold are kept. Their amplitudes are refitted by least squares if the numbers stored
    for an example, (dim + 1) per activation, are at most its samples. The convolution is circular, as sporco defines
    it, so an atom may wrap around the end of an example. The maps of a batch converge together, so they depend
    slightly on the other examples of the batch.

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
    level_names = ("threshold",)

    def __init__(
        self,
        train: Float[Tensor, "batch 1 *space"],
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
        self.atoms = learning.solve().reshape(-1, n_kernels).T

    def describe(
        self, x: Float[Tensor, "batch 1 *space"], levels: Sequence[Level]
    ) -> Iterator[tuple[Float[Tensor, "batch kernels *space"], Float[Tensor, "batch 1 *space"]]]:
        """Yield the activation maps and the reconstructions of the examples, one pair per level of sparsity.

        The examples are coded once; each level thresholds and refits the same maps.

        Args:
            x: The examples.
            levels: Levels of sparsity: ``threshold``; see the class.
        """
        from sporco.admm.cbpdn import ConvBPDN

        options = ConvBPDN.Options({"Verbose": False, "MaxMainIter": MAX_ITERATIONS, "RelStopTol": RELATIVE_TOLERANCE})
        atoms = self.atoms.T.reshape(*self.atom_shape, self.n_kernels)
        coding = ConvBPDN(atoms, self._examples_last(x), self.sparsity, options, dimK=1, dimN=self.n_dims)
        space = x.shape[2:]
        coded = coding.solve().reshape(*space, len(x), self.n_kernels)
        coded = np.moveaxis(coded, (-2, -1), (0, 1))
        examples = x.squeeze(1).flatten(1).double().numpy() / self.scale
        for level in levels:
            maps = np.where(np.abs(coded) > level["threshold"], coded, 0)
            reconstructions = np.stack([self._refit(*pair, space) for pair in zip(maps, examples, strict=True)])
            yield self._in_data_units(maps), self._in_data_units(reconstructions.reshape(x.shape))

    def _initial_atoms(self, train: Tensor) -> Array:
        """Draw a window of a training example for each atom, or noise if the window is zero, [*atom_shape, kernels]."""
        generator = np.random.default_rng(self.seed)
        atoms = np.empty((*self.atom_shape, self.n_kernels))
        for kernel in range(self.n_kernels):
            example = train[generator.integers(len(train)), 0].double().numpy() / self.scale
            corner = [generator.integers(length - self.kernel_size + 1) for length in example.shape]
            window = example[tuple(slice(start, start + self.kernel_size) for start in corner)]
            atoms[..., kernel] = window if window.any() else generator.standard_normal(self.atom_shape)
        return atoms

    def _refit(self, maps: Array, example: Array, space: Sequence[int]) -> Array:
        """Refit the amplitudes of one example by least squares, in place, and return its reconstruction.

        Args:
            maps: The activation maps of the example, [kernels, *space]; the nonzero samples are overwritten.
            example: The example, [samples].
            space: Samples of the example along each axis.
        """
        kernels, *positions = maps.nonzero()
        offsets = np.indices(self.atom_shape).reshape(self.n_dims, -1, 1)
        covered = (np.stack(positions).reshape(self.n_dims, 1, -1) + offsets) % np.reshape(space, (-1, 1, 1))
        placed_atoms = np.zeros((example.size, len(kernels)))
        placed_atoms[np.ravel_multi_index(tuple(covered), tuple(space)), np.arange(len(kernels))] = self.atoms[
            kernels
        ].T
        if 0 < len(kernels) * (self.n_dims + 1) <= example.size:
            solved = lstsq(placed_atoms, example, lapack_driver="gelsy", check_finite=False)
            maps[(kernels, *positions)] = solved[0]
        reconstruction: Array = placed_atoms @ maps[(kernels, *positions)]
        return reconstruction

    def _examples_last(self, x: Tensor) -> Array:
        """Return the scaled examples in sporco's order of axes, [*space, examples]."""
        scaled: Array = np.moveaxis(x.squeeze(1).double().numpy(), 0, -1) / self.scale
        return scaled

    def _in_data_units(self, values: Array) -> Tensor:
        return torch.from_numpy(self.scale * values).float()

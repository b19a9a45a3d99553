"""Other methods that describe a signal by a few patterns and their activations, from well-kept libraries.

Each is given what makes it best by phi: its own learning, amplitudes refitted by least squares, and a grid of settings.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.linalg import lstsq
from torch import Tensor

from san.activations import Identity
from san.metrics import Loss, MeanPerModel, MeanPhi, inverse_compression_ratio, normalized_reconstruction_loss
from san.networks import SparselyActivatedNetwork
from san.shapes import Float

__all__ = ["PEERS", "ConvolutionalSparseCoding", "PatchesOMP", "Peer", "judge", "require"]

PATCHES = 10_000  # to learn a dictionary from, at most
PASSES = 20  # over them
ITERATIONS = 100  # of convolutional sparse coding, with or without learning
BATCH = 200  # examples that are described at a time

Array = NDArray[np.float64]
Level = Mapping[str, float]


class Peer(ABC):
    """Learn patterns from training examples, and describe others by them.

    Amplitudes, tolerances and thresholds are in units of the root mean square of the training examples.

    Args:
        train: Training examples, [examples, 1, *space].
        kernel_size: Samples a side of a pattern, at most those of the space.
        n_kernels: Number of patterns.
        seed: Of what the learning begins with.
    """

    package: ClassVar[str]  # that it is imported from
    levels: ClassVar[tuple[str, ...]]  # names of what can be set after the learning, each by itself

    def __init__(self, train: Float[Tensor, "batch 1 *space"], *, kernel_size: int, n_kernels: int, seed: int) -> None:
        self.kernel_size = kernel_size
        self.n_kernels = n_kernels
        self.n_dims = train.dim() - 2
        self.seed = seed
        self.scale = float(train.square().mean().sqrt())
        self.patterns: Array = np.empty((0, kernel_size**self.n_dims))  # of norm one, [kernels, samples]

    def n_weights(self, count: str) -> int:
        """Count W as for a network of as many kernels; see :meth:`san.networks.SparselyActivatedNetwork.n_weights`."""
        sizes = [self.kernel_size] * len(self.patterns)
        return SparselyActivatedNetwork(sizes, Identity(), self.n_dims, seed=0).n_weights(count)

    @abstractmethod
    def describe(
        self, x: Float[Tensor, "batch 1 *space"], levels: Sequence[Level]
    ) -> Iterator[tuple[Float[Tensor, "batch kernels *space"], Float[Tensor, "batch 1 *space"]]]:
        """Give the activation maps and the reconstruction at each level of sparsity."""


class PatchesOMP(Peer):
    """Cut examples into patches side by side, and describe each by orthogonal matching pursuit with a dictionary.

    The dictionary is learned online from overlapping patches of the training examples. The pursuit stops in each patch
    at ``n_nonzero`` patterns, or where the mean square of what is left is at most ``tolerance``; it refits all
    amplitudes at each step. The library's takes one pattern before it looks at the tolerance; by ``tolerance_or_none``
    a patch that is within it has none. Where the patches do not fit, the last ones are padded with zeros.

    Reference:
        Mairal, Bach, Ponce and Sapiro, "Online dictionary learning for sparse coding", ICML 2009; scikit-learn's
        ``MiniBatchDictionaryLearning`` and ``orthogonal_mp_gram``.
    """

    package = "sklearn"
    levels = ("n_nonzero", "tolerance", "tolerance_or_none")

    def __init__(self, train: Float[Tensor, "batch 1 *space"], *, kernel_size: int, n_kernels: int, seed: int) -> None:
        super().__init__(train, kernel_size=kernel_size, n_kernels=n_kernels, seed=seed)
        from sklearn.decomposition import MiniBatchDictionaryLearning

        patches = self._patches(train / self.scale, stride=max(1, kernel_size // 4)).flatten(0, self.n_dims)
        kept = torch.randperm(len(patches), generator=torch.Generator().manual_seed(seed))[:PATCHES]
        learning = MiniBatchDictionaryLearning(n_kernels, max_iter=PASSES, fit_algorithm="lars", random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # where patches depend on one another, as those of a constant do
            found = learning.fit(patches[kept].double().numpy()).components_
        norms = np.linalg.norm(found, axis=1, keepdims=True)
        self.patterns = found[norms[:, 0] > 0] / norms[norms[:, 0] > 0]

    def describe(
        self, x: Float[Tensor, "batch 1 *space"], levels: Sequence[Level]
    ) -> Iterator[tuple[Float[Tensor, "batch kernels *space"], Float[Tensor, "batch 1 *space"]]]:
        """Pursue at each level: ``n_nonzero``, ``tolerance`` or ``tolerance_or_none``."""
        from sklearn.linear_model import orthogonal_mp_gram

        space = x.shape[2:]
        padding = [amount for length in reversed(space) for amount in (0, -length % self.kernel_size)]
        patches = self._patches(F.pad(x / self.scale, padding), stride=self.kernel_size)
        rows = patches.flatten(0, self.n_dims).double().numpy()
        energy, gram = np.square(rows).sum(1), self.patterns @ self.patterns.T
        every = (slice(None), slice(None), *[slice(None, None, self.kernel_size)] * self.n_dims)
        for level in levels:
            ((kind, value),) = level.items()
            stop: dict[str, Any] = (
                {"n_nonzero_coefs": min(int(value), len(gram))}
                if kind == "n_nonzero"
                else {"tol": value * rows.shape[1]}
            )
            pursued = energy > (stop["tol"] if kind == "tolerance_or_none" else 0)
            amplitudes = np.zeros((len(rows), len(gram)))
            if pursued.any():
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # where a patch is described exactly, and the pursuit ends early
                    correlation = self.patterns @ rows[pursued].T
                    found = orthogonal_mp_gram(gram, correlation, norms_squared=energy[pursued], **stop)
                amplitudes[pursued] = found.reshape(len(gram), -1).T
            maps = torch.zeros(len(x), len(gram), *space)
            maps[every] = self.scale * torch.from_numpy(amplitudes).float().view(*patches.shape[:-1], -1).movedim(-1, 1)
            described = torch.from_numpy(self.scale * amplitudes @ self.patterns).float()
            yield maps, self._side_by_side(described.view(patches.shape), space)

    def _patches(self, x: Tensor, stride: int) -> Tensor:
        """Return the patches, [examples, *patches, samples]."""
        found = x.squeeze(1)
        for axis in range(1, self.n_dims + 1):
            found = found.unfold(axis, self.kernel_size, stride)
        return found.flatten(self.n_dims + 1)

    def _side_by_side(self, patches: Tensor, space: Sequence[int]) -> Tensor:
        """Put patches back to where they were cut from, and leave out what was padded."""
        each = patches.unflatten(-1, [self.kernel_size] * self.n_dims)
        order = [0, *(axis + part for axis in range(1, self.n_dims + 1) for part in (0, self.n_dims))]
        counts = patches.shape[1:-1]
        whole = each.permute(order).reshape(len(patches), 1, *(count * self.kernel_size for count in counts))
        cropped: Tensor = whole[(..., *(slice(length) for length in space))]
        return cropped


class ConvolutionalSparseCoding(Peer):
    """Describe an example by convolutions of sparse maps with patterns that are learned, as basis pursuit denoising.

    The maps minimise half the squared error plus ``sparsity`` times the sum of their absolute values. Of them, what is
    above a ``threshold`` stays, with amplitudes refitted by least squares where there are as many numbers stored as
    samples or fewer. The convolution is circular, as the library's.

    Reference:
        Wohlberg, "Efficient algorithms for convolutional sparse representations", IEEE TIP 2016; sporco's
        ``ConvBPDNDictLearn`` and ``ConvBPDN``.
    """

    package = "sporco"
    levels = ("threshold",)

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

        # Plans that are measured differ from run to run, and so do results; short transforms need one thread.
        fft.pyfftw_planner_effort, fft.pyfftw_threads = "FFTW_ESTIMATE", 1
        self.sparsity = sparsity
        self.shape = [kernel_size] * self.n_dims
        drawn = np.random.default_rng(seed)
        begun = np.empty((*self.shape, n_kernels))
        for kernel in range(n_kernels):
            example = train[drawn.integers(len(train)), 0].double().numpy() / self.scale
            corner = [drawn.integers(length - kernel_size + 1) for length in example.shape]
            window = example[tuple(slice(start, start + kernel_size) for start in corner)]
            begun[..., kernel] = window if window.any() else drawn.standard_normal(self.shape)
        options = ConvBPDNDictLearn.Options({"Verbose": False, "MaxMainIter": ITERATIONS})
        learning = ConvBPDNDictLearn(begun, self._last(train), sparsity, options, dimK=1, dimN=self.n_dims)
        self.patterns = learning.solve().reshape(-1, n_kernels).T

    def describe(
        self, x: Float[Tensor, "batch 1 *space"], levels: Sequence[Level]
    ) -> Iterator[tuple[Float[Tensor, "batch kernels *space"], Float[Tensor, "batch 1 *space"]]]:
        """Code once, and leave out and refit at each ``threshold``."""
        from sporco.admm.cbpdn import ConvBPDN

        options = ConvBPDN.Options({"Verbose": False, "MaxMainIter": ITERATIONS, "RelStopTol": 1e-3})
        patterns = self.patterns.T.reshape(*self.shape, self.n_kernels)
        coding = ConvBPDN(patterns, self._last(x), self.sparsity, options, dimK=1, dimN=self.n_dims)
        space = x.shape[2:]
        codes = coding.solve().reshape(*space, len(x), self.n_kernels)
        codes = np.moveaxis(codes, (-2, -1), (0, 1))
        examples = x.squeeze(1).flatten(1).double().numpy() / self.scale
        for level in levels:
            maps = np.where(np.abs(codes) > level["threshold"], codes, 0)
            described = np.stack([self._refit(*pair, space) for pair in zip(maps, examples, strict=True)])
            yield self._restored(maps), self._restored(described.reshape(x.shape))

    def _refit(self, maps: Array, example: Array, space: Sequence[int]) -> Array:
        """Give the activations of an example the amplitudes of the least squares, in place; return what they make."""
        kernels, *positions = maps.nonzero()
        around = np.indices(self.shape).reshape(self.n_dims, -1, 1)
        places = (np.stack(positions).reshape(self.n_dims, 1, -1) + around) % np.reshape(space, (-1, 1, 1))
        instances = np.zeros((example.size, len(kernels)))
        instances[np.ravel_multi_index(tuple(places), tuple(space)), np.arange(len(kernels))] = self.patterns[kernels].T
        if 0 < len(kernels) * (self.n_dims + 1) <= example.size:
            solved = lstsq(instances, example, lapack_driver="gelsy", check_finite=False)
            maps[(kernels, *positions)] = solved[0]
        made: Array = instances @ maps[(kernels, *positions)]
        return made

    def _last(self, x: Tensor) -> Array:
        """Return examples as the library has them, [*space, examples]."""
        scaled: Array = np.moveaxis(x.squeeze(1).double().numpy(), 0, -1) / self.scale
        return scaled

    def _restored(self, values: Array) -> Tensor:
        return torch.from_numpy(self.scale * values).float()


PEERS: dict[str, type[Peer]] = {"patches_omp": PatchesOMP, "csc": ConvolutionalSparseCoding}


def require(names: Sequence[str]) -> None:
    """Refuse peers that there are not, or whose library is not installed.

    Raises:
        ValueError: If there is one of these.
    """
    for name in names:
        if name not in PEERS:
            raise ValueError(f"peers={list(names)}: there is no {name}, but {', '.join(PEERS)}")
        if find_spec(PEERS[name].package) is None:
            raise ValueError(
                f"peers={list(names)}: {name} needs {PEERS[name].package}: pip install 'san[peers]', or leave it out"
            )


def judge(
    peer: Peer, x: Float[Tensor, "batch 1 *space"], levels: Sequence[Level], *, loss: Loss, count_weights: str
) -> list[dict[str, float]]:
    """Return the mean figures over examples at each level of sparsity, as those of a network.

    Args:
        peer: What describes them.
        x: The examples.
        levels: The levels of sparsity.
        loss: The reconstruction loss.
        count_weights: See :meth:`Peer.n_weights`.
    """
    n_weights = peer.n_weights(count_weights)
    means = {"cr_inverse": MeanPerModel(len(levels)), "loss_normalized": MeanPerModel(len(levels))}
    mean_phi = MeanPhi(len(levels))
    for batch in x.split(BATCH):
        pairs = [
            (inverse_compression_ratio(maps, n_weights), normalized_reconstruction_loss(reconstruction, batch, loss))
            for maps, reconstruction in peer.describe(batch, levels)
        ]
        ratios, losses = (torch.stack(values, dim=1).flatten() for values in zip(*pairs, strict=True))
        means["cr_inverse"].update(ratios)
        means["loss_normalized"].update(losses)
        mean_phi.update(ratios, losses)
    values = {name: mean.compute().view(-1).tolist() for name, mean in {"phi": mean_phi, **means}.items()}
    return [{name: values[name][index] for name in values} for index in range(len(levels))]

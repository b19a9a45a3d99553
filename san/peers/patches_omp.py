"""Patches side by side, each described by orthogonal matching pursuit with a learned dictionary (scikit-learn)."""

import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from san.ops.shapes import Float
from san.peers.peer import Array, Level, Peer

__all__ = ["PatchesOMP"]

# These constants change the learned atoms, and so the metrics.
MAX_TRAINING_PATCHES = 10_000  # patches; a random subset of this size is learned from if there are more
LEARNING_PASSES = 20  # passes over the training patches, at most; the learning may converge earlier
STRIDES_PER_ATOM = 4  # training patches begin every kernel_size // 4 samples per axis, or every sample; higher: more


class PatchesOMP(Peer):
    """Cut examples into patches side by side and describe each patch by orthogonal matching pursuit.

    The dictionary is learned online from overlapping patches of the training examples. If the space is not a multiple
    of the patch size, the last patches are padded with zeros and the reconstruction is cropped. Each patch is an
    activation of at most every atom, at the first sample of the patch. The pursuit refits all amplitudes of a patch at
    each step and stops by the level of sparsity:

    - ``n_nonzero``: at this number of atoms per patch.
    - ``tolerance``: when the mean squared residual of the patch, in units of the mean square of the training examples,
      is at most this value. scikit-learn selects one atom before it compares the residual.
    - ``tolerance_or_none``: as ``tolerance``, but a patch whose mean square is within the tolerance has no atom.

    Args:
        train: Training examples.
        kernel_size: Samples per axis of each atom and patch, from 1 to the shortest axis of the space.
        n_kernels: Number of atoms to learn, >= 1; atoms that are learned as zeros are dropped.
        seed: Seed of the selection of training patches and of the dictionary learning.

    Reference:
        Mairal, Bach, Ponce and Sapiro, "Online dictionary learning for sparse coding", ICML 2009; scikit-learn's
        ``MiniBatchDictionaryLearning`` and ``orthogonal_mp_gram``.
    """

    package = "sklearn"
    level_names = ("n_nonzero", "tolerance", "tolerance_or_none")

    def __init__(self, train: Float[Tensor, "batch 1 *space"], *, kernel_size: int, n_kernels: int, seed: int) -> None:
        super().__init__(train, kernel_size=kernel_size, n_kernels=n_kernels, seed=seed)
        from sklearn.decomposition import MiniBatchDictionaryLearning

        stride = max(1, kernel_size // STRIDES_PER_ATOM)
        patches = self._patches(train / self.scale, stride).flatten(0, self.n_dims)
        order = torch.randperm(len(patches), generator=torch.Generator().manual_seed(seed))
        training_patches = patches[order[:MAX_TRAINING_PATCHES]].double().numpy()
        learning = MiniBatchDictionaryLearning(
            n_kernels, max_iter=LEARNING_PASSES, fit_algorithm="lars", random_state=seed
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # linearly dependent patches, such as those of a constant signal
            atoms = learning.fit(training_patches).components_
        norms = np.linalg.norm(atoms, axis=1)
        self.atoms = atoms[norms > 0] / norms[norms > 0, None]

    def describe(
        self, x: Float[Tensor, "batch 1 *space"], levels: Sequence[Level]
    ) -> Iterator[tuple[Float[Tensor, "batch kernels *space"], Float[Tensor, "batch 1 *space"]]]:
        """Yield the activation maps and the reconstructions of the examples, one pair per level of sparsity.

        Args:
            x: The examples.
            levels: Levels of sparsity: ``n_nonzero``, ``tolerance`` or ``tolerance_or_none``; see the class.
        """
        space = x.shape[2:]
        padding = [amount for length in reversed(space) for amount in (0, -length % self.kernel_size)]
        patches = self._patches(F.pad(x / self.scale, padding), stride=self.kernel_size)
        rows = patches.flatten(0, self.n_dims).double().numpy()
        first_samples = (slice(None), slice(None), *[slice(None, None, self.kernel_size)] * self.n_dims)
        for level in levels:
            amplitudes = self._pursue(rows, level)
            maps = torch.zeros(len(x), len(self.atoms), *space)
            by_patch = torch.from_numpy(amplitudes).float().view(*patches.shape[:-1], -1)
            maps[first_samples] = self.scale * by_patch.movedim(-1, 1)
            described = torch.from_numpy(self.scale * amplitudes @ self.atoms).float()
            yield maps, self._join(described.view(patches.shape), space)

    def _pursue(self, patches: Array, level: Level) -> Array:
        """Return the amplitudes of the atoms in each patch, [patches, kernels]."""
        from sklearn.linear_model import orthogonal_mp_gram

        ((name, value),) = level.items()
        energy = np.square(patches).sum(1)
        gram = self.atoms @ self.atoms.T
        stop: dict[str, float]
        if name == "n_nonzero":
            stop = {"n_nonzero_coefs": min(int(value), len(gram))}
        else:
            stop = {"tol": value * patches.shape[1]}
        pursued = energy > (stop["tol"] if name == "tolerance_or_none" else 0)
        amplitudes = np.zeros((len(patches), len(gram)))
        if pursued.any():
            correlation = self.atoms @ patches[pursued].T
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a pursuit that ends early, at an exact description
                selected = orthogonal_mp_gram(gram, correlation, norms_squared=energy[pursued], **stop)
            amplitudes[pursued] = selected.reshape(len(gram), -1).T
        return amplitudes

    def _patches(self, x: Tensor, stride: int) -> Tensor:
        """Return the patches of the examples, [examples, *patches, samples]."""
        patches = x.squeeze(1)
        for axis in range(1, self.n_dims + 1):
            patches = patches.unfold(axis, self.kernel_size, stride)
        return patches.flatten(self.n_dims + 1)

    def _join(self, patches: Tensor, space: Sequence[int]) -> Tensor:
        """Join patches that lie side by side and crop the padding."""
        unflattened = patches.unflatten(-1, [self.kernel_size] * self.n_dims)
        order = [0, *(axis + part for axis in range(1, self.n_dims + 1) for part in (0, self.n_dims))]
        padded_space = [count * self.kernel_size for count in patches.shape[1:-1]]
        joined = unflattened.permute(order).reshape(len(patches), 1, *padded_space)
        cropped: Tensor = joined[(..., *(slice(length) for length in space))]
        return cropped

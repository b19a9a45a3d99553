"""Patches side by side, each described by orthogonal matching pursuit with a dictionary that scikit-learn learns."""

import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from san.metrics import Loss
from san.ops.shapes import Float
from san.peers.allocation import allocate_atoms, refit_least_absolute
from san.peers.peer import Array, Level, Peer
from san.peers.pursuit import pursue

__all__ = ["PatchesOMP"]

# These constants change the learned atoms, and so the metrics.
MAX_TRAINING_PATCHES = 10_000  # patches; a random subset of this size is learned from if there are more
LEARNING_PASSES = 20  # passes over the training patches, at most; the learning may converge earlier
STRIDES_PER_ATOM = 4  # training patches begin every kernel_size // 4 samples per axis, or every sample; higher: more


class PatchesOMP(Peer):
    """Cut examples into patches side by side and describe each patch by orthogonal matching pursuit.

    The dictionary is learned online from overlapping patches of the training examples. A patch has the samples of all
    channels of its place. If the space is not a multiple
    of the patch size, the last patches are padded with zeros and the reconstruction is cropped. Each patch is an
    activation of at most every atom, at the first sample of the patch. The pursuit refits all amplitudes of a patch at
    each step by least squares and stops by the level of sparsity:

    - ``n_nonzero``: at this number of atoms per patch.
    - ``tolerance``: when the mean squared residual of the patch, in units of the mean square of the training examples,
      is at most this value, with one atom or more.
    - ``tolerance_or_none``: as ``tolerance``, but a patch whose mean square is within the tolerance has no atom.
    - ``n_nonzero_by_phi``: at the number of atoms of each patch, from none to this number, that gives the lowest φ of
      the example. The amplitudes of a patch are refitted to the least absolute error if that lowers the loss.

    Args:
        train: Training examples.
        kernel_size: Samples per axis of each atom and patch, from 1 to the shortest axis of the space.
        n_kernels: Number of atoms to learn, >= 1; atoms that are learned as zeros are dropped.
        alpha: Weight of the absolute amplitudes in the sum that the learning minimizes, > 0; the other part is half the
            squared error, of patches of a mean square of about 1.
        seed: Seed of the selection of training patches and of the dictionary learning.

    Reference:
        Mairal, Bach, Ponce and Sapiro, "Online dictionary learning for sparse coding", ICML 2009; scikit-learn's
        ``MiniBatchDictionaryLearning``, and its ``orthogonal_mp_gram`` for many patches at a time, see
        :func:`san.peers.pursuit.pursue`.
    """

    package = "sklearn"
    level_names = ("n_nonzero", "tolerance", "tolerance_or_none", "n_nonzero_by_phi")

    def __init__(
        self,
        train: Float[Tensor, "batch channels *space"],
        *,
        kernel_size: int,
        n_kernels: int,
        alpha: float,
        seed: int,
    ) -> None:
        super().__init__(train, kernel_size=kernel_size, n_kernels=n_kernels, seed=seed)
        from sklearn.decomposition import MiniBatchDictionaryLearning

        stride = max(1, kernel_size // STRIDES_PER_ATOM)
        patches = self._patches(train / self.scale, stride).flatten(0, self.n_dims)
        order = torch.randperm(len(patches), generator=torch.Generator().manual_seed(seed))
        training_patches = patches[order[:MAX_TRAINING_PATCHES]].double().numpy()
        # Coordinate descent and least-angle regression find the same minimum; the former in a third of the time.
        learning = MiniBatchDictionaryLearning(
            n_kernels, alpha=alpha, max_iter=LEARNING_PASSES, fit_algorithm="cd", random_state=seed
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # linearly dependent patches, such as those of a constant signal
            atoms = learning.fit(training_patches).components_
        norms = np.linalg.norm(atoms, axis=1)
        self.atoms = atoms[norms > 0] / norms[norms > 0, None]

    def describe(
        self, x: Float[Tensor, "batch channels *space"], levels: Sequence[Level], *, loss: Loss, n_weights: int
    ) -> Iterator[tuple[Float[Tensor, "batch kernels *space"], Float[Tensor, "batch channels *space"]]]:
        """Yield the activation maps and the reconstructions of the examples, one pair per level of sparsity.

        The patches are pursued once; each level stops the pursuits at a step.

        Args:
            x: The examples.
            levels: Levels of sparsity: ``n_nonzero``, ``tolerance``, ``tolerance_or_none`` or ``n_nonzero_by_phi``; see
                the class.
            loss: The reconstruction loss of φ.
            n_weights: W of φ, the number of weights of the atoms.
        """
        space = x.shape[2:]
        patches = self._cut(x / self.scale)
        rows = patches.flatten(0, self.n_dims).double().numpy()
        pursuits = pursue(self.atoms, rows)
        first_samples = (slice(None), slice(None), *[slice(None, None, self.kernel_size)] * self.n_dims)
        for level in levels:
            ((name, value),) = level.items()
            if name == "n_nonzero_by_phi":
                amplitudes = self._lowest_phi(x, rows, pursuits[:, : int(value) + 1], loss, n_weights)
            else:
                n_atoms = self._n_atoms(rows, pursuits, name, value)
                amplitudes = pursuits[np.arange(len(rows)), n_atoms]
            maps = torch.zeros(len(x), len(self.atoms), *space)
            by_patch = torch.from_numpy(amplitudes).float().view(*patches.shape[:-1], -1)
            maps[first_samples] = self.scale * by_patch.movedim(-1, 1)
            described = torch.from_numpy(self.scale * amplitudes @ self.atoms).float()
            yield maps, self._join(described.view(patches.shape), space)

    def _n_atoms(self, patches: Array, pursuits: Array, name: str, value: float) -> NDArray[np.intp]:
        """Return the step at which a level of sparsity stops the pursuit of each patch, [patches]."""
        n_steps = pursuits.shape[1] - 1
        if name == "n_nonzero":
            return np.full(len(patches), min(int(value), n_steps))
        residual = np.square(patches[:, None] - pursuits @ self.atoms).mean(2)
        stops = residual <= value
        stops[:, 0] &= name == "tolerance_or_none"
        stops[:, -1] = True
        steps: NDArray[np.intp] = stops.argmax(1)
        return steps

    def _lowest_phi(self, x: Tensor, patches: Array, pursuits: Array, loss: Loss, n_weights: int) -> Array:
        """Return the amplitudes of the lowest φ of each example, [patches, kernels].

        Args:
            x: The examples.
            patches: Their patches, divided by the scale, [patches, channels * samples].
            pursuits: The amplitudes after each step of the pursuits, [patches, 1 + steps, kernels].
            loss: The reconstruction loss.
            n_weights: W, the number of weights of the atoms.
        """
        inside = self._cut(torch.ones_like(x)).flatten(0, self.n_dims)[:, None].bool()
        target = torch.from_numpy(self.scale * patches)[:, None]

        def losses_of(amplitudes: Array) -> Array:
            described = torch.from_numpy(self.scale * amplitudes @ self.atoms)
            errors = loss(described, target.expand_as(described), reduction="none")
            summed: Array = errors.where(inside, 0).sum(2).numpy()
            return summed

        refitted = refit_least_absolute(self.atoms, patches, pursuits)
        losses, refitted_losses = losses_of(pursuits), losses_of(refitted)
        amplitudes = np.where((refitted_losses < losses)[..., None], refitted, pursuits)
        lowest = np.minimum(losses, refitted_losses).reshape(len(x), -1, pursuits.shape[1])
        n_atoms = [allocate_atoms(of_example, n_weights, x[0].numel(), self.n_dims) for of_example in lowest]
        chosen: Array = amplitudes[np.arange(len(patches)), np.concatenate(n_atoms)]
        return chosen

    def _cut(self, x: Tensor) -> Tensor:
        """Return the patches side by side, padded with zeros, [examples, *patches, channels * samples]."""
        padding = [amount for length in reversed(x.shape[2:]) for amount in (0, -length % self.kernel_size)]
        return self._patches(F.pad(x, padding), stride=self.kernel_size)

    def _patches(self, x: Tensor, stride: int) -> Tensor:
        """Return the patches of the examples, [examples, *patches, channels * samples]."""
        patches = x
        for axis in range(2, self.n_dims + 2):
            patches = patches.unfold(axis, self.kernel_size, stride)
        return patches.movedim(1, self.n_dims + 1).flatten(self.n_dims + 1)

    def _join(self, patches: Tensor, space: Sequence[int]) -> Tensor:
        """Join patches that lie side by side and crop the padding."""
        channels_first = patches.unflatten(-1, [self.n_channels, *[self.kernel_size] * self.n_dims])
        unflattened = channels_first.movedim(self.n_dims + 1, 1)
        order = [0, 1, *(axis + part for axis in range(2, self.n_dims + 2) for part in (0, self.n_dims))]
        padded_space = [count * self.kernel_size for count in patches.shape[1:-1]]
        joined = unflattened.permute(order).reshape(len(patches), self.n_channels, *padded_space)
        cropped: Tensor = joined[(..., *(slice(length) for length in space))]
        return cropped

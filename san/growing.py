"""Kernels that are created while training where the description is worst, and dropped when phi says so."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from san.activations import Encoder
from san.initialization import window_of_most
from san.metrics import Loss, figures_per_model, phi
from san.networks import SparselyActivatedNetwork

__all__ = ["GrowingNetwork"]

EXAMPLES = 256  # of which the maps are in memory at a time


class GrowingNetwork(SparselyActivatedNetwork):
    r"""Begin with one kernel; every so many epochs drop those that phi is lower without, and create one.

    Before an epoch that is a multiple of ``every``, for each model alone:

    - As long as validation phi is lower without one of its kernels, that without which it is lowest is dropped, but
      never the last one.
    - If there is room, the window of the training examples with the largest sum of :math:`|x - \hat{x}|` becomes a new
      kernel: :math:`x - \hat{x}` there, scaled to the norm one. It is on trial until the next time.

    W counts the kernels in use. One that is not has zeros for weights, which give no activations and no gradient, so
    that nothing else has to know of it.

    Args:
        kernel_sizes: Samples a side of each kernel, >= 1: as many as there may be at most.
        activation: What turns similarity maps into activation maps; of a map of zeros it must keep nothing.
        n_dims: 1 for signals, 2 for images.
        every: Epochs from one change to the next, >= 1.
        **how: As of :class:`san.networks.SparselyActivatedNetwork`.

    Raises:
        ValueError: If ``every`` is not a positive integer, or as of a plain network.

    Reference:
        Bizopoulos and Koutsouris, "Sparsely Activated Networks", Section VI, the fourth of the future work.
    """

    def __init__(
        self, kernel_sizes: Sequence[int], activation: Encoder, n_dims: int = 1, *, every: int, **how: Any
    ) -> None:
        super().__init__(kernel_sizes, activation, n_dims, **how)
        if not isinstance(every, int) or every < 1:
            raise ValueError(f"network.every={every} must be an integer, 1 or more: the epochs between two changes")
        self.every = every
        self.options = {"every": every}
        with torch.no_grad():
            self._by_model()[:, 1:] = 0

    @property
    def in_use(self) -> list[bool]:
        """Whether each kernel has any weight."""
        used: list[bool] = (self.weight.detach().flatten(1) != 0).any(1).tolist()
        return used

    def n_weights(self, count: str = "samples", model: int = 0) -> int:
        """Count the weights W of the kernels of a model that are in use."""
        super().n_weights(count, model)  # refuses what is unknown
        sizes, power = self.sizes_of_models[model], self.n_dims if count == "samples" else 1
        used = (self._by_model()[model].flatten(1) != 0).any(1).tolist()
        return sum(size**power for size, own in zip(sizes, used, strict=True) if own)

    @torch.no_grad()
    def begin_epoch(self, epoch: int, train: Tensor, validation: Tensor, loss: Loss, count: str) -> Tensor | None:
        """Change the kernels, if it is time to.

        Args:
            epoch: That begins, from 0 on.
            train: All training examples, [examples, 1, *space].
            validation: All validation examples.
            loss: The reconstruction loss.
            count: How phi counts weights; see :meth:`n_weights`.

        Returns:
            Which kernels are another than before, [kernels], or None if it is not time.
        """
        if epoch == 0 or epoch % self.every:
            return None
        before = self.weight.detach().clone()
        self._drop(validation, loss, count)
        self._create(train)
        return (self.weight != before).flatten(1).any(1)

    def _drop(self, x: Tensor, loss: Loss, count: str) -> None:
        while True:
            lowest, chosen = self._phi(x, loss, count), [-1] * self.n_models
            weight = self._by_model()
            for own in range(weight.shape[1]):
                tried = weight[:, own].clone()
                weight[:, own] = 0
                for model, without in enumerate(self._phi(x, loss, count)):
                    if bool(weight[model].any()) and without < lowest[model]:
                        lowest[model], chosen[model] = without, own
                weight[:, own] = tried
            if max(chosen) < 0:
                return
            for model, own in enumerate(chosen):
                if own >= 0:
                    weight[model, own] = 0

    def _phi(self, x: Tensor, loss: Loss, count: str) -> list[float]:
        """Return the mean phi of each model."""
        total = torch.zeros(self.n_models, dtype=torch.float64)
        n_weights = [self.n_weights(count, model) for model in range(self.n_models)]
        for examples, maps, reconstruction in self._described(x):
            figures = phi(*figures_per_model(maps, reconstruction, examples, n_weights, loss))
            total += figures.view(-1, self.n_models).sum(0, dtype=torch.float64).cpu()
        means: list[float] = (total / len(x)).tolist()
        return means

    def _create(self, x: Tensor) -> None:
        weight = self._by_model()
        worst = [0.0] * self.n_models
        found: dict[int, Tensor] = {}
        for examples, _, reconstruction in self._described(x):
            missing = examples - reconstruction
            for model, sizes in enumerate(self.sizes_of_models):
                free = (~weight[model].flatten(1).any(1)).nonzero().flatten().tolist()
                if not free:
                    continue
                size = sizes[free[0]]
                of_model = missing[:, [model]]
                most, where = window_of_most(of_model.abs(), size)
                if most > worst[model]:
                    worst[model], found[model] = float(most), of_model[where].clone()
        for model, window in found.items():
            own = int((~weight[model].flatten(1).any(1)).nonzero()[0])
            kernel = model * weight.shape[1] + own
            self.weight[self._inside(kernel)] = window / window.norm()

    def _described(self, x: Tensor) -> Iterable[tuple[Tensor, Tensor, Tensor]]:
        """Return some examples at a time, with their maps and reconstructions."""
        for some in x.split(EXAMPLES):
            examples = some.to(self.weight.device)
            maps = self.encode(examples)
            yield examples, maps, self.decode(maps)

    def _by_model(self) -> Tensor:
        """Return the weights as a view, [models, kernels, *extent]."""
        return self.weight.detach().view(self.n_models, -1, *self.weight.shape[1:])

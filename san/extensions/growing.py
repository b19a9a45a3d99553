"""A network that adds kernels where the residual is largest and drops kernels that raise φ."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from san.extensions.bank_metrics import metrics_per_model
from san.extensions.initialization import highest_mean_window
from san.metrics import Loss, phi
from san.networks import Encoder, SparselyActivatedNetwork, WeightCount
from san.ops.shapes import Bool, Dimensions

__all__ = ["GrowingNetwork"]

EXAMPLES_AT_ONCE = 256  # examples encoded at a time, which bounds memory and changes no result


class GrowingNetwork(SparselyActivatedNetwork):
    r"""Start with one kernel; every few epochs drop kernels that raise φ and add one.

    :meth:`change_kernels` does the following for each model independently:

    - While validation φ is lower without one of its kernels, drop the kernel without which φ is lowest, but never the
      last kernel.
    - If the model has a free kernel, fill it with :math:`x - \hat{x}` in the window of the training examples with the
      largest sum of :math:`|x - \hat{x}|`, scaled to unit norm. The next change keeps or drops it.

    W counts the kernels in use. A kernel that is not in use is zero, so it has no activations and no gradient.

    Args:
        kernel_sizes: Samples per axis of each kernel, >= 1; their number is the maximum number of kernels.
        activation: Encoder; it must keep no sample of a map of zeros.
        n_dims: 1 for signals, 2 for images.
        every: Epochs between two changes, >= 1.
        **options: As of :class:`san.networks.SparselyActivatedNetwork`.

    Raises:
        ValueError: If ``every`` is not a positive integer, or as for the base class.

    Reference:
        Bizopoulos and Koutsouris, "Sparsely Activated Networks", Section VI, the fourth future work.
    """

    def __init__(
        self, kernel_sizes: Sequence[int], activation: Encoder, n_dims: Dimensions = 1, *, every: int, **options: Any
    ) -> None:
        super().__init__(kernel_sizes, activation, n_dims, **options)
        if not isinstance(every, int) or every < 1:
            raise ValueError(f"every={every} must be an integer, 1 or more: the epochs between two changes")
        self.every = every
        self.options = {"every": every}
        with torch.no_grad():
            self._by_model()[:, 1:] = 0

    def in_use(self, model: int) -> list[bool]:
        """Return whether each kernel of a model has a nonzero weight."""
        used: list[bool] = (self._by_model()[model].flatten(1) != 0).any(1).tolist()
        return used

    @torch.no_grad()
    def change_kernels(
        self, train: Tensor, validation: Tensor, loss: Loss, count: WeightCount
    ) -> Bool[Tensor, "kernels"]:
        """Drop the kernels that raise validation φ, then add one kernel to each model that has room.

        Args:
            train: All training examples, [examples, channels, *space].
            validation: All validation examples, [examples, channels, *space].
            loss: The reconstruction loss.
            count: How φ counts weights; see :meth:`n_weights`.

        Returns:
            Whether each kernel changed.
        """
        before = self.weight.detach().clone()
        self._drop_kernels(validation, loss, count)
        self._add_kernels(train)
        return (self.weight != before).flatten(1).any(1)

    def _drop_kernels(self, x: Tensor, loss: Loss, count: WeightCount) -> None:
        weight = self._by_model()
        while True:
            lowest, dropped = self._mean_phi(x, loss, count), [-1] * self.n_models
            for kernel in range(weight.shape[1]):
                kept = weight[:, kernel].clone()
                weight[:, kernel] = 0
                for model, without in enumerate(self._mean_phi(x, loss, count)):
                    if bool(weight[model].any()) and without < lowest[model]:
                        lowest[model], dropped[model] = without, kernel
                weight[:, kernel] = kept
            if max(dropped) < 0:
                return
            for model, kernel in enumerate(dropped):
                if kernel >= 0:
                    weight[model, kernel] = 0

    def _mean_phi(self, x: Tensor, loss: Loss, count: WeightCount) -> list[float]:
        """Return the mean φ of each model."""
        total = torch.zeros(self.n_models, dtype=torch.float64)
        n_weights = [self.n_weights(count, model) for model in range(self.n_models)]
        for examples, maps, reconstruction in self._described(x):
            values = phi(*metrics_per_model(maps, reconstruction, examples, n_weights, loss))
            total += values.view(-1, self.n_models).sum(0, dtype=torch.float64).cpu()
        means: list[float] = (total / len(x)).tolist()
        return means

    def _add_kernels(self, x: Tensor) -> None:
        free = {model: self.in_use(model).index(False) for model in range(self.n_models) if not all(self.in_use(model))}
        largest = dict.fromkeys(free, 0.0)
        windows: dict[int, Tensor] = {}
        for examples, _, reconstruction in self._described(x):
            by_model = (-1, self.channels)
            residual = examples.unflatten(1, by_model) - reconstruction.unflatten(1, by_model)
            for model, kernel in free.items():
                of_model = residual[:, model]
                mean, where = highest_mean_window(of_model.abs(), self.sizes_of_models[model][kernel])
                if mean > largest[model]:
                    largest[model], windows[model] = float(mean), of_model[where].clone()
        for model, window in windows.items():
            kernel = model * len(self.sizes_of_models[model]) + free[model]
            self.weight[self._index(kernel)] = window / window.norm()
        self.project(unit_norm=False)

    def _described(self, x: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield some examples at a time, with their maps and reconstructions."""
        for part in x.split(EXAMPLES_AT_ONCE):
            examples = part.to(self.weight.device)
            maps = self.encode(examples)
            yield examples, maps, self.decode(maps)

    def _by_model(self) -> Tensor:
        """Return the weights as a view, [models, kernels, *extent]."""
        return self.weight.detach().view(self.n_models, -1, *self.weight.shape[1:])

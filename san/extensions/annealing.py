"""Extrema with a minimum distance that grows during training: the first future work of the paper."""

from collections.abc import Sequence
from math import cos, pi

from san.activations import Extrema
from san.functional import GivenDensity

__all__ = ["AnnealedExtrema"]


class AnnealedExtrema(Extrema):
    r"""Increase the minimum distance of Extrema from one sample to the kernel's, by half a cosine over the epochs.

    .. math:: d_e = \max\left(1, \mathrm{round}\left(d \, \frac{1 - \cos(\pi (e - 1) / (E - 1))}{2}\right)\right)

    in epoch e of E, counted from 1; from the last epoch on, and at validation and test, the distance is d.

    Args:
        epochs: E, >= 1.
        border_tolerance: Samples by which two activations of a kernel may overlap, >= 0.
        require_sign: Whether to exclude negative local maxima and positive local minima.
        density: d in samples, as of :class:`san.activations.Extrema`.

    Raises:
        ValueError: If ``epochs`` is not a positive integer, or the border tolerance or a density is invalid.

    Reference:
        Bizopoulos and Koutsouris, "Sparsely Activated Networks", Section VI, the first future work.
    """

    def __init__(
        self,
        epochs: int,
        border_tolerance: int = 2,
        require_sign: bool = True,
        density: GivenDensity = None,
    ) -> None:
        super().__init__(border_tolerance, require_sign, density)
        if not isinstance(epochs, int) or epochs < 1:
            raise ValueError(f"epochs={epochs} must be an integer, 1 or more: the epochs of the annealing")
        self.epochs = epochs

    def density(self, kernel_size: int, space: Sequence[int]) -> int:
        """Return the minimum extrema distance in samples, at least 1, of the current training step."""
        return self._annealed(super().density(kernel_size, space))

    def densities(self, kernel_sizes: int | Sequence[int], shape: Sequence[int], n_models: int = 1) -> list[int]:
        """Return the minimum extrema distance of each kernel in the current training step, in samples."""
        found = super().densities(kernel_sizes, shape, n_models)
        return found if self.own_density is None else [self._annealed(final) for final in found]

    def _annealed(self, final: int) -> int:
        if self.step is None or self.step.epoch >= self.epochs - 1:
            return final
        return max(1, round(final * (1 - cos(pi * self.step.epoch / (self.epochs - 1))) / 2))

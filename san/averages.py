"""Averages of φ and other metrics over batches and ranks."""

import torch
from torch import Tensor

from san.metrics import phi
from san.ops.shapes import Float

try:
    from torchmetrics import Metric
except ImportError as error:
    raise ModuleNotFoundError("MeanPhi needs torchmetrics: pip install torchmetrics", name="torchmetrics") from error

__all__ = ["MeanPerModel", "MeanPhi"]


class MeanPerModel(Metric):
    """Average over examples, exact over unequal batches and over ranks.

    A NaN of an example makes the mean of its model NaN.

    Args:
        n_models: Number of means. An update has the values of all models for the first example, then for the next.
    """

    total: Tensor
    count: Tensor

    def __init__(self, n_models: int = 1) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(n_models), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, values: Float[Tensor, "batch"]) -> None:
        """Add the values of a batch."""
        by_model = values.view(-1, len(self.total))
        self.total += by_model.sum(0)
        self.count += len(by_model)

    def compute(self) -> Tensor:
        """Return the mean over all examples, [models], or a scalar for one model."""
        return self.total / self.count


class MeanPhi(MeanPerModel):
    r"""Average :math:`\varphi` over examples, exact over unequal batches and over ranks.

    The mean of norms is at least the norm of the mean :math:`CR^{-1}` and the mean :math:`\tilde{\mathcal{L}}`. A NaN
    of an example makes the mean NaN.

    Args:
        n_models: Number of means; see :class:`MeanPerModel`.

    Reference:
        Bizopoulos and Koutsouris, "Sparsely Activated Networks", Section II, Eq. 7.

    Example:
        >>> mean_phi = MeanPhi()
        >>> mean_phi.update(torch.tensor([0.3, 0.0]), torch.tensor([0.4, 1.0]))
        >>> mean_phi.update(torch.tensor([0.0]), torch.tensor([0.0]))
        >>> mean_phi.compute()
        tensor(0.5000)
    """

    def update(self, cr_inverse: Float[Tensor, "batch"], loss: Float[Tensor, "batch"]) -> None:  # type: ignore[override]
        """Add the examples of a batch, given their inverse compression ratios and normalized losses."""
        super().update(phi(cr_inverse, loss))

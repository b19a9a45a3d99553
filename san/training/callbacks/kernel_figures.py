"""The kernels in TensorBoard while training."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
from matplotlib.figure import Figure
from pytorch_lightning.loggers import TensorBoardLogger

from san.figures.kernels import draw_kernels
from san.networks import SparselyActivatedNetwork
from san.training.epochs import epoch_number

__all__ = ["KernelFigures"]

MAX_FIGURES = 10  # on one scale; TensorBoard shows no more images of a tag


class KernelFigures(pl.Callback):
    """Draw the kernels into TensorBoard every few epochs and after the last.

    Each figure has a scale of its own while training, because the range of later epochs is unknown. After the training,
    figures of at most ten of these epochs follow on one scale.

    The data module provides the title, the sampling frequency and the names of the channels.

    Args:
        every: Epochs between two figures; None for the last epoch only.
    """

    def __init__(self, every: int | None) -> None:
        if every is not None and every < 1:
            raise ValueError(f"every={every} must be an integer of at least 1, or null")
        self.every = every
        self.networks: dict[int, SparselyActivatedNetwork] = {}

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the figure of the current kernels."""
        last = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        due = self.every is not None and trainer.current_epoch % self.every == 0
        if trainer.is_global_zero and (last or due) and (boards := _boards(trainer)):
            module: Any = pl_module
            epoch = epoch_number(trainer.current_epoch)
            self.networks[epoch] = copy.deepcopy(module.network).cpu()
            for board in boards:
                board.experiment.add_figure("kernels", _drawn(trainer, self.networks[epoch]), epoch)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the figures on one scale."""
        spacing = -(-len(self.networks) // MAX_FIGURES)
        epochs = [*self.networks][::-1][:: spacing or 1][::-1]  # with the last one
        for board in _boards(trainer) if len(epochs) > 1 else ():
            figures = [_drawn(trainer, self.networks[epoch]) for epoch in epochs]
            _set_one_scale(figures)
            for epoch, drawn in zip(epochs, figures, strict=True):
                board.experiment.add_figure("kernels_on_one_scale", drawn, epoch)


def _boards(trainer: pl.Trainer) -> list[TensorBoardLogger]:
    return [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]


def _drawn(trainer: pl.Trainer, network: SparselyActivatedNetwork) -> Figure:
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    return draw_kernels(network, data.dataset_name, data.sampling_frequency, data.channels)


def _set_one_scale(figures: Sequence[Figure]) -> None:
    """Give the panels in the same place of figures the same range of weights; kernels of colors have no range."""
    for panels in zip(*(drawn.axes for drawn in figures), strict=True):
        images = [image for axes in panels for image in axes.images]
        of_weights = [image for image in images if np.ndim(image.get_array()) == 2]
        limits = [image.get_clim() for image in of_weights] if images else [axes.get_ylim() for axes in panels]
        one = (min(low for low, _ in limits), max(high for _, high in limits)) if limits else None
        for image in of_weights:
            image.set_clim(one)
        for axes in () if images else panels:
            axes.set_ylim(one)

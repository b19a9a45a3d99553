"""The selection of an epoch for each classifier of a bank."""

import copy
from typing import cast

import pytorch_lightning as pl
from torch import Tensor

from san.training.callbacks.phi_checkpoint import TestedEpoch
from san.training.classifier_module import ClassifierModule

__all__ = ["ClassifierSelection"]


class ClassifierSelection(pl.Callback):
    """Keep the weights of each classifier in the epoch of its highest validation accuracy, or in the last.

    Args:
        tested_epoch: ``best`` (ties: the first) or ``last``.
    """

    def __init__(self, tested_epoch: TestedEpoch) -> None:
        self.tested_epoch = tested_epoch
        self.epochs: list[int] = []
        self.accuracies: list[float] = []
        self.states: list[dict[str, Tensor]] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Select the epoch for the classifiers that improved."""
        module = cast("ClassifierModule", pl_module)
        if not self.states:
            n_models = len(module.models)
            self.epochs, self.accuracies, self.states = [0] * n_models, [-1.0] * n_models, [{} for _ in module.models]
        for index, (model, accuracy) in enumerate(zip(module.models, module.validation, strict=True)):
            if self.tested_epoch == "last" or accuracy > self.accuracies[index]:
                self.epochs[index], self.accuracies[index] = trainer.current_epoch, accuracy
                self.states[index] = copy.deepcopy(model.state_dict())

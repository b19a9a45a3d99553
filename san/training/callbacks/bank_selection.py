"""The selection of an epoch for each model of a bank."""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from torch import Tensor

from san.training.callbacks.phi_checkpoint import TestedEpoch, is_validated
from san.training.callbacks.training_state import save_initial, save_training
from san.training.san_module import Metrics, SANModule

__all__ = ["BankSelection"]

SAVE_INTERVAL = 1.0  # seconds between two checkpoints, so that short epochs are not dominated by writing


class BankSelection(Checkpoint):
    """Keep, for each model of a bank, the weights of the epoch of its lowest validation φ.

    The selected weights are kept in memory and, with the training state, in one file, from which training resumes. The
    file exists from the start. A stop or a kill costs the current epoch and the epochs of the second before it.

    Args:
        path: The file; None to keep the selection in memory alone.
    """

    def __init__(self, path: Path | None) -> None:
        super().__init__()
        self.path = path
        self.best_epochs: list[int | None] = []
        self.validation_per_epoch: list[Metrics] = []
        self.weight = torch.empty(0)
        self.saved = time.monotonic()

    def phi_per_epoch(self, model: int) -> list[float]:
        """Return the validation φ of each epoch of a model, NaN for an epoch without validation."""
        return [metrics["phi"][model] for metrics in self.validation_per_epoch]

    def phi_at(self, tested_epoch: TestedEpoch, model: int) -> float:
        """Return the validation φ of a model in its best or last epoch, infinite if it is not finite."""
        epoch = self.best_epochs[model] if tested_epoch == "best" else -1
        phi = math.inf if epoch is None else self.phi_per_epoch(model)[epoch]
        return phi if math.isfinite(phi) else math.inf

    def keep(self, models: Sequence[int]) -> None:
        """Restrict the selection to some of the models."""
        self.weight = self.weight.unflatten(0, (len(self.best_epochs), -1))[list(models)].flatten(0, 1)
        self.best_epochs = [self.best_epochs[model] for model in models]
        self.validation_per_epoch = [
            {name: [values[model] for model in models] for name, values in metrics.items()}
            for metrics in self.validation_per_epoch
        ]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the initial state."""
        if self.path is not None and not self.validation_per_epoch:
            save_initial(trainer, self.path)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Select the epoch for the models that improved, and save the state from time to time."""
        module = cast("SANModule", pl_module)
        network = module.network
        metrics = module.metrics["validation"] if is_validated(trainer) else {"phi": [math.nan] * network.n_models}
        # ``callback_metrics`` is a collective call; the progress bar of rank 0 already made it, so every rank must.
        _ = trainer.callback_metrics
        if not self.validation_per_epoch:
            self.best_epochs = [None] * network.n_models
            self.weight = torch.zeros_like(network.weight.detach())
        improved = [self._improves(model, phi) for model, phi in enumerate(metrics["phi"])]
        self.validation_per_epoch.append(metrics)
        self.best_epochs = [
            trainer.current_epoch if better else before
            for better, before in zip(improved, self.best_epochs, strict=True)
        ]
        selected = torch.tensor(improved, device=network.weight.device).repeat_interleave(
            len(network.kernel_sizes) // network.n_models
        )
        self.weight = self.weight.to(selected.device)
        self.weight[selected] = network.weight.detach()[selected]
        if self.path is None:
            return
        last = trainer.current_epoch + 1 == trainer.max_epochs
        if trainer.strategy.broadcast(last or time.monotonic() - self.saved > SAVE_INTERVAL):
            save_training(trainer, self.path)
            self.saved = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """Return the selection so far."""
        return {
            "best_epochs": self.best_epochs,
            "validation_per_epoch": self.validation_per_epoch,
            "weight": self.weight,
        }

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Refuse a checkpoint whose selection is damaged.

        Raises:
            ValueError: If it is not the selection of this bank.
        """
        network = cast("SANModule", pl_module).network
        state = checkpoint["callbacks"].get(self.state_key)
        if not isinstance(state, dict) or state.keys() != self.state_dict().keys():
            raise ValueError("its selection of epochs is missing")
        per_epoch, best_epochs, weight = (state[key] for key in ("validation_per_epoch", "best_epochs", "weight"))
        n_epochs = len(per_epoch)
        n_models, shape = (network.n_models, network.weight.shape) if n_epochs else (0, self.weight.shape)
        if not all(_are_metrics(metrics, n_models) for metrics in per_epoch):
            raise ValueError("its metrics of each epoch are damaged")
        if not isinstance(best_epochs, list) or len(best_epochs) != n_models:
            raise ValueError("its best epochs are damaged")
        if not all(best is None or (type(best) is int and 0 <= best < n_epochs) for best in best_epochs):
            raise ValueError(f"its best epochs are not among its {n_epochs} epochs")
        if not isinstance(weight, Tensor) or weight.shape != shape or weight.dtype != network.weight.dtype:
            raise ValueError("its selected weights are damaged")

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume from the selection of a checkpoint."""
        self.best_epochs = list(state_dict["best_epochs"])
        self.validation_per_epoch = list(state_dict["validation_per_epoch"])
        self.weight = state_dict["weight"]

    def _improves(self, model: int, phi: float) -> bool:
        best = self.best_epochs[model]
        lowest = math.inf if best is None else self.validation_per_epoch[best]["phi"][model]
        return math.isfinite(phi) and phi < lowest


def _are_metrics(metrics: Any, n_models: int) -> bool:
    """Return whether these are the metrics of an epoch: a number per model by name, with φ."""
    return (
        isinstance(metrics, dict)
        and "phi" in metrics
        and all(
            type(name) is str and isinstance(values, list) and [type(value) for value in values] == [float] * n_models
            for name, values in metrics.items()
        )
    )

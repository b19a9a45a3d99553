"""A bank of models: how much of it fits into memory, and the selection of each one's epoch."""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from torch import Tensor

from san.checkpoint import save_training
from san.training import Figures, SANModule

__all__ = ["BankSelection", "shares"]

COPIES = 24  # of the maps that a training step holds at a time, at most: those of transforms and of their gradients
PATIENCE = 1.0  # seconds between two checkpoints, so that short banks do not spend their time on them


class BankSelection(Checkpoint):
    """Keep, for each model of a bank, the weights of the epoch of its lowest validation phi.

    They are in memory, and with the rest of the training in one file, from which it goes on. The file is there from the
    start; a stop or a kill costs the epoch that it is in, and those of the second before it.

    Args:
        path: The file.
        config: The configuration, in plain containers, stored in it.
    """

    def __init__(self, path: Path, config: dict[str, Any]) -> None:
        super().__init__()
        self.path = path
        self.config = config
        self.best_epochs: list[int | None] = []
        self.validation_per_epoch: list[Figures] = []
        self.weight = torch.empty(0)
        self.saved = time.monotonic()

    def phi_per_epoch(self, model: int) -> list[float]:
        """Return the validation phi of each epoch of a model."""
        return [figures["phi"][model] for figures in self.validation_per_epoch]

    def phi_at(self, epoch: str, model: int) -> float:
        """Return the validation phi of a model in its ``best`` or ``last`` epoch, infinite if it is not finite."""
        chosen = self.best_epochs[model] if epoch == "best" else -1
        phi = math.inf if chosen is None else self.phi_per_epoch(model)[chosen]
        return phi if math.isfinite(phi) else math.inf

    def keep(self, models: Sequence[int]) -> None:
        """Keep the selection of some of the models."""
        self.weight = self.weight.unflatten(0, (len(self.best_epochs), -1))[list(models)].flatten(0, 1)
        self.best_epochs = [self.best_epochs[model] for model in models]
        self.validation_per_epoch = [
            {name: [values[model] for model in models] for name, values in figures.items()}
            for figures in self.validation_per_epoch
        ]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save where the training begins."""
        if not self.validation_per_epoch:
            save_training(trainer, self.path)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Select the epoch for the models that have improved, and save what there is from time to time."""
        module = cast("SANModule", pl_module)
        network, figures = module.network, module.figures["validation"]
        _ = trainer.callback_metrics  # the first rank's progress has asked, and all must: it adds up what they have
        if not self.validation_per_epoch:
            self.best_epochs = [None] * network.n_models
            self.weight = torch.zeros_like(network.weight.detach())
        improved = [self._improves(model, phi) for model, phi in enumerate(figures["phi"])]
        self.validation_per_epoch.append(figures)
        self.best_epochs = [
            trainer.current_epoch if better else before
            for better, before in zip(improved, self.best_epochs, strict=True)
        ]
        chosen = torch.tensor(improved, device=network.weight.device).repeat_interleave(
            len(network.kernel_sizes) // network.n_models
        )
        self.weight = self.weight.to(chosen.device)
        self.weight[chosen] = network.weight.detach()[chosen]
        last = trainer.current_epoch + 1 == trainer.max_epochs
        if trainer.strategy.broadcast(last or time.monotonic() - self.saved > PATIENCE):
            save_training(trainer, self.path)
            self.saved = time.monotonic()

    def _improves(self, model: int, phi: float) -> bool:
        best = self.best_epochs[model]
        lowest = math.inf if best is None else self.validation_per_epoch[best]["phi"][model]
        return math.isfinite(phi) and phi < lowest

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Store the configuration."""
        checkpoint["config"] = self.config

    def state_dict(self) -> dict[str, Any]:
        """Return the selection so far."""
        return {
            "best_epochs": self.best_epochs,
            "validation_per_epoch": self.validation_per_epoch,
            "weight": self.weight,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the selection of a checkpoint."""
        self.best_epochs = list(state_dict["best_epochs"])
        self.validation_per_epoch = list(state_dict["validation_per_epoch"])
        self.weight = state_dict["weight"]


def shares(sizes: Sequence[int], n_kernels: int, batch: Tensor, max_memory: float) -> list[list[int]]:
    """Share kernel sizes among as few banks as keep the maps of a batch in memory.

    Args:
        sizes: The kernel sizes, one model each.
        n_kernels: Kernels of a model.
        batch: Examples of a batch, [batch, 1, *space].
        max_memory: Bytes of maps at a time; one model is the least there can be.
    """
    n_banks = math.ceil(len(sizes) * n_kernels * batch.nbytes * COPIES / max_memory)
    each = math.ceil(len(sizes) / min(len(sizes), max(1, n_banks)))
    return [list(sizes[start : start + each]) for start in range(0, len(sizes), each)]

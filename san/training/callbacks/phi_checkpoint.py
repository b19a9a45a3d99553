"""Checkpoints selected by validation φ."""

import math
from pathlib import Path
from typing import Any, Literal, cast

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from san.ops.choices import check_choice
from san.storage.checkpoints import read
from san.training.callbacks.training_state import copy_once, save_initial, save_training
from san.training.epochs import epoch_number

__all__ = ["MONITOR", "PhiCheckpoint", "TestedEpoch", "is_validated"]

TestedEpoch = Literal["best", "last"]

SPLIT = "validation/"
MONITOR = f"{SPLIT}phi"


def is_validated(trainer: pl.Trainer) -> bool:
    """Return whether the current epoch ends with a validation."""
    every = trainer.check_val_every_n_epoch or 1
    return (trainer.current_epoch + 1) % every == 0


class PhiCheckpoint(Checkpoint):
    """Keep the epoch of the lowest validation φ, over all examples and ranks, and the last epoch.

    ``best.ckpt`` is a copy of the best epoch, which is also kept under a name with its number, from 1, and its φ, such
    as ``epoch03-phi0.4423.ckpt``. Training resumes from ``last.ckpt``; it is written before the first epoch with the
    initial weights, and after each epoch. Ties go to the first epoch; an epoch whose φ is not finite, or that was not
    validated, is never the best.
    Each file is complete at any moment, and the best epoch and the history of φ survive resuming.

    ``best_epoch`` is the index of the best epoch in ``phi_per_epoch``, None while there is none.

    Args:
        dirpath: Folder of the checkpoints.
        config: Plain data that each checkpoint stores as its configuration; None if the module stores its own.
        tested_epoch: ``best``, or ``last`` to select every epoch, as the paper's published numbers did.

    Raises:
        ValueError: If the choice is unknown.
    """

    def __init__(
        self, dirpath: str | Path, config: dict[str, Any] | None = None, tested_epoch: TestedEpoch = "best"
    ) -> None:
        super().__init__()
        check_choice("tested_epoch", tested_epoch, TestedEpoch)
        self.config = config
        self.tested_epoch = tested_epoch
        self.dirpath = Path(dirpath)
        self.best_epoch: int | None = None
        self.validation_per_epoch: list[dict[str, float]] = []

    @property
    def phi_per_epoch(self) -> list[float]:
        """Validation φ of each epoch, NaN for an epoch without validation."""
        return [metrics["phi"] for metrics in self.validation_per_epoch]

    @property
    def best_model_path(self) -> str:
        """Path of ``best.ckpt``, empty while there is none; Lightning's ``ckpt_path="best"`` reads it."""
        return "" if self.best_epoch is None else str(self.dirpath / "best.ckpt")

    @property
    def best_model_score(self) -> float:
        """Validation φ of the best epoch, infinite while there is none."""
        return math.inf if self.best_epoch is None else self.phi_per_epoch[self.best_epoch]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the initial state."""
        if not self.validation_per_epoch:
            save_initial(trainer, self.dirpath / "last.ckpt")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Select and save the epoch."""
        logged = trainer.callback_metrics
        metrics = {name.removeprefix(SPLIT): float(logged[name]) for name in logged if name.startswith(SPLIT)}
        if not is_validated(trainer):  # what was logged is of an earlier epoch
            metrics = {"phi": math.nan}
        previous, lowest, phi = self._best_name, self.best_model_score, metrics["phi"]
        self.validation_per_epoch.append(metrics)
        improved = math.isfinite(phi) and (phi < lowest or self.tested_epoch == "last")
        if improved:
            self.best_epoch = trainer.current_epoch
        # In this order, the best epoch that last.ckpt names exists at any moment.
        saved = self.dirpath / (self._best_name if improved else "last.ckpt")
        save_training(trainer, saved)
        if improved:
            copy_once(saved, self.dirpath / "best.ckpt")
            copy_once(saved, self.dirpath / "last.ckpt")
        if trainer.is_global_zero and previous not in ("", self._best_name):
            (self.dirpath / previous).unlink(missing_ok=True)
        trainer.strategy.barrier()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Store the configuration."""
        if self.config is not None:
            checkpoint["config"] = self.config

    def state_dict(self) -> dict[str, Any]:
        """Return the selection so far."""
        return {"best_epoch": self.best_epoch, "validation_per_epoch": self.validation_per_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume from the selection of a checkpoint.

        Raises:
            ValueError: If the selection is damaged.
        """
        if state_dict.keys() != self.state_dict().keys():
            raise ValueError("its selection of epochs is missing")
        best_epoch, per_epoch = state_dict["best_epoch"], state_dict["validation_per_epoch"]
        if not isinstance(per_epoch, list) or not all(map(_are_metrics, per_epoch)):
            raise ValueError("its metrics of each epoch are damaged")
        if best_epoch is not None and (type(best_epoch) is not int or not 0 <= best_epoch < len(per_epoch)):
            raise ValueError(f"its best epoch is not one of its {len(per_epoch)} epochs")
        if best_epoch is not None and not math.isfinite(per_epoch[best_epoch]["phi"]):
            raise ValueError("its best epoch has no finite φ")
        self.best_epoch = best_epoch
        self.validation_per_epoch = list(per_epoch)

    def adopt(self, path: Path, content: dict[str, Any] | None = None) -> Path:
        """Copy a checkpoint to resume from, and the best epoch before it, into the folder of this run.

        Args:
            path: The checkpoint; the best epoch is the same file or stands beside it.
            content: What :func:`san.storage.checkpoints.read` returns for the path, to read it once.

        Returns:
            The path to resume from.

        Raises:
            FileNotFoundError: If the best epoch before the checkpoint is not beside it.
            ValueError: If the file is not a checkpoint of this program, or has no training state.
        """
        checkpoint = read(path) if content is None else content
        state = checkpoint["callbacks"].get(self.state_key)
        if state is None:
            raise ValueError(f"{path} has weights but no training state to resume; give a run folder of san.train")
        try:
            self.load_state_dict(state if isinstance(state, dict) else {})
            if (n_epochs := len(self.validation_per_epoch)) != checkpoint["epoch"] + bool(n_epochs):
                number = epoch_number(checkpoint["epoch"])
                raise ValueError(f"it has metrics of {n_epochs} epochs, and is of epoch {number}")
        except ValueError as error:
            raise ValueError(f"{path} is not a checkpoint of san, or is damaged: {error}") from error
        if self.best_epoch is not None:
            source = path if checkpoint["epoch"] == self.best_epoch else self._best_beside(path)
            copy_once(source, self.dirpath / self._best_name)
            copy_once(source, self.dirpath / "best.ckpt")
        copy_once(path, self.dirpath / "last.ckpt")
        return self.dirpath / "last.ckpt"

    def _best_beside(self, path: Path) -> Path:
        """Return the best epoch beside a checkpoint; earlier versions named it by its index."""
        best = path.with_name(self._best_name)
        for candidate in (best, path.with_name(self._name_of(cast("int", self.best_epoch)))):
            if candidate.is_file() and read(candidate)["epoch"] == self.best_epoch:
                return candidate
        raise FileNotFoundError(f"{best}, the best epoch before {path.name}, is missing")

    @property
    def _best_name(self) -> str:
        return "" if self.best_epoch is None else self._name_of(epoch_number(self.best_epoch))

    def _name_of(self, number: int) -> str:
        return f"epoch{number:02d}-phi{self.best_model_score:.4f}.ckpt"


def _are_metrics(metrics: Any) -> bool:
    """Return whether these are the metrics of an epoch: values by name, with φ."""
    return (
        isinstance(metrics, dict)
        and "phi" in metrics
        and all(type(name) is str and type(value) is float for name, value in metrics.items())
    )

"""Checkpoints selected by phi: written without gaps, read without trust."""

import math
import os
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.utilities import rank_zero_only
from torch import nn

from san.files import replacing

__all__ = ["MONITOR", "PhiCheckpoint", "add", "find", "load_state", "load_weights", "read", "refuse_other_sizes"]

SPLIT = "validation/"
MONITOR = f"{SPLIT}phi"


class PhiCheckpoint(Checkpoint):
    """Keep the epoch of the lowest validation phi, over all examples and ranks, and the last one.

    ``best.ckpt`` is a copy on disk of the best epoch, kept under a name that tells its phi too, such as
    ``epoch03-phi0.4423.ckpt``; ``last.ckpt`` is where a run goes on. Of equal epochs the first is the best; one whose
    phi is not finite never is. Each file is complete at any moment, and the best epoch and the history of phi survive
    a resumption.

    Args:
        dirpath: Folder of the checkpoints.
        config: The configuration of the run, in plain containers, stored in each checkpoint.
        epoch: ``last`` takes every epoch for the best so far, as the paper's published numbers did.

    Raises:
        ValueError: If the epoch is neither ``best`` nor ``last``.
    """

    def __init__(self, dirpath: str | Path, config: dict[str, Any] | None = None, epoch: str = "best") -> None:
        super().__init__()
        if epoch not in ("best", "last"):
            raise ValueError(f"protocol.tested_epoch={epoch} must be 'best' or 'last'")
        self.epoch = epoch
        self.dirpath = Path(dirpath)
        self.config = config
        self.best_epoch: int | None = None
        self.validation_per_epoch: list[dict[str, float]] = []

    @property
    def phi_per_epoch(self) -> list[float]:
        """Validation phi of each epoch."""
        return [figures["phi"] for figures in self.validation_per_epoch]

    @property
    def best_model_path(self) -> str:
        """Path of ``best.ckpt``, empty while there is none; Lightning's ``ckpt_path="best"`` reads it."""
        return "" if self.best_epoch is None else str(self.dirpath / "best.ckpt")

    @property
    def best_model_score(self) -> float:
        """Validation phi of the best epoch, infinite while there is none."""
        return math.inf if self.best_epoch is None else self.phi_per_epoch[self.best_epoch]

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Select and save the epoch."""
        logged = trainer.callback_metrics
        figures = {name.removeprefix(SPLIT): float(logged[name]) for name in logged if name.startswith(SPLIT)}
        previous, lowest, phi = self._best_name, self.best_model_score, figures["phi"]
        self.validation_per_epoch.append(figures)
        improved = math.isfinite(phi) and (phi < lowest or self.epoch == "last")
        if improved:
            self.best_epoch = trainer.current_epoch
        unfinished = self.dirpath / "unfinished.ckpt"
        trainer.save_checkpoint(unfinished, weights_only=False)
        if trainer.is_global_zero:
            if improved:
                _copy(unfinished, self.dirpath / self._best_name)
                _copy(unfinished, self.dirpath / "best.ckpt")
            unfinished.replace(self.dirpath / "last.ckpt")
            if previous not in ("", self._best_name):
                (self.dirpath / previous).unlink(missing_ok=True)
        trainer.strategy.barrier()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Store the configuration."""
        checkpoint["config"] = self.config

    def state_dict(self) -> dict[str, Any]:
        """Return the selection so far."""
        return {"best_epoch": self.best_epoch, "validation_per_epoch": self.validation_per_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the selection of a checkpoint."""
        self.best_epoch = state_dict["best_epoch"]
        self.validation_per_epoch = list(state_dict["validation_per_epoch"])

    def adopt(self, path: Path) -> Path:
        """Bring a checkpoint to resume from, and the best epoch before it, to the folder of this run.

        Args:
            path: The checkpoint; the best epoch is that file itself or stands beside it.

        Returns:
            The path to resume from.

        Raises:
            FileNotFoundError: If the best epoch before the checkpoint is not beside it.
            ValueError: If the file is not a checkpoint of this program, or one of a selected model alone.
        """
        checkpoint = read(path)
        if self.state_key not in checkpoint["callbacks"]:
            raise ValueError(f"{path} has weights but no training to go on with: give the folder of a run of san.train")
        self.load_state_dict(checkpoint["callbacks"][self.state_key])
        last = self.dirpath / "last.ckpt"
        if self.best_epoch is not None:
            source = path if checkpoint["epoch"] == self.best_epoch else path.with_name(self._best_name)
            if not source.is_file():
                raise FileNotFoundError(f"{source}, the best epoch before {path.name}, is not beside it")
            _copy(source, self.dirpath / self._best_name)
            _copy(source, self.dirpath / "best.ckpt")
        _copy(path, last)
        return last

    @property
    def _best_name(self) -> str:
        return "" if self.best_epoch is None else f"epoch{self.best_epoch:02d}-phi{self.best_model_score:.4f}.ckpt"


def find(path: str | os.PathLike[str], kind: Literal["best", "last"]) -> Path:
    """Return the checkpoint that a path means: the file itself, or the best or last one of a run's folder.

    Raises:
        FileNotFoundError: If there is none.
    """
    given = Path(path)
    candidates = [given, given / "checkpoints" / f"{kind}.ckpt", given / f"{kind}.ckpt"]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(f"checkpoint={path} is neither a checkpoint nor the folder of a run that has one")


def read(path: Path) -> dict[str, Any]:
    """Load a checkpoint to the CPU; only plain data and tensors are accepted.

    Raises:
        ValueError: If the file is cut short or damaged, is of another program, or holds anything else.
    """
    try:
        _refuse_damage(path)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        complete = {"config", "state_dict", "epoch", "callbacks"} <= checkpoint.keys()
    except Exception as error:  # of a damaged file, zipfile, pickle and torch raise whatever they happen to meet
        raise ValueError(f"{path} is not a checkpoint of san, or is cut short or damaged") from error
    if not complete or type(checkpoint["epoch"]) is not int or not isinstance(checkpoint["callbacks"], dict):
        raise ValueError(f"{path} is not a checkpoint of san: it lacks the parts of one")
    n_bytes = path.stat().st_size
    for part in {"state_dict", "classifier"} & checkpoint.keys():
        weights = checkpoint[part]
        if not isinstance(weights, dict) or not all(_is_whole(weight, n_bytes) for weight in weights.values()):
            raise ValueError(f"{path} is not a checkpoint of san: its {part} has more than weights that it stores")
    return dict(checkpoint)


def refuse_other_sizes(checkpoint: dict[str, Any], shape: Sequence[int], path: Path) -> None:
    """Refuse kernels of another shape than a checkpoint has, before memory is reserved for them.

    Args:
        checkpoint: Of :func:`read`.
        shape: How many kernels there are to be, and the samples of the largest along each axis.
        path: Of the checkpoint.

    Raises:
        ValueError: If it has others.
    """
    stored = checkpoint["state_dict"].get("network.weight", torch.empty(0)).shape
    if list(stored) != list(shape):
        raise ValueError(f"{path} has kernels of the shape {list(stored)}, not {list(shape)}: "
                         "its configuration or the dataset is not that of its training")  # fmt: skip


@rank_zero_only
def add(path: Path, **parts: Any) -> None:
    """Put more parts, plain data and tensors, into a checkpoint."""
    with replacing(path) as unfinished:
        torch.save({**read(path), **parts}, unfinished)


def load_weights(module: pl.LightningModule, checkpoint: dict[str, Any], path: Path) -> None:
    """Give a module the weights of a checkpoint.

    Raises:
        ValueError: If they are of another shape.
    """
    load_state(module, checkpoint["state_dict"], path)


def load_state(module: nn.Module, state: Mapping[str, Any], path: Path) -> None:
    """Give a module the weights that a part of a checkpoint has.

    Raises:
        ValueError: If they are of another shape.
    """
    wanted = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    stored = {name: tuple(value.shape) for name, value in state.items()}
    if wanted != stored:
        raise ValueError(
            f"{path} has weights of the shapes {stored}, not {wanted}: "
            "give the kernel sizes, the number of kernels and the dataset that it was trained with"
        )
    module.load_state_dict(state)


def _refuse_damage(path: Path) -> None:
    """Refuse a file that is not as it was written: torch compares no checksum, and unpacks what is compressed."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError("a checkpoint is not compressed")
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise ValueError("a checkpoint stores nothing twice")
        if (damaged := archive.testzip()) is not None:
            raise ValueError(f"{damaged} does not have the checksum that it was written with")


def _is_whole(weight: Any, n_bytes: int) -> bool:
    """Tell whether a weight is a plain tensor of which each value is stored, in a file of so many bytes."""
    return (
        isinstance(weight, torch.Tensor)
        and weight.layout == torch.strided
        and weight.device.type == "cpu"
        and weight.is_floating_point()
        and weight.nbytes <= weight.untyped_storage().nbytes() <= n_bytes
    )


@rank_zero_only
def _copy(source: Path, target: Path) -> None:
    """Copy a file so that the target is never seen half-written."""
    if target.exists() and source.samefile(target):
        return
    with replacing(target) as unfinished:
        shutil.copyfile(source, unfinished)

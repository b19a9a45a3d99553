"""The state of a training: written so that it is never seen half-written, and restored from a checkpoint."""

import copy
import os
import traceback
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import Timer
from pytorch_lightning.trainer.connectors import checkpoint_connector
from pytorch_lightning.trainer.states import RunningStage
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from san.storage.checkpoints import copy as copy_file
from san.storage.checkpoints import nodes, read, refuse_unreadable, save
from san.training.epochs import epoch_number

__all__ = ["copy_once", "fit", "save_initial", "save_training"]

MAX_OPTIMIZER_VALUES = 20_000  # about 20 for each parameter
HISTORY = "validation_per_epoch"  # key of the metrics of each epoch in the state of a callback
MAX_COUNT = 2**53  # of epochs, batches and steps
TIMER_STATE = {"time_elapsed": dict.fromkeys(RunningStage, 0.0)}  # a new timer has integers

copy_once = rank_zero_only(copy_file)
"""Copy a file on the first rank alone; see :func:`san.storage.checkpoints.copy`."""


def save_training(trainer: pl.Trainer, path: Path) -> None:
    """Write the full state of a training, from which it can resume; a collective call of all ranks."""
    trainer.strategy.checkpoint_io = _CheckpointIO(trainer)
    trainer.save_checkpoint(path, weights_only=False)


def save_initial(trainer: pl.Trainer, path: Path) -> None:
    """Write the state before the first epoch, and read it again; a collective call of all ranks.

    Raises:
        ValueError: If the training could not be resumed, because the state of a callback is no plain data.
    """
    save_training(trainer, path)
    if trainer.is_global_zero:
        try:
            refuse_unreadable(path)
        except ValueError as error:
            raise ValueError(
                f"the training could not be resumed from {path} ({error}): the state of each callback must be texts, "
                "numbers, lists, dictionaries and tensors"
            ) from error


def fit(trainer: pl.Trainer, module: pl.LightningModule, data: pl.LightningDataModule, path: Path | None) -> None:
    """Train, from the start or from a checkpoint.

    Args:
        trainer: The trainer.
        module: The module.
        data: The data.
        path: A checkpoint of :func:`save_training`; None to train from the start.

    Raises:
        ValueError: If the checkpoint cannot be restored; the error names it.
    """
    if path is None:
        trainer.fit(module, data)
        return
    trainer.strategy.checkpoint_io = _CheckpointIO(trainer)
    callbacks: list[pl.Callback] = vars(trainer)["callbacks"]
    trial = _OptimizerTrial()
    callbacks.insert(0, trial)
    try:
        trainer.fit(module, data, ckpt_path=path, weights_only=True)
    except MisconfigurationException:  # for example, the checkpoint has more epochs than trainer.max_epochs
        raise
    except Exception as error:
        if str(path) in str(error) or not _is_of_checkpoint(error):
            raise
        reason = str(error) if isinstance(error, ValueError) else f"its state cannot be restored ({_named(error)})"
        raise ValueError(f"{path} is not a checkpoint of san, or is damaged: {reason}") from error
    finally:
        callbacks.remove(trial)


class _CheckpointIO(TorchCheckpointIO):
    """Write beside the target, not to the system's temporary folder, where a kill would leave the file; read strictly.

    Args:
        trainer: The trainer whose state is restored.
    """

    def __init__(self, trainer: pl.Trainer) -> None:
        self.trainer = trainer

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        save(checkpoint, Path(path))

    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        checkpoint = read(Path(path))
        _refuse_other_structure(checkpoint, self.trainer)
        return checkpoint


class _DamagedStateError(ValueError):
    """The state in a checkpoint is damaged."""


class _OptimizerTrial(pl.Callback):
    """Refuse a restored optimizer that cannot make a step, by a step of a copy on a gradient of zero."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Make the step."""
        try:
            for optimizer in map(copy.deepcopy, trainer.optimizers):
                for group in optimizer.param_groups:
                    _refuse_other_settings(group, optimizer.defaults)
                # A parameter without a state beside others with one never had a gradient.
                parameters = list(optimizer.state) or [x for group in optimizer.param_groups for x in group["params"]]
                for parameter in parameters:
                    parameter.grad = torch.zeros_like(parameter)
                before = {parameter: set(state) for parameter, state in optimizer.state.items()}
                optimizer.step(lambda: 0.0)
                new = [name for key, state in optimizer.state.items() for name in state.keys() - before.get(key, set())]
                if new and trainer.global_step > 0:
                    raise ValueError(f"{new[0]} is missing")
        except Exception as error:  # optimizers raise errors of any type
            raise _DamagedStateError(f"its optimizer state is damaged ({_named(error)})") from error


def _refuse_other_settings(group: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Refuse settings of an optimizer that differ in more than the value of a number, which a callback may change."""
    for name, expected in settings.items():
        found = group.get(name)
        both_numbers = isinstance(expected, float) or (expected == 0 and type(expected) is int)
        is_number = type(found) in (int, float) or isinstance(found, Tensor)
        same = type(found) is type(expected) and (isinstance(expected, tuple) or found == expected)
        if not same and not (both_numbers and is_number):
            raise ValueError(f"{name} is not {expected}")


def _refuse_other_structure(checkpoint: Mapping[str, Any], trainer: pl.Trainer) -> None:
    """Refuse a checkpoint whose progress, optimizer states or states of Lightning's callbacks have other keys or types.

    Raises:
        ValueError: If it has.
    """
    same_version = checkpoint.get("pytorch-lightning_version") == version("pytorch-lightning")
    loops = checkpoint.get("loops")
    progress = loops.get("fit_loop") if isinstance(loops, dict) else None
    if not _has_form(progress, trainer.fit_loop.state_dict(), all_keys=same_version):
        raise _DamagedStateError("its progress is damaged")
    _refuse_parts_of_epochs(progress, checkpoint)
    states = checkpoint.get("optimizer_states")
    is_one = isinstance(states, list) and len(states) == 1 and sum(1 for _ in nodes(states)) <= MAX_OPTIMIZER_VALUES
    if not is_one or not isinstance(checkpoint.get("lr_schedulers"), list):
        raise _DamagedStateError("its optimizer state is damaged")
    for callback in vars(trainer)["callbacks"]:
        state = checkpoint["callbacks"].get(callback.state_key)
        is_of_lightning = type(callback).__module__.startswith("pytorch_lightning.")
        expected = TIMER_STATE if isinstance(callback, Timer) else callback.state_dict()
        if state and is_of_lightning and not _has_form(state, expected, all_keys=same_version):
            raise _DamagedStateError(f"its state of the callback {type(callback).__name__} is damaged")


def _refuse_parts_of_epochs(progress: Any, checkpoint: Mapping[str, Any]) -> None:
    """Refuse progress of another state than the initial one and that after a whole epoch, with the metrics of each."""
    try:
        batches, is_last = (progress["epoch_loop.batch_progress"][key] for key in ("current", "is_last_batch"))
        n_epochs = progress["epoch_progress"]["current"]["processed"]
    except KeyError as error:
        raise _DamagedStateError("its progress is damaged") from error
    is_whole = len(set(batches.values())) == 1 and is_last == (batches["ready"] > 0)
    if not is_whole or n_epochs != checkpoint["epoch"] + is_last:
        raise _DamagedStateError(f"its progress is not that of the whole epoch {epoch_number(checkpoint['epoch'])}")
    for state in checkpoint["callbacks"].values():
        per_epoch = state.get(HISTORY) if isinstance(state, dict) else None
        if per_epoch is not None and not (isinstance(per_epoch, list) and len(per_epoch) == n_epochs):
            raise _DamagedStateError(f"its metrics are not those of {n_epochs} epochs")


def _has_form(found: Any, expected: Any, *, all_keys: bool = True) -> bool:
    """Return whether a value has the keys and the types of another one; counts are not negative.

    Args:
        found: The value.
        expected: The other one.
        all_keys: Whether it has exactly the keys of the other one; another version may have added or removed a key.
    """
    if isinstance(expected, dict):
        return (
            isinstance(found, dict)
            and (found.keys() == expected.keys() or not all_keys)
            and all(_has_form(found[key], expected[key], all_keys=all_keys) for key in found.keys() & expected.keys())
        )
    if isinstance(expected, Tensor):
        return isinstance(found, Tensor) and found.shape == expected.shape and found.dtype == expected.dtype
    if type(expected) is int:
        return type(found) is int and 0 <= found <= MAX_COUNT
    is_number = type(expected) is float and type(found) is int
    return is_number or expected is None or type(found) is type(expected)


def _is_of_checkpoint(error: BaseException) -> bool:
    """Return whether an error was raised while a checkpoint was restored, or because of its state."""
    restoring = [
        frame.f_code.co_name
        for frame, _ in traceback.walk_tb(error.__traceback__)
        if frame.f_globals.get("__name__") == checkpoint_connector.__name__
    ]
    return isinstance(error, _DamagedStateError) or any("restore" in name or "resume" in name for name in restoring)


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"

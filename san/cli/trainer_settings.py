"""Settings of the trainer that this program sets from other keys, or that leave nothing to train or test."""

from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig

__all__ = ["refuse_rare_validation", "refuse_training_without_validation", "refuse_void_trainer_settings"]

SET_BY = {
    "callbacks": "callbacks=[...]",
    "default_root_dir": "hydra.run.dir",
    "enable_checkpointing": "callbacks.phi_checkpoint",
    "logger": "logger=[...]",
}
SPLITS = ("train", "val", "test")


def refuse_void_trainer_settings(trainer: DictConfig) -> None:
    """Refuse settings of a trainer that would be ignored or leave a split without examples.

    Args:
        trainer: The settings of the trainer.

    Raises:
        ValueError: If there is such a setting.
    """
    for key, other in SET_BY.items():
        if key in trainer:
            raise ValueError(f"trainer.{key}={trainer[key]} would have no effect: set {other} instead")
    for split in SPLITS:
        if (key := f"limit_{split}_batches") in trainer and trainer[key] == 0:
            raise ValueError(f"trainer.{key}={trainer[key]} leaves no examples: set a number or a fraction of batches")


def refuse_rare_validation(trainer: Mapping[str, Any], selects_epoch: bool) -> None:
    """Refuse epochs without validation, unless an epoch with validation is selected among the others.

    Args:
        trainer: The settings of the trainer.
        selects_epoch: Whether the epoch of the lowest validation φ is tested.

    Raises:
        ValueError: If the last epoch is tested, which may have no validation, or no epoch has.
    """
    every, epochs = trainer.get("check_val_every_n_epoch", 1), trainer.get("max_epochs")
    if every == 1:
        return
    if not isinstance(every, int) or every < 1:
        raise ValueError(f"trainer.check_val_every_n_epoch={every} must be an integer of at least 1")
    if not selects_epoch:
        raise ValueError(
            f"trainer.check_val_every_n_epoch={every} must be 1 where the last epoch is tested: keep "
            "callbacks.phi_checkpoint and protocol=honest"
        )
    if isinstance(epochs, int) and 0 <= epochs < every:
        raise ValueError(f"trainer.check_val_every_n_epoch={every} validates none of the {epochs} epochs of max_epochs")


def refuse_training_without_validation(trainer: DictConfig, validation_per_epoch: Sequence[Mapping[str, Any]]) -> None:
    """Refuse to select an epoch of a training that has none, or ended before its first validation.

    Args:
        trainer: The settings of the trainer.
        validation_per_epoch: The validation metrics of each epoch; of an epoch without validation, φ alone.

    Raises:
        ValueError: If no epoch was validated.
    """
    if not validation_per_epoch:
        raise ValueError(f"trainer.max_epochs={trainer.max_epochs} left nothing to train")
    if all(metrics.keys() == {"phi"} for metrics in validation_per_epoch):
        raise ValueError(
            f"the training ended after {len(validation_per_epoch)} epochs, before a validation: lower "
            f"trainer.check_val_every_n_epoch={trainer.check_val_every_n_epoch}"
        )

"""Settings of the trainer that this program sets from other keys, or that leave nothing to train or test."""

from omegaconf import DictConfig

__all__ = ["refuse_void_trainer_settings"]

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

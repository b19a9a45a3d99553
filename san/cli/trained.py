"""The configuration that a checkpoint was trained with, read without trust."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from san.cli.allow_list import resolved_parts
from san.cli.config import check_numbers
from san.cli.earlier_versions import DEFAULTS_OF_OLD_CHECKPOINTS, with_moved_targets

__all__ = ["trained_configuration"]

# The parts of a checkpoint's configuration that are used with its weights.
PARTS = (
    "activation",
    "activation_name",
    "batch_size",
    "classifier",
    "decoder",
    "kernel",
    "kernel_size",
    "kernel_sizes",
    "loss",
    "metric",
    "n_kernels",
    "network",
    "optimizer",
    "seed",
)
COUNTS = ("batch_size", "n_kernels", "seed")


def trained_configuration(stored: Any, path: Path, paths: DictConfig | None = None) -> DictConfig:
    """Return the used parts of a checkpoint's configuration; the folders of data and results are the reader's.

    Args:
        stored: The configuration in the checkpoint.
        path: Path of the checkpoint, for errors.
        paths: The reader's folders, to return the dataset, too; None to leave it out.

    Raises:
        ValueError: If a part is missing, or a number is invalid.
    """
    parts = PARTS if paths is None else (*PARTS, "dataset")
    given = {} if paths is None else {"paths": OmegaConf.to_container(paths, resolve=True)}
    found = {**DEFAULTS_OF_OLD_CHECKPOINTS, **with_moved_targets(resolved_parts(stored, parts, given))}
    missing = [part for part in parts if part not in found]
    if missing:
        raise ValueError(f"the configuration in checkpoint={path} has no {missing[0]}")
    if paths is not None and isinstance(found["dataset"], dict) and "data_dir" in found["dataset"]:
        found["dataset"]["data_dir"] = paths.data_dir
    trained = OmegaConf.create(found)
    if not isinstance(trained.activation_name, str):
        raise ValueError(f"activation_name in checkpoint={path} must be a name")
    if not OmegaConf.is_dict(trained.metric):
        raise ValueError(f"metric in checkpoint={path} must be keys and values")
    check_numbers(trained, (*COUNTS, "kernel_size" if trained.kernel_sizes is None else "kernel_sizes"))
    return trained

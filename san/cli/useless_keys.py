"""Keys that a user types and that have no effect: those of another command, and those that another key replaces.

Only keys on the command line count. Defaults and values from files contradict nothing.
"""

from collections.abc import Collection
from typing import Any

from omegaconf import DictConfig, OmegaConf

from san.cli.keys import TRAINING, is_referenced, key_of, keys_of, typed_keys
from san.ops.choices import shown

__all__ = ["refuse_contradictions", "refuse_useless_keys", "resumes"]

ONLY_FIT = (
    "accumulate_grad_batches", "check_val_every_n_epoch", "gradient_clip_algorithm", "gradient_clip_val",
    "limit_train_batches", "limit_val_batches", "log_every_n_steps", "max_epochs", "max_time", "min_epochs",
    "num_sanity_val_steps", "overfit_batches", "reload_dataloaders_every_n_epochs", "val_check_interval",
)  # fmt: skip
WITH_MODEL = ("evaluate", "encode")  # commands that use a trained model
OF_RECORDINGS = ("channel", "column", "nan", "path", "resample", "sampling_frequency", "variable", "window")
SCALINGS_OF = {"value_range": ("range",), "scaled_by": ("all", "range")}  # of keys of a dataset


def refuse_useless_keys(config: DictConfig) -> None:
    """Refuse typed keys that have no effect in a command, or contradict each other.

    Args:
        config: The composed configuration of a run or job, with its overrides.

    Raises:
        ValueError: If there is one.
    """
    command = str(config.hydra.job.config_name)
    for override in config.hydra.overrides.task:
        if reason := _reason(command, override, config):
            raise ValueError(f"{key_of(override)} has no effect in san.{command}: {reason}")
    if not resumes(config, command):
        refuse_contradictions(config, command, typed_keys(config))


def resumes(config: DictConfig, command: str) -> bool:
    """Return whether a run takes its other options from a checkpoint, so that its composition is not yet whole."""
    return command == "train" and config.checkpoint is not None


def refuse_contradictions(config: DictConfig, command: str, typed: Collection[str]) -> None:
    """Refuse two typed keys if one replaces the other.

    Args:
        config: The configuration of a run or job, with the options of its checkpoint if it resumes one.
        command: The command.
        typed: The keys that the user types.

    Raises:
        ValueError: If there are such keys.
    """
    if command in TRAINING:
        _refuse_contradictions_of_training(config, command, typed)
    if OmegaConf.is_dict(config.get("dataset")):
        _refuse_unused_scaling(config, typed)


def _reason(command: str, override: str, config: DictConfig) -> str:
    """Return why an override has no effect in a command; empty if it has one."""
    key, value = key_of(override), override.partition("=")[2]
    if command in ("sweep", "compare") and key == "kernel_size":
        return f"give kernel_sizes=[{value}]"
    if command == "compare" and key == "activation":
        return f"give activations=[{value}]"
    if command in WITH_MODEL:
        return _reason_with_model(command, key, config)
    return ""


def _reason_with_model(command: str, key: str, config: DictConfig) -> str:
    """Return why a key has no effect on a trained model: it is of trainings, or nothing reads it."""
    root, _, below = key.partition(".")
    if root == "trainer":
        return "it is of trainings alone" if below in ONLY_FIT else ""
    plain: Any = OmegaConf.to_container(config, resolve=False)
    dataset = plain["dataset"]
    if is_referenced(dataset, root):
        return ""
    choices = config.hydra.runtime.choices
    if root in ("seed", "protocol"):
        return "the checkpoint has its own, and it changes no dataset of this command"
    if root not in choices and root not in ("paths", *keys_of(command)):
        return "the checkpoint has its own"
    if dataset is not None and root in OF_RECORDINGS:
        return f"dataset={choices.dataset} does not read it"
    return ""


def _refuse_contradictions_of_training(config: DictConfig, command: str, typed: Collection[str]) -> None:
    sizes = config.get("kernel_sizes")
    if command == "train" and "kernel_sizes" in typed and OmegaConf.is_list(sizes):
        if "n_kernels" in typed and config.n_kernels != len(sizes):
            _refuse(config, "n_kernels", "kernel_sizes", "it has one size for each kernel")
        if "kernel_size" in typed and any(size != config.kernel_size for size in sizes):
            _refuse(config, "kernel_size", "kernel_sizes", "it has the size of each kernel")
    if "activation" in typed and config.get("activations") is not None:
        raise ValueError(f"activation contradicts activations={config.activations}: leave one of them out")
    for key in ("border_tolerance", "activation.border_tolerance"):
        if key in typed and OmegaConf.select(config, "activation.density") is not None:
            _refuse(config, key, "activation.density", "it is the distance itself")
    least, most = (OmegaConf.select(config, f"trainer.{key}") for key in ("min_epochs", "max_epochs"))
    if "trainer.min_epochs" in typed and isinstance(least, int) and isinstance(most, int) and 0 <= most < least:
        _refuse(config, "trainer.min_epochs", "trainer.max_epochs", "no training is longer")


def _refuse_unused_scaling(config: DictConfig, typed: Collection[str]) -> None:
    """Refuse typed keys of a dataset that its scaling does not use."""
    scaling = config.dataset.get("scaling")
    for key, scalings in SCALINGS_OF.items():
        if f"dataset.{key}" in typed and scaling is not None and scaling not in scalings:
            _refuse(config, f"dataset.{key}", "dataset.scaling", f"it is of {' and '.join(scalings)} alone")


def _refuse(config: DictConfig, key: str, other: str, reason: str) -> None:
    pair = [f"{name}={shown(OmegaConf.select(config, name))}" for name in (key, other)]
    raise ValueError(f"{pair[0]} contradicts {pair[1]}, {reason}: leave one of them out")

"""The keys of a configuration that can change a result, and those that cannot, each with its reason."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from san.storage.checkpoints import find

__all__ = ["CANNOT_CHANGE_RESULTS", "MAY_CHANGE_WHEN_RESUMED", "effective_settings", "without"]

LATER_END = "the training continues to a later end, as if that had been given at the start"
SAME_ON_ANY_DEVICE = "the processes share each batch, with the results of one process up to rounding"
FOLDER = "the data count by their content and their name, in any folder"
NO_EFFECT = "only observes the training"

# No result depends on these keys, or on the keys below them. Every other key counts, also one that a user adds.
CANNOT_CHANGE_RESULTS = {
    "callbacks.phi_checkpoint.dirpath": "folder of the checkpoints",
    "checkpoint": "a resumed run ends with the numbers of an uninterrupted one",
    "classifier.max_memory": "reconstructions are the same in memory and in files",
    "dataset.data_dir": FOLDER,
    "figure": "figures are drawn from the results",
    "kernel_figure_every": NO_EFFECT,
    "logger": NO_EFFECT,
    "num_workers": "batches are the same in any number of processes",
    "path": "dataset.path refers to it, and counts",
    "paths": "folders of the data, of the results and of caches",
    "protocol.count_weights": "metric.count_weights refers to it, and counts",
    "protocol.physionet_initialization": "initialization refers to it, and counts",
    "protocol.physionet_kernels": "n_kernels refers to it, and counts",
    "protocol.physionet_precision": "dataset.precision refers to it, and counts",
    "protocol.scaled_by": "dataset.scaled_by refers to it, and counts",
    "protocol.selected_by": "selects among finished models",
    "protocol.uci_epilepsy_range": "dataset.value_range refers to it, and counts",
    "report": "the page is written from the results",
    "skip_finished": "skips or repeats a whole run",
    "trainer.enable_model_summary": NO_EFFECT,
    "trainer.enable_progress_bar": NO_EFFECT,
    "trainer.log_every_n_steps": NO_EFFECT,
}
CALLBACKS_WITHOUT_EFFECT = {
    "pytorch_lightning.callbacks.DeviceStatsMonitor": NO_EFFECT,
    "pytorch_lightning.callbacks.LearningRateMonitor": NO_EFFECT,
    "san.training.callbacks.kernel_figures.KernelFigures": NO_EFFECT,
    "san.training.callbacks.overfit_check.OverfitCheck": NO_EFFECT,
}
LAST_PART_COUNTS = {"dataset.path": FOLDER}  # the results have the name of the file
# These keys can change a result, but a training can be resumed with other values of them.
MAY_CHANGE_WHEN_RESUMED = {
    "callbacks.early_stopping.patience": LATER_END,
    "callbacks.timer": LATER_END,
    "classifier": "classifiers are trained after the network, from the start",
    "max_memory": "a model of a bank is trained as if alone",
    "trainer.accelerator": SAME_ON_ANY_DEVICE,
    "trainer.devices": SAME_ON_ANY_DEVICE,
    "trainer.max_epochs": LATER_END,
    "trainer.max_time": LATER_END,
    "trainer.min_epochs": LATER_END,
    "trainer.num_nodes": SAME_ON_ANY_DEVICE,
    "trainer.plugins": SAME_ON_ANY_DEVICE,
    "trainer.strategy": SAME_ON_ANY_DEVICE,
}


def effective_settings(config: DictConfig, parts: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the settings that can change a result, with all references resolved, as plain containers.

    The file of the initial kernels counts by its content.

    Args:
        config: The configuration of a run.
        parts: Keys of the configuration to return; None for all of them.
    """
    keys = [str(key) for key in config if parts is None or key in parts]
    return without({key: _resolved(config, key) for key in keys if key not in CANNOT_CHANGE_RESULTS})


def without(settings: Mapping[str, Any], keys: Mapping[str, str] = CANNOT_CHANGE_RESULTS) -> dict[str, Any]:
    """Return settings without some keys, and without callbacks that cannot change a result.

    Args:
        settings: Plain containers.
        keys: Keys to leave out, with the keys below them; dots separate levels.
    """
    return _pruned(settings, "", keys)


def _resolved(config: DictConfig, key: str) -> Any:
    value = config[key]
    if key == "initial_kernels" and isinstance(value, str):
        return _content(value)
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _content(path: str) -> str:
    """Return a fingerprint of a file or of the best checkpoint of a run folder; the path if a run would refuse it."""
    try:
        with find(path, "best").open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:24]
    except OSError:
        return path


def _pruned(node: Mapping[str, Any], place: str, keys: Mapping[str, str]) -> dict[str, Any]:
    kept = {}
    for key, value in node.items():
        below = f"{place}.{key}" if place else str(key)
        is_mapping = isinstance(value, Mapping)
        observes = is_mapping and place == "callbacks" and str(value.get("_target_")) in CALLBACKS_WITHOUT_EFFECT
        if below in keys or observes:
            continue
        if below in LAST_PART_COUNTS and isinstance(value, str):
            value = Path(value).name
        kept[key] = _pruned(value, below, keys) if is_mapping else value
    return kept

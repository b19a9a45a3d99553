"""The data to test a checkpoint on, scaled as the data that it was trained on."""

import logging
from importlib import import_module
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from san.cli.allow_list import refuse_absent_targets, refuse_foreign_targets
from san.cli.config import resolved_part
from san.cli.earlier_versions import scaling_of
from san.cli.parts import instantiate
from san.data.recording import Recording
from san.data.scale import FITTED, Scale
from san.data.splits import Splits

__all__ = ["load_test_data"]

log = logging.getLogger(__name__)


def load_test_data(config: DictConfig, trained: DictConfig, checkpoint: dict[str, Any], path: Path) -> Any:
    """Load the splits or the recording to test on, scaled as the training data of the checkpoint.

    Args:
        config: The configuration of the command.
        trained: The used parts of the configuration in the checkpoint.
        checkpoint: The checkpoint.
        path: Path of the checkpoint, for errors.

    Raises:
        ValueError: If the stored scale is invalid, or the data would be scaled in another way.
    """
    is_own = config.dataset is None
    source = trained if is_own else config
    scale = _stored_scale(checkpoint, path)
    options: dict[str, Any] = {}
    if scale is None:
        options = _scaling_without_scale(source.dataset, is_own, path)
    elif OmegaConf.is_dict(source.dataset) and "scaled_by" in source.dataset:
        options = {"scale": scale.to_dict()}
    loaded: Splits | Recording = (
        instantiate(source, "dataset", **options)
        if config.chunk is None
        else _open_recording(source, config.chunk, options)
    )
    _check_scale(loaded, scale or scaling_of(checkpoint["config"].get("dataset")), path)
    return loaded


def _check_scale(loaded: Splits | Recording, trained: Scale | str | None, path: Path) -> None:
    """Refuse data that are not scaled as the training data, or warn where either scale is unknown or neither is fitted.

    Args:
        loaded: The data to test on.
        trained: Scale of the training data, its kind if the scale is unknown, or None if both are unknown.
        path: Path of the checkpoint.

    Raises:
        ValueError: If the data or the training data are scaled by fitted statistics, and the scales differ.
    """
    found, kind = loaded.scale, trained.kind if isinstance(trained, Scale) else trained
    if found is None:
        if kind in FITTED:
            log.warning(
                "%s was trained with scaling=%s; how %s is scaled is unknown, and its results are valid only if it is "
                "scaled by the statistics of the training data",
                *(path, kind, loaded.name),
            )
    elif kind is not None and kind != found.kind:
        difference = f"{loaded.name} has scaling={found.kind}, but {path} was trained with scaling={kind}"
        if kind in FITTED or found.kind in FITTED:
            raise ValueError(f"{difference}: give data with scaling={kind}")
        log.warning("%s", difference)
    elif isinstance(trained, Scale) and trained != found:
        raise ValueError(f"{loaded.name} is not scaled by the statistics of the training data, which {path} stores")


def _stored_scale(checkpoint: dict[str, Any], path: Path) -> Scale | None:
    """Return the scale in a checkpoint; None for checkpoints of earlier versions, and if it is unknown."""
    if "scale" not in checkpoint:
        return None
    try:
        return Scale.from_dict(checkpoint["scale"])
    except ValueError as error:
        raise ValueError(f"{path} is not a checkpoint of san: {error}") from error


def _scaling_without_scale(dataset: Any, is_own: bool, path: Path) -> dict[str, Any]:
    """Return the options by which a dataset is scaled for a checkpoint without a scale.

    Raises:
        ValueError: If another dataset than that of the checkpoint would be scaled by its own statistics.
    """
    scaling = scaling_of(dataset)
    if scaling in FITTED and not is_own:
        raise ValueError(
            f"scaling={scaling} needs the statistics of the training data, which {path} does not store: train again, "
            "or test on the dataset of the checkpoint, without dataset="
        )
    if scaling is None or "scaled_by" in dataset:
        return {}
    if scaling in FITTED:
        log.warning(
            "%s stores no scale: its dataset is scaled by the statistics of all splits, the test split included, as in "
            "the version that wrote it",
            path,
        )
    return {"scaled_by": "all"}


def _open_recording(config: DictConfig, chunk: Any, options: dict[str, Any]) -> Recording:
    """Open the recording of a dataset whose module has a function ``stream`` beside its ``load``.

    Raises:
        ValueError: If the chunk is invalid, or the dataset cannot be read in chunks.
    """
    if not isinstance(chunk, int) or isinstance(chunk, bool) or chunk < 1:
        raise ValueError(f"chunk={chunk} must be an integer, 1 or more, or null to read all at once")
    dataset = resolved_part(config, "dataset")
    refuse_foreign_targets(dataset, "dataset")
    refuse_absent_targets(dataset, "dataset")
    module = str(dataset.get("_target_")).rpartition(".")[0]
    if not module or not hasattr(import_module(module), "stream"):
        raise ValueError(
            f"chunk={chunk}: {module} cannot read in chunks; give a WFDB record (dataset=wfdb path=RECORD) or one long "
            "signal in a .npy file (dataset=numpy path=FILE)"
        )
    opened = OmegaConf.create({"dataset": {**dataset, "_target_": f"{module}.stream", "chunk": chunk, **options}})
    recording: Recording = instantiate(opened, "dataset")
    return recording

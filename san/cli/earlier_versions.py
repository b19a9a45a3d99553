"""How configurations in checkpoints of earlier versions differ from those of today."""

from collections.abc import Mapping
from typing import Any, get_args

from san.data.scale import FITTED, Scaling

__all__ = ["DEFAULTS_OF_OLD_CHECKPOINTS", "scaling_of", "with_earlier_defaults", "with_moved_targets"]

PLAIN_NETWORK = {"_target_": "san.networks.SparselyActivatedNetwork", "_partial_": True}
DEFAULTS_OF_OLD_CHECKPOINTS = {
    "kernel_sizes": None,
    "classifier": {},
    "initialization": "normal",
    "initial_deviation": 0.1,
    "initial_kernels": None,
    "initial_mean": 0.0,
    "kernel": "full",
    "restart_every": None,
    "network": PLAIN_NETWORK,
}
MOVED_TARGETS = {  # names in checkpoints of earlier versions
    "san.activations.AnnealedExtrema": "san.extensions.annealing.AnnealedExtrema",
    "san.activations.DropoutExtrema": "san.extensions.dropout.DropoutExtrema",
    "san.activations.Territory": "san.extensions.territory.Territory",
    "san.classifiers.CNN": "san.training.classifiers.CNN",
    "san.classifiers.FNN": "san.training.classifiers.FNN",
    "san.growing.GrowingNetwork": "san.extensions.growing.GrowingNetwork",
    "san.pursuit.PhiPursuit": "san.extensions.phi_pursuit.PhiPursuit",
    "san.stacking.Stacking": "san.training.stacking.Stacking",
    "san.warping.WarpedNetwork": "san.extensions.warping.WarpedNetwork",
}


def with_moved_targets(node: Any) -> Any:
    """Replace the names of classes that earlier versions defined in other modules.

    Args:
        node: Plain containers.
    """
    if isinstance(node, dict):
        replaced = {key: with_moved_targets(value) for key, value in node.items()}
        target = replaced.get("_target_")
        moved = MOVED_TARGETS.get(target) if isinstance(target, str) else None
        return {**replaced, "_target_": moved} if moved else replaced
    return [with_moved_targets(item) for item in node] if isinstance(node, list) else node


def scaling_of(dataset: Any) -> str | None:
    """Return the scaling in the configuration of a dataset; None if it is unknown or the dataset has none.

    Args:
        dataset: The part of the configuration; it has no ``scaling`` if the dataset always has ``range``.
    """
    if not isinstance(dataset, Mapping) or "value_range" not in dataset:
        return None
    scaling = dataset.get("scaling", "range")
    return scaling if scaling in get_args(Scaling) else None


def with_earlier_defaults(settings: dict[str, Any]) -> dict[str, Any]:
    """Add the values of keys that earlier versions lacked.

    Args:
        settings: Resolved settings of a checkpoint, as plain containers.
    """
    dataset: Any = settings.get("dataset")
    if scaling_of(dataset) in FITTED:
        settings = {**settings, "dataset": {"scaled_by": "all", **dataset}}
    return {**DEFAULTS_OF_OLD_CHECKPOINTS, **settings}

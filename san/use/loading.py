"""Load a trained model from a run folder or a checkpoint."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from san.cli.allow_list import ALLOW_VARIABLE
from san.cli.config import kernel_sizes_of
from san.cli.parts import instantiate
from san.cli.trained import trained_configuration
from san.data.scale import FITTED, Scale
from san.networks import SparselyActivatedNetwork
from san.storage.checkpoints import find, load_state, read, refuse_other_sizes
from san.use.description import Origin
from san.use.model import Model

__all__ = ["load"]

ORIGIN: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "channels": list,
    "channel_units": list,
    "sampling_frequency": (float, type(None)),
    "space": list,
}


def load(path: str | os.PathLike[str], *, allow: Sequence[str] = ()) -> Model:
    """Load a trained model.

    Args:
        path: A run folder of ``san.train``, ``san.sweep`` or a multirun, which gives its best model, or a checkpoint.
        allow: Packages of your own whose classes the checkpoint may name, as ``allow=`` on the command line.

    Returns:
        The model of the epoch with the lowest validation φ̄.

    Raises:
        FileNotFoundError: If there is no checkpoint.
        ValueError: If the file is not a checkpoint of this program, is damaged, or names a class that is not allowed;
            or if it is of an earlier version, which did not store how the data were scaled.
    """
    file = find(path, "best")
    content = read(file)
    trained = trained_configuration(content["config"], file)
    if "scale" not in content:
        raise ValueError(
            f"{file} is of an earlier version, which did not store how the data were scaled: train it again"
        )
    stored = _origin(content.get("origin"), file)
    scale = Scale.from_dict(content["scale"])
    if scale.kind in FITTED and len(scale.sizes) != len(stored["channels"]):
        raise ValueError(f"{file} is damaged: its scale has {len(scale.sizes)} channels, not {len(stored['channels'])}")
    sizes, n_dims = kernel_sizes_of(trained), len(stored["space"])
    channels = len(stored["channels"])
    refuse_other_sizes(content, len(sizes), channels, [max(sizes)] * n_dims, file)
    with _allowed(allow):
        network: SparselyActivatedNetwork = instantiate(trained, "network")(
            sizes,
            instantiate(trained, "activation"),
            n_dims,
            decoder=trained.decoder,
            seed=0,
            channels=channels,
            kernel=trained.kernel,
        )
        loss = instantiate(trained, "loss")
    state = {name.removeprefix("network."): value for name, value in content["state_dict"].items()}
    load_state(network, state, file)
    return Model(
        network.requires_grad_(False),
        activation=trained.activation_name,
        scale=scale,
        origin=Origin(
            stored["name"], tuple(stored["channels"]), tuple(stored["channel_units"]), stored["sampling_frequency"]
        ),
        space=tuple(stored["space"]),
        loss=loss,
        count_weights=trained.metric.count_weights,
    )


@contextmanager
def _allowed(packages: Sequence[str]) -> Iterator[None]:
    """Allow packages of the user inside this context."""
    before = os.environ.get(ALLOW_VARIABLE)
    os.environ[ALLOW_VARIABLE] = ",".join([*([before] if before else []), *packages])
    try:
        yield
    finally:
        os.environ.pop(ALLOW_VARIABLE)
        if before is not None:
            os.environ[ALLOW_VARIABLE] = before


def _origin(stored: Any, file: Path) -> Mapping[str, Any]:
    """Check the description of the training data in a checkpoint.

    Raises:
        ValueError: If it is absent or damaged.
    """
    if stored is None:
        raise ValueError(
            f"{file} is of an earlier version, which did not store the length of its examples: train it again"
        )
    if isinstance(stored, dict) and {"channel", "unit"} <= stored.keys():  # of an earlier version, of one channel
        others = {key: value for key, value in stored.items() if key not in ("channel", "unit")}
        stored = {**others, "channels": [stored["channel"]], "channel_units": [stored["unit"]]}
    valid = isinstance(stored, dict) and stored.keys() == ORIGIN.keys()
    valid = valid and all(isinstance(stored[key], kind) for key, kind in ORIGIN.items())
    valid = valid and len(stored["channels"]) == len(stored["channel_units"]) > 0
    valid = valid and all(isinstance(text, str) for text in (*stored["channels"], *stored["channel_units"]))
    if not valid or len(stored["space"]) not in (1, 2) or not all(type(n) is int and n > 0 for n in stored["space"]):
        raise ValueError(f"{file} is damaged: what it stores of its training data is incomplete")
    return cast("Mapping[str, Any]", stored)

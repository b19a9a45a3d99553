"""Resume the training of a checkpoint, and of no other experiment."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from san.cli.allow_list import resolved_parts
from san.cli.config import parse_numbers
from san.cli.earlier_versions import with_earlier_defaults, with_moved_targets
from san.cli.settings import CANNOT_CHANGE_RESULTS, MAY_CHANGE_WHEN_RESUMED, without
from san.reporting.provenance import Provenance
from san.training.callbacks.stored_provenance import PART

__all__ = ["resumed_provenance", "settings_of_bank"]

ABSENT = object()
LONG = 8  # numbers of a list that are written as ranges

log = logging.getLogger(__name__)


class Difference(NamedTuple):
    """A key with two values, one of which may be ``ABSENT``."""

    place: str
    stored: Any
    here: Any

    @property
    def one_sided(self) -> bool:
        """Whether one of the two configurations lacks the key."""
        return self.stored is ABSENT or self.here is ABSENT

    def follows(self, other: "Difference") -> bool:
        """Whether the values are those of another key, to which this key refers, such as ``border_tolerance``."""
        return self.place.endswith(f".{other.place}") and self[1:] == other[1:]

    def __str__(self) -> str:
        """Return both values as command-line overrides."""
        return f"{self._override(self.stored)} in the checkpoint, {self._override(self.here)} here"

    def _override(self, value: Any) -> str:
        return f"no {self.place}" if value is ABSENT else f"{self.place}={_text(value)}"


def settings_of_bank(settings: Mapping[str, Any], sizes: Sequence[int]) -> dict[str, Any]:
    """Return the settings of one bank of a sweep: its kernel sizes, and its activation instead of all activations.

    Args:
        settings: Settings of the sweep.
        sizes: The kernel sizes of the bank.
    """
    unused = ("activations", "kernel_size")
    return {**{key: value for key, value in settings.items() if key not in unused}, "kernel_sizes": list(sizes)}


def resumed_provenance(
    checkpoint: Mapping[str, Any],
    here: Provenance,
    config: DictConfig,
    *,
    data_name: str,
    sizes: Sequence[int] | None = None,
) -> Provenance:
    """Refuse a checkpoint of another experiment, and announce one of other code.

    Args:
        checkpoint: A checkpoint with training state.
        here: Provenance of the training that resumes.
        config: Configuration of the training that resumes.
        data_name: Name of the examples in errors.
        sizes: Kernel sizes of the bank, for a bank of a sweep.

    Returns:
        The provenance of the resumed training; its code is that of each part of the training, in order.

    Raises:
        ValueError: If a setting or the examples differ, or the checkpoint is damaged.
    """
    stored = _stored(checkpoint, config, sizes)
    codes = stored.code.split("+")
    same_code = codes[-1] == here.code
    differences = _differences_of_experiments(stored.settings, here.settings)
    # Another version of the program may have added or removed a key, so a key that one side lacks says nothing then.
    different = [str(difference) for difference in differences if same_code or not difference.one_sided]
    if stored.data and stored.data != here.data and not any(text.startswith("dataset.") for text in different):
        different.append(f"{data_name} has other examples here than in the checkpoint")
    if different:
        raise ValueError(
            f"checkpoint={config.checkpoint} is of another experiment: {'; '.join(different)}; to resume it, give the "
            "values of the checkpoint; to start anew, leave out checkpoint="
        )
    if same_code:
        return Provenance(here.settings, stored.code, here.data)
    log.warning(
        "checkpoint=%s %s; the code here trains on%s",
        config.checkpoint,
        "was trained by other code"
        if stored.data
        else "is of an older format, without fingerprints of its code and data",
        f", and these keys are not compared: {'; '.join(map(str, differences))}" if differences else "",
    )
    return Provenance(here.settings, "+".join([*codes, here.code]), here.data)


def _stored(checkpoint: Mapping[str, Any], config: DictConfig, sizes: Sequence[int] | None) -> Provenance:
    """Return the provenance in a checkpoint; of an earlier version, its code and data are unknown.

    Raises:
        ValueError: If it is damaged.
    """
    part = checkpoint.get(PART)
    if part is None:
        settings = _earlier_settings(checkpoint["config"], config)
        if sizes is not None:
            in_bank = parse_numbers("kernel_sizes", settings.get("kernel_sizes"), between=(sizes[0], sizes[-1]))
            settings = settings_of_bank(settings, in_bank)
        return Provenance(settings, "unknown", "")
    if not isinstance(part, dict) or not all(isinstance(part.get(key), str) for key in ("code", "data")):
        raise ValueError(f"checkpoint={config.checkpoint} is not a checkpoint of san: its {PART} is damaged")
    resolved_parts(part.get("settings"), [], {})  # refuses anything but plain data of moderate size
    return Provenance(part["settings"], part["code"], part["data"])


def _earlier_settings(stored: Any, config: DictConfig) -> dict[str, Any]:
    """Return the resolved settings of a checkpoint that has its configuration with references alone."""
    given = {"paths": OmegaConf.to_container(config.paths, resolve=True)}
    resolved_parts(stored, [], given)
    found: dict[str, Any] = {}
    for key in stored.keys() - CANNOT_CHANGE_RESULTS.keys():
        with suppress(ValueError):  # of a resolver, which could read the environment of whoever opens the checkpoint
            found |= with_moved_targets(resolved_parts(stored, [key], given))
    return without(with_earlier_defaults(found))


def _differences_of_experiments(stored: Mapping[str, Any], here: Mapping[str, Any]) -> list[Difference]:
    """Return the differences that a resumed training must not have; another activation is one, by its name."""
    compared = [without(settings, MAY_CHANGE_WHEN_RESUMED) for settings in (stored, here)]
    names = [settings.pop("activation_name", ABSENT) for settings in compared]
    if names[0] != names[1] and ABSENT not in names:
        for settings, name in zip(compared, names, strict=True):
            settings["activation"] = name
    found = list(_differences(compared[0], compared[1]))
    return [difference for difference in found if not any(difference.follows(other) for other in found)]


def _differences(stored: Mapping[str, Any], here: Mapping[str, Any], above: str = "") -> Iterator[Difference]:
    """Yield the keys with different values; another ``_target_`` alone, without the keys beside it."""
    for key in sorted(stored.keys() | here.keys(), key=str):
        place = f"{above}.{key}" if above else str(key)
        pair = [settings.get(key, ABSENT) for settings in (stored, here)]
        if any(isinstance(value, Mapping) for value in pair):
            pair = [{} if value is ABSENT else value for value in pair]
        if not all(isinstance(value, Mapping) for value in pair):
            if pair[0] != pair[1]:
                yield Difference(place, *pair)
            continue
        targets = [value.get("_target_", ABSENT) for value in pair]
        if targets[0] != targets[1]:
            yield Difference(f"{place}._target_", *targets)
        else:
            yield from _differences(pair[0], pair[1], place)


def _text(value: Any) -> str:
    """Return a value as on the command line, with runs of many numbers as ranges such as 1..250."""
    if isinstance(value, list) and len(value) > LONG and all(type(item) is int for item in value):
        runs = [[item for _, item in run] for _, run in groupby(enumerate(value), lambda pair: pair[1] - pair[0])]
        return f"[{','.join(f'{run[0]}..{run[-1]}' if len(run) > 1 else str(run[0]) for run in runs)}]"
    return value if isinstance(value, str) else json.dumps(value)

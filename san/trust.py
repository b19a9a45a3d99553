"""What a configuration may name and refer to, so that one from a stranger runs no code and asks for no endless memory.

It works on plain containers. Names are allowed by the place where they stand: a dataset where a dataset is expected,
and nothing else. References in the configuration of a checkpoint are replaced here, without any resolver.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple

__all__ = ["own_parts", "refuse_absent_targets", "refuse_foreign_hydra", "refuse_foreign_targets"]


class Part(NamedTuple):
    """What a place of the configuration may name, and whether it is called later, with more arguments."""

    place: str
    names: str
    later: bool = False


PARTS = (
    Part(r"activation", r"san\.(activations|pursuit)\.[A-Z]\w*"),
    Part(r"classifier", r"san\.stacking\.Stacking"),
    Part(r"classifier\.model", r"san\.classifiers\.[A-Z]\w*", later=True),
    Part(r"dataset", r"san\.data\.[a-z]\w*\.(load|stream)"),
    Part(r"figure\.\w+", r"san\.figures\.[a-z]\w*\.draw", later=True),
    Part(r"logger", r"pytorch_lightning\.loggers\.[A-Z]\w*Logger"),
    Part(r"loss", r"torch\.nn\.functional\.[a-z]\w*_loss", later=True),
    Part(r"network", r"san\.[a-z]\w*\.[A-Z]\w*Network", later=True),
    Part(r"(classifier\.)?optimizer", r"torch\.optim\.[A-Z]\w*", later=True),
    Part(r"trainer", r"pytorch_lightning\.Trainer"),
    Part(r"trainer\.strategy", r"pytorch_lightning\.strategies\.[A-Z]\w*Strategy"),
    Part(r"trainer\.plugins", r"pytorch_lightning\.plugins\.environments\.[A-Z]\w*Environment"),
    Part(r"hydra\.callbacks\.\w+", r"san\.multirun\.MultirunSummary|hydra\.experimental\.callbacks\.[A-Z]\w*Callback"),
    Part(r"hydra\.launcher", r"hydra(\._internal\.core)?_plugins(\.\w+){1,2}\.[A-Z]\w*Launcher"),
    Part(r"hydra\.sweeper", r"hydra(\._internal\.core)?_plugins(\.\w+){1,2}\.[A-Z]\w*Sweeper"),
)
LOGGING = ("logging.StreamHandler", "logging.FileHandler", "san.command.WithoutTraceback")
STREAMS = ("ext://sys.stdout", "ext://sys.stderr")
LOG_FILE = "${hydra.runtime.output_dir}/${hydra.job.name}.log"
REFERENCE = re.compile(r"\$\{([\w-]+(?:\.[\w-]+)*)\}")
MOST_VALUES, DEEPEST, LONGEST = 10_000, 20, 10_000  # of the configuration of a checkpoint; the last in characters


def refuse_foreign_targets(node: Any, place: str) -> None:
    """Refuse a ``_target_`` that does not belong where it stands; nothing is imported for it.

    Args:
        node: Plain containers.
        place: Key of the node, such as ``dataset``; empty for a whole configuration.

    Raises:
        ValueError: If anything else is named, or is to be called in another way.
    """
    for below, named in _named(node, place):
        _refuse_foreign(named, below)


def refuse_absent_targets(node: Any, place: str) -> None:
    """Refuse a ``_target_`` that is not defined in the package that it names; import what is.

    Args:
        node: Plain containers, of which :func:`refuse_foreign_targets` refused nothing.
        place: Key of the node, such as ``dataset``.

    Raises:
        ValueError: If something named is absent, or its package only imports it.
    """
    for below, named in _named(node, place):
        target = str(named["_target_"])
        module, _, name = target.rpartition(".")
        try:
            found = getattr(import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise ValueError(f"{below}._target_={target} does not exist ({error})") from error
        package = target.partition(".")[0]
        if not callable(found) or not f"{getattr(found, '__module__', '')}.".startswith(f"{package}."):
            raise ValueError(f"{below}._target_={target} is not allowed: {package} only imports it")


def refuse_foreign_hydra(node: Mapping[str, Any]) -> None:
    """Refuse what the ``hydra`` part of a configuration could run or overwrite without naming a ``_target_``.

    Raises:
        ValueError: If logging is to use other classes, objects or files than Hydra's default, or a variable of the
            environment is to be set.
    """
    for key in ("hydra_logging", "job_logging"):
        _refuse_foreign_logging(node.get(key), f"hydra.{key}")
    if node.get("job", {}).get("env_set"):
        raise ValueError("hydra.job.env_set is not allowed: set variables of the environment before the command")
    if re.search(r"[/\\]", str(node.get("job", {}).get("name", ""))):
        raise ValueError(f"hydra.job.name={node['job']['name']} must be a name, not a path")


def own_parts(config: Any, parts: Sequence[str], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return parts of the configuration that a checkpoint has, complete in themselves.

    A reference such as ``${border_tolerance}`` is replaced by the value, which has none itself. It may name a key and
    no resolver: those could read the environment of whoever opens the checkpoint.

    Args:
        config: What the checkpoint has.
        parts: The keys to return; one that is absent is left out.
        given: Parts that are those of whoever reads it, whatever the checkpoint has.

    Raises:
        ValueError: If it is not plain data of moderate size, or a reference is not to a plain value.
    """
    if not isinstance(config, dict):
        raise ValueError(f"the configuration in the checkpoint is a {type(config).__name__}, not plain keys and values")
    _count(config, 0, 0)
    whole = {**config, **given}
    return {part: _replaced(whole[part], part, whole) for part in parts if part in whole}


def _named(node: Any, place: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Go through the mappings that have a ``_target_``, each with its place."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield place, node
        for key, value in node.items():
            yield from _named(value, f"{place}.{key}" if place else str(key))
    elif isinstance(node, list):
        for item in node:
            yield from _named(item, place)


def _refuse_foreign(node: Mapping[str, Any], place: str) -> None:
    target = str(node["_target_"])
    part = next((part for part in PARTS if re.fullmatch(part.place, place)), None)
    if part is None or not re.fullmatch(part.names, target, re.ASCII):
        allowed = f"it must be {part.names}" if part else "nothing can be named there"
        raise ValueError(f"{place}._target_={target} is not allowed: {allowed}")
    if place.startswith("hydra."):
        return  # Hydra reports itself what it cannot find
    special = [key for key in node if str(key).startswith("_") and key not in ("_target_", "_partial_")]
    if special:
        raise ValueError(f"{place}.{special[0]} is not allowed beside _target_={target}")
    if node.get("_partial_", False) is not part.later:
        raise ValueError(f"{place}._partial_ must be {str(part.later).lower()} for _target_={target}")


def _refuse_foreign_logging(node: Any, place: str) -> None:
    if isinstance(node, Mapping):
        for key, value in node.items():
            below = f"{place}.{key}"
            if key == "filename":
                allowed = value == LOG_FILE
            elif key in ("class", "()", "factory"):
                allowed = value in LOGGING
            else:
                allowed = key != "." and (value in STREAMS or not _is_active(value))
            if not allowed:
                raise ValueError(f"{below}={value} is not allowed: a log has {', '.join(LOGGING)}, "
                                 f"{', '.join(STREAMS)} and the file {LOG_FILE}")  # fmt: skip
            _refuse_foreign_logging(value, below)
    elif isinstance(node, list):
        for index, item in enumerate(node):
            _refuse_foreign_logging({str(index): item}, place)


def _is_active(value: Any) -> bool:
    return isinstance(value, str) and ("://" in value or "${" in value)


def _count(node: Any, seen: int, depth: int) -> int:
    """Count the values of a configuration, those that occur at several places at each, and stop where it is odd."""
    if seen > MOST_VALUES or depth > DEEPEST:
        raise ValueError(f"the configuration in the checkpoint has more than {MOST_VALUES} values or {DEEPEST} levels")
    if isinstance(node, dict):
        for key, value in node.items():
            if type(key) not in (str, int) or len(str(key)) > LONGEST:
                raise ValueError(f"the configuration in the checkpoint has a {type(key).__name__} for a key")
            seen = _count(value, seen + 1, depth + 1)
    elif isinstance(node, list):
        for value in node:
            seen = _count(value, seen + 1, depth + 1)
    elif not (node is None or type(node) in (str, int, float, bool)):
        raise ValueError(f"the configuration in the checkpoint has a {type(node).__name__}, not plain data alone")
    elif isinstance(node, str) and len(node) > LONGEST:
        raise ValueError(f"the configuration in the checkpoint has a text of {len(node)} characters")
    return seen


def _replaced(node: Any, place: str, whole: Mapping[str, Any], depth: int = 0) -> Any:
    if isinstance(node, dict):
        return {key: _replaced(value, f"{place}.{key}", whole, depth) for key, value in node.items()}
    if isinstance(node, list):
        return [_replaced(item, place, whole, depth) for item in node]
    if not isinstance(node, str) or "${" not in node:
        return node
    alone = REFERENCE.fullmatch(node)
    value = _value(alone[1], node, place, whole) if alone else None
    text = REFERENCE.sub(lambda found: str(_value(found[1], node, place, whole)), node)
    if alone and isinstance(value, str) and REFERENCE.fullmatch(value) and depth < DEEPEST:
        return _replaced(value, place, whole, depth + 1)
    if "${" in text or len(text) > LONGEST:
        raise ValueError(f"{place}={node} in the checkpoint refers to what is not a plain value of it: "
                         "give that part on the command line, such as dataset=")  # fmt: skip
    return value if alone else text


def _value(reference: str, node: str, place: str, whole: Mapping[str, Any]) -> Any:
    found: Any = whole
    for key in reference.split("."):
        if not isinstance(found, Mapping) or key not in found:
            raise ValueError(f"{place}={node} in the checkpoint refers to {reference}, which it does not have")
        found = found[key]
    return found

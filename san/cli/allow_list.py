"""Which objects a configuration may name, so that a stranger's configuration runs no code.

It works on plain containers. Each place of the configuration allows its own objects: a dataset where a dataset is
expected, and nothing else. Other packages need ``allow=`` on the command line or ``SAN_ALLOW``. References in the
configuration of a checkpoint are replaced here, without any resolver.
"""

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple

from san.cli.imports import collection_paused

__all__ = [
    "ALLOW_VARIABLE",
    "named_targets",
    "refuse_absent_targets",
    "refuse_foreign_hydra",
    "refuse_foreign_targets",
    "resolved_parts",
    "rule_of",
    "take_allowed_packages",
]

ALLOW_VARIABLE = "SAN_ALLOW"


class Rule(NamedTuple):
    """The objects that one place of the configuration may name.

    Args:
        place: Pattern of the key.
        targets: Pattern of the objects' names.
        description: The same for the user.
        n_positional: Number of arguments that the program gives by position when it calls the object later; 0 for an
            object that Hydra calls, so it also tells whether ``_partial_`` must be true.
        keywords: Arguments that the program then gives by name.
    """

    place: str
    targets: str
    description: str
    n_positional: int = 0
    keywords: tuple[str, ...] = ()


CALLBACKS = r"pytorch_lightning\.callbacks\.(DeviceStatsMonitor|EarlyStopping|LearningRateMonitor|Timer)"
RULES = (
    Rule(
        r"activation",
        r"san\.(activations|extensions\.[a-z]\w*)\.[A-Z]\w*",
        "a class of san.activations or san.extensions",
    ),
    Rule(
        r"callbacks\.\w+",
        r"san\.checkpoint\.PhiCheckpoint|san\.training\.callbacks\.kernel_figures\.KernelFigures|"
        rf"san\.training\.callbacks\.overfit_check\.OverfitCheck|{CALLBACKS}",
        "PhiCheckpoint, KernelFigures or OverfitCheck of san, or EarlyStopping, LearningRateMonitor, "
        "DeviceStatsMonitor or Timer of Lightning",
    ),
    Rule(r"classifier", r"san\.training\.stacking\.Stacking", "san.training.stacking.Stacking"),
    Rule(
        r"classifier\.model",
        r"san\.training\.classifiers\.[A-Z]\w*",
        "a class of san.training.classifiers",
        n_positional=2,
    ),
    Rule(r"dataset", r"san\.data\.[a-z]\w*\.(load|stream)", "the function load of a module of san.data"),
    Rule(
        r"figure\.\w+", r"san\.figures\.[a-z]\w*\.draw", "the function draw of a module of san.figures", n_positional=1
    ),
    Rule(
        r"logger\.\w+",
        r"san\.training\.tensorboard\.TensorBoard|pytorch_lightning\.loggers\.[A-Z]\w*Logger",
        "TensorBoard of san or a logger of pytorch_lightning.loggers",
    ),
    Rule(
        r"loss",
        r"torch\.nn\.functional\.[a-z]\w*_loss",
        "a loss of torch.nn.functional",
        n_positional=2,
        keywords=("reduction",),
    ),
    Rule(
        r"network",
        r"san\.(networks|extensions\.[a-z]\w*)\.[A-Z]\w*Network",
        "a network of san.networks or san.extensions",
        n_positional=3,
        keywords=(
            "channels",
            "decoder",
            "initial_deviation",
            "kernel",
            "n_models",
            "sampler",
            "seed",
            "start_indices",
        ),
    ),
    Rule(r"(classifier\.)?optimizer", r"torch\.optim\.[A-Z]\w*", "an optimizer of torch.optim", n_positional=1),
    Rule(r"trainer", r"pytorch_lightning\.Trainer", "pytorch_lightning.Trainer"),
    Rule(r"trainer\.strategy", r"pytorch_lightning\.strategies\.[A-Z]\w*Strategy", "a strategy of Lightning"),
    Rule(
        r"hydra\.callbacks\.\w+",
        r"san\.cli\.multirun\.Multirun(Failures|Summary)|hydra\.experimental\.callbacks\.[A-Z]\w*Callback",
        "a multirun callback of san or a callback of hydra.experimental.callbacks",
    ),
    Rule(r"hydra\.launcher", r"hydra(\._internal\.core)?_plugins(\.\w+){1,2}\.[A-Z]\w*Launcher", "a launcher of Hydra"),
    Rule(r"hydra\.sweeper", r"hydra(\._internal\.core)?_plugins(\.\w+){1,2}\.[A-Z]\w*Sweeper", "a sweeper of Hydra"),
)
SPECIAL = ("_args_", "_convert_", "_partial_", "_recursive_")  # keys that tell Hydra how to call an object
LOGGING_CLASSES = ("logging.StreamHandler", "logging.FileHandler", "san.cli.launch.WithoutTraceback")
STREAMS = ("ext://sys.stdout", "ext://sys.stderr")
LOG_FILE = "${hydra.runtime.output_dir}/${hydra.job.name}.log"
REFERENCE = re.compile(r"\$\{([\w-]+(?:\.[\w-]+)*)\}")
MAX_VALUES, MAX_DEPTH, MAX_TEXT = 10_000, 20, 10_000  # of a checkpoint's configuration; texts in characters
MAX_REFERENCES = 20  # of a text


def take_allowed_packages(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split ``allow=[package]`` off a command line.

    Returns:
        The other arguments, and the packages that ``allow=`` names.

    Raises:
        ValueError: If a name is not that of a top-level package, or is a module of the standard library.
    """
    others, packages = [], []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if key.lstrip("+") != "allow" or not equals:
            others.append(argument)
            continue
        packages += [name.strip(" '\"") for name in value.strip("[] ").split(",") if name.strip(" '\"")]
    for package in packages:
        if not package.isidentifier():
            raise ValueError(f"allow={package} must name a top-level package, such as allow=[mine]")
        if package in sys.stdlib_module_names:
            raise ValueError(f"allow={package} names a module of Python's standard library, which cannot be allowed")
    return others, packages


def refuse_foreign_targets(node: Any, place: str) -> None:
    """Refuse a ``_target_`` that is not allowed at its place; import nothing.

    Args:
        node: Plain containers.
        place: Key of the node, such as ``dataset``; empty for a whole configuration.

    Raises:
        ValueError: If another object is named, or an object is called in another way.
    """
    for below, mapping in _mappings(node, place):
        if "_target_" in mapping:
            _refuse_foreign(mapping, below)
        elif special := [key for key in mapping if key in SPECIAL]:
            raise ValueError(f"{below}.{special[0]} is not allowed without a _target_")


def refuse_absent_targets(node: Any, place: str) -> None:
    """Refuse a ``_target_`` that is not defined in the package that it names; import the others.

    Args:
        node: Plain containers that :func:`refuse_foreign_targets` accepted.
        place: Key of the node, such as ``dataset``.

    Raises:
        ValueError: If an object is absent, or its package only imports it.
    """
    for below, named in named_targets(node, place):
        target = str(named["_target_"])
        module, _, name = target.rpartition(".")
        try:
            with collection_paused():
                found = getattr(import_module(module), name)
        except Exception as error:  # a user's package may raise any error on import
            raise ValueError(f"{below}._target_={target} cannot be imported ({error})") from error
        package = target.partition(".")[0]
        if not callable(found) or not f"{getattr(found, '__module__', '')}.".startswith(f"{package}."):
            raise ValueError(f"{below}._target_={target} is not allowed: {package} only imports it")


def refuse_foreign_hydra(node: Mapping[str, Any]) -> None:
    """Refuse settings of the ``hydra`` node that run or overwrite something without a ``_target_``.

    Raises:
        ValueError: If logging uses other classes, objects or files than Hydra's default, or an environment variable is
            set.
    """
    for key in ("hydra_logging", "job_logging"):
        _refuse_foreign_logging(node.get(key), f"hydra.{key}")
    if node.get("job", {}).get("env_set"):
        raise ValueError("hydra.job.env_set is not allowed: set environment variables before the command")
    if re.search(r"[/\\]", str(node.get("job", {}).get("name", ""))):
        raise ValueError(f"hydra.job.name={node['job']['name']} must be a name, not a path")


def resolved_parts(config: Any, parts: Sequence[str], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return parts of a checkpoint's configuration with all references replaced.

    A reference such as ``${border_tolerance}`` is replaced by a plain value. It may name a key but no resolver, which
    could read the environment of whoever opens the checkpoint.

    Args:
        config: The configuration in the checkpoint.
        parts: Keys of the parts to return; absent parts are skipped.
        given: Parts of the reader's own configuration, which replace those of the checkpoint.

    Raises:
        ValueError: If the configuration is not plain data of moderate size, or a reference is not to a plain value.
    """
    if not isinstance(config, dict):
        raise ValueError(f"the configuration in the checkpoint is a {type(config).__name__}, not plain keys and values")
    _refuse_excess(config, 0, 0)
    whole = {**config, **given}
    return {part: _replaced(whole[part], part, whole) for part in parts if part in whole}


def named_targets(node: Any, place: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the mappings with a ``_target_``, each with its place."""
    return ((below, mapping) for below, mapping in _mappings(node, place) if "_target_" in mapping)


def _mappings(node: Any, place: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield all mappings, each with its place."""
    if isinstance(node, Mapping):
        yield place, node
        for key, value in node.items():
            yield from _mappings(value, f"{place}.{key}" if place else str(key))
    elif isinstance(node, list):
        for item in node:
            yield from _mappings(item, place)


def rule_of(place: str, target: str) -> Rule:
    """Return the rule of a place such as ``dataset``, where a configuration names a target.

    Raises:
        ValueError: If no object can be named there.
    """
    for rule in RULES:
        if re.fullmatch(rule.place, place):
            return rule
    raise ValueError(f"{place}._target_={target} is not allowed: no object can be named there")


def _refuse_foreign(node: Mapping[str, Any], place: str) -> None:
    target = str(node["_target_"])
    rule = rule_of(place, target)
    is_hydra = place.startswith("hydra.")
    if not re.fullmatch(rule.targets, target, re.ASCII):
        package = target.partition(".")[0]
        if is_hydra or package == "san" or not re.fullmatch(r"[a-zA-Z_]\w*(\.\w+)+", target, re.ASCII):
            raise ValueError(f"{place}._target_={target} is not allowed: it must be {rule.description}")
        if package not in os.environ.get(ALLOW_VARIABLE, "").split(",") or package in sys.stdlib_module_names:
            raise ValueError(
                f"{place}._target_={target} is not allowed: it must be {rule.description}; if you trust the package "
                f"{package}, add allow=[{package}] to the command line or set {ALLOW_VARIABLE}={package}"
            )
    if is_hydra:
        return  # Hydra itself reports objects that it cannot find
    special = [key for key in node if str(key).startswith("_") and key not in ("_target_", "_partial_")]
    if special:
        raise ValueError(f"{place}.{special[0]} is not allowed beside _target_={target}")
    if node.get("_partial_", False) is not (is_partial := rule.n_positional > 0):
        raise ValueError(f"{place}._partial_ must be {str(is_partial).lower()} for _target_={target}")


def _refuse_foreign_logging(node: Any, place: str) -> None:
    if isinstance(node, Mapping):
        for key, value in node.items():
            below = f"{place}.{key}"
            if key == "filename":
                allowed = value == LOG_FILE
            elif key in ("class", "()", "factory"):
                allowed = value in LOGGING_CLASSES
            else:
                allowed = key != "." and (value in STREAMS or not _is_reference(value))
            if not allowed:
                raise ValueError(
                    f"{below}={value} is not allowed: a log may use {', '.join(LOGGING_CLASSES)}, "
                    f"{', '.join(STREAMS)} and the file {LOG_FILE}"
                )
            _refuse_foreign_logging(value, below)
    elif isinstance(node, list):
        for index, item in enumerate(node):
            _refuse_foreign_logging({str(index): item}, place)


def _is_reference(value: Any) -> bool:
    return isinstance(value, str) and ("://" in value or "${" in value)


def _refuse_excess(node: Any, seen: int, depth: int) -> int:
    """Count the values of a configuration, repeated ones at each place, and refuse too many or too deep ones."""
    if seen > MAX_VALUES or depth > MAX_DEPTH:
        raise ValueError(f"the configuration in the checkpoint has more than {MAX_VALUES} values or {MAX_DEPTH} levels")
    if isinstance(node, dict):
        for key, value in node.items():
            if type(key) not in (str, int) or len(str(key)) > MAX_TEXT:
                raise ValueError(f"the configuration in the checkpoint has a {type(key).__name__} as a key")
            seen = _refuse_excess(value, seen + 1, depth + 1)
    elif isinstance(node, list):
        for value in node:
            seen = _refuse_excess(value, seen + 1, depth + 1)
    elif not (node is None or type(node) in (str, int, float, bool)):
        raise ValueError(f"the configuration in the checkpoint has a {type(node).__name__}, not plain data alone")
    elif isinstance(node, str) and len(node) > MAX_TEXT:
        raise ValueError(f"the configuration in the checkpoint has a text of {len(node)} characters")
    return seen


def _replaced(node: Any, place: str, whole: Mapping[str, Any], depth: int = 0) -> Any:
    if isinstance(node, dict):
        return {key: _replaced(value, f"{place}.{key}", whole, depth) for key, value in node.items()}
    if isinstance(node, list):
        return [_replaced(item, place, whole, depth) for item in node]
    if not isinstance(node, str) or "${" not in node:
        return node
    if len(references := REFERENCE.findall(node)) > MAX_REFERENCES:
        raise ValueError(f"{place} in the checkpoint has {len(references)} references, more than {MAX_REFERENCES}")
    alone = REFERENCE.fullmatch(node)
    value = _referenced(alone[1], node, place, whole) if alone else None
    text = REFERENCE.sub(lambda found: _text_of(_referenced(found[1], node, place, whole)), node)
    if alone and isinstance(value, str) and REFERENCE.fullmatch(value) and depth < MAX_DEPTH:
        return _replaced(value, place, whole, depth + 1)
    if "${" in text or len(text) > MAX_TEXT:
        raise ValueError(
            f"{place}={node} in the checkpoint does not refer to a plain value: give that part on the command line, "
            "such as dataset="
        )
    return value if alone else text


def _text_of(value: Any) -> str:
    """Return a plain value within a text; a reference to keys and values is kept, and refused with the text."""
    return "${" if isinstance(value, dict | list) else str(value)


def _referenced(reference: str, node: str, place: str, whole: Mapping[str, Any]) -> Any:
    found: Any = whole
    for key in reference.split("."):
        if not isinstance(found, Mapping) or key not in found:
            raise ValueError(f"{place}={node} in the checkpoint refers to {reference}, which it does not have")
        found = found[key]
    return found

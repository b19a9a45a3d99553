"""The configuration: where it is, how parts of it are recomposed, and checks of its numbers."""

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, cast

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, MissingMandatoryValue

from san.ops.choices import LARGEST, shown

__all__ = [
    "CONF",
    "FILE",
    "PACKAGE",
    "check_activation",
    "check_kinds",
    "check_numbers",
    "compose_from_package",
    "is_foreign",
    "kernel_sizes_of",
    "paper_databases",
    "parse_numbers",
    "recompose",
    "refuse_address",
    "resolved_part",
    "stored_configuration",
    "with_activation",
]

PACKAGE = Path(__file__).parents[1]
FILE = "file://"  # before a folder among the sources of configurations
PARTS = (
    "activation", "callbacks", "classifier", "dataset", "figure", "logger", "loss", "metric", "network", "optimizer",
    "paths", "trainer",
)  # fmt: skip
MAY_BE_NULL = ("checkpoint", "initial_kernels")
CONF = next(folder for folder in (PACKAGE / "conf", PACKAGE.parent / "conf") if folder.is_dir())


def is_foreign(place: str) -> bool:
    """Return whether a place of configurations is a folder outside the package, and not part of an installed one."""
    return place.startswith(FILE) and os.path.realpath(place.removeprefix(FILE)) != os.path.realpath(CONF)


def stored_configuration(config: DictConfig) -> dict[str, Any]:
    """Return the configuration in plain containers, as results and checkpoints store it."""
    return {**cast("dict[str, Any]", OmegaConf.to_container(config)), "activation_name": config.activation_name}


def kernel_sizes_of(config: DictConfig) -> list[int]:
    """Return the kernel sizes of the model that a configuration describes."""
    return [config.kernel_size] * config.n_kernels if config.kernel_sizes is None else list(config.kernel_sizes)


def paper_databases() -> list[str]:
    """Return the names of the paper's PhysioNet databases, in its order."""
    physionet: Any = OmegaConf.load(CONF / "dataset" / "physionet.yaml")
    return list(physionet.dataset.first_records)


def check_numbers(config: DictConfig, keys: Sequence[str]) -> None:
    """Refuse values that are not counts, or lists of counts.

    Args:
        config: The configuration.
        keys: Keys of the values to check.

    Raises:
        ValueError: If a value is not an integer of at least 1, or 0 for the seed and the workers.
    """
    for key in keys:
        if key == "kernel_sizes" and not (OmegaConf.is_list(config[key]) and config[key]):
            raise ValueError(f"kernel_sizes={config[key]} must be a list of integers, such as [10,20]")
        values = config[key] if key == "kernel_sizes" else [config[key]]
        least, most = (0, 2**32 - 1) if key in ("seed", "num_workers") else (1, LARGEST)
        for value in values:
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
                allowed = "of at least 1" if least else f"from 0 to {most}"
                raise ValueError(f"{key}={shown(value)} must be an integer {allowed}")


def check_kinds(config: DictConfig) -> None:
    """Refuse values of another kind than a text or a mapping where every command needs one.

    A path that Hydra took for a whole number, such as ``path=100`` of a record, becomes the text that was written.

    Raises:
        ValueError: If a folder, the checkpoint, the initial kernels or the activation's name is not a text, or a part
            has no keys.
    """
    if type(config.get("path")) is int:
        config.path = str(config.path)
    for part in PARTS:
        if part in config and not (OmegaConf.is_dict(config[part]) or (config[part] is None and part == "dataset")):
            raise ValueError(f"{part}={shown(config[part])} must be keys and values")
    texts = {key: config[key] for key in ("activation_name", *MAY_BE_NULL) if key in config}
    texts = {key: value for key, value in texts.items() if not (value is None and key in MAY_BE_NULL)}
    for key, value in {**texts, **{f"paths.{name}": folder for name, folder in config.paths.items()}}.items():
        if not (isinstance(value, str) and value):
            raise ValueError(f"{key}={shown(value)} must be a text that is not empty")
        _refuse_assembled(value, key)
        refuse_address(value, key)


def parse_numbers(key: str, given: Any, between: tuple[int, int] | None = None) -> list[int]:
    """Return the numbers that ``1..250``, a number, or a list of both denotes, sorted and unique.

    Args:
        key: Key of the value.
        given: The value.
        between: Least and largest number to return, such that a range from a file cannot exhaust the memory.

    Raises:
        ValueError: If the value has another form, or a number below 1.
    """
    numbers: list[int] = []
    for part in given if OmegaConf.is_list(given) or isinstance(given, list) else [given]:
        first, dots, last = str(part).partition("..")
        if not (first.isdecimal() and (last.isdecimal() or not dots) and int(first) >= 1):
            raise ValueError(f"{key}={given}: {part} must be a number such as 8, or a range such as 1..250")
        ends = int(first), int(last or first)
        if between is not None:
            ends = max(ends[0], between[0]), min(ends[1], between[1])
        numbers += range(ends[0], ends[1] + 1)
    if not numbers:
        raise ValueError(f"{key}={given} is empty: give a number such as 8, or a range such as 1..250")
    return sorted(set(numbers))


def refuse_address(value: Any, key: str) -> None:
    """Refuse a text with the address of another machine, unless it was typed on the command line.

    Lightning's loggers and the folders of a run would otherwise open a connection that a file asks for.

    Raises:
        ValueError: If it is an address.
    """
    if isinstance(value, str) and ("://" in value or "::" in value):
        typed = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
        if not any(value in override for override in typed):
            raise ValueError(f"{key}={value} is an address: give it on the command line, or name a folder here")


def _refuse_assembled(node: Any, place: str) -> None:
    """Refuse a text that is a reference only after its own references are replaced, and would be resolved again."""
    if isinstance(node, dict):
        for key, value in node.items():
            _refuse_assembled(key, f"{place}.{key}")
            _refuse_assembled(value, f"{place}.{key}")
    elif isinstance(node, list):
        for value in node:
            _refuse_assembled(value, place)
    elif isinstance(node, str) and "${" in node:
        raise ValueError(f"{place}={node[:200]} is assembled to a reference, which is not allowed")


def resolved_part(config: DictConfig, place: str) -> Any:
    """Return a part of a configuration in plain containers, with all references resolved.

    Args:
        config: The whole configuration.
        place: Key of the part, which has keys and values.

    Raises:
        ValueError: If a value that the part needs is missing, such as the path of the user's file.
    """
    try:
        part = OmegaConf.to_container(OmegaConf.select(config, place), resolve=True, throw_on_missing=True)
        _refuse_assembled(part, place)
        return part
    except (InterpolationToMissingValueError, MissingMandatoryValue) as error:
        choice = HydraConfig.get().runtime.choices.get(place) if HydraConfig.initialized() else None
        needing = place if choice is None else f"{place}={choice}"
        everything: Any = OmegaConf.to_container(config)  # OmegaConf.missing_keys fails on a reference to a missing key
        keys = [key for key, value in everything.items() if value == "???"]
        given: Any = OmegaConf.to_container(OmegaConf.select(config, place))
        keys += [f"{place}.{key}" for key, value in given.items() if value == "???"] if isinstance(given, dict) else []
        if not keys:
            raise
        given = " ".join(f"{key}={key.rpartition('.')[2].upper()}" for key in keys)
        raise ValueError(f"{needing} needs {given}, which has no default: add it to the command") from error


def package_configuration() -> AbstractContextManager[None]:
    """Return the context in which Hydra composes from the package's configuration, in a process without a job."""
    context: AbstractContextManager[None] = hydra.initialize_config_dir(str(CONF), version_base="1.3")
    return context


def compose_from_package(name: str, overrides: Sequence[str]) -> DictConfig:
    """Compose a configuration, in a process with or without a job.

    Args:
        name: Name of the primary configuration.
        overrides: Overrides as on the command line.
    """
    with nullcontext() if GlobalHydra.instance().is_initialized() else package_configuration():
        return hydra.compose(name, list(overrides))


def with_activation(config: DictConfig, name: str | None) -> DictConfig:
    """Recompose the configuration with activation ``name`` and its dependent settings; return it unchanged if None.

    Raises:
        ValueError: If there is no such activation.
    """
    if name is None:
        return config
    check_activation(name)
    overrides = [override for override in HydraConfig.get().overrides.task if not override.startswith("activation=")]
    choice = recompose([*overrides, f"activation={name}"])
    OmegaConf.set_struct(choice, False)
    choice.activation_name = name
    return choice


def check_activation(name: str) -> None:
    """Refuse an activation that is neither in the package nor in the user's ``--config-dir``.

    Raises:
        ValueError: If there is no such activation.
    """
    folders = [CONF, *(Path(folder) for folder in _user_folders())]
    known = sorted({file.stem for folder in folders for file in (folder / "activation").glob("*.yaml")})
    if name not in known:
        raise ValueError(f"activation={shown(name)} must be one of {', '.join(known)}")


def _user_folders() -> list[str]:
    """Return the folders of ``--config-dir`` and ``hydra.searchpath``."""
    sources = HydraConfig.get().runtime.config_sources if HydraConfig.initialized() else []
    return [source.path for source in sources if source.schema == "file" and source.provider != "main"]


def recompose(overrides: Sequence[str]) -> DictConfig:
    """Compose the running command's configuration with other overrides."""
    job = HydraConfig.get()
    others = list(overrides)
    if GlobalHydra.instance().is_initialized():
        context: Any = nullcontext()
    else:  # in a process that a training started
        context = package_configuration()
        others += [f"hydra.searchpath=[{','.join(f'{FILE}{folder}' for folder in _user_folders())}]"]
    with context:
        return hydra.compose(str(job.job.config_name), others)

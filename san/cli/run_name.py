"""The name of a run in TensorBoard, which distinguishes it from other runs."""

import re
from collections.abc import Iterable
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from san.cli.config import kernel_sizes_of
from san.ops.kernels import sizes_text

__all__ = ["run_name"]

MAX_LENGTH = 150  # characters; file systems allow 255


def run_name(config: DictConfig, version: str | None = None) -> str:
    """Return the name of a training in TensorBoard, a relative path.

    A job of a multirun is named by the overrides in which the jobs differ, such as ``seed=3``; a single training by its
    dataset, activation function and kernel size, such as ``physionet-extrema-m16``. The version
    follows in the name of a bank or a classifier.

    Args:
        config: The configuration.
        version: Distinguishes the trainings of a run: the name of a bank, ``classifier`` or ``baseline``.
    """
    is_sweep = "n_starts" in config
    parts = [_differing_overrides() or ("" if is_sweep else _model_name(config)), version or ""]
    return "/".join(filter(None, parts))


def _differing_overrides() -> str:
    """Return the overrides of this job that differ among the jobs of its multirun, empty without any."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return ""
    job = HydraConfig.get()
    multirun = OmegaConf.load(Path(job.sweep.dir) / "multirun.yaml")
    given = [f"{key}={value}" for key, value in (job.sweeper.get("params") or {}).items()]
    parser = OverridesParser.create()
    differs = {
        override.key_or_group: override.is_sweep_override()
        for override in parser.parse_overrides([*given, *multirun.hydra.overrides.task])
    }
    return _as_file_name(
        f"{override.key_or_group}={override.get_value_element_as_str()}"
        for override in parser.parse_overrides(list(job.overrides.task))
        if differs.get(override.key_or_group)
    )


def _model_name(config: DictConfig) -> str:
    sizes = kernel_sizes_of(config)
    dataset = [HydraConfig.get().runtime.choices["dataset"]] if HydraConfig.initialized() else []
    n_kernels = [f"{len(sizes)}-kernels"] if len(sizes) > 1 else []
    return _as_file_name(["-".join([*dataset, config.activation_name, *n_kernels, f"m{sizes_text(sizes)}"])])


def _as_file_name(parts: Iterable[str]) -> str:
    return re.sub(r"[^\w.,=+-]+", "-", "--".join(parts))[:MAX_LENGTH]  # TensorBoard breaks lines at hyphens

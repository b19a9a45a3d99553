"""The jobs of a multirun, composed and checked before the first one starts."""

from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from san.cli.useless_keys import refuse_useless_keys, resumes

__all__ = ["check_jobs"]

OF_A_JOB = "${hydra:"  # begins a reference to what is known while a job runs


def check_jobs(loader: Any, master: DictConfig, jobs: Sequence[Sequence[str]]) -> None:
    """Compose the configuration of each job and check it.

    Jobs that differ in values alone share a composition. A job that resumes a run is checked when it starts, with the
    options of its checkpoint.

    Args:
        loader: The loader of Hydra.
        master: The configuration of the multirun.
        jobs: The overrides of each job.

    Raises:
        ValueError: If a configuration is invalid.
    """
    from san.cli.job_checks import check_job  # imports torch

    for override in master.hydra.overrides.hydra:
        if override.startswith("hydra.run.dir="):
            raise ValueError(f"{override} is of a single run: the folder of a multirun is hydra.sweep.dir=FOLDER")
    command, parser = str(master.hydra.job.config_name), OverridesParser.create()
    parsed = {text: parser.parse_override(text) for job in jobs for text in job}
    groups = set(master.hydra.runtime.choices)
    composed: dict[tuple[str, ...], DictConfig] = {}
    for job in jobs:
        values = [parsed[text] for text in job if _is_value(parsed[text], groups)]
        others = tuple(text for text in job if not _is_value(parsed[text], groups))
        if others in composed:
            loader._apply_overrides_to_config(values, composed[others])
            refuse_useless_keys(composed[others])
        else:
            composed[others] = loader.load_sweep_config(master_config=master, sweep_overrides=list(job))
            _replace_references(composed[others])
        if not resumes(composed[others], command):
            check_job(composed[others], command)


def _is_value(override: Override, groups: set[str]) -> bool:
    """Return whether an override replaces one plain value, and chooses, adds and removes nothing."""
    key = str(override.key_or_group)
    is_plain = not (override.is_add() or override.is_force_add() or override.is_delete())
    return (
        is_plain and key not in groups and not key.startswith("hydra") and not isinstance(override.value(), dict | list)
    )


def _replace_references(config: DictConfig) -> None:
    """Replace references that only a running job can resolve: its folder and its choices."""
    plain: Any = OmegaConf.to_container(config, resolve=False)
    for name, value in plain["paths"].items():
        if str(value).startswith(OF_A_JOB):
            config.paths[name] = str(config.hydra.sweep.dir)
    if str(plain.get("activation_name")).startswith(OF_A_JOB):
        config.activation_name = config.hydra.runtime.choices.activation

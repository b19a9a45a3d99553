"""The end of a multirun: its models in one table, one figure and one checkpoint."""

import json
import shutil
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

__all__ = ["MultirunSummary", "summarise_jobs"]


class MultirunSummary(Callback):
    """Write ``sweep.csv``, ``sweep.png`` and the best model from the folders of the jobs, and print a table.

    A job has one model or, where it is a sweep, a bank of them. Jobs that failed are told with their reason, and the
    exit code is then 1.
    """

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Summarise the jobs, wherever they ran."""
        if summarise_jobs(Path(config.hydra.sweep.dir), config.protocol.selected_by):
            raise SystemExit(1)


def summarise_jobs(folder: Path, split: str) -> int:
    """Write and print the summary of the jobs in a folder that have ended, selected by a split.

    Returns:
        The number of those that failed.
    """
    from san.files import replacing
    from san.results import lowest_phi, summarise

    folder = folder.resolve()
    jobs = sorted((path.parent for path in folder.glob("*/.hydra")), key=lambda job: (len(job.name), job.name))
    models = {job: _models(job) for job in jobs if _has(job, "results.json")}
    finished = [model for own in models.values() for model in own]
    failures = {f"job {job.name}": (job / "error.txt").read_text() for job in jobs if _has(job, "error.txt")}
    if finished:
        lowest = lowest_phi(finished, split)
        best = next(job for job, own in models.items() if any(model is lowest for model in own))
        with replacing(folder / "checkpoints" / "best.ckpt") as unfinished:
            shutil.copyfile(best / "checkpoints" / "best.ckpt", unfinished)
    summarise(finished, split, failures, folder)
    return len(failures)


def _models(job: Path) -> list[dict[str, Any]]:
    results = json.loads((job / "results.json").read_text())
    return list(results.get("models", [results]))


def _has(job: Path, name: str) -> bool:
    return (job / name).is_file()

"""The end of a multirun: its models in one table, one figure and one checkpoint."""

import json
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from san.reporting.results import lowest_phi, summarize_models
from san.storage.checkpoints import copy

__all__ = ["MultirunSummary", "summarize_jobs"]


class MultirunSummary(Callback):
    """Write ``sweep.csv``, ``sweep.png`` and the best model from the folders of the jobs, and print a table.

    A job has one model, or a bank of models for a sweep. Failed jobs are listed with their reason, and the exit code is
    then 1.
    """

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Summarize the jobs, wherever they ran."""
        if summarize_jobs(Path(config.hydra.sweep.dir), config.protocol.selected_by):
            raise SystemExit(1)


def summarize_jobs(folder: Path, split: Any) -> int:
    """Write and print the summary of the finished jobs in a folder.

    Args:
        folder: Folder of the multirun.
        split: Split whose φ selects the best model, ``validation`` or ``test``.

    Returns:
        The number of failed jobs.
    """
    folder = folder.resolve()
    jobs = sorted((path.parent for path in folder.glob("*/.hydra")), key=lambda job: (len(job.name), job.name))
    models = {job: _models(job) for job in jobs if (job / "results.json").is_file()}
    finished = [model for of_job in models.values() for model in of_job]
    failures = {
        f"job {job.name}": (job / "error.txt").read_text(encoding="utf-8")
        for job in jobs
        if (job / "error.txt").is_file()
    }
    if finished:
        lowest = lowest_phi(finished, split)
        best = next(job for job, of_job in models.items() if any(model is lowest for model in of_job))
        if (best / "checkpoints" / "best.ckpt").is_file():
            copy(best / "checkpoints" / "best.ckpt", folder / "checkpoints" / "best.ckpt")
    summarize_models(finished, split, failures, folder)
    return len(failures)


def _models(job: Path) -> list[dict[str, Any]]:
    results = json.loads((job / "results.json").read_text(encoding="utf-8"))
    return list(results.get("models", [results]))

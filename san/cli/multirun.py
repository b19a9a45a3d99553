"""The end of a multirun: its failed jobs, and its models in one table, one figure and one checkpoint.

Hydra turns an ``Exception`` of a callback into a warning, so an error of the summary passes it as a ``_SummaryError``.
"""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from san.cli.folder_lock import lock_folder

__all__ = [
    "MultirunFailures",
    "MultirunSummary",
    "report_failures",
    "summarize_jobs",
    "summarized_if_stopped",
]

UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError)

log = logging.getLogger(__name__)

_due: list[Callable[[], int]] = []  # the summary of the multirun of this process, until it is written


class _SummaryError(BaseException):
    """The summary of a multirun failed.

    Args:
        error: Why it failed.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


class MultirunFailures(Callback):
    """Print each failed job with its reason; the exit code is then 1. Lock the folder of the run or multirun."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Lock the folder of the run."""
        lock_folder(Path(config.hydra.run.dir), "hydra.run.dir")

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Lock the folder, and store the summary to write, so that a multirun that ends early has one."""
        lock_folder(Path(config.hydra.sweep.dir), "hydra.sweep.dir")
        _due[:] = [self.summary(config)]

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Release the configurations of a job, which its launcher would keep to the end of the multirun."""
        job_return.cfg = job_return.hydra_cfg = None

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Summarize the jobs, wherever they ran."""
        _due.clear()
        try:
            n_failed = self.summary(config)()
        except Exception as error:
            raise _SummaryError(error) from error
        if n_failed:
            raise SystemExit(1)

    def summary(self, config: DictConfig) -> Callable[[], int]:
        """Return the function that summarizes a multirun and returns its number of failed jobs."""
        return partial(report_failures, Path(config.hydra.sweep.dir))


class MultirunSummary(MultirunFailures):
    """Write ``sweep.csv``, ``sweep.png`` and the best model from the folders of the jobs, and print a table.

    A job has one model, or a bank of models for a sweep. Failed jobs are listed with their reason, and the exit code is
    then 1.
    """

    def summary(self, config: DictConfig) -> Callable[[], int]:
        """Return the function that summarizes a multirun and returns its number of failed jobs."""
        return partial(summarize_jobs, Path(config.hydra.sweep.dir), config.protocol.selected_by)


@contextmanager
def summarized_if_stopped() -> Iterator[None]:
    """Summarize the finished jobs of a multirun that an error or a signal ends inside this context.

    Raises:
        Exception: The error of the summary of a multirun that ran to its end.
    """
    _due.clear()
    of_summary: Exception | None = None
    try:
        yield
    except _SummaryError as failed:
        of_summary = failed.error
    except BaseException:
        while _due:
            try:
                _due.pop()()
            except Exception as error:  # the multirun is about to report its own
                log.warning("the summary failed: %s", error)
        raise
    if of_summary is not None:  # raised here, where it keeps its context
        raise of_summary


def report_failures(folder: Path) -> int:
    """Print the failed jobs in a folder, each with its reason, and return their number."""
    from san.reporting.results import print_failures  # imports torch, which the help of a command does not need

    failures = _failures(_jobs(folder))
    print_failures(failures)
    return len(failures)


def summarize_jobs(folder: Path, split: Any) -> int:
    """Write and print the summary of the finished jobs in a folder; print the table even if a file cannot be written.

    A job whose results cannot be read counts as failed.

    Args:
        folder: Folder of the multirun.
        split: Split whose φ selects the best model, ``validation`` or ``test``.

    Returns:
        The number of failed jobs.

    Raises:
        OSError: If a file of the summary cannot be written.
    """
    from san.reporting.results import lowest_phi, summarize_models  # imports torch
    from san.storage.checkpoints import copy

    folder = folder.resolve()
    jobs = _jobs(folder)
    if not jobs:  # the multirun was refused before its first job
        return 0
    failures = _failures(jobs)
    models: dict[Path, list[dict[str, Any]]] = {}
    for job in jobs:
        try:
            models[job] = _models(job)
        except UNREADABLE as error:
            reason = f"{job / 'results.json'} cannot be read ({error!r}): remove it and run the job again"
            failures.setdefault(_name(job), reason)
    finished = [model for of_job in models.values() for model in of_job]
    try:
        if finished:
            lowest = lowest_phi(finished, split)
            best = next(job for job, of_job in models.items() if any(model is lowest for model in of_job))
            if (best / "checkpoints" / "best.ckpt").is_file():
                copy(best / "checkpoints" / "best.ckpt", folder / "checkpoints" / "best.ckpt")
    finally:
        summarize_models(finished, split, failures, folder)
    return len(failures)


def _jobs(folder: Path) -> list[Path]:
    """Return the folders of jobs, in their order."""
    return sorted((path.parent for path in folder.glob("*/.hydra")), key=lambda job: (len(job.name), job.name))


def _name(job: Path) -> str:
    return f"job {job.name}"


def _failures(jobs: list[Path]) -> dict[str, str]:
    """Return the reason of each failed job, by its name."""
    files = {job: job / "error.txt" for job in jobs}
    return {
        _name(job): file.read_text(encoding="utf-8", errors="replace") for job, file in files.items() if file.is_file()
    }


def _models(job: Path) -> list[dict[str, Any]]:
    """Return the results of each model of a job; none if it has no results, or if it failed and they are older."""
    from san.reporting.results import sweep_row  # imports torch

    results, composed = job / "results.json", job / ".hydra" / "config.yaml"
    is_failed = (job / "error.txt").is_file()
    if not results.is_file() or (is_failed and results.stat().st_mtime_ns < composed.stat().st_mtime_ns):
        return []
    content = json.loads(results.read_text(encoding="utf-8"))
    models = list(content.get("models", [content]))
    for model in models:
        sweep_row(model)
    return models

"""Run a command: compose and check its configuration, run its implementation, and report errors in one line."""

import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra._internal.utils import get_args
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from san import __version__
from san.cli import processes
from san.cli.allow_list import ALLOW_VARIABLE, take_allowed_packages
from san.cli.command_line import arranged
from san.cli.config import CONF, paper_databases
from san.cli.environment import command_environment, keep_command_environment
from san.cli.errors import (
    PROGRAM,
    interrupt_on_signal,
    is_lost_process,
    is_mistake,
    one_line,
    resource_error_behind,
    silence_disk_errors,
)
from san.cli.help import help_text
from san.cli.imports import collection_paused
from san.cli.keys import key_of
from san.cli.multirun import summarized_if_stopped
from san.cli.ranks import refuse_copies, started_by_torchrun
from san.storage.files import write_text
from san.storage.text import printable

__all__ = ["WithoutTraceback", "command"]

FULL_ERROR = "HYDRA_FULL_ERROR"

log = logging.getLogger(__name__)


class WithoutTraceback(logging.Formatter):
    """Omit tracebacks on the console, where one line is enough, and characters that a terminal would obey."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the message in printable characters."""
        return printable(super().format(record))

    def formatException(self, ei: object) -> str:  # noqa: N802 (the name is logging's)
        """Return an empty string."""
        return ""


def command(name: str, *, implementation: str = "", resume: str = "") -> Callable[[], None]:
    """Return the ``main`` function of a command, which imports its implementation when it runs.

    A job whose trainer has several devices runs in as many processes, which this process watches, or in those of
    torchrun.

    A user's mistake (a ``ValueError``, an ``OSError``, an error of Hydra) is one line on standard error and exit code
    1; with ``HYDRA_FULL_ERROR=1`` it is a traceback. In a multirun, the job's log has the traceback, the other jobs
    continue, and the job returns NaN. SIGINT and SIGTERM end the command with one line and exit code 130 or 143.

    Args:
        name: The command; ``conf/<name>.yaml`` is its primary configuration.
        implementation: Full name of a function of the composed configuration, whose value a sweeper optimizes; by
            default ``san.commands.<name>.<name>``.
        resume: How to resume a stopped run, where ``{folder}`` is its output folder.
    """
    job = _Job(name, implementation or f"san.commands.{name}.{name}", resume)

    def main() -> None:
        full_error = job.full_error = os.environ.get(FULL_ERROR)
        arguments = sys.argv[1:]
        # Hydra prints a traceback for every error around the job, unless it is asked to raise it.
        os.environ[FULL_ERROR] = "1"
        with interrupt_on_signal() as received, silence_disk_errors(), command_environment():
            try:
                if "--version" in arguments:
                    print(f"san {__version__}")
                    return
                sys.argv[1:] = _prepared(name, arguments)
                given = get_args()
                if given.experimental_rerun is not None:
                    raise ValueError(
                        "--experimental-rerun would unpickle a file: repeat the overrides of the run instead"
                    )
                if given.help:
                    _print(printable(help_text(name, given)))
                else:
                    with summarized_if_stopped():
                        hydra.main(version_base="1.3", config_path=str(CONF), config_name=name)(job)()
            except BaseException as raised:
                if received:
                    if os.environ.get("RANK", "0") == "0":
                        print(f"{PROGRAM}stopped by {received[0].name}{job.advice}", file=sys.stderr)
                    sys.exit(128 + received[0])
                error = resource_error_behind(raised)
                reportable = isinstance(raised, Exception) and (is_mistake(error) or is_lost_process(error))
                if full_error == "1" or not reportable:
                    raise
                _exit(one_line(error))
            finally:
                sys.argv[1:] = arguments
                _set_full_error(full_error)
                _close_log()
                HydraConfig.instance().cfg = None  # a later call from Python would write into the folder of this run

    main.__module__ = f"san.{name}"
    return main


class _Job:
    """Run the implementation of a command for a composed configuration; launchers send it to their processes."""

    def __init__(self, command: str, implementation: str, resume: str) -> None:
        self.command = command
        self.implementation = implementation
        self.resume = resume
        self.full_error: str | None = None
        self.advice = ""

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Prepare the process of a launcher as ``main`` prepares its own."""
        self.__dict__.update(state)
        keep_command_environment()

    def __call__(self, config: DictConfig) -> float | None:
        with collection_paused():  # imports torch, which the help of a command does not need
            from san.reporting.provenance import code_fingerprint, versions

        self.advice = _resume_advice(config, self.resume)
        versions()  # of the source as it is now: it may be edited while this trains
        code_fingerprint(OmegaConf.to_container(config))
        between_jobs = os.environ.get(FULL_ERROR)
        _set_full_error(self.full_error)
        try:
            return self._run(config)
        finally:
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                _set_full_error(between_jobs)

    def _run(self, config: DictConfig) -> float | None:
        """Run the job, and report its mistakes where a user looks for them."""
        is_multirun = HydraConfig.get().mode == RunMode.MULTIRUN
        folder = HydraConfig.get().runtime.output_dir
        reason = Path(folder, "error.txt")
        if started_by_torchrun():
            processes.publish_folder(folder)
        if is_multirun:
            reason.unlink(missing_ok=True)
        try:
            with collection_paused():
                from san.cli.job_checks import check_job, refuse_keys_of_multiruns, warn_of_choices_without_effect
                from san.cli.resumed_options import with_options_of_checkpoint
                from san.cli.useless_keys import refuse_contradictions, resumes

            if not is_multirun:
                refuse_keys_of_multiruns(self.command, sys.argv[1:])
            if resumes(config, self.command):
                config = with_options_of_checkpoint(config)
                refuse_contradictions(config, self.command, [key_of(text) for text in HydraConfig.get().overrides.task])
            check_job(config, self.command)
            warn_of_choices_without_effect(config, self.command)
            return processes.run(self.implementation, config, _explain)
        except Exception as raised:
            error = resource_error_behind(raised)
            if is_multirun:
                log.exception(one_line(error))
                try:
                    write_text(reason, one_line(error))
                except OSError as unwritable:  # the other jobs would fail like this one
                    _exit(one_line(unwritable))
                return float("nan")
            if os.environ.get(FULL_ERROR) == "1" or not is_mistake(error):
                raise
            _exit(one_line(error))


def _prepared(name: str, arguments: list[str]) -> list[str]:
    """Return the arguments for Hydra: without ``allow=``, with all databases named, and with those of a torchrun rank.

    Raises:
        ValueError: If an option, ``allow=``, a multirun by torchrun or a rank variable is invalid.
    """
    refuse_copies()
    others, packages = take_allowed_packages(arranged(name, arguments))
    given = os.environ.get(ALLOW_VARIABLE)
    os.environ[ALLOW_VARIABLE] = ",".join([*([given] if given else []), *packages])
    others = _name_all_databases(others)
    if started_by_torchrun():
        processes.end_with_parent()
        others = processes.arguments_of_rank(others)
    return others


def _name_all_databases(arguments: list[str]) -> list[str]:
    """Replace ``dataset.database=all`` of a multirun by the names of the paper's databases."""
    if not {"-m", "--multirun"} & set(arguments):
        return arguments
    everything = f"dataset.database={','.join(paper_databases())}"
    return [everything if argument == "dataset.database=all" else argument for argument in arguments]


def _explain(error: Exception) -> tuple[str, bool]:
    """Return why a job failed, and whether that is a user's mistake."""
    cause = resource_error_behind(error)
    return one_line(cause).removeprefix(PROGRAM), is_mistake(cause)


def _print(text: str) -> None:
    """Print a text to a reader that may have read enough, such as ``head``."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _exit(reason: str) -> NoReturn:
    """End with one line, printed by only one of the ranks of torchrun."""
    reported_by_another = started_by_torchrun() and not processes.is_first_to_fail()
    sys.exit(1 if reported_by_another else reason)


def _resume_advice(config: DictConfig, resume: str) -> str:
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        folder = HydraConfig.get().sweep.dir
        return f"; resume by hydra.sweep.dir={folder} skip_finished=true" if "skip_finished" in config else ""
    return resume and f"; {resume.format(folder=HydraConfig.get().runtime.output_dir)}"


def _close_log() -> None:
    """Close the run's log file, which Hydra leaves open until the next run of the process."""
    for handler in logging.root.handlers[:]:
        if isinstance(handler, logging.FileHandler):
            logging.root.removeHandler(handler)
            with suppress(OSError):  # of a full disk, which is already reported
                handler.close()


def _set_full_error(value: str | None) -> None:
    os.environ.pop(FULL_ERROR, None)
    if value is not None:
        os.environ[FULL_ERROR] = value

"""How a command ends: by a signal, by a full disk, or by a user's mistake, each reported in one line."""

import errno
import logging
import re
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from san import DISTRIBUTION
from san.cli.config import CONF
from san.storage.text import printable

__all__ = [
    "PROGRAM",
    "interrupt_on_signal",
    "is_lost_process",
    "is_mistake",
    "nearest",
    "one_line",
    "plain_name",
    "resource_error_behind",
    "silence_disk_errors",
]

PROGRAM = "san: "
MISTAKES = (ValueError, OSError, MemoryError, FloatingPointError, YAMLError, HydraException, OmegaConfBaseException)
MAX_MESSAGE = 2000  # characters of a message, which may quote a file
OUTPUT_OVERRIDES = ("hydra.run.dir=", "hydra.sweep.dir=")
LAUNCHER_ADVICE = f"; install the launchers by pip install '{DISTRIBUTION}[launchers]'"
LOST_PROCESS_ADVICE = (
    "; a job's process was lost and the multirun ended; finished jobs are kept in its folder, "
    "resume san.train there by hydra.sweep.dir=FOLDER skip_finished=true"
)
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
FULL_DISK = tuple(
    getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EFBIG") if hasattr(errno, name)
)  # EDQUOT is missing on Windows
NO_MEMORY = re.compile(
    r"failed to map segment|cannot allocate memory|can't allocate memory|can't start new thread|out of memory", re.I
)
NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR)


@contextmanager
def interrupt_on_signal() -> Iterator[list[signal.Signals]]:
    """Raise ``KeyboardInterrupt`` on the first SIGINT or SIGTERM, and yield the list that receives the signal.

    Later signals are ignored: every file is complete at any moment, so only child processes remain to be ended.
    """
    received: list[signal.Signals] = []

    def stop(number: int, _frame: object) -> None:
        if not received:
            received.append(signal.Signals(number))
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # Python allows handlers in the main thread only
        yield received
        return
    previous = {number: signal.signal(number, stop) for number in STOP_SIGNALS}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def silence_disk_errors() -> Iterator[None]:
    """Silence repeated disk-full errors from logging handlers and threads; the command reports one."""

    def on_thread_error(thread: Any) -> None:
        if not isinstance(thread.exc_value, OSError):
            previous_hook(thread)

    raises, previous_hook = logging.raiseExceptions, threading.excepthook
    logging.raiseExceptions, threading.excepthook = False, on_thread_error
    try:
        yield
    finally:
        logging.raiseExceptions, threading.excepthook = raises, previous_hook


def resource_error_behind(error: BaseException) -> BaseException:
    """Return the error of a full or read-only disk or a lack of memory that caused an error, or the error itself."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:  # a chain may contain a cycle
        if isinstance(cause, OSError) and cause.errno in (*FULL_DISK, errno.EROFS):
            return cause
        if isinstance(cause, MemoryError) or (
            isinstance(cause, (ImportError, OSError, RuntimeError)) and NO_MEMORY.search(str(cause))
        ):
            return MemoryError(f"not enough memory ({cause!r}): free some, raise its limit, or lower batch_size")
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    return error


def is_mistake(error: BaseException) -> bool:
    """Return whether an error is the user's, the data's or the disk's, so that one line reports it."""
    if isinstance(error, MISTAKES):
        return True
    from lightning_fabric.utilities.exceptions import MisconfigurationException  # slow to import, and rarely needed

    return isinstance(error, MisconfigurationException)


def is_lost_process(error: BaseException) -> bool:
    """Return whether a launcher lost the process of a job, for example for lack of memory."""
    return isinstance(error, BrokenProcessPool) or type(error).__module__.startswith("submitit.")


def one_line(error: BaseException) -> str:
    """Return an error and, if known, its remedy, in one printable line."""
    joined = " ".join((_hydra_reason(error) if isinstance(error, HydraException) else str(error)).split())
    clean = printable(joined)
    message = clean if len(clean) <= MAX_MESSAGE else f"{clean[:MAX_MESSAGE]} ..."
    return f"{PROGRAM}{message}{_advice(error)}"


def _hydra_reason(error: HydraException) -> str:
    """Return the message of an error of Hydra in the words of this command line."""
    message, cause = str(error), error.__cause__
    if isinstance(error, MissingConfigException):
        if not error.options:
            found = re.match(r"In '.*': Could not load '(.*)/(.*)'", message)
            own = sorted(file.stem for file in (CONF / found[1]).glob("*.yaml")) if found else []
            if found and own:
                return f"{found[1]}=[{found[2]}] is not known{nearest(found[2], own)}; choose some of {', '.join(own)}"
            return re.split("(?:Config s|S)earch path:", message)[0]
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        choices = ", ".join(error.options)
        return f"{group}={choice} is not known{nearest(choice, error.options)}; choose one of {choices}"
    if isinstance(error, OverrideParseException):
        return f"{error.override} cannot be read as KEY=VALUE; {_readable(error.override)}"
    return f"{message} ({cause})" if isinstance(cause, OmegaConfBaseException) else message


def _readable(override: str) -> str:
    """Return how to write an override that Hydra cannot read."""
    key, equals, value = override.partition("=")
    if equals:
        return f"quote special characters, as in '{key}=\"{value}\"'"
    if (given := Path(override)).exists():
        is_run = given.is_dir() or given.suffix == ".ckpt"
        return f"a run is given by checkpoint={override}" if is_run else f"a file is given by path={override}"
    return f"give a value, as in {key}=VALUE"


def nearest(name: str, known: Sequence[str]) -> str:
    """Return a question for the known name that is nearest to an unknown one, empty if none is near."""
    same = [other for other in known if plain_name(other) == plain_name(name)]
    close = same or get_close_matches(name, known, n=1, cutoff=0.8)
    return f" (did you mean {close[0]}?)" if close else ""


def plain_name(name: str) -> str:
    """Return a name without case, ``_`` and ``-``, in which users differ from it."""
    return name.casefold().replace("_", "").replace("-", "")


def _advice(error: BaseException) -> str:
    """Return the remedy for a missing launcher, a lost process, or a file that cannot be written."""
    if isinstance(error, MissingConfigException) and "hydra/launcher/" in str(error):
        return LAUNCHER_ADVICE
    if is_lost_process(error):
        return LOST_PROCESS_ADVICE
    number = error.errno if isinstance(error, OSError) else None
    if number not in FULL_DISK + NOT_WRITABLE:
        return ""
    given = (argument.partition("=")[2] for argument in sys.argv[1:] if argument.startswith(OUTPUT_OVERRIDES))
    composed: Any = HydraConfig.instance().cfg
    made = None if composed is None else OmegaConf.select(composed, "hydra.runtime.output_dir")
    folder = made or next(given, "outputs")
    if number in FULL_DISK:
        return f"; the disk is full: free some space for {folder}, or choose another folder by hydra.run.dir=FOLDER"
    return f"; if {folder} cannot be written, choose another folder by hydra.run.dir=FOLDER"

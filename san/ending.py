"""How a command ends: by a signal, by a full disk, or by a mistake that is told in one line."""

import errno
import logging
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from omegaconf.errors import OmegaConfBaseException

__all__ = ["PROGRAM", "is_lost", "is_mistake", "line", "of_the_disk", "one_line_of_a_full_disk", "stopped_by"]

PROGRAM = "san: "
MISTAKES = (ValueError, OSError, FloatingPointError, HydraException, OmegaConfBaseException)
LONGEST = 2000  # characters of a mistake, which may quote a file
OUTPUT = ("hydra.run.dir=", "hydra.sweep.dir=")
LAUNCHERS = ": the launchers are installed by pip install 'san[launchers]'"
LOST = (
    ": the process of a job is lost, and the multirun ended; what the other jobs have finished is in its folder, "
    "san.train goes on there by hydra.sweep.dir=FOLDER skip_finished=true"
)
STOPS = (signal.SIGINT, signal.SIGTERM)
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR)


@contextmanager
def stopped_by() -> Iterator[list[signal.Signals]]:
    """Make the first signal to stop a ``KeyboardInterrupt``, and tell which it was; more of them change nothing.

    What is written is whole at any moment, so that the stop needs no care but to end what was started.
    """
    received: list[signal.Signals] = []

    def stop(number: int, _frame: object) -> None:
        if not received:
            received.append(signal.Signals(number))
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # where Python lets no one handle signals
        yield received
        return
    before = {number: signal.signal(number, stop) for number in STOPS}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def one_line_of_a_full_disk() -> Iterator[None]:
    """Leave it to the error that ends the command, and not to each line of a log and each thread that writes one."""

    def ended(thread: Any) -> None:
        if not isinstance(thread.exc_value, OSError):
            before(thread)

    logged, before = logging.raiseExceptions, threading.excepthook
    logging.raiseExceptions, threading.excepthook = False, ended
    try:
        yield
    finally:
        logging.raiseExceptions, threading.excepthook = logged, before


def of_the_disk(error: BaseException) -> BaseException:
    """Return the error of a disk that is full or read-only, where others came of it, and else the error itself."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:  # a chain may come back to where it began
        if isinstance(cause, OSError) and cause.errno in (*FULL_DISK, errno.EROFS):
            return cause
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    return error


def is_mistake(error: BaseException) -> bool:
    """Tell whether an error is one of the user, of the data or of the disk, for which a line is enough."""
    if isinstance(error, MISTAKES):
        return True
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    return isinstance(error, MisconfigurationException)


def is_lost(error: BaseException) -> bool:
    """Tell whether a launcher has lost a process that ran a job, as where memory is short."""
    return isinstance(error, BrokenProcessPool) or type(error).__module__.startswith("submitit.")


def line(error: BaseException) -> str:
    """Return what went wrong, and what to do where that is known, in one line."""
    cause = error.__cause__
    detail = f" ({cause})" if isinstance(error, HydraException) and isinstance(cause, OmegaConfBaseException) else ""
    told = " ".join(f"{error}{detail}".split())
    shown = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in told)
    return f"{PROGRAM}{shown if len(shown) <= LONGEST else f'{shown[:LONGEST]} ...'}{_advice(error)}"


def _advice(error: BaseException) -> str:
    """Return what to do about a launcher that is absent, a process that is lost, or a file that cannot be written."""
    if isinstance(error, MissingConfigException) and "hydra/launcher/" in str(error):
        return LAUNCHERS
    if is_lost(error):
        return LOST
    number = error.errno if isinstance(error, OSError) else None
    if number not in FULL_DISK + NOT_WRITABLE:
        return ""
    given = (argument.partition("=")[2] for argument in sys.argv[1:] if argument.startswith(OUTPUT))
    folder = HydraConfig.get().runtime.output_dir if HydraConfig.initialized() else next(given, "outputs")
    if number in FULL_DISK:
        return f"; the disk is full: free some space for {folder}, or choose another by hydra.run.dir=FOLDER"
    return f"; if the output folder cannot be written, choose another than {folder} by hydra.run.dir=FOLDER"

"""Start commands in processes that are forked from a server.

The server imports torch and Lightning once, which takes longer than the training of most tests.
"""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from importlib import import_module
from multiprocessing.process import BaseProcess
from pathlib import Path

from san.training.callbacks import bank_selection

__all__ = ["SECONDS", "end", "run", "start", "wait"]

SECONDS = 300  # to wait for a process, many times its usual duration

Ended = tuple[int | None, str, str]
"""Exit code, standard output and standard error."""

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload([f"san.commands.{name}" for name in ("train", "sweep", "compare", "reproduce")])


def start(
    command: str,
    *arguments: object,
    said: Path,
    cwd: Path | None = None,
    watched: Path | None = None,
    killed_at: int = 0,
) -> BaseProcess:
    """Start a command in its own session, as a scheduler does.

    Args:
        command: Name of the command.
        arguments: Its arguments.
        said: Folder for its standard output and standard error.
        cwd: Its working folder; None for that of this process.
        watched: Folder whose file operations are counted; their number is the last line of the standard output. None
            for none.
        killed_at: File operation before which the process kills itself; 0 for none.
    """
    said.mkdir(exist_ok=True)
    process = context.Process(target=_run, args=(command, [*map(str, arguments)], said, cwd, watched, killed_at))
    process.start()
    return process


def end(process: BaseProcess, said: Path, seconds: float) -> Ended:
    """Wait for the end of a process."""
    process.join(seconds)
    return process.exitcode, *((said / name).read_text(encoding="utf-8") for name in ("stdout", "stderr"))


def run(command: str, *arguments: object, said: Path, seconds: float, cwd: Path | None = None) -> Ended:
    """Run a command in its own session until it ends."""
    return end(start(command, *arguments, said=said, cwd=cwd), said, seconds)


def wait(condition: Callable[[], bool]) -> None:
    """Wait until a condition is true."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true"
        time.sleep(0.02)


def _run(
    command: str, arguments: list[str], said: Path, cwd: Path | None, watched: Path | None, killed_at: int
) -> None:
    os.setsid()
    if cwd is not None:
        os.chdir(cwd)
    for number, name in ((1, "stdout"), (2, "stderr")):
        with (said / name).open("wb") as file:
            os.dup2(file.fileno(), number)
    count = 0

    def watch(event: str, given: tuple[object, ...]) -> None:
        nonlocal count
        writes = event == "open" and isinstance(given[2], int) and given[2] & (os.O_WRONLY | os.O_RDWR)
        if (writes or event in ("os.mkdir", "os.rename", "os.remove")) and str(given[0]).startswith(str(watched)):
            count += 1
            if count == killed_at:
                os.kill(os.getpid(), signal.SIGKILL)

    if watched is not None:
        bank_selection.SAVE_INTERVAL = 0  # save after each epoch, so that every run has the same operations
        sys.addaudithook(watch)
    sys.argv = [f"san.{command}", *arguments]
    try:
        import_module(f"san.{command}").main()
    finally:
        if watched is not None:
            print("operations", count)

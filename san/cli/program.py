"""A command as a program, which has a process to itself."""

import atexit
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["program_of"]


def program_of(main: Callable[[], None]) -> Callable[[], None]:
    """Return a function that runs a command and then ends the process at once.

    Without it, Python frees every object of torch and Lightning before it ends, which takes longer than many trainings.
    Threads are waited for, functions of ``atexit`` are called and streams are flushed, as at any end. A program under a
    debugger or a profiler, or one after which Python asks for input (``python -i``), ends as usual.

    Args:
        main: The command.
    """

    def program() -> None:
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = _exit_code(stop)
        if not _is_observed():
            threading._shutdown()  # type: ignore[attr-defined] # as the interpreter does, before and after this line
            atexit._run_exitfuncs()
            if _flush():
                os._exit(code)
        sys.exit(code)

    program.__module__ = main.__module__
    return program


def _exit_code(stop: SystemExit) -> int:
    """Return the exit code of a request to exit, and print its message, as the interpreter does."""
    if stop.code is None or isinstance(stop.code, int):
        return stop.code or 0
    print(stop.code, file=sys.stderr)
    return 1


def _is_observed() -> bool:
    monitoring: Any = getattr(sys, "monitoring", None)  # of Python 3.12 and later
    tools = map(monitoring.get_tool, range(6)) if monitoring else ()
    return bool(sys.flags.interactive or sys.gettrace() or sys.getprofile() or any(tools))


def _flush() -> bool:
    """Flush the standard streams; return whether that succeeded: if not, the interpreter reports the failure."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):
        return False
    return True

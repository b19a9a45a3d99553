"""Environment variables, streams and warning filters of a running command."""

import atexit
import io
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache

from san.cli.allow_list import ALLOW_VARIABLE
from san.cli.composition import checked_composition
from san.cli.folder_lock import release_folders
from san.cli.ranks import variables_to_hide

__all__ = ["command_environment", "keep_command_environment", "without_void_warnings"]

SPIN_VARIABLE = "GOMP_SPINCOUNT"


@contextmanager
def without_void_warnings() -> Iterator[None]:
    """Hide warnings of Lightning that no user can act on."""
    with warnings.catch_warnings():
        # The examples are in memory, where worker processes only cost time.
        warnings.filterwarnings("ignore", message=".*does not have many workers")
        # Lightning 2.6 calls torch in a way that torch 2.15 deprecates.
        warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated")
        yield


@contextmanager
def command_environment() -> Iterator[None]:
    """Set the variables and warning filters of a command, and restore them at its end; release its folder.

    Every process of a command composes configurations inside this context, so that each is checked.

    A single process hides the rank variables that another launcher may have left in its environment.
    Standard output and standard error replace characters that they cannot encode, instead of raising an error.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    hidden = variables_to_hide()
    before = {name: os.environ.get(name) for name in (ALLOW_VARIABLE, SPIN_VARIABLE, *hidden)}
    for name in hidden:
        os.environ.pop(name, None)
    # Threads of torch's OpenMP wait for work by spinning, on cores that the compiled operators could use.
    os.environ.setdefault(SPIN_VARIABLE, "1000")
    with without_void_warnings(), checked_composition():
        try:
            yield
        finally:
            release_folders()
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value


@cache
def keep_command_environment() -> None:
    """Stay in the environment of a command until this process ends, which another process of the command started."""
    contexts = ExitStack()
    contexts.enter_context(command_environment())
    atexit.register(contexts.close)  # the interpreter would end them when it has freed what they need

"""Imports of the libraries of a command."""

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["collection_paused"]


@contextmanager
def collection_paused() -> Iterator[None]:
    """Import libraries without the search for cyclic garbage, which finds none in their half a million objects."""
    was_enabled, before = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > before:
            gc.freeze()  # later searches leave the libraries out
            atexit.register(gc.unfreeze)  # triton prints every object that is not freed at the end
        if was_enabled:
            gc.enable()

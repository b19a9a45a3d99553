"""Compilation of the operators by numba, and their distribution over threads."""

import logging
import os
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from itertools import pairwise
from typing import Any

import numba
import numpy as np
import torch
from numba.core.caching import FunctionCache
from numpy.typing import NDArray

__all__ = ["borrowing", "compiled", "inner", "reordering", "share"]

FASTMATH = {"contract"}
"""LLVM's fast-math flags: a product and a sum may be rounded once; sums are taken in the order written."""

WORK_PER_THREAD = 20_000
"""Samples or multiplications that outweigh the start of one more thread; no effect on results."""


DAMAGE = (EOFError, ValueError, IndexError, KeyError, AttributeError, pickle.UnpicklingError)

log = logging.getLogger(__name__)


def compiled(function: Any, **options: Any) -> Any:
    """Compile a function on its first call, without the interpreter's lock, and cache it on disk if possible."""
    defaults: dict[str, Any] = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True, "fastmath": FASTMATH}
    dispatcher = numba.njit(**(defaults | options))(function)
    with suppress(RuntimeError):  # no cache folder is writable
        dispatcher._cache = _HarmlessCache(function)  # type: ignore[no-untyped-call]
    return dispatcher


def borrowing(function: Any, **options: Any) -> Any:
    """Compile a function that allocates and returns no array; the references to its arguments are not counted.

    Counting them for a dozen arrays takes longer than a loop over 60 samples.
    """
    return compiled(function, _nrt=False, **options)


def inner(function: Any) -> Any:
    """Compile like :func:`borrowing`, without the wrapper that Python calls, which takes long to compile.

    Only compiled functions may call the function: a call from Python crashes the process.
    """
    return borrowing(function, no_cpython_wrapper=True)


def reordering(function: Any) -> Any:
    """Compile like :func:`borrowing`, with sums in any order, so that several samples are added at once."""
    return borrowing(function, fastmath=FASTMATH | {"reassoc", "nsz"})


class _HarmlessCache(FunctionCache):
    """The cache of numba, without which a command only compiles again: a full disk does not end it."""

    def save_overload(self, sig: Any, data: Any) -> None:
        """Save a compiled function if the disk allows it."""
        try:
            super().save_overload(sig, data)  # type: ignore[no-untyped-call]
        except (OSError, *DAMAGE) as error:
            _warn_of_cache(self.cache_path, getattr(error, "strerror", None) or f"a damaged file ({error!r})")

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return a compiled function, None if there is none that can be read."""
        try:
            return super().load_overload(sig, target_context)  # type: ignore[no-untyped-call]
        except (OSError, *DAMAGE) as error:
            _warn_of_cache(self.cache_path, getattr(error, "strerror", None) or f"a damaged file ({error!r})")
            return None


@cache
def _warn_of_cache(folder: str, reason: str) -> None:
    log.warning(
        "%s: numba's cache in %s cannot be used, so each command compiles its operators again; free some space there, "
        "or set NUMBA_CACHE_DIR to another folder",
        reason,
        folder,
    )


def share(n: int, work: int, task: Callable[[int, int], None], groups: NDArray[Any] | None = None) -> None:
    """Run a task on consecutive ranges of n items, in several threads if there is enough work.

    Args:
        n: Number of items.
        work: Samples or multiplications of all items together, which limits the number of threads.
        task: Called with the first item of a range and the item after its last.
        groups: Group of each item, ascending, [n]; no group is divided between threads. None for no groups.
    """
    n_threads = max(1, min(torch.get_num_threads(), work // WORK_PER_THREAD, n))
    if n_threads == 1:
        task(0, n)
        return
    ends = [n * part // n_threads for part in range(n_threads + 1)]
    if groups is not None:
        ends[1:-1] = [int(np.searchsorted(groups, groups[end])) for end in ends[1:-1]]
    others = [_pool(n_threads).submit(task, *part) for part in pairwise(ends[1:])]
    task(ends[0], ends[1])
    for other in others:
        other.result()


@cache
def _pool(n_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_threads)


if hasattr(os, "register_at_fork"):  # where processes fork, a child has none of its parent's threads
    os.register_at_fork(after_in_child=_pool.cache_clear)

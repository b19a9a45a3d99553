"""Compilation of the operators by numba, and their distribution over threads."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["compiled", "share"]

FASTMATH = {"contract"}
"""LLVM's fast-math flags: a product and a sum may be rounded once; sums are taken in the order written."""

WORK_PER_THREAD = 20_000
"""Samples or multiplications that outweigh the start of one more thread; no effect on results."""


def compiled(function: Any) -> Any:
    """Compile a function on its first call, without the interpreter's lock, and cache it on disk if possible."""
    try:
        return numba.njit(nogil=True, error_model="numpy", fastmath=FASTMATH, cache=True)(function)
    except RuntimeError:  # no cache folder is writable
        return numba.njit(nogil=True, error_model="numpy", fastmath=FASTMATH)(function)


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

"""How the operators are compiled, and shared among threads."""

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

FAST = {"contract"}  # a product and a sum may be rounded once; all sums are taken in the order written
GRAIN = 20_000  # samples or multiplications for which another thread is worth its start


def compiled(function: Any) -> Any:
    """Compile on the first call, without the interpreter's lock, and keep the result on disk where that can be."""
    try:
        return numba.njit(nogil=True, error_model="numpy", fastmath=FAST, cache=True)(function)
    except RuntimeError:  # there is no folder that can be written
        return numba.njit(nogil=True, error_model="numpy", fastmath=FAST)(function)


def share(n: int, work: int, task: Callable[[int, int], None], groups: NDArray[Any] | None = None) -> None:
    """Do a task on ranges of n items, in threads where there is enough to do; no group of items is divided."""
    n_threads = max(1, min(torch.get_num_threads(), work // GRAIN, n))
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


os.register_at_fork(after_in_child=_pool.cache_clear)

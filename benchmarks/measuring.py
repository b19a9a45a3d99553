"""Timing of functions and of whole commands, and the rows of the table of results."""

import json
import os
import subprocess
import sys
import tempfile
import time
import timeit
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from san.cli.config import CONF

Row = dict[str, Any]


def paired_medians(function: Callable[[], Any], reference: Callable[[], Any], repeats: int = 15) -> tuple[float, float]:
    """Return the median seconds of two functions, timed alternately, each for at least 0.02 s or one call a time."""
    timers = [timeit.Timer(timed) for timed in (function, reference)]
    numbers = []
    for timer in timers:
        timer.timeit(1)
        numbers.append(max(1, round(0.02 / timer.timeit(1))))
    times = [
        [timer.timeit(number) / number for timer, number in zip(timers, numbers, strict=True)] for _ in range(repeats)
    ]
    first, second = zip(*times, strict=True)
    return median(first), median(second)


def median_seconds(function: Callable[[], Any], repeats: int) -> float:
    """Return the median seconds of a function; see :func:`paired_medians`."""
    return paired_medians(function, lambda: None, repeats)[0]


def ratio_row(
    name: str, target: float, function: Callable[[], Any], reference: Callable[[], Any], repeats: int = 15
) -> Row:
    """Measure how many times faster a function is than its reference."""
    seconds, reference_seconds = paired_medians(function, reference, repeats)
    detail = f"{1e3 * seconds:.3f} ms against {1e3 * reference_seconds:.3f} ms"
    return row(name, target, reference_seconds / seconds, "x or more", detail)


def row(name: str, target: float, measured: float, unit: str, detail: str) -> Row:
    """Return a row of the table; a unit that ends in "or more" meets its target from above, any other from below."""
    met = measured >= target if unit.endswith("or more") else measured <= target
    return {"what": name, "target": target, "measured": measured, "unit": unit, "met": met, "detail": detail}


def train_config(activation: str, *overrides: str) -> DictConfig:
    """Compose the configuration of ``san.train``, with the two values that only a run of Hydra resolves."""
    resolved = ("paths.output_dir=.", f"activation_name={activation}")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", [f"activation={activation}", *resolved, *overrides])


def run_module(*arguments: str) -> tuple[float, float]:
    """Run a module as a process; return its seconds and its peak memory in GB."""
    start = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen([sys.executable, "-m", *arguments], stdout=said, stderr=said)  # noqa: S603
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise RuntimeError(f"{arguments} ended with {process.returncode}:\n{said.read().decode()}")
    return seconds, usage.ru_maxrss / 1e6


def median_run(*arguments: str) -> float:
    """Return the median seconds of three runs of a module as a process."""
    return median(run_module(*arguments)[0] for _ in range(3))


def results(folder: Path) -> dict[str, Any]:
    """Return the results of a run."""
    found: dict[str, Any] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return found

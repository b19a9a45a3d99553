"""``python -m benchmarks.scaling``: measure the speed-up by a second process, in seconds of whole commands."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

from san.reporting.provenance import versions
from san.storage.files import write_json, write_text

RESULTS = Path(__file__).parent / "results"
REPEATS = 3
EPOCHS = 4  # timed as the difference of two runs, so that the start and the end of a command are not included
LARGE = [
    "dataset=synthetic",
    "dataset.space=[4000]",
    "dataset.split=[2000,100,100]",
    "batch_size=100",
    "kernel_size=101",
]
JOBS = ["-m", "dataset=synthetic", "dataset.split=[200,20,20]", "kernel_size=21,41,61,81", "seed=0,1", "figure=[]"]
LAUNCH = {
    "one": ["trainer=cpu"],
    "ddp": ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"],
    "joblib": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
}


def train_seconds(folder: Path, *arguments: str, **environment: str) -> float:
    """Run a training command as a process and return its seconds."""
    run_folder = f"hydra.{'sweep' if '-m' in arguments else 'run'}.dir={folder}/{time.monotonic_ns()}"
    start = time.perf_counter()
    command = [sys.executable, "-m", "san.train", *arguments, "logger=csv", run_folder]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | environment)  # noqa: S603
    return time.perf_counter() - start


def epoch_seconds(folder: Path, launch: str, **environment: str) -> tuple[float, float]:
    """Return the seconds of an epoch of large data, and the seconds of the command without its epochs."""
    short, long = (
        train_seconds(folder, *LARGE, *LAUNCH[launch], f"trainer.max_epochs={n}", "figure=[]", **environment)
        for n in (1, 1 + EPOCHS)
    )
    epoch = (long - short) / EPOCHS
    return epoch, short - epoch


def medians_in_turns(measurements: Mapping[str, Callable[[], tuple[float, ...]]]) -> dict[str, list[float]]:
    """Return the median seconds of each measurement, repeated in turns so that all see the same load."""
    repeated = [{name: measure() for name, measure in measurements.items()} for _ in range(REPEATS)]
    return {
        name: [median(values) for values in zip(*(seconds[name] for seconds in repeated), strict=True)]
        for name in measurements
    }


def main() -> None:
    """Measure, and write ``scaling.json`` and ``scaling.md`` to ``benchmarks/results/``."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seconds = medians_in_turns(
            {
                "one process, one thread": lambda: epoch_seconds(folder, "one", OMP_NUM_THREADS="1"),
                "one process": lambda: epoch_seconds(folder, "one"),
                "two processes": lambda: epoch_seconds(folder, "ddp"),
                "jobs in turn": lambda: (train_seconds(folder, *JOBS, *LAUNCH["one"]),),
                "jobs two at a time": lambda: (train_seconds(folder, *JOBS, *LAUNCH["joblib"]),),
            }
        )
    load = os.getloadavg()[2] / (os.cpu_count() or 1)
    write_json(RESULTS / "scaling.json", {"seconds": seconds, "load": load, "versions": versions()})
    write_text(RESULTS / "scaling.md", markdown_table(seconds, load))
    sys.stdout.write(json.dumps(seconds, indent=1) + "\n")


def markdown_table(seconds: Mapping[str, list[float]], load: float) -> str:
    """Return the page of the measured seconds, given the load average per core."""
    single_thread = seconds["one process, one thread"][0]
    in_turn, together = seconds["jobs in turn"][0], seconds["jobs two at a time"][0]
    lines = [
        f"Written by `python -m benchmarks.scaling` on {os.cpu_count()} cores: medians of {REPEATS}. The load average "
        f"of the last 15 minutes, including other programs, was {load:.1f} processes per core.",
        "",
        "| measurement | time | speed-up | start and end of the command |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| an epoch, {name} | {epoch:.2f} s | {single_thread / epoch:.2f} x | {rest:.1f} s |"
        for name, (epoch, rest) in list(seconds.items())[:3]
    ]
    lines += [
        f"| 8 jobs, one after another | {in_turn:.1f} s | 1.00 x | |",
        f"| 8 jobs, two at a time (joblib) | {together:.1f} s | {in_turn / together:.2f} x | |",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()

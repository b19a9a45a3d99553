"""``python -m benchmarks.scaling``: what a second process gives, in the seconds of whole commands."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

from san.files import replacing
from san.results import versions, write_json

RESULTS = Path(__file__).parent / "results"
REPEATS = 3
EPOCHS = 4  # of which the time is taken, so that what a command needs to start is not in it
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


def run(folder: Path, *arguments: str, **environment: str) -> float:
    """Return the seconds of a training command as a whole process."""
    place = f"hydra.{'sweep' if '-m' in arguments else 'run'}.dir={folder}/{time.monotonic_ns()}"
    start = time.perf_counter()
    command = [sys.executable, "-m", "san.train", *arguments, "logger=csv", place]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | environment)  # noqa: S603
    return time.perf_counter() - start


def epoch(folder: Path, launch: str, **environment: str) -> tuple[float, float]:
    """Return the seconds of an epoch of large data, and those of the command without its epochs."""
    short, long = (
        run(folder, *LARGE, *LAUNCH[launch], f"trainer.max_epochs={n}", "figure=[]", **environment)
        for n in (1, 1 + EPOCHS)
    )
    each = (long - short) / EPOCHS
    return each, short - each


def in_turns(ways: Mapping[str, Callable[[], tuple[float, ...]]]) -> dict[str, list[float]]:
    """Return the medians of what each way takes, measured in turns, so that all see the same machine."""
    taken = [{name: way() for name, way in ways.items()} for _ in range(REPEATS)]
    return {name: [median(values) for values in zip(*(each[name] for each in taken), strict=True)] for name in ways}


def main() -> None:
    """Measure, and write ``scaling.json`` and ``scaling.md``."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = in_turns({
            "one process, one thread": lambda: epoch(folder, "one", OMP_NUM_THREADS="1"),
            "one process": lambda: epoch(folder, "one"),
            "two processes": lambda: epoch(folder, "ddp"),
            "jobs in turn": lambda: (run(folder, *JOBS, *LAUNCH["one"]),),
            "jobs two at a time": lambda: (run(folder, *JOBS, *LAUNCH["joblib"]),),
        })  # fmt: skip
    load = os.getloadavg()[2] / (os.cpu_count() or 1)
    write_json(RESULTS / "scaling.json", {"seconds": found, "load": load, "versions": versions()})
    alone = found["one process, one thread"][0]
    rows = [f"| an epoch, {name} | {each:.2f} s | {alone / each:.2f} x | {rest:.1f} s |"
            for name, (each, rest) in list(found.items())[:3]]  # fmt: skip
    in_turn, together = found["jobs in turn"][0], found["jobs two at a time"][0]
    rows += [f"| 8 jobs, one after another | {in_turn:.1f} s | 1.00 x | |",
             f"| 8 jobs, two at a time (joblib) | {together:.1f} s | {in_turn / together:.2f} x | |"]  # fmt: skip
    heading = [
        f"Written by `python -m benchmarks.scaling` on {os.cpu_count()} cores, medians of {REPEATS}; "
        f"{load:.1f} processes a core wanted to run in its last 15 minutes, of all on the machine.",
        "",
        "| what | seconds | faster | start and end |",
        "|---|---|---|---|",
    ]
    with replacing(RESULTS / "scaling.md") as unfinished:
        unfinished.write_text("\n".join([*heading, *rows]) + "\n")
    sys.stdout.write(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

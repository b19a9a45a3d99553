"""Measure what the paper's future work does to test phi, and write docs/future_work.json and docs/future_work.md.

    python tools/future_work.py                  # each choice by a multirun of san.sweep, unless it is there already
    python tools/future_work.py --outputs FOLDER # where the multiruns are

The six records are those of --data, a folder as `paths.data_dir` is.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[1]
DATABASES = ("bidmc", "ctu-uhb-ctgdb", "drivedb", "emgdb", "mitdb", "noneeg")
SIZES, SEEDS = (8, 16, 32, 64, 128), (0, 1, 2, 3, 4)
BASELINE = "extrema"
# Title, arguments beside the common ones, and what it does, with its formula.
CHOICES = {
    "extrema": ("Extrema", ["n_kernels=2"], "the baseline: two kernels, each with its own extrema"),
    "one_kernel": ("one kernel", ["n_kernels=1"], "Extrema with one kernel, for reference"),
    "annealing": (
        "annealing",
        ["n_kernels=2", "activation=annealed_extrema"],
        "the extrema distance grows while training: in epoch e of E it is d (1 − cos(π e / (E − 1))) / 2, at least 1; "
        "at validation and test it is d",
    ),
    "territory": (
        "territory",
        ["n_kernels=2", "activation=territory"],
        "an extremum that is kept drops the lesser ones of *all* kernels within its distance d",
    ),
    "dropout": (
        "dropout",
        ["n_kernels=2", "activation=dropout_extrema"],
        "while training, each activation is left out with probability p = 0.2, the others unscaled",
    ),
    "growing": (
        "growing",
        ["n_kernels=2", "network=growing"],
        "one kernel at first and at most two; every 5 epochs kernels without which validation φ̄ is lower are dropped, "
        "and one is made from the window of the largest error; W counts those in use",
    ),
    "warped": (
        "warped",
        ["n_kernels=2", "network=warped"],
        "the second kernel is the first in another scale, w'(t) = w(c + (t − c) / eᵃ), with a learned: W is m + 1, "
        "not 2 m",
    ),
}  # fmt: skip

Cells = dict[str, dict[str, Any]]


def main() -> int:
    """Measure what is not measured yet, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outputs", type=Path, default=PROJECT / "outputs" / "future_work")
    parser.add_argument("--data", default=os.environ.get("SAN_DATA_DIR", "data"))
    given = parser.parse_args()
    for choice in CHOICES:
        measure(choice, given.outputs / choice, given.data)
    found = {
        "kernel_sizes": list(SIZES),
        "seeds": list(SEEDS),
        "seconds": {choice: json.loads((given.outputs / choice / "done.json").read_text()) for choice in CHOICES},
        "cells": {choice: collect(given.outputs / choice) for choice in CHOICES},
    }
    (PROJECT / "docs" / "future_work.json").write_text(json.dumps(found, indent=1) + "\n")
    (PROJECT / "docs" / "future_work.md").write_text(page(found))
    return 0


def measure(choice: str, folder: Path, data: str) -> None:
    """Run the multirun of a choice, unless it ended in that folder before."""
    if (folder / "done.json").is_file():
        return
    start = _processor_seconds()
    listed = {"dataset.database": DATABASES, "seed": SEEDS}
    subprocess.run(
        [
            sys.executable, "-m", "san.sweep", "-m", *CHOICES[choice][1], f"kernel_sizes={list(SIZES)}", "logger=csv",
            *(f"{key}={','.join(map(str, values))}" for key, values in listed.items()),
            f"paths.data_dir={data}", f"hydra.sweep.dir={folder}",
        ],
        check=True,
    )  # fmt: skip
    (folder / "done.json").write_text(f"{_processor_seconds() - start:.1f}\n")


def collect(folder: Path) -> Cells:
    """Return by record the test phi and the size of the model of the lowest validation phi of each job."""
    cells: Cells = {}
    for path in sorted(folder.glob("*/results.json"), key=lambda path: int(path.parent.name)):
        model = min(json.loads(path.read_text())["models"], key=lambda model: model["validation"]["phi"])
        cell = cells.setdefault(model["dataset"].removeprefix("physionet/"), {"phi": [], "kernel_size": []})
        cell["phi"].append(round(model["test"]["phi"], 4))
        cell["kernel_size"].append(model["kernel_sizes"][0])
    return cells


def page(found: Mapping[str, Any]) -> str:
    """Return the page."""
    cells = found["cells"]
    records = list(cells[BASELINE])
    sizes, n_seeds = ", ".join(map(str, found["kernel_sizes"])), len(found["seeds"])
    lines = [
        "# The paper's future work, measured",
        "",
        "Written by `python tools/future_work.py` from `future_work.json`; nothing here is typed.",
        "",
        f"Test φ̄, mean ± standard deviation of {n_seeds} seeds; lower is better. For each seed the kernel size, of",
        f"{sizes} samples, and the epoch are those of the lowest validation φ̄. All have the same data, loss,",
        f"optimizer, decoder and 30 epochs. All took {sum(found['seconds'].values()) / 60:.1f} minutes of one core.",
        "**Bold** is lower than Extrema by more than the larger of the two standard deviations, *italic* higher;",
        "only these are counted below.",
        "",
        f"| record | {' | '.join(CHOICES[choice][0] for choice in cells)} |",
        f"|---|{'---|' * len(cells)}",
    ]
    lines += [f"| {record} | {' | '.join(_shown(cells, choice, record) for choice in cells)} |" for record in records]
    lines += ["", "## What each does", ""]
    for choice in cells:
        title, arguments, what = CHOICES[choice]
        line = f"- **{title}** (`{' '.join(arguments)}`): {what}."
        if choice != BASELINE:
            better, worse = (sum(_sign(cells, choice, record) == sign for record in records) for sign in (-1, 1))
            verdict = "helps" if better > worse else "does not help"
            line += f" It {verdict}: φ̄ is lower on {better} of {len(records)} records, higher on {worse}."
        lines.append(line)
    return "\n".join(lines) + "\n"


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _sign(cells: Mapping[str, Cells], choice: str, record: str) -> int:
    """Tell whether phi is lower than the baseline's, -1, or higher, 1, by more than both standard deviations."""
    own, base = cells[choice][record]["phi"], cells[BASELINE][record]["phi"]
    difference = statistics.mean(own) - statistics.mean(base)
    if abs(difference) <= max(statistics.stdev(own), statistics.stdev(base)):
        return 0
    return 1 if difference > 0 else -1


def _shown(cells: Mapping[str, Cells], choice: str, record: str) -> str:
    phi = cells[choice][record]["phi"]
    mark = {-1: "**", 0: "", 1: "*"}[_sign(cells, choice, record)]
    return f"{mark}{statistics.mean(phi):.3f}{mark} ± {statistics.stdev(phi):.3f}"


if __name__ == "__main__":
    sys.exit(main())

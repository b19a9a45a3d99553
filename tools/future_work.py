"""Measure the effect of the paper's future work on test phi, and write docs/future_work.json and docs/future_work.md.

    python tools/future_work.py                  # one multirun of san.sweep per choice; finished ones are skipped
    python tools/future_work.py --outputs FOLDER # folder of the multiruns

The datasets are read from the folder --data, as by `paths.data_dir`.
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
# Title, arguments besides the common ones, and effect with its formula.
CHOICES = {
    "extrema": (
        "Extrema",
        ["n_kernels=2"],
        "the baseline: two kernels, with extrema selected independently in the map of each kernel",
    ),
    "one_kernel": ("one kernel", ["n_kernels=1"], "Extrema with one kernel, for reference"),
    "annealing": (
        "annealing",
        ["n_kernels=2", "activation=annealed_extrema"],
        "the extrema distance grows during training: in epoch e of E it is d (1 − cos(π (e − 1) / (E − 1))) / 2, "
        "at least 1; in validation and test it is d",
    ),
    "territory": (
        "territory",
        ["n_kernels=2", "activation=territory"],
        "a kept extremum excludes the smaller extrema of *all* kernels within its distance d",
    ),
    "dropout": (
        "dropout",
        ["n_kernels=2", "activation=dropout_extrema"],
        "during training, each activation is dropped with probability p = 0.2; the others are not scaled",
    ),
    "growing": (
        "growing",
        ["n_kernels=2", "network=growing"],
        "one kernel at first and at most two; every 5 epochs a kernel is dropped if validation φ̄ is lower without it, "
        "and one is added from the window with the largest residual; W counts the kernels in use",
    ),
    "warped": (
        "warped",
        ["n_kernels=2", "network=warped"],
        "the second kernel is the first at another scale, w'(t) = w(c + (t − c) / eᵃ), with a learned scale a; W is "
        "m + 1 instead of 2 m",
    ),
}

Cells = dict[str, dict[str, Any]]


def main() -> int:
    """Run the missing measurements and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--outputs", type=Path, default=PROJECT / "outputs" / "future_work", help="folder of the multiruns"
    )
    parser.add_argument("--data", default=os.environ.get("SAN_DATA_DIR", "data"), help="folder of the datasets")
    arguments = parser.parse_args()
    for choice in CHOICES:
        measure(choice, arguments.outputs / choice, arguments.data)
    measured = {
        "kernel_sizes": list(SIZES),
        "seeds": list(SEEDS),
        "seconds": {
            choice: json.loads((arguments.outputs / choice / "done.json").read_text(encoding="utf-8"))
            for choice in CHOICES
        },
        "cells": {choice: collect(arguments.outputs / choice) for choice in CHOICES},
    }
    (PROJECT / "docs" / "future_work.json").write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    (PROJECT / "docs" / "future_work.md").write_text(page(measured), encoding="utf-8")
    return 0


def measure(choice: str, folder: Path, data: str) -> None:
    """Run the multirun of a choice, unless its folder has a finished one."""
    if (folder / "done.json").is_file():
        return
    start = _processor_seconds()
    multirun = [sys.executable, "-m", "san.sweep", "-m", *CHOICES[choice][1], f"kernel_sizes={list(SIZES)}"]
    lists = ["initialization=normal", f"dataset.database={','.join(DATABASES)}", f"seed={','.join(map(str, SEEDS))}"]
    folders = [f"paths.data_dir={data}", f"hydra.sweep.dir={folder}"]
    subprocess.run([*multirun, "logger=csv", *lists, *folders], check=True)
    (folder / "done.json").write_text(f"{_processor_seconds() - start:.1f}\n", encoding="utf-8")


def collect(folder: Path) -> Cells:
    """Return, per record, test phi and kernel size of the model with the lowest validation phi of each job."""
    cells: Cells = {}
    for path in sorted(folder.glob("*/results.json"), key=lambda path: int(path.parent.name)):
        model = min(
            json.loads(path.read_text(encoding="utf-8"))["models"], key=lambda model: model["validation"]["phi"]
        )
        cell = cells.setdefault(model["dataset"].removeprefix("physionet/"), {"phi": [], "kernel_size": []})
        cell["phi"].append(round(model["test"]["phi"], 4))
        cell["kernel_size"].append(model["kernel_sizes"][0])
    return cells


def page(measured: Mapping[str, Any]) -> str:
    """Return the text of docs/future_work.md."""
    cells = measured["cells"]
    records = list(cells[BASELINE])
    sizes, n_seeds = ", ".join(map(str, measured["kernel_sizes"])), len(measured["seeds"])
    minutes = sum(measured["seconds"].values()) / 60
    lines = [
        "# The paper's future work, measured",
        "",
        "Written by `python tools/future_work.py` from `future_work.json`.",
        "",
        f"Test φ̄, mean ± standard deviation of {n_seeds} seeds; lower is better. For each seed, the kernel size, of",
        f"{sizes} samples, and the epoch are selected by the lowest validation φ̄. Data, loss, optimizer, decoder",
        f"and the 30 epochs are the same for all. All runs took {minutes:.1f} minutes of one core.",
        "**Bold** is lower than Extrema by more than the larger of the two standard deviations, *italic* is higher by",
        "more than this deviation. The counts below include these differences only.",
        "",
        f"| record | {' | '.join(CHOICES[choice][0] for choice in cells)} |",
        f"|---|{'---|' * len(cells)}",
    ]
    lines += [f"| {record} | {' | '.join(_shown(cells, choice, record) for choice in cells)} |" for record in records]
    lines += ["", "## Effect of each choice", ""]
    for choice in cells:
        title, arguments, effect = CHOICES[choice]
        line = f"- **{title}** (`{' '.join(arguments)}`): {effect}."
        if choice != BASELINE:
            better, worse = (sum(_sign(cells, choice, record) == sign for record in records) for sign in (-1, 1))
            verdict = "helps" if better > worse else "does not help"
            line += f" It {verdict}: φ̄ is lower on {better} of {len(records)} records and higher on {worse}."
        lines.append(line)
    return "\n".join(lines) + "\n"


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _sign(cells: Mapping[str, Cells], choice: str, record: str) -> int:
    """Return -1 or 1 if phi is lower or higher than with Extrema by more than both standard deviations, else 0."""
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

"""Measure the pursuit on records and images, and write docs/beyond.json and the tables in docs/beyond.md.

    python tools/beyond.py                  # all of it that is not there already
    python tools/beyond.py --outputs FOLDER # where the runs are

The data are those of --data, a folder as `paths.data_dir` is.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

PROJECT = Path(__file__).parents[1]
DATABASES = ("mitdb", "emgdb", "bidmc", "ctu-uhb-ctgdb", "noneeg")
GRID = ("kernel_sizes=[20,30,40]", "n_kernels=1..3")
IMAGES = {"mnist": "table3", "fashion_mnist": "table4"}
IMAGE_GRID = ("kernel_sizes=[2,3,4]", "n_kernels=1..2")
QUICK = ("trainer.max_epochs=1", "activation.perturbations=0")
SEEDS = (0, 1, 2, 3, 4)
FIRST, LAST = "<!-- written by tools/beyond.py -->\n", "<!-- until here -->\n"

Found = dict[str, Any]


def main() -> int:
    """Measure what is not measured yet, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outputs", type=Path, default=PROJECT / "outputs" / "beyond")
    parser.add_argument("--data", default=os.environ.get("SAN_DATA_DIR", "data"))
    given = parser.parse_args()
    found = {
        "records": [record(database, given.outputs / database, given.data) for database in DATABASES],
        "images": [images(dataset, given.outputs / dataset, given.data) for dataset in IMAGES],
    }
    (PROJECT / "docs" / "beyond.json").write_text(json.dumps(found, indent=1) + "\n")
    page = PROJECT / "docs" / "beyond.md"
    before, _, rest = page.read_text().partition(FIRST)
    page.write_text(before + tables(found) + rest.partition(LAST)[2])
    return 0


def record(database: str, folder: Path, data: str) -> Found:
    """Sweep a record, and return what validation has chosen."""
    results = sweep(folder, data, f"dataset.database={database}", *GRID)
    model = chosen(results)
    return {
        "record": model["dataset"].removeprefix("physionet/"),
        "kernel_sizes": model["kernel_sizes"],
        "validation": model["validation"]["phi"],
        **{name: model["test"][name] for name in ("phi", "cr_inverse", "loss_normalized")},
        "seconds": results["wall_seconds"],
        "models": len(results["models"]),
        "printed": printed("table1", database=database),
    }


def images(dataset: str, folder: Path, data: str) -> Found:
    """Sweep images, and train what validation has chosen with a classifier stacked on it, once for each seed."""
    results = sweep(folder / "sweep", data, f"dataset={dataset}", *IMAGE_GRID, *QUICK)
    sizes = chosen(results)["kernel_sizes"]
    if not (folder / "seeds" / "sweep.csv").is_file():
        run(
            "train", data, "-m", f"dataset={dataset}", "classifier=fnn", *QUICK, f"kernel_size={sizes[0]}",
            f"n_kernels={len(sizes)}", f"seed={','.join(map(str, SEEDS))}", "figure=[]",
            f"hydra.sweep.dir={folder / 'seeds'}",
        )  # fmt: skip
    jobs = [json.loads((folder / "seeds" / str(job) / "results.json").read_text()) for job in range(len(SEEDS))]
    return {
        "dataset": dataset,
        "kernel_sizes": sizes,
        "phi": [job["test"]["phi"] for job in jobs],
        "accuracy": [job["test"]["accuracy"] for job in jobs],
        "baseline": [job["classifier"]["baseline"]["test"]["accuracy"] for job in jobs],
        "seconds": results["wall_seconds"],
        "printed": printed(IMAGES[dataset]),
    }


def sweep(folder: Path, data: str, *arguments: str) -> Found:
    """Sweep, unless that was done in the folder before, and return the results."""
    if not (folder / "results.json").is_file():
        run("sweep", data, *arguments, f"hydra.run.dir={folder}")
    results: Found = json.loads((folder / "results.json").read_text())
    return results


def run(command: str, data: str, *arguments: str) -> None:
    """Run a command with the pursuit."""
    common = ("activation=phi_pursuit", "logger=csv", "trainer.enable_progress_bar=false", f"paths.data_dir={data}")
    subprocess.run([sys.executable, "-m", f"san.{command}", *arguments, *common], check=True)


def chosen(results: Found) -> Found:
    """Return the model of the lowest validation phi."""
    model: Found = min(results["models"], key=lambda model: model["validation"]["phi"])
    return model


def printed(name: str, **where: str) -> float:
    """Return the lowest phi of a table of the paper, of the rows that have these values."""
    with (PROJECT / "san" / "printed" / f"{name}.csv").open() as file:
        return min(float(row["phi"]) for row in csv.DictReader(file) if where.items() <= row.items())


def tables(found: Mapping[str, Sequence[Found]]) -> str:
    """Return the tables, with their marks."""
    lines = [
        f"`python -m san.sweep dataset.database=NAME activation=phi_pursuit {' '.join(GRID)}`, seed 0:",
        "",
        "| record | chosen | validation φ̄ | test φ̄ | CR⁻¹ | L̃ | best printed φ̄ | models kept, seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['record']} | {kernels(row)} samples | {row['validation']:.3f} | **{row['phi']:.3f}** | "
        f"{row['cr_inverse']:.3f} | {row['loss_normalized']:.3f} | {row['printed']:.2f} | "
        f"{row['models']}, {row['seconds']:.0f} |"
        for row in found["records"]
    ]
    lines += [
        "",
        f"`python -m san.sweep dataset=NAME activation=phi_pursuit {' '.join((*IMAGE_GRID, *QUICK))}`, and with the "
        f"sizes that validation has chosen `san.train -m ... classifier=fnn seed={','.join(map(str, SEEDS))}`, "
        "mean ± standard deviation:",
        "",
        "| images | chosen | test φ̄ | best printed φ̄ | accuracy on reconstructions | on the images | sweep, seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in found["images"]:
        accuracy, baseline = (
            f"{mean(row[name]):.2%} ± {100 * stdev(row[name]):.2f}" for name in ("accuracy", "baseline")
        )
        lines.append(
            f"| {row['dataset']} | {kernels(row, ' x ' + str(row['kernel_sizes'][0]))} pixels | "
            f"**{mean(row['phi']):.3f}** ± {stdev(row['phi']):.3f} | {row['printed']:.2f} | {accuracy} | {baseline} | "
            f"{row['seconds']:.0f} |"
        )
    return FIRST + "\n".join([*lines, ""]) + LAST


def kernels(row: Found, more: str = "") -> str:
    """Return how many kernels of which size there are."""
    return f"{len(row['kernel_sizes'])} of {row['kernel_sizes'][0]}{more}"


if __name__ == "__main__":
    sys.exit(main())

"""Measure phi pursuit on records and images, and write docs/beyond.json and the tables in docs/beyond.md.

    python tools/beyond.py                  # runs that are already finished are skipped
    python tools/beyond.py --outputs FOLDER # folder of the runs

The datasets are read from the folder --data, as by `paths.data_dir`.
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
SHORT_TRAINING = ("trainer.max_epochs=1", "activation.perturbations=0")
SEEDS = (0, 1, 2, 3, 4)
BEGIN, END = "<!-- written by tools/beyond.py -->\n", "<!-- until here -->\n"

Results = dict[str, Any]


def main() -> int:
    """Run the missing measurements and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outputs", type=Path, default=PROJECT / "outputs" / "beyond", help="folder of the runs")
    parser.add_argument("--data", default=os.environ.get("SAN_DATA_DIR", "data"), help="folder of the datasets")
    arguments = parser.parse_args()
    measured = {
        "records": [record(database, arguments.outputs / database, arguments.data) for database in DATABASES],
        "images": [images(dataset, arguments.outputs / dataset, arguments.data) for dataset in IMAGES],
    }
    (PROJECT / "docs" / "beyond.json").write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    page = PROJECT / "docs" / "beyond.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    page.write_text(before + tables(measured) + rest.partition(END)[2], encoding="utf-8")
    return 0


def record(database: str, folder: Path, data: str) -> Results:
    """Sweep a record and return the metrics of the model selected by validation phi."""
    results = sweep(folder, data, f"dataset.database={database}", *GRID)
    model = selected_model(results)
    return {
        "record": model["dataset"].removeprefix("physionet/"),
        "kernel_sizes": model["kernel_sizes"],
        "validation": model["validation"]["phi"],
        **{name: model["test"][name] for name in ("phi", "cr_inverse", "loss_normalized")},
        "seconds": results["wall_seconds"],
        "models": len(results["models"]),
        "printed": best_printed_phi("table1", database=database),
    }


def images(dataset: str, folder: Path, data: str) -> Results:
    """Sweep images, then train the selected kernel sizes with a stacked classifier, once for each seed."""
    results = sweep(folder / "sweep", data, f"dataset={dataset}", *IMAGE_GRID, *SHORT_TRAINING)
    sizes = selected_model(results)["kernel_sizes"]
    if not (folder / "seeds" / "sweep.csv").is_file():
        network = (f"kernel_size={sizes[0]}", f"n_kernels={len(sizes)}", f"seed={','.join(map(str, SEEDS))}")
        others = ("classifier=fnn", "figure=[]", f"hydra.sweep.dir={folder / 'seeds'}")
        run("train", data, "-m", f"dataset={dataset}", *SHORT_TRAINING, *network, *others)
    jobs = [
        json.loads((folder / "seeds" / str(job) / "results.json").read_text(encoding="utf-8"))
        for job in range(len(SEEDS))
    ]
    return {
        "dataset": dataset,
        "kernel_sizes": sizes,
        "phi": [job["test"]["phi"] for job in jobs],
        "accuracy": [job["test"]["accuracy"] for job in jobs],
        "baseline": [job["classifier"]["baseline"]["test"]["accuracy"] for job in jobs],
        "seconds": results["wall_seconds"],
        "printed": best_printed_phi(IMAGES[dataset]),
    }


def sweep(folder: Path, data: str, *arguments: str) -> Results:
    """Return the results of a sweep; run it if the folder has none."""
    if not (folder / "results.json").is_file():
        run("sweep", data, *arguments, f"hydra.run.dir={folder}")
    results: Results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return results


def run(command: str, data: str, *arguments: str) -> None:
    """Run a command of `san` with phi pursuit."""
    common = ("activation=phi_pursuit", "logger=csv", "trainer.enable_progress_bar=false", f"paths.data_dir={data}")
    subprocess.run([sys.executable, "-m", f"san.{command}", *arguments, *common], check=True)


def selected_model(results: Results) -> Results:
    """Return the model with the lowest validation phi."""
    model: Results = min(results["models"], key=lambda model: model["validation"]["phi"])
    return model


def best_printed_phi(table: str, **where: str) -> float:
    """Return the lowest phi printed in a table of the paper, over the rows with the given values."""
    with (PROJECT / "san" / "reporting" / "printed" / f"{table}.csv").open(encoding="utf-8", newline="") as file:
        return min(float(row["phi"]) for row in csv.DictReader(file) if where.items() <= row.items())


def tables(measured: Mapping[str, Sequence[Results]]) -> str:
    """Return the tables between their markers."""
    lines = [
        f"`python -m san.sweep dataset.database=NAME activation=phi_pursuit {' '.join(GRID)}`, seed 0:",
        "",
        "| record | selected kernels | validation φ̄ | test φ̄ | CR⁻¹ | L̃ | best φ̄ in the paper | models | time (s) |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['record']} | {describe_kernels(row)} samples | {row['validation']:.3f} | **{row['phi']:.3f}** | "
        f"{row['cr_inverse']:.3f} | {row['loss_normalized']:.3f} | {row['printed']:.2f} | "
        f"{row['models']} | {row['seconds']:.0f} |"
        for row in measured["records"]
    ]
    lines += [
        "",
        f"`python -m san.sweep dataset=NAME activation=phi_pursuit {' '.join((*IMAGE_GRID, *SHORT_TRAINING))}`, and "
        f"with the selected sizes `san.train -m ... classifier=fnn seed={','.join(map(str, SEEDS))}`; mean ± standard "
        "deviation:",
        "",
        "| images | selected kernels | test φ̄ | best φ̄ in the paper | test accuracy on reconstructions | on images | "
        "sweep (s) |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in measured["images"]:
        accuracy, baseline = (
            f"{mean(row[name]):.2%} ± {100 * stdev(row[name]):.2f}" for name in ("accuracy", "baseline")
        )
        lines.append(
            f"| {row['dataset']} | {describe_kernels(row, ' x ' + str(row['kernel_sizes'][0]))} pixels | "
            f"**{mean(row['phi']):.3f}** ± {stdev(row['phi']):.3f} | {row['printed']:.2f} | {accuracy} | {baseline} | "
            f"{row['seconds']:.0f} |"
        )
    return BEGIN + "\n".join([*lines, ""]) + END


def describe_kernels(row: Results, suffix: str = "") -> str:
    """Return the number and the size of the kernels as text."""
    return f"{len(row['kernel_sizes'])} of {row['kernel_sizes'][0]}{suffix}"


if __name__ == "__main__":
    sys.exit(main())

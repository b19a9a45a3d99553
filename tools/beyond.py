"""Measure the pursuit on five records, and write docs/beyond.json and the table in docs/beyond.md.

    python tools/beyond.py                  # each record by one san.sweep, unless it is there already
    python tools/beyond.py --outputs FOLDER # where the sweeps are

The records are those of --data, a folder as `paths.data_dir` is.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[1]
DATABASES = ("mitdb", "emgdb", "bidmc", "ctu-uhb-ctgdb", "noneeg")
GRID = ("kernel_sizes=[10,20,30,40]", "n_kernels=1..4", "n_starts=2")
FIRST, LAST = "<!-- written by tools/beyond.py -->\n", "<!-- until here -->\n"


def main() -> int:
    """Measure what is not measured yet, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outputs", type=Path, default=PROJECT / "outputs" / "beyond")
    parser.add_argument("--data", default=os.environ.get("SAN_DATA_DIR", "data"))
    given = parser.parse_args()
    found = [measure(database, given.outputs / database, given.data) for database in DATABASES]
    (PROJECT / "docs" / "beyond.json").write_text(json.dumps(found, indent=1) + "\n")
    page = PROJECT / "docs" / "beyond.md"
    before, _, rest = page.read_text().partition(FIRST)
    page.write_text(before + table(found) + rest.partition(LAST)[2])
    return 0


def measure(database: str, folder: Path, data: str) -> dict[str, Any]:
    """Sweep a record, unless that was done in the folder before, and return what validation has chosen."""
    if not (folder / "results.json").is_file():
        subprocess.run(
            [
                sys.executable, "-m", "san.sweep", f"dataset.database={database}", "activation=phi_pursuit", *GRID,
                "logger=csv", "trainer.enable_progress_bar=false", f"paths.data_dir={data}", f"hydra.run.dir={folder}",
            ],
            check=True,
        )  # fmt: skip
    results = json.loads((folder / "results.json").read_text())
    model = min(results["models"], key=lambda model: model["validation"]["phi"])
    with (PROJECT / "san" / "printed" / "table1.csv").open() as file:
        printed = min(float(row["phi"]) for row in csv.DictReader(file) if row["database"] == database)
    return {
        "record": model["dataset"].removeprefix("physionet/"),
        "kernel_sizes": model["kernel_sizes"],
        "validation": model["validation"]["phi"],
        **{name: model["test"][name] for name in ("phi", "cr_inverse", "loss_normalized")},
        "seconds": results["wall_seconds"],
        "models": len(results["models"]),
        "printed": printed,
    }


def table(found: Sequence[dict[str, Any]]) -> str:
    """Return the table, with its marks."""
    lines = [
        f"`python -m san.sweep dataset.database=NAME activation=phi_pursuit {' '.join(GRID)}`, seed 0:",
        "",
        "| record | chosen | validation φ̄ | test φ̄ | CR⁻¹ | L̃ | best printed φ̄ | models kept, seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in found:
        chosen = f"{len(row['kernel_sizes'])} of {row['kernel_sizes'][0]} samples"
        lines.append(
            f"| {row['record']} | {chosen} | {row['validation']:.3f} | **{row['phi']:.3f}** | "
            f"{row['cr_inverse']:.3f} | {row['loss_normalized']:.3f} | {row['printed']:.2f} | "
            f"{row['models']}, {row['seconds']:.0f} |"
        )
    return FIRST + "\n".join([*lines, ""]) + LAST


if __name__ == "__main__":
    sys.exit(main())

"""What a run leaves: results.json, the rows of sweep.csv, and the tables on the console."""

import csv
import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.table import Table

import san
from san.files import replacing

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "FIGURES",
    "SWEEP_COLUMNS",
    "fingerprint",
    "lowest_phi",
    "print_run",
    "print_sweep",
    "shown",
    "summarise",
    "sweep_row",
    "versions",
    "write_csv",
    "write_json",
]

FIGURES = ("phi", "cr_inverse", "loss_normalized")
SWEEP_COLUMNS = (
    "dataset",
    "activation",
    "kernel_size",
    "seed",
    "best_epoch",
    *(f"{split}_{name}" for split in ("validation", "test") for name in FIGURES),
)
N_KERNELS = "n_kernels"
ACCURACY = "test_accuracy"
NUMERIC = ("torch", "pytorch-lightning", "numpy", "numba", "san")  # another version may change a number
OTHERS = ("torchmetrics", "hydra-core")
MOST = 20  # rows of a table on the console

Results = Mapping[str, Any]
R = TypeVar("R", bound=Results)


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages, and the ``commit`` of the source where it is a git checkout.

    The commit ends in ``-dirty`` where the package or the configuration has been changed since. All is as it was at
    the first call, as a program goes on with the source that it began with.
    """
    commit = _commit()
    packages = {name: san.__version__ if name == "san" else version(name) for name in (*NUMERIC, *OTHERS)}
    return {"python": platform.python_version(), **packages, **({"commit": commit} if commit else {})}


def fingerprint(settings: Any, tensors: "Iterable[Tensor]" = ()) -> str:
    """Name all that a result depends on: settings as plain data, examples, and versions, but not the commit."""
    numeric = {name: versions()[name] for name in NUMERIC}
    digest = hashlib.sha256(json.dumps([settings, numeric], sort_keys=True).encode())
    for tensor in tensors:
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:24]


def lowest_phi(models: Iterable[R], split: str) -> R | None:
    """Return the results of the model of the lowest phi of a split, the first of equals; None of none."""
    return min(models, key=lambda results: float(results[split]["phi"]), default=None)


def write_json(path: Path, content: Results) -> None:
    """Write a JSON file that is never seen half-written."""
    with replacing(path) as unfinished:
        unfinished.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Results]) -> None:
    """Write a CSV file that is never seen half-written."""
    with replacing(path) as unfinished, unfinished.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def sweep_row(results: Results) -> dict[str, Any]:
    """Return the row of sweep.csv for the results of a run; sizes that differ are joined by a plus."""
    sizes = results["kernel_sizes"]
    return {
        **{key: results[key] for key in ("dataset", "activation", "seed", "best_epoch")},
        "kernel_size": sizes[0] if len(set(sizes)) == 1 else "+".join(map(str, sizes)),
        N_KERNELS: len(sizes),
        **{f"{split}_{name}": results[split][name] for split in ("validation", "test") for name in FIGURES},
        **({} if results["test"]["accuracy"] is None else {ACCURACY: results["test"]["accuracy"]}),
    }


def print_run(results: Results, folder: Path) -> None:
    """Print the figures of a run and where everything is."""
    sizes = ", ".join(map(str, results["kernel_sizes"]))
    table = Table()
    table.add_column(escape(results["dataset"]))
    for heading in ("φ̄", "CR⁻¹", "L̃"):
        table.add_column(heading, justify="right")
    for split in ("validation", "test"):
        if split in results:
            table.add_row(split, *(f"{results[split][name]:.4f}" for name in FIGURES))
    console = Console()
    console.print(table)
    if "classifier" in results:
        line = f"test accuracy {results['test']['accuracy']:.2%} on the reconstructions"
        if "baseline" in results["classifier"]:
            baseline, change = (results["classifier"][key] for key in ("baseline", "accuracy_change"))
            line += f", {baseline['test']['accuracy']:.2%} on the original data ({change:+.2f} percentage points)"
        console.print(line, soft_wrap=True, highlight=False)
    activation = escape(results["activation"])
    console.print(f"{activation}, kernel size {sizes}, best epoch {results['best_epoch']}", highlight=False)
    console.print(shown(folder), soft_wrap=True, highlight=False)


def summarise(models: Sequence[Results], split: str, failures: Mapping[str, str], folder: Path) -> None:
    """Write ``sweep.csv`` and ``sweep.png`` for the results of models, and print their table.

    Args:
        models: The results of each.
        split: The split whose phi selects.
        failures: Why there are no results of others, by name.
        folder: Where to write.
    """
    from san.figures.style import save
    from san.figures.sweep import draw_surface, draw_sweep

    rows = [sweep_row(results) for results in models]
    if rows:
        several = len({row[N_KERNELS] for row in rows}) > 1
        columns = (
            *SWEEP_COLUMNS,
            *((N_KERNELS,) if several else ()),
            *((ACCURACY,) if any(ACCURACY in row for row in rows) else ()),
        )
        write_csv(folder / "sweep.csv", columns, [{key: row[key] for key in columns if key in row} for row in rows])
        save(draw_surface(rows, split) if several else draw_sweep(rows, split), folder / "sweep.png")
    print_sweep(rows, split, failures, folder)


def print_sweep(rows: Sequence[Results], split: str, failures: Mapping[str, str], folder: Path) -> None:
    """Print the models of a sweep, the best by the phi of a split first, then the jobs that failed and why."""
    varying = [key for key in ("dataset", "activation", "seed", N_KERNELS) if len({row[key] for row in rows}) > 1]
    table = Table()
    for key in varying:
        table.add_column(key.replace("n_kernels", "kernels"), no_wrap=True)
    for heading in ("kernel size", "epoch", "validation φ̄", "test φ̄", "CR⁻¹", "L̃"):
        table.add_column(heading, justify="right")
    if any(ACCURACY in row for row in rows):
        table.add_column("accuracy", justify="right")
    best_first = sorted(rows, key=lambda row: float(row[f"{split}_phi"]))
    for row in best_first[:MOST]:
        figures = (row["validation_phi"], *(row[f"test_{name}"] for name in FIGURES))
        keys = (*varying, "kernel_size", "best_epoch")
        accuracy = [f"{row[ACCURACY]:.2%}"] if ACCURACY in row else []
        table.add_row(*(str(row[key]) for key in keys), *(f"{figure:.4f}" for figure in figures), *accuracy)
    console = Console()
    if rows:
        console.print(table)
    if len(rows) > MOST:
        console.print(f"and {len(rows) - MOST} more in sweep.csv", highlight=False)
    for name, reason in failures.items():
        console.print(f"{name} failed: {reason}", style="red", soft_wrap=True, highlight=False, markup=False)
    console.print(shown(folder), soft_wrap=True, highlight=False)


def shown(path: Path) -> str:
    """Return a path as one would type it from here."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def _commit() -> str | None:
    """Return the commit of the folder that the package lies in, if that is itself a git checkout."""
    checkout = Path(san.__file__).parents[1]
    if not (checkout / ".git").exists():
        return None

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(checkout), "--no-optional-locks", *arguments]
        return subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()  # noqa: S603

    try:
        commit, changes = git("rev-parse", "HEAD"), git("status", "--porcelain", "--", "san", "conf")
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}-dirty" if changes else commit

"""The results of trained models: selection by phi, the rows of sweep.csv, and the tables on the console."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from san.figures.style import save
from san.figures.sweep import SelectionSplit, draw_surface, draw_sweep
from san.ops.choices import check_choice
from san.ops.kernels import kernels_text, sizes_text
from san.reporting.console import console, numbers, print_table, texts
from san.storage.files import write_csv

__all__ = [
    "METRICS",
    "SWEEP_COLUMNS",
    "SelectionSplit",
    "lowest_phi",
    "print_failures",
    "print_next_steps",
    "print_run",
    "print_sweep",
    "relative_to_here",
    "summarize_models",
    "sweep_row",
]

METRICS = ("phi", "cr_inverse", "loss_normalized")
SWEEP_COLUMNS = (
    "dataset",
    "activation",
    "kernel_size",
    "seed",
    "best_epoch",
    *(f"{split}_{metric}" for split in ("validation", "test") for metric in METRICS),
)
N_KERNELS = "n_kernels"
ACCURACY = "test_accuracy"
MAX_CONSOLE_ROWS = 20
# Headings of what names a model; a column with one value for all models is a line above the table instead.
NAMES = {
    "dataset": "dataset",
    "activation": "activation",
    "seed": "seed",
    N_KERNELS: "kernels",
    "kernel_size": "kernel\nsize m",
    "best_epoch": "epoch",
}

Results = Mapping[str, Any]
R = TypeVar("R", bound=Results)


def lowest_phi(models: Iterable[R], split: SelectionSplit) -> R | None:
    """Return the results of the model with the lowest phi on a split.

    Args:
        models: The results of each model.
        split: The split whose phi selects.

    Returns:
        The results of the selected model, the first of equal ones; None if there are no models.

    Raises:
        ValueError: If the split is unknown.
    """
    check_choice("split", split, SelectionSplit)
    return min(models, key=lambda results: float(results[split]["phi"]), default=None)


def sweep_row(results: Results) -> dict[str, Any]:
    """Return the row of sweep.csv for the results of a model; the kernel size is an integer if all are equal."""
    sizes = results["kernel_sizes"]
    return {
        **{key: results[key] for key in ("dataset", "activation", "seed", "best_epoch")},
        "kernel_size": sizes[0] if len(set(sizes)) == 1 else sizes_text(sizes),
        N_KERNELS: len(sizes),
        **{f"{split}_{metric}": results[split][metric] for split in ("validation", "test") for metric in METRICS},
        **({} if results["test"]["accuracy"] is None else {ACCURACY: results["test"]["accuracy"]}),
    }


def print_run(results: Results, folder: Path) -> None:
    """Print the metrics of a run, the learned kernels in one sentence, and the run folder.

    Args:
        results: The results of the run.
        folder: The run folder.
    """
    rows = [
        [split, *(f"{results[split][metric]:.4f}" for metric in METRICS)]
        for split in ("validation", "test")
        if split in results
    ]
    print_table([*texts(results["dataset"]), *numbers("φ̄", "CR⁻¹", "L̃")], rows)
    if "planted" in results:
        _print_planted(results["planted"])
    out = console()
    if "classifier" in results:
        line = f"test accuracy {results['test']['accuracy']:.2%} on the reconstructions"
        if "baseline" in results["classifier"]:
            baseline, change = (results["classifier"][key] for key in ("baseline", "accuracy_change"))
            line += f", {baseline['test']['accuracy']:.2%} on the original data ({change:+.2f} percentage points)"
        out.print(line, highlight=False)
    out.print(_learned(results), highlight=False)
    out.print(relative_to_here(folder), soft_wrap=True, highlight=False)


def _learned(results: Results) -> str:
    """Return the learned kernels and their metrics, in one sentence."""
    sizes, test = results["kernel_sizes"], results["test"]
    kernels = kernels_text(sizes)
    return (
        f"Learned {kernels} ({results['activation']}, best epoch {results['best_epoch']}): "
        f"{100 * test['cr_inverse']:.3g} numbers describe 100 test samples and leave {test['loss_normalized']:.0%} of "
        "the signal unexplained."
    )


def _print_planted(planted: Sequence[Results]) -> None:
    """Print which learned kernel is most like each planted kernel, and the energy that its border cuts off."""
    rows = []
    for index, found in enumerate(planted):
        shift = ", ".join(f"{samples:+d}" if samples else "0" for samples in found["shift"])
        cut_off = f"{1 - found['energy_inside']:.1%}"
        rows.append([str(index), str(found["kernel"]), f"{found['correlation']:.4f}", shift, cut_off])
    print_table(numbers("planted kernel", "learned kernel", "correlation", "shift", "cut off"), rows)


def print_next_steps(page: Path | None, command: str) -> None:
    """Print the meaning of φ̄ and the next step after a training.

    Args:
        page: The page about the kernels of the model, if there is one.
        command: The command to try next, with its purpose.
    """
    out = console()
    out.print(
        "φ̄ is 0 for a perfect description and 1 for one that says nothing. Test and validation are different parts of "
        "the data, so their φ̄ may differ.",
        highlight=False,
    )
    if page is not None:
        out.print(f"What each kernel does: {relative_to_here(page)}", soft_wrap=True, highlight=False)
    out.print(command, soft_wrap=True, highlight=False)


def summarize_models(
    models: Sequence[Results], split: SelectionSplit, failures: Mapping[str, str], folder: Path
) -> None:
    """Write ``sweep.csv`` and the figure ``sweep``, and print the table of the models even if these cannot be written.

    Args:
        models: The results of each model.
        split: The split whose phi selects.
        failures: The reason of each failure, by the name of the job or model.
        folder: The folder to write to.

    Raises:
        OSError: If a file cannot be written.
        ValueError: If the split is unknown.
    """
    rows = [sweep_row(results) for results in models]
    several = len({row[N_KERNELS] for row in rows}) > 1
    columns = (
        *SWEEP_COLUMNS,
        *((N_KERNELS,) if several else ()),
        *((ACCURACY,) if any(ACCURACY in row for row in rows) else ()),
    )
    try:
        if rows:
            write_csv(folder / "sweep.csv", columns, [{key: row[key] for key in columns if key in row} for row in rows])
            save(draw_surface(rows, split) if several else draw_sweep(rows, split), folder / "sweep")
    finally:
        print_sweep(rows, split, failures, folder)


def print_sweep(rows: Sequence[Results], split: SelectionSplit, failures: Mapping[str, str], folder: Path) -> None:
    """Print the models of a sweep, sorted by the phi of a split, then each failure with its reason.

    A value that is the same for all models is printed once, above the table.

    Args:
        rows: The rows of sweep.csv.
        split: The split whose phi selects.
        failures: The reason of each failure, by the name of the job or model.
        folder: The folder of the sweep, printed last.
    """
    best_first = sorted(rows, key=lambda row: float(row[f"{split}_phi"]))
    constant = [
        key
        for key in NAMES
        if len({row[key] for row in rows}) == 1 and (len(rows) > 1 or key not in ("kernel_size", "best_epoch"))
    ]
    names = [key for key in NAMES if key not in constant]
    headings = [
        *(heading for key in names for heading in (texts if key in ("dataset", "activation") else numbers)(NAMES[key])),
        *numbers("validation\nφ̄", "test\nφ̄", "test\nCR⁻¹", "test\nL̃"),
        *(numbers("test\naccuracy") if any(ACCURACY in row for row in rows) else []),
    ]
    cells = [
        [
            *(str(row[key]) for key in names),
            *(f"{value:.4f}" for value in (row["validation_phi"], *(row[f"test_{metric}"] for metric in METRICS))),
            *([f"{row[ACCURACY]:.2%}"] if ACCURACY in row else []),
        ]
        for row in best_first[:MAX_CONSOLE_ROWS]
    ]
    out = console()
    if rows:
        shared = ", ".join(_named(key, rows[0][key]) for key in constant)
        if shared:
            out.print(f"{'All models' if len(rows) > 1 else 'One model'}: {shared}", highlight=False)
        dropped = print_table(headings, cells, low_value=("epoch", "test\nCR⁻¹", "test\nL̃"))
        if dropped:
            out.print(f"Too wide for this terminal, in sweep.csv: {', '.join(map(_line, dropped))}", highlight=False)
    if len(rows) > MAX_CONSOLE_ROWS:
        out.print(f"and {len(rows) - MAX_CONSOLE_ROWS} more in sweep.csv", highlight=False)
    print_failures(failures)
    out.print(relative_to_here(folder), soft_wrap=True, highlight=False)


def _named(key: str, value: Any) -> str:
    """Return a value of a row of sweep.csv as a part of a sentence."""
    if key in ("dataset", "activation"):
        return str(value)
    if key == N_KERNELS:
        return f"{value} kernel{'' if value == 1 else 's'}"
    return f"{_line(NAMES[key])} {value}"


def _line(heading: str) -> str:
    return " ".join(heading.split())


def print_failures(failures: Mapping[str, str]) -> None:
    """Print a failure in a line, several in a table, with the advice that ends all their reasons once.

    Args:
        failures: The reason of each failure, by the name of the job or model.
    """
    out = console()
    if len(failures) == 1:
        ((name, reason),) = failures.items()
        out.print(f"{name} failed: {reason}", style="red", soft_wrap=True, highlight=False)
    elif failures:
        advices = {reason.rpartition("; ")[2] for reason in failures.values() if "; " in reason}
        has_one = len(advices) == 1 and all("; " in reason for reason in failures.values())
        rows = [[name, reason.rpartition("; ")[0] if has_one else reason] for name, reason in failures.items()]
        print_table(texts("failed", "reason"), rows, style="red", is_boxed=False)
        if has_one:
            out.print(f"For all of these: {advices.pop()}", style="red", soft_wrap=True, highlight=False)


def relative_to_here(path: Path) -> str:
    """Return a path relative to the current folder if it is inside it, unchanged otherwise."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)

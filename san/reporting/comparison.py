"""The output of a comparison beside its results: the table as CSV, as Markdown and on the console, and the figure."""

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

from san.figures.frontier import draw_frontier
from san.figures.style import save
from san.figures.sweep import SelectionSplit
from san.reporting.console import console, numbers, print_table, texts
from san.reporting.results import METRICS, relative_to_here
from san.storage.files import write_csv, write_text

__all__ = ["comparison_markdown", "comparison_row", "summarize_comparison", "write_comparison_table"]

HEADINGS = {
    "method": "method",
    "setting": "selected setting",
    "validation_phi": "validation φ̄",
    "test_phi": "test φ̄",
    "test_cr_inverse": "test CR⁻¹",
    "test_loss_normalized": "test L̃",
    "test_activations": "activations per example",
    "n_settings": "settings",
    "grid_seconds": "grid (s)",
    "chosen_seconds": "selected setting alone (s)",
}
CONSOLE_HEADINGS = {
    key: heading for key, heading in HEADINGS.items() if key not in ("setting", "n_settings", "chosen_seconds")
}
DIGITS = {"test_activations": 1, "n_settings": 0, "grid_seconds": 0, "chosen_seconds": 1}
DEFAULT_DIGITS = 3

Results = Mapping[str, Any]


def summarize_comparison(results: Results, folder: Path) -> None:
    """Write ``compare.md`` and ``figures/frontier``; print the table even if these cannot be written.

    :func:`write_comparison_table` writes ``compare.csv``, after each method.

    Args:
        results: The results of a comparison.
        folder: The folder to write to.
    """
    rows = _rows(results)
    try:
        write_text(folder / "compare.md", comparison_markdown(results))
        drawn = draw_frontier(results["methods"], results["dataset"])
        save(drawn, folder / "figures" / "frontier")
    finally:
        _print(rows, results["selected_by"], folder)


def write_comparison_table(results: Results, folder: Path) -> None:
    """Write ``compare.csv``, a row for each method so far.

    Args:
        results: The results of a comparison, or its ``methods``, ``space`` and ``channels`` alone.
        folder: The folder to write to.
    """
    rows = _rows(results)
    write_csv(folder / "compare.csv", list(rows[0]), rows)


def comparison_row(method: Results, space: Sequence[int], channels: int = 1) -> dict[str, Any]:
    """Return the row of compare.csv for a method: its selected setting, the metrics, and the seconds of both timings.

    The activations are the mean number per test example, A of Eq. 4 of the paper solved from :math:`CR^{-1}`.

    Args:
        method: A method of the results of a comparison.
        space: Samples along each axis of an example.
        channels: Channels of an example.
    """
    chosen, n_dims = method["chosen"], len(space)
    stored = chosen["test"]["cr_inverse"] * channels * prod(space)
    return {
        "method": method["method"],
        "setting": " ".join(f"{key}={value}" for key, value in chosen["setting"].items()),
        **{f"{split}_{metric}": chosen[split][metric] for split in ("validation", "test") for metric in METRICS},
        "test_activations": (stored - chosen["n_weights"]) / (n_dims + 1),
        "n_weights": chosen["n_weights"],
        "n_settings": len(method["settings"]),
        **{f"{name}_seconds": value for name, value in method["seconds"].items()},
    }


def comparison_markdown(results: Results) -> str:
    """Return the table of a comparison in Markdown, with the lowest test phi in bold."""
    rows = _rows(results)
    best = min(rows, key=lambda row: float(row["test_phi"]))
    selection = f"The setting of each method is selected by {results['selected_by']} φ̄; seed {results['seed']}."
    n_channels = results.get("channels", 1)
    lines = [
        f"# {results['dataset']}",
        "",
        selection if n_channels == 1 else f"{selection} Each φ̄ is of all {n_channels} channels.",
        "",
        f"| {' | '.join(HEADINGS.values())} |",
        f"|{'|'.join('---' if key in ('method', 'setting') else '---:' for key in HEADINGS)}|",
    ]
    for row in rows:
        texts = {key: _text(key, row[key]) for key in HEADINGS}
        if row is best:
            texts["test_phi"] = f"**{texts['test_phi']}**"
        lines.append(f"| {' | '.join(texts.values())} |")
    return "\n".join([*lines, ""])


def _rows(results: Results) -> list[dict[str, Any]]:
    """Return the row of each method; results without a number of channels have one."""
    return [comparison_row(method, results["space"], results.get("channels", 1)) for method in results["methods"]]


def _print(rows: Sequence[Results], split: SelectionSplit, folder: Path) -> None:
    """Print the methods, sorted by the phi of a split."""
    best_first = sorted(rows, key=lambda row: float(row[f"{split}_phi"]))
    method, *others = CONSOLE_HEADINGS.values()
    cells = [[_text(key, row[key]) for key in CONSOLE_HEADINGS] for row in best_first]
    print_table([*texts(method), *numbers(*others)], cells)
    console().print(relative_to_here(folder), soft_wrap=True, highlight=False)


def _text(key: str, value: Any) -> str:
    return value if isinstance(value, str) else f"{value:.{DIGITS.get(key, DEFAULT_DIGITS)}f}"

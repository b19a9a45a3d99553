"""What a comparison leaves beside its results: the table, as CSV and Markdown and on the console, and the figure."""

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from san.files import replacing
from san.results import FIGURES, shown, write_csv

__all__ = ["markdown", "row", "summarise"]

HEADINGS = {
    "method": "method",
    "setting": "chosen setting",
    "validation_phi": "validation φ̄",
    "test_phi": "test φ̄",
    "test_cr_inverse": "CR⁻¹",
    "test_loss_normalized": "L̃",
    "test_activations": "activations",
    "n_settings": "settings",
    "grid_seconds": "grid (s)",
    "chosen_seconds": "chosen (s)",
}
ON_CONSOLE = [key for key in HEADINGS if key not in ("setting", "n_settings", "chosen_seconds")]
DIGITS = {"test_activations": 1, "n_settings": 0, "grid_seconds": 0, "chosen_seconds": 1}  # of others 3

Results = Mapping[str, Any]


def summarise(results: Results, folder: Path) -> None:
    """Write ``compare.csv``, ``compare.md`` and ``figures/frontier``, and print the table.

    Args:
        results: Those of a comparison.
        folder: Where to write.
    """
    from san.figures.frontier import draw_frontier
    from san.figures.style import save

    rows = [row(method, results["space"]) for method in results["methods"]]
    write_csv(folder / "compare.csv", list(rows[0]), rows)
    with replacing(folder / "compare.md") as unfinished:
        unfinished.write_text(markdown(results))
    drawn = draw_frontier(results["methods"], results["dataset"])
    for suffix in ("png", "pdf"):
        save(drawn, folder / "figures" / f"frontier.{suffix}")
    _print(rows, results["selected_by"], folder)


def row(method: Results, space: Sequence[int]) -> dict[str, Any]:
    """Return the row of compare.csv for a method: its chosen setting, and the seconds of the grid and of that alone.

    The activations are the mean of an example, A of Eq. 4 of the paper given its :math:`CR^{-1}`.

    Args:
        method: Of the results of a comparison.
        space: Samples along each axis of an example.
    """
    chosen, n_dims = method["chosen"], len(space)
    stored = chosen["test"]["cr_inverse"] * prod(space)
    return {
        "method": method["method"],
        "setting": " ".join(f"{key}={value}" for key, value in chosen["setting"].items()),
        **{f"{split}_{name}": chosen[split][name] for split in ("validation", "test") for name in FIGURES},
        "test_activations": (stored - chosen["n_weights"]) / (n_dims + 1),
        "n_weights": chosen["n_weights"],
        "n_settings": len(method["settings"]),
        **{f"{name}_seconds": value for name, value in method["seconds"].items()},
    }


def markdown(results: Results) -> str:
    """Return the table of a comparison, the lowest test phi in bold."""
    rows = [row(method, results["space"]) for method in results["methods"]]
    best = min(rows, key=lambda one: float(one["test_phi"]))
    lines = [
        f"# {results['dataset']}",
        "",
        f"Chosen by the {results['selected_by']} φ̄, seed {results['seed']}.",
        "",
        f"| {' | '.join(HEADINGS.values())} |",
        f"|{'|'.join('---' if key in ('method', 'setting') else '---:' for key in HEADINGS)}|",
    ]
    for one in rows:
        texts = {key: _text(key, one[key]) for key in HEADINGS}
        if one is best:
            texts["test_phi"] = f"**{texts['test_phi']}**"
        lines.append(f"| {' | '.join(texts.values())} |")
    return "\n".join([*lines, ""])


def _print(rows: Sequence[Results], split: str, folder: Path) -> None:
    """Print the methods, the best by the phi of a split first."""
    table = Table()
    for key in ON_CONSOLE:
        table.add_column(HEADINGS[key], justify="left" if key == "method" else "right")
    for one in sorted(rows, key=lambda one: float(one[f"{split}_phi"])):
        table.add_row(*(_text(key, one[key]) for key in ON_CONSOLE))
    console = Console()
    console.print(table)
    console.print(shown(folder), soft_wrap=True, highlight=False)


def _text(key: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.{DIGITS.get(key, 3)}f}"

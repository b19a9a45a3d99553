"""The report of a reproduction: one page that needs nothing else."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from san.files import replacing
from san.tables import TITLES

__all__ = ["CLOSE", "NEAR", "write_report"]

NEAR, CLOSE = 0.02, 0.05
REASONS = {
    "drivedb": "the record at hand is not the author's, as its top-k cells show",
    "relu": "ReLU has several modes, which the initial kernel chooses between",
    "extrema": "at long kernels there are several modes, which the initial kernel chooses between",
}
FIGURES = {
    "1": "Figure 1: what each activation function keeps of a second of ECG and of an image",
    "2a": "Figure 2a: the forward pass of a segment of UCI-epilepsy, two kernels, Extrema",
    "2b": "Figure 2b: the forward pass of an image of MNIST, two kernels, Extrema",
    "3": "Figure 3: all models and the selected ones, by the paper's protocol",
    "4": "Figure 4: density of all models, and means over databases with one standard deviation",
    "5": "Figure 5: the selected kernels, as they reconstruct",
}


def write_report(
    tables: Mapping[int, pd.DataFrame],
    folder: Path,
    *,
    absent: Mapping[str, str],
    settings: Mapping[str, Any],
    seconds: float,
) -> None:
    """Write ``report.html``: the verdict, the tables with ours over printed, and the figures that are in the folder.

    Args:
        tables: By number, as :mod:`san.tables` makes them.
        folder: Where to write, and where the figures are.
        absent: Why there is no data, by dataset.
        settings: Configuration and versions.
        seconds: That it took.
    """
    cells = [cell for number, table in tables.items() for cell in _cells(number, table)]
    judged = [cell for cell in cells if not pd.isna(cell["difference"])]
    near = [cell for cell in judged if abs(cell["difference"]) <= NEAR]
    far = [cell for cell in judged if abs(cell["difference"]) > CLOSE]
    environment = Environment(loader=PackageLoader("san", "."), autoescape=True, undefined=StrictUndefined)
    page = environment.get_template("report.html.jinja").render(
        counts={"all": len(judged), "near": len(near), "close": len(judged) - len(near) - len(far), "far": len(far)},
        far=sorted(far, key=lambda cell: -abs(float(cell["difference"]))),
        absent=absent,
        tables=[_table(number, table) for number, table in tables.items()],
        figures=[
            {"title": title, "data": base64.b64encode((folder / f"figure{number}.png").read_bytes()).decode()}
            for number, title in FIGURES.items()
            if (folder / f"figure{number}.png").is_file()
        ],
        settings=json.dumps(settings, indent=2),
        seconds=f"{seconds:.0f} seconds, of which trainings that were finished before took none.",
    )
    with replacing(folder / "report.html") as unfinished:
        unfinished.write_text(page)


def _ours(number: int) -> str:
    return "paper_at_printed_size" if number == 1 else "paper"


def _cells(number: int, table: pd.DataFrame) -> list[dict[str, Any]]:
    if "difference" not in table:
        return []
    return [
        {
            "where": f"table {number}, {row['database'] if number == 1 else 'm = ' + str(row['kernel_size'])}, "
            f"{row['activation'].replace('_', ' ')}",
            "ours": row[f"{_ours(number)}_phi"],
            "printed": row["printed_phi"],
            "difference": row["difference"],
            "reason": next((REASONS[key] for key in _keys(number, row) if key in REASONS), ""),
        }
        for row in table.to_dict("records")
    ]


def _keys(number: int, row: Mapping[str, Any]) -> list[str]:
    """Return what may have a reason to differ, the first first."""
    if number == 1:
        return [row["database"], row["activation"]]
    return [row["activation"]] if row["activation"] == "relu" else []


def _table(number: int, table: pd.DataFrame) -> dict[str, Any]:
    """Return a table for the page: what is in front, then honest and the paper's figures, the printed ones beside."""
    front = list(table.columns[:2])
    sizes = ["kernel_size"] if number == 1 else []
    figures = {"cr_inverse": "CR⁻¹", "loss_normalized": "L̃", "phi": "φ̄"}
    heads = [*(name.replace("_", " ") for name in front), *(["m, printed"] if sizes else [])]
    heads += [*(["m, honest"] if sizes else []), *(f"{head}, honest" for head in figures.values())]
    heads += [*(f"{head}, paper's (printed)" for head in figures.values())]
    rows = []
    for row in table.to_dict("records"):
        line = [_plain(row[name]) for name in front]
        if sizes:
            line += [_plain(row["printed_kernel_size"]), _plain(row.get("honest_kernel_size"))]
        line += [_figure(row, "honest", name) for name in figures]
        line += [
            {**_figure(row, _ours(number), name), "printed": f"({row[f'printed_{name}']:.2f})",
             "kind": _kind(row.get("difference")) if name == "phi" else ""}
            for name in figures
        ]  # fmt: skip
        rows.append(line)
    return {"title": TITLES[number], "heads": heads, "rows": rows}


def _plain(value: Any) -> dict[str, Any]:
    text = "–" if value is None or pd.isna(value) else str(value)
    return {"text": text.replace("_", " "), "value": text, "printed": "", "kind": "" if text.isdecimal() else "text"}


def _figure(row: Mapping[str, Any], prefix: str, name: str) -> dict[str, Any]:
    value, deviation = row.get(f"{prefix}_{name}"), row.get(f"{prefix}_{name}_sd")
    if value is None or pd.isna(value):
        return {"text": "–", "value": "", "printed": "", "kind": ""}
    text = f"{value:.3f}" + ("" if deviation is None or pd.isna(deviation) else f" ± {deviation:.3f}")
    return {"text": text, "value": value, "printed": "", "kind": ""}


def _kind(difference: float | None) -> str:
    if difference is None or pd.isna(difference):
        return ""
    return "near" if abs(difference) <= NEAR else "close" if abs(difference) <= CLOSE else "far"

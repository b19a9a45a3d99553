"""The report of a reproduction: one page that needs nothing else, and its summary in Markdown."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from san.figures.style import label
from san.files import replacing
from san.tables import ABSENT, CLOSE, FIGURES, NEAR, NOT_JUDGED, ROUNDING, TITLES, far_cells, ours, verdict

__all__ = ["record", "summary", "write_report"]

CAPTIONS = {
    "1": "Figure 1: what each activation function keeps of a second of ECG and of an image",
    "2a": "Figure 2a: the forward pass of a segment of UCI-epilepsy, two kernels, Extrema",
    "2b": "Figure 2b: the forward pass of an image of MNIST, two kernels, Extrema",
    "3": "Figure 3: all models and the selected ones, by the paper's protocol",
    "4": "Figure 4: density of all models, and means over databases with one standard deviation",
    "5": "Figure 5: the selected kernels, as they reconstruct",
}
ACCURACIES = {"accuracy": "A %", "accuracy_difference": "A±%"}

Record = dict[str, Any]
Cell = dict[str, Any]


def record(
    tables: Mapping[int, pd.DataFrame],
    *,
    absent: Mapping[str, str],
    config: Any,
    versions: Mapping[str, str],
    jobs: int,
    seconds_of_tables: Mapping[int, float],
    wall_seconds: float,
) -> Record:
    """Return what a reproduction found, as plain data.

    Args:
        tables: By number, as :mod:`san.tables` makes them.
        absent: Why there is no data, by dataset.
        config: The configuration, as plain data.
        versions: Of the packages.
        jobs: Processes that trained.
        seconds_of_tables: That the banks of each table took, added up, in whatever run they were trained.
        wall_seconds: That this run took.
    """
    return {
        "verdict": {TITLES[number]: verdict(number, table) for number, table in tables.items()},
        "far": [cell for number, table in tables.items() for cell in far_cells(number, table)],
        "baselines": {
            TITLES[number]: _baseline(table) for number, table in tables.items() if "paper_baseline_accuracy" in table
        },
        "absent": dict(absent),
        "jobs": jobs,
        "seconds_of_tables": {TITLES[number]: seconds for number, seconds in seconds_of_tables.items()},
        "wall_seconds": wall_seconds,
        "versions": dict(versions),
        "config": config,
    }


def summary(found: Record) -> str:
    """Return the page "Does it reproduce?" in Markdown."""
    environment = Environment(loader=PackageLoader("san", "."), autoescape=False, undefined=StrictUndefined,  # noqa: S701 (it is not HTML)
                              trim_blocks=True, lstrip_blocks=True)  # fmt: skip
    return environment.get_template("summary.md.jinja").render(**_shown(found))


def write_report(found: Record, tables: Mapping[int, pd.DataFrame], folder: Path) -> None:
    """Write ``summary.md``, and ``report.html``: the verdict, the tables with ours over printed, and the figures.

    Args:
        found: Of :func:`record`.
        tables: By number.
        folder: Where to write, and where the figures are.
    """
    with replacing(folder / "summary.md") as unfinished:
        unfinished.write_text(summary(found))
    environment = Environment(loader=PackageLoader("san", "."), autoescape=True, undefined=StrictUndefined)
    page = environment.get_template("report.html.jinja").render(
        **_shown(found),
        tables=[_table(number, table) for number, table in tables.items()],
        figures=[
            {"title": title, "data": base64.b64encode((folder / f"figure{number}.png").read_bytes()).decode()}
            for number, title in CAPTIONS.items()
            if (folder / f"figure{number}.png").is_file()
        ],
        settings=json.dumps({key: found[key] for key in ("config", "versions")}, indent=2),
    )
    with replacing(folder / "report.html") as unfinished:
        unfinished.write_text(page)


def _shown(found: Record) -> Record:
    """Return what both pages show, in words."""
    rows = [
        {"table": title.partition(":")[0], **row, "activation": label(row["activation"])}
        for title, verdicts in found["verdict"].items()
        for row in verdicts
    ]
    ranged = [cell for cell in found["far"] if cell["range"]]
    reached = [cell for cell in ranged if cell["range"][0] - ROUNDING <= cell["printed"] <= cell["range"][1] + ROUNDING]
    return {
        "near": NEAR,
        "close": CLOSE,
        "verdict": rows,
        "counts": {key: sum(row[key] for row in rows) for key in ("cells", "near", "close", "far")},
        "far": found["far"],
        "ranged": len(ranged),
        "reached": len(reached),
        "baselines": found["baselines"],
        "absent": found["absent"],
        "not_judged": NOT_JUDGED,
        "duration": _duration(found["wall_seconds"]),
        "parts": {title: _duration(seconds) for title, seconds in found["seconds_of_tables"].items()},
        "jobs": found["jobs"],
        "versions": found["versions"],
    }


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _baseline(table: pd.DataFrame) -> dict[str, list[float]]:
    """Return the mean accuracy on the original data and its standard deviation, by protocol; all cells share them."""
    first = table.dropna(subset="paper_baseline_accuracy").fillna(0).iloc[0].to_dict()
    columns = {name: f"{name}_baseline_accuracy" for name in ("honest", "paper")}
    return {name: [float(first[column]), float(first.get(f"{column}_sd", 0))] for name, column in columns.items()}


def _table(number: int, table: pd.DataFrame) -> dict[str, Any]:
    """Return a table for the page: what is in front, then the honest and the paper's figures, printed ones beside."""
    front = list(table.columns[:2])
    figures = {**FIGURES, **(ACCURACIES if "paper_accuracy" in table else {})}
    heads = ["database" if number == 1 else "m", "activation"]
    heads += ["m (printed)", "m, honest"] if number == 1 else []
    heads += [f"{head}, paper's (printed)" for head in figures.values() if head != ACCURACIES["accuracy"]]
    heads += [f"{head}, honest" for head in figures.values()]
    rows: list[list[Cell]] = []
    for row in table.to_dict("records"):
        line = [_text(row[front[0]]), _text(label(row["activation"]))]
        if number == 1:
            line += [_text(row["printed_kernel_size"]), _text(row.get("honest_kernel_size"))]
        for name in figures:
            if name != "accuracy":
                digits = 1 if name in ACCURACIES else 2
                printed = f"({row[f'printed_{name}']:.{digits}f})"
                kind = _kind(row.get("difference")) if name == "phi" else ""
                line.append({**_figure(row, ours(number), name), "printed": printed, "kind": kind})
        line += [_figure(row, "honest", name) for name in figures]
        reason = row.get(ABSENT)
        if isinstance(reason, str) and reason:
            line[2 if number != 1 else 3] |= {"text": "data absent", "title": reason}
        rows.append(line)
    return {"title": TITLES[number], "heads": heads, "rows": rows}


def _text(value: Any) -> Cell:
    text = "–" if value is None or pd.isna(value) else str(value)
    return {"text": text, "value": text, "printed": "", "kind": "" if text.isdecimal() else "text", "title": ""}


def _figure(row: Mapping[str, Any], prefix: str, name: str) -> Cell:
    value, deviation = row.get(f"{prefix}_{name}"), row.get(f"{prefix}_{name}_sd")
    digits = 1 if name in ACCURACIES else 3
    if value is None or pd.isna(value):
        return {"text": "–", "value": "", "printed": "", "kind": "", "title": ""}
    text = f"{value:.{digits}f}" + ("" if deviation is None or pd.isna(deviation) else f" ± {deviation:.{digits}f}")
    return {"text": text, "value": value, "printed": "", "kind": "", "title": ""}


def _kind(difference: float | None) -> str:
    if difference is None or pd.isna(difference):
        return ""
    return "near" if abs(difference) <= NEAR else "close" if abs(difference) <= CLOSE else "far"

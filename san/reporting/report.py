"""The report of a reproduction: a self-contained HTML page, and its summary in Markdown."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from san.figures.style import method_label
from san.reporting.paper_tables import (
    ABSENT_COLUMN,
    CLOSE_PHI,
    METRIC_LABELS,
    NEAR_PHI,
    NOT_JUDGED,
    ROUNDING,
    TITLES,
    far_cells,
    reproduced_prefix,
    verdict,
)
from san.storage.files import write_text

__all__ = ["reproduction_record", "summary", "write_report"]

CAPTIONS = {
    "1": "Figure 1: the activation functions on one second of ECG and on one image",
    "2a": "Figure 2a: the forward pass of a segment of UCI-epilepsy, two kernels, Extrema",
    "2b": "Figure 2b: the forward pass of an image of MNIST, two kernels, Extrema",
    "3": "Figure 3: all models and the selected models, by the paper's protocol",
    "4": "Figure 4: density of all models, and means over databases with one standard deviation",
    "5": "Figure 5: the selected kernels, as the decoder places them",
}
ACCURACY_LABELS = {"accuracy": "test accuracy (%)", "accuracy_difference": "A±%"}

Record = dict[str, Any]
Cell = dict[str, Any]


def reproduction_record(
    tables: Mapping[int, pd.DataFrame],
    *,
    absent: Mapping[str, str],
    config: Any,
    versions: Mapping[str, str],
    jobs: int,
    seconds_of_tables: Mapping[int, float],
    wall_seconds: float,
) -> Record:
    """Return the findings of a reproduction as plain data.

    Args:
        tables: The tables of :mod:`san.reporting.paper_tables`, by number.
        absent: The reason why data is absent, by dataset.
        config: The configuration, as plain data.
        versions: The versions of the packages.
        jobs: Number of training processes.
        seconds_of_tables: Total training time of the models of each table, over all runs that trained them.
        wall_seconds: Duration of this run.
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


def summary(record: Record) -> str:
    """Return the page "Does it reproduce?" in Markdown.

    Args:
        record: The findings, from :func:`reproduction_record`.
    """
    environment = Environment(
        loader=PackageLoader("san.reporting", "templates"),
        autoescape=False,  # noqa: S701 (the page is Markdown, not HTML)
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("summary.md.jinja").render(**_template_values(record))


def write_report(record: Record, tables: Mapping[int, pd.DataFrame], folder: Path) -> None:
    """Write ``summary.md``, and ``report.html`` with the verdict, the tables and the figures of a folder.

    Args:
        record: The findings, from :func:`reproduction_record`.
        tables: The tables of :mod:`san.reporting.paper_tables`, by number.
        folder: The folder to write to, which contains the figures.
    """
    write_text(folder / "summary.md", summary(record))
    environment = Environment(
        loader=PackageLoader("san.reporting", "templates"), autoescape=True, undefined=StrictUndefined
    )
    page = environment.get_template("report.html.jinja").render(
        **_template_values(record),
        tables=[_html_table(number, table) for number, table in tables.items()],
        figures=[
            {"title": title, "data": base64.b64encode((folder / f"figure{number}.png").read_bytes()).decode()}
            for number, title in CAPTIONS.items()
            if (folder / f"figure{number}.png").is_file()
        ],
        settings=json.dumps({key: record[key] for key in ("config", "versions")}, indent=2),
    )
    write_text(folder / "report.html", page)


def _template_values(record: Record) -> Record:
    """Return the values that both templates show."""
    rows = [
        {"table": title.partition(":")[0], **row, "activation": method_label(row["activation"])}
        for title, verdicts in record["verdict"].items()
        for row in verdicts
    ]
    ranged = [cell for cell in record["far"] if cell["range"]]
    reached = [cell for cell in ranged if cell["range"][0] - ROUNDING <= cell["printed"] <= cell["range"][1] + ROUNDING]
    return {
        "near": NEAR_PHI,
        "close": CLOSE_PHI,
        "verdict": rows,
        "counts": {key: sum(row[key] for row in rows) for key in ("cells", "near", "close", "far")},
        "far": record["far"],
        "ranged": len(ranged),
        "reached": len(reached),
        "baselines": record["baselines"],
        "absent": record["absent"],
        "not_judged": NOT_JUDGED,
        "duration": _duration(record["wall_seconds"]),
        "parts": {title: _duration(seconds) for title, seconds in record["seconds_of_tables"].items()},
        "jobs": record["jobs"],
        "versions": record["versions"],
    }


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _baseline(table: pd.DataFrame) -> dict[str, list[float]]:
    """Return the mean and deviation of the accuracy on the original data, by protocol; all cells share them."""
    first = table.dropna(subset="paper_baseline_accuracy").fillna(0).iloc[0].to_dict()
    columns = {protocol: f"{protocol}_baseline_accuracy" for protocol in ("honest", "paper")}
    return {protocol: [float(first[name]), float(first.get(f"{name}_sd", 0))] for protocol, name in columns.items()}


def _html_table(number: int, table: pd.DataFrame) -> dict[str, Any]:
    """Return the title, heads and rows of a table: keys, metrics by the paper's protocol, metrics by the honest one."""
    keys = list(table.columns[:2])
    labels = {**METRIC_LABELS, **(ACCURACY_LABELS if "paper_accuracy" in table else {})}
    heads = ["database" if number == 1 else "kernel size m", "activation"]
    heads += ["m (printed)", "m, honest"] if number == 1 else []
    heads += [f"{label}, paper's (printed)" for metric, label in labels.items() if metric != "accuracy"]
    heads += [f"{label}, honest" for label in labels.values()]
    rows: list[list[Cell]] = []
    for row in table.to_dict("records"):
        cells = [_text_cell(row[keys[0]]), _text_cell(method_label(row["activation"]))]
        if number == 1:
            cells += [_text_cell(row["printed_kernel_size"]), _text_cell(row.get("honest_kernel_size"))]
        for metric in labels:
            if metric != "accuracy":
                digits = 1 if metric in ACCURACY_LABELS else 2
                printed = f"({row[f'printed_{metric}']:.{digits}f})"
                kind = _kind(row.get("difference")) if metric == "phi" else ""
                cell = _metric_cell(row, reproduced_prefix(number), metric)
                cells.append({**cell, "printed": printed, "kind": kind})
        cells += [_metric_cell(row, "honest", metric) for metric in labels]
        reason = row.get(ABSENT_COLUMN)
        if isinstance(reason, str) and reason:
            cells[2 if number != 1 else 3] |= {"text": "data absent", "title": reason}
        rows.append(cells)
    return {"title": TITLES[number], "heads": heads, "rows": rows}


def _text_cell(value: Any) -> Cell:
    text = "–" if value is None or pd.isna(value) else str(value)
    return {"text": text, "value": text, "printed": "", "kind": "" if text.isdecimal() else "text", "title": ""}


def _metric_cell(row: Mapping[str, Any], prefix: str, metric: str) -> Cell:
    value, deviation = row.get(f"{prefix}_{metric}"), row.get(f"{prefix}_{metric}_sd")
    digits = 1 if metric in ACCURACY_LABELS else 3
    if value is None or pd.isna(value):
        return {"text": "–", "value": "", "printed": "", "kind": "", "title": ""}
    text = f"{value:.{digits}f}" + ("" if deviation is None or pd.isna(deviation) else f" ± {deviation:.{digits}f}")
    return {"text": text, "value": value, "printed": "", "kind": "", "title": ""}


def _kind(difference: float | None) -> str:
    """Return the CSS class of a cell by its distance from the printed phi."""
    if difference is None or pd.isna(difference):
        return ""
    return "near" if abs(difference) <= NEAR_PHI else "close" if abs(difference) <= CLOSE_PHI else "far"

"""The report of a reproduction: a self-contained HTML page, and its summary in Markdown."""

import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from san.figures.style import method_label
from san.reporting.pages import html_page, png_address
from san.reporting.paper_tables import (
    ABSENT_COLUMN,
    METRIC_LABELS,
    NEAR_ACCURACY,
    NEAR_METRIC,
    NUMBER_LABELS,
    TITLES,
    distance_class,
    numbers_beyond,
    reproduced_column,
    spread_of_seeds,
    verdict,
)
from san.storage.files import write_text

__all__ = ["reproduction_record", "summary", "write_report"]

CAPTIONS = {
    "1": "Figure 1: the activation functions on one second of a signal and on one image",
    "2a": "Figure 2a: the forward pass of a segment of UCI-epilepsy, two kernels, Extrema",
    "2b": "Figure 2b: the forward pass of an image of MNIST, two kernels, Extrema",
    "3": "Figure 3: all models and the selected models, replayed",
    "4": "Figure 4: density of all models, and means over databases with one standard deviation, replayed",
    "5": "Figure 5: the selected kernels, as the decoder places them, replayed",
}
PICTURES = ("2b",)  # figures of an image, whose colors a dark page keeps
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
        "verdict": {TITLES[number]: verdict(table) for number, table in tables.items()},
        "beyond": [found for number, table in tables.items() for found in numbers_beyond(number, table)],
        "relu_spread": {TITLES[number]: spread_of_seeds(table, "relu") for number, table in tables.items()},
        "baselines": {
            TITLES[number]: _baseline(table)
            for number, table in tables.items()
            if "replayed_baseline_accuracy" in table
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
    page = html_page(
        "report.html.jinja",
        **_template_values(record),
        tables=[_html_table(number, table) for number, table in tables.items()],
        figures=[
            {
                "title": title,
                "address": png_address((folder / f"figure{number}.png").read_bytes()),
                "is_picture": number in PICTURES,
            }
            for number, title in CAPTIONS.items()
            if (folder / f"figure{number}.png").is_file()
        ],
        settings=json.dumps({key: record[key] for key in ("config", "versions")}, indent=2),
    )
    write_text(folder / "report.html", page)


def _template_values(record: Record) -> Record:
    """Return the values that both templates show."""
    rows = [
        {
            "table": title.partition(":")[0],
            **row,
            "activation": method_label(row["activation"]),
            "number": NUMBER_LABELS[row["number"]],
        }
        for title, verdicts in record["verdict"].items()
        for row in verdicts
    ]
    beyond = [{**row, "number": NUMBER_LABELS[row["number"]], "reason": _reason(row)} for row in record["beyond"]]
    ranged = [row for row in beyond if row["range"]]
    return {
        "near": NEAR_METRIC,
        "near_accuracy": NEAR_ACCURACY,
        "summary": _by_table(rows),
        "numbers": list(NUMBER_LABELS.values()),
        "by_activation": _by_activation(rows),
        "counts": _counts(rows),
        "beyond": beyond,
        "ranged": len(ranged),
        "reached": sum(row["range"][0] <= row["printed"] <= row["range"][1] for row in ranged),
        "spreads": {
            title.partition(":")[0]: [statistics.median(spread), max(spread)]
            for title, spread in record["relu_spread"].items()
            if spread
        },
        "baselines": record["baselines"],
        "absent": record["absent"],
        "duration": _duration(record["wall_seconds"]),
        "parts": {title: _duration(seconds) for title, seconds in record["seconds_of_tables"].items()},
        "jobs": record["jobs"],
        "versions": record["versions"],
    }


def _counts(rows: list[Cell]) -> dict[str, int]:
    return {key: sum(row[key] for row in rows) for key in ("cells", "printed", "near", "beyond")}


def _by_table(rows: list[Cell]) -> list[Cell]:
    """Return, for each table and number, the counts over all activation functions."""
    groups = dict.fromkeys((row["table"], row["number"]) for row in rows)
    return [
        {
            "table": table,
            "number": number,
            **_counts([row for row in rows if (row["table"], row["number"]) == (table, number)]),
        }
        for table, number in groups
    ]


def _by_activation(rows: list[Cell]) -> list[Cell]:
    """Return, for each table and activation function, how many of each number are as printed."""
    groups = dict.fromkeys((row["table"], row["activation"]) for row in rows)
    found = []
    for table, activation in groups:
        own = {row["number"]: row for row in rows if (row["table"], row["activation"]) == (table, activation)}
        printed = [own[number]["printed"] if number in own else "" for number in NUMBER_LABELS.values()]
        cells = max(row["cells"] for row in own.values())
        found.append({"table": table, "activation": activation, "cells": cells, "printed": printed})
    return found


def _reason(row: Record) -> str:
    """Return the reason, if the replays show one, why a number differs from the printed one."""
    if row["number"] == "kernel_size":
        ours, printed = row["phi_at"]
        return f"φ̄ is {ours:.4f} at this size and {printed:.4f} at the printed one"
    if row["range"] is None:
        return ""
    least, most = row["range"]
    inside = "inside" if least <= row["printed"] <= most else "outside"
    return f"replays that differ in the last bit of the initial kernels range from {least:.2f} to {most:.2f}: {inside}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _baseline(table: pd.DataFrame) -> dict[str, list[float]]:
    """Return the mean and deviation of the accuracy on the original data, replayed and honest; all cells share them."""
    first = table.dropna(subset="replayed_baseline_accuracy").fillna(0).iloc[0].to_dict()
    columns = {kind: f"{kind}_baseline_accuracy" for kind in ("honest", "replayed")}
    return {kind: [float(first[name]), float(first.get(f"{name}_sd", 0))] for kind, name in columns.items()}


def _html_table(number: int, table: pd.DataFrame) -> dict[str, Any]:
    """Return the title, heads and rows of a table: each number as printed, as replayed, and by the honest protocol.

    φ̄ is the first number. The cells whose data is absent follow with their printed numbers alone.
    """
    keys = list(table.columns[:2])
    printed_numbers = sorted((name for name in NUMBER_LABELS if f"printed_{name}" in table), key="phi".__ne__)
    heads = ["database" if number == 1 else "kernel size m", "activation"]
    heads += [
        f"{NUMBER_LABELS[name]}, {kind}" for name in printed_numbers for kind in ("printed", "replayed", "honest")
    ]
    rows: list[list[Cell]] = []
    absent: list[list[Cell]] = []
    for row in table.to_dict("records"):
        cells = [_text_cell(row[keys[0]]), _text_cell(method_label(row["activation"]))]
        for name in printed_numbers:
            printed, ours = row[f"printed_{name}"], row.get(reproduced_column(name))
            if name == "kernel_size":
                found = [_text_cell(value) for value in (printed, ours, row.get("honest_kernel_size"))]
            else:
                found = [_metric_cell(row, kind, name) for kind in ("printed", "replayed", "honest")]
            found[1]["kind"] = distance_class(name, ours, printed)
            cells += found
        if isinstance(reason := row.get(ABSENT_COLUMN), str) and reason:
            absent.append([*cells[:2], *cells[2::3]])
        else:
            rows.append(cells)
    parts = [{"heads": heads, "rows": rows}, {"heads": [*heads[:2], *heads[2::3]], "rows": absent}]
    return {"title": TITLES[number], "present": parts[0], "absent": parts[1]}


def _text_cell(value: Any) -> Cell:
    text = "–" if value is None or pd.isna(value) else str(value)
    return {"text": text, "value": text, "kind": "" if text.isdecimal() else "text"}


def _metric_cell(row: Mapping[str, Any], prefix: str, metric: str) -> Cell:
    value, deviation = row.get(f"{prefix}_{metric}"), row.get(f"{prefix}_{metric}_sd")
    digits = (2 if prefix == "printed" else 3) if metric in METRIC_LABELS else 1
    if value is None or pd.isna(value):
        return {"text": "–", "value": "", "kind": ""}
    text = f"{value:.{digits}f}" + ("" if deviation is None or pd.isna(deviation) else f" ± {deviation:.{digits}f}")
    return {"text": text, "value": value, "kind": ""}

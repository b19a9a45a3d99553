"""The tables of the paper: the printed metrics, and the reproduced metrics beside them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pandas as pd

from san.figures.style import method_label
from san.reporting.results import SelectionSplit, lowest_phi
from san.storage.files import write_text

__all__ = [
    "ABSENT_COLUMN",
    "METRIC_LABELS",
    "NEAR_ACCURACY",
    "NEAR_METRIC",
    "NUMBER_LABELS",
    "TITLES",
    "distance_class",
    "numbers_beyond",
    "printed_table",
    "reproduced_column",
    "spread_of_seeds",
    "table_of_databases",
    "table_of_sizes",
    "verdict",
    "write_table",
]

PRINTED = Path(__file__).parent / "printed"
METRIC_LABELS = {"cr_inverse": "CR⁻¹", "loss_normalized": "L̃", "phi": "φ̄"}  # in the order of the paper's tables
TITLES = {
    1: "Table I: PhysioNet, one record of each database",
    2: "Table II: UCI-epilepsy",
    3: "Table III: MNIST",
    4: "Table IV: FashionMNIST",
}
ABSENT_COLUMN = "data_absent"  # the reason why a row has no reproduced metrics
NUMBER_LABELS = {"kernel_size": "m", **METRIC_LABELS, "accuracy_difference": "A±%"}  # of the printed numbers of a cell
DIGITS = {"kernel_size": 0, "cr_inverse": 2, "loss_normalized": 2, "phi": 2, "accuracy_difference": 1}
NEAR_METRIC, NEAR_ACCURACY = 0.02, 0.1  # largest distances at which a metric and an accuracy (in points) count as near
NEAR = {"kernel_size": 0.0, **dict.fromkeys(METRIC_LABELS, NEAR_METRIC), "accuracy_difference": NEAR_ACCURACY}
ROUNDING = 1e-6  # of float32, in units of the last printed digit

Model = Mapping[str, Any]
Models = Sequence[Model]  # of one activation function and one seed, one model per kernel size
ByProtocol = Mapping[str, Sequence[Models]]  # for each protocol, the models of each seed
Row = dict[str, Any]


def printed_table(number: int) -> pd.DataFrame:
    """Return a table of the paper as printed, one row per cell."""
    return pd.read_csv(PRINTED / f"table{number}.csv", encoding="utf-8")


def table_of_databases(
    cells: Mapping[tuple[str, str], ByProtocol], absent: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Return Table I: for each database and activation function, the kernel size selected by each protocol.

    The honest protocol selects by validation phi, the paper's protocol by test phi. Metrics by the paper's protocol are
    those of the selected kernel size and, with the prefix ``replayed``, those of the printed one.

    Args:
        cells: The models of each database and activation function.
        absent: The reason why a database has no models, by database.
    """
    rows = []
    for cell in printed_table(1).to_dict("records"):
        row: Row = {key: cell[key] for key in ("database", "activation")}
        row |= _prefixed_as_printed(cell, ["kernel_size", *METRIC_LABELS])
        models = cells.get((cell["database"], cell["activation"]))
        if models is not None:
            row |= _selected_by("validation", models["honest"], "honest")
            row |= _selected_by("test", models["paper"], "paper")
            row |= _means(_with_kernel_size(models["paper"], cell["kernel_size"]), "replayed")
        elif absent:
            row[ABSENT_COLUMN] = absent.get(cell["database"], "")
        rows.append(row)
    return pd.DataFrame(rows)


def table_of_sizes(number: int, cells: Mapping[str, ByProtocol], absent: str = "") -> pd.DataFrame:
    """Return Table II, III or IV: for each kernel size and activation function, the metrics by each protocol.

    Metrics by the paper's protocol have the prefix ``replayed``. The range of phi over replays that differ in the last
    bits of the initial kernels alone has the prefix ``rounding``.

    Accuracies are in percent. Accuracy differences are in percentage points, as the paper's A±%: the accuracy on the
    reconstructions minus the accuracy of the same classifier on the original data. Both are means over all classifiers
    of the models of a cell.

    Args:
        number: Number of the table.
        cells: The models of each activation function.
        absent: The reason why there are no models.
    """
    rows = []
    for cell in printed_table(number).to_dict("records"):
        row: Row = {key: cell[key] for key in ("kernel_size", "activation")}
        row |= _prefixed_as_printed(cell, [*METRIC_LABELS, "accuracy_difference"])
        models = cells.get(cell["activation"])
        if models is not None:
            for prefix, protocol in (("honest", "honest"), ("replayed", "paper")):
                row |= _means(_with_kernel_size(models[protocol], cell["kernel_size"]), prefix)
            row |= _range(_with_kernel_size(models.get("rounding", []), cell["kernel_size"]), "rounding")
        elif absent:
            row[ABSENT_COLUMN] = absent
        rows.append(row)
    return pd.DataFrame(rows)


def reproduced_column(number: str) -> str:
    """Return the column that is compared with a printed number, such as ``phi``."""
    return "paper_kernel_size" if number == "kernel_size" else f"replayed_{number}"


def distance_class(number: str, ours: Any, printed: float) -> str:
    """Return ``printed`` if a number has the printed digits, ``near`` or ``beyond`` if not; empty without a number."""
    if ours is None or pd.isna(ours):
        return ""
    distance = abs(float(ours) - printed)
    if distance <= (0.5 + ROUNDING) * 10.0 ** -DIGITS[number]:
        return "printed"
    return "near" if distance <= NEAR[number] + ROUNDING else "beyond"


def verdict(table: pd.DataFrame) -> list[Row]:
    """Count, for each activation function and each number of its cells, how many have the printed digits.

    Returns:
        One row per activation function and number: the ``activation``; the ``number``, such as ``phi``; how many
        ``cells`` have data; and how many of them are ``printed``, ``near`` and ``beyond``.
    """
    rows = []
    for activation, cells in table.groupby("activation", sort=False):
        for number in NUMBER_LABELS:
            found = [kind for kind, _ in _judged(cells, number) if kind]
            if found:
                counts = {kind: found.count(kind) for kind in ("printed", "near", "beyond")}
                rows.append({"activation": activation, "number": number, "cells": len(found), **counts})
    return rows


def numbers_beyond(number_of_table: int, table: pd.DataFrame) -> list[Row]:
    """Return the kernel sizes and metrics that are beyond the printed ones, for each number the farthest first.

    Returns:
        For each, ``where`` it is printed, the ``number``, its values ``ours`` and ``printed``, the ``range`` over
        replays that differ in rounding alone (None if unknown) and, of a kernel size, phi at ours and at the printed
        one, as ``phi_at``.
    """
    found = []
    for number in ("kernel_size", *METRIC_LABELS):
        for kind, row in _judged(table, number):
            if kind != "beyond":
                continue
            place = row["database"] if number_of_table == 1 else f"m = {row['kernel_size']}"
            least, most = (row.get(f"rounding_phi_{end}", math.nan) for end in ("least", "most"))
            span = None if number != "phi" or math.isnan(least) else [float(least), float(most)]
            found.append(
                {
                    "where": f"{TITLES[number_of_table].partition(':')[0]}, {place}, {method_label(row['activation'])}",
                    "number": number,
                    "ours": float(row[reproduced_column(number)]),
                    "printed": float(row[f"printed_{number}"]),
                    "range": span,
                    "phi_at": [float(row["paper_phi"]), float(row["replayed_phi"])]
                    if number == "kernel_size"
                    else None,
                }
            )
    order = list(NUMBER_LABELS)
    return sorted(found, key=lambda row: (order.index(row["number"]), -abs(row["ours"] - row["printed"])))


def spread_of_seeds(table: pd.DataFrame, activation: str) -> list[float]:
    """Return the ranges of phi over seeds by the honest protocol, one for each cell of an activation function."""
    cells = table[table["activation"] == activation].reindex(columns=["honest_phi_least", "honest_phi_most"]).dropna()
    return [float(most - least) for least, most in cells.itertuples(index=False)]


def write_table(number: int, table: pd.DataFrame, folder: Path) -> None:
    """Write a table as CSV, as Markdown, and as LaTeX (booktabs) in the layout of the paper."""
    write_text(folder / f"table{number}.csv", table.to_csv(index=False, float_format="%.4f", lineterminator="\n"))
    write_text(folder / f"table{number}.md", f"# {TITLES[number]}\n\n{_markdown(table)}\n")
    write_text(folder / f"table{number}.tex", _latex(number, table))


def _judged(table: pd.DataFrame, number: str) -> list[tuple[str, Row]]:
    """Return the distance class and the cell of each printed number of a table."""
    if f"printed_{number}" not in table:
        return []
    column = reproduced_column(number)
    return [
        (distance_class(number, row.get(column), row[f"printed_{number}"]), row) for row in table.to_dict("records")
    ]


def _prefixed_as_printed(cell: Mapping[str, Any], keys: Iterable[str]) -> Row:
    return {f"printed_{key}": cell[key] for key in keys}


def _selected_by(split: SelectionSplit, seeds: Sequence[Models], protocol: str) -> Row:
    """Return the kernel sizes and the mean metrics of the models selected by the phi of a split, one per seed."""
    selected = [model for models in seeds if (model := lowest_phi(models, split)) is not None]
    sizes = ", ".join(str(size) for size in dict.fromkeys(model["kernel_sizes"][0] for model in selected))
    return {f"{protocol}_kernel_size": sizes, **_means(selected, protocol)}


def _with_kernel_size(seeds: Sequence[Models], size: int) -> list[Model]:
    return [model for models in seeds for model in models if model["kernel_sizes"][0] == size]


def _means(models: Models, prefix: str) -> dict[str, float]:
    """Return the mean of each test metric over seeds; with several seeds also the standard deviation and phi's range.

    The accuracies are means over all classifiers of the models.
    """
    values = {metric: [float(model["test"][metric]) for model in models] for metric in METRIC_LABELS}
    pairs = [
        pair for model in models for pair in zip(model.get("accuracies", []), model.get("baselines", []), strict=True)
    ]
    values["accuracy"] = [100 * accuracy for accuracy, _ in pairs]
    values["baseline_accuracy"] = [100 * baseline for _, baseline in pairs]
    values["accuracy_difference"] = [100 * (accuracy - baseline) for accuracy, baseline in pairs]
    row = {}
    for metric, samples in values.items():
        if samples:
            row[f"{prefix}_{metric}"] = fmean(samples)
        if len(samples) > 1:
            row[f"{prefix}_{metric}_sd"] = stdev(samples)
    return row | _range(models, prefix)


def _range(models: Models, prefix: str) -> dict[str, float]:
    """Return the least and the largest phi of several models."""
    phi = [float(model["test"]["phi"]) for model in models]
    return {f"{prefix}_phi_least": min(phi), f"{prefix}_phi_most": max(phi)} if len(phi) > 1 else {}


def _markdown(table: pd.DataFrame) -> str:
    def text(value: Any) -> str:
        if isinstance(value, float):
            return "–" if pd.isna(value) else f"{value:.3f}"
        return str(value)

    lines = [table.columns, ["---"] * len(table.columns), *table.itertuples(index=False)]
    return "\n".join(f"| {' | '.join(text(value) for value in line)} |" for line in lines)


def _latex(number: int, table: pd.DataFrame) -> str:
    """Lay a table out as the paper does: one group of columns per activation, printed metrics in parentheses."""
    row_key = "database" if number == 1 else "kernel_size"
    heads = {"cr_inverse": r"$CR^{-1}$", "loss_normalized": r"$\tilde{\mathcal{L}}$", "phi": r"$\bar\varphi$"}
    if number != 1:
        heads["accuracy_difference"] = r"$A_{\pm\%}$"
    width = len(heads)
    activations = list(dict.fromkeys(table["activation"]))
    groups = " & ".join(rf"\multicolumn{{{width}}}{{c}}{{{method_label(name)}}}" for name in activations)
    first_columns = [2 + width * index for index in range(len(activations))]
    lines = [
        rf"% {TITLES[number]}: replayed, and in parentheses as printed",
        rf"\begin{{tabular}}{{l{'r' * width * len(activations)}}}",
        r"\toprule",
        rf" & {groups} \\",
        "".join(rf"\cmidrule(lr){{{first}-{first + width - 1}}}" for first in first_columns),
        rf"{'database' if number == 1 else '$m$'} & {' & '.join([*heads.values()] * len(activations))} \\",
        r"\midrule",
    ]
    for key, cells in table.groupby(row_key, sort=False):
        by_activation = cells.set_index("activation").to_dict("index")
        entries = [
            _latex_entry(by_activation[name], f"replayed_{metric}", f"printed_{metric}")
            for name in activations
            for metric in heads
        ]
        lines.append(rf"{key} & {' & '.join(entries)} \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _latex_entry(row: Mapping[str, Any], reproduced: str, printed: str) -> str:
    """Return the metric of one column with as many digits as the paper has, and the printed metric in parentheses."""
    digits = 1 if "accuracy" in reproduced else 2
    value, deviation = row.get(reproduced), row.get(f"{reproduced}_sd")
    text = "--" if value is None or pd.isna(value) else f"{value:.{digits}f}"
    if deviation is not None and not pd.isna(deviation):
        text += rf" $\pm$ {deviation:.{digits}f}"
    return f"{text} ({row[printed]:.{digits}f})"

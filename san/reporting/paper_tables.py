"""The tables of the paper: the printed metrics, and the reproduced metrics beside them."""

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
    "CLOSE_PHI",
    "METRIC_LABELS",
    "NEAR_PHI",
    "NOT_JUDGED",
    "ROUNDING",
    "TITLES",
    "far_cells",
    "printed_table",
    "reproduced_prefix",
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
NEAR_PHI, CLOSE_PHI = 0.02, 0.05  # largest distances from the printed phi at which a cell counts as near or close
ROUNDING = 0.005 + 1e-6  # error of a printed metric, which has two digits
NOT_JUDGED = {
    "drivedb": "the available record is not the paper's, because its top-k cells are better than every cell that the "
    "paper prints for this database"
}
REASONS = {
    "relu": "ReLU has several modes, which the initial kernels choose between",
    "extrema": "at long kernels there are several modes, which the initial kernel chooses between",
}

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

    The honest protocol selects by validation phi, the paper's protocol by test phi. The difference is phi by the
    paper's protocol at the printed kernel size, minus the printed phi.

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
            row |= _means(_with_kernel_size(models["paper"], cell["kernel_size"]), reproduced_prefix(1))
        elif absent:
            row[ABSENT_COLUMN] = absent.get(cell["database"], "")
        rows.append(row)
    return _with_difference(1, rows)


def table_of_sizes(number: int, cells: Mapping[str, ByProtocol], absent: str = "") -> pd.DataFrame:
    """Return Table II, III or IV: for each kernel size and activation function, the metrics by each protocol.

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
            for protocol in ("honest", "paper"):
                row |= _means(_with_kernel_size(models[protocol], cell["kernel_size"]), protocol)
        elif absent:
            row[ABSENT_COLUMN] = absent
        rows.append(row)
    return _with_difference(number, rows)


def reproduced_prefix(number: int) -> str:
    """Return the prefix of the columns of a table that are compared with the printed columns."""
    return "paper_at_printed_size" if number == 1 else "paper"


def verdict(number: int, table: pd.DataFrame) -> list[Row]:
    """Count, for each activation function, the cells by the distance of their phi from the printed phi.

    Returns:
        One row per activation function: the ``activation``; the number of ``cells`` with data; the numbers of cells
        whose phi is ``near``, ``close`` and ``far``; the ``median`` distance; and as ``printed_ratio`` the number of
        cells whose :math:`CR^{-1}` agrees with the printed digits.
    """
    rows = []
    for activation, cells in _judged(table).groupby("activation", sort=False):
        distance = cells["difference"].abs().round(9)
        ratio = (cells[f"{reproduced_prefix(number)}_cr_inverse"] - cells["printed_cr_inverse"]).abs()
        rows.append(
            {
                "activation": activation,
                "cells": len(cells),
                "near": int((distance <= NEAR_PHI).sum()),
                "close": int(((distance > NEAR_PHI) & (distance <= CLOSE_PHI)).sum()),
                "far": int((distance > CLOSE_PHI).sum()),
                "median": float(distance.median()),
                "printed_ratio": int((ratio <= ROUNDING).sum()),
            }
        )
    return rows


def far_cells(number: int, table: pd.DataFrame) -> list[Row]:
    """Return the cells whose phi is far from the printed phi, the farthest first, with the reason if it is known."""
    judged = _judged(table)
    rows = judged[judged["difference"].abs().round(9) > CLOSE_PHI].to_dict("records")
    prefix = f"{reproduced_prefix(number)}_phi"
    cells = []
    for row in sorted(rows, key=lambda row: -abs(float(row["difference"]))):
        place = row["database"] if number == 1 else f"m = {row['kernel_size']}"
        is_known = number == 1 or row["activation"] == "relu"
        least, most = row.get(f"{prefix}_least"), row.get(f"{prefix}_most")
        cells.append(
            {
                "where": f"{TITLES[number].partition(':')[0]}, {place}, {method_label(row['activation'])}",
                "ours": float(row[prefix]),
                "range": None if least is None or pd.isna(least) else [float(least), float(most)],
                "printed": float(row["printed_phi"]),
                "reason": REASONS.get(row["activation"], "") if is_known else "",
            }
        )
    return cells


def write_table(number: int, table: pd.DataFrame, folder: Path) -> None:
    """Write a table as CSV, as Markdown, and as LaTeX (booktabs) in the layout of the paper."""
    write_text(folder / f"table{number}.csv", table.to_csv(index=False, float_format="%.4f", lineterminator="\n"))
    write_text(folder / f"table{number}.md", f"# {TITLES[number]}\n\n{_markdown(table)}\n")
    write_text(folder / f"table{number}.tex", _latex(number, table))


def _judged(table: pd.DataFrame) -> pd.DataFrame:
    """Return the cells with data, without the databases that are not judged."""
    judged = table.reindex(columns=[*table.columns, *({"difference", "database"} - set(table.columns))])
    return judged[judged["difference"].notna() & ~judged["database"].isin(list(NOT_JUDGED))]


def _with_difference(number: int, rows: list[Row]) -> pd.DataFrame:
    table, reproduced = pd.DataFrame(rows), f"{reproduced_prefix(number)}_phi"
    if reproduced in table:
        table["difference"] = table[reproduced] - table["printed_phi"]
    return table


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
    if len(models) > 1:
        row |= {f"{prefix}_phi_least": min(values["phi"]), f"{prefix}_phi_most": max(values["phi"])}
    return row


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
        rf"% {TITLES[number]}: by the paper's protocol, and in parentheses as printed",
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
            _latex_entry(by_activation[name], f"{reproduced_prefix(number)}_{metric}", f"printed_{metric}")
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

"""The tables of the paper: what is printed in them, and the same beside what came out."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pandas as pd

from san.figures.style import label
from san.files import replacing
from san.results import lowest_phi

__all__ = [
    "ABSENT",
    "CLOSE",
    "FIGURES",
    "NEAR",
    "NOT_JUDGED",
    "ROUNDING",
    "TITLES",
    "far_cells",
    "ours",
    "printed",
    "table_of_databases",
    "table_of_sizes",
    "verdict",
    "write",
]

PRINTED = Path(__file__).parent / "printed"
FIGURES = {"cr_inverse": "CR⁻¹", "loss_normalized": "L̃", "phi": "φ̄"}
TITLES = {
    1: "Table I: PhysioNet, one record of each database",
    2: "Table II: UCI-epilepsy",
    3: "Table III: MNIST",
    4: "Table IV: FashionMNIST",
}
ABSENT = "data_absent"  # the column that says why a row has no figures
NEAR, CLOSE = 0.02, 0.05  # of phi to the printed one
ROUNDING = 0.005 + 1e-6  # of a printed figure, which has two digits
NOT_JUDGED = {
    "drivedb": "the record at hand is not the author's: its top-k cells are better than any the paper prints for it"
}
REASONS = {
    "relu": "ReLU has several modes, which the initial kernels choose between",
    "extrema": "at long kernels there are several modes, which the initial kernel chooses between",
}

Model = Mapping[str, Any]
Models = Sequence[Model]  # of one activation and one seed, one for each kernel size
# by protocol, then for each seed
ByProtocol = Mapping[str, Sequence[Models]]
Row = dict[str, Any]


def printed(number: int) -> pd.DataFrame:
    """Return a table as printed, one row a cell."""
    return pd.read_csv(PRINTED / f"table{number}.csv")


def table_of_databases(
    cells: Mapping[tuple[str, str], ByProtocol], absent: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Return Table I: of each database and activation the kernel size that each protocol selects, and the printed one.

    The honest protocol selects by the validation phi, the paper's by the test phi. The difference is that of phi, by
    the paper's protocol at the printed kernel size, from the printed phi.

    Args:
        cells: The models of each database and activation.
        absent: Why there are no models of a database.
    """
    rows = []
    for cell in printed(1).to_dict("records"):
        row: Row = {key: cell[key] for key in ("database", "activation")} | _renamed(cell, ["kernel_size", *FIGURES])
        models = cells.get((cell["database"], cell["activation"]))
        if models is not None:
            for protocol, split in (("honest", "validation"), ("paper", "test")):
                best = [found for of_seed in models[protocol] if (found := lowest_phi(of_seed, split)) is not None]
                sizes = ", ".join(str(size) for size in dict.fromkeys(model["kernel_sizes"][0] for model in best))
                row |= {f"{protocol}_kernel_size": sizes, **_means(best, protocol)}
            row |= _means(_of_size(models["paper"], cell["kernel_size"]), ours(1))
        elif absent:
            row[ABSENT] = absent.get(cell["database"], "")
        rows.append(row)
    return _with_difference(1, rows)


def table_of_sizes(number: int, cells: Mapping[str, ByProtocol], absent: str = "") -> pd.DataFrame:
    """Return Table II, III or IV: of each kernel size and activation what each protocol gives.

    Accuracies are in percent, their differences from those of the same classifiers on the original data in percentage
    points, as the paper's A±%. Both are of all classifiers of a cell's models.

    Args:
        number: Of the table.
        cells: The models of each activation.
        absent: Why there are none.
    """
    rows = []
    for cell in printed(number).to_dict("records"):
        row: Row = {key: cell[key] for key in ("kernel_size", "activation")}
        row |= _renamed(cell, [*FIGURES, "accuracy_difference"])
        models = cells.get(cell["activation"])
        if models is not None:
            for protocol in ("honest", "paper"):
                row |= _means(_of_size(models[protocol], cell["kernel_size"]), protocol)
        elif absent:
            row[ABSENT] = absent
        rows.append(row)
    return _with_difference(number, rows)


def ours(number: int) -> str:
    """Return the prefix of the columns of a table that are compared with the printed ones."""
    return "paper_at_printed_size" if number == 1 else "paper"


def verdict(number: int, table: pd.DataFrame) -> list[Row]:
    """Return, for each activation function, how far its cells are from the printed ones.

    Returns:
        Rows of the ``activation``, the number of ``cells`` there is data for, in how many phi is ``near``, ``close``
        and ``far``, the ``median`` distance, and in how many :math:`CR^{-1}` has the printed digits.
    """
    rows = []
    for activation, cells in _judged(table).groupby("activation", sort=False):
        distance = cells["difference"].abs().round(9)
        ratio = (cells[f"{ours(number)}_cr_inverse"] - cells["printed_cr_inverse"]).abs()
        rows.append({
            "activation": activation,
            "cells": len(cells),
            "near": int((distance <= NEAR).sum()),
            "close": int(((distance > NEAR) & (distance <= CLOSE)).sum()),
            "far": int((distance > CLOSE).sum()),
            "median": float(distance.median()),
            "printed_ratio": int((ratio <= ROUNDING).sum()),
        })  # fmt: skip
    return rows


def far_cells(number: int, table: pd.DataFrame) -> list[Row]:
    """Return the cells whose phi is far from the printed one, the farthest first, and the reason where it is known."""
    judged = _judged(table)
    rows = judged[judged["difference"].abs().round(9) > CLOSE].to_dict("records")
    found = []
    for row in sorted(rows, key=lambda row: -abs(float(row["difference"]))):
        place = row["database"] if number == 1 else f"m = {row['kernel_size']}"
        known = number == 1 or row["activation"] == "relu"
        least, most = (row.get(f"{ours(number)}_phi_{end}") for end in ("least", "most"))
        found.append({
            "where": f"{TITLES[number].partition(':')[0]}, {place}, {label(row['activation'])}",
            "ours": float(row[f"{ours(number)}_phi"]),
            "range": None if least is None or pd.isna(least) else [float(least), float(most)],
            "printed": float(row["printed_phi"]),
            "reason": REASONS.get(row["activation"], "") if known else "",
        })  # fmt: skip
    return found


def write(number: int, table: pd.DataFrame, folder: Path) -> None:
    """Write a table as CSV, as Markdown and, in the paper's layout, as LaTeX (booktabs)."""
    with replacing(folder / f"table{number}.csv") as unfinished:
        table.to_csv(unfinished, index=False, float_format="%.4f")
    with replacing(folder / f"table{number}.md") as unfinished:
        unfinished.write_text(f"# {TITLES[number]}\n\n{_markdown(table)}\n")
    with replacing(folder / f"table{number}.tex") as unfinished:
        unfinished.write_text(_latex(number, table))


def _judged(table: pd.DataFrame) -> pd.DataFrame:
    """Return the cells that there is data for, but those of other data than the paper's."""
    judged = table.reindex(columns=[*table.columns, *({"difference", "database"} - set(table.columns))])
    return judged[judged["difference"].notna() & ~judged["database"].isin(list(NOT_JUDGED))]


def _with_difference(number: int, rows: list[Row]) -> pd.DataFrame:
    table = pd.DataFrame(rows)
    if f"{ours(number)}_phi" in table:
        table["difference"] = table[f"{ours(number)}_phi"] - table["printed_phi"]
    return table


def _renamed(cell: Mapping[str, Any], keys: Iterable[str]) -> Row:
    return {f"printed_{key}": cell[key] for key in keys}


def _of_size(seeds: Sequence[Models], size: int) -> list[Model]:
    return [model for models in seeds for model in models if model["kernel_sizes"][0] == size]


def _means(models: Models, prefix: str) -> dict[str, float]:
    """Return the mean of each test figure over seeds, and the standard deviation and the range where there are several.

    The accuracies are those of all classifiers of the models.
    """
    values = {name: [float(model["test"][name]) for model in models] for name in FIGURES}
    pairs = [
        pair for model in models for pair in zip(model.get("accuracies", []), model.get("baselines", []), strict=True)
    ]
    values["accuracy"] = [100 * accuracy for accuracy, _ in pairs]
    values["baseline_accuracy"] = [100 * baseline for _, baseline in pairs]
    values["accuracy_difference"] = [100 * (accuracy - baseline) for accuracy, baseline in pairs]
    row = {}
    for name, several in values.items():
        if several:
            row[f"{prefix}_{name}"] = fmean(several)
        if len(several) > 1:
            row[f"{prefix}_{name}_sd"] = stdev(several)
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
    """Lay a table out as the paper does: a group of columns for each activation, the printed figure in parentheses."""
    row_key = "database" if number == 1 else "kernel_size"
    heads = {"cr_inverse": r"$CR^{-1}$", "loss_normalized": r"$\tilde{\mathcal{L}}$", "phi": r"$\bar\varphi$"}
    if number != 1:
        heads["accuracy_difference"] = r"$A_{\pm\%}$"
    width = len(heads)
    activations = list(dict.fromkeys(table["activation"]))
    groups = " & ".join(rf"\multicolumn{{{width}}}{{c}}{{{label(name)}}}" for name in activations)
    starts = [2 + width * at for at in range(len(activations))]
    lines = [
        rf"% {TITLES[number]}: by the paper's protocol, and in parentheses as printed",
        rf"\begin{{tabular}}{{l{'r' * width * len(activations)}}}",
        r"\toprule",
        rf" & {groups} \\",
        "".join(rf"\cmidrule(lr){{{start}-{start + width - 1}}}" for start in starts),
        rf"{'database' if number == 1 else '$m$'} & {' & '.join([*heads.values()] * len(activations))} \\",
        r"\midrule",
    ]
    for key, cells in table.groupby(row_key, sort=False):
        by_activation = cells.set_index("activation").to_dict("index")
        entries = [
            _entry(by_activation[name], f"{ours(number)}_{figure}", f"printed_{figure}")
            for name in activations
            for figure in heads
        ]
        lines.append(rf"{key} & {' & '.join(entries)} \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _entry(row: Mapping[str, Any], name: str, printed_name: str) -> str:
    """Return our figure, with as many digits as the paper has, and the printed one."""
    digits = 1 if "accuracy" in name else 2
    value = row.get(name)
    shown = "--" if value is None or pd.isna(value) else f"{value:.{digits}f}"
    if (deviation := row.get(f"{name}_sd")) is not None and not pd.isna(deviation):
        shown += rf" $\pm$ {deviation:.{digits}f}"
    return f"{shown} ({row[printed_name]:.{digits}f})"

"""The tables of the paper: what is printed in them, and the same beside what came out."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pandas as pd

from san.files import replacing

__all__ = ["DATASETS", "FIGURES", "TITLES", "printed", "table_of_databases", "table_of_sizes", "write"]

PRINTED = Path(__file__).parent / "printed"
DATASETS = {1: "physionet", 2: "uci_epilepsy", 3: "mnist", 4: "fashion_mnist"}
FIGURES = ("cr_inverse", "loss_normalized", "phi")
TITLES = {
    1: "Table I: PhysioNet, one record of each database",
    2: "Table II: UCI-epilepsy",
    3: "Table III: MNIST",
    4: "Table IV: FashionMNIST",
}

Model = Mapping[str, Any]
Models = Sequence[Model]  # of one activation and one seed, one for each kernel size
# by protocol, then for each seed
ByProtocol = Mapping[str, Sequence[Models]]


def printed(number: int) -> pd.DataFrame:
    """Return a table as printed, one row a cell."""
    return pd.read_csv(PRINTED / f"table{number}.csv")


def table_of_databases(cells: Mapping[tuple[str, str], ByProtocol]) -> pd.DataFrame:
    """Return Table I: of each database and activation the kernel size that each protocol selects, and the printed one.

    The honest protocol selects by the validation phi, the paper's by the test phi. The difference is that of phi, by
    the paper's protocol at the printed kernel size, from the printed phi.

    Args:
        cells: The models of each database and activation.
    """
    rows = []
    for cell in printed(1).to_dict("records"):
        row = {key: cell[key] for key in ("database", "activation")} | _renamed(cell, "printed", ["kernel_size"])
        models = cells.get((cell["database"], cell["activation"]))
        if models is not None:
            for protocol, split in (("honest", "validation"), ("paper", "test")):
                selected = [min(of_seed, key=lambda model: float(model[split]["phi"])) for of_seed in models[protocol]]
                sizes = ", ".join(str(size) for size in dict.fromkeys(model["kernel_sizes"][0] for model in selected))
                row |= {f"{protocol}_kernel_size": sizes, **_means(selected, protocol)}
            row |= _means(_of_size(models["paper"], cell["kernel_size"]), "paper_at_printed_size")
            row["difference"] = row["paper_at_printed_size_phi"] - cell["phi"]
        rows.append(row)
    return pd.DataFrame(rows)


def table_of_sizes(number: int, cells: Mapping[str, ByProtocol]) -> pd.DataFrame:
    """Return Table II, III or IV: of each kernel size and activation what each protocol gives.

    Args:
        number: Of the table.
        cells: The models of each activation.
    """
    rows = []
    for cell in printed(number).to_dict("records"):
        row = {key: cell[key] for key in ("kernel_size", "activation")} | _renamed(cell, "printed", [])
        models = cells.get(cell["activation"])
        if models is not None:
            for protocol in ("honest", "paper"):
                row |= _means(_of_size(models[protocol], cell["kernel_size"]), protocol)
            row["difference"] = row["paper_phi"] - cell["phi"]
        rows.append(row)
    return pd.DataFrame(rows)


def write(number: int, table: pd.DataFrame, folder: Path) -> None:
    """Write a table as CSV, as Markdown and, in the paper's layout, as LaTeX (booktabs)."""
    with replacing(folder / f"table{number}.csv") as unfinished:
        table.to_csv(unfinished, index=False, float_format="%.4f")
    with replacing(folder / f"table{number}.md") as unfinished:
        unfinished.write_text(f"# {TITLES[number]}\n\n{_markdown(table)}\n")
    with replacing(folder / f"table{number}.tex") as unfinished:
        unfinished.write_text(_latex(number, table))


def _renamed(cell: Mapping[str, Any], prefix: str, keys: Iterable[str]) -> dict[str, Any]:
    return {f"{prefix}_{key}": cell[key] for key in (*keys, *FIGURES)}


def _of_size(seeds: Sequence[Models], size: int) -> list[Model]:
    return [model for models in seeds for model in models if model["kernel_sizes"][0] == size]


def _means(models: Models, prefix: str) -> dict[str, float]:
    """Return the mean of each test figure over seeds, and the standard deviation where there are several."""
    row = {}
    for name in FIGURES:
        values = [float(model["test"][name]) for model in models]
        row[f"{prefix}_{name}"] = fmean(values)
        if len(values) > 1:
            row[f"{prefix}_{name}_sd"] = stdev(values)
    return row


def _markdown(table: pd.DataFrame) -> str:
    def text(value: Any) -> str:
        if isinstance(value, float):
            return "data absent" if pd.isna(value) else f"{value:.3f}"
        return str(value)

    lines = [table.columns, ["---"] * len(table.columns), *table.itertuples(index=False)]
    return "\n".join(f"| {' | '.join(text(value) for value in line)} |" for line in lines)


def _latex(number: int, table: pd.DataFrame) -> str:
    """Lay a table out as the paper does: a group of columns for each activation, ours above the printed figure."""
    row_key = "database" if number == 1 else "kernel_size"
    ours = "paper_at_printed_size" if number == 1 else "paper"
    activations = list(dict.fromkeys(table["activation"]))
    heads = " & ".join(rf"\multicolumn{{3}}{{c}}{{{name.replace('_', ' ')}}}" for name in activations)
    rules = "".join(rf"\cmidrule(lr){{{2 + 3 * at}-{4 + 3 * at}}}" for at in range(len(activations)))
    figures = " & ".join([r"$CR^{-1}$", r"$\tilde{\mathcal{L}}$", r"$\bar\varphi$"] * len(activations))
    lines = [
        rf"% {TITLES[number]}: by the paper's protocol, and in parentheses as printed",
        rf"\begin{{tabular}}{{l{'rrr' * len(activations)}}}",
        r"\toprule",
        rf" & {heads} \\",
        rules,
        rf"{'database' if number == 1 else '$m$'} & {figures} \\",
        r"\midrule",
    ]
    for key, cells in table.groupby(row_key, sort=False):
        by_activation = cells.set_index("activation")
        entries = [
            _entry(by_activation.loc[name].get(f"{ours}_{figure}"), by_activation.loc[name, f"printed_{figure}"])
            for name in activations
            for figure in FIGURES
        ]
        lines.append(rf"{key} & {' & '.join(entries)} \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _entry(ours: float | None, printed_value: float) -> str:
    return f"{'--' if ours is None or pd.isna(ours) else f'{ours:.2f}'} ({printed_value:.2f})"

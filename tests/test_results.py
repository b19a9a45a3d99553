"""The selection of results by phi, and the rows and tables of models and methods."""

import pytest
from conftest import table

from san.reporting.comparison import comparison_markdown, comparison_row, summarize_comparison, write_comparison_table
from san.reporting.results import lowest_phi, print_failures, print_sweep, summarize_models, sweep_row


def metrics(phi, cr_inverse, loss_normalized):
    return {"phi": phi, "cr_inverse": cr_inverse, "loss_normalized": loss_normalized, "accuracy": None}


def model(sizes, validation, test, **others):
    return {
        "dataset": "d",
        "activation": "extrema",
        "seed": 0,
        "best_epoch": 3,
        "kernel_sizes": sizes,
        "validation": metrics(*validation),
        "test": metrics(*test),
        **others,
    }


BY_VALIDATION = model([8], (0.30, 0.11, 0.28), (0.50, 0.12, 0.49))
BY_TEST = model([9], (0.40, 0.09, 0.39), (0.35, 0.08, 0.34))
BY_NEITHER = model([10], (0.60, 0.01, 0.59), (0.70, 0.02, 0.69))
MODELS = [BY_NEITHER, BY_VALIDATION, BY_TEST]


@pytest.mark.usefixtures("untyped")
def test_the_model_of_the_lowest_phi_on_the_split_is_selected():
    """Ties go to the first model."""
    assert lowest_phi(MODELS, "validation") is BY_VALIDATION
    assert lowest_phi(MODELS, "test") is BY_TEST
    assert lowest_phi([*MODELS, model([1], (0.30, 0, 0.30), (0, 0, 0))], "validation") is BY_VALIDATION
    assert lowest_phi([], "test") is None
    with pytest.raises(ValueError, match="split=train must be one of validation, test"):
        lowest_phi(MODELS, "train")


def test_the_row_of_a_model_has_its_sizes_and_the_metrics_of_both_splits():
    row = sweep_row(model([8, 8], (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)))
    assert (row["kernel_size"], row["n_kernels"], row["best_epoch"]) == (8, 2, 3)
    assert [row[f"validation_{name}"] for name in ("phi", "cr_inverse", "loss_normalized")] == [0.1, 0.2, 0.3]
    assert [row[f"test_{name}"] for name in ("phi", "cr_inverse", "loss_normalized")] == [0.4, 0.5, 0.6]
    assert sweep_row(model([8, 5], (0, 0, 0), (0, 0, 0)))["kernel_size"] == "8+5"
    assert "test_accuracy" not in row
    tested = {**metrics(0.4, 0.5, 0.6), "accuracy": 0.875}
    assert sweep_row({**BY_TEST, "test": tested})["test_accuracy"] == 0.875


def cells_of(printed):
    """Return the cells of the rows of a printed table, without its heading."""
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines() if "│" in line]
    return [cells for cells in lines if cells]


@pytest.mark.parametrize(
    ("split", "sizes"), [("validation", ["8", "9", "10"]), ("test", ["9", "8", "10"])]
)  # fmt: skip
def test_models_are_printed_in_the_order_of_phi_on_the_split_that_selects(tmp_path, capsys, split, sizes):
    print_sweep([sweep_row(one) for one in MODELS], split, {"extrema, kernel size 7": "reason"}, tmp_path)
    printed = capsys.readouterr().out
    rows = cells_of(printed)
    assert [cells[0] for cells in rows] == sizes
    assert rows[sizes.index("8")] == ["8", "0.3000", "0.5000", "0.1200", "0.4900"]
    assert printed.startswith("All models: d, extrema, seed 0, 1 kernel, epoch 3\n")
    assert "extrema, kernel size 7 failed: reason" in printed


def test_one_model_is_printed_with_its_kernel_size_and_its_epoch(tmp_path, capsys):
    print_sweep([sweep_row(BY_TEST)], "validation", {}, tmp_path)
    printed = capsys.readouterr().out
    assert cells_of(printed) == [["9", "3", "0.4000", "0.3500", "0.0800", "0.3400"]]
    assert printed.startswith("One model: d, extrema, seed 0, 1 kernel\n")


def test_several_failures_are_a_table_and_their_common_advice_is_printed_once(capsys):
    print_failures({f"job {job}": f"no record {job}, and no server; put it; or check it" for job in (2, 11)})
    lines = [line.strip().split(maxsplit=2) for line in capsys.readouterr().out.splitlines()]
    assert lines[:3] == [["failed", "reason"], ["job", "2", "no record 2, and no server; put it"],
                         ["job", "11", "no record 11, and no server; put it"]]  # fmt: skip
    assert " ".join(lines[3]) == "For all of these: or check it"
    print_failures({"job 2": "a; b", "job 3": "no semicolon"})
    assert [line.split()[2:] for line in capsys.readouterr().out.splitlines()[1:]] == [["a;", "b"], ["no", "semicolon"]]
    print_failures({"job 2": "a; b"})
    assert capsys.readouterr().out == "job 2 failed: a; b\n"


def test_a_summary_of_models_writes_their_rows_in_their_order(tmp_path, capsys):
    summarize_models(MODELS, "validation", {}, tmp_path)
    rows = table(tmp_path / "sweep.csv")
    assert [row["kernel_size"] for row in rows] == ["10", "8", "9"]
    assert [float(row["validation_phi"]) for row in rows] == [0.6, 0.3, 0.4]
    assert [float(row["test_loss_normalized"]) for row in rows] == [0.69, 0.49, 0.34]
    assert "n_kernels" not in rows[0]
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")


def method(name, validation, test, **setting):
    chosen = {"setting": setting, "n_weights": 20, "validation": metrics(*validation), "test": metrics(*test)}
    seconds = {"grid": 12.3, "chosen": 4.56}
    return {"method": name, "chosen": chosen, "settings": [chosen] * len(name), "seconds": seconds}


COMPARED = {
    "dataset": "mine",
    "selected_by": "validation",
    "seed": 7,
    "space": [10, 20],
    "methods": [
        method("csc", (0.60, 0.30, 0.52), (0.61, 0.31, 0.53), a=1, b=0.5),
        method("extrema", (0.30, 0.25, 0.17), (0.50, 0.40, 0.30), a=2),
        method("relu", (0.40, 0.35, 0.19), (0.45, 0.44, 0.09), a=3),
    ],
}


def test_the_row_of_a_method_has_the_metrics_of_its_selected_setting():
    row = comparison_row(COMPARED["methods"][0], [10, 20])
    assert row == {
        "method": "csc", "setting": "a=1 b=0.5", "n_weights": 20, "n_settings": 3,
        "validation_phi": 0.60, "validation_cr_inverse": 0.30, "validation_loss_normalized": 0.52,
        "test_phi": 0.61, "test_cr_inverse": 0.31, "test_loss_normalized": 0.53,
        "test_activations": pytest.approx((0.31 * 200 - 20) / 3), "grid_seconds": 12.3, "chosen_seconds": 4.56,
    }  # fmt: skip


def test_the_markdown_table_has_the_lowest_test_phi_in_bold():
    lines = comparison_markdown(COMPARED).splitlines()
    assert lines[0] == "# mine"
    assert lines[2] == "The setting of each method is selected by validation φ̄; seed 7."
    assert "selected by test φ̄" in comparison_markdown({**COMPARED, "selected_by": "test"})
    headings, _, csc, extrema, relu = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines[4:])
    assert dict(zip(headings, csc, strict=True)) == {
        "method": "csc", "selected setting": "a=1 b=0.5", "validation φ̄": "0.600", "test φ̄": "0.610",
        "test CR⁻¹": "0.310", "test L̃": "0.530", "activations per example": "14.0", "settings": "3",
        "grid (s)": "12", "selected setting alone (s)": "4.6",
    }  # fmt: skip
    assert [extrema[3], relu[3]] == ["0.500", "**0.450**"]


def test_methods_are_printed_in_the_order_of_phi_on_the_split_that_selects(tmp_path, capsys):
    for split, names in (("validation", ["extrema", "relu", "csc"]), ("test", ["relu", "extrema", "csc"])):
        summarize_comparison({**COMPARED, "selected_by": split}, tmp_path)
        assert [cells[0] for cells in cells_of(capsys.readouterr().out)] == names
    write_comparison_table(COMPARED, tmp_path)
    rows = table(tmp_path / "compare.csv")
    assert [row["method"] for row in rows] == ["csc", "extrema", "relu"]
    assert [float(row["test_phi"]) for row in rows] == [0.61, 0.50, 0.45]
    assert (tmp_path / "compare.md").read_text(encoding="utf-8") == comparison_markdown(
        {**COMPARED, "selected_by": "test"}
    )
    assert (tmp_path / "figures" / "frontier.png").is_file()

"""Streams that cannot encode every character."""

import json
import os
import re
import subprocess
import sys

import pytest
from rich.cells import cell_len

from san.reporting.console import numbers, print_table, texts
from san.reporting.progress import progress_bar
from san.reporting.results import print_sweep

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


METRICS = {
    f"{split}_{metric}": value
    for split in ("validation", "test")
    for metric, value in (("phi", 0.171234), ("cr_inverse", 0.113355), ("loss_normalized", 0.995577))
}
ROWS = [
    {"dataset": f"database/record-{seed}", "activation": name, "seed": seed, "n_kernels": 1, "kernel_size": 229,
     "best_epoch": 29, "test_accuracy": 0.91, **METRICS}
    for name in ("extrema_pool_indices", "relu") for seed in (0, 1)
]  # fmt: skip
SHARED = "All models: 1 kernel, kernel size m 229, epoch 29"


def cells(said):
    """Return the cells of the rows of a table, of which a folded one has several lines."""
    lines = [line.split("│")[1:-1] for line in said.splitlines() if line.startswith("│")]
    rows = []
    for line in lines:
        words = [cell.strip() for cell in line]
        rows = [*rows, words] if words[-1] else [*rows[:-1], [*map("".join, zip(rows[-1], words, strict=True))]]
    return rows


@pytest.fixture
def printed(monkeypatch, capsys):
    """Return the output of a function on a terminal of a width, or in a pipe."""

    def printed(function, *arguments, width=80, is_terminal=True, **options):
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setenv("TTY_COMPATIBLE", str(int(is_terminal)))
        function(*arguments, **options)
        return re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out)

    return printed


@pytest.mark.parametrize(
    ("width", "is_terminal", "numbers"),
    [
        (200, True, ["0.1712", "0.1712", "0.1134", "0.9956", "91.00%"]),
        (80, True, ["0.1712", "0.1712", "0.9956", "91.00%"]),
        (20, True, ["0.1712", "0.1712", "91.00%"]),
        (20, False, ["0.1712", "0.1712", "0.1134", "0.9956", "91.00%"]),
    ],
)
def test_a_table_of_any_width_has_the_names_and_the_digits_of_each_model(
    printed, tmp_path, width, is_terminal, numbers
):
    said = printed(print_sweep, ROWS, "validation", {}, tmp_path, width=width, is_terminal=is_terminal)
    table = [line for line in said.splitlines() if line.startswith("│")]
    expected = [[row["dataset"], row["activation"], str(row["seed"]), *numbers] for row in ROWS]
    assert cells(said) == expected
    above = " ".join(said.partition("┏")[0].split())
    assert above == SHARED
    dropped = [name for name in ("test CR⁻¹", "test L̃") if name in " ".join(said.rpartition("┘")[2].split())]
    assert len(numbers) + len(dropped) == 5
    if width == 200 or not is_terminal:
        assert len(table) == len(ROWS)
    if width == 80:
        assert max(map(cell_len, said.splitlines())) <= 80


def test_texts_fold_after_separators_and_numbers_do_not(printed):
    name, reason = "physionet/ctu-uhb-ctgdb/1001", "a_path/to/some/record: kernel_size=-3 and 1e-05 are refused"
    columns = [*texts("name", "reason"), *numbers("number of\nsamples")]
    said = printed(print_table, columns, [[name, reason, "-12345.678901"]], width=56)
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in said.splitlines() if line.startswith("│")]
    assert [line[0] for line in lines if line[0]] == ["physionet/ctu-", "uhb-ctgdb/1001"]
    assert [line[1] for line in lines][:2] == ["a_path/to/some/", "record: kernel_"]
    assert [line[2] for line in lines if line[2]] == ["-12345.678901"]
    said = printed(print_table, texts("name"), [["x" * 40]], width=30)
    assert (
        "".join(row[0] for row in (line.split("│")[1:-1] for line in said.splitlines() if line[0] == "│")).replace(
            " ", ""
        )
        == "x" * 40
    )


def start(folder, command, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", f"san.{command}", *arguments, f"hydra.run.dir={folder}"],
        env=os.environ | environment,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=300,
    )


@pytest.mark.slow
def test_a_run_in_the_c_locale_ends_as_in_utf_8(tmp_path):
    common = ("train", "trainer.max_epochs=1", "figure=[forward_pass]")
    wide, ascii_only = (start(tmp_path / name, *common, **env) for name, env in (("utf8", {}), ("ascii", ASCII)))
    assert (wide.returncode, ascii_only.returncode) == (0, 0), ascii_only.stderr
    assert "φ̄" in wide.stdout
    assert ascii_only.stdout.isascii()
    assert "validation" in ascii_only.stdout
    one, two = (
        json.loads((tmp_path / name / "results.json").read_text(encoding="utf-8")) for name in ("utf8", "ascii")
    )
    assert one["test"] == two["test"]
    assert (tmp_path / "ascii" / "figures" / "forward_pass.png").is_file()


@pytest.mark.slow
def test_a_multirun_and_a_mistake_in_the_c_locale_are_readable(tmp_path):
    swept = start(tmp_path / "sweep", "sweep", "kernel_sizes=[8,12]", "trainer.max_epochs=1", "logger=csv", **ASCII)
    assert swept.returncode == 0, swept.stderr
    assert "extrema" in swept.stdout or "12" in swept.stdout
    refused = start(tmp_path / "run", "train", "kernel_size=5000", **ASCII)
    assert refused.returncode == 1
    assert len(refused.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_progress_bar_has_the_done_steps_and_the_remaining_time_on_a_terminal_alone(monkeypatch, capsys, is_terminal):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TTY_COMPATIBLE", str(int(is_terminal)))
    monkeypatch.setenv("TERM", "xterm")
    with progress_bar("csc (2 of 3)", 96) as advance:
        advance(4)
        advance(4)
    said = capsys.readouterr()
    assert said.out == ""
    shown = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", said.err)
    assert bool(re.search(r"csc \(2 of 3\) .* 8/96 \d:\d\d", shown)) == is_terminal == bool(shown)


def test_a_terminal_that_cannot_move_its_cursor_has_no_progress_bar(monkeypatch, capsys):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("TERM", "dumb")
    with progress_bar("csc", 2) as advance:
        advance(1)
    assert capsys.readouterr() == ("", "")

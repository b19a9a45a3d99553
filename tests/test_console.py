"""Streams that cannot encode every character."""

import json
import os
import re
import subprocess
import sys

import pytest

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
NUMBERS = ("0.1712", "0.1134", "0.9956", "229", "91.00%")


def cells(said):
    """Return the cells of the rows of a table, of which a folded one has several lines."""
    lines = [line.split("│")[1:-1] for line in said.splitlines() if line.startswith("│")]
    rows = []
    for line in lines:
        texts = [cell.strip() for cell in line]
        rows = [*rows, texts] if texts[-1] else [*rows[:-1], [*map("".join, zip(rows[-1], texts, strict=True))]]
    return rows


@pytest.mark.parametrize(("width", "is_terminal"), [(200, True), (80, True), (20, True), (20, False)])
def test_a_table_of_any_width_has_every_character(monkeypatch, capsys, tmp_path, width, is_terminal):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TTY_COMPATIBLE", str(int(is_terminal)))
    print_sweep(ROWS, "validation", {}, tmp_path)
    said = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out)
    table = [line for line in said.splitlines() if line.startswith("│")]
    rows = cells(said)
    assert len(rows) == len(ROWS)
    for row, expected in zip(rows, ROWS, strict=True):
        assert row[:2] == [expected["dataset"], expected["activation"]]
        assert set(NUMBERS) <= set(row)
    if width == 200 or not is_terminal:
        assert len(table) == len(ROWS)
    else:
        assert max(map(len, table)) <= max(width, len(rows[0]) * 9 + 1)


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

"""The tables of the paper, by the command that computes them again."""

import json
import re
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import PRINTED, choices
from hydra import initialize_config_dir
from omegaconf import OmegaConf

from san import reproduce
from san.command import CONF
from san.figures.reproduction import draw_density, draw_kernel_grid, draw_planes
from san.figures.style import save
from san.report import write_report
from san.tables import DATASETS, printed, table_of_databases, table_of_sizes, write


@pytest.fixture
def run_reproduce(run, tmp_path):
    def run_reproduce(folder, *arguments, fails=False):
        code, said = run(reproduce.main, *arguments, f"hydra.run.dir={tmp_path / folder}")
        assert (code != 0) == fails, said
        return tmp_path / folder, said

    return run_reproduce


def model(size, phi, seed=0):
    figures = {"cr_inverse": phi / 2, "loss_normalized": phi / 2, "phi": phi}
    return {"kernel_sizes": [size], "seed": seed, "validation": {"phi": phi}, "test": figures}


def test_the_tables_are_those_of_the_paper():
    assert [len(printed(number)) for number in (1, 2, 3, 4)] == [75, 40, 30, 30]
    for number in (1, 2, 3, 4):
        table = printed(number)
        assert set(table["activation"]) == set(choices("activation"))
        lower = (table["cr_inverse"] - 0.005).clip(lower=0) ** 2 + (table["loss_normalized"] - 0.005).clip(lower=0) ** 2
        assert (table["phi"] + 0.005 >= lower**0.5).all()
    assert (PRINTED / "README.md").is_file()


def test_each_protocol_selects_its_kernel_size():
    honest = [model(3, 0.5), model(60, 0.4)]
    paper = [model(3, 0.3), model(60, 0.6), model(229, 0.44)]
    table = table_of_databases({("mitdb", "extrema"): {"honest": [honest], "paper": [paper]}})
    (row,) = table.dropna().to_dict("records")
    assert (row["database"], row["printed_phi"], row["printed_kernel_size"]) == ("mitdb", 0.45, 229)
    assert (row["honest_kernel_size"], row["honest_phi"]) == ("60", 0.4)
    assert (row["paper_kernel_size"], row["paper_phi"]) == ("3", 0.3)
    assert row["paper_at_printed_size_phi"] == 0.44
    assert row["difference"] == pytest.approx(-0.01)


def test_seeds_give_mean_and_standard_deviation():
    seeds = [[model(size, phi) for size in range(8, 16)] for phi in (0.5, 0.7)]
    table = table_of_sizes(2, {"extrema": {"honest": seeds, "paper": seeds}})
    row = table.dropna().to_dict("records")[0]
    assert (row["paper_phi"], row["paper_phi_sd"]) == (pytest.approx(0.6), pytest.approx(0.02**0.5))
    assert row["difference"] == pytest.approx(0.6 - 0.59)


@pytest.mark.parametrize("number", DATASETS)
def test_tables_are_written_in_three_formats(tmp_path, number):
    table = table_of_databases({}) if number == 1 else table_of_sizes(number, {})
    write(number, table, tmp_path)
    assert len(pd.read_csv(tmp_path / f"table{number}.csv")) == len(printed(number))
    assert (tmp_path / f"table{number}.md").read_text().count("\n| ") == len(printed(number)) + 2
    latex = (tmp_path / f"table{number}.tex").read_text()
    assert latex.count(r"\\") == len(printed(number)) // 5 + 2
    assert all(rule in latex for rule in (r"\toprule", r"\midrule", r"\bottomrule"))
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".csv", ".md", ".tex"]


def cells():
    """Models of five sizes, two databases and two activation functions, the second of which is selected."""
    generator = np.random.default_rng(0)
    found = {}
    for database in ("mitdb", "emgdb"):
        for activation in ("relu", "extrema"):
            models = []
            for size in range(3, 8):
                ratio, loss = generator.uniform(0.1, 1, 2)
                models.append(model(size, float(np.hypot(ratio, loss))))
                models[-1]["test"] |= {"cr_inverse": ratio, "loss_normalized": loss}
                models[-1]["phi_per_epoch"] = [0.9, 0.8, None if size == 3 else 0.7]
            models[1] |= {"patterns": [[0.0, 1.0, 0.5]], "sampling_frequency": 250.0}
            found[database, activation] = models
    return found


@pytest.mark.parametrize("draw", [draw_planes, draw_density, lambda found: draw_kernel_grid(found, {"mitdb": 250.0})])
def test_the_figures_of_the_reproduction_draw(tmp_path, draw):
    drawn = draw(cells())
    assert any("(" in axes.get_xlabel() for axes in drawn.axes)
    for suffix, start in (("png", b"\x89PNG"), ("pdf", b"%PDF")):
        save(drawn, tmp_path / f"figure.{suffix}")
        assert (tmp_path / f"figure.{suffix}").read_bytes().startswith(start)


def test_the_forward_pass_is_that_of_the_selected_model(tmp_path, write_images):
    write_images("MNIST")
    torch.manual_seed(0)
    patterns = torch.randn(2, 3, 3)
    models = [model(2, 0.9), {**model(3, 0.5), "kernel_sizes": [3, 3], "patterns": patterns.tolist()}]
    drawn = []
    with (
        initialize_config_dir(str(CONF), version_base="1.3"),
        pytest.MonkeyPatch.context() as patched,
    ):
        patched.setattr(reproduce, "_save", lambda *given: drawn.append(given[:2]))
        overrides = ["dataset.n_validation=10", "batch_size=5"]
        config = OmegaConf.create({"paths": {"data_dir": str(tmp_path)}, "overrides": overrides})
        reproduce._draw_forward_pass(config, 3, models, tmp_path)
    ((figure, name),) = drawn
    assert name == "figure2b"
    shown = [axes.images[0].get_array() for axes in figure.axes if axes.get_title(loc="left").startswith("kernel")]
    assert all(np.allclose(image, pattern) for image, pattern in zip(shown, patterns, strict=True))


def test_the_report_tells_the_verdict_and_needs_nothing_else(tmp_path):
    relu = [model(61, 0.5)]
    extrema = [model(229, 0.46)]
    table = table_of_databases({
        ("mitdb", "relu"): {"honest": [relu], "paper": [relu]},
        ("mitdb", "extrema"): {"honest": [extrema], "paper": [extrema]},
    })  # fmt: skip
    save(draw_planes(cells()), tmp_path / "figure3.png")
    write_report({1: table}, tmp_path, absent={"mnist": "<not> there"}, settings={"seeds": 1}, seconds=3.0)
    page = (tmp_path / "report.html").read_text()
    assert "Of 2 cells" in page
    assert "within 0.02 of the printed one in\n<strong>1</strong>" in page
    assert "table 1, mitdb, relu: 0.50, printed 0.92: ReLU has several modes" in page
    assert "&lt;not&gt; there" in page
    assert page.count("data:image/png;base64,") == 1
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page)
    assert page.count("<tr>") == 76


def test_a_table_comes_out_and_a_second_run_keeps_what_is_finished(run_reproduce, real_data):
    common = [f"paths.data_dir={real_data}", "tables=[1]", "databases=[emgdb]", 'overrides=["trainer.max_epochs=2"]']
    folder, _ = run_reproduce("run", *common)
    table = pd.read_csv(folder / "table1.csv")
    rows = table[table["database"] == "emgdb"]
    assert rows.notna().all().all()
    assert table[table["database"] != "emgdb"]["difference"].isna().all()
    stamps = {path: path.stat().st_mtime_ns for path in (folder / "cells").iterdir()}
    assert len(stamps) == 5
    next(iter(stamps)).unlink()
    run_reproduce("run", *common)
    assert pd.read_csv(folder / "table1.csv").equals(table)
    kept = {path for path, stamp in stamps.items() if path.stat().st_mtime_ns == stamp}
    assert len(kept) == 4
    assert not (folder / "cells" / "unfinished").exists()
    assert (folder / "report.html").read_text().count("data:image/png;base64,") == 4
    assert {f"figure{number}.{suffix}" for number in (1, 3, 4, 5) for suffix in ("png", "pdf")} <= {
        path.name for path in folder.iterdir()
    }


def test_a_killed_run_goes_on_to_the_same_table(tmp_path, real_data):
    command = [
        sys.executable, "-m", "san.reproduce", f"paths.data_dir={real_data}", "tables=[1]", "databases=[mitdb]",
        'overrides=["trainer.max_epochs=2"]',
    ]  # fmt: skip
    killed = subprocess.Popen([*command, f"hydra.run.dir={tmp_path / 'killed'}"], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)  # fmt: skip
    cells = tmp_path / "killed" / "cells"
    deadline = time.monotonic() + 100
    while not list(cells.glob("*.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    killed.kill()
    killed.wait()
    finished = len(list(cells.glob("*.json")))
    assert 1 <= finished < 5
    for folder in ("killed", "whole"):
        subprocess.run([*command, f"hydra.run.dir={tmp_path / folder}"], check=True, capture_output=True, timeout=200)
    tables = [(tmp_path / folder / "table1.csv").read_bytes() for folder in ("killed", "whole")]
    assert tables[0] == tables[1]


def test_absent_data_is_told_and_the_rest_is_made(run_reproduce, tmp_path):
    folder, _ = run_reproduce("run", "tables=[2]", f"paths.data_dir={tmp_path / 'empty'}")
    absent = json.loads((folder / "reproduce.json").read_text())["absent"]
    assert "is not there" in absent["uci_epilepsy"]
    assert "data absent" not in (folder / "table2.csv").read_text()
    assert len(pd.read_csv(folder / "table2.csv")) == 40


@pytest.mark.parametrize(
    ("bad", "said"), [("tables=[5]", "tables=[5] must be some of"), ("seeds=0", "seeds=0 must be an integer")]
)
def test_mistakes_are_one_line(run_reproduce, bad, said):
    _, line = run_reproduce("run", bad, fails=True)
    assert said in line

"""The tables of the paper, by the command that computes them again."""

import json
import os
import re
import shutil
import signal
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import PRINTED, results
from hydra import initialize_config_dir
from omegaconf import OmegaConf

from san import reproduce
from san.cli.config import CONF, paper_databases
from san.cli.trials import complete
from san.commands import reproduce as implementation
from san.extensions.signs import sign_of
from san.figures.reproduction import draw_density, draw_kernel_grid, draw_planes
from san.figures.style import save
from san.reporting import provenance
from san.reporting.paper_tables import (
    numbers_beyond,
    printed_table,
    spread_of_seeds,
    table_of_databases,
    table_of_sizes,
    verdict,
    write_table,
)
from san.reporting.report import reproduction_record, summary, write_report
from san.training.published_draws import PROGRAM


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
    assert [len(printed_table(number)) for number in (1, 2, 3, 4)] == [75, 40, 30, 30]
    for number in (1, 2, 3, 4):
        table = printed_table(number)
        assert set(table["activation"]) == {"identity", "relu", "topk_absolutes", "extrema_pool_indices", "extrema"}
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
    assert row["replayed_phi"] == 0.44


def test_seeds_give_mean_and_standard_deviation():
    seeds = [[model(size, phi) for size in range(8, 16)] for phi in (0.5, 0.7)]
    table = table_of_sizes(2, {"extrema": {"honest": seeds, "paper": seeds}})
    row = table.dropna().to_dict("records")[0]
    assert (row["honest_phi"], row["honest_phi_sd"]) == (pytest.approx(0.6), pytest.approx(0.02**0.5))
    assert (row["honest_phi_least"], row["honest_phi_most"]) == (0.5, 0.7)
    assert spread_of_seeds(table, "extrema") == [pytest.approx(0.2)] * 8
    assert spread_of_seeds(table, "relu") == []


def test_accuracies_are_those_of_all_classifiers_in_percent():
    seeds = []
    for accuracies, baselines in (([0.8, 0.9], [0.85, 0.85]), ([0.7], [0.75])):
        seeds.append([{**model(8, 0.5), "accuracies": accuracies, "baselines": baselines}])
    table = table_of_sizes(2, {"extrema": {"honest": seeds, "paper": seeds}})
    (row,) = table.dropna().to_dict("records")
    assert (row["honest_accuracy"], row["honest_accuracy_sd"]) == (pytest.approx(80), pytest.approx(10))
    assert row["honest_accuracy_difference"] == pytest.approx((-5 + 5 - 5) / 3)
    assert row["honest_baseline_accuracy"] == pytest.approx((85 + 85 + 75) / 3)
    assert row["printed_accuracy_difference"] == 2.8


def test_the_verdict_counts_the_numbers_with_the_printed_digits():
    def found(size, phi, ratio, loss):
        one = {**model(size, phi), "test": {"cr_inverse": ratio, "loss_normalized": loss, "phi": phi}}
        return {"honest": [[one]], "paper": [[one, model(1, 9.0)]]}

    table = table_of_databases({
        ("mitdb", "extrema"): found(229, 0.4549, 0.2351, 0.3849), ("bidmc", "extrema"): found(113, 0.33, 0.15, 0.5),
        ("emgdb", "extrema"): found(7, 0.551, 0.1499, 0.51),
    })  # fmt: skip
    counts = {
        row["number"]: tuple(row[kind] for kind in ("cells", "printed", "near", "beyond")) for row in verdict(table)
    }
    assert counts == {
        "kernel_size": (3, 3, 0, 0), "cr_inverse": (3, 2, 1, 0), "loss_normalized": (3, 2, 0, 1), "phi": (3, 1, 1, 1)
    }  # fmt: skip
    loss, phi = numbers_beyond(1, table)
    assert (loss["where"], loss["ours"], loss["printed"]) == ("Table I, bidmc, Extrema", 0.5, 0.3)
    assert (phi["where"], phi["ours"], phi["range"]) == ("Table I, emgdb, Extrema", 0.551, None)
    assert verdict(table_of_databases({})) == numbers_beyond(1, table_of_databases({})) == []


def test_another_kernel_size_is_beyond_and_shown_with_both_phi():
    models = [model(31, 0.4975), model(37, 0.4981)]
    table = table_of_databases({("noneeg", "extrema_pool_indices"): {"honest": [models], "paper": [models]}})
    size = numbers_beyond(1, table)[0]
    assert (size["number"], size["ours"], size["printed"], size["phi_at"]) == ("kernel_size", 31, 37, [0.4975, 0.4981])


def test_an_accuracy_has_one_printed_digit_and_is_near_within_a_tenth_of_a_point():
    for difference, kind in ((2.84, "printed"), (2.9, "near"), (2.91, "beyond")):
        one = {**model(8, 0.5), "accuracies": [0.5 + difference / 100], "baselines": [0.5]}
        (row,) = [
            row
            for row in verdict(table_of_sizes(2, {"extrema": {"honest": [[one]], "paper": [[one]]}}))
            if row["number"] == "accuracy_difference"
        ]
        assert (row["cells"], row[kind]) == (1, 1)


def test_rows_without_data_say_why(tmp_path):
    table = table_of_databases({}, {"wrist": "not in paths.data_dir"})
    assert set(table[table["database"] == "wrist"]["data_absent"]) == {"not in paths.data_dir"}
    table = table_of_sizes(2, {}, "no data.csv")
    assert set(table["data_absent"]) == {"no data.csv"}
    write_table(2, table, tmp_path)
    assert (tmp_path / "table2.md").read_text().count("no data.csv") == len(table)


@pytest.mark.parametrize("number", PROGRAM)
def test_tables_are_written_in_three_formats(tmp_path, number):
    table = table_of_databases({}) if number == 1 else table_of_sizes(number, {})
    write_table(number, table, tmp_path)
    assert len(pd.read_csv(tmp_path / f"table{number}.csv")) == len(printed_table(number))
    assert (tmp_path / f"table{number}.md").read_text().count("\n| ") == len(printed_table(number)) + 2
    latex = (tmp_path / f"table{number}.tex").read_text()
    assert latex.count(r"\\") == len(printed_table(number)) // 5 + 2
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
            models[1] |= {"atoms": [[0.0, 1.0, 0.5]], "sampling_frequency": 250.0}
            found[database, activation] = models
    return found


@pytest.mark.parametrize("draw", [draw_planes, draw_density, lambda found: draw_kernel_grid(found, {"mitdb": 250.0})])
def test_the_figures_of_the_reproduction_draw(tmp_path, draw):
    drawn = draw(cells())
    assert any("(" in axes.get_xlabel() for axes in drawn.axes)
    save(drawn, tmp_path / "figure")
    for suffix, start in (("png", b"\x89PNG"), ("pdf", b"%PDF")):
        assert (tmp_path / f"figure.{suffix}").read_bytes().startswith(start)


def test_the_kernels_of_figure_3_are_named_beside_the_axes():
    drawn = draw_planes(cells())
    drawn.draw_without_rendering()
    for axes in drawn.axes:
        insets = axes.child_axes
        assert [inset.get_title(loc="left") for inset in insets] == ["ReLU,\nm = 3", "Extrema,\nm = 3"]
        right = axes.get_window_extent().x1
        assert all(right < inset.get_window_extent().x0 for inset in insets)
        boxes = [inset.get_tightbbox() for inset in insets]
        assert all(below.y1 <= above.y0 for above, below in pairwise(boxes))
        assert all(box.x1 <= drawn.bbox.x1 for box in boxes)


def test_the_forward_pass_is_that_of_the_selected_model(tmp_path, write_images):
    write_images("MNIST")
    torch.manual_seed(0)
    atoms = torch.randn(2, 3, 3)
    models = [model(2, 0.9), {**model(3, 0.5), "kernel_sizes": [3, 3], "atoms": atoms.tolist()}]
    drawn = []
    with (
        initialize_config_dir(str(CONF), version_base="1.3"),
        pytest.MonkeyPatch.context() as patched,
    ):
        patched.setattr(implementation, "save", lambda *given: drawn.append(given))
        overrides = ["dataset.n_validation=10", "batch_size=5", "classifier=none"]
        paths = {"data_dir": str(tmp_path), "output_dir": str(tmp_path)}
        config = OmegaConf.create({"paths": paths, "overrides": overrides})
        implementation._draw_forward_pass(config, 3, models, tmp_path)
    ((figure, path),) = drawn
    assert path == tmp_path / "figure2b"
    shown = [axes.images[0].get_array() for axes in figure.axes if axes.get_title(loc="left").startswith("kernel")]
    assert all(np.allclose(image, sign_of(atom) * atom) for image, atom in zip(shown, atoms, strict=True))


def test_the_report_shows_the_verdict_and_is_self_contained(tmp_path):
    relu = [model(61, 0.5)]
    extrema = [model(229, 0.46)]
    table = table_of_databases({
        ("mitdb", "relu"): {"honest": [relu], "paper": [relu]},
        ("mitdb", "extrema"): {"honest": [extrema], "paper": [extrema]},
    })  # fmt: skip
    save(draw_planes(cells()), tmp_path / "figure3")
    found = reproduction_record(
        {1: table}, absent={"mnist": "<not> there"}, config={"seeds": 1}, versions={"torch": "2"}, jobs=2,
        seconds_of_tables={1: 300.0}, wall_seconds=3.0,
    )  # fmt: skip
    assert json.loads(json.dumps(found)) == found
    write_report(found, {1: table}, tmp_path)
    assert (tmp_path / "summary.md").read_text() == summary(json.loads(json.dumps(found)))
    assert "**2 of 8 printed numbers are reproduced to the last printed digit**, 2 more" in summary(found)
    for text in (
        "| Table I | m | 2 | 2 | 0 | 0 |",
        "| Table I | ReLU | 1 | 1 | 0 | 0 | 0 |  |",
        "<not> there",
        "run took 3 s",
    ):
        assert text in (tmp_path / "summary.md").read_text()
    page = (tmp_path / "report.html").read_text()
    assert "<li>Table I, mitdb, ReLU: φ̄ 0.500, printed 0.92</li>" in page
    assert "&lt;not&gt; there" in page
    assert page.count("data:image/png;base64,") == 1
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page)
    assert page.count("<tr>") == 76 + 5


def test_the_report_shows_phi_first_and_folds_the_cells_without_data(tmp_path):
    relu = [model(61, 0.5)]
    reasons = {name: "not in paths.data_dir" for name in paper_databases() if name != "mitdb"}
    table = table_of_databases({("mitdb", "relu"): {"honest": [relu], "paper": [relu]}}, reasons)
    found = reproduction_record(
        {1: table}, absent=reasons, config={}, versions={}, jobs=1, seconds_of_tables={}, wall_seconds=1.0
    )
    write_report(found, {1: table}, tmp_path)
    present, absent = (tmp_path / "report.html").read_text().split("<h2>")[1].split("<details>")
    head = r"<th(?: class=\"text\")?>([^<]*)"
    assert re.findall(head, present)[1:5] == ["activation", "φ̄, printed", "φ̄, replayed", "φ̄, honest"]
    assert re.findall(head, absent)[2:] == ["φ̄, printed", "m, printed", "CR⁻¹, printed", "L̃, printed"]
    assert "<summary>70 cells whose data is absent, as printed</summary>" in absent
    assert (present.count("<tr>"), absent.count("<tr>")) == (1 + 5, 1 + 70)
    assert ("wrist" in present, "mitdb" in absent) == (False, False)


def test_a_dark_page_inverts_figures_but_no_image(tmp_path):
    for name in ("3", "2b"):
        save(draw_planes(cells()), tmp_path / f"figure{name}")
    found = reproduction_record({}, absent={}, config={}, versions={}, jobs=1, seconds_of_tables={}, wall_seconds=1.0)
    write_report(found, {}, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "@media (prefers-color-scheme: dark) { figure:not(.picture) > img { filter: invert" in page
    assert re.findall(r"<figure( class=\"picture\")?><img alt=\"Figure (\w+)", page) == [
        (' class="picture"', "2b"), ("", "3"),
    ]  # fmt: skip


@pytest.mark.parametrize(("phis", "reached"), [((0.5, 0.7, 0.73), 1), ((0.5, 0.7), 0), ((1.2, 1.4), 0)])
def test_the_summary_counts_the_printed_phi_inside_the_range_of_roundings(phis, reached):
    models = [[model(5, phi)] for phi in phis]
    table = table_of_sizes(3, {"relu": {"honest": models, "paper": models[:1], "rounding": models}})
    found = reproduction_record(
        {3: table}, absent={}, config={}, versions={}, jobs=1, seconds_of_tables={}, wall_seconds=1.0
    )
    said = summary(found)
    assert "1 of these φ̄ were replayed several times" in said
    assert f"differ in their last bits alone. {reached} printed values are inside" in said


@pytest.fixture
def trials(tmp_path, write_images):
    """Return a function that makes the trials of a small Table III as another run would."""
    write_images("MNIST")

    def trials(*overrides, data_dir=tmp_path, output_dir="run"):
        small = ["dataset.n_validation=10", "batch_size=5", "classifier.batch_size=5", "trainer.max_epochs=1"]
        config = OmegaConf.create({
            "paths": {"data_dir": str(data_dir), "output_dir": output_dir, "cache_dir": str(tmp_path / "cells")},
            "overrides": [*small, *overrides], "seeds": 1, "seeds_of": {"relu": 2}, "roundings": 1,
            "classifier_seeds": 1,
        })  # fmt: skip
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return list(implementation._trials(config, 3, {}))

    return trials


def replace_images(folder):
    for file in (folder / "MNIST" / "raw").glob("*-images-idx3-ubyte"):
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)


@pytest.mark.slow
def test_a_complete_trial_is_of_its_code_its_configuration_and_its_data(trials, tmp_path, monkeypatch):
    def paths(*overrides, **places):
        return {trial.path for trial in trials(*overrides, **places)}

    (tmp_path / "moved").mkdir()
    shutil.copytree(tmp_path / "MNIST", tmp_path / "moved" / "MNIST")
    first = paths()
    assert len(first) == 12  # one more seed and one rounding of ReLU, and both protocols
    neutral = ["num_workers=2", "logger=tensorboard", "trainer.enable_progress_bar=true", "kernel_figure_every=1"]
    assert paths(*neutral, data_dir=tmp_path / "moved", output_dir="other") == first
    assert paths("optimizer.lr=0.1").isdisjoint(first)
    assert paths("dataset.collection=MNIST", "+trainer.gradient_clip_val=1").isdisjoint(first)
    with monkeypatch.context() as patch:
        patch.setattr(provenance, "_source", {"san": "edited"}.get)
        assert paths().isdisjoint(first)
    replace_images(tmp_path)
    assert paths().isdisjoint(first)


@pytest.mark.slow
@pytest.mark.parametrize("change", ["code", "data"])
def test_a_trial_is_not_completed_with_other_code_or_data_than_it_is_named_by(trials, tmp_path, monkeypatch, change):
    trial = trials()[0]
    assert trial.path.parent == tmp_path / "cells"
    if change == "code":
        monkeypatch.setattr(provenance, "_source", {"san": "edited"}.get)
    else:
        replace_images(tmp_path)
    with pytest.raises(ValueError, match=r"seed 0: the source or the data changed while this ran: start the same"):
        complete(trial)
    assert not list(tmp_path.glob("cells/*.json"))


@pytest.mark.slow
def test_a_table_is_written_and_a_second_run_keeps_complete_trials(run_reproduce, real_data):
    common = [
        f"paths.data_dir={real_data}", "tables=[1]", "databases=[emgdb]", 'overrides=["trainer.max_epochs=2"]',
        "seeds_of.relu=1", "jobs=1",
    ]  # fmt: skip
    folder, _ = run_reproduce("run", *common)
    table = pd.read_csv(folder / "table1.csv")
    rows = table[table["database"] == "emgdb"]
    assert rows.drop(columns="data_absent").notna().all().all()
    others = table[table["database"] != "emgdb"]
    assert others["replayed_phi"].isna().all()
    assert others["data_absent"].str.startswith("not one of databases=").all()
    stamps = {path: path.stat().st_mtime_ns for path in (folder / "cells").iterdir()}
    assert len(stamps) == 10  # five activations by two protocols
    next(iter(stamps)).unlink()
    run_reproduce("run", *common)
    assert pd.read_csv(folder / "table1.csv").equals(table)
    kept = {path for path, stamp in stamps.items() if path.stat().st_mtime_ns == stamp}
    assert len(kept) == 9
    assert not (folder / "cells" / "unfinished").exists()
    assert (folder / "report.html").read_text().count("data:image/png;base64,") == 4
    assert {f"figure{number}.{suffix}" for number in (1, 3, 4, 5) for suffix in ("png", "pdf")} <= {
        path.name for path in folder.iterdir()
    }


@pytest.mark.slow
def test_absent_data_is_told_and_the_rest_is_made(run_reproduce, tmp_path):
    folder, _ = run_reproduce("run", "tables=[2]", f"paths.data_dir={tmp_path / 'empty'}")
    absent = json.loads((folder / "reproduce.json").read_text())["absent"]
    assert "is not there" in absent["uci_epilepsy"]
    table = pd.read_csv(folder / "table2.csv")
    assert len(table) == 40
    assert table["data_absent"].str.contains("is not there").all()


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("tables=[5]", "tables=[5] must be some of"),
        ("figures=[0]", "figures=[0] must be some of"),
        ("tables=[]", "leave nothing to do"),
        ("seeds=0", "seeds=0 must be an integer"),
        ("roundings=-1", "roundings=-1 must be an integer, 0 or more"),
        ("jobs=-1", "jobs=-1 must be an integer"),
        ("+seeds_of.tanh=2", "seeds_of.tanh: tanh must be one of identity"),
    ],
)
def test_mistakes_are_one_line(run_reproduce, bad, said):
    _, line = run_reproduce("run", bad, fails=True)
    assert said in line


@pytest.mark.slow
def test_models_are_trained_for_the_figures_alone(run_reproduce, real_data):
    common = [f"paths.data_dir={real_data}", "databases=[emgdb]", 'overrides=["trainer.max_epochs=1"]']
    folder, _ = run_reproduce("run", "tables=[]", "figures=[5]", "seeds_of.relu=1", "jobs=1", *common)
    made = {path.name for path in folder.iterdir()}
    assert {"figure5.png", "figure5.pdf", "report.html"} <= made
    assert not {"table1.csv", "figure3.png", "figure1.png"} & made


@pytest.mark.slow
def test_classifiers_of_several_seeds_on_models_of_one_or_several(run, run_train, write_images, tmp_path):
    """Each is that of san.train with the seed of the model, where both have the same."""
    write_images("MNIST")
    small = [
        "dataset.n_validation=10", "batch_size=5", "trainer.max_epochs=1", "classifier.batch_size=5",
        "classifier.max_epochs=2",
    ]  # fmt: skip
    overrides = ",".join(f'"{override}"' for override in small)
    folder = tmp_path / "run"
    code, said = run(
        reproduce.main, "tables=[3]", "figures=[1]", f"paths.data_dir={tmp_path}", f"overrides=[{overrides}]", "jobs=1",
        "seeds_of.relu=2", "classifier_seeds=3", f"hydra.run.dir={folder}",
    )  # fmt: skip
    assert code == 0, said
    row = pd.read_csv(folder / "table3.csv").set_index(["activation", "kernel_size"]).loc[("relu", 3)]
    alone = [
        results(run_train(f"{seed}", *small, "dataset=mnist", "classifier=fnn", "activation=relu", "kernel_size=3",
                          f"seed={seed}", f"paths.data_dir={tmp_path}", "figure=[]", "logger=csv")[0])
        for seed in (0, 1)
    ]  # fmt: skip
    assert row["honest_phi"] == pytest.approx(np.mean([one["test"]["phi"] for one in alone]), abs=1e-4)
    kept = [json.loads(path.read_text()) for path in (folder / "cells").glob("*.json") if "baseline" not in path.name]
    relu = [trial["models"] for trial in kept if trial["models"][0]["activation"] == "relu"]
    # By the honest protocol with two seeds, and by the paper's; those that differ in rounding have no classifiers.
    assert sorted(len(models[0].get("accuracies", [])) for models in relu) == [0] * 5 + [1, 1, 2]
    honest = [models for models in relu if models[2]["n_weights"] == 2 * 3 * 3]
    assert len(honest) == 2
    for models in honest:
        model_of_trial = models[2]
        expected = alone[model_of_trial["seed"]]
        assert model_of_trial["accuracies"][0] == expected["test"]["accuracy"]
        assert model_of_trial["baselines"][0] == expected["classifier"]["baseline"]["test"]["accuracy"]


@pytest.mark.slow
def test_a_killed_process_is_reported(run_reproduce, monkeypatch, tmp_path, write_images):
    def kill(_):
        os.kill(os.getpid(), signal.SIGKILL)

    write_images("MNIST")
    monkeypatch.setattr(implementation, "complete", kill)
    small = 'overrides=["dataset.n_validation=10","batch_size=5","classifier.batch_size=5"]'
    where = f"paths.data_dir={tmp_path}"
    _, line = run_reproduce("run", "tables=[3]", "seeds_of.relu=1", "jobs=2", small, where, fails=True)
    assert "a worker process was killed" in line

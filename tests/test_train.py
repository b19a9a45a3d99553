"""The commands, run in this process."""

import copy
import json
import math
import os
import re
import shlex
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from conftest import choices, datasets, results, table

from san import evaluate, sweep, train
from san.checkpoint import read
from san.cli.parts import instantiate
from san.data.splits import Splits
from san.networks import SparselyActivatedNetwork
from san.reporting import provenance
from san.training.callbacks.epoch_lines import progress
from san.training.data_module import SplitsDataModule
from san.training.san_module import SANModule


def numbers(folder):
    return {key: value for key, value in results(folder).items() if key not in ("config", "wall_seconds")}


def test_a_run_writes_the_files_that_the_readme_promises(run_train):
    folder, _ = run_train("run", "trainer.max_epochs=4", "kernel_size=20", "n_kernels=1", as_user=True)
    left = results(folder)
    assert left["dataset"] == "physionet/mitdb/208"
    assert (left["activation"], left["kernel_sizes"], left["n_weights"], left["seed"]) == ("extrema", [20], 20, 0)
    assert len(left["phi_per_epoch"]) == 4
    assert left["validation"]["phi"] == min(left["phi_per_epoch"]) == left["phi_per_epoch"][left["best_epoch"] - 1]
    assert left["test"]["accuracy"] is None
    assert {"python", "torch", "pytorch-lightning", "torchmetrics", "numpy", "numba", "hydra-core", "san"} <= set(
        left["versions"]
    )
    for split in ("validation", "test"):
        assert left[split]["phi"] >= math.hypot(left[split]["cr_inverse"], left[split]["loss_normalized"]) - 1e-6
    assert sorted(path.name for path in (folder / "figures").iterdir()) == [
        f"{name}.{suffix}" for name in ("forward_pass", "kernels", "phi_per_epoch") for suffix in ("pdf", "png")
    ]
    assert {"best.ckpt", "last.ckpt"} <= {path.name for path in (folder / "checkpoints").iterdir()}
    assert not list(folder.rglob("*unfinished*"))
    assert torch.load(folder / "checkpoints" / "best.ckpt")["config"]["kernel_size"] == 20


def test_the_selected_epoch_has_the_same_number_from_1_wherever_it_is_read(run_train):
    folder, _ = run_train("run", "trainer.max_epochs=3", "kernel_size=30", "logger=[]", "figure=[]")
    left = results(folder)
    best = 1 + left["phi_per_epoch"].index(min(left["phi_per_epoch"]))
    assert left["best_epoch"] == best
    lines = re.findall(r"epoch (\d) of 3: .* phi ([\d.]+)", (folder / "train.log").read_text(encoding="utf-8"))
    assert lines == [(str(epoch), f"{phi:.4f}") for epoch, phi in enumerate(left["phi_per_epoch"], start=1)]
    assert [path.name for path in (folder / "checkpoints").glob("epoch*")] == [
        f"epoch{best:02d}-phi{left['validation']['phi']:.4f}.ckpt"
    ]
    assert read(folder / "checkpoints" / "best.ckpt")["epoch"] == best - 1


def test_the_bar_on_a_terminal_counts_epochs_from_1(monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    (bar,) = progress(True)
    trainer = pl.Trainer(max_epochs=30, logger=False, enable_checkpointing=False, callbacks=[bar])
    bar.setup(trainer, pl.LightningModule(), "fit")
    assert bar._get_train_description(29) == "Epoch 30/30"
    trainer.fit_loop.max_epochs = -1
    assert bar._get_train_description(0).strip() == "Epoch 1"


def test_the_metrics_of_the_selected_epoch_are_as_defined(run_train, compose):
    folder, _ = run_train(
        "run",
        "trainer.max_epochs=6",
        "optimizer.lr=0.5",
        "kernel_size=30",
        "seed=2",
        "n_kernels=1",
        "initialization=normal",
    )
    left = results(folder)
    assert left["best_epoch"] < 6
    network = SparselyActivatedNetwork([30], instantiate(compose("activation=extrema"), "activation"))
    network.load_state_dict({"weight": read(folder / "checkpoints" / "best.ckpt")["state_dict"]["network.weight"]})
    splits = instantiate(compose(), "dataset")
    for split, x in (("validation", splits.validation), ("test", splits.test)):
        with torch.no_grad():
            maps = network.encode(x)
            loss = (network.decode(maps) - x).abs().mean((1, 2)) / x.abs().mean((1, 2))
        cr_inverse = (30 + 2 * (maps != 0).sum((1, 2))) / 1000
        assert left[split]["cr_inverse"] == pytest.approx(float(cr_inverse.mean()))
        assert left[split]["loss_normalized"] == pytest.approx(float(loss.mean()))
        assert left[split]["phi"] == pytest.approx(float((cr_inverse**2 + loss**2).sqrt().mean()))


def test_training_is_adam_on_the_mean_absolute_error(run_train, compose):
    folder, _ = run_train(
        "run", "trainer.max_epochs=3", "shuffle=false", "kernel_size=15", "n_kernels=1", "initialization=normal"
    )
    network = SparselyActivatedNetwork([15], instantiate(compose("activation=extrema"), "activation"), seed=0)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01, betas=(0.9, 0.999), eps=1e-8)
    for _ in range(3):
        for x in instantiate(compose(), "dataset").train.split(2):
            optimizer.zero_grad()
            F.l1_loss(network(x), x).backward()
            optimizer.step()
    trained = read(folder / "checkpoints" / "last.ckpt")["state_dict"]["network.weight"]
    assert torch.allclose(trained, network.weight.detach(), atol=1e-6)


def test_the_loss_is_the_mean_over_the_examples_of_a_batch(compose):
    """Use plain gradient descent, because Adam cannot distinguish a sum from a mean."""
    torch.manual_seed(0)
    x = torch.randn(5, 1, 40)
    network = SparselyActivatedNetwork([7], instantiate(compose("activation=extrema"), "activation"))
    plain = copy.deepcopy(network)
    module = SANModule(network, loss=F.l1_loss, optimizer=partial(torch.optim.SGD, lr=0.1), count_weights="samples")
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=1, limit_val_batches=0, logger=False, log_every_n_steps=1,
        use_distributed_sampler=False, enable_checkpointing=False, enable_progress_bar=False,
    )  # fmt: skip
    trainer.fit(module, SplitsDataModule(Splits("x", x, x, x).examples, 3, None))
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1)
    for batch in x.split(3):
        optimizer.zero_grad()
        F.l1_loss(plain(batch), batch).backward()
        optimizer.step()
    assert torch.allclose(network.weight, plain.weight, atol=1e-6)


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(run_train):
    first, _ = run_train("first", "trainer.max_epochs=3")
    second, _ = run_train("second", "trainer.max_epochs=3")
    other, _ = run_train("other", "trainer.max_epochs=3", "seed=1")
    assert numbers(first) == numbers(second)
    assert numbers(first)["test"] != numbers(other)["test"]


@pytest.mark.parametrize("given", ["short", "short/checkpoints/last.ckpt"])
def test_a_resumed_run_ends_with_the_numbers_of_one_that_ran_through(run_train, tmp_path, given):
    through, _ = run_train("through", "trainer.max_epochs=8")
    run_train("short", "trainer.max_epochs=3")
    resumed, _ = run_train("resumed", "trainer.max_epochs=8", f"checkpoint={tmp_path / given}")
    assert numbers(through) == numbers(resumed)
    weights = [read(folder / "checkpoints" / "last.ckpt")["state_dict"] for folder in (through, resumed)]
    assert torch.equal(weights[0]["network.weight"], weights[1]["network.weight"])


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["annealed_extrema", "dropout_extrema"])
def test_a_resumed_run_continues_annealing_and_dropout(run_train, tmp_path, activation):
    common = [f"activation={activation}", "kernel_size=20", "figure=[]"]
    annealing = ["activation.epochs=4"] if activation == "annealed_extrema" else []
    through, _ = run_train("through", *common, "trainer.max_epochs=4")
    run_train("short", *common, *annealing, "trainer.max_epochs=2")
    resumed, _ = run_train("resumed", *common, "trainer.max_epochs=4", f"checkpoint={tmp_path / 'short'}")
    extrema, _ = run_train("extrema", "activation=extrema", *common[1:], "trainer.max_epochs=4")
    assert numbers(through) == numbers(resumed)
    assert numbers(through)["phi_per_epoch"] != numbers(extrema)["phi_per_epoch"]


def test_evaluation_repeats_the_test_metrics_to_the_last_digit(run, run_train, tmp_path):
    folder, _ = run_train("run", "trainer.max_epochs=3", "kernel_sizes=[9,20]", "decoder=adjoint", "loss=mse")
    code, said = run(evaluate.main, f"checkpoint={folder}", f"hydra.run.dir={tmp_path / 'evaluated'}")
    assert code == 0, said
    assert results(tmp_path / "evaluated")["test"] == results(folder)["test"]
    assert results(tmp_path / "evaluated")["trained"] == results(folder)["config"]
    assert results(tmp_path / "evaluated")["config"]["checkpoint"] == str(folder)
    other = ["dataset=physionet", "dataset.signal_length=500", f"hydra.run.dir={tmp_path / 'other'}"]
    code, said = run(evaluate.main, f"checkpoint={folder}/checkpoints/last.ckpt", *other)
    assert code == 0, said
    assert results(tmp_path / "other")["test"] != results(folder)["test"]


def datasets_and_activations():
    """Return each dataset with Extrema, and a dataset of signals and one of images with each activation."""
    of_all = [(dataset, "extrema") for dataset in datasets() if not dataset.startswith("synthetic")]
    return of_all + [(dataset, name) for dataset in ("synthetic", "synthetic_images") for name in choices("activation")]


@pytest.mark.usefixtures("offline", "typed")
@pytest.mark.parametrize(("dataset", "activation"), datasets_and_activations())
def test_every_dataset_and_every_activation_runs(run, tmp_path, dataset, activation):
    """Draw the figures, which take longest, of each kind of dataset for Extrema, and of a search."""
    arguments = [f"dataset={dataset}", f"activation={activation}", "debug=one_batch", "n_kernels=2", "logger=csv"]
    drawn = ("extrema", "phi_pursuit") if dataset == "synthetic" else ("extrema",)
    arguments += [] if activation in drawn and dataset != "fashion_mnist" else ["figure=[]"]
    code, said = run(train.main, *arguments, f"hydra.run.dir={tmp_path}")
    if any(absent in said for absent in ("is not there", "its files are not")):
        pytest.skip(said)
    assert code == 0, said
    assert math.isfinite(results(tmp_path)["test"]["phi"])
    assert results(tmp_path)["activation"] == activation


def test_overfitting_one_batch_lowers_its_loss(run_train):
    folder, _ = run_train("run", "debug=overfit", "logger=csv", "trainer.max_epochs=40", "activation=identity")
    rows = table(folder / "csv" / "metrics.csv")
    losses = [float(row["train/loss"]) for row in rows if row["train/loss"]]
    assert losses[-1] < 0.5 * losses[0]


def test_a_multirun_ends_with_a_table_a_figure_and_the_best_model(run_train, run, tmp_path):
    folder, _ = run_train("sweep", "-m", "kernel_size=8,16", "activation=extrema,relu", "trainer.max_epochs=2")
    rows = table(folder / "sweep.csv")
    assert list(rows[0]) == [
        "dataset", "activation", "kernel_size", "seed", "best_epoch",
        "validation_phi", "validation_cr_inverse", "validation_loss_normalized",
        "test_phi", "test_cr_inverse", "test_loss_normalized",
    ]  # fmt: skip
    assert [(row["kernel_size"], row["activation"]) for row in rows] == [
        ("8", "extrema"), ("8", "relu"), ("16", "extrema"), ("16", "relu"),
    ]  # fmt: skip
    assert (folder / "sweep.png").read_bytes().startswith(b"\x89PNG")
    best = min(rows, key=lambda row: float(row["validation_phi"]))
    code, said = run(evaluate.main, f"checkpoint={folder}", f"hydra.run.dir={tmp_path / 'evaluated'}")
    assert code == 0, said
    assert results(tmp_path / "evaluated")["test"]["phi"] == float(best["test_phi"])


def test_the_papers_protocol_tests_the_last_epoch_and_selects_by_test(run_train, run, tmp_path):
    arguments = ("-m", "kernel_size=8,30", "trainer.max_epochs=6", "optimizer.lr=0.5", "protocol=paper")
    folder, _ = run_train("sweep", *arguments)
    rows = table(folder / "sweep.csv")
    assert [row["best_epoch"] for row in rows] == ["6", "6"]
    code, said = run(evaluate.main, f"checkpoint={folder}", f"hydra.run.dir={tmp_path / 'evaluated'}")
    assert code == 0, said
    assert results(tmp_path / "evaluated")["test"]["phi"] == min(float(row["test_phi"]) for row in rows)


def test_an_experiment_runs_a_chosen_part_of_its_table(run_train):
    chosen = ("dataset.database=mitdb", "dataset.record=208", "kernel_size=5,6", "activation=relu")
    folder, _ = run_train("sweep", "-m", "experiment=table1", *chosen, "debug=one_batch", "logger=csv")
    found = [(row["dataset"], row["activation"], row["kernel_size"]) for row in table(folder / "sweep.csv")]
    assert found == [("physionet/mitdb/208", "relu", "5"), ("physionet/mitdb/208", "relu", "6")]


@pytest.mark.slow
@pytest.mark.usefixtures("offline")
def test_all_databases_are_a_choice_of_a_multirun(run_train, tmp_path):
    arguments = ("dataset.database=all", f"paths.data_dir={tmp_path}")
    folder, _ = run_train("sweep", "-m", *arguments, fails=True)
    assert len(list(folder.glob("*/error.txt"))) == 15
    assert "no record a01 of the database apnea-ecg" in (folder / "0" / "error.txt").read_text(encoding="utf-8")
    assert "no list of records of the database sufhsdb" in (folder / "12" / "error.txt").read_text(encoding="utf-8")
    _, line = run_train("run", *arguments, fails=True)
    assert "dataset.database=all is a choice of a multirun, one run for each database: add -m" in line


@pytest.mark.slow
def test_the_papers_kernel_sizes_are_swept(run_train):
    arguments = ("-m", "+sweep=kernel_size_mnist", "dataset=synthetic_images", "debug=one_batch", "logger=csv")
    folder, _ = run_train("sweep", *arguments)
    assert [row["kernel_size"] for row in table(folder / "sweep.csv")] == ["1", "2", "3", "4", "5", "6"]


def test_failed_jobs_of_a_multirun_are_reported_and_the_others_continue(run_train):
    folder, _ = run_train("sweep", "-m", "kernel_size=8,2000,16", "debug=one_batch", fails=True)
    assert [row["kernel_size"] for row in table(folder / "sweep.csv")] == ["8", "16"]
    assert "kernel_size=2000 exceeds the signal length 1000" in (folder / "1" / "error.txt").read_text(encoding="utf-8")
    assert "Traceback" in (folder / "1" / "train.log").read_text(encoding="utf-8")


@pytest.fixture
def skipping(run_train, tmp_path):
    """Train on a signal with ``skip_finished=true``; return a function that tells whether a run trains again."""
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal(600).cumsum())
    common = ["dataset=numpy", "dataset.window=60", "kernel_size=9", "debug=one_batch", "figure=[]", "logger=[]"]
    path = f"path={tmp_path / 'x.npy'}"
    run_train("run", *common, path)

    def skipping(*arguments):
        before = (tmp_path / "run" / "results.json").read_bytes()
        run_train("run", *common, path, *arguments, "skip_finished=true")
        return (tmp_path / "run" / "results.json").read_bytes() == before

    return skipping


def test_finished_work_is_kept_if_nothing_that_can_change_it_differs(skipping, tmp_path):
    (tmp_path / "moved").mkdir()
    (tmp_path / "moved" / "x.npy").write_bytes((tmp_path / "x.npy").read_bytes())
    assert skipping()
    others = ["num_workers=1", "logger=csv", "figure=[kernels]", "kernel_figure_every=9", "callbacks=[lr_monitor]"]
    places = [
        f"path={tmp_path / 'moved' / 'x.npy'}", f"paths.cache_dir={tmp_path / 'cache'}",
        "callbacks.phi_checkpoint.dirpath=elsewhere", f"checkpoint={tmp_path / 'run'}",
    ]  # fmt: skip
    assert skipping(*others, *places, "trainer.enable_progress_bar=false")


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (["dataset.nan=interpolate"], "configuration"),  # of which the examples are the same
        (["dataset.window=50"], "configuration, data"),
        (["optimizer.lr=0.02"], "configuration"),
        (["trainer.max_epochs=2"], "configuration"),
        (["+trainer.gradient_clip_val=1"], "configuration"),
        (["callbacks=[early_stopping]"], "configuration"),
    ],
)
def test_another_setting_trains_a_finished_run_again(skipping, tmp_path, change, part):
    assert not skipping(*change)
    assert f"has results of another {part}: it trains again" in (tmp_path / "run" / "train.log").read_text()
    assert skipping(*change)


def test_replaced_data_and_edited_code_train_a_finished_run_again(skipping, tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", np.load(tmp_path / "x.npy")[::-1])
    assert not skipping()
    assert "has results of another data: it trains again" in (tmp_path / "run" / "train.log").read_text()
    assert skipping()
    monkeypatch.setattr(provenance, "_source", {"san": "edited"}.get)
    assert not skipping()
    assert skipping()


def test_results_without_a_fingerprint_are_no_finished_run(skipping, tmp_path):
    content = results(tmp_path / "run")
    del content["fingerprint"]
    (tmp_path / "run" / "results.json").write_text(json.dumps(content))
    assert not skipping()


def test_finished_jobs_are_skipped_on_request(run_train):
    arguments = ("-m", "kernel_size=8,16", "debug=one_batch", "skip_finished=true")
    folder, _ = run_train("sweep", *arguments)
    stamps = [(folder / job / "results.json").stat().st_mtime_ns for job in "01"]
    (folder / "1" / "results.json").unlink()
    run_train("sweep", *arguments)
    assert (folder / "0" / "results.json").stat().st_mtime_ns == stamps[0]
    assert (folder / "1" / "results.json").stat().st_mtime_ns > stamps[1]
    run_train("sweep", *arguments, "seed=3")
    assert (folder / "0" / "results.json").stat().st_mtime_ns > stamps[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["dataset.channel=7"], "dataset.channel=7 is not a channel of"),
        (["dataset.signal_length=100000"], "108000 samples of the 1200000 asked for"),
        (["kernel_size=0"], "kernel_size=0 must be an integer of at least 1"),
        (["kernel_size=-3"], "kernel_size=-3"),
        (["kernel_size=ten"], "kernel_size=ten"),
        (["kernel_sizes=[3,0]"], "kernel_sizes=0"),
        (["kernel_size=1001"], "kernel_size=1001 exceeds the signal length 1000; choose 1 to 1000"),
        (["kernel_sze=3"], "kernel_sze is not known (did you mean kernel_size?)"),
        (["trainer.max_epoch=3"], "trainer.max_epoch is not known (did you mean trainer.max_epochs?)"),
        (["activation=extremo"], "activation=extremo is not known (did you mean extrema?); choose one of annealed"),
        (["experiment=nowhere"], "experiment=nowhere is not known; choose one of table1"),
        (["kernel_size=8,16"], "one for each job: python -m san.train -m kernel_size=8,16 "),
        (["kernel_size"], "kernel_size cannot be read as KEY=VALUE"),
        (["paths.output_dir=null"], "paths.output_dir=null must be a text that is not empty"),
        (["paths.data_dir=[a]"], "paths.data_dir=['a'] must be a text that is not empty"),
        (["checkpoint=-1"], "checkpoint=-1 must be a text that is not empty"),
        (["activation_name=null"], "activation_name=null must be a text that is not empty"),
        (["metric=null"], "metric=null must be keys and values"),
        (["dataset=[]"], "dataset=null must be keys and values with a _target_: choose one by dataset=NAME"),
        (["network=[]"], "network=null must be keys and values with a _target_: choose one by network=NAME"),
        (["figure.kernels=abc"], "figure.kernels names no _target_: choose one by ~figure.kernels"),
        (["callbacks.phi_checkpoint=null"], "callbacks.phi_checkpoint=null must be keys and values with a _target_"),
        (["activation=sparse"], "activation=sparse is not known; choose one of annealed_extrema"),
        (["decoder=other"], "decoder=other must be one of paper, adjoint"),
        (["metric.count_weights=other"], "count_weights=other must be one of samples, side"),
        (["batch_size=0"], "batch_size=0"),
        (["trainer.max_epochs=0"], "left nothing to train"),
        (["checkpoint=nowhere"], "checkpoint=nowhere is neither"),
        (["optimizer.lr=1e30"], "the training loss is not finite in epoch 1, batch 2"),
        (["activation._target_=os.system"], "_target_=os.system is not allowed"),
    ],
)
def test_mistakes_are_one_line(run_train, arguments, said):
    folder, line = run_train("run", *arguments, fails=True)
    assert line.startswith("san: ")
    assert said in line
    assert "\n" not in line.strip()
    assert not (folder / "results.json").exists()


def test_a_folder_that_cannot_be_written_is_one_line(run, tmp_path):
    (tmp_path / "file").touch()
    code, line = run(train.main, f"hydra.run.dir={tmp_path / 'file' / 'run'}")
    assert code == 1
    assert "cannot be written, choose another folder by hydra.run.dir=FOLDER" in line


def test_checkpoints_of_another_shape_are_one_line(run, run_train, tmp_path):
    folder, _ = run_train("run", "debug=one_batch", "kernel_size=20")
    before = {path: path.read_bytes() for path in folder.rglob("*.ckpt")}
    content = read(folder / "checkpoints" / "last.ckpt")
    torch.save({**content, "state_dict": {"network.weight": torch.ones(1, 21)}}, tmp_path / "other.ckpt")
    _, line = run_train(
        "other", f"checkpoint={tmp_path / 'other.ckpt'}", "debug=one_batch", "kernel_size=20", fails=True
    )
    assert "has weights of shapes" in line
    (tmp_path / "cut.ckpt").write_bytes((folder / "checkpoints" / "best.ckpt").read_bytes()[:-100])
    code, line = run(evaluate.main, f"checkpoint={tmp_path / 'cut.ckpt'}", f"hydra.run.dir={tmp_path / 'evaluated'}")
    assert (code, line.startswith("san: ")) == (1, True)
    assert "is not a checkpoint of san, or is truncated" in line
    assert before == {path: path.read_bytes() for path in folder.rglob("*.ckpt")}


def test_a_traceback_is_raised_on_request(monkeypatch, run_train):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(ValueError, match="kernel_size=0"):
        run_train("run", "kernel_size=0")
    assert os.environ["HYDRA_FULL_ERROR"] == "1"


@pytest.mark.slow
def test_nothing_is_written_into_the_working_folder(run_train, monkeypatch, tmp_path):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    run_train("run", "debug=one_batch", as_user=True)
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(("choice", "claim"), [("adjoint", 0), ("paper", 1), ("adjoint restart_every=5", 2)])
def test_extrema_recovers_the_planted_kernel_as_often_as_the_page_of_results_says(run_train, choice, claim):
    page = " ".join((Path(__file__).parents[1] / "docs" / "results.md").read_text(encoding="utf-8").split())
    (claims,) = re.findall(
        r"with at least (\d+) of 10 seeds, the paper's decoder with at least (\d+)\..*? finds it with (\d+)\.", page
    )
    found = 0
    for seed in range(10):
        arguments = ["dataset=synthetic", "dataset.noise=0", f"seed={seed}", *f"decoder={choice}".split()]
        folder, _ = run_train(f"{seed}", *arguments, "logger=csv", "figure=[]")
        (planted,) = results(folder)["planted"]
        found += planted["correlation"] > 0.95
    assert found >= int(claims[claim])


@pytest.fixture
def printed(monkeypatch, capsys):
    """Return what a command prints on a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")

    def printed(command, *arguments):
        monkeypatch.setattr("sys.argv", ["san", *arguments])
        command()
        return re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out)

    return printed


def test_the_bar_of_an_epoch_is_one_line_of_80_columns_with_the_validation_phi(printed, monkeypatch, tmp_path):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    short = ["trainer.max_epochs=2", "kernel_size=8", "figure=[]", "report=false"]
    said = printed(train.main, *short, f"hydra.run.dir={tmp_path / 'run'}")
    lines = re.split(r"[\r\n]", re.sub(r"\x1b\[[?\d;]*[a-zA-Z]", "", said))
    bars = [line.strip() for line in lines if "phi:" in line or "v_num" in line]
    assert bars
    assert all(re.fullmatch(r"Epoch \d/2 .* validation phi: \d\.\d{3}", bar) for bar in bars)


def test_a_synthetic_run_says_whether_the_planted_kernels_were_found(printed, run, tmp_path):
    chosen = ["dataset=synthetic", "dataset.kernel_sizes=[20,15]", "n_kernels=2", "kernel_size=20", "logger=csv"]
    folder, short = tmp_path / "run", ["trainer.max_epochs=2", "figure=[kernels]", "report=false"]
    said = printed(train.main, *chosen, *short, f"hydra.run.dir={folder}")
    planted = results(folder)["planted"]
    assert [one.keys() for one in planted] == [{"kernel", "correlation", "shift", "energy_inside"}] * 2
    for index, one in enumerate(planted):
        (row,) = re.findall(rf"│ +{index} │ +(\d) │ +([\d.]+) │ +([-+\d]+) │ +([\d.]+)% │", said)
        assert row[:2] == (str(one["kernel"]), f"{one['correlation']:.4f}")
        assert ([int(row[2])], row[3]) == (one["shift"], f"{100 - 100 * one['energy_inside']:.1f}")
    assert (folder / "figures" / "planted.png").is_file()
    assert run(evaluate.main, f"checkpoint={folder}", f"hydra.run.dir={tmp_path / 'evaluated'}")[0] == 0
    assert results(tmp_path / "evaluated")["planted"] == planted


def test_a_run_ends_with_what_was_learned_what_it_means_and_one_command_to_try(printed, tmp_path):
    short = ["dataset.split=[2,1,1]", "trainer.max_epochs=1", "logger=csv", "figure=[]", "kernel_sizes=[12,40]"]
    folder = tmp_path / "run"
    end = printed(train.main, *short, "decoder=adjoint", "report=true", f"hydra.run.dir={folder}").rpartition("┘\n")[2]
    assert len(end.splitlines()) <= 8
    said, test = " ".join(end.split()), results(folder)["test"]
    assert said.startswith("Learned 2 kernels of size 12+40 (extrema, best epoch ")
    numbers, missed = f"{100 * test['cr_inverse']:.3g}", f"{test['loss_normalized']:.0%}"
    assert f"{numbers} numbers describe 100 test samples and leave {missed} of the signal unexplained." in said
    assert "φ̄ is 0 for a perfect description and 1 for one that says nothing." in said
    assert "Test and validation are different parts of the data, so their φ̄ may differ." in said
    (command,) = [line for line in end.splitlines() if "python -m" in line]
    quoted = " ".join(map(shlex.quote, [*short, "report=true", "activation=phi_pursuit"]))
    assert command == f"For a lower φ̄: python -m san.train {quoted}"
    again = tmp_path / "again"
    said = printed(train.main, *shlex.split(quoted), f"hydra.run.dir={again}")
    assert said.splitlines()[-1] == f"To describe a recording: python -m san.encode checkpoint={again} path=FILE"


@pytest.mark.slow
def test_a_run_that_explains_nothing_advises_a_sweep_of_the_same_data_that_runs_as_printed(
    printed, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.random.default_rng(0).standard_normal((10, 60)).cumsum(1))
    of_data = ["dataset=numpy", "path=x.npy", "dataset.scaling=all"]
    others = ["activation=identity", "kernel_size=4", "decoder=adjoint", "logger=csv", "figure=[]"]
    said = printed(train.main, *of_data, *others, "trainer.max_epochs=1", "hydra.run.dir=run")
    assert results(tmp_path / "run")["validation"]["phi"] > 1
    last = said.splitlines()[-1]
    quoted = " ".join(map(shlex.quote, [*of_data, "activations=auto"]))
    assert last.partition(": ")[2] == f"python -m san.sweep {quoted}"
    said = printed(sweep.main, *shlex.split(quoted), "hydra.run.dir=swept")
    assert "Use " in said
    assert results(tmp_path / "swept")["models"]


@pytest.mark.parametrize(
    ("database", "kernel_size", "printed", "tolerance"), [("emgdb", 7, 0.53, 0.02), ("bidmc", 113, 0.32, 0.04)]
)
def test_table_1_comes_out_on_the_real_records(run_train, real_data, database, kernel_size, printed, tolerance):
    arguments = [f"dataset.database={database}", f"kernel_size={kernel_size}", f"paths.data_dir={real_data}"]
    folder, _ = run_train("run", *arguments, "n_kernels=1", "initialization=normal")
    assert results(folder)["test"]["phi"] == pytest.approx(printed, abs=tolerance)


def test_progress_can_be_turned_off(run_train, run, tmp_path):
    folder, _ = run_train("run", "trainer.max_epochs=1", "trainer.enable_progress_bar=false")
    silent = run(evaluate.main, f"checkpoint={folder}", "trainer.enable_progress_bar=false",
                 f"hydra.run.dir={tmp_path / 'evaluated'}")  # fmt: skip
    assert silent == (0, "")
    assert "epoch 1 of 1" not in (folder / "train.log").read_text(encoding="utf-8")

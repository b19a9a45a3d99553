"""Callbacks and loggers that a user chooses by configuration."""

import csv
import re
from pathlib import Path

import pytest
from conftest import results

from san import evaluate

LEGACY = Path(__file__).parent / "data" / "growing_dropout_extrema.ckpt"


def rows(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_two_loggers_write_side_by_side(run_train):
    folder, _ = run_train("run", "logger=[tensorboard,csv]", "trainer.max_epochs=2", "figure=[]")
    assert list((folder / "tensorboard").glob("*/events*"))
    logged = {
        row["epoch"]: row["validation/phi"] for row in rows(folder / "csv" / "metrics.csv") if row["validation/phi"]
    }
    assert {float(epoch): float(value) for epoch, value in logged.items()} == pytest.approx(
        dict(enumerate(results(folder)["phi_per_epoch"], start=1))
    )


def test_a_run_without_loggers_writes_its_results(run_train):
    folder, _ = run_train("run", "logger=[]", "trainer.max_epochs=1", "figure=[]")
    assert results(folder)["best_epoch"] == 1
    assert not (folder / "tensorboard").exists()


def test_a_logger_whose_package_is_missing_is_one_line(run_train):
    _, said = run_train("run", "logger=wandb", "trainer.max_epochs=1", fails=True)
    assert said.startswith("san: logger.wandb needs a package that is not installed: ")
    assert "pip install" in said


@pytest.mark.parametrize(("rate", "learns"), [(0.01, True), (0, False)])
def test_overfitting_says_whether_one_batch_is_learned(run_train, rate, learns):
    short = ["debug=overfit", "trainer.max_epochs=20", f"optimizer.lr={rate}", "logger=csv", "figure=[]"]
    folder, _ = run_train("run", *short)
    said = (folder / "train.log").read_text(encoding="utf-8")
    losses = re.findall(r"training loss ([\d.]+),", said)
    expected = "it learns" if learns else "it does not learn; try another optimizer.lr"
    assert f"the training loss went from {losses[0]} to {losses[-1]} in 20 epochs: {expected}" in said


def test_early_stopping_ends_the_training_and_the_phi_checkpoint_stays_on(run_train):
    stopping = [
        "callbacks=[early_stopping]",
        "callbacks.early_stopping.patience=1",
        "callbacks.early_stopping.min_delta=9",
    ]
    folder, _ = run_train("run", *stopping, "trainer.max_epochs=9", "figure=[]")
    left = results(folder)
    assert len(left["phi_per_epoch"]) == 2
    assert left["validation"]["phi"] == min(left["phi_per_epoch"])
    assert (folder / "checkpoints" / "best.ckpt").is_file()


def test_the_learning_rate_is_logged(run_train):
    folder, _ = run_train("run", "callbacks=[lr_monitor]", "logger=csv", "trainer.max_epochs=2", "figure=[]")
    assert any(row.get("lr-Adam") == "0.01" for row in rows(folder / "csv" / "metrics.csv"))


def test_without_the_phi_checkpoint_the_last_epoch_is_tested_and_nothing_is_kept(run_train):
    common = ["trainer.max_epochs=3", "figure=[]", "logger=[]"]
    kept, _ = run_train("kept", *common, "protocol.tested_epoch=last")
    removed, _ = run_train("removed", *common, "~callbacks.phi_checkpoint")
    assert not (removed / "checkpoints").exists()
    for key in ("best_epoch", "validation", "test", "phi_per_epoch"):
        assert results(removed)[key] == results(kept)[key]


def test_nothing_resumes_without_the_phi_checkpoint(run_train, tmp_path):
    run_train("run", "trainer.max_epochs=1", "figure=[]")
    _, said = run_train("other", "~callbacks.phi_checkpoint", f"checkpoint={tmp_path / 'run'}", fails=True)
    assert "callbacks.phi_checkpoint" in said


@pytest.mark.parametrize(
    ("argument", "reason"),
    [
        ("+callbacks.mine._target_=pytorch_lightning.callbacks.ModelCheckpoint", "allow=[pytorch_lightning]"),
        ("+callbacks.mine._target_=os.system", "is not allowed"),
        ("callbacks.kernel_figures._target_=san.train.main", "is not allowed"),
        ("logger.tensorboard._target_=san.storage.files.replacing", "is not allowed"),
    ],
)
def test_another_callback_or_logger_is_refused_in_one_line(run_train, argument, reason):
    _, said = run_train("run", argument, "trainer.max_epochs=1", fails=True)
    assert reason in said
    assert len(said.strip().splitlines()) == 1


def test_a_checkpoint_of_an_earlier_version_still_loads(run, tmp_path):
    """Its classes had other names then; the metrics are those of that version."""
    code, said = run(evaluate.main, f"checkpoint={LEGACY}", f"hydra.run.dir={tmp_path / 'run'}")
    assert code == 0, said
    left = results(tmp_path / "run")
    assert (left["activation"], left["n_weights"], left["best_epoch"]) == ("dropout_extrema", 16, 2)
    expected = {"phi": 0.6521353721618652, "cr_inverse": 0.2905000150203705, "loss_normalized": 0.5807181000709534}
    assert {name: left["test"][name] for name in expected} == pytest.approx(expected, abs=1e-6)

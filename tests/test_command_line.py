"""The commands in separate processes, started in other folders."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import san

PROJECT = Path(__file__).parents[1]
SCRIPT_NAMES = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
SCRIPTS = Path(sys.executable).parent


def start(*command, cwd, **environment):
    inherited = {key: value for key, value in os.environ.items() if key not in ("SAN_DATA_DIR", "PYTHONPATH")}
    finished = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished


def test_console_scripts_work_from_any_folder(tmp_path):
    start(SCRIPTS / "san-train", "trainer.max_epochs=1", "figure=[]", "hydra.run.dir=run", cwd=tmp_path)
    evaluated = start(SCRIPTS / "san-evaluate", "checkpoint=run", "hydra.run.dir=evaluated", cwd=tmp_path)
    trained, tested = (
        json.loads((tmp_path / name / "results.json").read_text(encoding="utf-8")) for name in ("run", "evaluated")
    )
    assert trained["test"] == tested["test"]
    assert f"{tested['test']['phi']:.4f}" in evaluated.stdout


@pytest.mark.slow
def test_two_processes_give_the_numbers_of_one_in_one_folder(tmp_path):
    """Use numbers of examples that two processes cannot share evenly; one process has no validation example."""
    common = [sys.executable, "-m", "san.train", "dataset.split=[5,1,3]", "trainer.max_epochs=3", "kernel_size=20"]
    start(*common, "hydra.run.dir=one", cwd=tmp_path)
    two = ["trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu"]
    said = start(*common, "hydra.run.dir=two", *two, cwd=tmp_path)
    one, two = (json.loads((tmp_path / name / "results.json").read_text(encoding="utf-8")) for name in ("one", "two"))
    assert one["phi_per_epoch"] == pytest.approx(two["phi_per_epoch"], abs=1e-5)
    assert one["best_epoch"] == two["best_epoch"]
    for split in ("validation", "test"):
        for name in ("phi", "cr_inverse", "loss_normalized"):
            assert one[split][name] == pytest.approx(two[split][name], abs=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]
    assert said.stdout.count("epoch 3 of 3") == 1


@pytest.mark.slow
def test_two_processes_sweep_as_one(tmp_path):
    common = [
        sys.executable, "-m", "san.sweep", "dataset.split=[5,1,3]", "trainer.max_epochs=3", "kernel_sizes=[5,20,60]",
        "activations=[extrema,identity]", "initialization=normal", "logger=csv",
    ]  # fmt: skip
    start(*common, "hydra.run.dir=one", cwd=tmp_path)
    start(*common, "hydra.run.dir=two", "trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu", cwd=tmp_path)
    one, two = (
        json.loads((tmp_path / name / "results.json").read_text(encoding="utf-8"))["models"] for name in ("one", "two")
    )
    for model, expected in zip(two, one, strict=True):
        assert model["phi_per_epoch"] == pytest.approx(expected["phi_per_epoch"], abs=1e-5)
        assert model["best_epoch"] == expected["best_epoch"]
        assert model["test"] == pytest.approx(expected["test"], abs=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


@pytest.mark.slow
def test_two_processes_train_the_classifier_of_one(write_images, tmp_path):
    write_images("MNIST")
    common = [
        sys.executable, "-m", "san.train", "dataset=mnist", "dataset.n_validation=10", "batch_size=3", "classifier=fnn",
        "classifier.batch_size=3", "trainer.max_epochs=1", f"paths.data_dir={tmp_path}",
    ]  # fmt: skip
    two = ["trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu"]
    start(*common, "hydra.run.dir=one", cwd=tmp_path)
    start(*common, "hydra.run.dir=two", *two, cwd=tmp_path)
    one, two = (
        json.loads((tmp_path / name / "results.json").read_text(encoding="utf-8"))["classifier"]
        for name in ("one", "two")
    )
    for found, expected in ((two, one), (two["baseline"], one["baseline"])):
        assert found["test"]["confusion"] == expected["test"]["confusion"]
        assert (found["best_epoch"], found["validation_accuracy"]) == (
            expected["best_epoch"], pytest.approx(expected["validation_accuracy"]),
        )  # fmt: skip
    assert len(list((tmp_path / "outputs" / "cache").iterdir())) == 2


@pytest.mark.slow
def test_every_rank_logs_the_phi_of_one_process_on_the_same_weights(tmp_path):
    program = """
import json, sys, torch
import pytorch_lightning as pl
from san.activations import Extrema
from san.data.splits import Splits
from san.networks import SparselyActivatedNetwork
from san.training.data_module import SplitsDataModule
from san.training.san_module import SANModule

devices = int(sys.argv[1])
torch.manual_seed(0)
x = torch.randn(7, 1, 60)
module = SANModule(SparselyActivatedNetwork([5, 8], Extrema()), loss=torch.nn.functional.l1_loss,
                   optimizer=torch.optim.Adam, count_weights="samples")
trainer = pl.Trainer(accelerator="cpu", devices=devices, strategy="ddp" if devices > 1 else "auto", logger=False,
                     use_distributed_sampler=False, enable_progress_bar=False, enable_checkpointing=False)
trainer.validate(module, SplitsDataModule(Splits("x", x, x, x).examples, 3, None), verbose=False)
metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
open(f"{devices}-{trainer.global_rank}.json", "w").write(json.dumps(metrics))
"""
    (tmp_path / "program.py").write_text(program, encoding="utf-8")
    for devices in (1, 2):
        start(sys.executable, "program.py", str(devices), cwd=tmp_path)
    alone, *ranks = (
        json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8")) for name in ("1-0", "2-0", "2-1")
    )
    assert alone.keys() == {"validation/phi", "validation/cr_inverse", "validation/loss_normalized"}
    for rank in ranks:
        assert rank == pytest.approx(alone, abs=1e-6)


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_is_printed_without_loading_what_a_run_needs(tmp_path, flag):
    slow = {"torch", "numpy", "matplotlib", "pandas", "rich", "pytorch_lightning", "joblib"}
    program = f"import sys, san.train\nsan.train.main()\nprint(sorted({slow} & sys.modules.keys()))"
    said = start(sys.executable, "-c", program, flag, "dataset=csv", cwd=tmp_path)
    assert said.stdout.splitlines()[-1] == "[]"
    assert "* csv" in said.stdout
    assert list(tmp_path.iterdir()) == []


def test_help_that_nobody_reads_to_its_end_is_no_mistake(tmp_path):
    command, environment = [sys.executable, "-m", "san.train", "--help"], {**os.environ, "PYTHONPATH": str(PROJECT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, **pipes) as shown:
        shown.stdout.close()
        assert shown.stderr.read() == b""
        assert shown.wait(120) == 0


def test_other_options_of_hydra_still_work(tmp_path):
    assert "kernel_size: 9" in start(SCRIPTS / "san-train", "--cfg", "job", "kernel_size=9", cwd=tmp_path).stdout
    assert "hydra/launcher" in start(SCRIPTS / "san-train", "--hydra-help", cwd=tmp_path).stdout


@pytest.mark.parametrize("script", SCRIPT_NAMES)
def test_the_version_is_that_of_the_package_whatever_is_installed_under_the_name(tmp_path, script):
    other = tmp_path / "other" / "san-9.9.dist-info" / "METADATA"
    other.parent.mkdir(parents=True)
    other.write_text("Metadata-Version: 2.1\nName: san\nVersion: 9.9\n", encoding="utf-8")
    module = [sys.executable, "-m", script.replace("-", ".")]
    said = start(*module, "--version", cwd=tmp_path, PYTHONPATH=f"{PROJECT}{os.pathsep}{other.parents[1]}")
    assert said.stdout == f"san {san.__version__}\n"

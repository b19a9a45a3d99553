"""The commands in separate processes, started in other folders."""

import json
import os
import pkgutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from conftest import COMMANDS

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


@pytest.mark.slow
def test_console_scripts_work_from_any_folder(tmp_path):
    start(SCRIPTS / "san-train", "trainer.max_epochs=1", "figure=[]", "hydra.run.dir=run", cwd=tmp_path)
    evaluated = start(SCRIPTS / "san-evaluate", "checkpoint=run", "hydra.run.dir=evaluated", cwd=tmp_path)
    trained, tested = (
        json.loads((tmp_path / name / "results.json").read_text(encoding="utf-8")) for name in ("run", "evaluated")
    )
    assert trained["test"] == tested["test"]
    assert f"{tested['test']['phi']:.4f}" in evaluated.stdout


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


@pytest.mark.parametrize(("script", "place"), SCRIPT_NAMES.items())
def test_a_console_script_is_the_program_of_its_command(script, place):
    assert pkgutil.resolve_name(place) is COMMANDS[script.removeprefix("san-")].program

"""The functions of the commands, called with a configuration of ``hydra.compose``, without a command line."""

import os
import re
import subprocess
import sys
from pathlib import Path

import hydra
import pytest
from conftest import results, table
from omegaconf import OmegaConf

from san import evaluate, sweep, train
from san.cli.composition import is_checked
from san.cli.config import CONF

SHORT = ["dataset=synthetic", "dataset.space=[200]", "trainer.max_epochs=2", "logger=[]"]
TRAIN = [*SHORT, "kernel_size=9", "activation=topk_absolutes", "figure=[]"]
SWEEP = [*SHORT, "kernel_sizes=[5,9]", "activation=phi_pursuit", "activation.max_work=1e6", "figure=[]"]


@pytest.fixture
def composed():
    """Compose a configuration of a command, outside of any command."""

    def composed(name, *overrides):
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            return hydra.compose(name, list(overrides))

    return composed


def computed(found):
    return {key: value for key, value in found.items() if key not in ("config", "wall_seconds")}


def test_train_and_evaluate_have_the_results_of_their_commands(composed, run, run_train, tmp_path):
    expected, _ = run_train("command", *TRAIN)
    with pytest.raises(ValueError, match="output_dir is not known without a run of Hydra: add the override"):
        train.train(composed("train", *TRAIN))
    config = composed("train", *TRAIN, f"paths.output_dir={tmp_path / 'function'}")
    before = OmegaConf.to_container(config, resolve=False)
    phi = train.train(config)
    assert OmegaConf.to_container(config, resolve=False) == before
    found = results(tmp_path / "function")
    assert computed(found) == computed(results(expected))
    assert phi == found["validation"]["phi"]
    assert found["config"]["activation_name"] == "topk_absolutes"
    code, said = run(evaluate.main, f"checkpoint={expected}", f"hydra.run.dir={tmp_path / 'evaluated'}")
    assert code == 0, said
    where = f"paths.output_dir={tmp_path / 'again'}"
    phi = evaluate.evaluate(composed("evaluate", f"checkpoint={expected}", where))
    again = results(tmp_path / "again")
    assert computed(again) == computed(results(tmp_path / "evaluated"))
    assert phi == again["test"]["phi"] == found["test"]["phi"]
    assert not is_checked()


def test_sweep_has_the_results_of_its_command(composed, run, tmp_path):
    code, said = run(sweep.main, *SWEEP, f"hydra.run.dir={tmp_path / 'command'}")
    assert code == 0, said
    phi = sweep.sweep(composed("sweep", *SWEEP, f"paths.output_dir={tmp_path / 'function'}"))
    assert computed(results(tmp_path / "function")) == computed(results(tmp_path / "command"))
    rows = [table(tmp_path / folder / "sweep.csv") for folder in ("function", "command")]
    assert rows[0] == rows[1]
    assert phi == min(model["validation"]["phi"] for model in results(tmp_path / "function")["models"])


@pytest.mark.slow
def test_the_code_of_the_page_runs(monkeypatch, tmp_path):
    page = (Path(__file__).parents[1] / "docs" / "python.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    found = {}
    exec(code, found)  # noqa: S102 (the page is of this project)
    assert found["phi"] == results(tmp_path / "outputs" / "mine")["validation"]["phi"]


PROGRAM = """
import sys, hydra
from san.cli.config import CONF
from san.train import train
from san.sweep import sweep
from san.evaluate import evaluate

assert "torch" not in sys.modules
with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
    for name, function, overrides in (
        ("train", train, ["paths.data_dir=."]),
        ("evaluate", evaluate, ["checkpoint=absent"]),
        ("sweep", sweep, ["activations=[relu,extrema]", "paths.output_dir=out"]),
        ("train", train, ["trainer.devices=2", "paths.output_dir=out"]),
        ("train", train, ["seed=-1", "paths.output_dir=out"]),
        ("train", train, ["paths.output_dir=[]"]),
    ):
        try:
            function(hydra.compose(name, overrides))
        except ValueError as error:
            print(error)
try:
    train({"dataset": "synthetic"})
except TypeError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_value_that_only_a_run_of_hydra_knows_is_asked_for(tmp_path):
    """In a process of its own, where Hydra has never run."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr
    missing = "paths.output_dir is not known without a run of Hydra: add the override paths.output_dir=FOLDER"
    said = done.stdout.splitlines()
    assert said[:2] == [missing, missing]
    assert said[2].startswith("activations=['relu', 'extrema'] is for the command line: call the function once for")
    assert said[3].startswith("trainer.devices=2: 2 processes are for the command line")
    assert said[4:] == [
        "seed=-1 must be an integer from 0 to 4294967295",
        "paths.output_dir=[] must be a text that is not empty",
        "the configuration is a dict: compose it by hydra.compose",
    ]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["train", "sweep", "evaluate"])
def test_the_help_of_a_command_imports_no_torch(command, tmp_path):
    program = f"import sys; from san.{command} import {command}, main; main(); assert 'torch' not in sys.modules"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program, "--help"], capture_output=True, text=True, check=False, cwd=tmp_path,
        env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"python -m san.{command}" in done.stdout

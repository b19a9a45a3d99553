"""A user's own parts, in a package outside the checkout, with the wheel installed."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
PARTS = """
import pytorch_lightning as pl
import torch
from matplotlib.figure import Figure
from torch import nn

from san.activations import SparseActivation
from san.data.splits import Labels, Splits
from san.networks import Encoder, SparselyActivatedNetwork


class Threshold(SparseActivation):
    def __init__(self, share):
        super().__init__()
        self.share = share

    def select(self, similarity, density):
        size = similarity.abs()
        return similarity.where(size >= self.share * size.amax(2, keepdim=True), 0)


class Strongest(Encoder):
    def encode(self, x, network):
        similarity = network.similarity(x)
        return similarity.where(similarity.abs() == similarity.abs().amax(2, keepdim=True), 0)


def load(*, n, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(3 * n, 1, 200, generator=generator).cumsum(-1)
    labels = torch.arange(3 * n) % 2
    return Splits("mine/walks", *x.split(n), labels=Labels(["even", "odd"], *labels.split(n)))


def draw(run):
    figure = Figure()
    figure.add_subplot().plot(run.phi_per_epoch)
    return figure


class Linear(nn.Sequential):
    def __init__(self, space, n_classes):
        super().__init__(nn.Flatten(), nn.Linear(torch.Size(space).numel(), n_classes))


class Counter(pl.Callback):
    def __init__(self, path):
        self.path = path

    def on_train_epoch_end(self, trainer, pl_module):
        with open(self.path, "a", encoding="utf-8") as file:
            file.write("epoch ")


def huber(input, target, reduction="mean"):
    return nn.functional.huber_loss(input, target, reduction=reduction)


class SlowAdam(torch.optim.Adam):
    pass


class Network(SparselyActivatedNetwork):
    pass
"""
YAMLS = {
    "activation/mine.yaml": "_target_: mine.Threshold\nshare: 0.5\n",
    "activation/strongest.yaml": "_target_: mine.Strongest\n",
    "dataset/mine.yaml": "# @package _global_\nkernel_size: 12\ntrainer:\n  max_epochs: 2\n"
    "dataset:\n  _target_: mine.load\n  n: 10\n  seed: ${seed}\n",
    "figure/mine.yaml": "mine:\n  _target_: mine.draw\n  _partial_: true\n",
    "classifier/mine.yaml": "defaults:\n  - cnn\nmodel:\n  _target_: mine.Linear\nmax_epochs: 1\nbatch_size: 4\n",
    "callbacks/mine.yaml": "mine:\n  _target_: mine.Counter\n  path: epochs.txt\n",
    "loss/mine.yaml": "_target_: mine.huber\n_partial_: true\n",
    "optimizer/mine.yaml": "_target_: mine.SlowAdam\n_partial_: true\nlr: 0.001\n",
    "network/mine.yaml": "_target_: mine.Network\n_partial_: true\n",
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the installed wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "wheel", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", "--wheel-dir", folder, PROJECT], check=True, timeout=300)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "installed")
    return folder / "installed"


@pytest.fixture
def start(installed, tmp_path):
    """Run a command of the wheel in a scratch folder with the user's package; return the exit code and both streams."""
    (tmp_path / "mine.py").write_text(PARTS, encoding="utf-8")
    for name, content in YAMLS.items():
        (tmp_path / "own" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "own" / name).write_text(content, encoding="utf-8")

    def start(command, *arguments, **environment):
        inherited = {key: value for key, value in os.environ.items() if key not in ("SAN_DATA_DIR", "SAN_ALLOW")}
        ran = subprocess.run(
            [sys.executable, "-m", f"san.{command}", *arguments],
            cwd=tmp_path,
            env=inherited | {"PYTHONPATH": str(installed)} | environment,
            capture_output=True,
            encoding="utf-8",
            timeout=300,
        )
        return ran.returncode, ran.stdout, ran.stderr

    return start


def metrics(folder):
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))["test"]


ALL = [
    "activation=mine",
    "dataset=mine",
    "figure=[mine,kernels]",
    "classifier=mine",
    "callbacks=[mine]",
    "loss=mine",
    "optimizer=mine",
    "network=mine",
]


@pytest.mark.slow
def test_parts_of_a_users_package_train_and_evaluate(start, tmp_path):
    code, _, said = start("train", "--config-dir", "own", *ALL, "allow=[mine]", "hydra.run.dir=run")
    assert code == 0, said
    assert {path.name for path in (tmp_path / "run" / "figures").iterdir()} >= {"mine.png", "confusion_matrix.png"}
    assert (tmp_path / "epochs.txt").read_text(encoding="utf-8").split() == ["epoch", "epoch"]
    assert (tmp_path / "run" / "checkpoints" / "best.ckpt").is_file()
    code, _, said = start("evaluate", "checkpoint=run", "hydra.run.dir=evaluated", SAN_ALLOW="mine")
    assert code == 0, said
    assert metrics(tmp_path / "evaluated") == metrics(tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_an_encoder_of_a_users_package_sweeps(start, tmp_path, processes):
    several = ["trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu"] if processes == 2 else []
    common = [
        "activations=[strongest,extrema]",
        "kernel_sizes=[8,12]",
        "trainer.max_epochs=1",
        "logger=[csv]",
        *several,
    ]
    code, _, said = start("sweep", "--config-dir", "own", *common, "allow=[mine]", "hydra.run.dir=run")
    assert code == 0, said
    rows = (tmp_path / "run" / "sweep.csv").read_text(encoding="utf-8")
    assert rows.count("strongest,") == rows.count("extrema,") == 2


@pytest.mark.slow
def test_an_encoder_and_a_loss_of_a_users_package_are_compared_by_worker_processes(start, tmp_path):
    pytest.importorskip("sklearn", reason="the baseline methods are not installed")
    grid = [f"grids.signals.patches_omp.{key}" for key in ("kernel_size=[10]", "n_kernels=[1,2]", "alpha=1")]
    common = ["kernel_sizes=[8,12]", "n_kernels=[1,2]", "trainer.max_epochs=1", "dataset=mine", "loss=mine"]
    methods = ["activations=[strongest]", "peers=[patches_omp]", "jobs=2", "allow=[mine]"]
    code, _, said = start("compare", "--config-dir", "own", *common, *methods, *grid, "hydra.run.dir=run")
    assert code == 0, said
    compared = json.loads((tmp_path / "run" / "results.json").read_text(encoding="utf-8"))
    assert [method["method"] for method in compared["methods"]] == ["strongest", "patches_omp"]


@pytest.mark.slow
def test_a_package_that_is_not_allowed_is_refused_in_one_line(start, tmp_path):
    (tmp_path / "mine.py").write_text("open('imported', 'w').close()\n", encoding="utf-8")
    for arguments in (
        ["activation=mine"],
        ["dataset=mine"],
        ["figure=[mine]"],
        ["+callbacks.mine._target_=mine.Counter"],
    ):
        code, _, said = start("train", "--config-dir", "own", *arguments)
        assert code == 1
        assert len(said.strip().splitlines()) == 1
        assert "allow=[mine]" in said
        assert "SAN_ALLOW=mine" in said
    assert not (tmp_path / "imported").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "content", ["allow: [mine]\n", "allow: mine\nhydra:\n  job:\n    env_set:\n      SAN_ALLOW: mine\n"]
)
def test_no_file_allows_a_package(start, tmp_path, content):
    (tmp_path / "own" / "experiment").mkdir()
    text = f"# @package _global_\ndefaults:\n  - override /activation: mine\n{content}"
    (tmp_path / "own" / "experiment" / "theirs.yaml").write_text(text, encoding="utf-8")
    code, _, said = start("train", "--config-dir", "own", "experiment=theirs")
    assert code == 1
    assert len(said.strip().splitlines()) == 1
    assert "allow" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("argument", "reason"),
    [
        ("allow=[os]", "standard library"),
        ("allow=[mine.parts]", "top-level package"),
        ("allow=[absent]", "allow=[mine]"),
    ],
)
def test_a_wrong_allow_is_one_line(start, argument, reason):
    code, _, said = start("train", "--config-dir", "own", "activation=mine", argument)
    assert code == 1
    assert len(said.strip().splitlines()) == 1
    assert reason in said


@pytest.mark.slow
def test_a_broken_module_of_a_user_is_one_line(start, tmp_path):
    (tmp_path / "mine.py").write_text("import absent_package\n", encoding="utf-8")
    code, _, said = start("train", "--config-dir", "own", "activation=mine", "allow=[mine]")
    assert code == 1
    assert len(said.strip().splitlines()) == 1
    assert "absent_package" in said

import csv
import gc
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import settings

from san import compare, decode, encode, evaluate, reproduce, sweep, train
from san.cli.composition import checked_composition
from san.cli.config import CONF, PACKAGE, compose_from_package

COMMANDS = {
    "train": train,
    "sweep": sweep,
    "evaluate": evaluate,
    "encode": encode,
    "decode": decode,
    "compare": compare,
    "reproduce": reproduce,
}
PRINTED = PACKAGE / "reporting" / "printed"
# Options of the loaders of recordings.
OPTIONS = {
    "window": 100,
    "stride": None,
    "nan": "refuse",
    "fractions": [0.5, 0.2, 0.3],
    "scaling": "none",
    "value_range": [-1, 1],
    "scaled_by": "train",
}

gc.disable()  # until all tests are collected

# The suite runs in as many processes as there are cores; the processes that tests start get one thread, too.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("default", deadline=None, max_examples=150, derandomize=True)
settings.load_profile("default")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.get_closest_marker("longest") is None)


def pytest_collection_finish():
    """Leave the libraries out of searches for cyclic garbage, which would take a part of the time of each test."""
    gc.freeze()
    gc.enable()
    gc.set_threshold(20_000, 10, 10)


def pytest_unconfigure():
    gc.unfreeze()


def choices(group):
    """Return every choice of a configuration group, so that a new choice is tested without an edit of any test."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def datasets():
    """Return the datasets that need no file of the user; tests/test_own_data.py tests the others."""
    files = {name: CONF / "dataset" / f"{name}.yaml" for name in choices("dataset")}
    return [name for name, file in files.items() if "path: ???" not in file.read_text(encoding="utf-8")]


def results(folder):
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


def refusal(function, *arguments, **options):
    """Return the error of one line of a call."""
    with pytest.raises((ValueError, FileNotFoundError)) as raised:
        function(*arguments, **options)
    said = str(raised.value)
    assert "\n" not in said
    return said


def table(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def compose(tmp_path):
    """Compose a configuration as a command does."""

    def compose(*overrides, name="train"):
        fixed = [f"paths.output_dir={tmp_path}"] + (["activation_name=any"] if name == "train" else [])
        with checked_composition():
            return compose_from_package(name, [*fixed, *overrides])

    return compose


@pytest.fixture
def untyped(monkeypatch):
    """Turn off the type checks of this suite, so that san itself refuses an unknown choice, as for a user."""
    monkeypatch.setattr("jaxtyping.config.jaxtyping_disable", True)


@pytest.fixture
def typed(monkeypatch, untyped):
    """Turn on the type checks of this suite in a test of a command, which runs without them, as for a user."""
    monkeypatch.setattr("jaxtyping.config.jaxtyping_disable", False)


@pytest.fixture
def run(monkeypatch, capsys, untyped):
    """Run a command in this process; return its exit code and its standard error."""

    def run(command, *arguments):
        monkeypatch.setattr(sys, "argv", [command.__module__, *arguments])
        try:
            command()
        except SystemExit as stop:
            if isinstance(stop.code, str):
                return 1, stop.code
            return stop.code or 0, capsys.readouterr().err
        return 0, capsys.readouterr().err

    return run


def bare(arguments, **groups):
    """Return overrides without what takes most of the time of a short run, unless the arguments choose it."""
    chosen = {argument.lstrip("+~").partition("=")[0].partition(".")[0] for argument in arguments}
    return [*arguments, *(f"{group}={choice}" for group, choice in groups.items() if group not in chosen)]


@pytest.fixture
def run_train(run, tmp_path):
    """Train into a folder of the test, by default without logs and figures; return the folder and standard error."""

    def run_train(folder, *arguments, fails=False, as_user=False):
        where = f"hydra.{'sweep' if '-m' in arguments else 'run'}.dir={tmp_path / folder}"
        given = arguments if as_user else bare(arguments, logger="[]", figure="[]")
        code, said = run(train.main, *given, where)
        assert (code != 0) == fails, said
        return tmp_path / folder, said

    return run_train


@pytest.fixture
def run_sweep(run, tmp_path):
    """Sweep into a folder of the test, by default without figures; return the folder and standard error."""

    def run_sweep(folder, *arguments, fails=False, as_user=False):
        given = arguments if as_user else bare(arguments, logger="csv", figure="[]")
        code, said = run(sweep.main, *given, f"hydra.run.dir={tmp_path / folder}")
        assert (code != 0) == fails, said
        return tmp_path / folder, said

    return run_sweep


@pytest.fixture
def offline(monkeypatch):
    """Refuse connections at once, as on a machine without network."""
    monkeypatch.setattr("san.data.wfdb_files.WAITS", ())
    monkeypatch.setattr("wfdb.io.download.PN_CONTENT_URL", "http://127.0.0.1:9/content/")
    monkeypatch.setattr("wfdb.io.download.config.db_index_url", "http://127.0.0.1:9/files/")
    for collection in (torchvision.datasets.MNIST, torchvision.datasets.FashionMNIST):
        monkeypatch.setattr(collection, "mirrors", ["http://127.0.0.1:9/"])


@pytest.fixture(scope="session")
def real_data():
    """Return the folder of real data; skip the test without one."""
    folder = Path(os.environ.get("SAN_DATA_DIR", "data")).resolve()
    if not (folder / "physionet").is_dir():
        pytest.skip("no real data: set SAN_DATA_DIR to a folder with physionet/")
    return folder


@pytest.fixture
def write_images(tmp_path):
    """Write a small collection in MNIST's layout: random pixels, except the first, whose last digit is the class."""

    def write_images(collection):
        folder = tmp_path / collection / "raw"
        folder.mkdir(parents=True)
        for prefix, values in (("train", range(1, 21)), ("t10k", range(101, 111))):
            pixels = np.random.default_rng(0).integers(0, 256, (len(values), 784), dtype=np.uint8)
            pixels[:, 0] = values
            header = b"".join(number.to_bytes(4, "big") for number in (0x803, len(values), 28, 28))
            (folder / f"{prefix}-images-idx3-ubyte").write_bytes(header + pixels.tobytes())
            header = b"".join(number.to_bytes(4, "big") for number in (0x801, len(values)))
            (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(header + bytes(value % 10 for value in values))
        return folder

    return write_images

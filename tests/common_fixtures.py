"""The fixtures of the suite, and what each process sets before its first test."""

import functools
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from conftest import bare
from hypothesis import settings
from lightning_fabric.utilities import registry

from san import sweep, train
from san.cli.composition import checked_composition
from san.cli.config import compose_from_package
from san.figures.style import MATPLOTLIB_STYLE

# The suite runs in as many processes as there are cores; the processes that tests start get one thread, too.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # each of them would compile the modules of the package again

settings.register_profile("default", deadline=None, max_examples=150, derandomize=True)
settings.load_profile("default")

# For each trainer, Lightning looks for callbacks in the metadata of all installed packages.
registry.entry_points = functools.cache(registry.entry_points)


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
def outlines(monkeypatch):
    """Draw the letters in PDFs as outlines: to embed a font takes longer than to draw a figure."""
    monkeypatch.setitem(MATPLOTLIB_STYLE, "pdf.fonttype", 3)


@pytest.fixture
def run(monkeypatch, capsys, untyped, outlines):
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

import csv
import gc
import json

import pytest

from san import compare, decode, encode, evaluate, reproduce, sweep, train
from san.cli.config import CONF, PACKAGE

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


def pytest_configure(config):
    """Load the fixtures, which import torch and more, where tests run: not in the process that starts the workers."""
    is_worker = hasattr(config, "workerinput")
    if is_worker or config.getoption("dist", "no") == "no":
        config.pluginmanager.import_plugin("common_fixtures")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.get_closest_marker("longest") is None)


def pytest_collection_finish():
    """Leave the libraries out of searches for cyclic garbage, which would take a part of the time of each test."""
    gc.freeze()
    gc.enable()
    gc.set_threshold(100_000, 10, 100)


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


def bare(arguments, **groups):
    """Return overrides without what takes most of the time of a short run, unless the arguments choose it."""
    chosen = {argument.lstrip("+~").partition("=")[0].partition(".")[0] for argument in arguments}
    return [*arguments, *(f"{group}={choice}" for group, choice in groups.items() if group not in chosen)]

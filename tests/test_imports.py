"""A command imports the libraries that it needs, when it needs them: training alone needs Lightning."""

import gc
import importlib
import subprocess
import sys

import pytest

from san.cli.imports import collection_paused

SLOW = {"pytorch_lightning", "torchmetrics", "torchvision", "torch._dynamo", "scipy.signal", "sklearn", "tensorboard"}
USE = """
import san
model = san.load("run")
description = model.encode(san.example_ecg())
description.events, description.decode(), description.plot()
"""
ENCODE = """
from san import encode
from san.data import wfdb_files
sys.argv[1:] = [
    "checkpoint=run", f"path={wfdb_files.RECORDS / 'mitdb' / '208'}", "channel=MLII", "hydra.run.dir=described",
]
encode.main()
"""
DECODE = """
from san import decode
sys.argv[1:] = ["path=described", "format=npy", "hydra.run.dir=decoded"]
decode.main()
"""


def imported(program, folder):
    """Return which of the slow libraries a program has imported when it ends."""
    watched = f"import atexit, sys\natexit.register(lambda: print('imported', *({SLOW} & sys.modules.keys())))\n"
    ran = subprocess.run(
        [sys.executable, "-c", watched + program],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return set(ran.stdout.splitlines()[-1].split()[1:])


@pytest.mark.slow
def test_the_use_of_a_trained_model_imports_no_library_of_training(run_train, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_train("run", "debug=one_batch", "kernel_size=20")
    assert imported(USE + ENCODE + DECODE, tmp_path) == set()


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_pauses_for_an_import_and_leaves_the_imported_out(monkeypatch, tmp_path, enabled):
    (tmp_path / "of_test.py").write_text("held = [[] for _ in range(100)]\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    was_enabled, before = gc.isenabled(), gc.get_freeze_count()
    (gc.enable if enabled else gc.disable)()
    try:
        with collection_paused():
            assert not gc.isenabled()
        assert gc.get_freeze_count() <= before  # nothing was imported
        with collection_paused():
            importlib.import_module("of_test")
        assert gc.isenabled() == enabled
        assert gc.get_freeze_count() > before + 100
    finally:
        (gc.enable if was_enabled else gc.disable)()
        sys.modules.pop("of_test", None)

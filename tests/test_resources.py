"""Runs leave no memory and no open file behind, and do not depend on the number of loader workers."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import results

from san import evaluate, sweep, train
from san.cli.config import PACKAGE

TINY = ["trainer.max_epochs=1", "dataset.signal_length=200"]


@pytest.fixture
def run_once(run, tmp_path):
    def run_once(command, folder, *arguments):
        kind = "sweep" if "-m" in arguments else "run"
        code, said = run(command.main, *arguments, f"hydra.{kind}.dir={tmp_path / folder}")
        assert code == 0, said

    return run_once


def open_files():
    return sorted(str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink())


def resident():
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
def test_files_are_closed_after_every_command(run_once, tmp_path):
    def everything(turn):
        run_once(train, f"{turn}/multirun", "-m", *TINY, "kernel_size=5,6", "logger=csv", "figure=[]")
        run_once(train, f"{turn}/train", *TINY, "kernel_size=5")
        run_once(evaluate, f"{turn}/evaluate", f"checkpoint={tmp_path / turn / 'train'}")
        run_once(sweep, f"{turn}/sweep", *TINY, "kernel_sizes=[3,5]")
        gc.collect()

    everything("first")  # fonts, compiled operators and streams of libraries are opened once
    before = open_files()
    everything("second")
    assert open_files() == before
    assert not [name for name in before if name.startswith(str(tmp_path))]


def test_a_failed_run_closes_its_files(run, tmp_path):
    code, said = run(train.main, *TINY, "optimizer.lr=1e30", f"hydra.run.dir={tmp_path / 'run'}", "logger=csv")
    assert (code, "not finite" in said) == (1, True)
    gc.collect()
    assert not [name for name in open_files() if name.startswith(str(tmp_path))]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")
@pytest.mark.parametrize("shuffle", ["true", "false"])
def test_results_do_not_depend_on_the_number_of_loader_workers(run_once, tmp_path, shuffle):
    kept = []
    for workers in (0, 1, 4, 0):
        folder = f"workers-{len(kept)}"
        run_once(train, folder, "trainer.max_epochs=3", "kernel_size=20", "batch_size=1", f"shuffle={shuffle}",
                 f"num_workers={workers}", "figure=[]", "logger=csv")  # fmt: skip
        left = results(tmp_path / folder)
        assert left["config"].pop("num_workers") == workers
        del left["wall_seconds"], left["config"]["paths"]
        kept.append(left)
    assert kept[0] == kept[1] == kept[2] == kept[3]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_a_sweep_with_classifiers_does_not_depend_on_the_number_of_loader_workers(run_once, write_images, tmp_path):
    write_images("MNIST")
    kept = []
    for workers in (0, 2):
        run_once(
            sweep, f"{workers}", "dataset=mnist", "dataset.n_validation=10", "batch_size=5", "trainer.max_epochs=2",
            "classifier=fnn", "classifier.batch_size=5", "classifier.max_epochs=2", "classifier.max_memory=0",
            "kernel_sizes=[2,3]", "logger=csv", f"num_workers={workers}", f"paths.data_dir={tmp_path}",
            f"paths.cache_dir={tmp_path / f'cache-{workers}'}",
        )  # fmt: skip
        kept.append(results(tmp_path / f"{workers}")["models"])
    assert kept[0] == kept[1]


def test_a_negative_number_of_workers_is_refused(run, tmp_path):
    code, said = run(train.main, *TINY, "num_workers=-1", f"hydra.run.dir={tmp_path / 'run'}")
    assert (code, said.strip()) == (1, "san: num_workers=-1 must be an integer from 0 to 4294967295")


@pytest.mark.longest
@pytest.mark.slow
def test_forty_sweeps_grow_memory_by_less_than_a_fiftieth(run_once):
    """Compare the memory with the memory after ten sweeps; each starts Hydra and writes a table and figures."""
    for count in range(40):
        run_once(sweep, "sweep", *TINY, "kernel_sizes=[3,5]", "figure=[kernels]")
        if count == 9:
            gc.collect()
            before, files = resident(), open_files()
    gc.collect()
    assert len(open_files()) <= len(files)
    print(f"memory after 10 sweeps {before / 1e6:.0f} MB, after 40 {resident() / 1e6:.0f} MB")
    assert resident() < 1.02 * before


# Prints what is written outside a folder, and every connection.
WATCHED = """
import os, runpy, sys
places, sys.argv = sys.argv[1:3], ["san", *sys.argv[3:]]
def watch(event, arguments):
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    if writes or event == "os.mkdir":
        if not os.fsdecode(arguments[0]).startswith((*places, "/dev/")):
            print("watched:", event, arguments)
    elif event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        print("watched:", event, arguments)
sys.addaudithook(watch)
sys.audit("os.mkdir", "control")
runpy.run_module("san.train", run_name="__main__")
"""


@pytest.mark.slow
def test_a_command_sends_nothing_and_writes_only_to_the_documented_places(tmp_path):
    homes = {"HOME": "home", "XDG_CACHE_HOME": "home/.cache", "XDG_CONFIG_HOME": "home/.config", "TMPDIR": "temporary"}
    (tmp_path / "temporary").mkdir()
    environment = {**os.environ, **{name: str(tmp_path / place) for name, place in homes.items()}}
    for name in ("MPLCONFIGDIR", "TORCHINDUCTOR_CACHE_DIR"):  # torch sets the second when it is imported
        environment.pop(name, None)
    arguments = [*TINY, "kernel_size=5", f"hydra.run.dir={tmp_path / 'run'}", f"paths.cache_dir={tmp_path / 'cache'}"]
    command = [sys.executable, "-B", "-c", WATCHED, tmp_path, PACKAGE / "ops" / "compiled", *arguments]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    watched = [line for line in finished.stdout.splitlines() if line.startswith("watched:")]
    assert watched == ["watched: os.mkdir ('control',)"]
    assert {path.relative_to(tmp_path / "home").as_posix() for path in (tmp_path / "home").glob("*/*")} <= {
        ".cache/matplotlib", ".config/matplotlib"
    }  # fmt: skip
    assert {path.name.partition("_")[0] for path in (tmp_path / "temporary").iterdir()} <= {"torchinductor"}

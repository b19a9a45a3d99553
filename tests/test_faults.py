"""Real faults: processes killed or stopped, disks that are full or read-only, losses that diverge.

A test waits for the files of a process, not for a time, so that a busy machine does not change it.
"""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import forked
import numpy as np
import pytest
import torch
from conftest import results, table
from forked import SECONDS, wait
from PIL import Image

from san import evaluate, reproduce, sweep, train
from san.checkpoint import find, read
from san.storage.files import ABANDONED, replacing
from san.training.san_module import SANModule

PROJECT = Path(__file__).parents[1]


def start(*arguments, **options):
    """Start a command in its own session, as a scheduler does."""
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)], cwd=PROJECT, text=True, start_new_session=True,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )  # fmt: skip


def end(process):
    said = process.communicate(timeout=SECONDS)
    return process.returncode, *said


def expect_whole(folder, kills=0):
    """Assert that every file with a final name is whole, and that each kill left at most one unfinished file."""
    for path in folder.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        match path.suffix if path.is_file() else None:
            case ".json":
                json.loads(content)
            case ".ckpt":
                torch.load(path, weights_only=True)
            case ".csv" if path.name != "metrics.csv":  # a log of Lightning
                assert len({len(line.split(",")) for line in content.decode().splitlines()}) == 1, path
                assert content.endswith(b"\n"), path
            case ".png":
                Image.open(path).load()
            case ".pdf":
                assert content.startswith(b"%PDF"), path
                assert content.rstrip().endswith(b"%%EOF"), path
    assert len(list(folder.rglob("*.unfinished"))) <= kills


def numbers(folder):
    """Return the computed results of a run, one entry per model."""
    found = results(folder)
    runs = found.get("models", [found])
    return [{key: run[key] for key in ("phi_per_epoch", "best_epoch", "validation", "test")} for run in runs]


@pytest.fixture
def mounted(tmp_path):
    """Mount a small disk in memory, and unmount it after the test."""
    places = []

    def mounted(size="2m", options="rw"):
        place = tmp_path / f"disk{len(places)}"
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size},{options}", "tmpfs", place]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no disk can be mounted here: {error}")
        places.append(place)
        return place

    yield mounted
    for place in places:
        subprocess.run(["umount", "--lazy", place], check=True)  # noqa: S607


# Files


def test_an_error_while_writing_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("before", encoding="utf-8")

    def write(error):
        with replacing(path) as unfinished:
            unfinished.write_text("half", encoding="utf-8")
            raise error

    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error):
            write(error)
    assert path.read_text(encoding="utf-8") == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_of_the_same_file_do_not_disturb_each_other(tmp_path):
    path = tmp_path / "a.json"
    with replacing(path) as one, replacing(path) as other:
        one.write_text("one", encoding="utf-8")
        other.write_text("other", encoding="utf-8")
    assert path.read_text(encoding="utf-8") == "one"
    assert list(tmp_path.iterdir()) == [path]


def test_old_unfinished_files_of_killed_processes_are_removed(tmp_path):
    old, new, others = (tmp_path / name for name in ("a.json.1.unfinished", "a.json.2.unfinished", "b.json.unfinished"))
    for path in (old, new, others):
        path.write_text("half", encoding="utf-8")
    for path in (old, others):
        os.utime(path, (0, time.time() - 2 * ABANDONED))
    with replacing(tmp_path / "a.json") as unfinished:
        unfinished.write_text("whole", encoding="utf-8")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", new.name, others.name]


# SIGINT and SIGTERM


@pytest.mark.parametrize(
    ("command", "number"),
    [
        (train, signal.SIGINT),
        pytest.param(sweep, signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(train, signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(sweep, signal.SIGINT, marks=pytest.mark.slow),
    ],
)
def test_a_signal_within_an_epoch_keeps_the_epochs_before_exactly(run, tmp_path, monkeypatch, command, number):
    common = ["trainer.max_epochs=6", "figure=[]", "logger=csv"]
    common += ["kernel_sizes=[4,30]"] if command is sweep else ["kernel_size=30"]
    folder = {name: tmp_path / name for name in ("through", "stopped", "resumed")}
    assert run(command.main, *common, f"hydra.run.dir={folder['through']}") == (0, "")
    step = SANModule.training_step

    def stopped(self, batch, batch_index):
        if (self.current_epoch, batch_index) == (3, 1):
            os.kill(os.getpid(), number)
        return step(self, batch, batch_index)

    with monkeypatch.context() as patch:
        patch.setattr(SANModule, "training_step", stopped)
        code, said = run(command.main, *common, f"hydra.run.dir={folder['stopped']}")
    assert code == 128 + number
    assert said == f"san: stopped by {number.name}; resume by checkpoint={folder['stopped']}\n"
    assert not (folder["stopped"] / "results.json").exists()
    expect_whole(folder["stopped"])
    if command is train:
        assert read(find(folder["stopped"], "last"))["epoch"] == 2
    resumed = run(command.main, *common, f"hydra.run.dir={folder['resumed']}", f"checkpoint={folder['stopped']}")
    assert resumed == (0, "")
    assert numbers(folder["resumed"]) == numbers(folder["through"])


@pytest.mark.slow
def test_a_signal_in_the_first_epoch_keeps_the_initial_weights(run, tmp_path, monkeypatch):
    step = SANModule.training_step

    def stopped(self, batch, batch_index):
        if batch_index == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, batch, batch_index)

    common = ["trainer.max_epochs=2", "figure=[]"]
    with monkeypatch.context() as patch:
        patch.setattr(SANModule, "training_step", stopped)
        code, _ = run(train.main, *common, f"hydra.run.dir={tmp_path / 'stopped'}")
    assert code == 143
    resumed = [f"checkpoint={tmp_path / 'stopped'}", f"hydra.run.dir={tmp_path / 'resumed'}"]
    assert run(train.main, *common, *resumed) == (0, "")
    assert run(train.main, *common, f"hydra.run.dir={tmp_path / 'through'}") == (0, "")
    assert numbers(tmp_path / "resumed") == numbers(tmp_path / "through")


@pytest.mark.parametrize("command", [train, sweep])
def test_a_run_that_was_stopped_before_its_training_began_starts_anew(run, tmp_path, command):
    (tmp_path / "stopped" / ".hydra").mkdir(parents=True)
    sizes = ["kernel_sizes=8"] if command is sweep else ["kernel_size=8"]
    common = [*sizes, "trainer.max_epochs=1", "figure=[]", "logger=csv"]
    common += [f"checkpoint={tmp_path / 'stopped'}", f"hydra.run.dir={tmp_path / 'run'}"]
    assert run(command.main, *common) == (0, "")
    (log,) = (tmp_path / "run").glob("*.log")
    assert "was stopped before its training began: it starts now" in log.read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_process_prints_one_line(tmp_path, number, code):
    folder = tmp_path / "run"
    process = start("-m", "san.train", "trainer.max_epochs=100000", f"hydra.run.dir={folder}")
    wait((folder / "checkpoints" / "best.ckpt").is_file)
    process.send_signal(number)
    process.send_signal(number)  # as timeout does, which signals the process and then its group
    assert end(process)[::2] == (code, f"san: stopped by {number.name}; resume by checkpoint={folder}\n")
    expect_whole(folder)
    assert read(find(folder, "last"))["epoch"] >= 0


@pytest.mark.slow
def test_a_signal_ends_a_whole_multirun_and_finished_jobs_are_in_its_table(run, tmp_path, monkeypatch):
    step = SANModule.training_step

    def stopped(self, batch, batch_index):
        if self.network.kernel_sizes == [9, 9]:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, batch, batch_index)

    common = ["-m", "kernel_size=8,9,10", "trainer.max_epochs=1", "figure=[]", f"hydra.sweep.dir={tmp_path / 'runs'}"]
    with monkeypatch.context() as patch:
        patch.setattr(SANModule, "training_step", stopped)
        code, said = run(train.main, *common)
    assert code == 130
    assert said.endswith(f"stopped by SIGINT; resume by hydra.sweep.dir={tmp_path / 'runs'} skip_finished=true\n")
    assert [row["kernel_size"] for row in table(tmp_path / "runs" / "sweep.csv")] == ["8"]
    assert not (tmp_path / "runs" / "2").exists()
    code, said = run(train.main, *common, "skip_finished=true")
    assert code == 0, said
    assert [row["kernel_size"] for row in table(tmp_path / "runs" / "sweep.csv")] == ["8", "9", "10"]


# kill -9


def moments(folder, said, *arguments):
    """Return the numbers of three random file operations of a run, one in each third of it."""
    process = forked.start(*arguments, f"hydra.run.dir={folder}", said=said, watched=folder)
    code, printed, error = forked.end(process, said, SECONDS)
    assert code == 0, error
    count = int(printed.split()[-1])
    draw = random.Random(0)
    return [round(1 + (third + draw.random()) * (count - 1) / 3) for third in range(3)]


@pytest.mark.longest
@pytest.mark.slow
@pytest.mark.parametrize("command", [train, sweep])
def test_a_kill_at_any_moment_leaves_whole_files_and_the_next_run_ends_as_one_that_ran_through(run, tmp_path, command):
    sizes = ["kernel_sizes=[4,30]", "activations=[extrema,relu]"] if command is sweep else ["kernel_size=30"]
    name, common = command.__name__.removeprefix("san."), [*sizes, "trainer.max_epochs=6"]
    through, said = tmp_path / "through", tmp_path / "said"
    for index, moment in enumerate(moments(through, said, name, *common)):
        folder = tmp_path / f"{index}"
        place = [f"hydra.run.dir={folder}", f"checkpoint={folder}"]
        process = forked.start(name, *common, *place, said=said, watched=folder, killed_at=moment)
        assert forked.end(process, said, SECONDS)[0] == -signal.SIGKILL
        expect_whole(folder, kills=1)
        assert run(command.main, *common, *place) == (0, ""), moment
        assert numbers(folder) == numbers(through)
        expect_whole(folder, kills=1)


@pytest.mark.slow
def test_a_comparison_that_is_killed_keeps_its_complete_methods(tmp_path):
    common = ["activations=[relu,extrema]", "peers=[]", "kernel_sizes=[4,30]", "n_kernels=1", "trainer.max_epochs=3"]
    killed, through, said = (tmp_path / name for name in ("killed", "through", "said"))
    place = f"hydra.run.dir={killed}"
    drawn = moments(through, said, "compare", *common)
    for moment in drawn:  # counted from each start, so that the later ones stop in the second method or not at all
        process = forked.start("compare", *common, place, said=said, watched=killed, killed_at=moment)
        code, _, error = forked.end(process, said, SECONDS)
        assert code in (0, -signal.SIGKILL), error
        expect_whole(killed, kills=3)
    assert (killed / "methods" / "relu.json").is_file()
    code, _, error = forked.run("compare", *common, place, said=said, seconds=SECONDS)
    assert code == 0, error
    for one, other in zip(results(killed)["methods"], results(through)["methods"], strict=True):
        assert {**one, "seconds": None} == {**other, "seconds": None}


@pytest.fixture
def reproduction(tmp_path, write_images):
    """Return the arguments of a small reproduction, without the output folder."""
    write_images("MNIST")
    small = ["dataset.n_validation=10", "batch_size=2", "trainer.max_epochs=4", "classifier.batch_size=5"]
    overrides = ",".join(f'"{override}"' for override in small)
    return [
        "tables=[3]", f"paths.data_dir={tmp_path}", f"overrides=[{overrides}]", "jobs=2", "seeds_of.relu=1",
        "roundings=1", "classifier_seeds=1",
    ]  # fmt: skip


def children(process):
    """Return the processes that a process has started, and all their descendants."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text(encoding="utf-8").rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = {process.pid}
    for _ in parents:
        found |= {pid for pid, parent in parents.items() if parent in found}
    return found - {process.pid}


def working(process):
    """Return the training processes of a reproduction."""
    return {pid for pid in children(process) if b"popen_loky_posix" in Path(f"/proc/{pid}/cmdline").read_bytes()}


def alive(pids):
    return {
        pid
        for pid in pids
        if Path(f"/proc/{pid}").exists()
        and "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    }


@pytest.mark.longest
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are looked for in /proc")
def test_a_reproduction_that_is_killed_three_times_ends_with_the_tables_of_one_that_ran_through(tmp_path, reproduction):
    through, killed, said = (tmp_path / name for name in ("through", "killed", "said"))
    command = ["reproduce", *reproduction]
    start_time = time.monotonic()
    code, _, error = forked.run(*command, f"hydra.run.dir={through}", said=said, seconds=SECONDS)
    assert code == 0, error
    duration, draw = time.monotonic() - start_time, random.Random(0)
    for third in range(3):
        process = forked.start(*command, f"hydra.run.dir={killed}", said=said)
        process.join((third + draw.random()) * duration / 3)
        started = children(process)
        process.kill()
        process.join()
        wait(lambda started=started: not alive(started))
        expect_whole(killed, kills=3 * (third + 1))
    code, _, error = forked.run(*command, f"hydra.run.dir={killed}", said=said, seconds=SECONDS)
    assert code == 0, error
    expect_whole(killed, kills=9)
    assert (killed / "table3.csv").read_bytes() == (through / "table3.csv").read_bytes()
    assert not (killed / "cells" / "unfinished").exists()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are looked for in /proc")
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_the_processes_of_a_reproduction_end_with_it(tmp_path, reproduction, number, code):
    long = [argument.replace("max_epochs=4", "max_epochs=4000") for argument in reproduction]
    process = forked.start("reproduce", *long, f"hydra.run.dir={tmp_path / 'run'}", said=tmp_path / "said")
    wait(lambda: list((tmp_path / "run" / "cells" / "unfinished").glob("*/checkpoints/*.ckpt")))
    workers = working(process)
    assert len(workers) == 2
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        os.kill(process.pid, number)
    ended, _, said = forked.end(process, tmp_path / "said", SECONDS)
    assert ended == code
    if number != signal.SIGKILL:
        assert said.strip() == f"san: stopped by {number.name}; resume by the same command"
    start_time = time.monotonic()
    wait(lambda: not alive(workers))
    assert time.monotonic() - start_time < 20
    expect_whole(tmp_path / "run", kills=3)


# Disks


@pytest.mark.parametrize(
    "command", [evaluate, *(pytest.param(command, marks=pytest.mark.slow) for command in (train, sweep, reproduce))]
)
def test_a_full_disk_is_one_line_and_leaves_whole_files(run, tmp_path, mounted, reproduction, command):
    """Try several sizes of free space, from none to nearly the needed size."""
    arguments = {
        train: ["trainer.max_epochs=2"],
        sweep: ["trainer.max_epochs=2", "kernel_sizes=1..40"],
        evaluate: [f"checkpoint={tmp_path / 'trained'}"],
        reproduce: [*reproduction, "jobs=1"],
    }[command]
    if command is evaluate:
        assert run(train.main, "trainer.max_epochs=1", "figure=[]", f"hydra.run.dir={tmp_path / 'trained'}")[0] == 0
    roomy = mounted("100m")
    assert run(command.main, *arguments, f"hydra.run.dir={roomy}")[0] == 0
    needed = sum(-(-path.stat().st_size // 4096) * 4096 for path in roomy.rglob("*") if path.is_file())
    disk = mounted(f"{needed // 1024 + 64}k")
    draw = random.Random(0)
    times = {train: 5, sweep: 3, evaluate: 3, reproduce: 2}[command]
    for part in range(times):
        folder = disk / "run"
        free = 4096 * int((part + draw.random()) / times * 0.7 * needed / 4096)
        statistics = os.statvfs(disk)
        (disk / "rest").write_bytes(bytes(max(0, statistics.f_bavail * statistics.f_frsize - free)))
        code, said = run(command.main, *arguments, f"hydra.run.dir={folder}")
        assert code == 1, (free, said)
        assert said.startswith("san: [Errno 28] No space left on device"), (free, said)
        assert f"the disk is full: free some space for {folder}" in said
        assert "\n" not in said.strip()
        (disk / "rest").unlink()
        expect_whole(folder)
        subprocess.run(["rm", "-r", folder], check=True)  # noqa: S607


def test_a_file_beyond_the_size_limit_is_one_line(tmp_path):
    """Limit the file size of a process, which needs no mounted disk."""

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))

    command = ["-m", "san.train", "trainer.max_epochs=2", "logger=csv", f"hydra.run.dir={tmp_path / 'run'}"]
    code, _, said = end(start(*command, preexec_fn=limited))
    assert code == 1
    assert said.startswith("san: [Errno 27] File too large")
    assert f"the disk is full: free some space for {tmp_path / 'run'}" in said
    assert said.count("\n") == 1
    expect_whole(tmp_path / "run")


@pytest.mark.parametrize("command", [train, sweep, evaluate, reproduce])
def test_a_read_only_folder_is_one_line(run, tmp_path, mounted, command):
    folder = mounted(options="ro") / "run"
    arguments = [f"checkpoint={tmp_path}"] if command is evaluate else []
    code, said = run(command.main, *arguments, f"hydra.run.dir={folder}")
    assert code == 1
    assert said.startswith(f"san: [Errno 30] Read-only file system: '{folder}")
    assert f"if {folder} cannot be written, choose another folder by hydra.run.dir=FOLDER" in said
    assert "\n" not in said.strip()


def test_reconstructions_that_do_not_fit_the_disk_are_one_line(run, tmp_path, mounted, write_images):
    """Without a reservation of the space of a mapped file, the system would kill the process."""
    write_images("MNIST")
    disk = mounted("1m")
    (disk / "rest").write_bytes(bytes(1000 * 1024))
    code, said = run(
        train.main, "dataset=mnist", "dataset.n_validation=10", "batch_size=5", "trainer.max_epochs=1",
        "classifier=fnn", "classifier.batch_size=5", "classifier.max_memory=0", f"paths.data_dir={tmp_path}",
        f"paths.cache_dir={disk}", f"hydra.run.dir={tmp_path / 'run'}",
    )  # fmt: skip
    assert code == 1
    assert f"No space left on device: '{disk}'" in said


# Losses that are not finite


def test_a_training_that_diverges_keeps_the_last_good_epoch(run, tmp_path):
    folder = tmp_path / "run"
    code, said = run(train.main, "optimizer.lr=1e30", f"hydra.run.dir={folder}")
    assert code == 1
    assert "the training loss is not finite in epoch 1, batch 2: lower optimizer.lr" in said
    assert read(find(folder, "last"))["state_dict"]["network.weight"].isfinite().all()
    expect_whole(folder)


def test_a_recording_of_huge_values_diverges_with_the_epoch_and_the_batch_named(run, tmp_path):
    signal_ = np.random.default_rng(0).standard_normal(20_000)
    signal_[6_000:7_000] *= 1e38
    np.save(tmp_path / "x.npy", signal_.astype(np.float32))
    where = ["dataset=numpy", f"path={tmp_path / 'x.npy'}", "dataset.scaling=none", f"hydra.run.dir={tmp_path / 'run'}"]
    code, said = run(train.main, *where)
    assert code == 1
    assert "loss is not finite in epoch 1, batch " in said
    expect_whole(tmp_path / "run")


def test_weights_that_break_in_mid_training_keep_the_best_checkpoint(run, tmp_path, monkeypatch):
    step = SANModule.training_step

    def broken(self, batch, batch_index):
        if (self.current_epoch, batch_index) == (3, 1):
            with torch.no_grad():
                self.network.weight.fill_(torch.nan)
        return step(self, batch, batch_index)

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(SANModule, "training_step", broken)
        code, said = run(train.main, "trainer.max_epochs=6", f"hydra.run.dir={folder}")
    assert code == 1
    assert "the training loss is not finite in epoch 4, batch 2" in said
    for kind in ("best", "last"):
        checkpoint = read(find(folder, kind))
        assert checkpoint["epoch"] == 2
        assert checkpoint["state_dict"]["network.weight"].isfinite().all()
    assert run(evaluate.main, f"checkpoint={folder}", f"hydra.run.dir={tmp_path / 'tested'}")[0] == 0


def test_the_models_of_a_bank_that_do_not_diverge_continue(run, tmp_path):
    """Use a learning rate at which the reconstruction of a long kernel overflows and a short kernel's does not."""
    common = ["optimizer.lr=1e17", "trainer.max_epochs=1", "activation=identity", "logger=[]", "figure=[]"]
    code, said = run(sweep.main, *common, "kernel_sizes=[1,250]", f"hydra.run.dir={tmp_path / 'bank'}")
    assert code == 1
    assert "1 of 2 models failed" in said
    assert run(sweep.main, *common, "kernel_sizes=[1]", f"hydra.run.dir={tmp_path / 'alone'}")[0] == 0
    (of_bank,), (alone,) = numbers(tmp_path / "bank"), numbers(tmp_path / "alone")
    assert of_bank["phi_per_epoch"] == pytest.approx(alone["phi_per_epoch"], rel=1e-4)
    assert of_bank["test"]["phi"] == pytest.approx(alone["test"]["phi"], rel=1e-4)

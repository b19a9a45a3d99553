"""Trainings of several real processes, and the end of a training when one of them dies."""

import errno
import os
import signal
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import forked
import numpy as np
import pytest
import torch
from conftest import results, table
from filelock import FileLock
from forked import wait
from omegaconf import OmegaConf

from san import sweep, train
from san.activations import Identity
from san.checkpoint import read
from san.cli import processes
from san.cli.environment import command_environment
from san.cli.folder_lock import lock_folder, release_folders
from san.cli.ranks import refuse_copies, started_by_torchrun
from san.networks import SparselyActivatedNetwork
from san.training.san_module import SANModule

PYTHON = sys.executable
TRAIN = [PYTHON, "-m", "san.train"]
TORCHRUN = [PYTHON, "-m", "torch.distributed.run"]
ALONE = [*TORCHRUN, "--standalone"]
TWO = [*ALONE, "--nproc-per-node=2"]
DDP = ["trainer=ddp", "trainer.accelerator=cpu"]
LIMIT = 60  # seconds within which all processes of a training have to end, once one is dead
LAUNCHERS = {"joblib": "hydra_plugins.hydra_joblib_launcher", "submitit_local": "hydra_plugins.hydra_submitit_launcher"}
needs_proc = pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="finds processes by /proc")


def environment():
    return {key: value for key, value in os.environ.items() if key not in ("SAN_DATA_DIR", "HYDRA_FULL_ERROR")}


def start(*command, cwd, code=0):
    ended = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment(), capture_output=True, text=True, timeout=1200
    )
    assert ended.returncode == code, ended.stdout + ended.stderr
    return ended


@pytest.fixture
def alone(run, tmp_path, monkeypatch):
    """Run a command in this process, in the folder of the test; a process of its own would take longer to start."""

    def alone(command, *arguments, code=0):
        with monkeypatch.context() as patched:
            patched.chdir(tmp_path)
            ended, said = run(command.main, *arguments)
        assert ended == code, said

    return alone


@pytest.fixture
def apart(tmp_path, tmp_path_factory):
    """Run a command in a process of its own, in the folder of the test; return its standard output."""

    def apart(command, *arguments, code=0):
        said = tmp_path_factory.mktemp("said")
        ended, stdout, stderr = forked.run(command, *arguments, said=said, cwd=tmp_path, seconds=1200)
        assert ended == code, stdout + stderr
        return stdout

    return apart


def ddp(n):
    return [*DDP, f"trainer.devices={n}"]


def epochs(text):
    return {line for line in text.splitlines() if line.startswith("epoch")}


def lines_of_san(text):
    return [line for line in text.splitlines() if line.startswith("san: ")]


def assert_equal_runs(folder, other):
    """Assert equal phi of each epoch, test metrics, selected epochs and weights, to 1e-5."""
    one, two = results(folder), results(other)
    assert one["phi_per_epoch"] == pytest.approx(two["phi_per_epoch"], abs=1e-5)
    assert (one["best_epoch"], one["seed"]) == (two["best_epoch"], two["seed"])
    for split in ("validation", "test"):
        assert one[split] == pytest.approx(two[split], abs=1e-5)
    weights, others = (read(run / "checkpoints" / "best.ckpt") for run in (folder, other))
    assert weights["epoch"] == others["epoch"]
    assert weights["state_dict"].keys() == others["state_dict"].keys()
    for name, value in weights["state_dict"].items():
        torch.testing.assert_close(value, others["state_dict"][name], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("given", "n_processes"), [("1", 1), ("3", 3), ("auto", 1), ("[0,1]", None), ("'4'", 4), ("-1", None)]
)
def test_as_many_processes_as_the_trainer_has_devices(compose, given, n_processes):
    config = compose("trainer.accelerator=cpu", f"trainer.devices={given}")
    if n_processes is None:
        with pytest.raises(Exception, match="CPU"):
            processes.n_processes(config)
    else:
        assert processes.n_processes(config) == n_processes


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("trainer.devices=4096", r"^trainer\.devices=4096 must be \d+ or less on the CPU, 4 processes for each"),
        ("trainer.devices=-1", r"^trainer\.accelerator=cpu trainer\.devices=-1 is not possible here: .*int > 0"),
        ("trainer.devices=0", r"^trainer\.accelerator=cpu trainer\.devices=0 is not possible here"),
        ("trainer.devices=abc", r"^trainer\.accelerator=cpu trainer\.devices=abc is not possible here"),
        ("trainer.accelerator=abc", r"^trainer\.accelerator=abc .* Available names are: auto"),
        ("trainer.num_nodes=2", r"^trainer\.num_nodes=2 needs torchrun on each machine"),
    ],
)
def test_devices_that_this_machine_lacks_are_refused_before_a_process_starts(compose, setting, said):
    with pytest.raises(ValueError, match=said):
        processes.n_processes(compose("trainer.accelerator=cpu", setting))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_absent_is_refused(compose):
    with pytest.raises(ValueError, match=r"^trainer\.accelerator=gpu trainer\.devices=1 is not possible here"):
        processes.n_processes(compose("trainer=gpu"))


# --- variables of launchers

FOREIGN = {
    "RANK": "1", "LOCAL_RANK": "1", "SLURM_PROCID": "1", "JSM_NAMESPACE_RANK": "1", "NODE_RANK": "1",
    "MASTER_ADDR": "10.0.0.1", "WORLD_SIZE": "two",
}  # fmt: skip
TORCHRUN_OF_TWO = {
    "TORCHELASTIC_RUN_ID": "x", "RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1",
}  # fmt: skip


@pytest.fixture
def launched_by(monkeypatch):
    """Set the variables of a launcher alone."""

    def launched_by(variables):
        for name in list(os.environ):
            if name.startswith(("SLURM_", "TORCHELASTIC_", "OMPI_", "PMI_", "JSM_")) or name in TORCHRUN_OF_TWO:
                monkeypatch.delenv(name)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return launched_by


@pytest.mark.parametrize(
    "variables",
    [
        *({name: value} for name, value in FOREIGN.items()),
        FOREIGN,
        {"SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"},
        {"SLURM_NTASKS": "4", "SLURM_PROCID": "0"},  # the batch script of a job of four tasks
        {**TORCHRUN_OF_TWO, "RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"},
    ],
)
def test_a_single_process_hides_rank_variables_while_it_runs(launched_by, variables):
    launched_by(variables)
    refuse_copies()
    with command_environment():
        assert not variables.keys() & os.environ.keys() - {"SLURM_STEP_NUM_TASKS"}
        refuse_copies()
    assert {name: os.environ[name] for name in variables} == variables


def test_ranks_of_torchrun_keep_their_variables(launched_by):
    launched_by(TORCHRUN_OF_TWO)
    refuse_copies()
    with command_environment():
        assert {name: os.environ[name] for name in TORCHRUN_OF_TWO} == TORCHRUN_OF_TWO
        assert started_by_torchrun()


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "4"}, "SLURM_STEP_NUM_TASKS=4: 4 processes would each repeat"),
        ({"SLURM_PROCID": "3", "SLURM_NTASKS": "4"}, "SLURM_PROCID=3 and SLURM_NTASKS=4: 4 processes would each"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "RANK=0 and WORLD_SIZE=2: 2 processes would each repeat"),
        ({"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "8"}, "OMPI_COMM_WORLD_SIZE=8: 8 processes would each"),
        ({"TORCHELASTIC_RUN_ID": "x"}, "TORCHELASTIC_RUN_ID is set, as by torchrun, but RANK is missing"),
        ({**TORCHRUN_OF_TWO, "WORLD_SIZE": "two"}, "WORLD_SIZE=two must be an integer, 1 or more"),
        ({**TORCHRUN_OF_TWO, "WORLD_SIZE": "9" * 5000}, "must be an integer, 1 or more"),
        ({**TORCHRUN_OF_TWO, "LOCAL_RANK": "-1"}, "LOCAL_RANK=-1 must be an integer, 0 or more"),
    ],
)
def test_copies_of_a_command_are_refused_in_one_line(launched_by, run_train, variables, said):
    launched_by(variables)
    folder, line = run_train("run", fails=True)
    assert line.startswith("san: ")
    assert said in line
    assert "\n" not in line.strip()
    assert not folder.exists()


@pytest.mark.slow
def test_rank_variables_of_a_single_process_change_no_result(alone, tmp_path, monkeypatch):
    common = ["trainer.max_epochs=2", "figure=[]", "logger=csv"]
    alone(train, *common, "hydra.run.dir=alone")
    for name, value in FOREIGN.items():
        monkeypatch.setenv(name, value)
    start(*TRAIN, *common, "hydra.run.dir=ranked", cwd=tmp_path)
    start(*TRAIN, *common, *ddp(1), "hydra.run.dir=ddp", cwd=tmp_path)
    assert_equal_runs(tmp_path / "ranked", tmp_path / "alone")
    assert_equal_runs(tmp_path / "ddp", tmp_path / "alone")
    assert list((tmp_path / "ranked").rglob("metrics.csv"))


# --- too little memory


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("can't start new thread"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_too_little_memory_is_one_line(monkeypatch, run_train, error):
    def fail(config):
        raise ImportError("torch can only be initialized once") from error

    monkeypatch.setattr("san.commands.train.load_dataset", fail)
    _, line = run_train("run", fails=True)
    assert line.startswith("san: not enough memory (")
    assert "\n" not in line.strip()


@needs_proc
def test_a_limit_on_memory_is_one_line(tmp_path):
    program = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (10**9,) * 2); import san.train; san.train.main()"
    )
    said = start(PYTHON, "-c", program, "hydra.run.dir=run", cwd=tmp_path, code=1).stderr
    (line,) = lines_of_san(said)
    assert line.startswith("san: not enough memory (ImportError('libtorch")
    assert "Traceback" not in said


# --- two runs in one folder


def test_a_second_run_in_a_folder_is_refused_before_it_writes(run_train, tmp_path):
    (tmp_path / "run").mkdir()
    arguments = ["trainer.max_epochs=1", "logger=[]", "figure=[]"]
    with FileLock(tmp_path / "run" / ".lock"):
        folder, line = run_train("run", *arguments, fails=True)
        assert line.startswith(f"san: another run is writing to {folder}: wait for its end, or choose another folder")
        assert [path.name for path in folder.iterdir()] == [".lock"]
        _, line = run_train("run", "-m", *arguments, fails=True)
        assert line.rstrip().endswith("hydra.sweep.dir=FOLDER")
        assert [path.name for path in folder.iterdir()] == [".lock"]
    for _ in range(2):
        run_train("run", *arguments)
        assert not (folder / ".lock").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="kills a process by a signal")
def test_the_lock_of_a_killed_run_refuses_nothing(tmp_path):
    program = (
        "import sys; from pathlib import Path; from san.cli.folder_lock import lock_folder\n"
        "lock_folder(Path(sys.argv[1]), 'hydra.run.dir'); print('locked', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [PYTHON, "-c", program, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with other:
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(SystemExit, match="another run is writing to"):
            lock_folder(tmp_path, "hydra.run.dir")
        other.kill()
    lock_folder(tmp_path, "hydra.run.dir")
    release_folders()
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_locks_is_announced(tmp_path, monkeypatch, caplog):
    def refuse(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    lock_folder(tmp_path, "hydra.run.dir")
    assert "cannot be locked ([Errno" in caplog.text


def test_a_multirun_by_torchrun_is_refused(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(ValueError, match=r"run it without torchrun, with trainer=ddp trainer\.devices=N"):
        processes.arguments_of_rank(["-m", "seed=1,2"])


def test_torchrun_decides_how_many_processes_there_are(monkeypatch):
    for name, value in {"RANK": "0", "WORLD_SIZE": "6", "LOCAL_WORLD_SIZE": "3"}.items():
        monkeypatch.setenv(name, value)
    assert processes.arguments_of_rank(["seed=1"]) == ["seed=1", "trainer.devices=3", "trainer.num_nodes=2"]


@pytest.mark.slow
def test_four_processes_give_the_training_of_one(alone, apart, tmp_path):
    """Use numbers of examples that processes cannot share evenly, empty local batches, and a split of one example."""
    common = ["dataset.split=[5,1,3]", "batch_size=3", "trainer.max_epochs=4", "kernel_size=20"]
    alone(train, *common, "hydra.run.dir=one")
    said = apart("train", *common, *ddp(4), "hydra.run.dir=several")
    assert_equal_runs(tmp_path / "several", tmp_path / "one")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "several"]
    assert {path.name for path in (tmp_path / "several").iterdir()} == {
        path.name for path in (tmp_path / "one").iterdir()
    }
    assert said.count("epoch 4 of 4") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "chosen",
    [
        ["activation=dropout_extrema", "network=growing", "network.every=1"],
        ["activation=phi_pursuit", "dataset=numpy", "path=x.npy", "axes=[examples,channels,time]", "kernel=rank1"],
    ],
)
def test_two_processes_train_the_extensions_as_one_does(alone, apart, tmp_path, chosen):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((9, 3, 200)).cumsum(2))
    split = [] if "dataset=numpy" in chosen else ["dataset.split=[5,1,3]"]
    common = [
        *split, "batch_size=3", "trainer.max_epochs=3", "kernel_size=20", "n_kernels=2", *chosen, "figure=[]",
    ]  # fmt: skip
    alone(train, *common, "hydra.run.dir=one")
    apart("train", *common, *ddp(2), "hydra.run.dir=two")
    assert_equal_runs(tmp_path / "two", tmp_path / "one")


@pytest.mark.skipif(sys.platform != "linux", reason="processes are copied on Linux alone")
def test_ranks_are_copies_of_one_process_unless_a_gpu_or_a_variable_could_make_them_differ(monkeypatch):
    imported = []
    monkeypatch.setattr("multiprocessing.set_forkserver_preload", imported.append)
    monkeypatch.setattr(processes, "_copied", {})
    monkeypatch.setattr("torch.accelerator.is_available", lambda: True)
    assert processes._start_method("san.commands.sweep.sweep") == "spawn"
    monkeypatch.setattr("torch.accelerator.is_available", lambda: False)
    assert [processes._start_method("san.commands.sweep.sweep") for _ in range(2)] == ["forkserver"] * 2
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert processes._start_method("san.commands.sweep.sweep") == "spawn"
    assert set(map(tuple, imported)) == {("san.cli.rank_imports", "san.commands.sweep")}
    assert all(map(find_spec, imported[0]))


def train_with_unequal_kernels(rank, folder):
    """Start an epoch in one of two processes, whose kernels differ, and store its kernels."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    network = SparselyActivatedNetwork([5, 3], Identity(), seed=rank)
    module = SANModule(network, loss=torch.nn.functional.l1_loss, optimizer=torch.optim.Adam, count_weights="samples")
    module._trainer = SimpleNamespace(world_size=2)
    module.on_train_epoch_start()
    torch.save(network.weight.detach(), folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_all_processes_use_the_kernels_of_the_first(tmp_path):
    """Let the processes begin an epoch with different kernels, as constraints and restarts of different GPUs give."""
    torch.multiprocessing.spawn(train_with_unequal_kernels, (tmp_path,), nprocs=2)
    kernels = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    assert torch.equal(kernels[1], kernels[0])
    assert torch.equal(kernels[0], SparselyActivatedNetwork([5, 3], Identity(), seed=0).weight)


@pytest.mark.slow
def test_two_processes_train_the_bank_of_one(alone, apart, tmp_path):
    common = [
        "dataset.split=[5,2,3]", "batch_size=3", "trainer.max_epochs=3", "kernel_sizes=[5,20,60]",
        "activations=[extrema,identity]", "logger=csv",
    ]  # fmt: skip
    alone(sweep, *common, "hydra.run.dir=one")
    apart("sweep", *common, *ddp(2), "hydra.run.dir=two")
    one, two = (results(tmp_path / name)["models"] for name in ("one", "two"))
    for model, expected in zip(two, one, strict=True):
        assert model["phi_per_epoch"] == pytest.approx(expected["phi_per_epoch"], abs=1e-5)
        assert model["best_epoch"] == expected["best_epoch"]
        assert model["test"] == pytest.approx(expected["test"], abs=1e-5)
    best, expected = (read(tmp_path / name / "checkpoints" / "best.ckpt")["state_dict"] for name in ("two", "one"))
    torch.testing.assert_close(best["network.weight"], expected["network.weight"], atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_two_processes_train_the_classifier_of_one(alone, apart, write_images, tmp_path):
    write_images("MNIST")
    common = [
        "dataset=mnist", "dataset.n_validation=10", "batch_size=3", "classifier=fnn", "classifier.batch_size=3",
        "trainer.max_epochs=1", f"paths.data_dir={tmp_path}",
    ]  # fmt: skip
    alone(train, *common, "hydra.run.dir=one", "paths.cache_dir=cache1")
    apart("train", *common, *ddp(2), "hydra.run.dir=two", "paths.cache_dir=cache2")
    one, two = (results(tmp_path / name)["classifier"] for name in ("one", "two"))
    for found, expected in ((two, one), (two["baseline"], one["baseline"])):
        assert found["test"]["confusion"] == expected["test"]["confusion"]
        assert sum(map(sum, found["test"]["confusion"])) == 10
        assert found["best_epoch"] == expected["best_epoch"]
        assert found["validation_accuracy"] == pytest.approx(expected["validation_accuracy"])
    best, expected = (read(tmp_path / name / "checkpoints" / "best.ckpt")["classifier"] for name in ("two", "one"))
    for name, value in best.items():
        torch.testing.assert_close(value, expected[name], atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_each_job_of_a_multirun_has_processes_of_its_own(alone, apart, tmp_path):
    """Let the first of two jobs fail: one error is reported, and the next job has its own processes."""
    common = ["-m", "kernel_size=2000,9", "trainer.max_epochs=2", "logger=csv", "figure=[]"]
    alone(train, *common, "hydra.sweep.dir=one", code=1)
    said = apart("train", *common, *ddp(2), "hydra.sweep.dir=two", code=1)
    assert_equal_runs(tmp_path / "two" / "1", tmp_path / "one" / "1")
    one, two = ((tmp_path / run / "0" / "error.txt").read_text(encoding="utf-8") for run in ("one", "two"))
    assert two == one
    assert len(table(tmp_path / "two" / "sweep.csv")) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]
    assert len(lines_of_san(said)) == 1
    assert "job 0 failed: san: kernel_size=2000 exceeds the signal length 1000" in said


@pytest.mark.slow
def test_a_mistake_is_one_line_of_all_processes_together(tmp_path):
    for launch in ([*TRAIN, *ddp(2)], [*TWO, "-m", "san.train"]):
        said = start(*launch, "batch_size=1000", "hydra.run.dir=run", cwd=tmp_path, code=1).stderr
        assert lines_of_san(said) == ["san: batch_size=1000 exceeds the 6 training examples; lower it"]


@pytest.mark.slow
def test_torchrun_trains_as_one_process_in_one_folder(alone, tmp_path):
    common = ["dataset.split=[5,1,3]", "trainer.max_epochs=3", "kernel_size=20"]
    alone(train, *common, "hydra.run.dir=one")
    start(*TWO, "-m", "san.train", *common, cwd=tmp_path)
    (found,) = tmp_path.glob("outputs/train/*/*/results.json")
    assert_equal_runs(found.parent, tmp_path / "one")
    assert len(list(tmp_path.glob("outputs/train/*/*"))) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "outputs"]


@pytest.mark.slow
def test_torchrun_trains_on_two_machines_as_one_process(alone, tmp_path):
    """Start two agents on this machine, which find each other by their address."""
    common = ["dataset.split=[5,1,3]", "trainer.max_epochs=3", "kernel_size=20"]
    alone(train, *common, "hydra.run.dir=one")
    with socket.create_server(("127.0.0.1", 0)) as free:
        endpoint = f"--rdzv-endpoint=127.0.0.1:{free.getsockname()[1]}"
    agent = [*TORCHRUN, "--nnodes=2", "--nproc-per-node=2", "--rdzv-backend=c10d", endpoint, "--rdzv-id=two"]
    agents = [subprocess.Popen([*agent, "-m", "san.train", *common], cwd=tmp_path, env=environment()) for _ in range(2)]
    assert [agent.wait(1200) for agent in agents] == [0, 0]
    (found,) = tmp_path.glob("outputs/train/*/*/results.json")
    assert_equal_runs(found.parent, tmp_path / "one")


# --- a process dies


def children(pid):
    """Return the processes that a process has started, in order, without that which frees their shared memory."""
    found = []
    for path in Path("/proc").iterdir():
        try:
            parent = int((path / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
            is_child = parent == pid and b"resource_tracker" not in (path / "cmdline").read_bytes()
        except (OSError, IndexError):
            continue
        if path.name.isdigit() and is_child:
            found.append(int(path.name))
    return sorted(found)


def descendants(pid):
    return [each for child in children(pid) for each in (child, *descendants(child))]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def endless_training(tmp_path, tmp_path_factory):
    """Start a training of two ranks; yield the process, the training ranks, and a function that returns the output."""
    said = tmp_path_factory.mktemp("said")

    def text():
        return "".join(path.read_text(encoding="utf-8") for path in sorted(said.iterdir()))

    command = ["train", *ddp(2), "trainer.max_epochs=1000000", "logger=csv", "hydra.run.dir=run"]
    parent = forked.start(*command, said=said, cwd=tmp_path)
    ranks = []
    try:
        wait(lambda: "\nepoch 2 of" in text())
        ranks = [pid for pid in descendants(parent.pid) if not children(pid)]
        assert len(ranks) == 2
        yield parent, ranks, text
    finally:
        for pid in (parent.pid, *ranks):
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
        parent.join()


def ends_within(seconds, *pids):
    stop = time.monotonic() + seconds
    while any(map(alive, pids)) and time.monotonic() < stop:
        time.sleep(0.1)
    return not any(map(alive, pids))


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank_ends_the_job_with_a_message(endless_training, tmp_path, rank):
    parent, ranks, said = endless_training
    killed = time.monotonic()
    os.kill(ranks[rank], signal.SIGKILL)
    parent.join(LIMIT)
    assert parent.exitcode == 1
    assert ends_within(LIMIT, *ranks)
    assert time.monotonic() - killed < LIMIT
    (line,) = lines_of_san(said())
    assert line.startswith(f"san: rank {rank} of 2 was ended by SIGKILL, and so were the others; resume by")
    assert line.endswith(f"checkpoint={tmp_path / 'run'}")
    assert "Traceback" not in said()
    assert read(tmp_path / "run" / "checkpoints" / "last.ckpt")["epoch"] >= 0


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_process_outlives_the_one_that_started_it(endless_training, number):
    parent, ranks, _ = endless_training
    started = descendants(parent.pid)
    assert set(ranks) <= set(started)
    os.kill(parent.pid, number)
    assert ends_within(LIMIT, parent.pid, *started)
    parent.join(LIMIT)
    assert parent.exitcode


@needs_proc
@pytest.mark.slow
def test_a_slow_rank_is_waited_for(endless_training):
    """Stop a rank for 20 seconds: no timeout ends the training."""
    parent, ranks, said = endless_training
    os.kill(ranks[1], signal.SIGSTOP)
    time.sleep(20)
    assert parent.is_alive()
    before = epochs(said())
    os.kill(ranks[1], signal.SIGCONT)
    wait(lambda: len(epochs(said()) - before) >= 200)


# --- Hydra's launchers


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_launchers_give_the_multirun_of_one_process(alone, tmp_path, launcher):
    """Expect equal numbers, a folder per job, reported failures and exit code 1."""
    if find_spec("hydra_plugins") is None or find_spec(LAUNCHERS[launcher]) is None:
        pytest.skip(f"{LAUNCHERS[launcher]} is not installed")
    common = ["-m", "kernel_size=8,2000,9", "seed=3", "trainer.max_epochs=2", "figure=[]"]
    alone(train, *common, "hydra.sweep.dir=basic", code=1)
    said = start(*TRAIN, *common, f"hydra/launcher={launcher}", "hydra.sweep.dir=other", cwd=tmp_path, code=1).stdout
    assert "job 1 failed: san: kernel_size=2000 exceeds the signal length 1000" in said
    basic, other = tmp_path / "basic", tmp_path / "other"
    assert table(other / "sweep.csv") == table(basic / "sweep.csv")
    assert (other / "sweep.png").read_bytes().startswith(b"\x89PNG")
    for job in ("0", "2"):
        assert_equal_runs(other / job, basic / job)
    best, expected = (read(folder / "checkpoints" / "best.ckpt")["config"]["kernel_size"] for folder in (other, basic))
    assert best == expected
    assert {path.name for path in other.iterdir()} - {path.name for path in basic.iterdir()} <= {".submitit"}


@pytest.mark.slow
def test_jobs_of_a_launcher_have_processes_of_their_own(alone, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    common = ["-m", "kernel_size=8,9", "trainer.max_epochs=2", "logger=csv", "figure=[]"]
    alone(train, *common, "hydra.sweep.dir=basic")
    start(*TRAIN, *common, *ddp(2), "hydra/launcher=joblib", "hydra.sweep.dir=other", cwd=tmp_path)
    for job in ("0", "1"):
        assert_equal_runs(tmp_path / "other" / job, tmp_path / "basic" / job)


@pytest.mark.slow
def test_sweeps_of_a_multirun_end_with_one_table(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    common = [PYTHON, "-m", "san.sweep", "-m", "kernel_sizes=[8,20]", "trainer.max_epochs=2", "seed=0,1"]
    said = start(*common, "hydra/launcher=joblib", "hydra.sweep.dir=sweeps", cwd=tmp_path)
    assert "Traceback" not in said.stderr
    rows = table(tmp_path / "sweeps" / "sweep.csv")
    assert [(row["seed"], row["kernel_size"]) for row in rows] == [("0", "8"), ("0", "20"), ("1", "8"), ("1", "20")]
    best = min(rows, key=lambda row: float(row["validation_phi"]))
    config = read(tmp_path / "sweeps" / "checkpoints" / "best.ckpt")["config"]
    assert (f"{config['seed']}", f"{config['kernel_size']}") == (best["seed"], best["kernel_size"])


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_killed_job_of_a_launcher_is_reported(tmp_path, launcher):
    if find_spec("hydra_plugins") is None or find_spec(LAUNCHERS[launcher]) is None:
        pytest.skip(f"{LAUNCHERS[launcher]} is not installed")
    command = [
        PYTHON, "-m", "san.train", "-m", "kernel_size=8,9", "trainer.max_epochs=1000000", "figure=[]", "logger=csv",
        f"hydra/launcher={launcher}", "hydra.sweep.dir=jobs",
    ]  # fmt: skip
    said = tmp_path / "said.txt"
    with said.open("w", encoding="utf-8") as file:
        parent = subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=file, stderr=subprocess.STDOUT)
        try:
            while len(list(tmp_path.glob("jobs/*/checkpoints/last.ckpt"))) < 2:
                time.sleep(0.2)
                assert parent.poll() is None, said.read_text(encoding="utf-8")
            workers = [
                pid for pid in descendants(parent.pid)
                if b"popen_loky" in (line := Path(f"/proc/{pid}/cmdline").read_bytes()) or b"_submit" in line
            ]  # fmt: skip
            for pid in workers:
                os.kill(pid, signal.SIGKILL)
            assert parent.wait(LIMIT) == 1
        finally:
            parent.kill()
            parent.wait()
    (line,) = lines_of_san(said.read_text(encoding="utf-8"))
    assert "a job's process was lost and the multirun ended" in line
    assert "Traceback" not in said.read_text(encoding="utf-8")


def test_a_launcher_that_is_not_installed_is_reported(run_train):
    _, line = run_train("sweep", "-m", "seed=1,2", "hydra/launcher=nowhere", fails=True)
    assert "pip install 'sparsely-activated-networks[launchers]'" in line
    assert "\n" not in line.strip()


def test_a_job_leaves_the_process_group_that_it_joined(monkeypatch, tmp_path):
    """Threads of a group that is there when the interpreter ends aborted one process in hundreds."""

    def job(config):
        torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
        return 0.5

    monkeypatch.setattr(processes, "get_method", lambda _: job)
    assert processes.run("job", OmegaConf.create({}), explain=lambda _: ("", False)) == 0.5
    assert not torch.distributed.is_initialized()

"""Several processes that train together: how they start, share data, and end if one of them dies."""

import json
import logging
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import configure_log, setup_globals
from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf

from san.cli.environment import command_environment, keep_command_environment
from san.cli.imports import collection_paused
from san.cli.ranks import refuse_copies, started_by_torchrun

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

__all__ = [
    "arguments_of_rank",
    "end_with_parent",
    "is_first_to_fail",
    "n_processes",
    "publish_folder",
    "run",
    "start_worker",
]

GRACE = 2.0  # seconds for the other ranks to end by themselves after one has ended, and again after SIGTERM
POLL = 0.5  # seconds between two checks whether a process is alive
FOLDER, FAILURES, REASON, VALUE = "san/folder", "san/failures", "san/reason", "san/value"
MAX_PER_CORE = 4  # processes of a training on the CPU, each with a copy of the program in memory
LOG_LEVEL_OF_OTHERS = "ERROR"  # rank 0 logs what all ranks would log

_copied: dict[str, str] = {}  # the environment of the process from which ranks are copied

Explain = Callable[[Exception], tuple[str, bool]]
"""Returns why a job failed, and whether that is a user's mistake."""


def run(name: str, config: DictConfig, explain: Explain) -> float | None:
    """Run a job here or, if its trainer has several devices, in one process per rank.

    The processes belong to this job alone, so each job of a multirun has its own. They receive the composed
    configuration and write to the same folder. This process only watches: if one rank fails or is killed, the others
    are ended within seconds; if this process ends for any reason, they end too.

    Args:
        name: Full name of the job's function, which other processes import.
        config: The configuration of the job.
        explain: Returns why a rank failed, and whether that is a user's mistake.

    Returns:
        The value of the function in the first rank.

    Raises:
        ValueError: If a rank fails by a user's mistake, or the trainer's devices are invalid.
        ChildProcessError: If a rank is killed.
        RuntimeError: If a rank fails otherwise; its cause has the traceback.
        SystemExit: If a rank exits with a code.
    """
    refuse_copies()  # the process of a launcher did not read the command line
    count = 1 if started_by_torchrun() else n_processes(config)
    return _value_of(name, config) if count == 1 else _watch(count, name, config, explain)


def arguments_of_rank(arguments: Sequence[str]) -> list[str]:
    """Return the command line of a rank of torchrun: its number of devices, and the folder of the first rank.

    Args:
        arguments: The command line of all ranks.

    Raises:
        ValueError: If it is a multirun.
    """
    if {"-m", "--multirun"} & set(arguments):
        raise ValueError(
            "a multirun starts the processes of each job itself: run it without torchrun, with trainer=ddp "
            "trainer.devices=N"
        )
    here, everywhere = (int(os.environ[name]) for name in ("LOCAL_WORLD_SIZE", "WORLD_SIZE"))
    common = [*arguments, f"trainer.devices={here}", f"trainer.num_nodes={everywhere // here}"]
    if os.environ["RANK"] == "0":
        return common
    folder = _store().get(FOLDER).decode().replace("\\", "\\\\").replace("'", "\\'")
    of_other_ranks = [
        f"hydra.run.dir='{folder}'",
        "hydra.output_subdir=null",
        f"hydra.job_logging.root.level={LOG_LEVEL_OF_OTHERS}",
    ]
    return [*common, *of_other_ranks]


def publish_folder(folder: str) -> None:
    """Send the output folder of the first rank to the others."""
    if os.environ["RANK"] == "0":
        _store().set(FOLDER, folder)


def is_first_to_fail() -> bool:
    """Return whether no other rank failed before, so that only one rank reports the failure."""
    return int(_store().add(FAILURES, 1)) == 1


def end_with_parent(parent: int | None = None) -> None:
    """End this process soon after its parent ends, for any reason.

    Args:
        parent: Identifier of the parent process; None for the current one.
    """
    expected = os.getppid() if parent is None else parent

    def wait() -> None:
        while os.getppid() == expected:
            time.sleep(POLL)

    _end_after(wait)


def _end_after(wait: Callable[[], object]) -> None:
    """End this process as soon as a function returns that waits for the end of its parent process."""

    def watch() -> None:
        wait()
        if "RANK" in os.environ:
            sys.stderr.write(f"san: rank {os.environ['RANK']} ends because its parent process ended\n")
            sys.stderr.flush()
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="end-with-parent").start()


def start_worker(parent: int) -> None:
    """Prepare a worker process: it ends with its parent, logs nothing, and shows no warning that the parent hides.

    This module imports no Lightning, which writes to the console if it is imported before logging is configured.

    Args:
        parent: Identifier of the parent process.
    """
    logging.getLogger().addHandler(logging.NullHandler())  # the parent reports the results
    keep_command_environment()
    end_with_parent(parent)


def n_processes(config: DictConfig) -> int:
    """Return the number of processes of the trainer of a configuration, which this machine is to start.

    Raises:
        ValueError: If this machine lacks the accelerator or that many devices, or the trainer needs other machines.
    """
    trainer = config.get("trainer")
    if trainer is None:
        return 1
    if (n_nodes := trainer.get("num_nodes", 1)) != 1:
        raise ValueError(
            f"trainer.num_nodes={n_nodes} needs torchrun on each machine, which sets it: start the command by torchrun "
            "--nnodes=2 --nproc-per-node=1 -m, or set trainer.num_nodes=1"
        )
    accelerator, devices = (trainer.get(key, "auto") for key in ("accelerator", "devices"))
    if accelerator == "cpu" and type(devices) is int and devices > 0:
        n_devices, on_cpu = devices, True
    else:
        n_devices, on_cpu = _devices_of_lightning(accelerator, devices)
    most = MAX_PER_CORE * (os.cpu_count() or 1)
    if on_cpu and n_devices > most:
        raise ValueError(
            f"trainer.devices={devices} must be {most} or less on the CPU, {MAX_PER_CORE} processes for each of the "
            f"{os.cpu_count() or 1} cores of this machine"
        )
    return n_devices


def _devices_of_lightning(accelerator: Any, devices: Any) -> tuple[int, bool]:
    """Return how many devices Lightning finds on this machine, and whether they are the CPU."""
    # slow to import; the default needs none of it
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from pytorch_lightning import Trainer
    from pytorch_lightning.accelerators import CPUAccelerator

    try:
        alone = Trainer(
            accelerator=accelerator,
            devices=devices,
            plugins=[LightningEnvironment()],
            logger=False,
            enable_checkpointing=False,
        )
    except Exception as error:  # accelerators raise errors of any type
        raise ValueError(
            f"trainer.accelerator={accelerator} trainer.devices={devices} is not possible here: {error}"
        ) from error
    return alone.num_devices, isinstance(alone.accelerator, CPUAccelerator)


def _value_of(name: str, config: DictConfig) -> float | None:
    """Return the value of a job's function, and leave its process group afterwards.

    The threads of a group that is still there when the interpreter ends may abort the process.
    """
    with collection_paused():
        import torch  # slow; a command with a mistake needs none of it

        job = get_method(name)
    torch.backends.cudnn.allow_tf32 = False  # products of 10 bits would make ties of samples that differ
    value: float | None = job(config)
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.group.WORLD is not None:
        distributed.destroy_process_group()
    return value


def _watch(count: int, name: str, config: DictConfig, explain: Explain) -> float | None:
    from torch.distributed import TCPStore  # type: ignore[attr-defined] # slow; a single process needs none of it
    from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException, start_processes

    logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    # A launcher's process defines the classes of Hydra's own configuration anew, so they cannot be pickled.
    hydra_config = OmegaConf.to_container(HydraConfig.instance().cfg)
    arguments = (count, store.port, name, config, hydra_config, explain)
    if multiprocessing.get_start_method() not in multiprocessing.get_all_start_methods():  # joblib sets its own
        multiprocessing.set_start_method("spawn", force=True)
    ranks = start_processes(_be_rank, arguments, nprocs=count, join=False, start_method=_start_method(name))
    try:
        while not ranks.join(POLL, GRACE):
            pass
    except ProcessRaisedException as error:
        reason = json.loads(store.get(REASON)) if store.check([REASON]) else {"line": str(error), "mistake": False}
        if reason["mistake"]:
            raise ValueError(reason["line"]) from None
        raise RuntimeError(reason["line"]) from error
    except ProcessExitedException as error:
        if error.exit_code > 0:
            raise SystemExit(error.exit_code) from None
        folder = Path(config.paths.output_dir)
        hint = f"; resume by checkpoint={folder}" if (folder / "checkpoints").is_dir() else ""
        raise ChildProcessError(
            f"rank {error.error_index} of {count} was ended by {error.signal_name}, and so were the others{hint}"
        ) from None
    finally:  # every file is complete at any moment
        for process in ranks.processes:
            process.kill()
    value: float | None = json.loads(store.get(VALUE))
    return value


def _start_method(job: str) -> str:
    """Return how to start the ranks of a job: ``forkserver``, which imports the libraries once, or ``spawn``.

    A fork is unsafe where a GPU may be in use before it, and with the libraries of macOS. A forked rank has the
    environment of the server, so a job of a multirun that changes the environment spawns its ranks.
    """
    from torch import accelerator

    environment = dict(os.environ)
    if sys.platform != "linux" or accelerator.is_available() or (_copied and _copied != environment):
        return "spawn"
    _copied.update(environment)
    multiprocessing.set_forkserver_preload(["san.cli.rank_imports", job.rpartition(".")[0]])
    return "forkserver"


def _be_rank(
    rank: int, count: int, port: int, name: str, config: DictConfig, hydra_config: Any, explain: Explain
) -> None:
    """Run a job as one of several processes, in the environment that torchrun would provide."""
    if hasattr(os, "setpgrp"):
        os.setpgrp()  # the keyboard's interrupt is for the watching process
    os.environ |= {
        "RANK": f"{rank}",
        "LOCAL_RANK": f"{rank}",
        "WORLD_SIZE": f"{count}",
        "LOCAL_WORLD_SIZE": f"{count}",
        "GROUP_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": f"{port}",
        "TORCHELASTIC_RUN_ID": f"san-{port}",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    if (parent := multiprocessing.parent_process()) is not None:
        _end_after(parent.join)
    setup_globals()
    whole: Any = OmegaConf.create(hydra_config)
    HydraConfig.instance().cfg = whole
    configure_log(whole.hydra.job_logging, whole.hydra.verbose)
    if rank != 0:
        logging.getLogger().setLevel(LOG_LEVEL_OF_OTHERS)
    try:
        with command_environment():
            value = _value_of(name, config)
    except Exception as error:
        if is_first_to_fail():
            line, mistake = explain(error)
            _store().set(REASON, json.dumps({"line": line, "mistake": mistake}))
        raise
    if rank == 0:
        _store().set(VALUE, json.dumps(value))


@cache
def _store() -> "Store":
    """Return the key-value store that all ranks share, kept by the process that started them."""
    from torch.distributed.rendezvous import rendezvous  # slow; a single process needs none of it

    store: Store
    store, _, _ = next(rendezvous("env://"))
    return store

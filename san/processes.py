"""Several processes that train together: who starts them, what they agree on, and what happens when one dies."""

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

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

__all__ = [
    "count",
    "end_with_parent",
    "is_first_to_fail",
    "join_the_first_rank",
    "run",
    "show_folder",
    "started_by_torchrun",
]

GRACE = 2.0  # seconds for the others to end by themselves, once one has, and again after SIGTERM
POLL = 1.0  # seconds between two looks at whether a process is still there
FOLDER, FAILURES, REASON, VALUE = "san/folder", "san/failures", "san/reason", "san/value"
# What all ranks would tell, the first tells.
QUIET = "ERROR"

Job = Callable[[DictConfig], float | None]
# Tells why a job failed, and whether that is a mistake of the user.
Explain = Callable[[Exception], tuple[str, bool]]


def run(name: str, function: Job, config: DictConfig, explain: Explain) -> float | None:
    """Run a job here or, where its trainer has several devices, in as many processes, each of them a rank.

    The processes are of this job alone, so that each job of a multirun has its own. They get the configuration as it
    was composed here, and write to the same folder. This process only watches: if one of them fails or is killed, the
    others are ended, within seconds; if this one ends, however that is, they end as well.

    Args:
        name: Of the function, as it is imported in another process.
        function: The job.
        config: Its configuration.
        explain: Tells why a rank failed, and whether that is a mistake of the user.

    Returns:
        What the function does, in the first rank.

    Raises:
        ValueError: If a rank fails by a mistake of the user.
        ChildProcessError: If a rank is killed.
        RuntimeError: If a rank fails otherwise; its cause has the traceback.
        SystemExit: If a rank exits with a code.
    """
    n_processes = 1 if started_by_torchrun() else count(config)
    return function(config) if n_processes == 1 else _watch(n_processes, name, config, explain)


def started_by_torchrun() -> bool:
    """Tell whether this process is one of several that torchrun has started."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ["WORLD_SIZE"]) > 1


def join_the_first_rank(arguments: Sequence[str]) -> list[str]:
    """Return a rank's command line, such that it writes where the first rank does, and that torchrun decides how many.

    Args:
        arguments: The command line of all ranks.

    Raises:
        ValueError: If it is that of a multirun.
    """
    if {"-m", "--multirun"} & set(arguments):
        raise ValueError(
            "a multirun starts the processes of each job itself: "
            "leave out torchrun, and use trainer=ddp trainer.devices=N"
        )
    here, everywhere = (int(os.environ[name]) for name in ("LOCAL_WORLD_SIZE", "WORLD_SIZE"))
    common = [*arguments, f"trainer.devices={here}", f"trainer.num_nodes={everywhere // here}"]
    if os.environ["RANK"] == "0":
        return common
    folder = _store().get(FOLDER).decode().replace("\\", "\\\\").replace("'", "\\'")
    own = [f"hydra.run.dir='{folder}'", "hydra.output_subdir=null", f"hydra.job_logging.root.level={QUIET}"]
    return [*common, *own]


def show_folder(folder: str) -> None:
    """Let the other ranks know where the first rank writes."""
    if os.environ["RANK"] == "0":
        _store().set(FOLDER, folder)


def is_first_to_fail() -> bool:
    """Tell whether no other rank has failed before, so that what all would tell is told once."""
    return int(_store().add(FAILURES, 1)) == 1


def end_with_parent() -> None:
    """End this process when the one that started it has ended, however that was."""
    parent = os.getppid()

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(POLL)
        sys.stderr.write(f"san: rank {os.environ['RANK']} ends, as the process that started it has\n")
        sys.stderr.flush()
        os._exit(1)

    threading.Thread(target=look, daemon=True, name="end-with-parent").start()


def count(config: DictConfig) -> int:
    """Return how many processes the trainer of a configuration is for."""
    trainer = config.get("trainer")
    if trainer is None:
        return 1
    if type(trainer.devices) is int and trainer.devices > 0:
        return int(trainer.devices)
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from pytorch_lightning import Trainer

    alone = Trainer(
        accelerator=trainer.accelerator,
        devices=trainer.devices,
        plugins=[LightningEnvironment()],
        logger=False,
        enable_checkpointing=False,
    )
    return alone.num_devices


def _watch(n_processes: int, name: str, config: DictConfig, explain: Explain) -> float | None:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]
    from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException, start_processes

    logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    # The classes of Hydra's own configuration are made anew in each process that a launcher starts, so that they cannot
    # be sent to another.
    hydra_config = OmegaConf.to_container(HydraConfig.instance().cfg)
    arguments = (n_processes, store.port, name, config, hydra_config, explain)
    if multiprocessing.get_start_method() not in multiprocessing.get_all_start_methods():  # joblib's own, unknown there
        multiprocessing.set_start_method("spawn", force=True)
    ranks = start_processes(_be_rank, arguments, nprocs=n_processes, join=False)
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
        hint = f"; go on by checkpoint={folder}" if (folder / "checkpoints").is_dir() else ""
        raise ChildProcessError(
            f"rank {error.error_index} of {n_processes} was ended by {error.signal_name}, "
            f"and the others have been ended therefore{hint}"
        ) from None
    finally:  # what is written is whole at any moment
        for process in ranks.processes:
            process.kill()
    value: float | None = json.loads(store.get(VALUE))
    return value


def _be_rank(
    rank: int, n_processes: int, port: int, name: str, config: DictConfig, hydra_config: Any, explain: Explain
) -> None:
    """Run a job as one of several processes, in the environment that torchrun would give it."""
    os.setpgrp()  # an interrupt from the keyboard is for the process that watches
    os.environ |= {
        "RANK": f"{rank}",
        "LOCAL_RANK": f"{rank}",
        "WORLD_SIZE": f"{n_processes}",
        "LOCAL_WORLD_SIZE": f"{n_processes}",
        "GROUP_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": f"{port}",
        "TORCHELASTIC_RUN_ID": f"san-{port}",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    end_with_parent()
    setup_globals()
    whole: Any = OmegaConf.create(hydra_config)
    HydraConfig.instance().cfg = whole
    configure_log(whole.hydra.job_logging, whole.hydra.verbose)
    if rank != 0:
        logging.getLogger().setLevel(QUIET)
    try:
        value = get_method(name)(config)
    except Exception as error:
        if is_first_to_fail():
            line, mistake = explain(error)
            _store().set(REASON, json.dumps({"line": line, "mistake": mistake}))
        raise
    if rank == 0:
        _store().set(VALUE, json.dumps(value))


@cache
def _store() -> "Store":
    """Return what all ranks share, kept by whoever started them."""
    from torch.distributed.rendezvous import rendezvous

    store: Store
    store, _, _ = next(rendezvous("env://"))
    return store

"""Environment variables by which launchers tell a process its rank, and those that a single process ignores."""

import os

__all__ = ["refuse_copies", "started_by_torchrun", "variables_to_hide"]

TORCHRUN = "TORCHELASTIC_RUN_ID"
OF_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# Lightning reads these at its import or for a trainer, whoever set them.
READ_BY_LIGHTNING = (
    *OF_TORCHRUN, TORCHRUN, "GROUP_RANK", "NODE_RANK", "SLURM_PROCID", "SLURM_NTASKS", "JSM_NAMESPACE_RANK",
    "JSM_NAMESPACE_LOCAL_RANK", "JSM_NAMESPACE_SIZE",
)  # fmt: skip
# Rank and number of the processes that a launcher starts together.
OF_LAUNCHERS = {
    "RANK": "WORLD_SIZE",
    "SLURM_PROCID": "SLURM_STEP_NUM_TASKS",
    "OMPI_COMM_WORLD_RANK": "OMPI_COMM_WORLD_SIZE",
    "PMI_RANK": "PMI_SIZE",
    "JSM_NAMESPACE_RANK": "JSM_NAMESPACE_SIZE",
}


def started_by_torchrun() -> bool:
    """Return whether this process is one of several that torchrun started."""
    return TORCHRUN in os.environ and _wrong_of_torchrun() is None and _number("WORLD_SIZE") > 1


def refuse_copies() -> None:
    """Refuse to be one of several processes that would not share a training, but repeat it.

    Raises:
        ValueError: If another launcher than torchrun started several processes, or torchrun's variables are incomplete.
    """
    if started_by_torchrun():
        return
    if TORCHRUN in os.environ and (wrong := _wrong_of_torchrun()) is not None:
        raise ValueError(
            f"{TORCHRUN} is set, as by torchrun, but {wrong}: start the command by torchrun, or unset {TORCHRUN}"
        )
    if copies := _copies():
        rank, size = copies
        raise ValueError(
            f"{rank}={os.environ[rank]} and {size}={os.environ[size]}: {os.environ[size]} processes would each repeat "
            "the whole command; start one (srun --ntasks=1, mpirun -n 1) with trainer.devices=N, or start them by "
            f"torchrun; if each has settings and a folder of its own, unset {rank} first"
        )


def variables_to_hide() -> tuple[str, ...]:
    """Return the variables that would make Lightning take a single process for one of several."""
    is_refused = _copies() is not None or (TORCHRUN in os.environ and _wrong_of_torchrun() is not None)
    return () if started_by_torchrun() or is_refused else READ_BY_LIGHTNING


def _copies() -> tuple[str, str] | None:
    """Return the variables of the rank and the number of several processes, None for one process."""
    found = [(rank, size) for rank, size in OF_LAUNCHERS.items() if rank in os.environ and _number(size) > 1]
    # The batch script of a job is its process 0, whatever number of tasks srun may start later.
    if _number("SLURM_PROCID") > 0 and _number("SLURM_NTASKS") > 1 and "SLURM_STEP_NUM_TASKS" not in os.environ:
        found.append(("SLURM_PROCID", "SLURM_NTASKS"))
    return found[0] if found else None


def _wrong_of_torchrun() -> str | None:
    """Return which of torchrun's variables is missing or no number, None if all are right."""
    for name in OF_TORCHRUN:
        value = os.environ.get(name)
        least = 1 if name.endswith("WORLD_SIZE") else 0
        if value is None:
            return f"{name} is missing"
        if name != "MASTER_ADDR" and _number(name) < least:
            return f"{name}={value[:40]} must be an integer, {least} or more"
    return None


def _number(name: str) -> int:
    """Return the number in a variable, -1 if it has none."""
    value = os.environ.get(name, "")
    return int(value) if value.isascii() and value.isdecimal() and len(value) < 10 else -1

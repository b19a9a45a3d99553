"""A lock of the folder that a command writes to, so that two runs never mix their files."""

import logging
import os
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from san.cli.errors import FULL_DISK, NOT_WRITABLE, PROGRAM

if TYPE_CHECKING:
    from filelock import BaseFileLock

__all__ = ["lock_folder", "release_folders"]

NAME = ".lock"

log = logging.getLogger(__name__)

_held = ExitStack()  # the locks of the running command


def lock_folder(folder: Path, key: str) -> None:
    """Lock a folder until the command ends; the system releases the lock if the process is killed.

    The ranks of a job share the lock of the first. If the file system has no locks, a warning says so.

    Args:
        folder: The folder, made if it is absent.
        key: Key of the folder on the command line.

    Raises:
        SystemExit: If another process holds the lock. Hydra turns an ``Exception`` of a callback into a warning.
    """
    if os.environ.get("RANK", "0") != "0":
        return
    from filelock import FileLock, Timeout  # the help of a command does not need it

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / NAME, blocking=False, fallback_to_soft=False)
        lock.acquire()
    except Timeout:
        raise SystemExit(
            f"{PROGRAM}another run is writing to {folder.resolve()}: wait for its end, or choose another folder by "
            f"{key}=FOLDER"
        ) from None
    except (OSError, NotImplementedError) as error:
        if getattr(error, "errno", None) not in FULL_DISK + NOT_WRITABLE:  # the run reports those
            log.warning("%s cannot be locked (%s): start no other run there", folder, error)
        return
    _held.callback(_release, lock)


def release_folders() -> None:
    """Release the locks of this command."""
    _held.close()


def _release(lock: "BaseFileLock") -> None:
    with suppress(OSError):  # Windows removes no open file; whoever waits for this one tries again with a new file
        Path(lock.lock_file).unlink()
    lock.release()

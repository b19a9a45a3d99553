"""Files that are never seen half-written."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

__all__ = ["replacing"]

SUFFIX = "unfinished"
ABANDONED = 3600.0  # seconds without a write after which an unfinished file is that of a process that was killed


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name to write to, beside a path that it then becomes; the folder is made where it is absent.

    The name is no other process's, so that several may write the same file. The content is on the disk before the path
    is, so that a power cut leaves the file of before or the whole one, not an empty one. What an error leaves is
    removed at once, what a kill leaves by the next who writes the file an hour later.

    Raises:
        OSError: As the system tells, with the path where it tells none.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{uuid4().hex[:8]}.{SUFFIX}")
    try:
        yield unfinished
        with unfinished.open("r+b") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        if error.filename is None or error.filename2 is not None:  # as when copying, which names both files
            raise OSError(error.errno, error.strerror or str(error), str(path)) from error
        raise
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
            _remove_abandoned(path)


def _remove_abandoned(path: Path) -> None:
    for other in path.parent.iterdir():
        ours = other.name.startswith(f"{path.name}.") and other.suffix == f".{SUFFIX}"
        if ours and time.time() - other.stat().st_mtime > ABANDONED:
            other.unlink()

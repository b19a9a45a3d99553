"""Text, JSON and CSV files that no reader sees half-written."""

import csv
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

__all__ = ["read_json", "replacing", "write_csv", "write_json", "write_text"]

SUFFIX = "unfinished"
ABANDONED = 3600.0  # seconds without a write, after which the process of an unfinished file counts as killed


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; on exit, rename it to the target path. Make the folder if it is absent.

    The temporary name is unique, so that several processes can write the same target. The content is synchronized to
    the disk before the rename, so that a power cut leaves the old file or the complete new one. If writing raises an
    error, the temporary file is removed at once. If the process is killed, the next process that writes the same target
    an hour later removes it.

    Args:
        path: The target path.

    Raises:
        OSError: The error of the operating system; if it names no file, with the target path added.
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


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, with the line ends of the text."""
    with replacing(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file, indented and in ASCII.

    Raises:
        ValueError: If a number is NaN or infinite.
    """
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the content of a JSON file that can be computed again; None if it is absent or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a CSV file with a header; a row may lack columns.

    Raises:
        ValueError: If a row has a key that is not a column.
    """
    with replacing(path) as unfinished, unfinished.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def _remove_abandoned(path: Path) -> None:
    """Remove the temporary files that killed processes left beside a target path."""
    for other in path.parent.iterdir():
        is_temporary = other.name.startswith(f"{path.name}.") and other.suffix == f".{SUFFIX}"
        if is_temporary and time.time() - other.stat().st_mtime > ABANDONED:
            other.unlink()

"""Paths of the user's files: what is there instead of a file or a folder."""

import os
from pathlib import Path

__all__ = ["existing_file", "existing_folder"]


def existing_file(path: str | os.PathLike[str], advice: str, key: str = "path") -> Path:
    """Return the path of a regular file, or of a link to one.

    A named pipe or a device is refused before it is opened, because reading it might never end.

    Args:
        path: The path.
        advice: What to give instead, for the error.
        key: Key of the path in the configuration, for the error.

    Raises:
        FileNotFoundError: If there is no file, or anything other than a regular file.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"{key}={path} {_found(file)}: {advice}")
    return file


def existing_folder(path: str | os.PathLike[str], advice: str) -> Path:
    """Return the path of a folder, or of a link to one.

    Args:
        path: The path.
        advice: What to give instead, for the error.

    Raises:
        FileNotFoundError: If there is no folder, or anything other than a folder.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise FileNotFoundError(f"path={path} {'is a file' if folder.is_file() else _found(folder)}: {advice}")
    return folder


def _found(path: Path) -> str:
    """Say what is at a path that was expected to be something else."""
    if path.is_dir():
        return "is a folder"
    if path.exists():
        return "is not a regular file"
    return "is a link to a file that is not there" if path.is_symlink() else "is not there"

"""Paths of the user's files, and the errors for a path without a file or a folder of the expected kind."""

import glob
import logging
import os
from collections.abc import Sequence
from pathlib import Path

__all__ = ["existing_file", "existing_folder", "matching_files", "reason"]

MAX_REASON = 300  # characters

log = logging.getLogger(__name__)


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


def matching_files(path: str | os.PathLike[str], suffixes: Sequence[str]) -> list[Path] | None:
    """Return the files of a folder or a pattern, sorted by their paths; None for any other path.

    Of a folder and its subfolders, and of a pattern without a suffix of its own, these are the files with the suffixes;
    a warning counts the other files. Hidden files are skipped.

    Args:
        path: Path of a folder, or a pattern with ``*``, ``?``, ``[...]`` or ``**``.
        suffixes: Suffixes in lower case.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If two of the files are the same, by a link.
    """
    place = Path(path)
    if place.is_dir():
        found = [file for file in place.rglob("*") if not any(part.startswith(".") for part in _parts(file, place))]
    elif not os.path.lexists(place) and glob.has_magic(str(path)):
        found = [Path(file) for file in glob.glob(str(path), recursive=True)]  # noqa: PTH207, of any root
    else:
        return None
    files = sorted(file for file in found if not file.is_dir())
    has_own_suffix = not place.is_dir() and place.suffix and not glob.has_magic(place.suffix)
    chosen = files if has_own_suffix else [file for file in files if file.suffix.lower() in suffixes]
    if not chosen:
        what = "is a folder" if place.is_dir() else "matches no file"
        raise FileNotFoundError(
            f"path={path} {what}: give a file, or a folder or pattern of {', '.join(suffixes)} files"
        )
    if skipped := sorted({*files} - {*chosen}):
        log.warning("%s: %d files skipped by their suffix, the first %s", path, len(skipped), skipped[0])
    if len({file.resolve() for file in chosen}) < len(chosen):
        raise ValueError(f"path={path} has links to files that it also has: each recording must be there once")
    return chosen


def reason(error: Exception) -> str:
    """Return why a package could not read a file, in one line; it may quote the file."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= MAX_REASON else f"{text[:MAX_REASON]} ..."


def _parts(file: Path, folder: Path) -> tuple[str, ...]:
    return file.relative_to(folder).parts


def _found(path: Path) -> str:
    """Describe the content of a path that is not as expected."""
    if path.is_dir():
        return "is a folder"
    if path.exists():
        return "is not a regular file"
    return "is a link to a file that is not there" if path.is_symlink() else "is not there"

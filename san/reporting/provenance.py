"""The software that a result comes from, and a fingerprint of everything that it depends on."""

import hashlib
import json
import platform
import subprocess
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor

import san

__all__ = ["fingerprint", "versions"]

NUMERICAL_PACKAGES = ("torch", "pytorch-lightning", "numpy", "numba", "san")  # another version may change a number
OTHER_PACKAGES = ("torchmetrics", "hydra-core")


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python and the packages, and the ``commit`` of the source if it is a git checkout.

    The commit ends in ``-dirty`` if the package or the configuration differs from it. The first call determines the
    result of all later calls, because a program keeps running the source that it started with.
    """
    commit = _commit()
    packages = {
        name: san.__version__ if name == "san" else version(name) for name in (*NUMERICAL_PACKAGES, *OTHER_PACKAGES)
    }
    return {"python": platform.python_version(), **packages, **({"commit": commit} if commit else {})}


def fingerprint(settings: Any, tensors: Iterable[Tensor] = ()) -> str:
    """Return a hash of everything that a result depends on: the settings, the examples and the numerical packages.

    The commit is not included, so that an edit of the source does not discard finished results.

    Args:
        settings: Plain data that JSON can represent.
        tensors: Tensors on the CPU.
    """
    numerical = {name: versions()[name] for name in NUMERICAL_PACKAGES}
    digest = hashlib.sha256(json.dumps([settings, numerical], sort_keys=True).encode())
    for tensor in tensors:
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:24]


def _commit() -> str | None:
    """Return the commit of the folder that contains the package; None if that folder is not itself a git checkout."""
    checkout = Path(san.__file__).parents[1]
    if not (checkout / ".git").exists():
        return None

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(checkout), "--no-optional-locks", *arguments]
        return subprocess.run(command, capture_output=True, check=True, text=True, encoding="utf-8").stdout.strip()  # noqa: S603

    try:
        commit, changes = git("rev-parse", "HEAD"), git("status", "--porcelain", "--", "san", "conf")
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}-dirty" if changes else commit

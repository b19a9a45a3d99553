"""The software and the data that a result comes from, and fingerprints of everything that it depends on."""

import hashlib
import json
import platform
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import san
from san.data.splits import Splits

__all__ = ["Provenance", "code_fingerprint", "data_fingerprint", "versions"]

NUMERICAL_PACKAGES = ("torch", "pytorch-lightning", "numpy", "numba", "san")  # another version may change a number
OTHER_PACKAGES = ("torchmetrics", "hydra-core")


@dataclass(frozen=True)
class Provenance:
    """Everything that a result depends on.

    Args:
        settings: The settings that can change the result, as plain data that JSON can represent.
        code: Fingerprint of the code; see :func:`code_fingerprint`.
        data: Fingerprint of the examples; see :func:`data_fingerprint`.
    """

    settings: dict[str, Any]
    code: str
    data: str

    @classmethod
    def of(cls, settings: dict[str, Any], data: str) -> "Provenance":
        """Return the provenance of a result that this process computes."""
        return cls(settings, code_fingerprint(settings), data)

    @property
    def fingerprints(self) -> dict[str, str]:
        """The fingerprints of the ``configuration``, the ``code`` and the ``data``, as results store them."""
        text = json.dumps(self.settings, sort_keys=True)
        return {"configuration": _shortened(hashlib.sha256(text.encode())), "code": self.code, "data": self.data}

    @property
    def key(self) -> str:
        """One fingerprint of everything, as the name of a file in a cache."""
        return _shortened(hashlib.sha256(json.dumps(self.fingerprints).encode()))


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


def code_fingerprint(settings: Any) -> str:
    """Return a fingerprint of the code that a configuration runs.

    The code is the source of this package, the source of each package of the user that a ``_target_`` names, and the
    versions of the numerical packages. A source is that of the first call in this process, as in :func:`versions`.

    Args:
        settings: Plain containers.
    """
    known = {name.replace("-", "_") for name in NUMERICAL_PACKAGES}
    packages = ["san", *sorted(set(_named_packages(settings)) - known)]
    code = [{name: versions()[name] for name in NUMERICAL_PACKAGES}, {name: _source(name) for name in packages}]
    return _shortened(hashlib.sha256(json.dumps(code).encode()))


def data_fingerprint(splits: Splits) -> str:
    """Return a fingerprint of the content of all splits, examples and labels, whatever file they come from."""
    labels = {} if splits.labels is None else {f"labels of {name}": x for name, x in splits.labels.by_split.items()}
    digest = hashlib.sha256(json.dumps([] if splits.labels is None else [*map(str, splits.labels.classes)]).encode())
    for name, tensor in {**splits.examples, **labels}.items():
        digest.update(f"{name}: {tuple(tensor.shape)} of {tensor.dtype}\n".encode())
        digest.update(tensor.contiguous().numpy().data)
    return _shortened(digest)


def _named_packages(node: Any) -> Iterator[str]:
    """Yield the top-level package of each ``_target_``."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield str(node["_target_"]).partition(".")[0]
        for value in node.values():
            yield from _named_packages(value)
    elif isinstance(node, list):
        for item in node:
            yield from _named_packages(item)


@cache
def _source(package: str) -> str:
    """Return a fingerprint of the Python files of a package or module, empty if it cannot be found."""
    try:
        spec = find_spec(package)
    except ValueError:  # of a module that was not imported from a file
        spec = None
    folders = [Path(folder) for folder in (spec and spec.submodule_search_locations) or ()]
    files = [(path.relative_to(folder), path) for folder in folders for path in folder.rglob("*.py")]
    if spec is not None and not folders and spec.origin is not None:
        files = [(Path(package), Path(spec.origin))]
    digest = hashlib.sha256()
    for name, path in sorted(files):
        if path.is_file():  # an editor may leave a link to nowhere
            content = path.read_bytes()
            digest.update(f"{name.as_posix()}: {len(content)}\n".encode())
            digest.update(content)
    return _shortened(digest) if files else ""


def _shortened(digest: Any) -> str:
    return str(digest.hexdigest()[:24])


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

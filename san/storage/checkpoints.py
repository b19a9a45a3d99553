"""Checkpoint files: written whole, read without trust."""

import io
import os
import shutil
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from san.storage.files import replacing
from san.storage.pickle_scan import refuse_excess

__all__ = [
    "add_parts",
    "copy",
    "find",
    "load_state",
    "load_weights",
    "nodes",
    "read",
    "read_tensors",
    "refuse_other_sizes",
    "refuse_unreadable",
    "save",
]

MAX_BYTES = 2**28  # of a checkpoint file
MAX_DIRECTORY = 2**18  # bytes of the list of the members of a checkpoint file; a member takes about 100
MAX_SHARING = 4  # how many times the size of the file all tensors have, because tensors may share their values


def find(path: str | os.PathLike[str], kind: Literal["best", "last"]) -> Path:
    """Return the checkpoint at a path: the file itself, or the best or last checkpoint of a run folder.

    Raises:
        FileNotFoundError: If there is none.
    """
    given = Path(path)
    for candidate in (given, given / "checkpoints" / f"{kind}.ckpt", given / f"{kind}.ckpt"):
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(f"checkpoint={path} is neither a checkpoint nor a run folder with a checkpoint")


def read(path: Path) -> dict[str, Any]:
    """Load a checkpoint to the CPU; accept only plain data and tensors.

    Raises:
        ValueError: If the file is truncated, damaged, from another program, or has any other content.
    """
    try:
        checkpoint = read_tensors(path)
        complete = {"config", "state_dict", "epoch", "callbacks"} <= checkpoint.keys()
    except Exception as error:  # zipfile, pickle and torch raise errors of any type for a damaged file
        reason = f": {error}" if type(error) is ValueError else ""
        raise ValueError(f"{path} is not a checkpoint of san, or is truncated or damaged{reason}") from error
    if not complete or type(checkpoint["epoch"]) is not int or not isinstance(checkpoint["callbacks"], dict):
        raise ValueError(f"{path} is not a checkpoint of san: parts are missing")
    for part in {"state_dict", "classifier"} & checkpoint.keys():
        weights = checkpoint[part]
        if not isinstance(weights, dict) or not all(map(_is_weight, weights.values())):
            raise ValueError(f"{path} is not a checkpoint of san: {part} must contain stored weights only")
    return dict(checkpoint)


def read_tensors(path: Path) -> Any:
    """Load a file of ``torch.save`` to the CPU; accept only plain data and tensors.

    Raises:
        Exception: Of any type, if the file is truncated, damaged, or has any other content; ``ValueError`` for a
            content that is refused.
    """
    content = torch.load(_checked_copy(path), map_location="cpu", weights_only=True)
    _refuse_views(content, path.stat().st_size)
    return content


def refuse_other_sizes(
    checkpoint: dict[str, Any], n_kernels: int, channels: int, extent: Sequence[int], path: Path
) -> None:
    """Refuse a checkpoint whose kernels have another shape than expected, before memory is allocated for them.

    Args:
        checkpoint: A checkpoint from :func:`read`.
        n_kernels: Number of kernels.
        channels: Number of channels of the examples.
        extent: Samples of the largest kernel along each axis.
        path: Path of the checkpoint, for the error.

    Raises:
        ValueError: If the shapes differ.
    """
    stored = checkpoint["state_dict"].get("network.weight", torch.empty(0)).shape
    of_kernels = 1 if len(stored) == len(extent) + 1 else stored[1] if len(stored) == len(extent) + 2 else 0
    if of_kernels and of_kernels != channels:
        raise ValueError(
            f"{path} has kernels of {of_kernels} channels, but the examples have {channels}: give the channels that it "
            "was trained with"
        )
    shape = [n_kernels, *([] if channels == 1 else [channels]), *extent]
    if list(stored) != shape:
        raise ValueError(
            f"{path} has kernels of shape {list(stored)}, not {shape}; give the dataset and the kernel sizes "
            "that the checkpoint was trained with"
        )


def refuse_unreadable(path: Path) -> None:
    """Refuse a file just written that :func:`read` would refuse for its size or for the kinds of its values.

    Raises:
        ValueError: If it would.
    """
    _checked_copy(path)


def add_parts(path: Path, **parts: Any) -> None:
    """Add parts, plain data and tensors, to a checkpoint file."""
    save({**read(path), **parts}, path)


def save(content: Mapping[str, Any], path: Path) -> None:
    """Write plain data and tensors.

    Raises:
        OSError: If the file cannot be written, also on a full disk, where ``torch.save`` has an error of its own.
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with replacing(path) as unfinished:
        unfinished.write_bytes(buffer.getbuffer())


def load_weights(module: nn.Module, checkpoint: dict[str, Any], path: Path) -> None:
    """Load the weights of a checkpoint into a module.

    Raises:
        ValueError: If the shapes differ.
    """
    load_state(module, checkpoint["state_dict"], path)


def load_state(module: nn.Module, state: Mapping[str, Any], path: Path) -> None:
    """Load one part of a checkpoint into a module.

    Raises:
        ValueError: If the shapes differ.
    """
    expected = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    stored = {name: tuple(value.shape) for name, value in state.items()}
    if expected != stored:
        raise ValueError(
            f"{path} has weights of shapes {stored}, not {expected}; give the kernel sizes, the number of kernels and "
            "the dataset that the checkpoint was trained with"
        )
    module.load_state_dict(state)


def copy(source: Path, target: Path) -> None:
    """Copy a file; readers see the old target or the whole new one."""
    if target.exists() and source.samefile(target):
        return
    with replacing(target) as unfinished:
        shutil.copyfile(source, unfinished)


def nodes(node: Any) -> Iterator[Any]:
    """Yield a value and all values in it."""
    yield node
    if isinstance(node, dict | list | tuple):
        for item in node.values() if isinstance(node, dict) else node:
            yield from nodes(item)


def _checked_copy(path: Path) -> io.BytesIO:
    """Return a copy of a checkpoint file whose members are not compressed, do not overlap and match their checksums.

    torch compares no checksum, unpacks compressed members, and may find other members than ``zipfile`` in a file of a
    stranger, but not in this copy.
    """
    n_bytes = path.stat().st_size
    if n_bytes > MAX_BYTES:
        raise ValueError(f"it has {n_bytes} bytes, more than {MAX_BYTES}")
    _refuse_large_directory(path)
    copied = io.BytesIO()
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(copied, "w") as target:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError("it has compressed members")
        if sum(member.file_size for member in members) > n_bytes:
            raise ValueError("it has overlapping members")
        if len({member.filename.lower() for member in members}) < len(members):
            raise ValueError("it has two members of the same name")
        for member in members:
            content = archive.read(member)  # compares the checksum
            if member.filename.lower().endswith("data.pkl"):
                refuse_excess(content)
            target.writestr(member.filename, content)
    copied.seek(0)
    return copied


def _refuse_large_directory(path: Path) -> None:
    """Refuse a file with too many members, from the records at its end, before ``zipfile`` reads all of them."""
    with path.open("rb") as file:
        file.seek(-min(98, path.stat().st_size), io.SEEK_END)
        end = file.read().rjust(98, b"\0")
    long, locator, short = end[:56], end[56:76], end[76:]
    if not short.startswith(b"PK\5\6") or not short.endswith(b"\0\0"):
        raise ValueError("it does not end as a file of torch.save does")
    sizes = [short[12:16], long[40:48] if locator.startswith(b"PK\6\7") else b""]
    if any(int.from_bytes(size, "little") > MAX_DIRECTORY for size in sizes):
        raise ValueError("it has too many members")


def _refuse_views(checkpoint: Any, n_bytes: int) -> None:
    """Refuse tensors whose values are not stored in a file of ``n_bytes``, and what torch cannot read of a state."""
    total = 0
    for node in nodes(checkpoint):
        if isinstance(node, torch.Tensor):
            total += node.nbytes
            is_plain = node.layout == torch.strided and node.device.type == "cpu"
            if not is_plain or node.nbytes > node.untyped_storage().nbytes() or total > MAX_SHARING * n_bytes:
                raise ValueError("a tensor has values that are not stored")
        elif isinstance(node, OrderedDict):
            metadata = vars(node).get("_metadata", {})
            if vars(node).keys() - {"_metadata"} or not _are_versions(metadata):
                raise ValueError("the versions of its modules are damaged")


def _are_versions(metadata: Any) -> bool:
    """Return whether this has a version for each module, as ``torch.nn.Module.state_dict`` writes."""
    return isinstance(metadata, dict) and all(
        isinstance(module, dict) and module.keys() <= {"version"} and type(module.get("version", 1)) is int
        for module in metadata.values()
    )


def _is_weight(weight: Any) -> bool:
    return isinstance(weight, torch.Tensor) and weight.is_floating_point()

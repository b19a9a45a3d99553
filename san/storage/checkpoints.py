"""Checkpoint files: written whole, read without trust."""

import io
import os
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from san.storage.files import replacing

__all__ = [
    "add_parts",
    "copy",
    "find",
    "load_state",
    "load_weights",
    "read",
    "refuse_other_sizes",
    "save",
]


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
        _refuse_damage(path)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        complete = {"config", "state_dict", "epoch", "callbacks"} <= checkpoint.keys()
    except Exception as error:  # zipfile, pickle and torch raise errors of any type for a damaged file
        raise ValueError(f"{path} is not a checkpoint of san, or is truncated or damaged") from error
    if not complete or type(checkpoint["epoch"]) is not int or not isinstance(checkpoint["callbacks"], dict):
        raise ValueError(f"{path} is not a checkpoint of san: parts are missing")
    n_bytes = path.stat().st_size
    for part in {"state_dict", "classifier"} & checkpoint.keys():
        weights = checkpoint[part]
        if not isinstance(weights, dict) or not all(_is_stored_tensor(weight, n_bytes) for weight in weights.values()):
            raise ValueError(f"{path} is not a checkpoint of san: {part} must contain stored weights only")
    return dict(checkpoint)


def refuse_other_sizes(checkpoint: dict[str, Any], shape: Sequence[int], path: Path) -> None:
    """Refuse a checkpoint whose kernels have another shape than expected, before memory is allocated for them.

    Args:
        checkpoint: A checkpoint from :func:`read`.
        shape: The number of kernels, and the samples of the largest along each axis.
        path: Path of the checkpoint, for the error.

    Raises:
        ValueError: If the shapes differ.
    """
    stored = checkpoint["state_dict"].get("network.weight", torch.empty(0)).shape
    if list(stored) != list(shape):
        raise ValueError(
            f"{path} has kernels of shape {list(stored)}, not {list(shape)}; give the dataset and the kernel sizes "
            "that the checkpoint was trained with"
        )


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


def _refuse_damage(path: Path) -> None:
    """Refuse a file that was changed after writing: torch compares no checksum, and unpacks compressed members."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError("a checkpoint has no compressed members")
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise ValueError("a checkpoint has no overlapping members")
        if (damaged := archive.testzip()) is not None:
            raise ValueError(f"{damaged} does not match its checksum")


def _is_stored_tensor(weight: Any, n_bytes: int) -> bool:
    """Return whether a weight is a plain tensor with all values stored in a file of ``n_bytes``."""
    return (
        isinstance(weight, torch.Tensor)
        and weight.layout == torch.strided
        and weight.device.type == "cpu"
        and weight.is_floating_point()
        and weight.nbytes <= weight.untyped_storage().nbytes() <= n_bytes
    )

"""Arrays in files of NumPy and torch (.npy, .npz, .pt), read without executing anything of a file."""

import zipfile
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray

from san.data.arrays import check_numbers, chosen_variable
from san.data.files import existing_file, reason
from san.data.sizes import refuse_excess
from san.storage.checkpoints import read_tensors

__all__ = ["SUFFIXES", "open_array"]

SUFFIXES = (".npy", ".npz", ".pt")
ADVICE = "give a .npy, .npz or .pt file, or a folder or pattern of them"


def open_array(path: str, variable: str | None) -> NDArray[Any]:
    """Open an array of numbers; that of a ``.npy`` file is a memory map.

    Args:
        path: Path of a ``.npy``, ``.npz`` or ``.pt`` file.
        variable: Name of the array in a file of several; None for the only one.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file cannot be read, or has no such array.
    """
    file = existing_file(path, ADVICE)
    kind = _kind(file)
    if variable is not None and kind == ".npy":
        raise ValueError(f"variable={variable} does not apply to path={path}, which has one array")
    try:
        if kind == ".npz":
            return _open_archive(file, variable, f"path={path}")
        if kind == ".pt":
            return _open_tensor(file, variable, f"path={path}")
        array = np.load(file, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("it is an archive of several arrays: name it .npz")
        check_numbers(array.dtype)
    except Exception as error:  # numpy, zipfile and torch raise errors of many types for a damaged file
        if str(error).startswith("variable="):
            raise
        raise ValueError(f"path={path} cannot be read as an array of numbers: {reason(error)}") from error
    return array


def _kind(file: Path) -> str:
    suffix = file.suffix.lower()
    return suffix if suffix in (".npz", ".pt") else ".npy"


def _open_archive(file: Path, variable: str | None, place: str) -> NDArray[Any]:
    """Read an array of a .npz file, after the headers of all arrays were compared with the size of the file."""
    shapes, types = {}, {}
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            if member.filename.endswith(".npy"):
                name = member.filename.removesuffix(".npy")
                with archive.open(member) as opened:
                    shapes[name], types[name] = _header(opened)
    chosen = chosen_variable(variable, {name: shapes[name] for name in shapes if not types[name].hasobject}, place)
    check_numbers(types[chosen])
    refuse_excess(prod(shapes[chosen]), file)
    with np.load(file, allow_pickle=False) as arrays:
        return np.asarray(arrays[chosen])


def _header(opened: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return the shape and type of an array from its header."""
    major, _ = npy.read_magic(opened)
    read = npy.read_array_header_1_0 if major == 1 else npy.read_array_header_2_0
    shape, _, dtype = read(opened)
    return shape, dtype


def _open_tensor(file: Path, variable: str | None, place: str) -> NDArray[Any]:
    """Read a tensor of a file of torch.save: the tensor itself, or one of a dictionary of tensors."""
    content = read_tensors(file)
    if isinstance(content, torch.Tensor):
        if variable is not None:
            raise ValueError(f"variable={variable} does not apply to {place}, which has one tensor")
        chosen = content
    elif isinstance(content, dict):
        tensors = {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        chosen = tensors[chosen_variable(variable, shapes, place)]
    else:
        raise ValueError(f"it has a {type(content).__name__}, neither a tensor nor a dictionary of tensors")
    chosen = chosen.detach()
    array: NDArray[Any] = (chosen.float() if chosen.dtype == torch.bfloat16 else chosen).numpy()
    check_numbers(array.dtype)
    return array

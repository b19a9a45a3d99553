"""The file ``description.npz``: all of a description as arrays of numbers and texts, read without trust."""

import zipfile
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from san.activations import Identity
from san.data.files import existing_file
from san.data.scale import FITTED, Scale, Statistics
from san.data.splits import check_sampling_frequency
from san.extensions.signs import signs
from san.figures.channels import channels_first
from san.networks import KernelForm, SparselyActivatedNetwork
from san.ops.choices import check_choice
from san.ops.kernels import kernel_index
from san.storage.files import replacing
from san.use.description import Description, Origin, Window

__all__ = ["FILE", "Kernel", "load_description", "padded", "without_single_axis", "write_description"]

FILE = "description.npz"
FORMATS = {1: "one channel", 2: "several channels"}  # of the file; only the second has axes of channels
MOST_SAMPLES = 10**9  # that a file may ask to decode
MOST_KERNELS = 10**4
MOST_CHANNELS = 10**4
KEYS = (
    *("kernels", "kernel_sizes", "decoder", "shape", "is_single", "name", "channel", "unit", "sampling_frequency"),
    *("scaling", "scale", "window_example", "window_start", "window_statistics", "window_metrics"),
    *("window", "places", "amplitudes"),
)  # of both formats

Arrays = Mapping[str, NDArray[Any]]
Kernel = NDArray[np.float32]


def write_description(description: Description, folder: Path) -> None:
    """Write ``description.npz`` into a folder."""
    with replacing(folder / FILE) as unfinished, unfinished.open("wb") as file:
        np.savez(file, **_arrays(description))


def load_description(path: str | Path) -> Description:
    """Read a description, without the recordings and without the model; the file is not trusted.

    Args:
        path: A ``description.npz``, or the folder with it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, or of another program or version.
    """
    given = Path(path)
    file = existing_file(given / FILE if given.is_dir() else given, "give the folder or the file that san.encode wrote")
    try:
        with zipfile.ZipFile(file) as members:
            if any(member.compress_type != zipfile.ZIP_STORED for member in members.infolist()):
                raise ValueError("a part is compressed")
        with np.load(file, allow_pickle=False) as arrays:
            return _description(_with_channels(arrays))
    except (
        KeyError,
        IndexError,
        MemoryError,
        RuntimeError,
        TypeError,
        ValueError,
        OverflowError,
        zipfile.BadZipFile,
    ) as error:
        raise ValueError(f"path={file} is not a description of this version of san, or is damaged: {error}") from error


def padded(atoms: list[Kernel]) -> Kernel:
    """Return kernels in one array, [kernels, channels, *longest], with NaN after the end of shorter ones."""
    longest = max(atom.shape[-1] for atom in atoms)
    array = np.full((len(atoms), len(atoms[0]), *[longest] * (atoms[0].ndim - 1)), np.nan, dtype=np.float32)
    for own, atom in zip(array, atoms, strict=True):
        own[tuple(slice(length) for length in atom.shape)] = atom
    return array


def without_single_axis(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array [rows, channels, ...] without its axis of channels if there is one channel."""
    return array[:, 0] if array.shape[1] == 1 else array


def _arrays(description: Description) -> dict[str, Any]:
    """Return a description as arrays of numbers and texts."""
    windows, origin, scale, network = description.windows, description.origin, description.scale, description.network
    counts = [len(window.amplitudes) for window in windows]
    n_channels = description.shape[1]
    several = n_channels > 1
    statistics = np.stack(
        [
            [torch.as_tensor(one, dtype=torch.float64).flatten().expand(n_channels).numpy() for one in own.statistics]
            for own in windows
        ]
    )
    kernels = [
        channels_first(sign * kernel, network.n_dims).numpy()
        for sign, kernel in zip(signs(network), network.kernels, strict=True)
    ]
    numbers = [np.broadcast_to(one, n_channels) for one in (scale.offset, scale.unit, scale.lowest, scale.highest)]
    return {
        "format": 2 if several else 1,
        "kernels": without_single_axis(padded(kernels)),
        "kernel_sizes": network.kernel_sizes,
        "decoder": network.decoder,
        "shape": description.shape if several else (description.shape[0], *description.shape[2:]),
        "is_single": description.is_single,
        "name": origin.name,
        "channel": origin.channels if several else origin.channel,
        "unit": origin.channel_units if several else origin.unit,
        "sampling_frequency": np.nan if origin.sampling_frequency is None else origin.sampling_frequency,
        "scaling": scale.kind,
        "scale": np.array(numbers) if several else np.array(numbers)[:, 0],
        "window_example": [window.example for window in windows],
        "window_start": [window.start for window in windows],
        "window_statistics": statistics if several else statistics[..., 0],
        "window_metrics": [[window.cr_inverse, window.loss_normalized] for window in windows],
        "window": np.repeat(np.arange(len(windows)), counts),
        "places": torch.cat([window.places for window in windows]).numpy(),
        "amplitudes": description.shown_amplitudes.numpy(),
        **({"kernel": network.kernel} if several else {}),
    }


def _with_channels(stored: Arrays) -> dict[str, NDArray[Any]]:
    """Return the arrays of a file with axes of channels, which a file of one channel has not.

    Raises:
        ValueError: If the format is unknown, or the axes are not those of the format.
    """
    stored_format = int(stored["format"])
    if stored_format not in FORMATS:
        raise ValueError(f"its format is {stored_format}, not {' or '.join(map(str, FORMATS))}")
    arrays = {key: stored[key] for key in (*KEYS, *(["kernel"] if stored_format == 2 else []))}
    if stored_format == 1:
        arrays["kernels"] = arrays["kernels"][:, None]
        arrays["shape"] = np.insert(arrays["shape"], 1, 1)
        for key in ("scale", "window_statistics"):
            arrays[key] = arrays[key][..., None]
        for key in ("channel", "unit"):
            arrays[key] = np.array([str(arrays[key])])
        arrays["kernel"] = np.array("full")
    n_channels = len(arrays["channel"])
    if not 0 < n_channels <= MOST_CHANNELS or arrays["channel"].ndim != 1 or arrays["unit"].shape != (n_channels,):
        raise ValueError("the channels are too many, or not as many as their units")
    if arrays["kernels"].ndim < 2 or arrays["kernels"].shape[1] != n_channels:
        raise ValueError("the kernels are of other channels")
    if arrays["scale"].shape != (4, n_channels) or arrays["window_statistics"].shape[1:] != (2, n_channels):
        raise ValueError("the numbers that scale it are of other channels")
    return arrays


def _description(arrays: Arrays) -> Description:
    """Return the description that is stored in the arrays of a file, which have axes of channels.

    Raises:
        ValueError: If they denote none.
    """
    kernels, sizes = arrays["kernels"], [int(size) for size in arrays["kernel_sizes"]]
    n_dims: Any = kernels.ndim - 2
    n_channels = kernels.shape[1]
    if not 0 < len(sizes) <= MOST_KERNELS or not np.isfinite(kernels[~np.isnan(kernels)]).all():
        raise ValueError("the kernels are too many, or not finite")
    if n_dims not in (1, 2) or len(kernels) != len(sizes) or set(kernels.shape[2:]) != {max(sizes)}:
        raise ValueError("the kernels and their sizes differ")
    decoder: Any = str(arrays["decoder"])
    form: Any = str(arrays["kernel"])
    check_choice("kernel", form, KernelForm)
    network = SparselyActivatedNetwork(
        sizes,
        Identity(),
        n_dims,
        decoder=decoder,
        seed=0,
        sampler=lambda shape, _: torch.zeros(shape),
        channels=n_channels,
    )
    network.kernel = form  # without a projection of the zeros, which would take long for many channels
    with torch.no_grad():
        for index, size in enumerate(sizes):
            own = torch.from_numpy(kernels[index])[(slice(None), *[slice(size)] * n_dims)]
            if not own.isfinite().all():
                raise ValueError("a kernel is not finite")
            place = kernel_index(index, size, max(sizes), n_dims)
            network.weight[place] = own.reshape(network.weight[place].shape)
    shape = tuple(int(length) for length in arrays["shape"])
    if len(shape) != n_dims + 2 or min(shape) < 1 or np.prod(shape, dtype=float) > MOST_SAMPLES:
        raise ValueError(f"the shape {shape} is none of recordings")
    if shape[1] != n_channels:
        raise ValueError(f"the shape {shape} is of other channels")
    network.check_space(shape[2:])
    frequency = float(arrays["sampling_frequency"])
    if not np.isnan(frequency):
        check_sampling_frequency(frequency, "it")
    channels, units = (tuple(str(one) for one in arrays[key]) for key in ("channel", "unit"))
    return Description(
        network.requires_grad_(False),
        _scale(arrays),
        Origin(str(arrays["name"]), channels, units, frequency if frequency > 0 else None),
        shape,
        _windows(arrays, shape, len(sizes)),
        bool(arrays["is_single"]),
    )


def _scale(arrays: Arrays) -> Scale:
    """Return the scale that is stored in the arrays of a file: numbers of one channel, or tuples of several."""
    kind: Any = str(arrays["scaling"])
    offset, unit, lowest, highest = (tuple(map(float, row)) for row in arrays["scale"])
    if len(offset) > 1 and kind in FITTED:
        return Scale(kind, offset, unit, lowest[0], highest[0])
    return Scale(kind, offset[0], unit[0], lowest[0], highest[0])


def _windows(arrays: Arrays, shape: tuple[int, ...], n_kernels: int) -> list[Window]:
    """Return the windows that are stored in the arrays of a file.

    Raises:
        ValueError: If they are not in order, or an activation is outside its window.
    """
    examples, starts = arrays["window_example"], arrays["window_start"]
    stops = np.where(np.append(starts[1:], 0) > 0, np.append(starts[1:], 0), shape[2])
    expected = np.cumsum(starts == 0) - 1
    in_order = (np.diff(starts)[starts[1:] > 0] > 0).all() and (examples == expected).all()
    if not (in_order and starts[0] == 0 and examples[-1] == shape[0] - 1 and (stops > starts).all()):
        raise ValueError("the windows are not in order")
    of_window, places, amplitudes = arrays["window"], arrays["places"], arrays["amplitudes"]
    kinds = {array.dtype.kind for array in (of_window, places, examples, starts)} | {amplitudes.dtype.kind}
    if not kinds <= {"i", "u", "f"} or amplitudes.dtype.kind != "f" or places.shape[1:] != (len(shape) - 1,):
        raise ValueError("the events are not of whole places and real amplitudes")
    if any(array.dtype.kind == "f" for array in (of_window, places, examples, starts)):
        raise ValueError("the places of events are not whole numbers")
    with np.errstate(over="ignore"):  # refused below
        amplitudes = amplitudes.astype(np.float32)
    numbers = (arrays["window_statistics"], arrays["window_metrics"])
    if not all(array.dtype.kind == "f" and np.isfinite(array).all() for array in numbers):
        raise ValueError("the statistics of a window are not finite")
    space = np.broadcast_to(shape[2:], (len(places), len(shape) - 2)).copy()
    space[:, 0] = (stops - starts)[of_window]
    inside = (places >= 0).all() and (places[:, 0] < n_kernels).all() and (places[:, 1:] < space).all()
    if not inside or not np.isfinite(amplitudes).all():
        raise ValueError("an event is outside its window or not finite")
    of_channels = (2, shape[1], *[1] * (len(shape) - 2))
    bounds = np.searchsorted(of_window, np.arange(len(examples) + 1))
    if len(of_window) and not 0 <= of_window.min() <= of_window.max() < len(examples):
        raise ValueError("an event is in no window")
    if len(np.unique(np.column_stack([of_window, places]), axis=0)) < len(places):
        raise ValueError("two events have the same place")
    if (np.diff(of_window) < 0).any() or len(amplitudes) != len(places) or len(of_window) != len(places):
        raise ValueError("the events are not in order")
    return [
        Window(
            int(examples[index]),
            int(starts[index]),
            Statistics(*torch.from_numpy(arrays["window_statistics"][index].astype(np.float64)).view(of_channels)),
            torch.from_numpy(places[first:last].astype(np.int64)),
            torch.from_numpy(amplitudes[first:last]),
            *(float(number) for number in arrays["window_metrics"][index]),
        )
        for index, (first, last) in enumerate(pairwise(bounds))
    ]

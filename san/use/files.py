"""The files of a description: tables of its events and kernels, all of it for decoding, and a WFDB annotation."""

import re
import zipfile
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import torch
import wfdb
from numpy.typing import NDArray

from san.activations import Identity
from san.data.files import existing_file
from san.data.scale import FITTED, Scale, Statistics
from san.data.splits import check_sampling_frequency
from san.figures.channels import channels_first
from san.networks import SparselyActivatedNetwork
from san.ops.kernels import kernel_index
from san.storage.files import replacing
from san.use.description import Description, Origin, Window

__all__ = ["FILE", "load_description", "save_description", "write_beats"]

FILE = "description.npz"
FORMATS = {1: "one channel", 2: "several channels"}  # of description.npz; only the second has axes of channels
MOST_SAMPLES = 10**9  # that a file may ask to decode
MOST_KERNELS = 10**4
MOST_CHANNELS = 10**4
SYMBOL = '"'  # of a WFDB annotation with a text of its own
BEAT = "N"  # of a WFDB annotation of a beat; beats are not classified

Arrays = Mapping[str, NDArray[Any]]
Kernel = NDArray[np.float32]


def save_description(description: Description, folder: Path) -> None:
    """Write the files of a description.

    ``events.csv`` has a row for each event and ``kernels.csv`` a column for each kernel and channel, with units in the
    header; ``kernels.npy`` has the kernels as rows, [kernels, m] or [kernels, channels, m]; ``description.npz`` has all
    that :func:`load_description` needs. Of one recording, ``<name>.san`` is a WFDB annotation with the text "kernel
    amplitude unit" at each event.

    Args:
        description: The description.
        folder: The folder; it is made if it is absent.
    """
    origin, network = description.origin, description.network
    events = description.events.rename(columns={"time": "time (s)", "amplitude": description.amplitude_label})
    _write_table(events, folder / "events.csv")
    atoms = [channels_first(atom, network.n_dims).numpy() for atom in network.atoms]
    _write_table(_table_of_kernels(atoms, origin), folder / "kernels.csv")
    with replacing(folder / "kernels.npy") as unfinished, unfinished.open("wb") as file:
        np.save(file, _without_single_axis(_padded(atoms)))
    with replacing(folder / FILE) as unfinished, unfinished.open("wb") as file:
        np.savez(file, **_arrays(description))
    if description.is_single and description.network.n_dims == 1 and len(description.events):
        _write_events(description, folder)


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


def _write_table(table: pd.DataFrame, path: Path) -> None:
    with replacing(path) as unfinished:
        table.to_csv(unfinished, index=False)


def _table_of_kernels(atoms: list[Kernel], origin: Origin) -> pd.DataFrame:
    """Return the kernels, each [channels, *space]: a column for each channel of a kernel, of images a row a pixel."""
    several = len(atoms[0]) > 1
    if atoms[0].ndim == 3:
        rows = [
            (kernel, *([origin.labels[channel]] if several else []), *place, atom[(channel, *place)])
            for kernel, atom in enumerate(atoms)
            for channel, *place in np.ndindex(atom.shape)
        ]
        names = ["kernel", *(["channel"] if several else []), "row", "column", "weight"]
        return pd.DataFrame(rows, columns=names)
    table = pd.DataFrame(
        {
            f"kernel {index}" + (f" channel {label}" if several else ""): pd.Series(own)
            for index, atom in enumerate(atoms)
            for label, own in zip(origin.labels, atom, strict=True)
        }
    )
    table.insert(0, "sample", range(len(table)))
    if origin.sampling_frequency is not None:
        table.insert(1, "time (s)", table["sample"] / origin.sampling_frequency)
    return table


def _padded(atoms: list[Kernel]) -> Kernel:
    """Return kernels in one array, [kernels, channels, *longest], with NaN after the end of shorter ones."""
    longest = max(atom.shape[-1] for atom in atoms)
    padded = np.full((len(atoms), len(atoms[0]), *[longest] * (atoms[0].ndim - 1)), np.nan, dtype=np.float32)
    for own, atom in zip(padded, atoms, strict=True):
        own[tuple(slice(length) for length in atom.shape)] = atom
    return padded


def _without_single_axis(array: NDArray[Any]) -> NDArray[Any]:
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
    kernels = [channels_first(kernel, network.n_dims).numpy() for kernel in network.kernels]
    numbers = [np.broadcast_to(one, n_channels) for one in (scale.offset, scale.unit, scale.lowest, scale.highest)]
    return {
        "format": 2 if several else 1,
        "kernels": _without_single_axis(_padded(kernels)),
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
        "amplitudes": torch.cat([window.amplitudes for window in windows]).numpy(),
        **({"kernel": network.kernel} if several else {}),
    }


def _with_channels(stored: Arrays) -> dict[str, NDArray[Any]]:
    """Return the arrays of a file with axes of channels, which a file of one channel has not.

    Raises:
        ValueError: If the format is unknown, or the axes are not those of the format.
    """
    arrays = {key: stored[key] for key in stored}
    if int(arrays["format"]) not in FORMATS:
        raise ValueError(f"its format is {int(arrays['format'])}, not {' or '.join(map(str, FORMATS))}")
    if int(arrays["format"]) == 1:
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
    """Return the description that arrays from a file, with axes of channels, denote.

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
    network = SparselyActivatedNetwork(
        sizes,
        Identity(),
        n_dims,
        decoder=decoder,
        seed=0,
        sampler=lambda shape, _: torch.zeros(shape),
        channels=n_channels,
        kernel=form,
    )
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
    """Return the scale that arrays from a file denote: numbers of one channel, or tuples of several."""
    kind: Any = str(arrays["scaling"])
    offset, unit, lowest, highest = (tuple(map(float, row)) for row in arrays["scale"])
    if len(offset) > 1 and kind in FITTED:
        return Scale(kind, offset, unit, lowest[0], highest[0])
    return Scale(kind, offset[0], unit[0], lowest[0], highest[0])


def _windows(arrays: Arrays, shape: tuple[int, ...], n_kernels: int) -> list[Window]:
    """Return the windows that arrays from a file denote.

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


def write_beats(beats: NDArray[np.int64], description: Description, folder: Path) -> None:
    """Write beats as ``beats.csv`` and as a WFDB annotation, which ``wfdb.rdann(RECORD, "beats")`` reads.

    Args:
        beats: Sample of each beat, [beats], in order.
        description: The description that they were found in.
        folder: The folder.
    """
    frequency = description.origin.sampling_frequency
    table = pd.DataFrame({"sample": beats})
    if frequency is not None:
        table["time (s)"] = beats / frequency
    _write_table(table, folder / "beats.csv")
    if len(beats):
        _write_annotation(description.origin, folder, "beats", beats, symbol=[BEAT] * len(beats))


def _write_events(description: Description, folder: Path) -> None:
    """Write the events of a signal as a WFDB annotation, which ``wfdb.rdann(RECORD, "san")`` reads."""
    origin, events = description.origin, description.events
    unit = origin.unit if description.is_physical else ""
    texts = [
        " ".join(f"{kernel} {amplitude:.6g} {unit}".split())
        for kernel, amplitude in zip(events["kernel"], events["amplitude"], strict=True)
    ]
    samples = events["sample"].to_numpy()
    _write_annotation(origin, folder, "san", samples, symbol=[SYMBOL] * len(events), aux_note=texts)


def _write_annotation(
    origin: Origin, folder: Path, annotator: str, samples: NDArray[np.int64], **options: Sequence[str]
) -> None:
    record = re.sub(r"[^A-Za-z0-9_-]+", "_", origin.name.rpartition("/")[2])
    with TemporaryDirectory(dir=folder) as unfinished:
        wfdb.wrann(record, annotator, samples, fs=origin.sampling_frequency, write_dir=unfinished, **options)
        Path(unfinished, f"{record}.{annotator}").replace(folder / f"{record}.{annotator}")

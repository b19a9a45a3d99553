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
from san.data.scale import Scale, Statistics
from san.data.splits import check_sampling_frequency
from san.networks import SparselyActivatedNetwork
from san.ops.kernels import kernel_index
from san.storage.files import replacing
from san.use.description import Description, Origin, Window

__all__ = ["FILE", "load_description", "save_description", "write_beats"]

FILE = "description.npz"
FORMAT = 1  # of description.npz
MOST_SAMPLES = 10**9  # that a file may ask to decode
MOST_KERNELS = 10**4
SYMBOL = '"'  # of a WFDB annotation with a text of its own
BEAT = "N"  # of a WFDB annotation of a beat; beats are not classified

Arrays = Mapping[str, NDArray[Any]]


def save_description(description: Description, folder: Path) -> None:
    """Write the files of a description.

    ``events.csv`` has a row for each event and ``kernels.csv`` a column for each kernel, with units in the header;
    ``kernels.npy`` has the kernels as rows; ``description.npz`` has all that :func:`load_description` needs. Of one
    signal, ``<name>.san`` is a WFDB annotation with the text "kernel amplitude unit" at each event.

    Args:
        description: The description.
        folder: The folder; it is made if it is absent.
    """
    origin = description.origin
    unit = f" ({origin.unit})" if origin.unit else ""
    events = description.events.rename(columns={"time": "time (s)", "amplitude": f"amplitude{unit}"})
    _write_table(events, folder / "events.csv")
    atoms = [atom.detach().numpy() for atom in description.network.atoms]
    _write_table(_table_of_kernels(atoms, origin.sampling_frequency), folder / "kernels.csv")
    with replacing(folder / "kernels.npy") as unfinished, unfinished.open("wb") as file:
        np.save(file, _padded(atoms))
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
            if int(arrays["format"]) != FORMAT:
                raise ValueError(f"its format is {int(arrays['format'])}, not {FORMAT}")
            return _description(arrays)
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


def _table_of_kernels(atoms: list[NDArray[np.float32]], sampling_frequency: float | None) -> pd.DataFrame:
    if atoms[0].ndim == 2:
        rows = [(kernel, *place, atom[place]) for kernel, atom in enumerate(atoms) for place in np.ndindex(atom.shape)]
        return pd.DataFrame(rows, columns=["kernel", "row", "column", "weight"])
    table = pd.DataFrame({f"kernel {index}": pd.Series(atom) for index, atom in enumerate(atoms)})
    table.insert(0, "sample", range(len(table)))
    if sampling_frequency is not None:
        table.insert(1, "time (s)", table["sample"] / sampling_frequency)
    return table


def _padded(atoms: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return kernels in one array, [kernels, *longest], with NaN after the end of shorter ones."""
    longest = max(len(atom) for atom in atoms)
    padded = np.full((len(atoms), *[longest] * atoms[0].ndim), np.nan, dtype=np.float32)
    for own, atom in zip(padded, atoms, strict=True):
        own[tuple(slice(length) for length in atom.shape)] = atom
    return padded


def _arrays(description: Description) -> dict[str, Any]:
    """Return a description as arrays of numbers and texts."""
    windows, origin, scale = description.windows, description.origin, description.scale
    counts = [len(window.amplitudes) for window in windows]
    return {
        "format": FORMAT,
        "kernels": _padded([kernel.detach().numpy() for kernel in description.network.kernels]),
        "kernel_sizes": description.network.kernel_sizes,
        "decoder": description.network.decoder,
        "shape": description.shape,
        "is_single": description.is_single,
        "name": origin.name,
        "channel": origin.channel,
        "unit": origin.unit,
        "sampling_frequency": np.nan if origin.sampling_frequency is None else origin.sampling_frequency,
        "scaling": scale.kind,
        "scale": [scale.offset, scale.unit, scale.lowest, scale.highest],
        "window_example": [window.example for window in windows],
        "window_start": [window.start for window in windows],
        "window_statistics": np.array([[float(number) for number in window.statistics] for window in windows]),
        "window_metrics": [[window.cr_inverse, window.loss_normalized] for window in windows],
        "window": np.repeat(np.arange(len(windows)), counts),
        "places": torch.cat([window.places for window in windows]).numpy(),
        "amplitudes": torch.cat([window.amplitudes for window in windows]).numpy(),
    }


def _description(arrays: Arrays) -> Description:
    """Return the description that arrays from a file denote.

    Raises:
        ValueError: If they denote none.
    """
    kernels, sizes = arrays["kernels"], [int(size) for size in arrays["kernel_sizes"]]
    n_dims: Any = kernels.ndim - 1
    if not 0 < len(sizes) <= MOST_KERNELS or not np.isfinite(kernels[~np.isnan(kernels)]).all():
        raise ValueError("the kernels are too many, or not finite")
    if n_dims not in (1, 2) or len(kernels) != len(sizes) or set(kernels.shape[1:]) != {max(sizes)}:
        raise ValueError("the kernels and their sizes differ")
    decoder: Any = str(arrays["decoder"])
    network = SparselyActivatedNetwork(
        sizes, Identity(), n_dims, decoder=decoder, seed=0, sampler=lambda shape, _: torch.zeros(shape)
    )
    with torch.no_grad():
        for index, size in enumerate(sizes):
            own = torch.from_numpy(kernels[index])[tuple([slice(size)] * n_dims)]
            if not own.isfinite().all():
                raise ValueError("a kernel is not finite")
            network.weight[kernel_index(index, size, max(sizes), n_dims)] = own
    shape = tuple(int(length) for length in arrays["shape"])
    if len(shape) != n_dims + 1 or min(shape) < 1 or np.prod(shape, dtype=float) > MOST_SAMPLES:
        raise ValueError(f"the shape {shape} is none of recordings")
    network.check_space(shape[1:])
    frequency = float(arrays["sampling_frequency"])
    if not np.isnan(frequency):
        check_sampling_frequency(frequency, "it")
    name, channel, unit = (str(arrays[key]) for key in ("name", "channel", "unit"))
    scaling: Any = str(arrays["scaling"])
    return Description(
        network.requires_grad_(False),
        Scale(scaling, *(float(number) for number in arrays["scale"])),
        Origin(name, channel, unit, frequency if frequency > 0 else None),
        shape,
        _windows(arrays, shape, len(sizes)),
        bool(arrays["is_single"]),
    )


def _windows(arrays: Arrays, shape: tuple[int, ...], n_kernels: int) -> list[Window]:
    """Return the windows that arrays from a file denote.

    Raises:
        ValueError: If they are not in order, or an activation is outside its window.
    """
    examples, starts = arrays["window_example"], arrays["window_start"]
    stops = np.where(np.append(starts[1:], 0) > 0, np.append(starts[1:], 0), shape[1])
    expected = np.cumsum(starts == 0) - 1
    in_order = (np.diff(starts)[starts[1:] > 0] > 0).all() and (examples == expected).all()
    if not (in_order and starts[0] == 0 and examples[-1] == shape[0] - 1 and (stops > starts).all()):
        raise ValueError("the windows are not in order")
    of_window, places, amplitudes = arrays["window"], arrays["places"], arrays["amplitudes"]
    kinds = {array.dtype.kind for array in (of_window, places, examples, starts)} | {amplitudes.dtype.kind}
    if not kinds <= {"i", "u", "f"} or amplitudes.dtype.kind != "f" or places.shape[1:] != (len(shape),):
        raise ValueError("the events are not of whole places and real amplitudes")
    if any(array.dtype.kind == "f" for array in (of_window, places, examples, starts)):
        raise ValueError("the places of events are not whole numbers")
    with np.errstate(over="ignore"):  # refused below
        amplitudes = amplitudes.astype(np.float32)
    numbers = (arrays["window_statistics"], arrays["window_metrics"])
    if not all(array.dtype.kind == "f" and np.isfinite(array).all() for array in numbers):
        raise ValueError("the statistics of a window are not finite")
    space = np.broadcast_to(shape[1:], (len(places), len(shape) - 1)).copy()
    space[:, 0] = (stops - starts)[of_window]
    inside = (places >= 0).all() and (places[:, 0] < n_kernels).all() and (places[:, 1:] < space).all()
    if not inside or not np.isfinite(amplitudes).all():
        raise ValueError("an event is outside its window or not finite")
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
            Statistics(*(float(number) for number in arrays["window_statistics"][index])),
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
    texts = [
        " ".join(f"{kernel} {amplitude:.6g} {origin.unit}".split())
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

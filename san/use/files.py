"""The files of a description: tables of its events and kernels, and a WFDB annotation, beside all of it."""

import re
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import wfdb
from numpy.typing import NDArray

from san.extensions.signs import shown_atoms
from san.figures.channels import channels_first
from san.storage.files import replacing
from san.use.description import Description, Origin
from san.use.description_file import Kernel, padded, without_single_axis, write_description

__all__ = ["save_description", "write_beats"]

SYMBOL = '"'  # of a WFDB annotation with a text of its own
BEAT = "N"  # of a WFDB annotation of a beat; beats are not classified


def save_description(description: Description, folder: Path) -> None:
    """Write the files of a description.

    ``events.csv`` has a row for each event and ``kernels.csv`` a column for each kernel and channel, with units in the
    header; ``kernels.npy`` has the kernels as rows, [kernels, m] or [kernels, channels, m]; ``description.npz`` has all
    of it; see :mod:`san.use.description_file`. Of one recording, ``<name>.san`` is a WFDB annotation with the text
    "kernel amplitude unit" at each event.

    Args:
        description: The description.
        folder: The folder; it is made if it is absent.
    """
    origin, network = description.origin, description.network
    events = description.events.rename(columns={"time": "time (s)", "amplitude": description.amplitude_label})
    _write_table(events, folder / "events.csv")
    atoms = [channels_first(atom, network.n_dims).numpy() for atom in shown_atoms(network)]
    _write_table(_table_of_kernels(atoms, origin), folder / "kernels.csv")
    with replacing(folder / "kernels.npy") as unfinished, unfinished.open("wb") as file:
        np.save(file, without_single_axis(padded(atoms)))
    write_description(description, folder)
    if description.is_single and description.network.n_dims == 1 and len(description.events):
        _write_events(description, folder)


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

"""The command ``san.decode``."""

import re
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import pandas as pd
import wfdb
from omegaconf import DictConfig

from san.figures.channels import channel_labels
from san.ops.choices import check_choice
from san.reporting.console import console
from san.reporting.results import relative_to_here
from san.storage.files import replacing
from san.use.description import Array, Description, Origin
from san.use.description_file import FILE, load_description

__all__ = ["decode"]

Format = Literal["npy", "csv", "wfdb"]
STORED = "16"  # WFDB format: 16 bits a sample
NAME = "reconstruction"
SUFFIXES = {"npy": "npy", "csv": "csv", "wfdb": "hea"}
PLAIN_UNITS = {"µ": "u", "μ": "u", "°": "deg", "Ω": "Ohm"}  # headers of WFDB are read without other characters


def decode(config: DictConfig) -> None:
    """Reconstruct each described recording and write it.

    Raises:
        FileNotFoundError: If there is no description.
        ValueError: If the format is unknown, or it cannot store the recording.
    """
    check_choice("format", config.format, Format)
    given, folder = Path(str(config.path)), Path(config.paths.output_dir)
    below = sorted(given.rglob(FILE)) if given.is_dir() else []
    descriptions = {file.parent.relative_to(given): file for file in below} or {Path(): given}
    if next(folder.rglob(f"{NAME}.*"), None) is not None:
        raise ValueError(f"hydra.run.dir={folder} already has a reconstruction: choose a folder that has none")
    for name, file in descriptions.items():
        WRITERS[config.format](load_description(file), folder / name)
        written = folder / name / f"{NAME}.{SUFFIXES[config.format]}"
        console().print(f"Reconstruction: {relative_to_here(written)}", soft_wrap=True, highlight=False)


def _write_npy(description: Description, folder: Path) -> None:
    with replacing(folder / f"{NAME}.npy") as unfinished, unfinished.open("wb") as file:
        np.save(file, description.decode())


def _write_csv(description: Description, folder: Path) -> None:
    signals, origin = _signals(description), description.origin
    n_channels = description.shape[1]
    names = [
        NAME
        + ("" if description.is_single else f" {example}")
        + (f" {origin.labels[channel]}" if n_channels > 1 else "")
        + (f" ({origin.channel_units[channel]})" if origin.channel_units[channel] else "")
        for example in range(description.shape[0])
        for channel in range(n_channels)
    ]
    table = pd.DataFrame(dict(zip(names, signals, strict=True)))
    if origin.sampling_frequency is not None:
        table.insert(0, "time (s)", np.arange(len(table)) / origin.sampling_frequency)
    with replacing(folder / f"{NAME}.csv") as unfinished:
        table.to_csv(unfinished, index=False)


def _write_wfdb(description: Description, folder: Path) -> None:
    signals, origin = _signals(description), description.origin
    if origin.sampling_frequency is None:
        raise ValueError(
            "format=wfdb needs a sampling frequency, which the description does not have: format=npy or csv"
        )
    units = [_plain_unit(unit) for unit in origin.channel_units] * description.shape[0]
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder) as unfinished:
        wfdb.wrsamp(
            NAME,
            origin.sampling_frequency,
            units,
            _channel_names(origin, description.shape[0]),
            signals.T.copy(),
            fmt=[STORED] * len(signals),
            write_dir=unfinished,
        )
        for suffix in (".dat", ".hea"):
            Path(unfinished, f"{NAME}{suffix}").replace(folder / f"{NAME}{suffix}")


def _signals(description: Description) -> Array:
    """Return the reconstructions of signals, [examples * channels, samples].

    Raises:
        ValueError: If they are images.
    """
    if description.network.n_dims == 2:
        raise ValueError("images are decoded by format=npy alone")
    return description.decode().reshape(-1, description.shape[2])


def _plain_unit(unit: str) -> str:
    """Return a unit as the header of a WFDB record stores it.

    Raises:
        ValueError: If it cannot.
    """
    plain = unit
    for symbol, other in PLAIN_UNITS.items():
        plain = plain.replace(symbol, other)
    if not plain.isascii() or len(plain.split()) > 1:
        raise ValueError(f"format=wfdb cannot store the unit {unit}: choose format=npy or csv")
    return plain or "NU"


def _channel_names(origin: Origin, n_examples: int) -> list[str]:
    """Return a different name for each signal: all channels of the first recording, then of the next."""
    names = [re.sub(r"[^\x21-\x7e]+", "_", name) or NAME for name in origin.channels]
    if len(names) > 1:
        names = [name.replace(" ", "_") for name in channel_labels(names)]
    if n_examples == 1:
        return names
    return [f"{name}_{index}" for index in range(n_examples) for name in names]


WRITERS: dict[str, Callable[[Description, Path], None]] = {
    "npy": _write_npy,
    "csv": _write_csv,
    "wfdb": _write_wfdb,
}

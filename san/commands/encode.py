"""The command ``san.encode``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf
from rich.table import Table

from san.data.files import matching_files
from san.data.reading import READERS, read_recording
from san.figures.style import save
from san.reporting.console import column, console, print_table
from san.reporting.results import relative_to_here
from san.storage.files import write_json
from san.use.description import Description
from san.use.files import FILE, save_description
from san.use.kernel_page import write_kernel_page
from san.use.loading import load

__all__ = ["encode"]

OPTIONS = ("channel", "column", "variable", "sampling_frequency")  # of the readers


def encode(config: DictConfig) -> float:
    """Describe recordings, write the files of each description, and print a table.

    Returns:
        The mean φ̄ of the recordings.

    Raises:
        FileNotFoundError: If there is no recording or no checkpoint.
        ValueError: If the folder has a description, or a recording cannot be read or described.
    """
    folder = Path(config.paths.output_dir)
    recordings = _recordings(config.path)
    folders = {name: folder / name if len(recordings) > 1 else folder for name in recordings}
    for place in folders.values():
        if (place / FILE).exists():
            raise ValueError(f"hydra.run.dir={folder} already has a description: choose a folder that has none")
    for key in ("resample", "plot", "report"):
        if not isinstance(config[key], bool):
            raise ValueError(f"{key}={config[key]} must be true or false")
    model = load(config.checkpoint)
    options = {key: config[key] for key in OPTIONS}
    rows: dict[str, dict[str, Any]] = {}
    for name, path in recordings.items():
        signal = read_recording(path, **options)
        description = model.encode(signal, window=config.window, resample=config.resample, nan=config.nan)
        save_description(description, folders[name])
        if config.plot:
            save(description.plot(), folders[name] / "figures" / "description.png")
        if config.report:
            write_kernel_page(model, description, folders[name] / "report.html", names=[name])
        rows[name] = {"path": path, **_row(description)}
    write_json(folder / "results.json", {"recordings": list(rows.values()), "config": OmegaConf.to_container(config)})
    _print(rows, folder)
    return float(np.mean([row["phi"] for row in rows.values()]))


def _recordings(pattern: str) -> dict[str, str]:
    """Return the path of each recording by a name that no other has.

    Raises:
        FileNotFoundError: If the folder or the pattern has no file of a known format.
    """
    files = matching_files(str(pattern), sorted(READERS))
    if files is None:
        return {Path(str(pattern)).stem: str(pattern)}
    stems = [file.stem for file in files]
    if len(set(stems)) == len(files):
        return dict(zip(stems, map(str, files), strict=True))
    return {str(file).strip("./").replace("/", "_"): str(file) for file in files}


def _row(description: Description) -> dict[str, Any]:
    """Return the results of one recording."""
    return {
        "n_samples": description.shape[-1],
        "n_windows": len(description.windows),
        "n_events": len(description.events),
        "phi": description.phi,
        "cr_inverse": description.cr_inverse,
        "loss_normalized": description.loss_normalized,
        **description.origin._asdict(),
    }


def _print(rows: Mapping[str, Mapping[str, Any]], folder: Path) -> None:
    headings = ("seconds", "events", "φ̄", "CR⁻¹", "L̃")
    table = Table(column("recording"), *(column(heading, "right") for heading in headings))
    for name, row in rows.items():
        frequency = row["sampling_frequency"]
        table.add_row(
            name,
            f"{row['n_samples'] / frequency:.1f}" if frequency else "unknown",
            str(row["n_events"]),
            *(f"{row[metric]:.4f}" for metric in ("phi", "cr_inverse", "loss_normalized")),
        )
    print_table(table)
    console().print(relative_to_here(folder), soft_wrap=True, highlight=False)

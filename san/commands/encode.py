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
from san.peers.beat_detectors import installed_detectors
from san.reporting.console import column, console, print_table
from san.reporting.results import relative_to_here
from san.storage.files import write_json
from san.use.beats import BeatScore, Samples, annotated_beats, find_beats, score_beats
from san.use.description import Description
from san.use.files import FILE, save_description, write_beats
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
    if config.events_as not in (None, "beats"):
        raise ValueError(f"events_as={config.events_as} must be beats or null")
    for key in ("resample", "plot", "report"):
        if not isinstance(config[key], bool):
            raise ValueError(f"{key}={config[key]} must be true or false")
    model = load(config.checkpoint)
    options = {key: config[key] for key in OPTIONS}
    rows: dict[str, dict[str, Any]] = {}
    scores: dict[str, BeatScore] = {}
    for name, path in recordings.items():
        signal = read_recording(path, **options)
        description = model.encode(signal, window=config.window, resample=config.resample, nan=config.nan)
        save_description(description, folders[name])
        if config.plot:
            save(description.plot(), folders[name] / "figures" / "description.png")
        if config.report:
            write_kernel_page(model, description, folders[name] / "report.html", names=[name])
        rows[name] = {"path": path, **_row(description)}
        if config.events_as == "beats":
            found = find_beats(description)
            rows[name]["n_beats"] = len(found)
            write_beats(found, description, folders[name])
            scores |= _scores(name, found, description, annotated_beats(path), signal.sampling_frequency)
    results = {"recordings": list(rows.values()), "config": OmegaConf.to_container(config)}
    if scores:
        results["beats"] = {name: score._asdict() for name, score in scores.items()}
    write_json(folder / "results.json", results)
    _print(rows, scores, folder)
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


def _scores(
    name: str, found: Samples, description: Description, reference: Samples | None, frequency: float | None
) -> dict[str, BeatScore]:
    """Return the scores of the found beats, and of those that detectors of other libraries find."""
    described = description.origin.sampling_frequency
    if reference is None or described is None or description.recordings is None:
        return {}
    if frequency is not None and frequency != described:
        reference = np.unique((reference * (described / frequency)).round().astype(np.int64))
    others = {other: detect(description.recordings[0], described) for other, detect in installed_detectors().items()}
    return {
        f"{name}, {method}": score_beats(beats, reference, described)
        for method, beats in {"learned kernel": found, **others}.items()
    }


def _print(rows: Mapping[str, Mapping[str, Any]], scores: Mapping[str, BeatScore], folder: Path) -> None:
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
    if scores:
        headings = ("sensitivity", "predictivity", "found", "missed", "extra")
        table = Table(column("beats"), *(column(heading, "right") for heading in headings))
        for name, score in scores.items():
            shares = (f"{share:.2%}" for share in (score.sensitivity, score.positive_predictivity))
            table.add_row(name, *shares, *map(str, (score.matched, score.missed, score.extra)))
        print_table(table)
    console().print(relative_to_here(folder), soft_wrap=True, highlight=False)

"""The command ``san.encode``."""

from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf, open_dict

from san.cli.evaluation_data import load_test_data
from san.cli.trained import trained_configuration
from san.data import mat, numpy_array, wav
from san.data.files import matching_files
from san.data.reading import READERS, read_recording
from san.data.splits import Splits
from san.figures.style import save
from san.peers.beat_detectors import installed_detectors
from san.reporting.console import console, numbers, print_table, texts
from san.reporting.results import print_failures, relative_to_here
from san.storage.checkpoints import find, read
from san.storage.files import write_json
from san.use.beats import BeatScore, Samples, annotated_beats, find_beats, score_beats
from san.use.description import Description, Origin
from san.use.description_file import FILE
from san.use.files import save_description, write_beats
from san.use.kernel_page import write_kernel_page
from san.use.loading import load
from san.use.model import Model

__all__ = ["encode"]

OPTIONS = ("channel", "column", "variable", "sampling_frequency")  # of the readers
WITHOUT_NAMES = (*mat.SUFFIXES, *numpy_array.SUFFIXES, *wav.SUFFIXES)  # of channels


def encode(config: DictConfig) -> float:
    """Describe recordings, write the files of each description, and print a table.

    Of several recordings, those that can be described are described; the others are reported.

    Returns:
        The mean φ̄ of the recordings.

    Raises:
        FileNotFoundError: If there is no recording or no checkpoint.
        ValueError: If the folder has a description, or a recording cannot be read or described.
    """
    folder = Path(config.paths.output_dir)
    _check(config)
    recordings = {"test": None} if config.dataset is not None else _recordings(config.path)
    folders = {name: folder / name if len(recordings) > 1 else folder for name in recordings}
    for place in folders.values():
        if (place / FILE).exists():
            raise ValueError(f"hydra.run.dir={folder} already has a description: choose a folder that has none")
    model = load(config.checkpoint)
    rows: dict[str, dict[str, Any]] = {}
    scores: dict[str, BeatScore] = {}
    failures: dict[str, str] = {}
    for name, path in recordings.items():
        try:
            description = _of_dataset(config, model) if path is None else _of_file(config, model, path)
            _write(config, model, description, name, folders[name])
            rows[name] = {"path": path, **_row(description)}
            if config.events_as == "beats":
                found = find_beats(description)
                write_beats(found, description, folders[name])
                rows[name]["n_beats"] = len(found)
                scores |= _scores(name, found, description, path)
        except (ValueError, FileNotFoundError) as error:
            if len(recordings) == 1:
                raise
            failures[name] = str(error)
    results = {"recordings": list(rows.values()), "failures": failures, "config": OmegaConf.to_container(config)}
    if scores:
        results["beats"] = {name: score._asdict() for name, score in scores.items()}
    write_json(folder / "results.json", results)
    _print(rows, scores, failures, folder)
    if failures:
        raise ValueError(f"{len(failures)} of {len(recordings)} recordings are not described; the reasons are above")
    return float(np.mean([row["phi"] for row in rows.values()]))


def _check(config: DictConfig) -> None:
    """Refuse options of a wrong kind, and a command without a path or a dataset.

    Raises:
        ValueError: If there is one.
    """
    if config.events_as not in (None, "beats"):
        raise ValueError(f"events_as={config.events_as} must be beats or null")
    for key in ("resample", "plot", "report"):
        if not isinstance(config[key], bool):
            raise ValueError(f"{key}={config[key]} must be true or false")
    if config.dataset is None and config.path is None:
        raise ValueError("nothing to describe: give path=FILE, or dataset=NAME for its test examples")


def _of_file(config: DictConfig, model: Model, path: str) -> Description:
    options: dict[str, Any] = {
        key: OmegaConf.to_container(value) if OmegaConf.is_config(value := config[key]) else value for key in OPTIONS
    }
    if model.network.channels > 1 and options["channel"] is None and options["column"] is None:
        options |= _trained_channels(path, model.origin)
    signal = read_recording(path, **options)
    return model.encode(signal, window=config.window, resample=config.resample, nan=config.nan, progress=True)


def _trained_channels(path: str, origin: Origin) -> dict[str, Any]:
    """Return the option that reads the channels of the training data: their names or indices, or all if unknown."""
    suffix = ".hea" if Path(f"{path}.hea").is_file() else Path(path).suffix.lower()
    if suffix not in READERS:
        return {}
    key = next(key for key in ("channel", "column") if key in signature(READERS[suffix]).parameters)
    if all(name.isdecimal() for name in origin.channels):
        return {key: [int(name) for name in origin.channels]}
    return {key: "all" if suffix in WITHOUT_NAMES or not all(origin.channels) else list(origin.channels)}


def _of_dataset(config: DictConfig, model: Model) -> Description:
    """Describe the test examples of a dataset, scaled as the training data."""
    path = find(config.checkpoint, "best")
    checkpoint = read(path)
    trained = trained_configuration(checkpoint["config"], path)
    whole = config.copy()
    with open_dict(whole):
        whole.chunk = None
    splits: Splits = load_test_data(whole, trained, checkpoint, path)
    origin = Origin(splits.name, splits.channels, splits.channel_units, splits.sampling_frequency)
    return model.encode_scaled(splits.test, splits.test_statistics, origin)


def _write(config: DictConfig, model: Model, description: Description, name: str, folder: Path) -> None:
    """Write the files of a description."""
    save_description(description, folder)
    if config.plot:
        save(description.plot(), folder / "figures" / "description")
    if config.report:
        names = [name] if description.is_single else [f"{name} {index}" for index in range(description.shape[0])]
        write_kernel_page(model, description, folder / "report.html", names=names)


def _recordings(pattern: str) -> dict[str, str | None]:
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
    return {f"{index}-{file.stem}": str(file) for index, file in enumerate(files)}


def _row(description: Description) -> dict[str, Any]:
    """Return the results of one recording."""
    return {
        "n_samples": description.shape[-1],
        "n_windows": len(description.windows),
        "n_events": len(description.events),
        "phi": description.phi,
        "cr_inverse": description.cr_inverse,
        "loss_normalized": description.loss_normalized,
        **description.origin.to_dict(),
    }


def _scores(name: str, found: Samples, description: Description, path: str | None) -> dict[str, BeatScore]:
    """Return the scores of found beats and of the beats of other libraries, if the recording has annotations."""
    frequency, samples = description.origin.sampling_frequency, description.recordings
    reference = None if path is None or frequency is None else annotated_beats(path, frequency)
    if reference is None or frequency is None or samples is None:
        return {}
    others = {other: detect(samples[0, 0], frequency) for other, detect in installed_detectors().items()}
    return {
        f"{name}, {method}": score_beats(beats, reference, frequency)
        for method, beats in {"learned kernel": found, **others}.items()
    }


def _print(
    rows: Mapping[str, Mapping[str, Any]],
    scores: Mapping[str, BeatScore],
    failures: Mapping[str, str],
    folder: Path,
) -> None:
    cells = [
        [
            name,
            f"{row['n_samples'] / row['sampling_frequency']:.1f}" if row["sampling_frequency"] else "unknown",
            str(row["n_events"]),
            *(f"{row[metric]:.4f}" for metric in ("phi", "cr_inverse", "loss_normalized")),
        ]
        for name, row in rows.items()
    ]
    if rows:
        print_table([*texts("recording"), *numbers("seconds", "events", "φ̄", "CR⁻¹", "L̃")], cells)
    print_failures(failures)
    if scores:
        cells = [
            [
                name,
                *(f"{share:.2%}" for share in (score.sensitivity, score.positive_predictivity)),
                *map(str, (score.matched, score.missed, score.extra)),
            ]
            for name, score in scores.items()
        ]
        headings = numbers("sensitivity", "predictivity", "found", "missed", "extra")
        print_table([*texts("beats"), *headings], cells)
    console().print(relative_to_here(folder), soft_wrap=True, highlight=False)

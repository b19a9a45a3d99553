"""UCI Epileptic Seizure Recognition: 11,500 segments of one second of EEG, from 500 recordings."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from san.data import csv_files
from san.data.scaling import scaled_splits, split_in_order
from san.data.splits import Labels, Splits

__all__ = ["load", "recording_of_id", "recordings"]

SEGMENTS, SAMPLES, CHUNKS, FILES = 11500, 178, 23, 100
CLASSES = ("epilepsy", "tumour", "eyes")
# The file's classes: a seizure; the tumour's area, the healthy area; eyes closed, eyes open.
MERGED = {1: 0, 2: 1, 3: 1, 4: 2, 5: 2}
SHA1 = "33b6fa1c9f1229e040be2fabb824cfa1d76a5700"
# 4,097 samples of a recording lasted 23.6 seconds.
SAMPLING_FREQUENCY = 173.61


def load(*, path: str, split: str, fractions: Sequence[float], value_range: Sequence[float]) -> Splits:
    """Read ``data.csv``, or a mirror of it, and scale all segments by their common extremes.

    In the order of the file the segments of one recording fall on both sides of the split: every recording of the
    test segments has segments in training. That is the paper's protocol; ``by_recording`` keeps them together.

    Args:
        path: The file: an id, 178 samples and a class ``y`` from 1 to 5 in each row.
        split: ``file_order`` or ``by_recording``.
        fractions: Of the segments for training, validation and test, together one.
        value_range: What the least and the largest of all samples become.

    Raises:
        FileNotFoundError: If the file is not there.
        ValueError: If it is another file, or a choice is unknown.

    Reference:
        Bizopoulos and Koutsouris, "Sparsely Activated Networks", Section IV-B.
    """
    if split not in ("file_order", "by_recording"):
        raise ValueError(f"dataset.split={split} must be 'file_order' or 'by_recording'")
    name = f"uci_epilepsy/{split}"
    identifiers, samples, classes = _read(Path(path))
    groups = list(range(SEGMENTS)) if split == "file_order" else recordings(identifiers)
    place = {group: index for index, group in enumerate(dict.fromkeys(groups))}
    where = torch.tensor([place[group] for group in groups])
    chosen = [torch.isin(where, part) for part in split_in_order(torch.arange(len(place)), fractions, name)]
    return scaled_splits(
        [samples[part].unsqueeze(1) for part in chosen],
        name=name,
        scaling="range",
        value_range=value_range,
        sampling_frequency=SAMPLING_FREQUENCY,
        labels=Labels(CLASSES, *(classes[part] for part in chosen)),
    )


def recordings(identifiers: Sequence[str]) -> list[int]:
    """Return the number of the recording, 0 to 499, that each segment was cut from.

    Args:
        identifiers: The first column of the file.

    Raises:
        ValueError: If one of them is not an id of that file.
    """
    origins = recording_of_id()
    unknown = [identifier for identifier in identifiers if identifier not in origins]
    if unknown:
        raise ValueError(
            f"uci_epilepsy: {len(unknown)} ids, the first {unknown[0]}, do not tell their recording: "
            "dataset.split=by_recording needs the ids of the original file"
        )
    return [origins[identifier] for identifier in identifiers]


def recording_of_id() -> dict[str, int]:
    """Return the recording of every id of the file.

    The segments were named for the classes 5 to 1, chunk by chunk: ``X{chunk}.V1`` for the first file of the class and
    ``X{chunk}.V1.{file}`` for the others. Names that then repeat were made unique as R's ``make.unique`` does without a
    separator: by the least counter that gives a name not taken, counted on for each name.
    """
    named = [
        (f"X{chunk}.V1.{file}" if file else f"X{chunk}.V1", group * FILES + file)
        for group in range(5)
        for chunk in range(1, CHUNKS + 1)
        for file in range(FILES)
    ]
    plain = {name for name, _ in named}
    counters: Counter[str] = Counter()
    origins: dict[str, int] = {}
    for name, recording in named:
        unique = name
        while unique in origins or (unique != name and unique in plain):
            counters[name] += 1
            unique = f"{name}{counters[name]}"
        origins[unique] = recording
    return origins


def _read(path: Path) -> tuple[list[str], Tensor, Tensor]:
    """Return the identifiers, the samples, [segments, 178] in float64, and the merged classes."""
    what = (
        f"{SEGMENTS} rows of an id, {SAMPLES} samples X1 to X{SAMPLES} and a class y from 1 to 5 (SHA-1 {SHA1}); "
        "the UCI site no longer serves it, so check what a mirror has by that sum"
    )
    if not path.is_file():
        raise FileNotFoundError(
            f"{path.resolve()} is not there: the Epileptic Seizure Recognition file has {what}, and put it there or "
            "name it by dataset.path="
        )
    name = path.resolve()
    try:
        table = csv_files.read(path, dtype=str)
    except ValueError as error:
        raise ValueError(f"{name} cannot be read as a table: it should have {what}") from error
    columns = [*(f"X{number}" for number in range(1, SAMPLES + 1)), "y"]
    missing = [column for column in columns if column not in table.columns[1:]]
    if missing or len(table) != SEGMENTS:
        lack = f"no column {missing[0]}" if missing else f"{len(table)} rows"
        raise ValueError(f"{name} has {lack}: it should have {what}")
    numbers = table[columns].apply(pd.to_numeric, errors="coerce").to_numpy(dtype="float64", copy=True)
    bad = ~np.isfinite(numbers)
    bad[:, -1] |= ~np.isin(numbers[:, -1], list(MERGED))
    if bad.any():
        row, column = np.argwhere(bad)[0]
        given = table[columns].iloc[row, column]
        allowed = "a number" if column < SAMPLES else "a class from 1 to 5"
        raise ValueError(f"{name}, row {row + 1}, column {columns[column]}: {given} must be {allowed}; "
                         f"the file should have {what}")  # fmt: skip
    classes = torch.tensor([MERGED[int(one)] for one in numbers[:, -1]])
    return [str(identifier) for identifier in table.iloc[:, 0]], torch.from_numpy(numbers[:, :-1]), classes

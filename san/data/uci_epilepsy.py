"""UCI Epileptic Seizure Recognition: 11,500 one-second segments of 500 EEG recordings."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from pandas.api.types import is_integer_dtype
from torch import Tensor

from san.data import csv_files
from san.data.arguments import checked_arguments
from san.data.files import existing_file
from san.data.scaling import ScaledBy, scaled_splits, split_in_order
from san.data.splits import Labels, Splits
from san.ops.choices import check_choice

__all__ = ["SegmentSplit", "load", "recording_of_id", "recordings_of_segments"]

SegmentSplit = Literal["file_order", "by_recording"]

N_SEGMENTS, SAMPLES_PER_SEGMENT = 11500, 178
RECORDINGS_PER_CLASS, SEGMENTS_PER_RECORDING = 100, 23
CLASSES = ("epilepsy", "tumour", "eyes")
# Index in CLASSES of each class y: 1 seizure; 2 tumour area, 3 healthy area; 4 eyes closed, 5 eyes open.
CLASS_OF_Y = {1: 0, 2: 1, 3: 1, 4: 2, 5: 2}
MAX_BYTES = 50_000_000  # of the file, which has 7.6 million
SHA1 = "33b6fa1c9f1229e040be2fabb824cfa1d76a5700"
SAMPLING_FREQUENCY = 173.61  # hertz: 4,097 samples of a recording span 23.6 seconds


@checked_arguments
def load(
    *,
    path: str,
    split: SegmentSplit,
    fractions: Sequence[float],
    value_range: Sequence[float],
    scaled_by: ScaledBy,
    scale: Mapping[str, Any] | None = None,
) -> Splits:
    """Read ``data.csv`` or a mirror of it, and scale all segments by one minimum and one maximum.

    In the order of the file, the paper's protocol, the segments of one recording fall on both sides of the split: every
    recording in the test split also has segments in the training split. ``by_recording`` keeps them together.

    Args:
        path: Path of the file. Each row has an id, 178 samples and a class ``y`` from 1 to 5.
        split: ``file_order`` or ``by_recording``.
        fractions: Fractions of the segments (or of the recordings) for training, validation and test.
        value_range: Values that the minimum and the maximum are scaled to.
        scaled_by: Segments whose samples have this minimum and maximum: ``train``, or ``all``, the paper's.
        scale: Scale of a checkpoint, whose statistics replace those of the file; see
            :func:`san.data.scaling.scaled_splits`.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file differs from this description, a choice is unknown or a number is out of its range.

    Reference:
        Bizopoulos and Koutsouris, "Sparsely Activated Networks", Section IV-B.
    """
    check_choice("split", split, SegmentSplit)
    name = f"uci_epilepsy/{split}"
    identifiers, samples, classes = _read_table(Path(path))
    groups = list(range(N_SEGMENTS)) if split == "file_order" else recordings_of_segments(identifiers)
    position_of_group = {group: position for position, group in enumerate(dict.fromkeys(groups))}
    positions = torch.tensor([position_of_group[group] for group in groups])
    parts = split_in_order(torch.arange(len(position_of_group)), fractions, name)
    masks = [torch.isin(positions, part) for part in parts]
    return scaled_splits(
        [samples[mask].unsqueeze(1) for mask in masks],
        name=name,
        scaling="range",
        value_range=value_range,
        scaled_by=scaled_by,
        scale=scale,
        sampling_frequency=SAMPLING_FREQUENCY,
        labels=Labels(CLASSES, *(classes[mask] for mask in masks)),
    )


def recordings_of_segments(identifiers: Sequence[str]) -> list[int]:
    """Return the index of each segment's recording, 0 to 499.

    Args:
        identifiers: Ids of the segments, the first column of the file.

    Raises:
        ValueError: If an id is not in the original file.
    """
    recordings = recording_of_id()
    unknown = [identifier for identifier in identifiers if identifier not in recordings]
    if unknown:
        raise ValueError(
            f"uci_epilepsy: {len(unknown)} ids, the first {unknown[0]}, name no recording: split=by_recording needs "
            "the ids of the original file"
        )
    return [recordings[identifier] for identifier in identifiers]


def recording_of_id() -> dict[str, int]:
    """Return the index of the recording, 0 to 499, by the id of the segment.

    The segments were named class by class from 5 to 1 and chunk by chunk: ``X{chunk}.V1`` for the first file of the
    class and ``X{chunk}.V1.{file}`` for the others. Repeated names were then made unique as R's ``make.unique`` does
    without a separator: each gets the lowest counter that yields an unused name, and each name has its own counter.
    """
    named = [
        (f"X{chunk}.V1.{file}" if file else f"X{chunk}.V1", group * RECORDINGS_PER_CLASS + file)
        for group in range(5)
        for chunk in range(1, SEGMENTS_PER_RECORDING + 1)
        for file in range(RECORDINGS_PER_CLASS)
    ]
    original_names = {name for name, _ in named}
    counters: Counter[str] = Counter()
    recordings: dict[str, int] = {}
    for name, recording in named:
        unique = name
        while unique in recordings or (unique != name and unique in original_names):
            counters[name] += 1
            unique = f"{name}{counters[name]}"
        recordings[unique] = recording
    return recordings


def _read_table(path: Path) -> tuple[list[str], Tensor, Tensor]:
    """Return the identifiers, the samples, [segments, 178] in float64, and the index of each segment's class."""
    expected = (
        f"{N_SEGMENTS} rows of an id, {SAMPLES_PER_SEGMENT} samples X1 to X{SAMPLES_PER_SEGMENT} and a class y from 1 "
        f"to 5 (SHA-1 {SHA1}); the UCI site no longer serves it, so check the file of a mirror by that sum"
    )
    file = path.resolve()
    existing_file(
        file, f"put the Epileptic Seizure Recognition file there, or give its path; it should have {expected}"
    )
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError("it is too large")
        table = csv_files.read(path, converters={0: str})
        is_whole = all(map(is_integer_dtype, table.dtypes.iloc[1:]))
        if not is_whole:
            table = csv_files.read(path, dtype=str)  # as written, for the message about a field that is no number
    except ValueError as error:
        raise ValueError(f"{file} cannot be read as a table ({error}): it should have {expected}") from error
    columns = [*(f"X{number}" for number in range(1, SAMPLES_PER_SEGMENT + 1)), "y"]
    missing = [column for column in columns if column not in table.columns[1:]]
    if missing or len(table) != N_SEGMENTS:
        difference = f"no column {missing[0]}" if missing else f"{len(table)} rows"
        raise ValueError(f"{file} has {difference}: it should have {expected}")
    fields = table[columns] if is_whole else table[columns].apply(pd.to_numeric, errors="coerce")
    numbers = fields.to_numpy(dtype="float64", copy=True)
    invalid = ~np.isfinite(numbers)
    invalid[:, -1] |= ~np.isin(numbers[:, -1], list(CLASS_OF_Y))
    if invalid.any():
        row, column = np.argwhere(invalid)[0]
        value = table[columns].iloc[row, column]
        allowed = "a number" if column < SAMPLES_PER_SEGMENT else "a class from 1 to 5"
        raise ValueError(
            f"{file}, row {row + 1}, column {columns[column]}: {value} must be {allowed}; it should have {expected}"
        )
    classes = torch.tensor([CLASS_OF_Y[int(y)] for y in numbers[:, -1]])
    return [str(identifier) for identifier in table.iloc[:, 0]], torch.from_numpy(numbers[:, :-1]), classes

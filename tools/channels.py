"""Describe recordings of several channels together and channel by channel, and write docs/channels.json and its table.

    python tools/channels.py                # all recordings; finished ones are kept
    python tools/channels.py --data FOLDER  # physionet_full/mitdb/100 and own/ are in this folder

Every model is φ pursuit without perturbations, of the kernel size and number of kernels of the lowest validation φ̄.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from san.data import edf, numpy_array, wfdb_record
from san.data.scaling import scaled_splits
from san.data.splits import Splits
from san.use.training import Trained, train_models

PROJECT = Path(__file__).parents[1]
RESULTS, PAGE = PROJECT / "docs" / "channels.json", PROJECT / "docs" / "channels.md"
BEGIN, END = "<!-- written by tools/channels.py -->\n", "<!-- until here -->\n"
Results = dict[str, Any]


class Trial(NamedTuple):
    """The examples of a recording, and the grid of its models.

    Args:
        splits: The examples.
        sizes: Kernel sizes in samples.
        counts: Numbers of kernels by way: of rank 1, full, and each channel alone.
        epochs: Epochs of training.
    """

    splits: Splits
    sizes: Sequence[int]
    counts: Mapping[str, Sequence[int]]
    epochs: int


def main() -> int:
    """Describe the missing recordings, and write the results and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SAN_DATA_DIR", "data")))
    data: Path = parser.parse_args().data
    results: Results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    for name, trial in _recordings(data).items():
        if name in results:
            continue
        results[name] = {
            "channels": trial.splits.n_channels,
            **{way: _selected(trial, trial.splits, way) for way in ("rank1", "full")},
            "alone": _alone(trial),
        }
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        print(name, {way: round(found["test"], 4) for way, found in results[name].items() if way != "channels"})
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    PAGE.write_text(before + BEGIN + _table(results) + END + rest.partition(END)[2], encoding="utf-8")
    return 0


def _recordings(data: Path) -> dict[str, Trial]:
    """Return the trial of each recording."""
    known: dict[str, Any] = {
        "stride": None, "nan": "refuse", "fractions": [0.5, 0.2, 0.3], "scaling": "example", "value_range": [-1, 1],
        "scaled_by": "train",
    }  # fmt: skip
    own = data / "own"
    leads = wfdb_record.load(path=str(data / "physionet_full" / "mitdb" / "100"), channel="all", window=1000, **known)
    axes = numpy_array.load(
        path=str(own / "accelerometer_3ch_1000hz.npy"), axes=["channels", "time"], channel="all", window=3000,
        sampling_frequency=1000, **known,
    )  # fmt: skip
    electrodes = edf.load(path=str(own / "S001R02.edf"), channel="all", window=400, **known)
    return {
        "ECG, 2 leads, 120 windows of 1,000 samples": Trial(
            _first(leads, 60, 24, 36), (20, 30, 40), {"rank1": (2, 3, 4, 5), "full": (1, 2, 3), "alone": (1, 2, 3)}, 20
        ),
        "accelerometer, 3 axes, 10 windows of 3,000": Trial(
            axes, (50, 100), {"rank1": (2, 3, 4), "full": (1, 2, 3), "alone": (1, 2)}, 20
        ),
        "EEG, 64 electrodes, 11 windows of 400": Trial(
            _first(electrodes, 6, 2, 3), (20,), {"rank1": (4, 8), "full": (1, 2), "alone": (1, 2)}, 5
        ),
    }


def _first(splits: Splits, *counts: int) -> Splits:
    """Return the first examples of each split."""
    parts = [part[:count].double() for part, count in zip(splits.examples.values(), counts, strict=True)]
    return _again(splits, parts, list(range(splits.n_channels)))


def _again(splits: Splits, parts: Sequence[torch.Tensor], channels: Sequence[int]) -> Splits:
    """Return splits of other examples, or of some channels, which are scaled already."""
    return scaled_splits(
        [part.double()[:, list(channels)] for part in parts],
        name=splits.name,
        scaling="none",
        value_range=[-1, 1],
        scaled_by="train",
        sampling_frequency=splits.sampling_frequency,
        channels=tuple(splits.channels[channel] for channel in channels),
    )


def _selected(trial: Trial, splits: Splits, way: str) -> Results:
    """Return the model of the lowest validation φ̄, with its test φ̄."""
    trained: list[tuple[Trained, int, int]] = []
    for count in trial.counts[way]:
        settings: Mapping[str, Any] = {
            "activation.perturbations": 0,
            "batch_size": 2,
            "kernel": "rank1" if way == "rank1" else "full",
            "n_kernels": count,
            "trainer.max_epochs": trial.epochs,
        }
        models = train_models("phi_pursuit", trial.sizes, settings, splits)
        trained += [(model, count, size) for model, size in zip(models, trial.sizes, strict=True)]
    best, count, size = min(trained, key=lambda one: one[0].phi)
    description = best.model.encode_scaled(splits.test)
    return {
        "n_kernels": count,
        "kernel_size": size,
        "validation": best.phi,
        "test": description.phi,
        "cr_inverse": description.cr_inverse,
        "loss_normalized": description.loss_normalized,
    }


def _alone(trial: Trial) -> Results:
    """Return the mean over channels of the models that describe each channel alone."""
    parts = list(trial.splits.examples.values())
    found = [
        _selected(trial, _again(trial.splits, parts, [channel]), "alone") for channel in range(trial.splits.n_channels)
    ]
    return {key: sum(one[key] for one in found) / len(found) for key in ("test", "cr_inverse", "loss_normalized")}


def _table(results: Results) -> str:
    rows = [
        "| recording | rank 1 | full | each channel alone | rank 1 below alone |\n",
        "|---|---|---|---|---|\n",
    ]
    for name, found in results.items():
        cells = [
            f"{found[way]['test']:.3f} ({found[way]['n_kernels']} of {found[way]['kernel_size']})"
            for way in ("rank1", "full")
        ]
        alone = found["alone"]["test"]
        change = 100 * (found["rank1"]["test"] / alone - 1)
        rows.append(f"| {name} | {' | '.join(cells)} | {alone:.3f} | {change:+.0f} % |\n")
    return "".join(rows)


if __name__ == "__main__":
    sys.exit(main())

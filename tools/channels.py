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
from typing import Any

import torch

from san.data import edf, numpy_array, wfdb_record
from san.data.scaling import scaled_splits
from san.data.splits import Splits
from san.use.training import Trained, train_models

PROJECT = Path(__file__).parents[1]
RESULTS, PAGE = PROJECT / "docs" / "channels.json", PROJECT / "docs" / "channels.md"
BEGIN, END = "<!-- written by tools/channels.py -->\n", "<!-- until here -->\n"
TRAINING = {"activation.perturbations": 0, "trainer.max_epochs": 20}

Results = dict[str, Any]


def main() -> int:
    """Describe the missing recordings, and write the results and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SAN_DATA_DIR", "data")))
    data: Path = parser.parse_args().data
    results: Results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    for name, (splits, sizes, counts) in _recordings(data).items():
        if name in results:
            continue
        results[name] = {
            "channels": splits.n_channels,
            **{kernel: _selected(splits, sizes, counts[kernel], kernel) for kernel in ("rank1", "full")},
            "alone": _alone(splits, sizes, counts["alone"]),
        }
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        print(name, {way: round(found["test"], 4) for way, found in results[name].items() if way != "channels"})
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    PAGE.write_text(before + BEGIN + _table(results) + END + rest.partition(END)[2], encoding="utf-8")
    return 0


def _recordings(data: Path) -> dict[str, tuple[Splits, Sequence[int], Mapping[str, Sequence[int]]]]:
    """Return the examples of each recording, and the kernel sizes and the numbers of kernels of each way to try."""
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
        "ECG, 2 leads, 120 windows of 1,000 samples": (
            _first(leads, 60, 24, 36),
            (20, 30, 40),
            {"rank1": (2, 3, 4, 5), "full": (1, 2, 3), "alone": (1, 2, 3)},
        ),
        "accelerometer, 3 axes, 10 windows of 3,000": (
            axes,
            (50, 100),
            {"rank1": (2, 3, 4), "full": (1, 2, 3), "alone": (1, 2)},
        ),
        "EEG, 64 electrodes, 24 windows of 400": (
            electrodes,
            (10, 20, 40),
            {"rank1": (1, 2, 4), "full": (1, 2), "alone": (1, 2)},
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


def _selected(splits: Splits, sizes: Sequence[int], counts: Sequence[int], kernel: str) -> Results:
    """Return the model of the lowest validation φ̄, with its test φ̄."""
    trained: list[tuple[Trained, int, int]] = []
    for count in counts:
        settings: Mapping[str, Any] = {**TRAINING, "n_kernels": count, "kernel": kernel, "batch_size": 2}
        models = train_models("phi_pursuit", sizes, settings, splits)
        trained += [(model, count, size) for model, size in zip(models, sizes, strict=True)]
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


def _alone(splits: Splits, sizes: Sequence[int], counts: Sequence[int]) -> Results:
    """Return the mean over channels of the models that describe each channel alone."""
    found = [
        _selected(_again(splits, list(splits.examples.values()), [channel]), sizes, counts, "full")
        for channel in range(splits.n_channels)
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

"""Find the beats of mitdb/100 by learned kernels, and write docs/beats.json, docs/beats.png and docs/beats.md's tables.

    python tools/beats.py                  # trainings that are already finished are skipped
    python tools/beats.py --outputs FOLDER # folder of the runs

The record, all of its 30 minutes with its annotations, is physionet_full/mitdb/100 in the folder --data.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import neurokit2
import numpy as np
import wfdb
from matplotlib.figure import Figure

import san
from san.extensions.signs import shown_atoms
from san.figures.style import COLORS, figure, save, styled
from san.peers.beat_detectors import Detector, installed_detectors
from san.use.beats import BEAT_SYMBOLS, annotated_beats, beat_candidates, beat_kernel, find_beats, score_beats
from san.use.description import Description

PROJECT = Path(__file__).parents[1]
SHIPPED = PROJECT / "san" / "data" / "records" / "mitdb" / "208"
FRACTIONS = (0.1, 0.05, 0.85)
PURSUIT = ("activation=phi_pursuit", "activation.perturbations=0", "trainer.max_epochs=5")
ENCODERS = {
    "Extrema, random initial kernels": (),
    "Extrema, `initialization=data`": ("initialization=data",),
    "φ pursuit": PURSUIT,
}
KERNELS = {
    "1 of 32": ("kernel_size=32",),
    "1 of 60": ("kernel_size=60",),
    "1 of 100": ("kernel_size=100",),
    "2 of 60": ("kernel_size=60", "n_kernels=2"),
}
SECONDS_DRAWN = (1513.5, 1523.5)
PERIOD = 2  # seconds, as in find_beats
BEGIN, END = "<!-- written by tools/beats.py -->\n", "<!-- until here -->\n"

Results = dict[str, Any]
Array = np.ndarray[Any, Any]
XQRS, NEUROKIT = (installed_detectors()[name] for name in ("xqrs", "neurokit2"))
DETECTORS: dict[str, Detector] = {
    "`wfdb.processing.xqrs_detect`": XQRS,
    "`neurokit2.ecg_peaks`": NEUROKIT,
    "`neurokit2.ecg_peaks` after `ecg_clean`": lambda x, fs: NEUROKIT(neurokit2.ecg_clean(x, sampling_rate=fs), fs),
}


def main() -> int:
    """Train the missing models, find beats, and write the results, the figure and the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outputs", type=Path, default=PROJECT / "outputs" / "beats", help="folder of the runs")
    parser.add_argument("--data", default=os.environ.get("SAN_DATA_DIR", "data"), help="folder of the datasets")
    arguments = parser.parse_args()
    path = Path(arguments.data).resolve() / "physionet_full" / "mitdb" / "100"
    record, annotation = wfdb.rdrecord(str(path), channels=[0]), wfdb.rdann(str(path), "atr")
    x, frequency = record.p_signal[:, 0], float(record.fs)
    reference = annotated_beats(path, frequency)
    detectors = []
    for name, detect in DETECTORS.items():
        start = perf_counter()
        found = detect(x, frequency)
        seconds = perf_counter() - start
        detectors.append({"name": name, "seconds": seconds, **score_beats(found, reference, frequency)._asdict()})

    source = ("dataset=wfdb", f"path={path}", "channel=MLII", f"dataset.fractions={list(FRACTIONS)}")
    models, descriptions = [], []
    for encoder, kernels in ((encoder, kernels) for encoder in ENCODERS for kernels in KERNELS):
        model, description, _ = measured(arguments.outputs / "100", x, encoder, kernels, source)
        models.append(model | score_beats(find_beats(description), reference, frequency)._asdict())
        descriptions.append(description)
    best = int(np.argmin([model["validation"] for model in models]))
    unseen = round(sum(FRACTIONS[:2]) * len(x))
    after = [samples[samples >= unseen] for samples in (find_beats(descriptions[best]), reference)]
    results = {
        "samples": len(x),
        "beats": len(reference),
        "models": models,
        "detectors": detectors,
        "selected": best,
        "unseen": score_beats(*after, frequency)._asdict(),
        "thresholds": [
            {"name": name, **score_beats(samples, reference, frequency)._asdict()}
            for name, samples in other_thresholds(descriptions[best]).items()
        ],
        "transferred": [
            transferred(arguments.outputs, x, reference, frequency, *names)
            for names in (
                (models[best]["encoder"], models[best]["kernels"]),
                ("Extrema, `initialization=data`", "1 of 60"),
            )
        ],
        "shipped": shipped(arguments.outputs, models[best]),
    }
    save(draw(descriptions[best], annotation), PROJECT / "docs" / "beats", ["png"])
    (PROJECT / "docs" / "beats.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    page = PROJECT / "docs" / "beats.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    page.write_text(before + tables(results) + rest.partition(END)[2], encoding="utf-8")
    return 0


def measured(
    folder: Path, x: Array, encoder: str, kernels: str, source: Sequence[str]
) -> tuple[Results, Description, Array]:
    """Train a model if its folder has none; return its metrics and times, its description of x, and the beats."""
    run = folder / f"{list(ENCODERS).index(encoder)}-{list(KERNELS).index(kernels)}"
    if not (run / "results.json").is_file():
        quiet = ("logger=[]", "figure=[]", "trainer.enable_progress_bar=false", f"hydra.run.dir={run}")
        start = perf_counter()
        arguments = (*source, *ENCODERS[encoder], *KERNELS[kernels])
        subprocess.run([sys.executable, "-m", "san.train", *arguments, *quiet], check=True)
        (run / "seconds.txt").write_text(str(perf_counter() - start), encoding="utf-8")
    validation = json.loads((run / "results.json").read_text(encoding="utf-8"))["validation"]["phi"]
    start = perf_counter()
    description = san.load(run).encode(x)
    found = find_beats(description)
    model = {
        "encoder": encoder,
        "kernels": kernels,
        "validation": validation,
        "training_seconds": float((run / "seconds.txt").read_text(encoding="utf-8")),
        "seconds": perf_counter() - start,
    }
    return model, description, found


def transferred(outputs: Path, x: Array, reference: Array, frequency: float, encoder: str, kernels: str) -> Results:
    """Score the beats that a model trained on the shipped record finds."""
    model, _, found = measured(outputs / "208", x, encoder, kernels, ("dataset=physionet",))
    return model | score_beats(found, reference, frequency)._asdict()


def shipped(outputs: Path, selected: Results) -> list[Results]:
    """Count the beats that each method finds in the shipped record, and those that NeuroKit2 and XQRS also find."""
    record = wfdb.rdrecord(str(SHIPPED))
    x, frequency = record.p_signal[:, 0], float(record.fs)
    encoder, kernels = selected["encoder"], selected["kernels"]
    found = {name: detect(x, frequency) for name, detect in list(DETECTORS.items())[:2]}
    others = dict(found)
    for name, folder, source in (("mitdb/100", "100", ()), ("this record", "208", ("dataset=physionet",))):
        found[f"{encoder}, {kernels} samples, trained on {name}"] = measured(
            outputs / folder, x, encoder, kernels, source
        )[2]
    return [
        {"name": name, "beats": len(beats)}
        | {other: score_beats(beats, samples, frequency).matched for other, samples in others.items()}
        for name, beats in found.items()
    ]


def other_thresholds(description: Description) -> dict[str, Array]:
    """Return the beats by other thresholds on the heights of the candidates."""
    samples, heights = beat_candidates(description, beat_kernel(description))
    length = PERIOD * description.origin.sampling_frequency
    periods = (samples // length).astype(int)
    signal = np.median([heights[periods == period].max() for period in np.unique(periods)])
    thresholds = {
        "of Pan and Tompkins": None,
        "a third of the beats' height": signal / 3,
        "half of the beats' height": signal / 2,
        "of Otsu, between heights": otsu(heights),
        "of Otsu, between logarithms of heights": np.exp(otsu(np.log(heights))),
    }
    return {
        name: find_beats(description) if threshold is None else samples[heights > threshold]
        for name, threshold in thresholds.items()
    }


def otsu(values: Array) -> float:
    """Return the threshold that maximizes the variance between two classes of values."""
    ordered = np.sort(values)
    count = np.arange(1, len(ordered))
    low = np.cumsum(ordered)[:-1] / count
    high = (ordered.sum() - low * count) / (len(ordered) - count)
    split = int(np.argmax(count * (len(ordered) - count) * (high - low) ** 2))
    return float(ordered[split : split + 2].mean())


@styled
def draw(description: Description, annotation: Any) -> Figure:
    """Draw ten seconds with the found beats and the annotations, and the kernel whose events are beats."""
    frequency = description.origin.sampling_frequency
    first, last = (round(second * frequency) for second in SECONDS_DRAWN)
    time = np.arange(first, last) / frequency
    x, decoded, found = description.recordings[0, 0], description.decode(), find_beats(description)
    drawn = figure(10.0, 3.4)
    axes, inset = drawn.subplots(1, 2, width_ratios=[6, 1])
    axes.plot(time, x[first:last], color=COLORS["input"], label="recording")
    axes.plot(time, decoded[first:last], color=COLORS["reconstruction"], alpha=0.7, label="reconstruction")
    shown = found[(found >= first) & (found < last)]
    axes.plot(shown / frequency, x[shown] + 0.12, "v", color=COLORS["activation"], label="beat found")
    top = x[first:last].max() + 0.35
    for sample, symbol in zip(annotation.sample, annotation.symbol, strict=True):
        if first <= sample < last and symbol in BEAT_SYMBOLS:
            axes.text(sample / frequency, top, symbol, ha="center")
            axes.axvline(sample / frequency, color="#bbbbbb", linewidth=0.6, zorder=0)
    axes.set(title="mitdb/100, reference annotations above", xlabel="time (s)", ylabel="MLII (mV)")
    axes.set(xlim=SECONDS_DRAWN, ylim=(None, top + 0.4))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=3)
    atom = shown_atoms(description.network)[beat_kernel(description)].numpy()
    inset.plot(1000 * np.arange(len(atom)) / frequency, atom, color=COLORS["kernel"])
    inset.set(title="kernel", xlabel="time (ms)", ylabel="weight")
    return drawn


def tables(results: Mapping[str, Any]) -> str:
    """Return the tables between their markers."""
    selected = results["models"][results["selected"]]
    unseen = results["unseen"]
    lines = [
        "| method | validation φ̄ | sensitivity | positive predictivity | missed | extra | training (s) | "
        "30 minutes (s) |",
        "|---|---|---|---|---|---|---|---|",
        *(f"| {row['name']} | | {score(row)} | | {row['seconds']:.1f} |" for row in results["detectors"]),
    ]
    for row in results["models"]:
        mark = "**" if row is selected else ""
        lines.append(
            f"| {mark}{row['encoder']}, {row['kernels']} samples{mark} | {mark}{row['validation']:.3f}{mark} | "
            f"{score(row)} | {row['training_seconds']:.0f} | {row['seconds']:.1f} |"
        )
    lines += [
        f"| trained on the shipped mitdb/208: {row['encoder']}, {row['kernels']} samples | | {score(row)} | "
        f"{row['training_seconds']:.0f} | {row['seconds']:.1f} |"
        for row in results["transferred"]
    ]
    lines += [
        "",
        f"{results['beats']} reference beats in {results['samples']} samples; seed 0. Validation φ̄ selects the model "
        f"in bold. After the samples that training and validation use, it finds {unseen['matched']} of "
        f"{unseen['matched'] + unseen['missed']} beats, and {unseen['extra']} extra.",
        "",
        "Other thresholds on the heights of the selected model's candidates:",
        "",
        "| threshold | sensitivity | positive predictivity | missed | extra |",
        "|---|---|---|---|---|",
        *(f"| {row['name']} | {score(row)} |" for row in results["thresholds"]),
        "",
        "The shipped five minutes of mitdb/208, which has many ventricular beats, have no annotations here. This is "
        "agreement, not accuracy:",
        "",
        f"| method | beats found | {' | '.join(f'also by {name}' for name in list(DETECTORS)[:2])} |",
        "|---|---|---|---|",
        *(
            f"| {row['name']} | {row['beats']} | {' | '.join(str(row[name]) for name in list(DETECTORS)[:2])} |"
            for row in results["shipped"]
        ),
    ]
    return BEGIN + "\n".join([*lines, ""]) + END


def score(row: Results) -> str:
    """Return a score as the cells of a table."""
    return f"{row['sensitivity']:.2%} | {row['positive_predictivity']:.2%} | {row['missed']} | {row['extra']}"


if __name__ == "__main__":
    sys.exit(main())

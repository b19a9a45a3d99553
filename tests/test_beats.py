"""Beats found in the events of a description, their score, and the page with their measurement."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
import wfdb

import san
from san.activations import Extrema
from san.data.scale import Scale
from san.networks import SparselyActivatedNetwork
from san.use.beats import BEAT_SYMBOLS, annotated_beats, beat_candidates, beat_kernel, find_beats, score_beats
from san.use.description import Description, Origin, Window

PROJECT = Path(__file__).parents[1]
FREQUENCY = 100.0
QRS = np.array([0, -0.2, 1, -0.4, 0])  # its largest deflection is at 2, the event at (5 - 1) // 2 = 2
T_WAVE = np.sin(np.linspace(0, np.pi, 12))
BEATS = np.arange(30, 2900, 80)


@pytest.fixture
def describe():
    """Return a function that makes a description from [kernel, sample, amplitude] of events."""

    def describe(*events, kernels=(QRS, T_WAVE), n_examples=1, frequency=FREQUENCY, n_samples=3000):
        sizes = [len(kernel) for kernel in kernels]
        network = SparselyActivatedNetwork(sizes, Extrema(2), 1, decoder="adjoint", seed=0).requires_grad_(False)
        for own, kernel in zip(network.kernels, kernels, strict=True):
            own.copy_(torch.from_numpy(kernel))
        rows = np.array(sorted(events, key=lambda event: event[1]), dtype=float).reshape(-1, 3)
        window = Window(
            0, 0, None, torch.from_numpy(rows[:, :2]).long(), torch.from_numpy(rows[:, 2]).float(), 0.0, 0.0
        )
        origin = Origin("name", ("MLII",), ("mV",), frequency)
        x = np.zeros((n_examples, 1, n_samples))
        return Description(network, Scale("none"), origin, x.shape, [window], n_examples == 1, recordings=x)

    return describe


def beats_with(*others):
    return [*((0, sample, 1.0) for sample in BEATS), *others]


@pytest.mark.parametrize(
    "events",
    [
        beats_with(),
        beats_with(*((0, sample + 30, 0.2 + 0.1 * (sample % 3 > 0)) for sample in BEATS)),  # noise of the same kernel
        beats_with(*((0, sample + 12, 0.9) for sample in BEATS)),  # within the refractory period
        beats_with(*((1, sample + 25, 1.5) for sample in BEATS)),  # T waves of another kernel, of more energy
        [(0, sample, -1.0 if sample % 3 else 1.0) for sample in BEATS],  # ectopic beats of the other sign
        [(0, sample, 0.6 if sample % 3 else 2.0) for sample in BEATS],
    ],
)
def test_beats_are_the_high_events_of_the_steepest_kernel(describe, events):
    assert np.array_equal(find_beats(describe(*events)), BEATS)


def test_the_kernel_of_the_beats_explains_most_slope_although_another_explains_more_energy(describe):
    description = describe(*beats_with(*((1, sample + 25, 1.5) for sample in BEATS)))
    assert (1.5 * T_WAVE**2).sum() > (QRS**2).sum()
    assert beat_kernel(description) == 0
    assert beat_kernel(describe(*((1, sample, 1.5) for sample in BEATS))) == 1


@pytest.mark.parametrize("size", [30, 31])
@pytest.mark.parametrize("peak", [4, 25])
def test_a_beat_is_at_the_largest_deflection_of_the_kernel(describe, size, peak):
    kernel = np.zeros(size)
    kernel[peak] = -2.0
    description = describe((0, 500, -0.5), kernels=[kernel])
    (decoded,) = np.flatnonzero(description.decode())
    samples, heights = beat_candidates(description, 0)
    assert (samples.tolist(), heights.tolist()) == ([decoded], [1.0])


def test_of_events_nearer_than_200_ms_the_highest_is_a_candidate(describe):
    samples, _ = beat_candidates(describe((0, 100, 1.0), (0, 119, 2.0), (0, 138, 3.0), (0, 158, 1.0)), 0)
    assert samples.tolist() == [100, 138, 158]


def test_a_description_without_events_has_no_beats(describe):
    assert find_beats(describe()).tolist() == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"frequency": None},
            "the sampling frequency is unknown: read or encode the recording with",
        ),
        ({"n_examples": 2}, "the description has 2 recordings: describe one"),
    ],
)
def test_a_description_without_beats_to_find_is_one_line(describe, options, said):
    with pytest.raises(ValueError, match=f"^{said}"):
        find_beats(describe((0, 100, 1.0), **options))


# At 100 Hz, beats match if they are at most 15 samples apart.
@pytest.mark.parametrize(
    ("found", "reference", "matched", "missed", "extra"),
    [
        ([100, 200, 300], [100, 200, 300], 3, 0, 0),
        ([115, 216], [100, 200], 1, 1, 1),
        ([98, 104, 300], [100], 1, 0, 2),
        ([100], [95, 104, 300], 1, 2, 0),
        ([], [100, 200], 0, 2, 0),
    ],
)
def test_the_score_counts_each_beat_once(found, reference, matched, missed, extra):
    score = score_beats(found, reference, FREQUENCY)
    assert score[2:] == (matched, missed, extra)
    assert score.sensitivity == pytest.approx(matched / (matched + missed))
    assert score.positive_predictivity == (pytest.approx(matched / (matched + extra)) if found else 0)


@pytest.mark.parametrize(
    ("found", "reference", "frequency", "said"),
    [
        ([1], [], 100, "reference has no beat"),
        ([2, 1], [1], 100, "found has samples that do not rise"),
        ([1], [1, 1], 100, "reference has samples that do not rise"),
        ([0.5], [1], 100, "found is float64 of the shape"),
        ([1], [1], 0, "sampling_frequency=0 must be positive"),
    ],
)
def test_what_cannot_be_scored_is_one_line(found, reference, frequency, said):
    with pytest.raises(ValueError, match=f"^{said}"):
        score_beats(found, reference, frequency)


def test_two_minutes_of_a_real_recording_give_its_beats(run_train, real_data, tmp_path):
    path = real_data / "physionet_full" / "mitdb" / "100"
    if not path.with_suffix(".atr").is_file():
        pytest.skip("no annotated recording: set SAN_DATA_DIR to a folder with physionet_full/mitdb/100")
    stop = 2 * 60 * 360
    x = wfdb.rdrecord(str(path), channels=[0], sampto=stop).p_signal[:, 0]
    annotation = wfdb.rdann(str(path), "atr", sampto=stop)
    np.save(tmp_path / "x.npy", x)
    source = ["dataset=numpy", f"path={tmp_path / 'x.npy'}", "sampling_frequency=360", "kernel_size=60"]
    folder, _ = run_train("run", *source, "initialization=data", "trainer.max_epochs=10", "logger=[]", "figure=[]")
    reference = annotation.sample[[symbol in BEAT_SYMBOLS for symbol in annotation.symbol]]
    score = score_beats(find_beats(san.load(folder).encode(x)), reference, 360)
    assert score.matched + score.missed > 100
    assert min(score.sensitivity, score.positive_predictivity) > 0.9


def test_the_page_has_the_tables_of_the_last_measurement():
    tool = runpy.run_path(str(PROJECT / "tools" / "beats.py"))
    found = json.loads((PROJECT / "docs" / "beats.json").read_text(encoding="utf-8"))
    assert tool["tables"](found) in (PROJECT / "docs" / "beats.md").read_text(encoding="utf-8")
    assert len(found["models"]) == len(tool["ENCODERS"]) * len(tool["KERNELS"])


def test_the_annotations_are_those_of_the_record(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wfdb.wrann("patient", "atr", np.array([100, 200]), symbol=["N", "N"], fs=100)
    assert annotated_beats("patient.hea", 100.0).tolist() == [100, 200]
    assert annotated_beats("patient", 50.0).tolist() == [50, 100]
    assert annotated_beats("patient.7", 100.0) is None

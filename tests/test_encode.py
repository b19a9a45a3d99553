"""Recordings described and reconstructed on the command line."""

import resource
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import wfdb
from conftest import results

import san
from san import decode, encode
from san.activations import Extrema
from san.data.scale import Scale, Statistics
from san.networks import SparselyActivatedNetwork
from san.use.description import Description, Origin, Window
from san.use.description_file import load_description
from san.use.files import save_description
from san.use.model import Model


@pytest.fixture(scope="module")
def signal():
    rng = np.random.default_rng(3)
    return 5 + np.convolve(rng.standard_normal(4000), np.hanning(30), "same")


@pytest.fixture
def trained(run_train, signal, tmp_path):
    """Return the folder of a model that was trained on a record in millivolts at 100 Hz."""
    wfdb.wrsamp("x", 100, ["mV"], ["II"], signal[:, None], fmt=["16"], write_dir=str(tmp_path))
    given = (
        "dataset=wfdb",
        f"path={tmp_path / 'x'}",
        "dataset.window=500",
        "kernel_size=20",
        "trainer.max_epochs=2",
        "logger=[]",
        "figure=[]",
    )
    return run_train("run", *given)[0]


@pytest.fixture
def encoded(run, trained, tmp_path):
    """Return a function that describes recordings into a folder; it returns the folder and what was said."""

    def encoded(*arguments, folder="encoded", fails=False):
        code, said = run(encode.main, f"checkpoint={trained}", f"hydra.run.dir={tmp_path / folder}", *arguments)
        assert (code != 0) == fails, said
        return tmp_path / folder, said

    return encoded


@pytest.mark.parametrize("window", ["training", "null", "700"])
def test_what_is_written_says_what_the_model_says(encoded, trained, tmp_path, window):
    folder, _ = encoded(f"path={tmp_path / 'x.hea'}", f"window={window}")
    windows = {"training": "training", "null": None, "700": 700}
    expected = san.load(trained).encode(san.read(str(tmp_path / "x")), window=windows[window])
    events = pd.read_csv(folder / "events.csv")
    assert list(events) == ["example", "kernel", "sample", "time (s)", "amplitude (mV)"]
    assert np.allclose(events.to_numpy(), expected.events.to_numpy())
    kernels = pd.read_csv(folder / "kernels.csv")
    assert np.allclose(kernels["kernel 0"], expected.network.atoms[0])
    assert np.allclose(kernels["time (s)"], np.arange(20) / 100)
    assert np.array_equal(np.load(folder / "kernels.npy"), [expected.network.atoms[0].numpy()])
    annotation = wfdb.rdann(str(folder / "x"), "san")
    assert annotation.fs == 100
    assert np.array_equal(annotation.sample, expected.events["sample"])
    kernel, amplitude, unit = annotation.aux_note[0].split()
    assert (int(kernel), unit) == (0, "mV")
    assert float(amplitude) == pytest.approx(expected.events["amplitude"][0], rel=1e-5)
    (row,) = results(folder)["recordings"]
    assert row["phi"] == expected.phi
    assert row["n_events"] == len(events)


@pytest.mark.parametrize(("given", "tolerance"), [("npy", 0), ("csv", 1e-9), ("wfdb", 1e-3)])
def test_a_description_is_decoded_without_the_recording_and_the_model(
    encoded, tmp_path, monkeypatch, capsys, given, tolerance
):
    folder, _ = encoded(f"path={tmp_path / 'x'}")
    expected = san.load(tmp_path / "run").encode(san.read(str(tmp_path / "x"))).decode()
    (tmp_path / "x.dat").unlink()
    (tmp_path / "run").rename(tmp_path / "gone")
    where = tmp_path / "decoded"
    monkeypatch.setattr("sys.argv", ["san", f"path={folder}", f"hydra.run.dir={where}", f"format={given}"])
    decode.main()
    suffix = "hea" if given == "wfdb" else given
    assert capsys.readouterr().out == f"Reconstruction: {where / f'reconstruction.{suffix}'}\n"
    file = tmp_path / "decoded" / "reconstruction"
    readers = {
        "npy": lambda: np.load(f"{file}.npy"),
        "csv": lambda: pd.read_csv(f"{file}.csv")["reconstruction (mV)"].to_numpy(),
        "wfdb": lambda: wfdb.rdrecord(str(file)).p_signal[:, 0],
    }
    assert np.abs(readers[given]() - expected).max() <= tolerance


def test_several_recordings_have_a_folder_each(run, encoded, signal, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "rec.npy", signal[:1000])
    folder, _ = encoded(f"path='{tmp_path}/*/rec.npy'", "plot=false")
    assert len(results(folder)["recordings"]) == 2
    code, said = run(decode.main, f"path={folder}", f"hydra.run.dir={tmp_path / 'decoded'}")
    assert code == 0, said
    assert len([*(tmp_path / "decoded").rglob("reconstruction.npy")]) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["plot=false"], "nothing to describe: give path=FILE, or dataset=NAME"),
        (["path=absent.npy"], "absent.npy is not there"),
        (["path='absent/*.npy'"], "path=absent/*.npy matches no file"),
        (["path={folder}/x", "window=10"], "window=10 must be"),
        (["path={folder}/x", "window=all"], "window=all must be"),
        (["path={folder}/x", "plot=3"], "plot=3 must be true or false"),
        (["path={folder}/x", "channel=V9"], "V9"),
        (["path={folder}/x", "column=ECG"], "column=ECG does not apply"),
        (["path={folder}/fast.csv"], "is not 100 hertz, that of the training data"),
        (["path={folder}/short.npy"], "kernel_size=20 exceeds the signal length 10"),
        (["path={folder}/gap.npy"], "1 invalid samples, the first at 7"),
        (["path={folder}/words.csv"], "words"),
    ],
)
def test_what_cannot_be_described_is_one_line(encoded, signal, tmp_path, arguments, said):
    np.save(tmp_path / "short.npy", signal[:10])
    gap = signal[:2000].copy()
    gap[7] = np.nan
    np.save(tmp_path / "gap.npy", gap)
    pd.DataFrame({"time": np.arange(2000) / 250, "ECG": signal[:2000]}).to_csv(tmp_path / "fast.csv", index=False)
    (tmp_path / "words.csv").write_text("ECG\nhigh\nlow\n", encoding="utf-8")
    given = [argument.format(folder=tmp_path) for argument in arguments]
    if "fast.csv" in given[0]:
        given += ["column=ECG", "sampling_frequency=250"]
    folder, line = encoded(*given, fails=True)
    assert said in line
    assert line.strip().count("\n") == 0
    assert not (folder / "description.npz").exists()


def test_a_described_folder_is_not_described_again(encoded, tmp_path):
    folder, _ = encoded(f"path={tmp_path / 'x'}")
    before = (folder / "events.csv").read_bytes()
    _, said = encoded(f"path={tmp_path / 'x'}", "window=500", fails=True)
    assert "already has a description" in said
    assert (folder / "events.csv").read_bytes() == before


def test_a_model_of_the_users_own_class_needs_permission(encoded, trained, tmp_path):
    file = trained / "checkpoints" / "best.ckpt"
    content = torch.load(file, weights_only=True)
    content["config"]["activation"]["_target_"] = "mine.Mine"
    torch.save(content, file)
    _, said = encoded(f"path={tmp_path / 'x'}", fails=True)
    assert "mine.Mine" in said
    assert "allow=" in said


@pytest.mark.parametrize("n_dims", [1, 2])
def test_a_saved_description_is_the_same(n_dims, tmp_path):
    rng = np.random.default_rng(0)
    examples = rng.standard_normal((3, 400) if n_dims == 1 else (3, 20, 24))
    model = Model(
        SparselyActivatedNetwork([6, 9], Extrema(), n_dims, seed=0).requires_grad_(False),
        activation="extrema",
        scale=Scale("range", 1.0, 2.0, -1.0, 1.0),
        origin=Origin("x", ("II",), ("µV",), 50.0 if n_dims == 1 else None),
        space=examples.shape[1:],
        loss=torch.nn.functional.l1_loss,
        count_weights="samples",
    )
    description = model.encode(examples)
    save_description(description, tmp_path)
    read = load_description(tmp_path)
    pd.testing.assert_frame_equal(read.events, description.events)
    pd.testing.assert_frame_equal(read.metrics, description.metrics)
    assert np.array_equal(read.decode(), description.decode())
    assert read.origin == description.origin
    assert read.plot(1).axes


def test_a_damaged_description_is_one_line(trained, tmp_path):
    description = san.load(trained).encode(san.read(str(tmp_path / "x")))
    save_description(description, tmp_path)
    whole = (tmp_path / "description.npz").read_bytes()
    rng = np.random.default_rng(0)
    outcomes = set()
    for _ in range(150):
        damaged = bytearray(whole)
        for at in rng.integers(len(whole), size=rng.integers(1, 20)):
            damaged[at] = rng.integers(256)
        (tmp_path / "damaged.npz").write_bytes(damaged[: rng.integers(1, 2 * len(whole))])
        try:
            load_description(tmp_path / "damaged.npz").decode()
            outcomes.add("answer")
        except ValueError as error:
            assert "is not a description" in str(error)  # noqa: PT017
            outcomes.add("line")
    assert "line" in outcomes
    with np.load(tmp_path / "description.npz") as arrays:
        stored = dict(arrays)
    for key, wrong in {
        "places": stored["places"] + 10**6,
        "shape": np.array([1, 10**12]),
        "kernel_sizes": np.array([10**9]),
        "window_start": stored["window_start"][::-1],
        "amplitudes": stored["amplitudes"] * np.nan,
        "kernels": stored["kernels"].astype(object),
        "kernels ": stored["kernels"] * np.inf,
        "places ": np.column_stack([stored["places"], stored["places"]]),
        "places  ": stored["places"] + 0.5,
        "places   ": np.concatenate([stored["places"][1:2], stored["places"][1:]]),
        "window": stored["window"] - 1,
        "window_statistics": stored["window_statistics"] * np.nan,
        "amplitudes ": stored["amplitudes"].astype(float) * 1e300,
        "amplitudes  ": stored["amplitudes"] * 1j,
        "sampling_frequency": np.inf,
        "format": 2,
        "decoder": "other",
    }.items():
        np.savez(tmp_path / "wrong.npz", **{**stored, key.strip(): wrong})
        with pytest.raises(ValueError, match="is not a description"):
            load_description(tmp_path / "wrong.npz")


@pytest.mark.parametrize(("decoder", "size"), [("paper", 5), ("paper", 6), ("adjoint", 5), ("adjoint", 6)])
def test_an_event_lies_at_the_centre_of_its_kernel(decoder, size):
    network = SparselyActivatedNetwork([size], Extrema(), decoder=decoder, seed=0).requires_grad_(False)
    window = Window(0, 0, Statistics(0.0, 1.0), torch.tensor([[0, 20]]), torch.ones(1), 0.0, 0.0)
    description = Description(network, Scale("none"), Origin("x"), (1, 1, 50), [window], is_single=True)
    start = 20 - description.centres[0]
    expected = np.zeros(50)
    expected[start : start + size] = network.atoms[0]
    assert np.allclose(description.decode(), expected)


def test_beats_are_scored_by_the_annotations_of_a_record(run, run_train, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    beats = np.arange(60, 7800, 90)
    rng = np.random.default_rng(0)
    x = 0.02 * rng.standard_normal(8000)
    for beat in beats:
        x[beat - 4 : beat + 5] += np.hanning(9)
    wfdb.wrsamp("100", 100, ["mV"], ["II"], x[:, None], fmt=["16"])
    wfdb.wrann("100", "atr", np.append(beats, 7990), symbol=["N"] * len(beats) + ["+"])
    given = ["dataset=wfdb", "path=100", "kernel_size=9", "activation=phi_pursuit", "trainer.max_epochs=3"]
    run_train("run", *given, "activation.perturbations=0", "dataset.window=500", "logger=[]", "figure=[]")
    code, said = run(encode.main, "checkpoint=run", "path=100", "events_as=beats", "hydra.run.dir=out", "plot=false")
    assert code == 0, said
    scores = results(tmp_path / "out")["beats"]
    assert scores["100, learned kernel"]["sensitivity"] == 1
    assert scores["100, learned kernel"]["positive_predictivity"] == 1
    assert scores.keys() >= {"100, learned kernel", "100, xqrs"}
    table = pd.read_csv("out/beats.csv")
    assert np.array_equal(table["sample"], wfdb.rdann("out/100", "beats").sample)
    assert np.allclose(table["time (s)"] * 100, table["sample"])
    assert np.abs(table["sample"] - beats).max() <= 2
    code, said = run(encode.main, "checkpoint=run", "path=100", "events_as=waves", "hydra.run.dir=other")
    assert (code, "events_as=waves must be beats or null" in said) == (1, True)
    Path("100.atr").write_bytes(b"\xff\xff\x00")
    code, said = run(encode.main, "checkpoint=run", "path=100", "events_as=beats", "hydra.run.dir=damaged")
    assert code == 0 or said.strip().count("\n") == 0


def test_a_pursuit_may_work_as_long_per_sample_of_a_whole_recording(signal):
    model = san.fit(signal, activations=["phi_pursuit"], kernel_sizes=[20], window=400, max_epochs=1)
    encoder = model.network.activation
    encoder.max_work = 1e5  # too few to describe the recording
    seen = []
    encode_with = encoder.encode
    encoder.encode = lambda *given: seen.append(encoder.max_work) or encode_with(*given)
    model.encode(signal, window=None)
    model.encode(signal[:400])
    assert seen == [1e6, 1e5]
    assert encoder.max_work == 1e5


def test_a_recording_that_cannot_be_described_does_not_stop_the_others(encoded, signal, tmp_path):
    np.save(tmp_path / "good.npy", signal[:1000])
    np.save(tmp_path / "short.npy", signal[:10])
    folder, said = encoded(f"path='{tmp_path}/*.npy'", "plot=false", "report=false", fails=True)
    assert "1 of 2 recordings are not described" in said
    left = results(folder)
    assert [row["path"] for row in left["recordings"]] == [str(tmp_path / "good.npy")]
    assert "kernel_size=20 exceeds" in left["failures"]["short"]
    assert (folder / "good" / "events.csv").is_file()
    assert not (folder / "short").exists()


def test_the_test_examples_of_a_dataset_are_described(encoded, trained, tmp_path):
    given = ["dataset=wfdb", f"path={tmp_path / 'x'}", "dataset.window=500"]
    folder, _ = encoded(*given, "report=false")
    (row,) = results(folder)["recordings"]
    assert row["phi"] == pytest.approx(results(trained)["test"]["phi"], abs=1e-6)
    x = san.read(str(tmp_path / "x")).samples[-1200:][:1000].reshape(2, 500)
    assert np.allclose(load_description(folder).decode(), san.load(trained).encode(x).decode(), atol=1e-5)


def test_a_description_of_many_kernels_takes_little_memory(tmp_path):
    network = SparselyActivatedNetwork([4] * 64, Extrema(), seed=0, decoder="adjoint").requires_grad_(False)
    window = Window(0, 0, Statistics(0.0, 1.0), torch.tensor([[63, 20]]), torch.ones(1), 0.0, 0.0)
    description = Description(network, Scale("none"), Origin("x"), (1, 1, 4_000_000), [window], is_single=True)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert np.count_nonzero(description.decode()) == 4
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000  # kB; the maps would be 1 GB


@pytest.mark.parametrize(
    ("unit", "stored"), [("µV", "uV"), ("°C", "degC"), ("mV", "mV"), ("beats per min", None), ("伏", None)]
)
def test_a_unit_is_stored_in_a_record_or_refused(run, tmp_path, unit, stored):
    network = SparselyActivatedNetwork([4], Extrema(), seed=0, decoder="adjoint").requires_grad_(False)
    window = Window(0, 0, Statistics(0.0, 1.0), torch.tensor([[0, 20]]), torch.ones(1), 0.0, 0.0)
    origin = Origin("x", ("II\t2",), (unit,), 100.0)
    save_description(Description(network, Scale("none"), origin, (1, 1, 60), [window], is_single=True), tmp_path / "x")
    given = [f"path={tmp_path / 'x'}", "format=wfdb", f"hydra.run.dir={tmp_path / 'decoded'}"]
    code, said = run(decode.main, *given)
    assert (code == 0) == (stored is not None)
    if stored is None:
        assert f"format=wfdb cannot store the unit {unit}: choose format=npy or csv" in said
        return
    assert wfdb.rdrecord(str(tmp_path / "decoded" / "reconstruction")).units == [stored]
    code, said = run(decode.main, *given)
    assert "already has a reconstruction" in said


def test_no_recording_of_a_pattern_is_lost(encoded, signal, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a/b", "a_b", "c/b"):
        Path(name).parent.mkdir(exist_ok=True)
        np.save(f"{name}.npy", signal[:1000])
    folder, _ = encoded("path='**/*.npy'", "plot=false", "report=false")
    assert len(results(folder)["recordings"]) == 3
    assert len([*folder.rglob("events.csv")]) == 3

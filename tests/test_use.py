"""Trained models used without a command line."""

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import results

import san
from san import sweep
from san.checkpoint import read
from san.data.scale import Scale
from san.data.signal import Signal
from san.use import recordings


@pytest.fixture(scope="module")
def signal():
    rng = np.random.default_rng(0)
    kernel = np.sin(np.linspace(0, np.pi, 20))
    spikes = np.zeros(6000)
    spikes[rng.choice(5900, 120, replace=False) + 20] = rng.normal(2, 0.5, 120)
    return 5 + np.convolve(spikes, kernel, "same") + 0.01 * rng.standard_normal(6000)


@pytest.fixture
def trained(run_train, signal, tmp_path):
    """Return a function that trains on the signal and returns the run folder."""
    np.save(tmp_path / "x.npy", signal)

    def trained(*overrides, folder="run"):
        common = ["dataset=numpy", f"path={tmp_path / 'x.npy'}", "logger=[]", "figure=[]", "trainer.max_epochs=2"]
        return run_train(folder, *common, "sampling_frequency=100", *overrides)[0]

    return trained


@pytest.mark.parametrize("scaling", ["example", "all", "range", "none"])
@pytest.mark.parametrize("activation", ["extrema", "phi_pursuit"])
def test_a_description_decodes_to_the_reconstruction_of_the_network_in_physical_units(
    trained, signal, scaling, activation
):
    folder = trained(f"dataset.scaling={scaling}", f"activation={activation}", "kernel_size=20")
    model = san.load(folder)
    stored = read(folder / "checkpoints" / "best.ckpt")
    scale = Scale.from_dict(stored["scale"])
    for x, window, shape in ((signal[:3000], "training", (3, 1, 1000)), (signal[:3000], None, (1, 1, 3000))):
        examples = torch.from_numpy(x).view(shape)
        statistics = scale.statistics(examples, "x")
        with torch.no_grad():
            reconstruction = model.network(scale.apply(examples, "x", statistics).float())
        expected = scale.undo(reconstruction.double(), statistics).flatten().numpy()
        description = model.encode(x, window=window)
        assert description.decode().shape == x.shape
        assert np.abs(description.decode() - expected).max() < 1e-6 * np.abs(expected).max()


def test_events_times_kernels_are_the_reconstruction(trained, signal):
    model = san.load(trained("dataset.scaling=none", "kernel_size=21"))
    description = model.encode(signal[:1000])
    rebuilt = np.zeros(1000)
    kernel = model.kernels[0]
    for event in description.events.itertuples():
        for offset, weight in enumerate(kernel):
            at = event.sample - 10 + offset
            if 0 <= at < 1000:
                rebuilt[at] += event.amplitude * weight
    assert np.allclose(rebuilt, description.decode(), atol=1e-4)
    assert list(description.events.columns) == ["example", "kernel", "sample", "time", "amplitude"]
    assert np.allclose(description.events["time"], description.events["sample"] / 100)


def test_phi_is_that_of_the_evaluation(trained, signal):
    folder = trained("kernel_size=20")
    tested = results(folder)["test"]
    description = san.load(folder).encode(signal[4200:])
    assert description.phi != tested["phi"]  # the last window has 800 samples
    description = san.load(folder).encode(signal[4200:5200])
    assert description.metrics.shape == (1, 5)
    assert description.phi == pytest.approx(tested["phi"], abs=1e-6)


def test_every_kind_of_array_is_encoded(trained, signal):
    model = san.load(trained("kernel_size=20"))
    expected = model.encode(signal[:2000]).events
    for x in (list(signal[:2000]), pd.Series(signal[:2000]), torch.tensor(signal[:2000], requires_grad=True)):
        pd.testing.assert_frame_equal(model.encode(x).events, expected)
    several = model.encode(signal[:4000].reshape(2, 2000))
    assert several.decode().shape == (2, 2000)
    assert set(several.events["example"]) == {0, 1}
    pd.testing.assert_frame_equal(several.events[several.events["example"] == 0], expected)
    frame = pd.DataFrame(signal[:4000].reshape(2, 2000))
    pd.testing.assert_frame_equal(model.encode(frame).events, several.events)


@pytest.mark.parametrize(
    ("x", "options", "said"),
    [
        (np.zeros((2, 3, 4)), {}, r"x has the shape \[2, 3, 4\]: give \[samples\] or \[examples, samples\]"),
        (np.zeros(0), {}, r"x has the shape \[0\]"),
        (["a", "b"], {}, "x has values of type <U1: give numbers"),
        (np.ones(50) * 1j, {}, "x has values of type complex128: give numbers"),
        (np.full(2000, np.nan), {}, "x has 2000 invalid samples, the first at 0"),
        (np.zeros(10), {}, "kernel_size=20 exceeds the signal length 10"),
        (np.ones(2000), {}, r"x\[0\]: signal 0 \(samples 0 to 999\) is constant"),
        (
            np.arange(2000.0),
            {"window": 10},
            "window=10 must be an integer, as long as the longest kernel, 20, or longer",
        ),
        (np.arange(2000.0), {"sampling_frequency": 200}, "sampling_frequency=200 is not 100 hertz"),
    ],
)
def test_what_cannot_be_encoded_is_one_line(trained, x, options, said):
    model = san.load(trained("kernel_size=20"))
    with pytest.raises(ValueError, match=f"^{said}"):
        model.encode(x, **options)


def test_a_recording_of_another_frequency_is_resampled(trained, signal):
    model = san.load(trained("kernel_size=20"))
    description = model.encode(np.repeat(signal, 2), sampling_frequency=200, resample=True)
    assert description.decode().shape == signal.shape


def test_the_best_model_of_a_sweep_is_loaded(run, signal, tmp_path):
    np.save(tmp_path / "x.npy", signal)
    where = ["dataset=numpy", f"path={tmp_path / 'x.npy'}", "logger=[]", f"hydra.run.dir={tmp_path / 'sweep'}"]
    code, said = run(sweep.main, *where, "kernel_sizes=[5,20]", "trainer.max_epochs=1", "figure=[]")
    assert code == 0, said
    best = min(results(tmp_path / "sweep")["models"], key=lambda model: model["validation"]["phi"])
    assert [len(kernel) for kernel in san.load(tmp_path / "sweep").kernels] == best["kernel_sizes"]


def test_a_checkpoint_stores_the_channel_its_unit_and_its_frequency(run_train):
    folder, _ = run_train("run", "trainer.max_epochs=1", "kernel_size=30", "logger=[]", "figure=[]")
    model = san.load(folder)
    assert model.origin == ("physionet/mitdb/208", ("MLII",), ("mV",), 360.0)
    assert model.space == (1000,)


def offset_model(trained, *overrides):
    return san.load(trained("kernel_size=20", *overrides))


def test_resampling_changes_neither_the_ends_nor_the_times(trained):
    model = offset_model(trained)
    for frequency in (50, 200, 130):
        time = np.arange(0, 40, 1 / frequency)
        x = 30000 + 100 * time
        description = model.encode(x, sampling_frequency=frequency, resample=True)
        assert description.shape == (1, 1, 4000)
        assert np.abs(description.recordings[0, 0] - 30000 - np.arange(4000)).max() < 5
    with pytest.raises(ValueError, match="cannot be resampled to 100 hertz"):
        model.encode(np.arange(3e4), sampling_frequency=1e8 / 3, resample=True)


def test_a_frequency_that_counts_as_equal_is_that_of_the_times(trained, signal):
    description = offset_model(trained).encode(signal, sampling_frequency=100.05)
    assert description.shape == (1, 1, 6000)
    assert np.allclose(description.events["time"] * 100.05, description.events["sample"])


def test_a_frequency_that_contradicts_the_file_is_refused(trained, signal):
    with pytest.raises(ValueError, match="sampling_frequency=100 is not that of x, 50 hertz"):
        offset_model(trained).encode(Signal("x", signal, 50.0), sampling_frequency=100)


def test_an_array_has_no_name_of_the_training_data(trained, signal):
    model = offset_model(trained)
    assert model.encode(signal).origin == ("x", ("",), ("",), 100)
    assert model.encode(Signal("csv/night", signal, 100.0, ("II",), ("mV",))).origin == (
        "csv/night",
        ("II",),
        ("mV",),
        100,
    )


def test_statistics_of_another_unit_do_not_scale_a_recording_in_silence(trained, signal, monkeypatch):
    model = offset_model(trained, "dataset.scaling=all")
    warned = []
    monkeypatch.setattr(recordings.log, "warning", lambda text, *values: warned.append(text % values))
    model.encode(Signal("night", signal, 100.0, ("II",), ("mV",)))
    assert warned == ["night is in mV, but the statistics of training data in an unknown unit scale it"]
    model.origin = model.origin._replace(channel_units=("µV",))
    with pytest.raises(ValueError, match="night is in mV, but the training data are in µV"):
        model.encode(Signal("night", signal, 100.0, ("II",), ("mV",)))


def test_masked_samples_and_other_numbers_are_what_they_are(trained, signal):
    model = offset_model(trained)
    masked = np.ma.masked_array(signal[:2000], mask=np.arange(2000) < 3)
    with pytest.raises(ValueError, match="x has 3 invalid samples"):
        model.encode(masked)
    half = torch.tensor(signal[:1000], dtype=torch.bfloat16)
    assert len(model.encode(half).events) > 0
    assert model.encode(signal[:1000], window=np.int64(500)).metrics.shape[0] == 2
    for x, said in (
        (pd.DataFrame({"II": signal}), "x is a table of one column, II: give the column"),
        (signal[:1000] * 1e200, "too large to scale"),
        (signal[:1000] * 1e-200, "."),
    ):
        with pytest.raises(ValueError, match=said):
            model.encode(x)
    with pytest.raises(ValueError, match="sampling_frequency='100' must be a number"):
        model.encode(signal, sampling_frequency="100")
    with pytest.raises(ValueError, match=r"start=1\.5"):
        model.encode(signal).plot(start=1.5)


@pytest.mark.parametrize("progress", [True, False])
def test_the_windows_of_a_long_recording_are_counted_on_a_terminal(trained, monkeypatch, capsys, progress):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("san.use.model.BATCH_SAMPLES", 1000)
    san.load(trained()).encode(np.random.default_rng(0).standard_normal(10_000), progress=progress)
    assert ("x, windows" in capsys.readouterr().err) == progress

"""Trained models of several channels: descriptions, files, figures and commands."""

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
import wfdb
from conftest import refusal, results

import san
from san import decode, encode
from san.activations import Extrema
from san.data.scale import Scale
from san.data.signal import Signal
from san.extensions.signs import shown_atoms, signs
from san.figures import forward_pass
from san.figures.channels import channel_labels
from san.figures.kernels import draw_kernels
from san.figures.style import Run, save
from san.networks import SparselyActivatedNetwork
from san.use.beats import find_beats
from san.use.description import Description, Origin
from san.use.description_file import load_description
from san.use.estimator import SAN
from san.use.files import save_description
from san.use.kernel_numbers import energy_explained, kernel_numbers
from san.use.kernel_page import write_kernel_page
from san.use.model import Model

NAMES = ("II", "V5", "resp")


def model_of(x, *, n_dims=1, form="full", scaling="none", names=None, units=None, sizes=(6, 9), fs=100.0):
    """Return a model with random kernels, scaled by the given examples, [examples, channels, *space]."""
    n_channels = x.shape[1]
    network = SparselyActivatedNetwork(list(sizes), Extrema(), n_dims, seed=0, channels=n_channels, kernel=form)
    return Model(
        network.requires_grad_(False),
        activation="extrema",
        scale=Scale.fit(scaling, [torch.from_numpy(x)], [-1, 1], "x"),
        origin=Origin("mine", names or NAMES[:n_channels], units or ("mV",) * n_channels, fs if n_dims == 1 else None),
        space=x.shape[2:],
        loss=F.l1_loss,
        count_weights="samples",
    )


def samples(*shape):
    rng = np.random.default_rng(0)
    size = np.array([1.0, 5.0, 0.2])[: shape[1]].reshape(-1, *[1] * (len(shape) - 2))
    return 3 + size * rng.standard_normal(shape).cumsum(-1)


@pytest.mark.parametrize("scaling", ["example", "all", "range", "none"])
@pytest.mark.parametrize("form", ["full", "rank1"])
@pytest.mark.parametrize("n_channels", [1, 2, 3])
def test_a_description_decodes_to_the_reconstruction_of_the_network(n_channels, form, scaling):
    x = samples(2, n_channels, 150)
    model = model_of(x, form=form, scaling=scaling)
    given = x[:, 0] if n_channels == 1 else x
    examples = torch.from_numpy(x)
    statistics = model.scale.statistics(examples, "x")
    reconstruction = model.network(model.scale.apply(examples, "x", statistics).float())
    expected = model.scale.undo(reconstruction.double(), statistics).numpy()
    description = model.encode(given)
    assert description.decode().shape == given.shape
    assert np.abs(description.decode().reshape(expected.shape) - expected).max() < 1e-6 * np.abs(expected).max()
    single = model.encode(given[1])
    assert np.array_equal(single.decode(), description.decode()[1])
    scaled = model.encode_scaled(model.scale.apply(examples, "x", statistics).float(), statistics)
    assert np.abs(scaled.decode().reshape(expected.shape) - expected).max() < 1e-6 * np.abs(expected).max()
    pd.testing.assert_frame_equal(scaled.events, description.events)
    if scaling != "example":
        maps = np.zeros((2, 2, 150))
        events = description.events
        maps[events["example"], events["kernel"], events["sample"]] = events["amplitude"]
        assert np.allclose(model.decode(maps), description.decode(), atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("scaling", ["example", "all", "none"])
def test_events_times_kernels_times_sizes_are_the_reconstruction(scaling):
    x = samples(1, 3, 150)
    description = model_of(x, scaling=scaling).encode(x[0], window=50)
    expected = np.zeros((3, 170))
    atoms = [atom.numpy() for atom in shown_atoms(description.network)]
    for event, sizes in zip(description.events.itertuples(), description.sizes, strict=True):
        atom, start = atoms[event.kernel], event.sample - description.centres[event.kernel]
        window = event.sample // 50 * 50
        for offset in range(atom.shape[1]):
            if window <= start + offset < window + 50:
                expected[:, start + offset] += event.amplitude * sizes * atom[:, offset]
    offsets = {"example": x[0].reshape(3, 3, 50).mean(2, keepdims=True), "all": x[0].mean(1)[:, None, None], "none": 0}
    decoded = description.decode().reshape(3, 3, 50) - offsets[scaling]
    assert np.allclose(decoded.reshape(3, 150), expected[:, :150], atol=1e-4)
    assert np.allclose(description.events["time"], description.events["sample"] / 100)


def shown_amplitudes(description):
    """Return the scaled amplitudes in the sign in which they are shown."""
    of_kernels = signs(description.network)
    shown = [of_kernels[window.places[:, 0]] * window.amplitudes for window in description.windows]
    return torch.cat(shown).double().numpy()


@pytest.mark.parametrize(
    ("scaling", "units", "label"),
    [
        ("none", ("mV", "mV"), "amplitude (mV)"),
        ("none", ("mV", "l"), "amplitude"),
        ("all", ("mV", "mV"), "amplitude (scaled)"),
        ("example", ("mV", "mV"), "amplitude (scaled)"),
    ],
)
def test_amplitudes_have_a_unit_if_all_channels_share_one_and_their_scale(scaling, units, label):
    x = samples(2, 2, 100)
    description = model_of(x, scaling=scaling, units=units).encode(x)
    assert description.amplitude_label == label
    assert sorted(description.events["amplitude"]) == pytest.approx(sorted(shown_amplitudes(description)))


def test_channels_that_share_one_scale_have_amplitudes_in_their_unit():
    x = samples(1, 2, 100)
    model = model_of(x)
    model.scale = Scale("all", (0.0, 1.0), (4.0, 4.0))
    description = model.encode(x)
    amplitudes = shown_amplitudes(description)
    assert description.amplitude_label == "amplitude (mV)"
    assert sorted(description.events["amplitude"]) == pytest.approx(sorted(4 * amplitudes))
    assert (description.sizes == 1).all()
    model.origin = model.origin._replace(channel_units=("mV", "l"))
    description = model.encode(x)
    assert description.amplitude_label == "amplitude (scaled)"
    assert sorted(description.events["amplitude"]) == pytest.approx(sorted(amplitudes))
    assert (description.sizes == 4).all()


def test_a_signal_is_encoded_with_its_names_and_units():
    x = samples(1, 2, 300)
    model = model_of(x[:, :, :100], scaling="example")
    description = model.encode(Signal("night", x[0], 100.0, ("II", "V5"), ("", "uV")))
    assert description.origin == ("night", ("II", "V5"), ("mV", "uV"), 100.0)
    assert description.origin.unit == ""
    assert len(description.windows) == 3
    resampled = model.encode(Signal("night", x[0], 200.0, ("", "")), resample=True)
    assert resampled.shape == (1, 2, 150)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (
            np.ones(300),
            "x has the shape [300]: give [channels, samples] or [examples, channels, samples] of 2 channels",
        ),
        (np.ones((300, 2)), "x has the shape [300, 2], but the model has 2 channels: give [channels, samples] or "),
        (np.ones((3, 300)), "x has the shape [3, 300], but the model has 2 channels: give [channels, samples] or "),
        (np.ones((1, 1, 2, 300)), "x has the shape [1, 1, 2, 300]: give [channels, samples] or"),
        (
            Signal("night", np.ones(300)),
            "night has 1 channel, but the training data have 2: choose those of the training",
        ),
        (Signal("night", samples(1, 3, 300)[0]), "night has 3 channels, but the training data have 2: choose those"),
        (
            Signal("night", np.ones((2, 300)), None, ("V5", "II")),
            "night: channel 0 is V5, but that of the training data is II: choose those of the training data, II, V5 in "
            "this order",
        ),
        (
            Signal("night", np.ones((2, 300)), None, ("II", "V4")),
            "night: channel 1 is V4, but that of the training data is V5: choose those of the training data, II, V5",
        ),
        (Signal("night", np.array([[np.nan] + [1] * 299] * 2), 100.0, NAMES[:2]), "night, channel II has 1 invalid"),
        (np.array([[1.0] * 100, range(100)]), "x[0], channel II: signal 0 (samples 0 to 99) is constant"),
    ],
)
def test_recordings_of_other_channels_are_one_line(untyped, x, said):
    found = refusal(model_of(samples(2, 2, 100), scaling="example").encode, x)
    assert found.startswith(said)
    assert found.endswith("transposed") == (np.shape(x) == (300, 2))


def test_a_model_of_one_channel_refuses_several(untyped):
    model = model_of(samples(2, 1, 100))
    said = refusal(model.encode, np.ones((2, 3, 100)))
    assert said == "x has the shape [2, 3, 100]: give [samples] or [examples, samples]"
    said = refusal(model.encode, Signal("night", np.ones((3, 100))))
    assert said.startswith("night has 3 channels, but the training data have 1")


def test_an_index_is_not_another_name():
    x = samples(1, 2, 100)
    model = model_of(x, names=("0", "1"))
    assert model.encode(Signal("night", x[0], None, ("II", "V5"))).origin.channels == ("II", "V5")
    assert "channel 0 is 1" in refusal(model.encode, Signal("night", x[0], None, ("1", "0")))


def test_units_of_a_channel_that_differ_from_those_of_its_scale_are_refused():
    x = samples(1, 2, 100)
    model = model_of(x, scaling="all")
    said = refusal(model.encode, Signal("night", x[0], None, NAMES[:2], ("mV", "µV")))
    assert said.startswith("night, channel V5 is in µV, but the training data are in mV")


@pytest.mark.parametrize("form", ["full", "rank1"])
@pytest.mark.parametrize("n_dims", [1, 2])
@pytest.mark.parametrize("scaling", ["range", "example", "none"])
def test_a_saved_description_is_the_same(tmp_path, n_dims, form, scaling):
    x = samples(3, 3, *((250,) if n_dims == 1 else (20, 24)))
    model = model_of(x, n_dims=n_dims, form=form, scaling=scaling, units=("mV", "mV", "l"))
    description = model.encode(x, window=100)
    save_description(description, tmp_path)
    read = load_description(tmp_path)
    pd.testing.assert_frame_equal(read.events, description.events)
    pd.testing.assert_frame_equal(read.metrics, description.metrics)
    assert np.array_equal(read.decode(), description.decode())
    assert np.array_equal(read.sizes, description.sizes)
    assert (read.origin, read.shape, read.scale) == (description.origin, description.shape, description.scale)
    assert read.network.kernel == form
    save(read.plot(1), tmp_path / "figures" / "read", formats=("png",))
    kernels = np.load(tmp_path / "kernels.npy")
    assert kernels.shape == (2, 3, *[9] * n_dims)
    table = pd.read_csv(tmp_path / "kernels.csv")
    atom = shown_atoms(model.network)[1].numpy()
    if n_dims == 1:
        assert np.allclose(table["kernel 1 channel V5"], atom[1])
        assert np.isnan(table["kernel 0 channel resp"].to_numpy()[6:]).all()
    else:
        assert list(table) == ["kernel", "channel", "row", "column", "weight"]
        own = table[(table["kernel"] == 1) & (table["channel"] == "V5")]
        assert np.allclose(own["weight"], atom[1].flatten())


def test_a_damaged_description_of_several_channels_is_one_line(tmp_path, untyped):
    x = samples(2, 2, 200)
    save_description(model_of(x, scaling="all").encode(x, window=100), tmp_path)
    with np.load(tmp_path / "description.npz") as arrays:
        stored = dict(arrays)
    assert int(stored["format"]) == 2
    for key, wrong in {
        "format": 1,
        "format ": 3,
        "channel": np.array(["a"]),
        "channel ": np.array("a"),
        "channel  ": np.array([["a", "b"]]),
        "unit": np.array(["a", "b", "c"]),
        "kernels": stored["kernels"][:, 0],
        "kernels ": np.repeat(stored["kernels"], 2, axis=1),
        "kernels  ": stored["kernels"] * np.inf,
        "shape": np.array([2, 3, 200]),
        "shape ": np.array([2, 200]),
        "scale": stored["scale"][:, :1],
        "scale ": stored["scale"] * np.nan,
        "scale  ": stored["scale"][:1],
        "kernel": "rank2",
        "window_statistics": stored["window_statistics"][..., :1],
        "window_statistics ": stored["window_statistics"] * np.inf,
        "window_statistics  ": stored["window_statistics"].astype(str),
    }.items():
        np.savez(tmp_path / "wrong.npz", **{**stored, key.strip(): wrong})
        assert "is not a description" in refusal(load_description, tmp_path / "wrong.npz")
    whole, rng = (tmp_path / "description.npz").read_bytes(), np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(whole)
        for at in rng.integers(len(whole), size=rng.integers(1, 20)):
            damaged[at] = rng.integers(256)
        (tmp_path / "damaged.npz").write_bytes(damaged)
        try:
            load_description(tmp_path / "damaged.npz").decode()
        except ValueError as error:
            assert "is not a description" in str(error)  # noqa: PT017


@pytest.fixture
def trained(run_train, tmp_path, monkeypatch):
    """Return the folder of a model of two leads in different units, in a folder with the record and its samples."""
    monkeypatch.chdir(tmp_path)
    x = samples(1, 2, 3000)[0]
    wfdb.wrsamp("x", 100, ["mV", "uV"], ["II", "V5"], x.T, fmt=["16", "16"])
    np.save("x.npy", x)
    pd.DataFrame({"V5": x[1], "II": x[0]}).to_csv("x.csv", index=False)
    common = ["dataset=wfdb", "path=x", "channel=[II,V5]", "dataset.window=500", "kernel_size=20"]
    return run_train("run", *common, "trainer.max_epochs=2", "n_kernels=2", "kernel=rank1", as_user=True)[0]


@pytest.mark.slow
def test_a_trained_model_encodes_files_and_its_descriptions_are_decoded(run, trained, tmp_path):
    model = san.load(trained)
    assert model.origin == ("wfdb/x", ("II", "V5"), ("mV", "uV"), 100.0)
    assert [kernel.shape for kernel in model.kernels] == [(2, 20)] * 2
    assert (trained / "report.html").is_file()
    assert {file.stem for file in (trained / "figures").iterdir()} == {"forward_pass", "kernels", "phi_per_epoch"}
    expected = model.encode(san.read("x", channel=[0, 1]))
    for name in ("x", "x.npy", "x.csv"):
        given = ["checkpoint=run", f"path={name}", f"hydra.run.dir={name} out"]
        code, said = run(encode.main, *given, *(["sampling_frequency=100"] if name != "x" else []))
        assert code == 0, said
        (row,) = results(tmp_path / f"{name} out")["recordings"]
        assert (row["n_samples"], row["n_events"]) == (3000, len(expected.events))
        assert row["phi"] == pytest.approx(expected.phi, abs=1e-3)
    assert row["channels"] == ["II", "V5"]
    events = pd.read_csv("x out/events.csv")
    assert list(events) == ["example", "kernel", "sample", "time (s)", "amplitude (scaled)"]
    assert np.allclose(events.to_numpy(), expected.events.to_numpy())
    kernels = pd.read_csv("x out/kernels.csv")
    assert list(kernels)[2:4] == ["kernel 0 channel II", "kernel 0 channel V5"]
    _, amplitude = wfdb.rdann("x out/x", "san").aux_note[0].split()
    assert float(amplitude) == pytest.approx(expected.events["amplitude"][0], rel=1e-5)
    decoded = expected.decode()
    for given in ("npy", "csv", "wfdb"):
        code, said = run(decode.main, "path=x out", f"format={given}", f"hydra.run.dir={given}")
        assert code == 0, said
    assert np.array_equal(np.load("npy/reconstruction.npy"), decoded)
    table = pd.read_csv("csv/reconstruction.csv")
    assert list(table) == ["time (s)", "reconstruction II (mV)", "reconstruction V5 (uV)"]
    assert np.allclose(table.to_numpy()[:, 1:].T, decoded)
    record = wfdb.rdrecord("wfdb/reconstruction")
    assert (record.sig_name, record.units) == (["II", "V5"], ["mV", "uV"])
    assert np.allclose(record.p_signal.T, decoded, atol=1e-2)
    code, said = run(encode.main, "checkpoint=run", "path=x", "channel=[V5,II]", "hydra.run.dir=swapped")
    assert (code, "channel 0 is V5, but that of the training data is II" in said) == (1, True)


def test_a_checkpoint_of_an_earlier_version_names_its_only_channel(run_train, tmp_path):
    folder, _ = run_train("run", "trainer.max_epochs=1", "kernel_size=30", "logger=[]", "figure=[]")
    file = folder / "checkpoints" / "best.ckpt"
    content = torch.load(file, weights_only=True)
    origin = content["origin"]
    assert (origin.pop("channels"), origin.pop("channel_units")) == (["MLII"], ["mV"])
    for wrong in ({"channels": ["MLII"], "channel_units": []}, {"channels": [1], "channel_units": ["mV"]}):
        torch.save({**content, "origin": {**origin, **wrong}}, file)
        assert "what it stores of its training data is incomplete" in refusal(san.load, folder)
    torch.save({**content, "origin": {**origin, "channel": "MLII", "unit": "mV"}}, file)
    assert san.load(folder).origin == ("physionet/mitdb/208", ("MLII",), ("mV",), 360.0)
    content["origin"] = {**origin, "channels": ["MLII"], "channel_units": ["mV"]}
    torch.save({**content, "scale": Scale("all", (0.0, 0.0), (1.0, 1.0)).to_dict()}, file)
    assert refusal(san.load, folder).endswith("is damaged: its scale has 2 channels, not 1")


@pytest.mark.parametrize("form", ["full", "rank1"])
def test_the_numbers_of_a_kernel_are_those_of_a_computation_by_loops(form):
    x = samples(3, 2, 60)
    model = model_of(x, scaling="all", form=form)
    description = model.encode(x)
    scaled = model.scale.apply(torch.from_numpy(x), "x").numpy()
    whole = model.scale.apply(torch.from_numpy(description.decode()), "x").numpy()
    error, energy = np.square(scaled - whole).sum(), np.square(scaled).sum()
    assert energy_explained(description) == pytest.approx(1 - error / energy, abs=1e-5)
    weights = [size + 2 if form == "rank1" else 2 * size for size in (6, 9)]
    for kernel, found in enumerate(kernel_numbers(model, description, [0, 1])):
        own = np.zeros((3, 2, 80))
        events = description.events[description.events["kernel"] == kernel]
        atom = shown_atoms(description.network)[kernel].numpy()
        for event in events.itertuples():
            start = event.sample - description.centres[kernel] + 10
            own[event.example, :, start : start + atom.shape[1]] += event.amplitude * atom
        others = whole - own[..., 10:70]
        assert found.energy_share == pytest.approx((np.square(scaled - others).sum() - error) / energy, abs=1e-4)
        kept = description.events[description.events["kernel"] != kernel].groupby("example").size()
        ratios = (weights[1 - kernel] + 2 * kept.reindex(range(3), fill_value=0).to_numpy()) / 120
        losses = np.abs(scaled - others).mean((1, 2)) / np.abs(scaled).mean((1, 2))
        assert found.phi_without == pytest.approx(np.hypot(ratios, losses).mean(), abs=1e-4)
        assert found.rate == pytest.approx(len(events) / 1.8)


def run_of(n_channels, n_dims, form):
    torch.manual_seed(0)
    return Run(
        name="mine",
        activation="extrema",
        network=SparselyActivatedNetwork([5, 8], Extrema(), n_dims, seed=0, channels=n_channels, kernel=form),
        example=torch.randn(n_channels, *((200,) if n_dims == 1 else (20, 20))),
        phi_per_epoch=[0.5],
        best_epoch=1,
        sampling_frequency=100.0 if n_dims == 1 else None,
        units="amplitude (SD)",
        channels=[f"lead {index}" for index in range(n_channels)],
    )


def texts_of(drawn):
    drawn.canvas.draw()
    return [
        text
        for axes in drawn.axes
        for text in [axes.get_ylabel(), axes.get_title(loc="left"), *(one.get_text() for one in axes.get_yticklabels())]
    ]


@pytest.mark.parametrize(("n_channels", "n_dims"), [(2, 1), (12, 1), (13, 1), (2, 2), (3, 2)])
@pytest.mark.parametrize(
    ("name", "form"),
    [("forward_pass", "full"), ("kernels", "full"), ("kernels", "rank1"), ("description", "full")],
)
def test_figures_name_the_channels(tmp_path, name, n_channels, n_dims, form):
    run = run_of(n_channels, n_dims, form)
    if name == "forward_pass":
        drawn = forward_pass.draw(run)
    elif name == "kernels":
        drawn = draw_kernels(run.network, run.name, run.sampling_frequency, run.channels)
    else:
        x = run.example.unsqueeze(0).double().numpy()
        names, units = tuple(run.channels), ("mV", *["µV"] * (n_channels - 1))
        drawn = model_of(x, n_dims=n_dims, form=form, names=names, units=units).encode(x).plot()
    said = " ".join(texts_of(drawn))
    if n_dims == 1:
        assert "lead 0" in said
        assert f"lead {n_channels - 1}" in said
        assert any(axes.get_xlabel() for axes in drawn.axes)
        if name != "kernels" and n_channels <= 12:
            assert ("lead 1\n(µV)" if name == "description" else "lead 1\n(SD)") in said
            leads = drawn.axes[: n_channels + 1]
            assert len({axes.get_position().x0 for axes in leads}) == 1  # one time axis
    save(drawn, tmp_path / "figure", formats=("png",))


def test_labels_of_channels_differ():
    assert channel_labels(("II", "", "II", "V1")) == ("0 II", "1", "2 II", "V1")


@pytest.mark.parametrize(("n_channels", "n_dims"), [(2, 1), (13, 1), (3, 2)])
@pytest.mark.parametrize("form", ["full", "rank1"])
def test_the_page_describes_kernels_of_several_channels(tmp_path, n_channels, n_dims, form):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, n_channels, *((300,) if n_dims == 1 else (20, 24))))
    names = tuple(f"lead {index}" for index in range(n_channels))
    model = model_of(x, n_dims=n_dims, form=form, names=names, scaling="example", sizes=(6, 9))
    write_kernel_page(model, model.encode(x, window=100), tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert f"One event places all {n_channels} channels of its kernel" in page
    assert ("one waveform times a weight of each channel" in page) == (form == "rank1")
    assert ("in which the kernel has the most energy" in page) == (n_channels == 13)
    assert page.count("data:image/png") >= 8


def test_beats_are_found_in_several_leads():
    rng = np.random.default_rng(0)
    beats = np.arange(60, 2900, 90)
    x = 0.02 * rng.standard_normal((2, 3000))
    for beat in beats:
        x[0, beat - 4 : beat + 5] += np.hanning(9)
        x[1, beat - 4 : beat + 5] -= 300 * np.hanning(9)
    signal = Signal("ecg", x, 100.0, ("II", "V5"), ("mV", "µV"))
    model = san.fit(signal, activations=["phi_pursuit"], kernel_sizes=[9], window=500, max_epochs=3, random_state=1)
    found = find_beats(model.encode(signal))
    assert len(found) == len(beats)
    assert np.abs(found - beats).max() <= 3


@pytest.mark.parametrize("form", ["full", "rank1"])
def test_a_model_is_fitted_to_windows_over_all_channels(form):
    x = samples(1, 2, 1200)
    options = {"activations": ["extrema"], "kernel_sizes": [10], "max_epochs": 1, "kernel": form}
    from_array = san.fit(x, window=200, sampling_frequency=100.0, **options)
    from_signal = san.fit(Signal("x", x[0], 100.0), window=200, **options)
    from_examples = san.fit(np.stack(np.split(x[0], 6, axis=1)), sampling_frequency=100.0, **options)
    for model in (from_array, from_signal, from_examples):
        assert (model.network.channels, model.network.kernel, model.space) == (2, form, (200,))
        assert np.array_equal(model.kernels[0], from_array.kernels[0])
    named = san.fit(Signal("x", x[0], 100.0, ("II", "V5"), ("mV", "l")), window=200, **options)
    assert named.origin == ("x", ("II", "V5"), ("mV", "l"), 100.0)
    fitting = san.fit(x, window=200, activations=["extrema"], max_epochs=1, kernel=form)
    assert fitting.candidates is not None
    assert len(fitting.candidates) > 1


def test_what_cannot_be_fitted_is_one_line(untyped):
    x = samples(1, 2, 1200)
    assert "kernel=rank2" in refusal(san.fit, x, activations=["extrema"], kernel_sizes=[5], kernel="rank2")
    said = refusal(san.fit, x.reshape(3, 2, 400), window=100)
    assert said == "window=100 does not apply to 3 examples: leave it out"
    assert refusal(san.fit, x[None]).startswith("x has 4 axes, the shape [1,1,2,1200]")
    assert "give axes=[examples,time,channels]" in refusal(san.fit, x.reshape(1, 1200, 2))
    images = {"axes": ["examples", "rows", "columns"]}
    assert "window=5 does not apply to 6 examples" in refusal(san.fit, x.reshape(6, 20, 20), window=5, **images)


def test_an_array_that_may_be_channels_is_fitted_by_the_axes_that_are_named(untyped):
    x = samples(1, 3, 1200)[0]
    said = refusal(san.fit, x)
    assert "may be channels by time of one recording, or examples by samples: give axes=[channels,time]" in said
    assert said.endswith("or x[0] for one channel")
    options = {"activations": ["extrema"], "kernel_sizes": [10], "max_epochs": 1, "window": 200}
    by_channels = san.fit(x, axes=["channels", "time"], **options)
    assert np.array_equal(by_channels.kernels[0], san.fit(x[None], **options).kernels[0])
    assert np.array_equal(by_channels.kernels[0], san.fit(x.T, axes=["time", "channels"], **options).kernels[0])
    assert san.fit(x, axes=["examples", "time"], **options | {"window": None}).network.channels == 1


@pytest.mark.parametrize("form", ["full", "rank1"])
def test_the_estimator_describes_signals_of_several_channels(form):
    x = samples(6, 2, 120)
    estimator = SAN(kernel_size=10, n_kernels=2, max_epochs=1, kernel=form, random_state=0).fit(x)
    assert estimator.components_.shape == (2, 2, 10)
    maps = estimator.transform(x)
    assert maps.shape == (6, 240)
    decoded = estimator.model_.encode(x, window=None).decode()
    assert np.allclose(estimator.inverse_transform(maps), decoded, atol=1e-4 * np.abs(decoded).max())
    assert estimator.set_params(output="features").transform(x).shape == (6, 6)
    assert estimator.score(x) < 0
    assert len(estimator.get_feature_names_out()) == 6
    assert "SAN was fitted to 2 channels" in refusal(estimator.transform, x[:, 0, :])
    said = refusal(estimator.transform, x[..., :100])
    assert said == "X has the shape [6, 2, 100], but SAN was fitted to 120 samples: give as many"
    assert refusal(SAN().fit, x[:, None]).startswith("X has the shape [6, 1, 2, 120]")


def test_names_of_an_origin_are_one_for_each_channel():
    assert Origin("x").of_channels(2).labels == ("0", "1")
    assert "must be a tuple of one text for each of 2 channels" in refusal(Origin("x", ("a",)).of_channels, 2)
    assert isinstance(model_of(samples(1, 2, 50)).encode(samples(1, 2, 50)), Description)

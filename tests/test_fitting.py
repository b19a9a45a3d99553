"""The activation function and the kernel size that suit a signal, on the command line and in Python."""

import shlex
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import results
from sklearn.base import clone

import san
from san import sweep, train
from san.activations import Extrema, SparseActivation
from san.extensions.fitting import CANDIDATES, fitting_sizes


@pytest.fixture(scope="module")
def signal():
    time = np.arange(3000)
    return np.sin(time / 15) + 0.3 * np.sin(time / 100)


@pytest.mark.parametrize("period", [20, 60, 150])
def test_sizes_span_the_wave_of_a_signal(period):
    wave = torch.sin(torch.arange(2000) * 2 * torch.pi / period).view(2, 1, 1000)
    sizes = fitting_sizes(7 + 3 * wave)
    assert sizes == fitting_sizes(wave) == sorted(set(sizes))
    assert len(sizes) <= 10
    assert min(sizes) <= period / 4
    assert max(sizes) == pytest.approx(min(2 * period, 250), abs=8)


@pytest.mark.parametrize(
    "x", [torch.randn(3, 1, 40), torch.randn(2, 1, 9, 12), torch.ones(1, 1, 3), torch.zeros(2, 1, 8)]
)
def test_sizes_of_any_examples_can_be_trained(x):
    sizes = fitting_sizes(x)
    assert sizes
    assert all(1 <= size <= max(1, min(x.shape[2:]) // 4) for size in sizes)


@pytest.mark.slow
def test_a_sweep_says_which_activation_suits_the_data(run, capsys, signal, tmp_path):
    np.save(tmp_path / "x.npy", signal)
    given = ["dataset=numpy", f"path={tmp_path / 'x.npy'}", "logger=[]", "dataset.window=300", "trainer.max_epochs=1"]
    where = f"hydra.run.dir={tmp_path / 'sweep'}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["sweep", *given, "activations=auto", where])
        sweep.main()
    said = capsys.readouterr().out
    models = results(tmp_path / "sweep")["models"]
    assert {model["activation"] for model in models} == set(CANDIDATES)
    assert 5 < len({model["kernel_sizes"][0] for model in models}) <= 10
    best = min(models, key=lambda model: model["validation"]["phi"])
    assert (tmp_path / "sweep" / "report.html").is_file()
    (use,) = [line for line in said.splitlines() if line.startswith("Use ")]
    assert f"Use {best['activation']} with kernels of {best['kernel_sizes'][0]} samples" in use
    assert all(name in use for name in CANDIDATES)
    (command,) = [line for line in said.splitlines() if "python -m san.train" in line]
    arguments = shlex.split(command.partition("san.train ")[2])
    code, said = run(train.main, *arguments, f"hydra.run.dir={tmp_path / 'alone'}", "figure=[]")
    assert code == 0, said
    alone = results(tmp_path / "alone")
    assert alone["validation"]["phi"] == pytest.approx(best["validation"]["phi"], abs=1e-6)


@pytest.mark.parametrize("activations", ["extrema", "best", "3"])
def test_an_activation_alone_is_no_list(run, activations):
    code, said = run(sweep.main, f"activations={activations}")
    assert code == 1
    assert f"activations={activations} must be a list such as [extrema,relu], or auto" in said


def test_a_recording_is_fitted_in_one_call(signal):
    model = san.fit(signal, sampling_frequency=50, max_epochs=2, activations=["extrema", "extrema_pool_indices"])
    best = model.candidates.iloc[0]
    assert model.candidates["validation_phi"].is_monotonic_increasing
    assert len(model.kernels[0]) == best["kernel_size"]
    assert model.sampling_frequency == 50
    n_train = len(signal) // 600 - 2
    validation = model.encode(signal.reshape(-1, 600)[n_train:])
    assert validation.phi == pytest.approx(best["validation_phi"], abs=1e-6)


@pytest.mark.parametrize("form", ["gray", "color"])
def test_images_are_fitted_by_their_axes(form):
    x = torch.randn(20, 12, 10, *[3] * (form == "color"), generator=torch.Generator().manual_seed(0)).numpy()
    axes = ["examples", "rows", "columns", *["channels"] * (form == "color")]
    model = san.fit(x, axes=axes, activations=["extrema"], scaling="all", max_epochs=1)
    assert model.space == (12, 10)
    best = model.candidates.iloc[0]
    assert model.kernels[0].shape[-2:] == (best["kernel_size"],) * 2
    validation = model.encode(np.moveaxis(x[14:], -1, 1) if form == "color" else x[14:])
    assert validation.phi == pytest.approx(best["validation_phi"], abs=1e-6)


def test_examples_are_encoded_together_as_each_alone(monkeypatch):
    x = torch.randn(30, 12, 10, generator=torch.Generator().manual_seed(0)).numpy()
    axes = ["examples", "rows", "columns"]
    model = san.fit(x, axes=axes, activations=["extrema"], kernel_sizes=[3], scaling="example", max_epochs=1)
    alone = [model.encode(one) for one in x]
    encode, batches = model.network.encode, []
    monkeypatch.setattr(model.network, "encode", lambda batch: batches.append(len(batch)) or encode(batch))
    together = model.encode(x)
    assert batches == [30]
    assert np.allclose(together.decode(), [one.decode() for one in alone], atol=1e-6)
    assert np.allclose(together.metrics["phi"], [one.phi for one in alone], atol=1e-6)
    assert list(together.metrics["example"]) == list(range(30))


class First(SparseActivation):
    """Keep the first samples of each map, one for each sample of its kernel."""

    def density(self, kernel_size, space):
        return kernel_size

    def select(self, similarity, density):
        kept = torch.zeros_like(similarity)
        for index, count in enumerate(density):
            kept[:, index, :count] = similarity[:, index, :count]
        return kept


def test_an_activation_of_your_own_is_compared_with_the_others(signal):
    own = First()
    model = san.fit(signal, activations=["extrema", own], kernel_sizes=[10, 20], max_epochs=1)
    assert set(model.candidates["activation"]) == {"extrema", "First"}
    alone = san.fit(signal, activations=[own], kernel_sizes=[10], max_epochs=1)
    assert alone.activation == "First"
    assert isinstance(alone.network.activation, First)
    assert alone.network.activation is not own
    assert alone.encode(signal, window=None).events["sample"].max() < 10
    estimator = clone(san.SAN(10, activation=own, max_epochs=1, random_state=0)).fit(signal.reshape(5, -1))
    assert isinstance(estimator.model_.network.activation, First)


def test_a_density_of_an_activation_of_your_own_is_checked(signal):
    with pytest.raises(ValueError, match=r"activation.density=5000 exceeds the 600 samples"):
        san.fit(signal, activations=[Extrema(density=5000)], kernel_sizes=[10], max_epochs=1)


@pytest.mark.parametrize("activation", [Extrema, torch.relu, 3])
def test_an_activation_that_is_neither_a_name_nor_an_encoder_is_refused(untyped, signal, activation):
    with pytest.raises(ValueError, match=r"must be a name or a san\.activations\.SparseActivation object"):
        san.fit(signal, activations=[activation])


@pytest.mark.parametrize(
    ("x", "options", "said"),
    [
        (np.zeros((1, 2, 3, 4)), {}, "x has 4 axes, the shape"),
        (np.arange(9.0), {"window": 5}, "window=5 must be from 2 to half of the 9 samples"),
        (np.arange(100.0).reshape(10, 10), {"window": 5}, "window=5 does not apply to 10 examples"),
        (np.arange(100.0), {"activations": ["sparse"]}, "sparse"),
        (np.arange(100.0), {"kernel_sizes": [0]}, "kernel_sizes=0 must be an integer of at least 1"),
        (np.arange(100.0), {"kernel_sizes": [50], "activations": ["extrema"]}, "kernel_size=50 exceeds"),
        (np.arange(100.0), {"validation_fraction": 2}, "validation_fraction=2"),
        (np.arange(100.0), {"activations": "extrema"}, "activations='extrema' must be a list"),
        (np.arange(100.0), {"activations": []}, "must be a list"),
        (np.arange(100.0), {"kernel_sizes": 40}, "kernel_sizes=40 must be a list"),
        (np.arange(100.0), {"window": 0}, "window=0 must be"),
        (np.arange(100.0), {"sampling_frequency": -1}, "sampling_frequency=-1"),
        (np.r_[np.nan, np.arange(100.0)], {}, "invalid|finite"),
        (replace(san.example_ecg(), name="ecg"), {"sampling_frequency": 100}, "100 is not that of ecg, 360 hertz"),
        (replace(san.example_ecg(), name="ecg"), {"axes": ["time"]}, "axes=.* does not apply to ecg"),
    ],
)
def test_what_cannot_be_fitted_is_one_line(untyped, x, options, said):
    with pytest.raises(ValueError, match=said):
        san.fit(x, **options)

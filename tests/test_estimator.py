"""The estimator of scikit-learn."""

import pickle

import numpy as np
import pytest
import torch
from conftest import results
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from san import SAN
from san.cli import composed_once
from san.cli.composition import is_checked


@pytest.fixture(scope="module")
def signals():
    rng = np.random.default_rng(0)
    waves = [np.sin(np.arange(120) / (4 + 4 * (row % 2)) + rng.uniform(0, 6)) for row in range(16)]
    return 3 + np.stack(waves) + 0.1 * rng.standard_normal((16, 120))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks([SAN(max_epochs=2)])
def test_the_estimator_keeps_the_conventions_of_scikit_learn(estimator, check, untyped):
    check(estimator)


@pytest.mark.parametrize("activation", ["extrema", "phi_pursuit"])
def test_the_estimator_trains_as_the_command(run_train, signals, activation, tmp_path):
    np.save(tmp_path / "x.npy", signals)
    given = ["dataset=numpy", f"path={tmp_path / 'x.npy'}", "dataset.fractions=[0.5,0.25,0.25]", "dataset.scaling=all"]
    options = [f"activation={activation}", "kernel_size=12", "n_kernels=2", "seed=5", "trainer.max_epochs=3"]
    folder, _ = run_train("run", *given, *options, "logger=[]", "figure=[]")
    estimator = SAN(
        kernel_size=12, n_kernels=2, activation=activation, random_state=5, max_epochs=3, validation_fraction=1 / 3
    ).fit(signals[:12])
    assert estimator.phi_ == pytest.approx(results(folder)["validation"]["phi"], abs=1e-6)
    assert -estimator.score(signals[12:]) == pytest.approx(results(folder)["test"]["phi"], abs=1e-6)


def test_maps_are_inverted_to_the_reconstruction(signals):
    estimator = SAN(kernel_size=10, n_kernels=2, max_epochs=2, random_state=0).fit(signals)
    maps = estimator.transform(signals)
    assert maps.shape == (16, 2 * 120)
    assert list(estimator.get_feature_names_out()[[0, 120]]) == ["kernel0_sample0", "kernel1_sample0"]
    expected = estimator.model_.encode(signals, window=None).decode()
    assert np.abs(estimator.inverse_transform(maps) - expected).max() < 1e-6 * np.abs(expected).max()
    assert estimator.components_.shape == (2, 10)


def test_features_count_and_measure_the_events_of_each_kernel(signals):
    estimator = SAN(kernel_size=10, n_kernels=2, max_epochs=2, random_state=0, output="features").fit(signals)
    maps = SAN(kernel_size=10, n_kernels=2, max_epochs=2, random_state=0).fit(signals).transform(signals)
    features = estimator.transform(signals)
    names = list(estimator.get_feature_names_out())
    assert names[:3] == ["kernel0_count", "kernel0_mean_amplitude", "kernel0_energy"]
    for row, own in zip(features, maps.reshape(16, 2, 120), strict=True):
        for kernel, amplitudes in enumerate(own):
            found = amplitudes[amplitudes != 0]
            weight = (estimator.components_[kernel].astype(float) ** 2).sum()
            expected = [len(found), found.mean() if len(found) else 0, (found**2).sum() * weight]
            assert np.allclose(row[3 * kernel : 3 * kernel + 3], expected)
    with pytest.raises(ValueError, match="output=features cannot be inverted"):
        estimator.inverse_transform(features)


@pytest.mark.slow
def test_the_estimator_works_where_estimators_work(signals):
    search = GridSearchCV(
        SAN(max_epochs=1, random_state=0), {"kernel_size": [5, 10], "activation": ["extrema", "relu"]}, cv=2
    )
    assert set(search.fit(signals).best_params_) == {"kernel_size", "activation"}
    pipe = make_pipeline(SAN(kernel_size=10, max_epochs=1, random_state=0), KMeans(2, n_init=1, random_state=0))
    assert pipe.fit_predict(signals).shape == (16,)
    estimator = SAN(kernel_size=10, max_epochs=1, random_state=0).fit(signals)
    expected = estimator.transform(signals)
    assert np.array_equal(pickle.loads(pickle.dumps(estimator)).transform(signals), expected)  # noqa: S301
    assert np.array_equal(clone(estimator).fit(signals).transform(signals), expected)
    parts = Parallel(n_jobs=2)(delayed(estimator.transform)(part) for part in np.split(signals, 2))
    assert np.array_equal(np.concatenate(parts), expected)


def test_a_fitted_estimator_shows_its_kernels_and_phi(signals):
    estimator = SAN(kernel_size=10, max_epochs=1, random_state=0)
    unfitted = estimator._repr_html_()
    shown = estimator.fit(signals)._repr_html_()
    assert "data:image/png;base64," in shown
    assert f"{estimator.phi_:.3f}" in shown
    assert "validation φ̄" not in unfitted


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"activation": "sparse"}, "sparse"),
        ({"kernel_size": 0}, "kernel_sizes=0 must be an integer of at least 1"),
        ({"kernel_size": 1.5}, "kernel_sizes=1.5 must be an integer"),
        ({"kernel_size": 500}, "kernel_size=500 exceeds"),
        ({"n_kernels": -1}, "n_kernels=-1 must be an integer of at least 1"),
        ({"max_epochs": 0}, "left nothing to train"),
        ({"output": "all"}, "output=all"),
        ({"scaling": "most"}, "scaling=most"),
        ({"decoder": "most"}, "decoder=most"),
        ({"validation_fraction": 3}, "validation_fraction=3"),
        ({"learning_rate": "high"}, "high"),
    ],
)
def test_an_invalid_parameter_is_one_line(untyped, signals, options, said):
    with pytest.raises(ValueError, match=said):
        SAN(**{"max_epochs": 1, **options}).fit(signals)


def test_fits_of_equal_choices_merge_their_files_once_and_leave_hydra_as_it_was(signals, monkeypatch):
    merged, merge = [], ConfigLoaderImpl._compose_config_from_defaults_list
    monkeypatch.setattr(composed_once, "_known", {})
    monkeypatch.setattr(
        ConfigLoaderImpl,
        "_compose_config_from_defaults_list",
        counting := lambda *given, **options: merged.append(given) or merge(*given, **options),
    )
    for kernel_size in (8, 10, 12):
        SAN(kernel_size=kernel_size, max_epochs=1, random_state=0).fit(signals)
    assert len(merged) == 1
    assert ConfigLoaderImpl._compose_config_from_defaults_list is counting
    assert not is_checked()


def test_numbers_of_numpy_are_numbers(signals):
    grid = {"kernel_size": np.arange(8, 12, 2), "n_kernels": np.array([1])}
    search = GridSearchCV(SAN(max_epochs=1, random_state=np.int64(0)), grid, cv=2, error_score="raise").fit(signals)
    expected = SAN(kernel_size=int(search.best_params_["kernel_size"]), max_epochs=1, random_state=0).fit(signals)
    assert np.array_equal(search.best_estimator_.components_, expected.components_)


def test_a_fit_leaves_torch_as_it_was(signals):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    torch.use_deterministic_algorithms(False)
    SAN(kernel_size=10, max_epochs=1, random_state=0).fit(signals)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.are_deterministic_algorithms_enabled()

"""Examples are scaled by the training split alone, also when a checkpoint is tested on other data."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import wfdb
from conftest import results
from omegaconf import OmegaConf
from PIL import Image

from san import evaluate, sweep
from san.checkpoint import read
from san.cli.evaluation_data import load_test_data
from san.cli.parts import instantiate
from san.data.scale import Scale, Statistics, check_scaling
from san.data.splits import Splits
from san.storage.checkpoints import save

KINDS = ("none", "example", "all", "range")
FITTED = ("all", "range")
TEST_SAMPLES = slice(2800, 4000)  # of 4,000 samples in windows of 200


def examples(seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((5, 1, 40)) * 3 + 7)


def fit(kind, *parts):
    return Scale.fit(kind, parts, [-1, 3], "x")


@pytest.mark.parametrize("kind", KINDS)
def test_a_scale_can_be_undone_and_stored(kind):
    train, others = examples(), examples(1) * 2
    scale = fit(kind, train)
    statistics = scale.statistics(others, "x")
    scaled = scale.apply(others, "x")
    assert torch.equal(scaled, scale.apply(others, "x", statistics))
    assert torch.equal(scaled, others) == (kind == "none")
    assert torch.allclose(scale.undo(scaled, statistics), others, atol=1e-12)
    if kind != "example":
        assert torch.equal(scale.undo(scaled), scale.undo(scaled, statistics))
    assert Scale.from_dict(scale.to_dict()) == scale
    assert {type(value) for value in scale.to_dict().values()} == {str, float}


def test_a_scale_uses_the_statistics_of_the_fitted_examples():
    train, others = examples(), examples(1) * 2
    flat = train.flatten()
    assert fit("all", train) == Scale("all", float(flat.mean()), float(flat.std()))
    assert fit("range", train) == Scale("range", float(flat.min()), float(flat.max() - flat.min()), -1.0, 3.0)
    ranged = fit("range", train)
    assert (float(ranged.apply(train, "x").min()), float(ranged.apply(train, "x").max())) == (-1, 3)
    assert ranged.apply(others, "x").max() > 3
    each = others.flatten(1)
    by_example = (each - each.mean(1, keepdim=True)) / each.std(1, keepdim=True)
    assert torch.equal(fit("example", train).apply(others, "x").flatten(1), by_example)


def test_a_scale_by_example_is_undone_by_the_statistics_of_each_example_alone():
    scale = Scale("example")
    with pytest.raises(ValueError, match=r"statistics=None: give the statistics of each example"):
        scale.undo(examples())
    assert torch.equal(scale.undo(torch.ones(1, 1, 2), Statistics(3.0, 2.0)), torch.full((1, 1, 2), 5.0))


GOOD = {"kind": "all", "offset": 1.0, "unit": 2.0, "lowest": 0.0, "highest": 1.0}
STRANGE = [
    None, 5, "all", [], {}, {"_target_": "os.system"}, {**GOOD, "more": 1.0}, {**GOOD, "kind": "log"},
    {**GOOD, "kind": ["all"]}, {**GOOD, "offset": float("nan")}, {**GOOD, "offset": 10**400}, {**GOOD, "offset": True},
    {**GOOD, "offset": "x" * 10**6}, {**GOOD, "unit": 0.0}, {**GOOD, "unit": -1.0}, {**GOOD, "unit": float("inf")},
    {**GOOD, "unit": torch.ones(1)}, {**GOOD, "lowest": 1.0}, {**GOOD, "highest": None},
]  # fmt: skip


@pytest.mark.parametrize("stored", STRANGE, ids=lambda stored: str(stored)[:60])
def test_a_strange_stored_scale_is_refused_in_one_line(stored):
    assert Scale.from_dict(GOOD).unit == 2
    with pytest.raises(ValueError, match="scale") as error:
        Scale.from_dict(stored)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    ("scaling", "value_range", "said"),
    [
        ("log", [0, 1], "scaling=log must be one of none, example, all, range"),
        ("example", [0, 1], "scaling=example must be range, the scaling of the training data"),
        ("range", [0, 2], r"value_range=\[0, 2\] must be \[0.0, 1.0\], the range of the training data"),
        ("range", [1, 0], "must be two numbers, the smaller one first"),
        ("range", [0, 10**400], "must be two numbers"),
        ("range", [0, float("nan")], "must be two numbers"),
        ("range", ["a", "b"], "must be two numbers"),
    ],
)
def test_settings_that_are_invalid_or_not_those_of_the_training_are_refused(scaling, value_range, said):
    check_scaling("range", [0, 1], Scale("range"))
    with pytest.raises(ValueError, match=said):
        check_scaling(scaling, value_range, Scale("range"))


@pytest.mark.parametrize("kind", FITTED)
@pytest.mark.parametrize("sample", [float("nan"), float("inf"), 1e308])
def test_samples_that_have_no_scale_are_refused(kind, sample):
    with pytest.raises(ValueError, match="x has samples that are not finite or too large"):
        fit(kind, torch.tensor([[[sample, -1e308, 1.0]]], dtype=torch.float64))
    with pytest.raises(ValueError, match="x is constant"):
        fit(kind, torch.ones(2, 1, 3, dtype=torch.float64))


def write_examples(folder, samples):
    np.save(folder / "x.npy", samples.reshape(20, 200))


def write_signal(folder, samples):
    np.save(folder / "x.npy", samples)


def write_table(folder, samples):
    pd.DataFrame({"ECG": samples}).to_csv(folder / "x.csv", index=False)


def write_record(folder, samples):
    # The gain is fixed: by default wfdb derives it from the extreme samples, and so rounds all samples by them.
    wfdb.wrsamp("x", fs=100, units=["mV"], sig_name=["I"], p_signal=samples[:, None], fmt=["16"],
                adc_gain=[100], baseline=[0], write_dir=str(folder))  # fmt: skip


def write_images(folder, samples):
    (folder / "x").mkdir(exist_ok=True)
    levels = np.clip(samples * 4 + 100, 0, 255).astype(np.uint8).reshape(20, 10, 20)
    for index, image in enumerate(levels):
        Image.fromarray(image).save(folder / "x" / f"{index:02}.png")


FORMATS = {
    write_examples: ["dataset=numpy", "path=x.npy"],
    write_signal: ["dataset=numpy", "path=x.npy", "dataset.window=200"],
    write_table: ["dataset=csv", "path=x.csv", "dataset.window=200"],
    write_record: ["dataset=wfdb", "path=x", "dataset.window=200"],
    write_images: ["dataset=images", "path=x"],
}


def signal():
    return np.random.default_rng(0).standard_normal(4000).cumsum() / 5


def with_other_test_samples(samples):
    other = samples.copy()
    other[TEST_SAMPLES] = 3 * other[TEST_SAMPLES] + 1
    return other


@pytest.fixture
def load(compose, tmp_path, monkeypatch):
    """Write samples in a format, and load them with a scaling by some splits."""
    monkeypatch.chdir(tmp_path)
    configs = {}

    def load(write, samples, kind, scaled_by="train", **options):
        write(tmp_path, samples)
        if write not in configs:
            configs[write] = compose(*FORMATS[write])
        config = configs[write]
        config.dataset.scaling, config.protocol.scaled_by = kind, scaled_by
        return instantiate(config, "dataset", **options)

    return load


def test_the_protocols_scale_by_the_training_split_or_by_all_splits(compose):
    assert compose().protocol.scaled_by == compose(name="evaluate").protocol.scaled_by == "train"
    assert compose("protocol=paper").protocol.scaled_by == "all"


@pytest.mark.parametrize("write", FORMATS, ids=lambda write: write.__name__)
def test_raw_test_samples_reach_no_other_split(load, write):
    """The raw test samples are replaced before any scaling, as in a file with another test part."""
    samples = signal()
    for kind in FITTED:
        first, second = (load(write, x, kind) for x in (samples, with_other_test_samples(samples)))
        assert first.scale == second.scale
        assert torch.equal(first.train, second.train)
        assert torch.equal(first.validation, second.validation)
        assert not torch.equal(first.test, second.test)
        by_all = load(write, with_other_test_samples(samples), kind, "all")
        assert not torch.equal(second.train, by_all.train)


@pytest.mark.parametrize("write", FORMATS, ids=lambda write: write.__name__)
def test_all_splits_are_scaled_by_the_same_statistics(load, write):
    raw = load(write, signal(), "none")
    for kind in KINDS:
        for scaled_by, fitted in (("train", raw.train), ("all", torch.cat([*raw.examples.values()]))):
            scaled = load(write, signal(), kind, scaled_by)
            scale = Scale.fit(kind, [fitted.double()], [-1, 1], "x")
            for split, part in raw.examples.items():
                assert torch.allclose(scaled.examples[split], scale.apply(part.double(), "x").float(), atol=1e-5)
            assert scaled.scale.kind == kind


@pytest.mark.parametrize("write", FORMATS, ids=lambda write: write.__name__)
def test_a_given_scale_replaces_the_statistics_of_the_data(load, write):
    raw = load(write, signal(), "none")
    for given in (Scale("all", 2.0, 4.0), Scale("range", 2.0, 4.0, -1.0, 1.0)):
        for scaled_by in ("train", "all"):
            scaled = load(write, signal(), given.kind, scaled_by, scale=given.to_dict())
            assert scaled.scale == given
            assert torch.allclose(scaled.test, given.apply(raw.test.double(), "x").float(), atol=1e-5)
        with pytest.raises(ValueError, match=rf"^dataset\.scaling=example must be {given.kind}, the scaling of"):
            load(write, signal(), "example", scale=given.to_dict())


@pytest.mark.usefixtures("untyped")
def test_an_unknown_choice_of_splits_is_refused(compose, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_examples(tmp_path, signal())
    with pytest.raises(ValueError, match=r"^dataset\.scaled_by=test must be one of train, all"):
        instantiate(compose(*FORMATS[write_examples], "dataset.scaled_by=test"), "dataset")


def log_of(folder):
    return (folder / "evaluate.log").read_text(encoding="utf-8")


@pytest.fixture
def run_on_examples(run_train, run, tmp_path, monkeypatch):
    """Train on a file ``x.npy``, and evaluate."""
    monkeypatch.chdir(tmp_path)
    options = ["dataset=numpy", "path=x.npy", "trainer.max_epochs=2", "logger=csv", "figure=[]"]

    def trained(folder, samples, *arguments):
        write_examples(tmp_path, samples)
        return run_train(folder, *options, *arguments)[0]

    def evaluated(folder, *arguments, fails=False):
        code, said = run(evaluate.main, *arguments, f"hydra.run.dir={tmp_path / folder}")
        assert (code != 0) == fails, said
        return said if fails else results(tmp_path / folder)["test"]

    return trained, evaluated


@pytest.mark.parametrize("kind", FITTED)
def test_test_samples_change_neither_training_nor_validation(run_on_examples, kind):
    trained, _ = run_on_examples
    samples = signal()
    first, second = (
        trained(name, x, f"dataset.scaling={kind}")
        for name, x in (("first", samples), ("second", with_other_test_samples(samples)))
    )
    assert results(first)["phi_per_epoch"] == results(second)["phi_per_epoch"]
    assert results(first)["test"] != results(second)["test"]
    weights, others = (read(folder / "checkpoints" / "last.ckpt")["state_dict"] for folder in (first, second))
    assert all(torch.equal(weight, others[name]) for name, weight in weights.items())


def test_other_data_are_scaled_by_the_training_statistics_of_the_checkpoint(run_on_examples, tmp_path):
    trained, evaluated = run_on_examples
    folder = trained("run", signal(), "dataset.scaling=all")
    given = [f"checkpoint={folder}", "dataset=numpy", "dataset.scaling=all"]
    assert evaluated("same", *given, "path=x.npy", "protocol=paper") == results(folder)["test"]
    # Scaled by their own statistics, both recordings would be the same.
    recordings = {"plain": signal(), "steep": 5 * signal() + 3}
    for name, samples in recordings.items():
        np.save(tmp_path / f"{name}.npy", samples)
    plain, steep = (evaluated(name, *given, f"path={name}.npy", "chunk=700") for name in recordings)
    assert steep["phi"] != pytest.approx(plain["phi"], abs=1e-3)
    np.save(tmp_path / "long.npy", np.concatenate([1e3 * signal()] * 3 + [recordings["steep"]]))
    windows = ["dataset.window=4000", "dataset.fractions=[0.5,0.25,0.25]"]
    at_once = evaluated("at_once", *given, "path=long.npy", *windows)
    assert at_once == pytest.approx(steep, abs=1e-5)


def test_a_changed_training_split_is_scaled_by_the_statistics_of_the_checkpoint(run_on_examples):
    trained, evaluated = run_on_examples
    folder = trained("run", signal(), "dataset.scaling=all")
    changed = signal()
    changed[:2000] *= 9
    write_examples(folder.parent, changed)
    assert evaluated("evaluated", f"checkpoint={folder}") == results(folder)["test"]


def test_data_of_another_scaling_are_refused_by_a_line_that_names_both(run_on_examples, tmp_path):
    trained, evaluated = run_on_examples
    folder = trained("run", signal(), "dataset.scaling=range")
    np.save(tmp_path / "long.npy", signal())
    for path, chunk in (("x.npy", "null"), ("long.npy", "400")):
        given = [f"checkpoint={folder}", "dataset=numpy", f"path={path}", f"chunk={chunk}"]
        line = evaluated("bad", *given, fails=True)
        assert line == "san: dataset.scaling=example must be range, the scaling of the training data"
        line = evaluated("bad", *given, "dataset.scaling=range", "dataset.value_range=[0,1]", fails=True)
        assert "dataset.value_range=[0, 1] must be [-1.0, 1.0], the range of the training data" in line
    line = evaluated("bad", f"checkpoint={folder}", "dataset=physionet", fails=True)
    assert "has scaling=example, but" in line
    assert "was trained with scaling=range: give data with scaling=range" in line


def test_data_of_another_scaling_without_statistics_are_announced(run_on_examples, tmp_path):
    trained, evaluated = run_on_examples
    folder = trained("run", signal())
    evaluated("synthetic", f"checkpoint={folder}", "dataset=synthetic", "dataset.seed=0")
    assert "synthetic/41 has scaling=none, but" in log_of(tmp_path / "synthetic")
    evaluated("physionet", f"checkpoint={folder}", "dataset=physionet")
    assert "has scaling=" not in log_of(tmp_path / "physionet")


def as_an_earlier_version(folder):
    """Remove from a checkpoint what earlier versions did not store."""
    path = folder / "checkpoints" / "best.ckpt"
    checkpoint = read(path)
    del checkpoint["scale"], checkpoint["config"]["dataset"]["scaled_by"], checkpoint["config"]["protocol"]["scaled_by"]
    save(checkpoint, path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_without_a_scale_is_tested_as_its_version_did_or_refused(run_on_examples, tmp_path, kind):
    trained, evaluated = run_on_examples
    folder = trained("run", signal(), f"dataset.scaling={kind}", *(["dataset.scaled_by=all"] if kind in FITTED else []))
    as_an_earlier_version(folder)
    assert evaluated("own", f"checkpoint={folder}") == results(folder)["test"]
    announced = "stores no scale: its dataset is scaled by the statistics of all splits" in log_of(tmp_path / "own")
    assert announced == (kind in FITTED)
    found = evaluated("other", f"checkpoint={folder}", "dataset=numpy", "path=x.npy", f"dataset.scaling={kind}",
                      fails=kind in FITTED)  # fmt: skip
    if kind in FITTED:
        assert f"scaling={kind} needs the statistics of the training data, which" in found
        assert "\n" not in found.strip()
    else:
        assert found == results(folder)["test"]


def test_an_earlier_checkpoint_of_uci_epilepsy_is_tested_with_the_range_of_all_splits(compose, monkeypatch):
    samples = torch.from_numpy(np.random.default_rng(0).standard_normal((11500, 178)))
    monkeypatch.setattr("san.data.uci_epilepsy._read_table", lambda _: ([], samples, torch.arange(11500) % 3))
    dataset = OmegaConf.to_container(compose("dataset=uci_epilepsy").dataset, resolve=True)
    del dataset["scaled_by"]
    parts = {"dataset": dataset}
    given = OmegaConf.create(parts), {"config": parts}, Path("x.ckpt")
    loaded = load_test_data(compose("checkpoint=x", name="evaluate"), *given)
    assert loaded.scale == Scale("range", float(samples.min()), float(samples.max() - samples.min()))
    with pytest.raises(ValueError, match="scaling=range needs the statistics of the training data, which"):
        load_test_data(compose("checkpoint=x", "dataset=uci_epilepsy", name="evaluate"), *given)


def test_data_of_unknown_scale_are_announced_beside_a_fitted_scale(compose, monkeypatch, caplog):
    unknown = Splits("mine", *examples().float()[:3].split(1))
    monkeypatch.setattr("san.cli.evaluation_data.instantiate", lambda *_: unknown)
    config = compose("checkpoint=x", "dataset=physionet", name="evaluate")
    for scale, announced in ((Scale("example"), False), (Scale("all"), True)):
        checkpoint = {"config": {}, "scale": scale.to_dict()}
        assert load_test_data(config, OmegaConf.create({}), checkpoint, Path("x.ckpt")) is unknown
        assert ("how mine is scaled is unknown" in caplog.text) == announced


def test_a_strange_scale_in_a_checkpoint_is_reported_in_one_line(run_on_examples):
    trained, evaluated = run_on_examples
    folder = trained("run", signal(), "dataset.scaling=all")
    path = folder / "checkpoints" / "best.ckpt"
    checkpoint = read(path)
    for scale in (None, {**checkpoint["scale"], "unit": 0.0}, {**checkpoint["scale"], "kind": "x" * 10**6}):
        save({**checkpoint, "scale": scale}, path)
        line = evaluated("bad", f"checkpoint={folder}", fails=True)
        assert "is not a checkpoint of san: " in line
        assert "\n" not in line.strip()
    save({**checkpoint, "scale": {**checkpoint["scale"], "unit": 1e-300}}, path)
    assert "not finite" in evaluated("bad", f"checkpoint={folder}", fails=True)


def test_the_best_model_of_a_sweep_stores_the_scale(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_examples(tmp_path, signal())
    code, said = run(sweep.main, *FORMATS[write_examples], "dataset.scaling=all", "kernel_sizes=[4,8]",
                     "trainer.max_epochs=1", "logger=csv", "figure=[]", "hydra.run.dir=run")  # fmt: skip
    assert code == 0, said
    train_samples = torch.from_numpy(signal()[:2000])
    stored = Scale.from_dict(read(tmp_path / "run" / "checkpoints" / "best.ckpt")["scale"])
    assert stored == Scale("all", float(train_samples.mean()), float(train_samples.std()))


@pytest.mark.parametrize("dataset", ["physionet", "synthetic"])
def test_every_checkpoint_stores_how_its_data_are_scaled(run_train, dataset):
    folder, _ = run_train("run", f"dataset={dataset}", "debug=one_batch", "logger=csv", "figure=[]")
    kind = read(folder / "checkpoints" / "best.ckpt")["scale"]["kind"]
    assert kind == {"physionet": "example", "synthetic": "none"}[dataset]

"""The user's own recordings and images."""

import numpy as np
import pandas as pd
import pytest
import torch
import wfdb
from PIL import Image

from san import evaluate, train
from san.cli.parts import instantiate


@pytest.fixture
def files(tmp_path):
    """A signal of 4,000 samples in three formats, and a folder of images."""
    samples = np.random.default_rng(0).standard_normal(4000).cumsum() / 50
    wfdb.wrsamp(
        "mine",
        fs=100,
        units=["mV"] * 2,
        sig_name=["I", "II"],
        p_signal=np.stack([-samples, samples], 1),
        fmt=["16"] * 2,
        write_dir=str(tmp_path),
    )
    pd.DataFrame({"time": range(4000), "ECG": samples}).to_csv(tmp_path / "mine.csv", index=False)
    np.save(tmp_path / "mine.npy", samples)
    np.save(tmp_path / "examples.npy", samples.reshape(20, 200))
    (tmp_path / "images" / "deeper").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (10, 12, 14, 3), dtype=np.uint8)
    for index, image in enumerate(pixels):
        folder = tmp_path / "images" / ("deeper" if index % 2 else "")
        Image.fromarray(image).save(folder / f"{index}.{'png' if index % 3 else 'bmp'}")
    return tmp_path


OWN = {
    "wfdb": ["dataset=wfdb", "path=mine", "channel=II"],
    "csv": ["dataset=csv", "path=mine.csv", "column=ECG", "sampling_frequency=100"],
    "numpy": ["dataset=numpy", "path=mine.npy", "sampling_frequency=100"],
}


@pytest.fixture
def load(compose, files, monkeypatch):
    monkeypatch.chdir(files)

    def load(*overrides):
        return instantiate(compose(*overrides), "dataset")

    return load


@pytest.mark.parametrize("arguments", OWN.values(), ids=OWN)
def test_a_signal_is_the_same_from_every_format(load, arguments):
    splits = load(*arguments, "dataset.window=200")
    expected = torch.from_numpy(np.load("mine.npy"))
    assert [len(splits.train), len(splits.validation), len(splits.test)] == [10, 4, 6]
    last = expected[3800:]
    assert torch.allclose(splits.test[5, 0], ((last - last.mean()) / last.std()).float(), atol=5e-3)
    assert splits.sampling_frequency == 100


def test_windows_of_different_splits_share_no_sample(load):
    np.save("ramp.npy", np.arange(1, 1001))
    splits = load("dataset=numpy", "path=ramp.npy", "dataset.window=50", "dataset.stride=10", "dataset.scaling=none")
    seen = [set(part.flatten().tolist()) for part in (splits.train, splits.validation, splits.test)]
    assert max(seen[0]) < min(seen[1]) <= max(seen[1]) < min(seen[2])
    assert len(splits.train) == (500 - 50) // 10 + 1
    assert float(splits.train[1, 0, 0]) == 11


def test_examples_and_images_are_split_in_order(load):
    splits = load("dataset=numpy", "path=examples.npy", "dataset.scaling=none")
    assert [len(splits.train), len(splits.validation), len(splits.test)] == [10, 4, 6]
    assert splits.shape == (1, 200)
    np.save("volume.npy", np.ones((10, 5, 6)) * np.arange(1, 11)[:, None, None])
    images = load("dataset=numpy", "path=volume.npy", "dataset.scaling=none", "dataset.n_dims=2")
    assert (images.shape, float(images.test[-1].max())) == ((1, 5, 6), 10)


def test_images_of_any_format_are_read_in_grey(load):
    splits = load("dataset=images", "path=images")
    assert [len(splits.train), len(splits.validation), len(splits.test)] == [5, 2, 3]
    assert splits.shape == (1, 12, 14)
    assert 0 <= float(splits.train.min()) < float(splits.train.max()) <= 1
    assert load("dataset=images", "path=images", "dataset.size=[8,8]").shape == (1, 8, 8)


@pytest.mark.parametrize("protocol", ["honest", "paper"])
@pytest.mark.parametrize("arguments", [OWN["numpy"], ["dataset=images", "path=images"]], ids=["signal", "images"])
def test_scaling_does_what_it_says(load, arguments, protocol):
    signal = [*arguments, "dataset.window=200"] if arguments is OWN["numpy"] else arguments

    def fitted(scaling):
        given = [*signal, f"dataset.scaling={scaling}", "dataset.value_range=[0,2]", f"protocol={protocol}"]
        splits = load(*given)
        return splits.train if protocol == "honest" else torch.cat([*splits.examples.values()])

    assert fitted("example").flatten(1).mean(1).abs().max() < 1e-5
    assert torch.allclose(fitted("example").flatten(1).std(1), torch.tensor(1.0))
    assert float(fitted("all").std()) == pytest.approx(1, abs=1e-5)
    assert float(fitted("all").mean()) == pytest.approx(0, abs=1e-5)
    assert (float(fitted("range").min()), float(fitted("range").max())) == (0, 2)


@pytest.mark.parametrize("arguments", [*OWN.values(), ["dataset=images", "path=images"]], ids=[*OWN, "images"])
def test_own_data_is_trained_on_and_evaluated(run, files, monkeypatch, arguments):
    monkeypatch.chdir(files)
    options = [] if "dataset=images" in arguments else ["dataset.window=200", "figure=[]"]
    code, said = run(train.main, *arguments, *options, "trainer.max_epochs=1", "hydra.run.dir=run")
    assert code == 0, said
    code, said = run(evaluate.main, "checkpoint=run", "hydra.run.dir=evaluated")
    assert code == 0, said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["dataset=wfdb", "path=other"], "other.hea is not there"),
        (["dataset=wfdb", "path=mine", "channel=V5"], r"channel=V5 .*; choose one of 0 \(I\), 1 \(II\)"),
        (["dataset=csv", "path=other.csv"], "path=other.csv is not there"),
        (["dataset=csv", "path=mine.csv", "column=EEG"], r"column=EEG .*; choose one of 0 \(time\), 1 \(ECG\)"),
        (["dataset=csv", "path=text.csv"], "1 invalid samples, the first at 1"),
        (["dataset=numpy", "path=other.npy"], "path=other.npy is not there"),
        (["dataset=numpy", "path=mine.csv"], "cannot be read as an array of numbers"),
        (["dataset=numpy", "path=mine.npy", "dataset.window=5000"], "window=5000 exceeds"),
        (["dataset=numpy", "path=mine.npy", "dataset.window=0"], "window=0"),
        (["dataset=numpy", "path=mine.npy", "dataset.stride=0"], "stride=0"),
        (["dataset=numpy", "path=mine.npy", "dataset.fractions=[1,1]"], "three positive numbers of sum one"),
        (
            ["dataset=numpy", "path=mine.npy", "dataset.window=200", "dataset.scaling=log"],
            "scaling=log must be one of none, example, all, range",
        ),
        (["dataset=numpy", "path=mine.npy", "dataset.nan=zero"], "nan=zero must be one of refuse, interpolate"),
        (["dataset=numpy", "path=flat.npy", "dataset.window=200", "dataset.scaling=all"], "is constant"),
        (["dataset=numpy", "path=deep.npy"], "has 4 axes"),
        (["dataset=images", "path=nowhere"], "path=nowhere is not there: give a folder of"),
        (["dataset=images", "path=unequal"], "to resize all"),
        (["dataset=images", "path=broken"], "cannot be read as an image"),
    ],
)
@pytest.mark.usefixtures("untyped")
def test_mistakes_name_the_file_and_what_to_do(load, files, arguments, said):
    (files / "text.csv").write_text("value\n1\ntwo\n3\n", encoding="utf-8")
    np.save(files / "flat.npy", np.ones(4000))
    np.save(files / "deep.npy", np.ones((2, 2, 2, 2)))
    for folder in ("unequal", "broken"):
        (files / folder).mkdir()
    for index in range(2):
        Image.new("RGB", (5 + index, 5)).save(files / "unequal" / f"{index}.png")
    (files / "broken" / "image.png").write_bytes(b"text")
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        load(*arguments)

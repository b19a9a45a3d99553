import numpy as np
import pytest
import torch
import wfdb
from conftest import choices

from san.command import instantiate
from san.data.physionet import RECORDS
from san.data.splits import Splits, standardize


@pytest.fixture
def load(compose, tmp_path):
    def load(dataset, *overrides):
        return instantiate(compose(f"dataset={dataset}", f"paths.data_dir={tmp_path}", *overrides).dataset)

    return load


@pytest.fixture
def write_record(tmp_path):
    """Write a record into the data folder of the test."""

    def write_record(database, record, samples, channels=("ECG",)):
        folder = tmp_path / "physionet" / database
        folder.mkdir(parents=True, exist_ok=True)
        signals = np.stack([samples] * len(channels), axis=1)
        wfdb.wrsamp(
            record, fs=250, units=["mV"] * len(channels), sig_name=list(channels), p_signal=signals,
            fmt=["16"] * len(channels), write_dir=str(folder),
        )  # fmt: skip
        return folder

    return write_record


@pytest.fixture
def offline(monkeypatch):
    """Refuse connections at once, as a machine without network does."""
    monkeypatch.setattr("wfdb.io.download.PN_CONTENT_URL", "http://127.0.0.1:9/content/")
    monkeypatch.setattr("wfdb.io.download.config.db_index_url", "http://127.0.0.1:9/files/")


def noise(n=12000):
    return np.random.default_rng(0).standard_normal(n)


@pytest.mark.parametrize("dataset", choices("dataset"))
def test_every_dataset_gives_splits_that_can_be_described(load, dataset):
    splits = load(dataset)
    for examples in (splits.train, splits.validation, splits.test):
        assert examples.dtype == torch.float32
        assert examples.shape[1] == 1
        assert examples.isfinite().all()
    again = load(dataset)
    assert torch.equal(splits.test, again.test)
    assert splits.name.startswith(dataset.split("_")[0])


def test_shipped_record_is_the_five_minutes_of_lead_mlii():
    record = wfdb.rdrecord(str(RECORDS / "mitdb" / "208"), physical=False)
    assert (record.sig_len, record.fs, record.sig_name) == (108000, 360, ["MLII"])
    assert (record.adc_gain, record.baseline) == ([200.0], [1024])
    assert record.calc_checksum() == record.checksum == [5363]
    assert record.d_signal[:5, 0].tolist() == [975, 981, 987, 989, 990]


def test_physionet_is_split_in_order_and_standardized(load):
    splits = load("physionet")
    assert splits.name == "physionet/mitdb/208"
    assert [len(splits.train), len(splits.validation), len(splits.test)] == [6, 2, 4]
    samples = wfdb.rdrecord(str(RECORDS / "mitdb" / "208"), sampto=12000).p_signal[:, 0]
    last = samples[11000:]
    assert np.allclose(splits.test[3, 0], (last - last.mean()) / last.std(ddof=1), atol=1e-6)
    assert splits.sampling_frequency == 360


def test_record_is_found_by_configuration_then_by_records(load, write_record):
    write_record("emgdb", "emg_healthy", noise())
    assert load("physionet", "dataset.database=emgdb").name == "physionet/emgdb/emg_healthy"
    folder = write_record("mine", "second", noise())
    (folder / "RECORDS").write_text("second\nfirst\n")
    assert load("physionet", "dataset.database=mine").name == "physionet/mine/second"
    assert load("physionet", "dataset.database=mitdb", "dataset.record=208").name == "physionet/mitdb/208"


def test_data_folder_comes_before_the_shipped_record(load, write_record):
    write_record("mitdb", "208", noise())
    assert load("physionet").sampling_frequency == 250


def test_channel_is_an_index_or_a_name(load, write_record):
    write_record("mine", "r", noise(), channels=("I", "II"))
    where = ["dataset.database=mine", "dataset.record=r"]
    by_index, by_name = (load("physionet", *where, f"dataset.channel={channel}") for channel in (1, "II"))
    assert torch.equal(by_index.train, by_name.train)
    with pytest.raises(ValueError, match=r"no channel III: dataset.channel can be 0 \(I\), 1 \(II\)"):
        load("physionet", *where, "dataset.channel=III")


@pytest.mark.usefixtures("offline")
def test_unknown_records_and_being_offline_say_where_it_looked(load, tmp_path):
    for overrides, file in (
        (["dataset.database=nowhere"], "nowhere/RECORDS"),
        (["dataset.database=bidmc"], "bidmc/bidmc01.hea"),
        (["dataset.record=999"], "mitdb/999.hea"),
    ):
        with pytest.raises(FileNotFoundError, match="PhysioNet cannot be reached") as error:
            load("physionet", *overrides)
        assert str(tmp_path / "physionet" / file) in str(error.value)


def test_short_record_is_refused(load, write_record):
    write_record("mine", "r", noise(11999))
    with pytest.raises(ValueError, match="physionet/mine/r has 11999 samples of the 12000 asked for"):
        load("physionet", "dataset.database=mine", "dataset.record=r")


def test_file_cut_short_is_refused(load, write_record):
    data = write_record("mine", "r", noise()) / "r.dat"
    data.write_bytes(data.read_bytes()[:5000])
    with pytest.raises(ValueError, match="physionet/mine/r"):
        load("physionet", "dataset.database=mine", "dataset.record=r")


def test_invalid_samples_are_refused_or_interpolated(load, write_record):
    samples = noise()
    samples[50:53] = np.nan
    write_record("mine", "r", samples)
    where = ["dataset.database=mine", "dataset.record=r"]
    with pytest.raises(ValueError, match="3 invalid samples, the first at 50"):
        load("physionet", *where)
    first = load("physionet", *where, "dataset.nan=interpolate").train[0, 0]
    assert torch.allclose(first[49:54].diff(), first[49:51].diff().expand(4), atol=1e-3)


def test_constant_signal_is_refused_by_name(load, write_record):
    samples = noise()
    samples[7000:8000] = 0.5
    write_record("mine", "r", samples)
    with pytest.raises(ValueError, match=r"physionet/mine/r: signal 7 \(samples 7000 to 7999\) is constant"):
        load("physionet", "dataset.database=mine", "dataset.record=r")


@pytest.mark.parametrize("bad", ["dataset.nan=drop", "dataset.split=[6,2]", "dataset.split=[6,2,0]"])
def test_impossible_choices_are_refused(load, bad):
    with pytest.raises(ValueError, match=bad.partition("=")[0]):
        load("physionet", bad)


@pytest.mark.parametrize("dataset", ["synthetic", "synthetic_images"])
def test_synthetic_examples_are_the_planted_kernels(load, dataset):
    splits = load(dataset, "dataset.noise=0")
    (kernel,) = splits.planted
    assert float(kernel.norm()) == pytest.approx(1)
    correlation = torch.nn.functional.conv1d if splits.n_dims == 1 else torch.nn.functional.conv2d
    best = correlation(splits.train, kernel[None, None]).abs().amax(tuple(range(1, splits.n_dims + 2)))
    assert (best >= 1).all()
    assert (best < 2.001).all()


def test_synthetic_noise_has_the_deviation_asked_for(load):
    clean, noisy = (load("synthetic", f"dataset.noise={level}").train for level in (0, 0.5))
    assert float((noisy - clean).std() / clean.std()) == pytest.approx(0.5, abs=0.05)


def test_what_cannot_be_described_is_refused():
    good = torch.randn(2, 1, 9)
    with pytest.raises(ValueError, match="x: validation example 1 has samples that are not finite"):
        Splits("x", good, torch.cat([good[:1], good[:1] * torch.nan]), good)
    with pytest.raises(ValueError, match="x: test example 0 is zero everywhere"):
        Splits("x", good, good, good * 0)
    with pytest.raises(ValueError, match="there is no training example"):
        Splits("x", good[:0], good, good)
    with pytest.raises(ValueError, match="is constant"):
        standardize(torch.ones(1, 1, 9), "x")


def test_real_records_are_read(compose, real_data):
    for database in ("bidmc", "ctu-uhb-ctgdb", "drivedb", "emgdb", "mitdb", "noneeg"):
        config = compose(f"dataset.database={database}", f"paths.data_dir={real_data}").dataset
        assert instantiate(config).shape == (1, 1000)

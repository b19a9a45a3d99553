from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import wfdb
from conftest import PRINTED, datasets

import san
from san.cli.parts import instantiate
from san.data.splits import Splits, standardize
from san.data.uci_epilepsy import recording_of_id, recordings_of_segments
from san.data.wfdb_files import RECORDS
from san.metrics import inverse_compression_ratio
from san.networks import SparselyActivatedNetwork


@pytest.fixture
def load(compose, tmp_path):
    def load(dataset, *overrides):
        return instantiate(compose(f"dataset={dataset}", f"paths.data_dir={tmp_path}", *overrides), "dataset")

    return load


@pytest.fixture
def write_record(tmp_path):
    """Write a record into the data folder of the test."""

    def write_record(database, record, samples, channels=("ECG",)):
        folder = tmp_path / "physionet" / database
        folder.mkdir(parents=True, exist_ok=True)
        signals = np.stack([samples] * len(channels), axis=1)
        wfdb.wrsamp(
            record,
            fs=250,
            units=["mV"] * len(channels),
            sig_name=list(channels),
            p_signal=signals,
            fmt=["16"] * len(channels),
            write_dir=str(folder),
        )
        return folder

    return write_record


def noise(n=12000):
    return np.random.default_rng(0).standard_normal(n)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("dataset", datasets())
def test_every_dataset_gives_splits_that_can_be_described(compose, dataset):
    config = compose(f"dataset={dataset}")
    try:
        splits = instantiate(config, "dataset")
    except FileNotFoundError as absent:
        pytest.skip(str(absent))
    for examples in (splits.train, splits.validation, splits.test):
        assert examples.dtype == torch.float32
        assert examples.shape[1] == 1
        assert examples.isfinite().all()
    assert torch.equal(splits.test, instantiate(config, "dataset").test)
    assert splits.name.startswith(dataset.split("_")[0])


def test_shipped_record_is_the_five_minutes_of_lead_mlii():
    record = wfdb.rdrecord(str(RECORDS / "mitdb" / "208"), physical=False)
    assert (record.sig_len, record.fs, record.sig_name) == (108000, 360, ["MLII"])
    assert (record.adc_gain, record.baseline) == ([200.0], [1024])
    assert record.calc_checksum() == record.checksum == [5363]
    assert record.d_signal[:5, 0].tolist() == [975, 981, 987, 989, 990]


@pytest.mark.usefixtures("offline")
def test_example_ecg_is_the_shipped_record_as_read_gives_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x = san.example_ecg()
    read = san.read(str(RECORDS / "mitdb" / "208"), channel="MLII")
    assert np.array_equal(x.samples, read.samples)
    assert replace(x, samples=read.samples) == read
    assert (x.n_samples, x.sampling_frequency, x.channels, x.channel_units) == (108000, 360, ("MLII",), ("mV",))
    assert not list(tmp_path.iterdir())


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
    (folder / "RECORDS").write_text("second\nfirst\n", encoding="utf-8")
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
    with pytest.raises(ValueError, match=r"^dataset.channel=III is not .*mine/r; choose one of 0 \(I\), 1 \(II\)"):
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
@pytest.mark.usefixtures("untyped")
def test_impossible_choices_are_refused(load, bad):
    with pytest.raises(ValueError, match=rf"\b{bad.removeprefix('dataset.').partition('=')[0]}=.* must be"):
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


def test_undefined_examples_are_refused():
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
        config = compose(f"dataset.database={database}", f"paths.data_dir={real_data}")
        assert instantiate(config, "dataset").shape == (1, 1000)


@pytest.mark.parametrize(("dataset", "collection"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
def test_the_last_training_images_are_for_validation(load, write_images, dataset, collection):
    write_images(collection)
    splits = load(dataset, "dataset.n_validation=5")
    assert splits.name == collection.lower()
    for examples, numbers in (
        (splits.train, range(1, 16)),
        (splits.validation, range(16, 21)),
        (splits.test, range(101, 111)),
    ):
        assert (examples[:, 0, 0, 0] * 255).round().tolist() == list(numbers)
    for labels, numbers in (
        (splits.labels.train, range(1, 16)),
        (splits.labels.validation, range(16, 21)),
        (splits.labels.test, range(101, 111)),
    ):
        assert labels.tolist() == [number % 10 for number in numbers]


@pytest.mark.usefixtures("offline")
def test_absent_or_damaged_images_say_where_they_should_be(load, write_images, tmp_path):
    with pytest.raises(FileNotFoundError, match="MNIST: its files are not in") as error:
        load("mnist")
    assert str(tmp_path / "MNIST" / "raw") in str(error.value)
    assert not (tmp_path / "MNIST").exists()
    folder = write_images("FashionMNIST")
    (folder / "train-images-idx3-ubyte").write_bytes((folder / "train-images-idx3-ubyte").read_bytes()[:999])
    with pytest.raises(FileNotFoundError, match="or are damaged"):
        load("fashion_mnist")
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match="put the four idx files there"):
        load("fashion_mnist")


@pytest.mark.usefixtures("untyped")
def test_impossible_image_splits_are_refused(load, write_images):
    write_images("MNIST")
    with pytest.raises(ValueError, match=r"^dataset.n_validation=20 must be from 1 to 19"):
        load("mnist", "dataset.n_validation=20")
    with pytest.raises(ValueError, match=r"^dataset.collection=KMNIST must be one of MNIST, FashionMNIST"):
        load("mnist", "dataset.collection=KMNIST")


@pytest.mark.slow
@pytest.mark.parametrize(("dataset", "number"), [("mnist", 3), ("fashion_mnist", 4)])
def test_printed_compression_ratios_come_out_to_the_last_digit(compose, real_data, dataset, number):
    """Compare the ratios that need no training: Identity, top-k absolutes and Extrema-Pool indices."""
    torch.manual_seed(0)
    test = instantiate(compose(f"dataset={dataset}", f"paths.data_dir={real_data}"), "dataset").test
    printed = pd.read_csv(PRINTED / f"table{number}.csv", dtype=str)
    for activation in ("identity", "topk_absolutes", "extrema_pool_indices"):
        module = instantiate(compose(f"activation={activation}"), "activation")
        for cell in printed[printed["activation"] == activation].itertuples():
            network = SparselyActivatedNetwork([int(cell.kernel_size)] * 2, module, 2)
            with torch.no_grad():
                ratios = [
                    inverse_compression_ratio(network.encode(x), network.n_weights("side")) for x in test.split(1000)
                ]
            assert f"{torch.cat(ratios).mean():.2f}" == cell.cr_inverse, cell


@pytest.fixture
def write_segments(tmp_path):
    """Write a table in the layout of the UCI's, in shuffled order; each sample encodes its recording."""

    def write_segments(name="uci_epilepsy/data.csv", id_heading="", newline="\n", rows=11500):
        origins = recording_of_id()
        order = np.random.default_rng(0).permutation(list(origins))[:rows]
        table = pd.DataFrame(
            {id_heading: order} | {f"X{i + 1}": [origins[one] + i for one in order] for i in range(178)}
        )
        table["y"] = [5 - origins[one] // 100 for one in order]
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        table.to_csv(path, index=False, lineterminator=newline)
        return path

    return write_segments


def test_segments_are_split_in_file_order_and_scaled(load, write_segments, monkeypatch):
    monkeypatch.setattr("san.data.uci_epilepsy.N_SEGMENTS", 1150)  # for a table that is written and read sooner
    write_segments(rows=1150)
    splits = load("uci_epilepsy")
    assert [len(splits.train), len(splits.validation), len(splits.test)] == [874, 138, 138]
    assert (float(splits.train.min()), float(splits.train.max())) == (0, 1)
    symmetric = load("uci_epilepsy", "dataset.value_range=[-1,1]")
    assert torch.allclose(symmetric.test, 2 * splits.test - 1, atol=1e-6)


def test_raw_test_segments_reach_no_other_split_but_by_the_papers_protocol(load, monkeypatch):
    samples, labels = torch.from_numpy(np.random.default_rng(0).standard_normal((11500, 178))), torch.arange(11500) % 3
    monkeypatch.setattr("san.data.uci_epilepsy._read_table", lambda _: ([], samples, labels))
    original = load("uci_epilepsy")
    assert [len(examples) for examples in original.examples.values()] == [8740, 1380, 1380]
    samples[-1380:] *= 3
    honest, paper = load("uci_epilepsy"), load("uci_epilepsy", "protocol=paper")
    assert honest.scale == original.scale
    assert torch.equal(honest.train, original.train)
    assert torch.equal(honest.validation, original.validation)
    assert float(honest.test.max()) > 1
    expected = (-1 + 2 * (samples - samples.min()) / (samples.max() - samples.min())).float()
    assert torch.equal(torch.cat([*paper.examples.values()]).squeeze(1), expected)


def test_segments_have_three_classes_in_their_order(load, write_segments, monkeypatch):
    monkeypatch.setattr("san.data.uci_epilepsy.N_SEGMENTS", 1150)  # for a table that is written and read sooner
    table = pd.read_csv(write_segments(rows=1150))
    labels = load("uci_epilepsy").labels
    assert labels.classes == ("epilepsy", "tumour", "eyes")
    merged = {1: "epilepsy", 2: "tumour", 3: "tumour", 4: "eyes", 5: "eyes"}
    assert [labels.classes[label] for label in labels.test] == [merged[y] for y in table["y"][-138:]]


def test_by_recording_keeps_the_segments_of_a_recording_together(load, write_segments):
    write_segments()
    splits = load("uci_epilepsy", "dataset.split=by_recording")
    found = [
        set((examples[:, 0, 0] * (499 + 177)).round().int().tolist())
        for examples in (splits.train, splits.validation, splits.test)
    ]
    assert [len(recordings) for recordings in found] == [380, 60, 60]
    assert len(set.union(*found)) == 500


def test_mirrors_of_the_table_are_read(load, write_segments, monkeypatch):
    monkeypatch.setattr("san.data.uci_epilepsy.N_SEGMENTS", 200)  # for a table that is read sooner
    original = load("uci_epilepsy", f"dataset.path={write_segments(rows=200)}")
    for heading in ("Unnamed", "id"):
        mirror = write_segments("mirror.csv", heading, newline="\r\n", rows=200)
        assert torch.equal(load("uci_epilepsy", f"dataset.path={mirror}").test, original.test)
    decimals = pd.read_csv(mirror, dtype={"X7": float})
    decimals.to_csv(mirror, index=False)
    assert ".0," in mirror.read_text(encoding="utf-8")
    assert torch.equal(load("uci_epilepsy", f"dataset.path={mirror}").test, original.test)


def test_an_absent_or_other_table_says_what_the_file_is(load, write_segments, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="SHA-1 33b6fa1c") as error:
        load("uci_epilepsy")
    assert str(tmp_path / "uci_epilepsy" / "data.csv") in str(error.value)
    with pytest.raises(ValueError, match="has 9 rows: it should have 11500 rows"):
        load("uci_epilepsy", f"dataset.path={write_segments(rows=9)}")
    (tmp_path / "broken.csv").write_bytes(b"\x00\xff,\n1,2,3\n")
    with pytest.raises(ValueError, match="it should have 11500 rows"):
        load("uci_epilepsy", f"dataset.path={tmp_path / 'broken.csv'}")
    monkeypatch.setattr("san.data.uci_epilepsy.N_SEGMENTS", 20)  # for a table that is read sooner
    path = write_segments(rows=20)
    table = pd.read_csv(path)
    for column, value, said in (
        ("X3", "n/a", "row 8, column X3: nan must be a number"),
        ("X178", "much", "row 8, column X178: much must be a number"),
        ("y", 6, "row 8, column y: 6 must be a class from 1 to 5"),
    ):
        table.astype({column: object}).assign(
            **{column: [value if row == 7 else given for row, given in enumerate(table[column])]}
        ).to_csv(tmp_path / "other.csv", index=False)
        with pytest.raises(ValueError, match=said):
            load("uci_epilepsy", f"dataset.path={tmp_path / 'other.csv'}")
    table.drop(columns="X5").to_csv(tmp_path / "other.csv", index=False)
    with pytest.raises(ValueError, match="has no column X5"):
        load("uci_epilepsy", f"dataset.path={tmp_path / 'other.csv'}")
    path.write_text(path.read_text(encoding="utf-8").replace(f"\n{table.iloc[0, 0]},", "\nfirst,"), encoding="utf-8")
    with pytest.raises(ValueError, match="1 ids, the first first, name no recording"):
        load("uci_epilepsy", "dataset.split=by_recording")


@pytest.mark.parametrize("bad", ["split=random", "fractions=[0.5,0.5]", "fractions=[0.5,0.3,0.3]", "value_range=[1,0]"])
@pytest.mark.usefixtures("untyped")
def test_impossible_choices_for_the_table_are_refused(load, write_segments, monkeypatch, bad):
    monkeypatch.setattr("san.data.uci_epilepsy.N_SEGMENTS", 20)  # for a table that is read sooner
    write_segments(rows=20)
    with pytest.raises(ValueError, match=f"^dataset.{bad.partition('=')[0]}=.* must be"):
        load("uci_epilepsy", f"dataset.{bad}")


def test_every_id_names_a_recording_of_23_segments():
    assert set(Counter(recording_of_id().values()).values()) == {23}
    assert len(recording_of_id()) == 11500


def test_the_real_ids_agree_with_the_classes(real_data):
    """In file order, 474 recordings have segments in the test split, and each of them also in the training split."""
    table = pd.read_csv(real_data / "uci_epilepsy" / "data.csv")
    found = recordings_of_segments(list(table.iloc[:, 0]))
    assert [5 - recording // 100 for recording in found] == list(table["y"])
    assert len(set(found[-1380:])) == len(set(found[-1380:]) & set(found[:8740])) == 474

"""Files of several channels: which axis has the channels, which channels are chosen, and how each is scaled."""

import os
from pathlib import Path

import edfio
import numpy as np
import pandas as pd
import pytest
import scipy.io
import soundfile
import torch
import wfdb
from conftest import OPTIONS, refusal
from PIL import Image

from san.cli.parts import instantiate
from san.data import csv_column, edf, image_folder, mat, numpy_array, parquet, wav, wfdb_record
from san.data.axes import axes_of
from san.data.names import indices_of
from san.data.reading import read_recording
from san.data.scale import Scale
from san.data.signal import Signal
from san.data.splits import Splits

SHARED = Path(os.environ.get("SAN_DATA_DIR", "absent"))
NAMES = ("I", "II", "V1")
SIGNALS = np.random.default_rng(0).standard_normal((3, 1500)).cumsum(1)
SIGNALS *= (np.array([0.9, 0.05, 0.3]) / np.abs(SIGNALS).max(1))[:, None]
SIGNALS[2] += 0.5


def write(file, signals=SIGNALS, names=NAMES, units=("mV", "mV", "uV"), frequency=250):
    """Write the channels of one recording."""
    suffix = file.suffix.removeprefix(".")
    if suffix == "npy":
        np.save(file, signals)
    elif suffix == "npz":
        np.savez(file, x=signals.T)
    elif suffix == "pt":
        torch.save(torch.tensor(signals), file)
    elif suffix == "mat":
        scipy.io.savemat(file, {"x": signals.T})
    elif suffix in ("parquet", "csv"):
        table = pd.DataFrame(
            {"time [s]": np.arange(signals.shape[1]) / frequency} | dict(zip(names, signals, strict=True))
        )
        if suffix == "csv":
            table.to_csv(file, index=False)
        else:
            table.to_parquet(file)
    elif suffix == "edf":
        own = [
            edfio.EdfSignal(x, frequency, label=name, physical_dimension=unit)
            for x, name, unit in zip(signals, names, units, strict=False)
        ]
        edfio.Edf(own).write(file)
    elif suffix == "wav":
        soundfile.write(file, signals.T, frequency, subtype="DOUBLE")
    else:
        own, formats = list(units[: len(signals)]), ["32"] * len(signals)
        wfdb.wrsamp(file.stem, frequency, own, list(names), signals.T, fmt=formats, write_dir=str(file.parent))
    return str(file)


BY_INDEX = {"sampling_frequency": 250}
FORMATS = {
    ".npy": (numpy_array, "channel", BY_INDEX),
    ".npz": (numpy_array, "channel", BY_INDEX),
    ".pt": (numpy_array, "channel", BY_INDEX),
    ".mat": (mat, "channel", BY_INDEX | {"variable": None}),
    ".parquet": (parquet, "column", {"sampling_frequency": None}),
    ".csv": (csv_column, "column", {"sampling_frequency": None}),
    ".edf": (edf, "channel", {}),
    ".wav": (wav, "channel", {}),
    ".hea": (wfdb_record, "channel", {}),
}
HAS_NAMES = (".parquet", ".csv", ".edf", ".hea")
PRECISION = {".edf": 1e-4, ".hea": 1e-6}


def load(file, choice, **options):
    module, key, given = FORMATS[Path(file).suffix]
    return module.load(path=str(file), **given, **{key: choice}, **{**OPTIONS, **options})


@pytest.fixture(params=FORMATS)
def file(request, tmp_path):
    return write(tmp_path / f"x{request.param}")


def read(file, choice):
    return read_recording(file, **{FORMATS[Path(file).suffix][1]: choice})


# Which channels


def test_all_channels_are_read_together(file):
    suffix = Path(file).suffix
    signal = read(file, "all")
    assert np.abs(signal.samples - SIGNALS).max() <= PRECISION.get(suffix, 0)
    assert signal.channels == (NAMES if suffix in HAS_NAMES else ("0", "1", "2"))
    assert signal.channel_units == (("mV", "mV", "uV") if suffix in (".edf", ".hea") else ("", "", ""))
    assert (signal.channel, signal.unit, signal.n_channels, signal.n_samples) == ("", "", 3, 1500)
    splits = load(file, "all")
    assert (splits.shape, splits.n_channels, splits.n_dims) == ((3, 100), 3, 1)
    assert (splits.channels, splits.channel_units) == (signal.channels, signal.channel_units)
    assert [len(part) for part in splits.examples.values()] == [7, 3, 4]
    windows = torch.tensor(signal.samples[:, :700]).unflatten(1, (7, 100)).transpose(0, 1)
    assert torch.equal(splits.train, windows.float())


def test_channels_are_chosen_by_index_or_name_in_the_given_order(file):
    suffix = Path(file).suffix
    whole = read(file, "all").samples
    first = 1 if suffix in (".parquet", ".csv") else 0  # after the column of times
    choices = [[first + 2, first]]
    if suffix in HAS_NAMES:
        choices += [["V1", "I"], ["V1", first]]
    for choice in choices:
        assert np.array_equal(read(file, choice).samples, whole[[2, 0]])
    one = read(file, [first + 1])
    assert np.array_equal(one.samples, whole[1])
    alone = read(file, first + 1)
    assert np.array_equal(alone.samples, one.samples)
    assert (alone.name, alone.channels, alone.channel_units) == (one.name, one.channels, one.channel_units)
    assert load(file, [first + 1]).shape == load(file, first + 1).shape == (1, 100)
    for choice, said in (
        ([first, first], "twice"),
        ([], "=[]: give one"),
        ([first, 9], "=9 is not a c"),
        ("nothing", "=nothing is not a c"),
    ):
        assert said in refusal(read, file, choice)
    if suffix in HAS_NAMES:
        said = refusal(read, file, ["I", first])
        assert f"=[I,{first}] has " in said
        assert f"{first} (I) of " in said


def test_one_channel_of_many_has_the_numbers_of_all_of_them(file):
    options = {"scaling": "all"}
    whole = load(file, "all", **options)
    first = 1 if Path(file).suffix in (".parquet", ".csv") else 0
    for position in range(3):
        one = load(file, first + position, **options)
        assert torch.equal(whole.train[:, position], one.train[:, 0])
        assert (whole.scale.offset[position], whole.scale.unit[position]) == (one.scale.offset, one.scale.unit)


@pytest.mark.usefixtures("untyped")
def test_choices_that_may_mean_others_are_refused():
    said = refusal(indices_of, "channel", "all", ["I", "all"], "x")
    assert said == "channel=all chooses every channel, and is the name of channel 1 in x: give indices"
    assert refusal(indices_of, "column", "all", ["time"], "x", but=0) == "column=all: x has no column of samples"
    assert indices_of("channel", np.array([1, 0]), ["a", "b"], "x") == [1, 0]
    assert indices_of("channel", np.int64(1), ["a", "b"], "x") == [1]
    assert "channel=II is the name of 0 and 1" in refusal(indices_of, "channel", ["II"], ["II", "II"], "x")
    assert len(refusal(indices_of, "channel", None, ["x"] * 10_000, "x")) < 1500


def test_channels_of_unlike_sampling_frequencies_are_named(tmp_path):
    signals = [
        edfio.EdfSignal(SIGNALS[0], 250, label="Fz"),
        edfio.EdfSignal(SIGNALS[1], 250, label="Cz"),
        edfio.EdfSignal(SIGNALS[2, :6], 1, label="SpO2"),
    ]
    path = str(tmp_path / "x.edf")
    edfio.Edf(signals).write(path)
    said = refusal(edf.read, path=path, channel="all")
    assert "different sampling frequencies (250 hertz: Fz, Cz; 1 hertz: SpO2): choose channels of one" in said
    assert edf.read(path=path, channel=["Fz", "Cz"]).samples.shape == (2, 1500)


def test_annotations_are_no_channels(tmp_path):
    path = str(tmp_path / "x.edf")
    annotations = [edfio.EdfAnnotation(1, None, "eyes closed")]
    edfio.Edf([edfio.EdfSignal(x, 250, label=name) for x, name in zip(SIGNALS, NAMES, strict=True)],
              annotations=annotations).write(path)  # fmt: skip
    assert edf.read(path=path, channel="all").channels == NAMES


@pytest.mark.parametrize("suffix", FORMATS)
def test_recordings_of_different_numbers_of_channels_are_refused(tmp_path, suffix):
    for index, count in enumerate((3, 3, 2)):
        write(tmp_path / f"{index}{suffix}", SIGNALS[:count], NAMES[:count])
    said = refusal(load, tmp_path / f"*{suffix}", "all")
    assert f"2{suffix} has 2 channels, " in said
    assert f"0{suffix} 3: all recordings must have the same number; choose channels that all of them have" in said
    first = 1 if suffix in (".parquet", ".csv") else 0
    assert load(tmp_path / f"*{suffix}", [first, first + 1]).shape == (2, 100)


def test_units_and_names_of_each_channel_are_compared(tmp_path, caplog):
    for index in range(3):
        write(tmp_path / f"{index}.edf", names=("I", "II", "V1" if index else "V2"))
    splits = load(tmp_path / "*.edf", "all")
    assert (splits.channels, splits.channel_units) == (("I", "II", ""), ("mV", "mV", "uV"))
    assert "has the channel V1," in caplog.text
    write(tmp_path / "3.edf", units=("mV", "uV", "uV"))
    said = refusal(load, tmp_path / "*.edf", "all")
    assert "has the unit of channel II uV, " in said


def test_a_record_of_channels_in_several_files_and_frames_is_read_as_each_alone(tmp_path):
    random = np.random.default_rng(1)
    samples = [random.integers(-900, 900, count).astype(np.int64) for count in (2000, 4000, 2000)]
    wfdb.wrsamp("r", fs=100, units=["mV"] * 3, sig_name=list(NAMES), e_d_signal=samples, samps_per_frame=[1, 2, 1],
                fmt=["16"] * 3, adc_gain=[200.0] * 3, baseline=[0] * 3, write_dir=str(tmp_path))  # fmt: skip
    path = str(tmp_path / "r")
    alone = [wfdb_record.read(path=path, channel=name).samples for name in NAMES]
    assert np.array_equal(wfdb_record.read(path=path, channel=["V1", "II", "I"]).samples, np.stack(alone[::-1]))
    content = bytearray((tmp_path / "r.dat").read_bytes())
    content[8 * 5 + 2] ^= 1
    (tmp_path / "r.dat").write_bytes(content)
    for options in ({}, {"chunk": 300}):
        call = wfdb_record.stream if options else wfdb_record.load
        said = refusal(call, path=path, channel="all", **OPTIONS, **options)
        assert "channel II has the checksum" in said


# Which axes


def load_array(tmp_path, shape, **options):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal(shape))
    return numpy_array.load(path=str(tmp_path / "x.npy"), **{"sampling_frequency": None, **OPTIONS, **options})


@pytest.mark.parametrize(
    ("shape", "options", "expected", "axes"),
    [
        ((3, 1500), {"axes": ["channels", "time"]}, (3, 100), None),
        ((1500, 3), {"axes": ["time", "channels"]}, (3, 100), None),
        ((1500, 3), {"axes": ["time", "channels"], "channel": [2, 0]}, (2, 100), None),
        ((1, 1500), {"axes": ["channels", "time"]}, (1, 100), None),
        ((20, 200), {}, (1, 200), "n t"),
        ((20, 2000), {"axes": ["examples", "time"]}, (1, 2000), "n t"),
        ((20, 3, 50), {}, (3, 50), "n c t"),
        ((20, 3, 50), {"channel": "all"}, (3, 50), "n c t"),
        ((20, 3, 50), {"channel": 0}, (1, 50), None),
        ((20, 50, 3), {"axes": ["examples", "channels", "time"]}, (50, 3), "n c t"),
        ((20, 50, 3), {"axes": ["examples", "time", "channels"]}, (3, 50), "n t c"),
        ((20, 5, 6), {"axes": ["examples", "rows", "columns"]}, (1, 5, 6), "n r q"),
        ((20, 5, 6), {"n_dims": 2}, (1, 5, 6), "n r q"),
        ((20, 3, 5, 6), {"n_dims": 2}, (3, 5, 6), "n c r q"),
        ((20, 3, 5, 6), {"n_dims": 2, "channel": [2, 1]}, (2, 5, 6), None),
        ((20, 5, 6, 3), {"n_dims": 2, "axes": ["examples", "rows", "columns", "channels"]}, (3, 5, 6), "n r q c"),
    ],
    ids=str,
)
def test_axes_are_read_by_their_number_or_names(tmp_path, shape, options, expected, axes):
    splits = load_array(tmp_path, shape, **options)
    assert (splits.shape, splits.n_dims) == (expected, len(expected) - 1)
    if axes is not None:
        array = np.load(tmp_path / "x.npy")
        names = axes.split()
        order = [names.index(name) for name in ("n", "c", "t", "r", "q") if name in names]
        whole = torch.cat([splits.train, splits.validation, splits.test])
        assert np.array_equal(whole.numpy().reshape(array.transpose(order).shape), array.transpose(order).astype("f4"))


@pytest.mark.parametrize(
    ("shape", "options", "said"),
    [
        ((9, 7040), {}, "give axes=[channels,time] or axes=[examples,time], or channel=0"),
        ((7040, 9), {}, "give axes=[time,channels] or axes=[examples,time], or channel=0"),
        ((20, 50, 3), {}, "give axes=[examples,time,channels], axes=[examples,channels,time] or axes=[examples,rows,"),
        ((20, 28, 28), {}, "or images: give axes="),
        ((20, 3, 5, 6), {}, "has 4 axes, the shape [20,3,5,6]: give an array of samples"),
        ((20, 5, 6, 3), {"n_dims": 2}, "whose last axis may have the channels: give axes=[examples,rows,columns,chann"),
        ((5, 6), {"n_dims": 2}, "has 2 axes, the shape [5,6]: images have [examples,rows,columns] or"),
        (
            (20, 3, 50),
            {"n_dims": 2, "axes": ["examples", "channels", "time"]},
            "must be one of [examples,rows,columns]",
        ),
        ((20, 3, 50), {"n_dims": 3}, "n_dims=3 must be 1 for signals, or 2 for images"),
        ((3, 1500), {"axes": ["channels", "samples"]}, "axes=[channels,samples] must be one of [examples,time], "),
        ((3, 1500), {"axes": ["examples", "time"], "channel": 0}, "which has no channels: leave out channel"),
        ((1500,), {"channel": 0}, "channel=0: path="),
        ((5, 5), {"channel": 0}, "give axes=[channels,time] or axes=[time,channels]"),
        ((20, 3, 50), {"channel": 3}, "channel=3 is not a channel of path="),
        ((20, 3, 50), {"channel": ["a"]}, "channel=a is not a channel of path="),
        ((20, 5, 6), {"n_dims": 2, "channel": 0}, "which has no channels"),
    ],
    ids=str,
)
def test_an_array_that_may_be_misread_is_refused(tmp_path, shape, options, said):
    assert said in refusal(load_array, tmp_path, shape, **options)


def test_a_recording_of_several_axes_is_asked_for_its_channels(tmp_path):
    np.save(tmp_path / "x.npy", SIGNALS)
    path = str(tmp_path / "x.npy")
    assert np.array_equal(read_recording(path, axes=["channels", "time"]).samples, SIGNALS)
    assert "to read it as one recording, give axes=[channels,time], or channel=0" in refusal(read_recording, path)
    np.save(tmp_path / "x.npy", np.ones((20, 3, 50)))
    assert "examples by channels by time: give one recording" in refusal(read_recording, path)
    said = refusal(numpy_array.load, path=str(tmp_path / "*.npy"), sampling_frequency=None, n_dims=2, **OPTIONS)
    assert said.startswith("n_dims=2 does not apply to path=")


def test_a_matlab_row_is_one_signal_or_one_channel(tmp_path):
    scipy.io.savemat(tmp_path / "x.mat", {"x": SIGNALS[:1]})
    options = {
        "path": str(tmp_path / "x.mat"),
        "variable": None,
        "channel": None,
        "sampling_frequency": None,
        **OPTIONS,
    }
    named = mat.load(**options, axes=["channels", "time"])
    assert torch.equal(mat.load(**options).train, named.train)


@pytest.mark.parametrize("shape", [(20, 3, 50), (3, 1500)])
def test_the_command_line_chooses_axes_and_channels(compose, tmp_path, shape):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal(shape))
    given = ["dataset=numpy", f"path={tmp_path / 'x.npy'}", "channel=[2,0]", "dataset.window=50"]
    assert instantiate(compose(*given), "dataset").shape == (2, 50)
    axes = "[channels,time]" if len(shape) == 2 else "[examples,channels,time]"
    assert instantiate(compose(*given, f"axes={axes}"), "dataset").shape == (2, 50)
    assert instantiate(compose(*given[:2], f"axes={axes}", "channel=all", given[3]), "dataset").shape == (3, 50)


def test_the_axes_of_an_array_in_memory_follow_the_same_rule():
    axes = axes_of((20, 3, 50), axes=None, place="x")
    assert (axes.names, axes.channels, axes.n_dims) == (("examples", "channels", "time"), ("0", "1", "2"), 1)
    assert refusal(axes_of, (9, 7040), axes=None, place="x").startswith(
        "x has the shape [9,7040], which may be channels"
    )


# Scaling


@pytest.mark.parametrize("scaling", ["example", "all", "range"])
@pytest.mark.parametrize("scaled_by", ["train", "all"])
def test_each_channel_is_scaled_by_itself(tmp_path, scaling, scaled_by):
    path = write(tmp_path / "x.edf")
    raw, scaled = (load(path, "all", scaling=kind, scaled_by=scaled_by) for kind in ("none", scaling))
    fitted = raw.train if scaled_by == "train" else torch.cat([*raw.examples.values()])
    for position in range(3):
        own = fitted[:, position].double().numpy()
        x = raw.test[:, position].double().numpy()
        expected = {
            "example": (x - x.mean(1, keepdims=True)) / x.std(1, ddof=1, keepdims=True),
            "all": (x - own.mean()) / own.std(ddof=1),
            "range": 2 * (x - own.min()) / (own.max() - own.min()) - 1,
        }[scaling]
        assert np.allclose(scaled.test[:, position].numpy(), expected, atol=1e-5)
    undone = scaled.scale.undo(scaled.test.double(), scaled.test_statistics)
    assert torch.allclose(undone, raw.test.double(), atol=1e-6)
    for number in scaled.test_statistics:
        assert torch.broadcast_to(number, (4, 3, 1)).dtype == torch.float64
    stored = scaled.scale.to_dict()
    assert Scale.from_dict(stored) == scaled.scale
    if scaling != "example":
        assert scaled.scale.offset == tuple(stored["offset"])
        again = load(path, "all", scaling=scaling, scale=stored)
        assert torch.equal(again.test, scaled.test)
        assert "has 1 channels, and the statistics that scale it are of 3" in refusal(
            load, path, "I", scaling=scaling, scale=stored
        )
        said = refusal(load, path, ["I", "II"], scaling=scaling, scale=load(path, "I", scaling=scaling).scale.to_dict())
        assert "has 2 channels, and the statistics that scale it are of 1" in said


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        ({"offset": [1.0, 2.0]}, "2 offsets and 1 units"),
        ({"offset": [1.0, 2.0], "unit": [1.0, 0.0]}, "the unit above 0"),
        ({"offset": [1.0, float("nan")], "unit": [1.0, 1.0]}, "finite"),
        ({"offset": [1.0, "a"], "unit": [1.0, 1.0]}, "lists of one float for each channel"),
        ({"offset": [], "unit": []}, "lists of one float for each channel"),
        ({"offset": [0.0] * 10**6, "unit": [0.0] * 10**6}, "the unit above 0"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_strange_scale_of_channels_is_refused_in_one_line(stored, said):
    given = {"kind": "all", "offset": 1.0, "unit": 2.0, "lowest": 0.0, "highest": 1.0, **stored}
    found = refusal(Scale.from_dict, given)
    assert said in found
    assert len(found) < 300


def flat(position, samples=slice(None)):
    signals = SIGNALS.copy()
    signals[position, samples] = 0.25
    return signals


@pytest.mark.parametrize("scaling", ["example", "all", "range"])
def test_a_constant_channel_is_named(tmp_path, scaling):
    path = write(tmp_path / "x.hea", flat(1))
    said = refusal(load, path, "all", scaling=scaling)
    assert "wfdb/x, channel II" in said
    assert "constant" in said
    for chunk in (300, 1500):
        said = refusal(wfdb_record.stream, path=path, channel="all", chunk=chunk, **{**OPTIONS, "scaling": scaling})
        assert said.startswith("wfdb/x, channel II is 0.25 everywhere")
    assert load(path, "all").train[:, 1].unique().numel() == 1  # not scaled, or beside channels that are not constant


def test_a_channel_that_is_constant_in_one_example_is_named_with_its_place(tmp_path):
    path = write(tmp_path / "0.hea", flat(2, slice(300, 400)))
    said = refusal(load, path, "all", scaling="example")
    assert "wfdb/0, channel V1: signal 3 (samples 300 to 399) is constant" in said
    for name in ("1.hea", "2.hea"):
        write(tmp_path / name)
    said = refusal(load, tmp_path / "*.hea", "all", scaling="example")
    assert "0.hea, channel V1: signal 3 (samples 300 to 399) is constant" in said


def test_phi_needs_one_channel_that_is_not_zero():
    x = torch.zeros(3, 2, 10)
    x[:, 1] = 1
    assert Splits("x", x, x, x).channels == ("", "")
    said = refusal(Splits, "x", x, x, x * 0)
    assert said == "x: test example 0 is zero everywhere, phi is undefined there"
    broken = x.clone()
    broken[2, 1, 4] = torch.nan
    said = refusal(Splits, "x", x, broken, x, channels=("I", "II"))
    assert said == "x: validation example 2, channel II has samples that are not finite"


def test_invalid_samples_of_a_channel_are_named_or_interpolated(tmp_path):
    signals = SIGNALS.copy()
    signals[1, 760:765] = np.nan
    path = write(tmp_path / "x.hea", signals)
    said = "wfdb/x, channel II has 5 invalid samples, the first at 760"
    assert refusal(load, path, "all").startswith(said)
    found = load(path, "all", nan="interpolate")
    clean = load(write(tmp_path / "y.hea"), "all")
    for position, is_equal in enumerate((True, False, True)):
        assert torch.equal(found.validation[:, position], clean.validation[:, position]) == is_equal
    line = np.interp(np.arange(760, 765), [759, 765], signals[1, [759, 765]])
    assert np.allclose(found.validation[0, 1, 10:15].numpy(), line, atol=1e-6)
    for chunk in (101, 1500):
        options = {"path": path, "channel": "all", "chunk": chunk, **OPTIONS}
        assert refusal(wfdb_record.stream, **options).startswith(
            "wfdb/x, channel II has invalid samples, the first at 7"
        )
        recording = wfdb_record.stream(**{**options, "nan": "interpolate"})
        assert torch.equal(recording.read(750, 850), found.validation[0])


def test_invalid_samples_of_examples_are_named_or_interpolated(tmp_path):
    array = np.random.default_rng(0).standard_normal((20, 3, 50))
    array[4, 2, 7] = np.nan
    np.save(tmp_path / "x.npy", array)
    options = {"path": str(tmp_path / "x.npy"), "sampling_frequency": None, **OPTIONS}
    said = refusal(numpy_array.load, **options)
    assert said.startswith("numpy/x, example 4, channel 2 has 1 invalid samples, the first at 7")
    found = numpy_array.load(**{**options, "nan": "interpolate"}).train[4, 2, 7]
    assert float(found) == pytest.approx((array[4, 2, 6] + array[4, 2, 8]) / 2, abs=1e-6)


# In chunks


@pytest.mark.parametrize("scaling", ["none", "example", "all", "range"])
@pytest.mark.parametrize("chunk", [77, 1500])
def test_channels_are_read_in_chunks(tmp_path, scaling, chunk):
    record, array = write(tmp_path / "x.hea"), write(tmp_path / "x.npy")
    options = {"chunk": chunk, **OPTIONS, "scaling": scaling}
    for module, path, given in (
        (wfdb_record, record, {"channel": ["V1", "I"]}),
        (numpy_array, array, {"channel": [2, 0], "sampling_frequency": 250}),
        (numpy_array, array, {"axes": ["channels", "time"], "sampling_frequency": 250}),
    ):
        recording = module.stream(path=path, **given, **options)
        order = [2, 0] if "channel" in given else [0, 1, 2]
        assert recording.shape == (len(order), 1500)
        assert recording.n_channels == len(order)
        read = recording.read(10, 900)
        for position, channel in enumerate(order):
            alone = module.stream(path=path, **{"sampling_frequency": 250} if module is numpy_array else {},
                                  channel=channel, **options)  # fmt: skip
            assert torch.equal(read[position], alone.read(10, 900))
            assert alone.read(10, 900).shape == (890,)


# Images in colors


def save_images(folder, mode="RGB", suffix="png"):
    pixels = np.random.default_rng(0).integers(0, 256, (10, 6, 8, 3), dtype=np.uint8)
    for index, image in enumerate(pixels):
        Image.fromarray(image).convert(mode).save(folder / f"{index}.{suffix}")
    return pixels


IMAGES = {"size": None, "fractions": [0.5, 0.2, 0.3], "scaling": "none", "value_range": [-1, 1], "scaled_by": "train"}


def test_images_are_read_in_colors(compose, tmp_path):
    pixels = save_images(tmp_path)
    splits = image_folder.load(path=str(tmp_path), mode="rgb", **IMAGES)
    assert (splits.shape, splits.channels, splits.n_dims) == ((3, 6, 8), ("red", "green", "blue"), 2)
    assert np.array_equal(splits.train.numpy(), (pixels[:5].transpose(0, 3, 1, 2) / np.float32(255)).astype("f4"))
    given = ["dataset=images", f"path={tmp_path}"]
    assert torch.equal(instantiate(compose(*given, "dataset.mode=rgb"), "dataset").train, splits.train)
    grey = instantiate(compose(*given), "dataset")
    assert (grey.shape, grey.channels) == ((1, 6, 8), ("",))
    assert image_folder.load(path=str(tmp_path), mode="rgb", **{**IMAGES, "size": [3, 4]}).shape == (3, 3, 4)
    scaled = image_folder.load(path=str(tmp_path), mode="rgb", **{**IMAGES, "scaling": "all"})
    own = pixels[:5, :, :, 1] / 255
    assert scaled.scale.offset[1] == pytest.approx(own.mean())


@pytest.mark.parametrize("mode", ["L", "1", "LA", "P", "I;16", "F"])
def test_a_gray_image_has_equal_colors(tmp_path, mode):
    for index in range(10):
        image = Image.fromarray((np.arange(48).reshape(6, 8) * 5 + index).astype(np.uint8))
        if mode == "I;16":
            image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
        if mode == "F":
            image = Image.fromarray(np.asarray(image) / np.float32(255))
        (image if mode in ("I;16", "F") else image.convert(mode)).save(
            tmp_path / f"{index}.{'tif' if mode == 'F' else 'png'}"
        )
    colors, grey = (image_folder.load(path=str(tmp_path), mode=mode, **IMAGES).train for mode in ("rgb", "grey"))
    assert torch.equal(colors, grey.expand(-1, 3, -1, -1))


@pytest.mark.usefixtures("untyped")
def test_an_unknown_mode_is_refused(tmp_path):
    assert refusal(image_folder.load, path=str(tmp_path), mode="cmyk", **IMAGES) == "mode=cmyk must be one of grey, rgb"


# Signals


@pytest.mark.usefixtures("untyped")
def test_a_signal_has_a_name_and_a_unit_for_each_channel():
    assert Signal("x", SIGNALS).channels == ("", "", "")
    assert Signal("x", SIGNALS[0], 100.0, ("I",), ("mV",)).unit == "mV"
    for samples, names in ((SIGNALS, ("I", "II")), (SIGNALS[0], ("I", "II")), (SIGNALS, "III")):
        assert "must be a tuple of one text for each of" in refusal(Signal, "x", samples, None, names)
    assert "give [samples] of one channel" in refusal(Signal, "x", SIGNALS[:1])
    assert "has no samples" in refusal(Signal, "x", SIGNALS[:, :0])


def test_what_a_checkpoint_stores_names_every_channel():
    x = torch.ones(2, 2, 10)
    origin = Splits("x", x, x, x, channels=("I", "II"), channel_units=("mV", "mV")).origin
    assert origin == {"name": "x", "channels": ["I", "II"], "channel_units": ["mV", "mV"],
                      "sampling_frequency": None, "space": [10]}  # fmt: skip


# Real recordings


@pytest.mark.skipif(not (SHARED / "own").is_dir(), reason="needs recordings beside the project")
def test_real_recordings_of_several_channels_are_read():
    whole = read_recording(str(SHARED / "own" / "S001R02.edf"), channel="all")
    assert (whole.samples.shape, whole.sampling_frequency, whole.channels[10]) == ((64, 9760), 160, "Cz..")
    path = str(SHARED / "own" / "accelerometer_3ch_1000hz.npy")
    said = refusal(numpy_array.load, path=path, sampling_frequency=1000, **OPTIONS)
    assert "give axes=[channels,time] or axes=[examples,time]" in said
    splits = numpy_array.load(path=path, sampling_frequency=1000, axes=["channels", "time"], **OPTIONS)
    assert splits.shape == (3, 100)


@pytest.mark.skipif(not (SHARED / "physionet_full").is_dir(), reason="needs recordings beside the project")
def test_both_leads_of_an_ecg_are_read(compose, tmp_path):
    record = str(SHARED / "physionet_full" / "mitdb" / "100")
    signal = wfdb_record.read(path=record, channel=["MLII", "V5"])
    assert (signal.samples.shape, signal.channels, signal.channel_units) == ((2, 650000), ("MLII", "V5"), ("mV", "mV"))
    (tmp_path / "physionet").symlink_to(SHARED / "physionet_full")
    given = ["dataset=physionet", "dataset.record=100", "dataset.database=mitdb", f"paths.data_dir={tmp_path}"]
    splits = instantiate(compose(*given, "dataset.channel=all"), "dataset")
    assert (splits.shape, splits.channels) == ((2, 1000), ("MLII", "V5"))
    for position in range(2):
        alone = instantiate(compose(*given, f"dataset.channel={position}"), "dataset")
        assert torch.equal(splits.train[:, position], alone.train[:, 0])

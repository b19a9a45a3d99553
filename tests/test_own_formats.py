"""Recordings in the formats of other programs are read as they are meant, one or several, or refused in one line."""

import os
import pickle
import random
import sys
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

from san import evaluate, train
from san.cli.parts import instantiate
from san.data import csv_column, edf, mat, numpy_array, parquet, wav, wfdb_record
from san.data.reading import READERS, read_recording

OWN = Path(os.environ.get("SAN_DATA_DIR", "absent")) / "own"
SAMPLES = np.random.default_rng(0).standard_normal(1500).cumsum()
SAMPLES /= 1.1 * np.abs(SAMPLES).max()


def write(file, samples, frequency=250, unit="mV"):
    """Write samples, and in most formats a second channel or column before them."""
    other, suffix = samples[::-1], file.suffix.removeprefix(".")
    if suffix in ("edf", "bdf"):
        kind, signal = (edfio.Edf, edfio.EdfSignal) if suffix == "edf" else (edfio.Bdf, edfio.BdfSignal)
        labels = {"I": other, "II": samples}
        kind([signal(data, frequency, label=name, physical_dimension=unit) for name, data in labels.items()]).write(
            file
        )
    elif suffix in ("wav", "flac"):
        soundfile.write(file, np.stack([other, samples], 1), frequency, subtype="PCM_24")
    elif suffix == "mat":
        scipy.io.savemat(file, {"other": other, "II": samples, "fs": frequency}, do_compression=True)
    elif suffix in ("parquet", "feather", "csv"):
        table = pd.DataFrame({"time [s]": np.arange(len(samples)) / frequency, "I": other, "II": samples})
        {"parquet": table.to_parquet, "feather": table.to_feather, "csv": table.to_csv}[suffix](
            file, **({"index": False} if suffix == "csv" else {})
        )
    elif suffix == "npz":
        np.savez_compressed(file, other=other, II=samples)
    elif suffix == "pt":
        torch.save({"other": torch.tensor(other.copy()), "II": torch.tensor(samples)}, file)
    elif suffix == "npy":
        np.save(file, samples)
    else:
        wfdb.wrsamp(file.stem, frequency, [unit] * 2, ["I", "II"], np.stack([other, samples], 1), fmt=["32"] * 2,
                    write_dir=str(file.parent))  # fmt: skip
    return file


NAMED, ONE_OF_TWO = {"channel": "II"}, {"variable": "II", "sampling_frequency": 250}
FORMATS = {
    ".edf": (edf, NAMED),
    ".bdf": (edf, NAMED),
    ".wav": (wav, {"channel": 1}),
    ".flac": (wav, {"channel": 1}),
    ".mat": (mat, ONE_OF_TWO | {"channel": None}),
    ".parquet": (parquet, {"column": "II"}),
    ".feather": (parquet, {"column": "II"}),
    ".csv": (csv_column, {"column": "II"}),
    ".npz": (numpy_array, ONE_OF_TWO),
    ".pt": (numpy_array, ONE_OF_TWO),
    ".npy": (numpy_array, {"sampling_frequency": 250}),
    ".hea": (wfdb_record, NAMED),
}
REQUIRED = {parquet: {"sampling_frequency": None}, csv_column: {"sampling_frequency": None}}
PRECISION = {".edf": 1e-4, ".bdf": 1e-6, ".wav": 1e-6, ".flac": 1e-6, ".hea": 1e-6}


def load(path, suffix, **options):
    module, given = FORMATS[suffix]
    return module.load(path=str(path), **{**REQUIRED.get(module, {}), **given, **OPTIONS, **options})


@pytest.mark.parametrize("suffix", FORMATS)
def test_one_recording_is_read_in_its_units_and_divided_in_time(tmp_path, suffix):
    file = write(tmp_path / f"x{suffix}", SAMPLES)
    signal = read_recording(str(file), **{"column": None, **FORMATS[suffix][1]})
    assert signal.samples.dtype == np.float64
    assert np.abs(signal.samples - SAMPLES).max() <= PRECISION.get(suffix, 0)
    assert signal.sampling_frequency == 250
    assert signal.unit == ("mV" if suffix in (".edf", ".bdf", ".hea") else "")
    splits = load(file, suffix)
    assert (splits.sampling_frequency, splits.unit, splits.channel) == (250, signal.unit, signal.channel)
    assert [len(part) for part in splits.examples.values()] == [7, 3, 4]
    assert torch.equal(splits.train.flatten(), torch.tensor(signal.samples[:700]).float())


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_choice_of_several_is_asked_for_with_their_names(tmp_path, suffix):
    file = write(tmp_path / f"x{suffix}", SAMPLES)
    if suffix == ".npy":
        assert len(read_recording(str(file)).samples) == 1500
        return
    said = refusal(read_recording, str(file))
    assert said.partition("=null")[0] in ("channel", "column", "variable")
    assert "II" in said or suffix in (".wav", ".flac")


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_damaged_file_is_an_answer_or_one_line(tmp_path, suffix):
    written = write(tmp_path / f"x{suffix}", SAMPLES)
    content, chance = written.read_bytes(), random.Random(0)
    answers, refusals = [], []
    for _ in range(30):
        damaged = bytearray(content)
        if chance.random() < 0.4:
            damaged = damaged[: chance.randrange(len(content))]
        else:
            for _ in range(chance.choice([1, 3, 20])):
                damaged[chance.randrange(min(len(content), chance.choice([300, len(content)])))] ^= chance.randrange(
                    256
                )
        written.write_bytes(damaged)
        try:
            answers.append(read_recording(str(written), **FORMATS[suffix][1]))
        except (ValueError, FileNotFoundError) as error:
            refusals.append(str(error))
    starts = ("path=", "channel=", "column=", "variable=", "sampling_frequency=", "edf/", str(written.with_suffix("")))
    assert all(said.startswith(starts) and "\n" not in said for said in refusals)
    assert refusals
    assert all(len(answer.samples) for answer in answers)


@pytest.mark.parametrize("suffix", [suffix for suffix in FORMATS if suffix != ".csv"])
def test_a_truncated_file_is_refused(tmp_path, suffix):
    written = write(tmp_path / f"x{suffix}", SAMPLES)
    cut = written.with_suffix(".dat") if suffix == ".hea" else written
    cut.write_bytes(cut.read_bytes()[:-40])
    assert str(written.with_suffix("")) in refusal(read_recording, str(written), **FORMATS[suffix][1])


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_named_pipe_is_refused_before_it_is_opened(tmp_path, suffix):
    os.mkfifo(tmp_path / f"x{suffix}")
    assert "is not a regular file: give" in refusal(load, tmp_path / f"x{suffix}", suffix)


@pytest.mark.parametrize("suffix", FORMATS)
def test_several_recordings_are_split_by_file_in_order_of_their_names(tmp_path, suffix):
    """Check that windows cross no border of recordings, which are ramps, and that each recording is in one split."""
    lengths = {"b": 350, "a": 620, "e": 330, "d": 210, "c": 290}
    (tmp_path / "deeper").mkdir()
    for index, (name, length) in enumerate(lengths.items()):
        ramp = (np.arange(length) + 1000 * (index + 1)) / 8000
        write(tmp_path / ("deeper" if name == "e" else "") / f"{name}{suffix}", ramp, 10)
    given = {} if suffix not in (".mat", ".npz", ".pt", ".npy") else {"sampling_frequency": 10}
    for path in (tmp_path, f"{tmp_path}/**/*{suffix}"):
        splits = load(path, suffix, **given)
        found = [
            sorted({round(8 * float(window[0, 0])) for window in part}) for part in splits.examples.values()
        ]  # thousands of the first sample: the recording
        assert found == [[1, 2], [5], [3, 4]]  # a, b; c; d, deeper/e
        assert [len(part) for part in splits.examples.values()] == [9, 2, 5]
        assert splits.sampling_frequency == 10
        for window in torch.cat([*splits.examples.values()]):
            assert float(window[0, -1] - window[0, 0]) * 8000 == pytest.approx(99, abs=2)
    assert splits.name == f"{splits.name.partition('/')[0]}/{tmp_path.name}"


def test_several_recordings_are_scaled_by_the_training_examples(tmp_path):
    for index in range(4):
        np.save(tmp_path / f"{index}.npy", np.linspace(0, index + 1, 300))
    splits = load(tmp_path, ".npy", scaling="range")
    assert [len(part) for part in splits.examples.values()] == [6, 3, 3]
    assert (float(splits.train.min()), float(splits.train.max())) == (-1, 1)  # of the first two files
    assert float(splits.test.max()) == pytest.approx(3)
    assert np.allclose(splits.scale.unit, 2)


@pytest.mark.parametrize(
    ("files", "options", "said"),
    [
        ({}, {}, "is a folder: give a file, or a folder or pattern of .edf, .bdf files"),
        ({"a": {}, "b": {}}, {}, "has 2 recordings"),
        ({"a": {}, "b": {}, "c": {"frequency": 500}}, {}, "c.edf has the sampling_frequency 500.0, "),
        ({"a": {}, "b": {"unit": "uV"}, "c": {}}, {}, "b.edf has the unit uV, "),
        (
            {"a": {}, "b": {"n": 50}, "c": {}},
            {},
            "b.edf has 250 samples, fewer than window=300: lower window or remove",
        ),
        ({"a": {}, "b": {}, "c": {}}, {"fractions": [1, 1]}, "three positive numbers of sum one"),
        ({"a": {}, "b": {}, "c": {}}, {"stride": 0}, "stride=0"),
        (
            {"a": {}, "b": {"scale": 0}, "c": {}},
            {"scaling": "example"},
            "b.edf: signal 0 (samples 0 to 299) is constant",
        ),
    ],
    ids=lambda value: "" if isinstance(value, str) else str(value)[:40],
)
def test_recordings_that_are_not_one_set_are_refused(tmp_path, files, options, said):
    for name, given in files.items():
        scale, n_blocks = given.pop("scale", 1), given.pop("n", 300)
        write(tmp_path / f"{name}.edf", SAMPLES[: 5 * n_blocks] * scale + 1 - scale, **given)
    assert said in refusal(load, tmp_path, ".edf", window=300, **options)


def test_a_file_that_is_there_twice_and_other_files_are_named(tmp_path, caplog):
    for name in ("a.npy", "b.npy", "c.npy", ".hidden.npy"):
        np.save(tmp_path / name, SAMPLES)
    (tmp_path / "notes.txt").touch()
    assert len(load(tmp_path, ".npy").train) == 15
    assert "1 files skipped by their suffix, the first" in caplog.text
    (tmp_path / "d.npy").symlink_to(tmp_path / "a.npy")
    assert "has links to files that it also has" in refusal(load, tmp_path, ".npy")
    assert "matches no file: give" in refusal(load, f"{tmp_path}/*.nope", ".npy")


# Single formats


@pytest.mark.skipif(not OWN.is_dir(), reason="needs the recordings of SAN_DATA_DIR")
def test_an_eeg_of_64_channels_is_read_at_its_sampling_frequency():
    file = str(OWN / "S001R02.edf")
    signals = [read_recording(file, channel=channel) for channel in range(64)]
    assert {(len(signal.samples), signal.sampling_frequency, signal.unit) for signal in signals} == {(9760, 160, "uV")}
    assert signals[10].channel == "Cz.."
    assert np.array_equal(signals[10].samples[:3], [-19, -15, -17])
    assert "64 of them; choose one of 0 (Fc5.), 1 (Fc3.)" in refusal(read_recording, file)


class Bomb:
    def __reduce__(self):
        return (os.mkdir, ("executed",))


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.mat", "x.pt"])
def test_nothing_of_a_file_is_executed(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    hostile = np.array([Bomb()] * 100, dtype=object)
    if name == "x.npy":
        np.save(name, hostile, allow_pickle=True)
    elif name == "x.npz":
        np.savez(name, x=hostile)
    elif name == "x.mat":
        scipy.io.savemat(name, {"x": np.array([{"a": 1}, "text"], dtype=object), "s": {"field": 1}})
    else:
        torch.save({"x": Bomb()}, name)
    assert name in refusal(read_recording, name)
    Path(name).write_bytes(pickle.dumps(Bomb()))
    assert name in refusal(read_recording, name)
    assert not Path("executed").exists()


def test_claims_beyond_the_size_of_a_file_are_refused(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", x=np.zeros(30_000_000, np.uint8))
    torch.save(torch.zeros(1).expand(10**12), tmp_path / "x.pt")
    scipy.io.savemat(tmp_path / "x.mat", {"x": np.zeros(30_000_000, np.uint8)}, do_compression=True)
    pd.DataFrame({"x": np.zeros(30_000_000, np.uint8)}).to_parquet(tmp_path / "x.parquet")
    for name in ("x.npz", "x.mat", "x.parquet"):
        assert "it claims 30000000 samples in" in refusal(read_recording, str(tmp_path / name))
    assert "a tensor has values that are not stored" in refusal(read_recording, str(tmp_path / "x.pt"))


def test_a_channel_of_an_array_is_chosen_along_its_shorter_axis(tmp_path):
    channels = np.stack([SAMPLES, -SAMPLES, SAMPLES**2])
    np.save(tmp_path / "x.npy", channels)
    scipy.io.savemat(tmp_path / "x.mat", {"val": channels.T})
    for name in ("x.npy", "x.mat"):
        assert np.array_equal(read_recording(str(tmp_path / name), channel=1).samples, -SAMPLES)
        said = refusal(read_recording, str(tmp_path / name))
        assert "to read it as one recording, give axes=[" in said
        assert "or channel=0 to read one channel" in said
        assert "channel=3 is not a channel of" in refusal(read_recording, str(tmp_path / name), channel=3)
    stream = {"sampling_frequency": 250, "chunk": 400, "nan": "refuse", "scaling": "none", "value_range": [-1, 1]}
    recording = numpy_array.stream(path=str(tmp_path / "x.npy"), channel=1, **stream)
    assert torch.equal(recording.read(300, 900), torch.tensor(-SAMPLES[300:900]).float())


def test_files_that_need_another_program_say_so(tmp_path, monkeypatch):
    (tmp_path / "x.mat").write_bytes(b"MATLAB 7.3 MAT-file, Platform: GLNXA64" + bytes(600))
    assert "is a MAT-file of version 7.3: save it by save(..., '-v7')" in refusal(
        read_recording, str(tmp_path / "x.mat")
    )
    for package, suffix in (("edfio", ".edf"), ("pyarrow", ".parquet"), ("pyarrow", ".feather")):
        file = write(tmp_path / f"x{suffix}", SAMPLES)
        with monkeypatch.context() as context:
            for module in [name for name in sys.modules if name.partition(".")[0] == package]:
                context.setitem(sys.modules, module, None)
            context.setitem(sys.modules, package, None)
            said = refusal(read_recording, str(file))
        assert f"needs the package {package}: pip install 'sparsely-activated-networks[formats]'" in said


@pytest.mark.parametrize(
    ("path", "options", "said"),
    [
        ("x.docx", {}, f"path=x.docx has the suffix .docx; give a file of {', '.join(sorted(READERS))}, or a WFDB"),
        ("x", {}, "path=x has no suffix; give a file of"),
        ("x.npy", {"column": 1}, "column=1 does not apply to .npy files, which have variable, channel, "),
        ("x.edf", {}, "path=x.edf is not there: give"),
        ("x.wav", {"channel": 0.5}, "channel=0.5 must be a list of integers or texts, an integer, text or null"),
    ],
)
def test_a_recording_that_no_reader_reads_is_named(tmp_path, monkeypatch, path, options, said):
    monkeypatch.chdir(tmp_path)
    assert said in refusal(read_recording, path, **options)


@pytest.mark.parametrize("suffix", [".edf", ".wav", ".hea", ".parquet", ".csv"])
def test_another_sampling_frequency_than_that_of_the_file_is_refused(tmp_path, suffix):
    file = str(write(tmp_path / f"x{suffix}", SAMPLES))
    said = refusal(read_recording, file, **FORMATS[suffix][1], sampling_frequency=125)
    assert "sampling_frequency=125 is not that of" in said
    assert "250 hertz: leave it out" in said


@pytest.mark.parametrize("suffix", [".edf", ".parquet"])
def test_a_format_is_trained_on_and_evaluated_by_folder(run, compose, tmp_path, monkeypatch, suffix):
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    for index in range(3):
        write(tmp_path / "data" / f"{index}{suffix}", SAMPLES)
    module, given = FORMATS[suffix]
    keys = [f"{key}={value}" for key, value in given.items() if value is not None]
    group = module.__name__.rpartition(".")[2]
    arguments = [f"dataset={group}", f"path='data/*{suffix}'", *keys, "dataset.window=200"]
    assert len(instantiate(compose(*arguments), "dataset").train) == 7
    code, said = run(train.main, *arguments, "debug=one_batch", "figure=[]", "hydra.run.dir=run")
    assert code == 0, said
    code, said = run(evaluate.main, "checkpoint=run", "hydra.run.dir=evaluated")
    assert code == 0, said

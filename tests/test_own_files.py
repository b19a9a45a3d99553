"""Files of the user are read as they are meant, or refused in one line; none is misread silently."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
import wfdb
from PIL import EpsImagePlugin, Image

from san.cli.parts import instantiate
from san.data import csv_column, image_folder, numpy_array, wfdb_record
from san.data.wfdb_files import read_channels

SCALING = {"fractions": [0.5, 0.2, 0.3], "scaling": "none", "value_range": [-1, 1], "scaled_by": "train"}
WINDOWS = {"window": 10, "stride": None, "nan": "refuse", **SCALING}


def joined(splits):
    return torch.cat([splits.train, splits.validation, splits.test])


# Images


@pytest.fixture
def folder(tmp_path):
    """Return a function that saves ten images, the first of them as given, and reads them."""

    def folder(name, save, others=None, **options):
        (tmp_path / "images").mkdir()
        save(tmp_path / "images" / name)
        for index in range(9):
            (others or save)(tmp_path / "images" / f"z{index}{Path(name).suffix}")
        return joined(image_folder.load(path=str(tmp_path / "images"), **{"size": None, **SCALING, **options}))[:, 0]

    return folder


def saving(pixels, mode=None, **options):
    def save(path):
        image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
        (image if mode is None else image.convert(mode)).save(path, **options)

    return save


def png(width, height, depth, color, rows, *chunks):
    """Return a PNG file as bytes; Pillow writes no colors of 16 bits."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + b"".join([header, *(chunk(*c) for c in chunks), chunk(b"IDAT", zlib.compress(rows))])


def writing(content):
    return lambda path: path.write_bytes(content)


RAMP = np.arange(65536, dtype=np.uint16).reshape(256, 256)
GRAY = np.full((4, 6), 128, np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_16_bits_are_divided_by_their_range(folder, suffix):
    found = folder(f"x{suffix}", saving(RAMP))
    assert torch.equal(found[0], torch.tensor(RAMP.astype(np.float64) / 65535).float())


def test_12_bits_are_divided_by_their_range(folder):
    tags = {256: 2, 257: 1, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: 3}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    content = b"II*\0" + struct.pack("<I", 12) + b"\xff\xf0\x00\0" + struct.pack("<H", len(tags)) + entries + bytes(4)
    assert folder("x.tif", writing(content))[0].tolist() == [[1, 0]]


def test_each_image_of_a_folder_is_divided_by_its_own_range(folder):
    found = folder("x.png", saving(GRAY.astype(np.uint16) * 257), saving(GRAY))
    assert torch.equal(found, torch.full((10, 4, 6), 128 / 255))


@pytest.mark.parametrize(
    ("name", "image", "expected"),
    [
        ("x.png", Image.fromarray(GRAY).convert("LA"), 128),
        ("x.png", Image.fromarray(GRAY).convert("RGBA"), 128),
        ("x.gif", Image.fromarray(GRAY).convert("P"), 128),
        ("x.tif", Image.new("CMYK", (6, 4), (0, 0, 0, 127)), 128),
        ("x.png", Image.new("RGB", (6, 4), (255, 0, 0)), 76),
        ("x.png", Image.new("1", (6, 4), 1), 255),
        ("x.tif", Image.new("F", (6, 4), 128 / 255), 128),
        ("x.png", Image.frombytes("P", (6, 4), bytes(24)).copy(), 0),
    ],
    ids=["LA", "RGBA", "P", "CMYK", "red", "1", "F", "palette"],
)
def test_every_mode_becomes_gray_in_0_to_1(folder, name, image, expected):
    if expected == 0:  # an index is not a gray level
        image.putpalette([10, 20, 30] * 256)
        expected = round(0.299 * 10 + 0.587 * 20 + 0.114 * 30)
    assert torch.equal(folder(name, saving(image)), torch.full((10, 4, 6), expected / 255))


FRAMES = {"save_all": True, "append_images": [Image.fromarray(GRAY // 2)]}
CLEAR = Image.new("RGBA", (6, 4), (0, 0, 0, 128))


@pytest.mark.parametrize(
    ("name", "save", "message"),
    [
        ("x.tif", saving(GRAY, **FRAMES), "it has several pages or frames"),
        ("x.gif", saving(GRAY, **FRAMES), "it has several pages or frames"),
        ("x.png", saving(GRAY, **FRAMES), "it has several pages or frames"),
        ("x.webp", saving(GRAY, mode="RGB", **FRAMES), "it has several pages or frames"),
        ("x.png", saving(CLEAR), "transparent"),
        ("x.png", saving(CLEAR, mode="LA"), "transparent"),
        ("x.webp", saving(CLEAR, lossless=True), "transparent"),
        ("x.gif", saving(GRAY, mode="P", transparency=128), "transparent"),
        ("x.png", saving(GRAY, transparency=128), "transparent"),
        ("x.png", saving(GRAY.astype(np.uint16), transparency=128), "transparent"),
        ("x.png", writing(png(6, 4, 16, 2, (b"\0" + bytes(36)) * 4)), "16 bits"),
        ("x.png", writing(png(6, 4, 16, 4, (b"\0" + b"\xff" * 24) * 4)), "16 bits"),
        ("x.ppm", writing(b"P6 6 4 65535 " + bytes(144)), "16 bits"),
        ("x.tif", saving(GRAY.astype(np.uint16), tiffinfo={262: 0}), "WhiteIsZero"),
        ("x.tif", saving(GRAY.astype(np.float32)), "from 128 to 128 and have no largest value: rescale"),
        ("x.tif", saving(GRAY / np.float32(255) - 1), "no largest value"),
        ("x.tif", saving(np.full((4, 6), np.nan, np.float32)), "no largest value"),
        ("x.tif", saving(GRAY.astype(np.int32) * 1000), "int32 pixels are from 128000 to 128000"),
        ("x.png", os.mkfifo, "it is not a regular file"),
        ("x.png", writing(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 4\n%%EndComments\n"), "cannot identify"),
        ("x.png", writing(png(13_300, 13_300, 1, 0, bytes(1664 * 13_300))), "decompression bomb"),
    ],
)
def test_an_image_that_may_be_misread_is_refused(folder, monkeypatch, name, save, message):
    def run_ghostscript(*_arguments, **_options):
        raise AssertionError("Ghostscript was started")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", run_ghostscript)
    with pytest.raises(ValueError, match=message) as refusal:
        folder(name, save, saving(GRAY, mode="RGB"))
    assert str(refusal.value).count(f"images/{name}") >= 1
    assert "\n" not in str(refusal.value)


def test_the_first_picture_of_a_jpeg_is_read(folder):
    assert (folder("x.jpg", saving(GRAY, format="MPO", **FRAMES)) * 255 - 128).abs().max() <= 2


@pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.tif", "x.webp"])
def test_the_exif_orientation_is_applied(folder, name):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to show it
    lying = np.zeros((8, 16), np.uint8)
    lying[:, :4] = 255  # white on the left, at the top once shown
    found = folder(name, saving(lying, mode="RGB", exif=exif), saving(np.ascontiguousarray(np.rot90(lying, -1))))
    assert found.shape == (10, 16, 8)
    assert found[0, :4].min() > 0.9
    assert found[0, 4:].max() < 0.1


def test_sizes_are_compared_before_pixels_are_read(folder):
    damaged = png(5000, 5000, 8, 0, b"")
    with pytest.raises(ValueError, match=r"z0.png has 4 x 6 pixels .* before it have 5000 x 5000: give size"):
        folder("x.png", writing(damaged), saving(GRAY))


@pytest.mark.parametrize(
    "pixels", [RAMP, RAMP / np.float32(65535), (RAMP // 257).astype(np.uint8)], ids=["16", "F", "8"]
)
def test_a_resized_image_has_the_range_of_the_original(folder, pixels):
    found = folder("x.tif", saving(pixels), size=[8, 4])
    assert found.shape == (10, 8, 4)
    expected = (np.arange(8) + 0.5) / 8
    assert np.allclose(found[0].mean(1), expected, atol=0.02)
    for size in ([8], [0, 8], [8, 8, 8]):
        with pytest.raises(ValueError, match="must be two positive numbers of pixels"):
            image_folder.load(path=".", size=size, **SCALING)


def test_resizing_does_not_hide_pixels_beyond_1(folder):
    with pytest.raises(ValueError, match="from 0 to 2 and have no largest value"):
        folder("x.tif", saving(np.tile(np.float32([0, 2]), (8, 8))), size=[4, 4])


def test_files_skipped_by_their_suffix_are_reported(folder, tmp_path, caplog):
    def save(path):
        saving(GRAY)(path)
        path.with_suffix(".dcm").touch()

    folder("x.png", save, saving(GRAY))
    assert "1 files skipped by their suffix, the first" in caplog.text
    assert "x.dcm" in caplog.text


@pytest.mark.parametrize("marker", [".hydra/config.yaml", "multirun.yaml", "results.json"])
def test_outputs_of_runs_are_no_images_of_the_user(folder, tmp_path, caplog, marker):
    run = tmp_path / "images" / "outputs" / "train" / "0"

    def save(path):
        saving(GRAY)(path)
        for name in (marker, "figures/kernels.png", "best.png"):
            (run / name).parent.mkdir(parents=True, exist_ok=True)
            saving(GRAY[:4])(run / name) if name.endswith("png") else (run / name).touch()

    assert len(folder("x.png", save, saving(GRAY))) == 10
    assert f"2 images skipped that are outputs of runs, such as {run / 'best.png'}" in caplog.text


def test_figures_of_a_run_in_the_folder_of_the_images_are_skipped(folder, tmp_path, caplog):
    def save(path):
        saving(GRAY)(path)
        (tmp_path / "images" / ".hydra").mkdir()
        (tmp_path / "images" / "figures").mkdir()
        saving(GRAY[:4])(tmp_path / "images" / "figures" / "kernels.png")

    assert len(folder("x.png", save, saving(GRAY))) == 10
    assert "1 images skipped that are outputs of runs" in caplog.text


# Arrays


def load_array(tmp_path, array, **options):
    np.save(tmp_path / "x.npy", array)
    return numpy_array.load(path=str(tmp_path / "x.npy"), **{"sampling_frequency": None, **WINDOWS, **options})


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones(100, complex), r"complex \(complex128\), save their real, imaginary or absolute"),
        (np.ones(100, "datetime64[s]"), r"its type is datetime64"),
        (np.array(["1", "2"] * 50), "its type is <U1"),
        (np.zeros(100, [("x", float), ("y", float)]), "its type is"),
        (np.zeros(100, [("x", float)]), "its type is"),
        (np.array(1.0), "has 0 axes"),
        (
            np.ones((9, 7040)),
            r"shape \[9,7040\], .* give axes=\[channels,time\] or axes=\[examples,time\], or ch",
        ),
        (np.ones((7040, 9)), r"shape \[7040,9\], .* give axes=\[time,channels\] or axes=\[examples,time\]"),
        (np.ones((20, 128, 9)), r"\[20,128,9\], .*: give axes=\[examples,time,channels\]"),
        (np.ones((480, 640, 3)), "may be examples by samples by channels, or images"),
        (np.ones((20, 28, 28)), r"or images: give .*axes=\[examples,rows,columns\]"),
        (np.ones((20, 3, 8, 8)), r"has 4 axes, .*, or dataset\.n_dims=2 if it has images"),
    ],
    ids=lambda value: "" if isinstance(value, str) else f"{value.dtype}{value.shape}",
)
def test_an_array_that_may_be_misread_is_refused(tmp_path, array, message):
    with pytest.raises(ValueError, match=message):
        load_array(tmp_path, array)


@pytest.mark.parametrize(
    ("shape", "axes"), [((20, 2000), ["examples", "time"]), ((20, 9, 128), ["examples", "rows", "columns"])]
)
def test_axes_confirm_the_shape(tmp_path, shape, axes):
    array = np.random.default_rng(0).standard_normal(shape)
    assert torch.equal(joined(load_array(tmp_path, array, axes=axes)), torch.tensor(array).unsqueeze(1).float())
    with pytest.raises(ValueError, match=r"axes=\[time\] must be one of \[examples,.*, or null: path="):
        load_array(tmp_path, array, axes=["time"])


def test_a_sampling_frequency_of_images_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"sampling_frequency=100 does not apply to path=.*whose 3 axes are images"):
        load_array(tmp_path, np.ones((10, 4, 6)), sampling_frequency=100, n_dims=2)


@pytest.mark.parametrize("dtype", ["?", "<i2", ">i2", ">f8", "<f2", "u8", np.longdouble])
@pytest.mark.parametrize("order", ["C", "F"])
def test_numbers_of_every_type_and_order_are_read(tmp_path, dtype, order):
    array = np.asarray(np.random.default_rng(0).integers(0, 2, (10, 20)) + np.eye(10, 20), order=order).astype(dtype)
    array[:, 0] = 1
    assert np.array_equal(joined(load_array(tmp_path, array))[:, 0], array.astype(np.float32))


# Tables


def load_table(tmp_path, text, column=None, **options):
    (tmp_path / "x.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return csv_column.load(
        path=str(tmp_path / "x.csv"), column=column, **{"sampling_frequency": None, **WINDOWS, "window": 1, **options}
    )


ROWS = "\n".join(f"{9 + index},{index + 0.5}" for index in range(10))
SAMPLES = [index + 0.5 for index in range(10)]


@pytest.mark.parametrize(
    ("text", "column", "options"),
    [
        ("ECG\n" + "\n".join(map(str, SAMPLES)), None, {}),
        ("\n".join(map(str, SAMPLES)), None, {}),
        (ROWS, 1, {}),
        (f"time,ECG\n{ROWS}", "ECG", {}),
        (f"time,ECG\n{ROWS}", None, {}),
        (f"\ufefftime, ECG\n{ROWS}", "ECG", {}),
        (f"1,2\n{ROWS}", "2", {"headings": True}),
        (f"1,2\n{ROWS}", 2, {"headings": True}),
        (f"time,1\n{ROWS}", "1", {}),
        (f"ECG,ECG\n{ROWS}", 1, {}),
        (f",ECG\n{ROWS}", "ECG", {}),
        ("\n".join(f"{index},{index + 0.5}" for index in range(10)), 1, {"headings": False}),
        ("\n".join(f"2020-01-01,{index + 0.5}" for index in range(10)), 1, {"headings": False}),
    ],
    ids=lambda value: str(value)[:20],
)
def test_the_named_column_is_read_from_its_first_sample(tmp_path, text, column, options):
    assert joined(load_table(tmp_path, text, column, **options)).flatten().tolist() == SAMPLES


def test_a_table_without_headings_is_reported(tmp_path, caplog):
    assert load_table(tmp_path, ROWS, 1).name == "csv/x/1"
    assert "has no headings: its first line is numbers, and is read as samples" in caplog.text


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        (f"PPG,ECG\n{ROWS}", None, r"column=null: path=.* has 2 of them; choose one of 0 \(PPG\), 1 \(ECG\)"),
        (f"time,PPG,ECG\n{ROWS.replace(',', ',7,')}", None, r"choose one of 0 \(time\), 1 \(PPG\), 2 \(ECG\)"),
        (ROWS, None, r"column=null: path=.* has 2 of them; choose one of 0, 1"),
        (f"x,y,1\n{ROWS.replace(',', ',7,')}", 1, "column=1 is the index of y and the name of column 2 in"),
        (f"ECG,ECG\n{ROWS}", "ECG", "column=ECG is the name of 0 and 1 in path=.*: give one index"),
        (f"time,ECG\n{ROWS}", True, "column=True must be a list of integers or texts, an integer, text or null"),
        (f"1,2\n{ROWS}", 0, r"its first line, 1,2, may be headings or samples"),
        (f"0,1\n{ROWS}", 0, r"its first line, 0,1, may be headings or samples"),
        (f"2020-01-01,0\n{ROWS}", 1, "its first line, 2020-01-01,0, may be headings or samples"),
        (f"12:00,0.5\n{ROWS}", 1, "may be headings or samples"),
        (f"time;ECG\n{ROWS.replace('.', ',').replace(',', ';', 1)}", 0, "cannot be read as a table"),
        (f"a;b,ECG\n{ROWS}", "ECG", "semicolons or tabs, which do not divide all lines alike"),
        ('ECG\n"0,5"\n"1,5"\n2\n3\n', None, "column=ECG: 0,5 has a decimal comma; write decimal points"),
        ("ECG\n0,5\n1,5\n", None, "cannot be read as a table"),
        ("ECG\n0.1 0.2\n0.3 0.4\n", None, "invalid samples"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_table_that_may_be_misread_is_refused(tmp_path, text, column, message):
    for nan in ("refuse", "interpolate"):
        if "invalid" in message and nan == "interpolate":
            continue
        with pytest.raises(ValueError, match=message):
            load_table(tmp_path, text, column, nan=nan)


def test_an_index_and_a_heading_are_told_apart_on_the_command_line(compose, tmp_path):
    (tmp_path / "x.csv").write_text(
        "1,2,3\n" + "\n".join(f"{i},{10 + i},{20 + i}" for i in range(1, 30)), encoding="utf-8"
    )
    given = ["dataset=csv", f"path={tmp_path / 'x.csv'}", "headings=true", "dataset.window=1", "dataset.scaling=none"]
    with pytest.raises(
        ValueError, match=r"^dataset.column=1 is the index of 2 and the name of column 0 .*\"column='2'\""
    ):
        instantiate(compose(*given, "column=1"), "dataset")
    for column, first in (("0", 1), ("'1'", 1), ("'2'", 11), ("3", 21)):
        assert float(instantiate(compose(*given, f"column={column}"), "dataset").train[0]) == first


# WFDB records


@pytest.fixture
def record(tmp_path):
    """Write a record of two channels, 2 samples in a frame of the second; return a function that reads a channel."""
    random = np.random.default_rng(0)
    samples = [random.integers(-900, 900, 2000).astype(np.int64), random.integers(-900, 900, 4000).astype(np.int64)]
    wfdb.wrsamp(
        "r",
        fs=100,
        units=["mV"] * 2,
        sig_name=["I", "II"],
        e_d_signal=samples,
        samps_per_frame=[1, 2],
        fmt=["16"] * 2,
        adc_gain=[200.0] * 2,
        baseline=[0] * 2,
        write_dir=str(tmp_path),
    )

    def read(channel, chunk=None):
        options = {"path": str(tmp_path / "r"), "channel": channel, **WINDOWS}
        if chunk is None:
            return joined(wfdb_record.load(**options)).flatten()
        return wfdb_record.stream(**options, chunk=chunk).read(0, 2000)

    read.samples, read.header, read.signals = samples, tmp_path / "r.hea", tmp_path / "r.dat"
    return read


def flip(file, at):
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("chunk", [None, 300, 2000])
@pytest.mark.parametrize(("channel", "at"), [("I", 6 * 1999), ("II", 6 * 1999 + 4)])
def test_a_wrong_checksum_is_named(record, channel, at, chunk):
    expected = torch.tensor(
        record.samples[0] / 200 if channel == "I" else record.samples[1].reshape(-1, 2).mean(1) / 200
    )
    assert torch.allclose(record(channel, chunk), expected.float(), atol=1 / 200)
    other = record("I" if channel == "II" else "II", chunk)
    flip(record.signals, at)
    with pytest.raises(
        ValueError, match=rf"r cannot .*: channel {channel} has the checksum -?\d+, the header gives \d+:"
    ):
        record(channel, chunk)
    assert torch.equal(record("I" if channel == "II" else "II", chunk), other)
    path = record.header.with_suffix("")
    assert read_channels("r", path, channel, 1999).sig_len == 1999  # a part has no checksum


@pytest.mark.parametrize("chunk", [None, 300])
def test_the_checksum_of_a_skewed_signal_is_of_its_stored_samples(record, chunk):
    header = record.header.read_text(encoding="utf-8")
    record.header.write_text(header.replace("r.dat 16x1", "r.dat 16x1:7"), encoding="utf-8")
    skewed = torch.tensor(record.samples[0] / 200).float()
    if chunk is not None:
        with pytest.raises(ValueError, match="invalid samples, the first at 1993"):
            record("I", chunk)
    read = read_channels("r", record.header.with_suffix(""), "I", None).p_signal[:1993, 0]
    assert torch.equal(torch.tensor(read).float(), skewed[7:])
    flip(record.signals, 0)
    with pytest.raises(ValueError, match="channel I has the checksum"):
        record("I", chunk)


def test_a_header_without_checksums_is_read(record):
    first = record("I")
    lines = record.header.read_text(encoding="utf-8").splitlines()
    short = [line.partition("(")[0] if line.startswith("r.dat") else line for line in lines]
    record.header.write_text("\n".join(short) + "\n", encoding="utf-8")
    flip(record.signals, 6 * 10)
    changed = (record(0) - first).abs()
    assert changed.count_nonzero() == 1


def test_an_invalid_sample_is_not_averaged_with_the_valid_ones_of_its_frame(record):
    content = bytearray(record.signals.read_bytes())
    content[6 * 5 + 2 : 6 * 5 + 4] = (-(2**15)).to_bytes(2, "little", signed=True)
    record.signals.write_bytes(content)
    samples = read_channels("r", record.header.with_suffix(""), "II", 100).p_signal[:, 0]
    assert np.flatnonzero(np.isnan(samples)).tolist() == [5]


@pytest.mark.parametrize(
    ("names", "channel", "message"),
    [
        (("II", "II"), "II", "channel=II is the name of 0 and 1 in .*r: give one index"),
        (("1", "2"), 1, "channel=1 is the index of 2 and the name of channel 0 in"),
    ],
)
def test_a_channel_that_may_be_another_is_refused(record, names, channel, message):
    header = record.header.read_text(encoding="utf-8")
    record.header.write_text(
        header.replace(" I\n", f" {names[0]}\n").replace(" II\n", f" {names[1]}\n"), encoding="utf-8"
    )
    for chunk in (None, 300):
        with pytest.raises(ValueError, match=message):
            record(channel, chunk)


def test_differences_of_samples_are_not_read_in_chunks(record):
    header = record.header.read_text(encoding="utf-8")
    record.header.write_text(header.replace("r.dat 16x1", "r.dat 8x1"), encoding="utf-8")
    with pytest.raises(ValueError, match="its format 8 stores differences"):
        record("I", 300)


def test_a_header_that_claims_too_much_is_refused_in_chunks(record):
    header = record.header.read_text(encoding="utf-8")
    record.header.write_text(header.replace("2000", "1000000000000"), encoding="utf-8")
    with pytest.raises(ValueError, match="12000 bytes of at least 6000000000000"):
        record("I", 300)

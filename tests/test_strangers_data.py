"""Data files from a stranger: bounded cost, one path of checks for whole reads and chunks, clean names."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import wfdb
from PIL import Image

from san import train
from san.cli.errors import is_mistake, one_line
from san.cli.parts import instantiate
from san.data import csv_column, image_folder, numpy_array, wfdb_record
from san.data.arguments import checked_arguments
from san.reporting.console import console, print_table, texts
from san.storage.text import printable

SCALING = {"fractions": [0.5, 0.2, 0.3], "scaling": "none", "value_range": [-1, 1], "scaled_by": "train"}
WINDOWS = {"window": 10, "stride": None, "nan": "refuse", **SCALING}

PROJECT = Path(__file__).parents[1]


# Costs


def cost(code, folder, expected):
    """Run Python code in another process with a limit of 8 GB; return its processor time and the memory it added."""
    program = (
        "import resource, sys, torch\n"
        "from san.data import csv_column, image_folder\n"
        f"SCALING, WINDOWS = {SCALING!r}, {WINDOWS!r}\n"
        "torch.set_num_threads(1)\n"
        "used = lambda: resource.getrusage(resource.RUSAGE_SELF)\n"
        "before = used()\n"
        f"try: said = repr(({code}).shape)\n"
        "except ValueError as error: said = str(error)\n"
        "after = used()\n"
        "print(after.ru_utime - before.ru_utime, (after.ru_maxrss - before.ru_maxrss) * 1024, said)\n"
    )
    limited = lambda: resource.setrlimit(resource.RLIMIT_AS, (8 * 10**9,) * 2)  # noqa: E731
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=100, preexec_fn=limited
    )
    assert done.returncode == 0, done.stderr
    seconds, memory, said = done.stdout.split(" ", 2)
    assert expected in said
    return float(seconds), float(memory)


TABLES = {
    "equal headings": (",".join(["x"] * 49_000) + "\n" + ",".join(["1"] * 49_000) + "\n", "10000 columns at most"),
    "as many as are read": (",".join(["x"] * 10_000) + "\n" + "1,2\n" * 400, "(1, 10)"),
    "short rows": (",".join(["x"] * 10_000) + "\n" + "1\n" * 200_000, "most of its 200001 rows have fewer fields"),
    "lines in quotes": ('"a\n",' * 30_000 + "\n", "a quote in its first line is not closed"),
    "a field in quotes": ('"' + ("a" * 90_000 + "\n") * 5 + '",b\n1,2\n', "field larger than field limit"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
def test_a_table_of_many_columns_costs_little(tmp_path, name):
    text, expected = TABLES[name]
    (tmp_path / "x.csv").write_text(text, encoding="utf-8")
    code = "csv_column.load(path='x.csv', column=0, sampling_frequency=None, headings=True, **WINDOWS)"
    seconds, memory = cost(code, tmp_path, expected)
    assert seconds < 5
    assert memory < 300e6


@pytest.mark.slow
def test_many_small_images_cost_a_few_times_their_pixels(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (10_000, 64, 64), dtype=np.uint8)
    for index, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{index}.bmp")
    _, memory = cost("image_folder.load(path='.', size=None, **SCALING)", tmp_path, "(1, 64, 64)")
    assert memory < 10 * pixels.nbytes


@pytest.mark.parametrize("size", [None, [64, 64]])
def test_small_files_of_many_pixels_are_refused_together(tmp_path, size):
    for index in range(3):
        Image.new("1", (5000, 5000), 1).save(tmp_path / f"{index}.png")
    with pytest.raises(ValueError, match=r"images of 75000000 pixels in \d+ bytes, which may be decompression bombs"):
        image_folder.load(path=str(tmp_path), size=size, **SCALING)
    Image.new("L", (1500, 1500), 1).save(tmp_path / "large.bmp")  # its bytes are many enough
    for index in range(1, 3):
        Image.new("1", (5000, 5000), 1).save(tmp_path / f"{index}.png")
    loaded = image_folder.load(path=str(tmp_path), size=[8, 8], **SCALING)
    assert loaded.shape == (1, 8, 8)


def test_an_image_is_not_resized_beyond_the_largest_that_is_read(tmp_path):
    Image.new("L", (4, 4), 1).save(tmp_path / "x.png")
    with pytest.raises(ValueError, match=r"size=\[10000, 10000\] must be .* of 89478485 pixels at most"):
        image_folder.load(path=str(tmp_path), size=[10_000, 10_000], **SCALING)


# One path of checks for whole records and for chunks


def header(old, new):
    def damage(folder):
        file = folder / "r.hea"
        text = file.read_text(encoding="utf-8")
        assert old in text
        file.write_text(text.replace(old, new), encoding="utf-8")

    return damage


def instead(name, make):
    def damage(folder):
        (folder / name).unlink()
        make(folder / name)

    return damage


def contents(name, change):
    return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes()))


DAMAGES = {
    "more samples than bytes": (header("4000", "1000000000000"), "16000 bytes of at least 4000000000000"),
    "a number of 900 digits": (header("4000", "9" * 900), "damaged"),
    "no samples": (header(" 4000", " 0"), "r has no samples"),
    "channels": (header("r 2 100", "r 1000000 100"), "claims 1000000 channels and describes 2"),
    "samples a frame": (header("r.dat 16", "r.dat 16x1000000000"), "claims 2000000000 samples a frame"),
    "skew": (header("r.dat 16", "r.dat 16:1000000000"), "skewed by 1000000000"),
    "offset": (header("r.dat 16", "r.dat 16+1000000000000"), "16000 bytes of at least 1000000016000"),
    "compression": (header("r.dat 16", "r.dat 516"), "not a FLAC file"),
    "format": (header("r.dat 16", "r.dat 999"), "the format 999, which wfdb does not read"),
    "sampling frequency": (header("r 2 100", "r 2 0"), "sampling_frequency=0.0 must be positive"),
    "long line": (header("r 2 100", "9" * 50_000), "more than 1000 characters"),
    "comments": (header("r 2 100", "#" * 200_000 + "\nr 2 100"), "100000 at most are read"),
    "201 MB of comments": (lambda folder: os.truncate(folder / "r.hea", 201_000_000), "a header of 201000000 bytes"),
    "another folder": (header("r.dat", "../r.dat"), "damaged"),
    "a device": (header("r.dat", "/dev/zero"), "damaged"),
    "a link to a device": (instead("r.dat", lambda file: file.symlink_to("/dev/zero")), "is not a file"),
    "absent samples": (header("r.dat", "none.dat"), "is not a file"),
    "segments": (
        lambda folder: (folder / "r.hea").write_text("r/2 2 100 4000\na 2000\nb 2000\n", encoding="utf-8"),
        "has 2 segments",
    ),
    "too many segments": (header("r 2 100", "r/9 2 100"), "damaged"),
    "a pipe of samples": (instead("r.dat", os.mkfifo), "is not a file"),
    "a pipe of a header": (instead("r.hea", os.mkfifo), "r.hea is not a regular file"),
    "a folder of samples": (instead("r.dat", os.mkdir), "is not a file"),
    "a folder of a header": (instead("r.hea", os.mkdir), "r.hea is a folder"),
    "a dangling link of samples": (instead("r.dat", lambda file: file.symlink_to("x")), "is not a file"),
    "a dangling link of a header": (instead("r.hea", lambda file: file.symlink_to("x")), "is a link to a file that is"),
    "an empty header": (contents("r.hea", lambda _: b""), "damaged"),
    "a binary header": (contents("r.hea", lambda _: bytes(range(256)) * 9), "damaged"),
    "no bytes": (contents("r.dat", lambda _: b""), "0 bytes of at least 16000"),
    "fewer bytes": (contents("r.dat", lambda content: content[:-3]), "15997 bytes of at least 16000"),
    "a changed byte": (contents("r.dat", lambda content: b"\1" + content[1:]), "has the checksum"),
    "fewer samples": (header("4000", "3000"), "has the checksum"),
}  # fmt: skip


@pytest.fixture
def record(tmp_path):
    """Write a record of two channels; return a function that reads the first, in chunks or at once, and the error."""
    samples = np.random.default_rng(0).integers(-900, 900, (4000, 2))
    wfdb.wrsamp(
        *("r", 100, ["mV"] * 2, ["I", "II"]),
        d_signal=samples, fmt=["16"] * 2, adc_gain=[200.0] * 2, baseline=[0] * 2, write_dir=str(tmp_path),
    )  # fmt: skip

    def read(chunk):
        options = {"path": str(tmp_path / "r"), "channel": 0, **WINDOWS}
        with pytest.raises((ValueError, OSError)) as refusal:  # noqa: PT012 (either function)
            if chunk is None:
                wfdb_record.load(**options)
            else:
                wfdb_record.stream(**options, chunk=chunk)
            raise ValueError("no error")
        assert is_mistake(refusal.value)
        return one_line(refusal.value)

    return read


@pytest.mark.parametrize("name", DAMAGES)
def test_a_record_is_refused_by_the_same_line_in_chunks_and_at_once(record, tmp_path, name):
    damage, said = DAMAGES[name]
    assert [record(None), record(300)] == ["san: no error"] * 2
    damage(tmp_path)
    lines = {record(chunk) for chunk in (None, 300, 4000)}
    assert len(lines) == 1, lines
    assert said in lines.pop()


def test_a_compressed_record_may_not_have_many_samples_in_few_bytes(record, tmp_path):
    (tmp_path / "r.dat").write_bytes(b"fLaC" + bytes(996))
    header("r.dat 16", "r.dat 516")(tmp_path)
    header("4000", "60000000")(tmp_path)
    lines = {record(chunk) for chunk in (None, 300)}
    assert len(lines) == 1
    assert "has 1000 bytes, too few for the 60000000 samples" in lines.pop()
    header(" 60000000", "")(tmp_path)
    assert all("does not give the number of samples" in record(chunk) for chunk in (None, 300))


# Names on the terminal

NASTY = "$a\\frac$\x1b]0;title\x07\x9b2J\u202eb[/x][red]:heart:\u200b\tc"
FORBIDDEN = set("\x1b\x07\x9b\u202e\u200b\t")


def test_printable_text_has_no_character_that_a_terminal_obeys():
    assert printable(NASTY) == "$a\\frac$�]0;title��2J�b[/x][red]:heart:� c"
    assert printable("φ̄ naïve 心電図\n") == "φ̄ naïve 心電図\n"


def test_tables_and_lines_on_the_console_are_printable_text(capsys):
    print_table(texts(NASTY, NASTY), [[NASTY]])
    console().print(NASTY)
    said = capsys.readouterr().out
    assert not FORBIDDEN & set(said)
    assert said.count("[/x][red]:heart:") == 4


def shown(folder, command, *arguments):
    """Run a command in another process; return its exit code and all that it printed."""
    program = [sys.executable, "-m", f"san.{command}", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "PYTHONUTF8": "1"}
    done = subprocess.run(program, cwd=folder, env=environment, capture_output=True, timeout=200)
    return done.returncode, (done.stdout + done.stderr).decode()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["csv", "wfdb", "images"])
def test_names_from_files_reach_the_terminal_clean(tmp_path, kind):
    values = np.random.default_rng(0).standard_normal(4000).cumsum()
    name = NASTY.replace("/", "")  # of a file
    if kind == "csv":
        heading = NASTY.replace(";", "").replace("\t", "")
        (tmp_path / f"{name}.csv").write_text("\n".join([heading, *map(str, values)]), encoding="utf-8")
        given = [f"path='{name}.csv'", "dataset.window=500"]
    elif kind == "wfdb":
        (tmp_path / name).mkdir()
        wfdb.wrsamp("r", 100, ["mV"], ["I"], p_signal=values[:, None], fmt=["16"], write_dir=str(tmp_path / name))
        given = [f"path='{name}/r'", "channel=NONE"]
    else:
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.txt").touch()
        for index in range(10):
            Image.fromarray(np.random.default_rng(index).integers(1, 255, (9, 9), dtype=np.uint8)).save(
                tmp_path / name / f"{index}.png"
            )
        given = [f"path='{name}'"]
    code, said = shown(
        tmp_path, "train", f"dataset={kind}", *given, "trainer.max_epochs=1", "figure=[kernels]", "hydra.run.dir=run"
    )
    assert code == (kind == "wfdb"), said
    assert not FORBIDDEN & set(said)
    assert "title" in said
    if code == 0:
        dataset = json.loads((tmp_path / "run" / "results.json").read_text(encoding="utf-8"))["dataset"]
        assert "\x1b" in dataset
        code, said = shown(tmp_path, "evaluate", "checkpoint=run", "hydra.run.dir=evaluated")
        assert code == 0, said
        assert not FORBIDDEN & set(said)


# Mistakes


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.array(1.0), r"has 0 axes, the shape \[\], a single number: give an array of samples, \[samples\]"),
        (np.zeros(0), r"has the shape \[0\]: it has no samples"),
        (np.zeros((10, 0)), r"has the shape \[10,0\]: it has no samples"),
        (np.ones(2), "2 examples or samples are too few for fractions="),
    ],
    ids=lambda value: "" if isinstance(value, str) else str(value.shape),
)
def test_an_array_without_samples_is_described(tmp_path, array, said):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(ValueError, match=said):
        numpy_array.load(path=str(tmp_path / "x.npy"), sampling_frequency=None, **WINDOWS)


@pytest.mark.parametrize("dataset", ["csv", "images", "numpy", "wfdb"])
def test_a_missing_path_is_asked_for(run, tmp_path, dataset):
    line = f"san: dataset={dataset} needs path=PATH, which has no default: add it to the command"
    assert run(train.main, f"dataset={dataset}", f"hydra.run.dir={tmp_path}") == (1, line)


PLACES = {
    "is not there": lambda _: None,
    "is a folder": os.mkdir,
    "is not a regular file": os.mkfifo,
    "is a link to a file that is not there": lambda path: path.symlink_to("nowhere"),
}


@pytest.mark.parametrize("said", PLACES)
def test_what_is_no_file_is_named(tmp_path, said):
    for file in ("x.csv", "x.npy", "x.hea"):
        PLACES[said](tmp_path / file)
    for read in (
        lambda: csv_column.load(path=str(tmp_path / "x.csv"), column=None, sampling_frequency=None, **WINDOWS),
        lambda: numpy_array.load(path=str(tmp_path / "x.npy"), sampling_frequency=None, **WINDOWS),
        lambda: numpy_array.stream(path=str(tmp_path / "x.npy"), sampling_frequency=None, chunk=9, **WINDOWS),
        lambda: wfdb_record.load(path=str(tmp_path / "x"), channel=0, **WINDOWS),
    ):
        with pytest.raises(FileNotFoundError, match=f"{said}: give"):
            read()


def test_a_file_instead_of_a_folder_of_images_is_named(tmp_path):
    Image.new("L", (4, 4), 1).save(tmp_path / "x.png")
    with pytest.raises(FileNotFoundError, match=r"path=.*x\.png is a file: give a folder of"):
        image_folder.load(path=str(tmp_path / "x.png"), size=None, **SCALING)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
@pytest.mark.parametrize("name", ["x.csv", "x.npy", "images/x.png"])
def test_an_unreadable_file_is_one_line(compose, tmp_path, name):
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.touch(mode=0)
    kind = {".csv": "csv", ".npy": "numpy", ".png": "images"}[file.suffix]
    path = file.parent if kind == "images" else file
    with pytest.raises((ValueError, OSError), match="Permission denied"):
        instantiate(compose(f"dataset={kind}", f"path={path}"), "dataset")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("numpy dataset.window=abc", "dataset.window=abc must be an integer"),
        ("numpy dataset.window=true", "dataset.window=True must be an integer"),
        ("numpy dataset.stride=2.5", "dataset.stride=2.5 must be an integer or null"),
        ("numpy dataset.fractions=abc", "dataset.fractions=abc must be a list of numbers"),
        ("numpy dataset.fractions=[a,b,c]", r"dataset.fractions=\['a', 'b', 'c'\] must be a list of numbers"),
        ("images dataset.size=4", "dataset.size=4 must be a list of integers or null|must be a list or null"),
        ("images dataset.path=4", "dataset.path=4 must be text"),
        ("mnist dataset.n_validation=abc", "dataset.n_validation=abc must be an integer"),
        ("physionet dataset.split=abc", "dataset.split=abc must be a list"),
        ("physionet dataset.first_records=[a]", "dataset.first_records=.* must be keys and values|Error merging"),
        ("synthetic dataset.split=[-1,2,3]", r"split=\[-1, 2, 3\] must be three positive numbers of examples"),
        ("synthetic dataset.split=[]", r"split=\[\] must be three positive numbers of examples"),
        (f"synthetic dataset.seed={'9' * 40}", "dataset.seed=9+ must be an integer"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("untyped")
def test_a_value_of_another_type_is_named_by_its_key(compose, tmp_path, given, said):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal(9000))
    dataset, override = given.split()
    path = {"numpy": tmp_path / "x.npy", "images": tmp_path}.get(dataset)
    with pytest.raises(Exception, match=said) as refusal:
        instantiate(compose(f"dataset={dataset}", *([f"path={path}"] if path else []), override), "dataset")
    assert is_mistake(refusal.value)
    assert "TypeError" not in str(refusal.value)


def test_an_annotation_of_another_type_accepts_every_value():
    @checked_arguments
    def f(number: float, path: str, choice: dict | None, *, names: list[object] | None = None) -> tuple:
        return number, path, choice, names

    assert f(1, tmp := os.curdir, None, names=5) == (1, tmp, None, 5)
    assert f(np.float32(1), "x", {}) == (1, "x", {}, None)
    for wrong, said in ((("x", "x", None), "number=x must be a number"), ((None, "x", None), "number=null must be")):
        with pytest.raises(ValueError, match=said):
            f(*wrong)


def test_a_list_of_first_records_leads_to_no_other_folder(compose):
    given = ["dataset.database=x", "++dataset.first_records.x=../../y"]
    with pytest.raises(ValueError, match=r"record=\.\./\.\./y must be a name"):
        instantiate(compose(*given), "dataset")

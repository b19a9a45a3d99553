"""Tables as other programs write them: separators, decimal commas, comments, units and times."""

import numpy as np
import pandas as pd
import pytest
from conftest import OPTIONS, refusal

from san.data import csv_column
from san.data.reading import read_recording


def read_table(tmp_path, text, **options):
    (tmp_path / "x.csv").write_text(text, encoding="utf-8")
    return csv_column.read(path=str(tmp_path / "x.csv"), **options)


VALUES = [index + 0.5 for index in range(12)]


def table(separator=",", decimal=".", headings="time [s],ECG", times=None):
    times = [f"{index * 0.004:.3f}" for index in range(12)] if times is None else times
    rows = [f"{time}{separator}{value}" for time, value in zip(times, VALUES, strict=True)]
    lines = [headings.replace(",", separator)] * bool(headings) + [row.replace(".", decimal) for row in rows]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("comments", ["", "# recorded at night, by A\n% 2 columns\n"])
@pytest.mark.parametrize(("separator", "decimal"), [(",", "."), (";", "."), (";", ","), ("\t", "."), ("\t", ",")])
def test_every_dialect_is_read_alike(tmp_path, separator, decimal, comments):
    signal = read_table(tmp_path, comments + table(separator, decimal), column="ECG")
    assert signal.samples.tolist() == VALUES
    assert (signal.sampling_frequency, signal.channel) == (250, "ECG")


@pytest.mark.parametrize(
    ("text", "column", "name"),
    [
        (table(" ", headings=""), 1, "1"),
        (table("   ", headings="t,ECG"), "ECG", "ECG"),
        ("# time,ECG\n" + table(headings=""), "ECG", "ECG"),
        ("#\n# t [s];ECG\n" + table(";", ",", headings=""), "ECG", "ECG"),
        (table(headings="#,ECG"), "ECG", "ECG"),
        (table() + "\n# the end\n", "ECG", "ECG"),
    ],
    ids=["spaces", "aligned", "savetxt", "commented headings", "numbered rows", "last line"],
)
def test_headings_and_comments_are_told_apart(tmp_path, text, column, name):
    signal = read_table(tmp_path, text, column=column)
    assert (signal.samples.tolist(), signal.channel) == (VALUES, name)


MINUTES = pd.date_range("2026-03-01 23:59:59.980", periods=12, freq="4ms")


@pytest.mark.parametrize(
    ("heading", "times", "frequency"),
    [
        ("time", [index / 250 for index in range(12)], 250),
        ("Time (ms)", [4 * index for index in range(12)], 250),
        ("Zeit (ms)", [4 * index for index in range(12)], 250),
        ("t_ms", [4 * index for index in range(12)], 250),
        ("seconds", [2 * index for index in range(12)], 0.5),
        ("elapsed time [s]", [round(index / 360, 3) for index in range(900)], 360),
        ("elapsed time [s]", [round(index / 360, 3) for index in range(12)], None),
        ("timestamp", [str(one) for one in MINUTES], 250),
        ("time", [str(one.time()) for one in MINUTES[5:]] + ["00:00:00.028", "00:00:00.032"], 250),
        ("time", [*range(12)], None),
        ("temperature", [*range(12)], None),
        ("'Elapsed time'", [f"'0:00.{4 * index:03d}'" for index in range(12)], 250),
        ("timestamp", [f'"2026-01-01 00:00:00,{4 * index:03d}"' for index in range(12)], 250),
    ],
    ids=lambda value: str(value)[:20],
)
def test_the_sampling_frequency_is_taken_from_the_times(tmp_path, heading, times, frequency):
    text = (
        f"{heading},ECG\n"
        + "\n".join(f"{time},{value}" for time, value in zip(times, 75 * VALUES, strict=False))
        + "\n"
    )
    assert read_table(tmp_path, text, column="ECG").sampling_frequency == pytest.approx(frequency, abs=1e-9)


@pytest.mark.parametrize(
    ("times", "options", "said"),
    [
        ([0, 1, 2, 3, 4, 5.4, 6, 7, 8, 9, 10, 11], {}, "the times are irregular, that of row 5 is 0.4 off"),
        ([0, 1, 2, 3, 3, 5, 6, 7, 8, 9, 10, 11], {}, "the time of row 4 is not after that of the row before it"),
        ([0, 1, 2, "", 4, 5, 6, 7, 8, 9, 10, 11], {}, "row 3 has no time"),
        ([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1e6], {}, "the times are irregular"),
        ([*range(12)], {"sampling_frequency": 2}, "sampling_frequency=2 is not that of"),
        ([*range(12)], {"time": "clock"}, "time=clock is not a time of"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_times_that_are_not_those_of_a_signal_are_refused(tmp_path, times, options, said):
    text = table(times=times)
    refused = refusal(read_table, tmp_path, text, column="ECG", **options)
    assert said in refused
    assert "time=clock" in said or "time=false" in refused or "leave it out" in refused
    assert read_table(tmp_path, text, column="ECG", time=False, sampling_frequency=2).samples.tolist() == VALUES


def test_rows_that_are_missing_by_their_times_are_invalid_samples(tmp_path, caplog):
    times = [*range(5), *range(8, 15)]
    signal = read_table(tmp_path, table(times=times), column="ECG")
    assert np.flatnonzero(np.isnan(signal.samples)).tolist() == [5, 6, 7]
    assert "3 rows are missing in 1 gaps" in caplog.text
    given = {**OPTIONS, "window": 2, "sampling_frequency": None, "column": "ECG", "path": str(tmp_path / "x.csv")}
    assert "has 3 invalid samples, the first at 5" in refusal(csv_column.load, **given)
    splits = csv_column.load(**{**given, "nan": "interpolate"})
    assert splits.train.flatten().tolist() == [0.5, 1.5, 2.5, 3.5, 4.5, 4.75, 5.0, 5.25][: splits.train.numel()]
    assert splits.sampling_frequency == 1


@pytest.mark.parametrize(("separator", "decimal"), [(",", "."), (";", ",")])
def test_a_row_of_units_is_no_sample(tmp_path, separator, decimal):
    headings, rows = table(separator, decimal, headings="time,ECG").split("\n", 1)
    signal = read_table(tmp_path, f"{headings}\nms{separator}(mV)\n{rows}", column="ECG")
    assert signal.samples.tolist() == VALUES
    assert (signal.unit, signal.sampling_frequency) == ("mV", 250_000)


def test_blank_lines_of_one_column_are_counted(tmp_path, caplog):
    assert read_table(tmp_path, "ECG\n1\n\n2\n\n3\n\n\n").samples.tolist() == [1, 2, 3]
    assert "2 blank lines are skipped" in caplog.text


@pytest.mark.parametrize(
    ("text", "said"),
    [("# a\n% b\n", "it has comments alone"), ("a,b\n", "has no samples"), ("\udce4;b\n1;2\n", "is not text in UTF-8")],
)
def test_a_table_without_rows_or_in_another_encoding_is_refused(tmp_path, text, said):
    (tmp_path / "x.csv").write_bytes(text.encode(errors="surrogateescape"))
    assert said in refusal(read_recording, str(tmp_path / "x.csv"), column=0)


def test_texts_and_numbers_with_both_marks_are_invalid_samples(tmp_path):
    for text in ("1.234,5", "text", ""):
        samples = read_table(tmp_path, f"ECG;x\n1,5;1\n{text};1\n2,5;1\n", column="ECG").samples
        assert np.array_equal(samples, [1.5, np.nan, 2.5], equal_nan=True)
    assert "2,5 has a decimal comma; write decimal points" in refusal(
        read_table, tmp_path, "ECG;x\n1.5;1\n2,5;1\n", column="ECG"
    )

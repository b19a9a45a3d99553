"""The commands, the code and the quoted numbers of README.md and of the pages that belong to it."""

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import wfdb
from conftest import bare, table

import san
from san import decode, encode, sweep, train
from san.cli.config import PACKAGE
from san.reporting.paper_tables import TITLES
from san.reporting.report import summary

PROJECT = Path(__file__).parents[1]
README, OVERRIDES, OWN_FILES, USE, LIBRARY, SPEED = PAGES = [
    (PROJECT / name).read_text(encoding="utf-8")
    for name in ("README.md", *(f"docs/{page}.md" for page in ("overrides", "own_files", "use", "library", "speed")))
]
LINES = [
    shlex.split(line, comments=True)
    for page in PAGES
    for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("python ")
]
COMMANDS = [list(words) for words in dict.fromkeys(tuple(words[2:]) for words in LINES if words[1] == "-m")]
MAINS = {"san.train": train.main, "san.sweep": sweep.main}
USES = {"san.encode": encode.main, "san.decode": decode.main}
RUN, ENCODED = "outputs/train/DATE/TIME", "outputs/encode/DATE/TIME"
BLOCKS = [block for page in PAGES for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL)]
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven")
PREPARATIONS = [words[2] for words in LINES if words[1] == "-c"]


@pytest.fixture
def trained(run_train, tmp_path, monkeypatch):
    """Change to a folder with the first minute of the shipped record and a model that was trained on it."""
    monkeypatch.chdir(tmp_path)
    run_train(RUN, "trainer.max_epochs=1", "logger=[]", "figure=[]")
    record = wfdb.rdrecord(str(PACKAGE / "data" / "records" / "mitdb" / "208"), sampto=21600)
    wfdb.wrsamp("208", record.fs, record.units, record.sig_name, record.p_signal, fmt=record.fmt)


@pytest.mark.parametrize("arguments", [words for words in COMMANDS if words[0] in USES], ids=" ".join)
def test_commands_that_use_a_model_run_as_written(run, trained, tmp_path, arguments):
    module, *arguments = arguments
    if module == "san.decode":
        code, said = run(encode.main, f"checkpoint={RUN}", "path=208.hea", f"hydra.run.dir={ENCODED}")
        assert code == 0, said
    code, said = run(USES[module], *arguments, f"hydra.run.dir={tmp_path / 'used'}")
    assert code == 0, said
    assert [*(tmp_path / "used").rglob("reconstruction.npy" if module == "san.decode" else "events.csv")]


@pytest.mark.slow
def test_a_trained_model_is_used_as_written(trained):
    (example,) = [block for block in BLOCKS if "san.load" in block]
    names = {}
    exec(example, names)  # noqa: S102 (the project's own page)
    assert list(names["description"].events) == ["example", "kernel", "sample", "time", "amplitude"]
    assert names["description"].decode().shape == names["x"].samples.shape
    assert len(names["best"].candidates) > 4


@pytest.mark.slow
def test_the_estimator_is_used_as_written():
    (example,) = [block for block in BLOCKS if "import SAN" in block]
    names = {"X": np.random.default_rng(0).standard_normal((10, 60)).cumsum(1)}
    exec(example, names)  # noqa: S102 (the project's own page)
    assert names["pipe"].predict(names["X"]).shape == (10,)


@pytest.mark.parametrize("arguments", [words for words in COMMANDS if words[0] in MAINS], ids=" ".join)
def test_commands_run_as_written(run, compose, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    module, *arguments = arguments
    if any(argument.startswith("path=") for argument in arguments):
        for program in PREPARATIONS:
            exec(program, {})  # noqa: S102 (the project's own page)
    if "trainer=ddp" in arguments:  # run for real in test_command_line.py
        assert compose(*arguments).trainer.devices == 2
        return
    where = f"hydra.{'sweep' if '-m' in arguments else 'run'}.dir={tmp_path / 'run'}"
    code, said = run(MAINS[module], *bare(arguments, logger="csv", figure="[]"), "debug=one_batch", where)
    assert code == 0, said
    assert (tmp_path / "run" / ("sweep.csv" if "-m" in arguments else "results.json")).is_file()


def test_the_quoted_speeds_are_results_of_the_last_benchmark():
    rows = json.loads((PROJECT / "benchmarks" / "results" / "bench.json").read_text(encoding="utf-8"))["rows"]
    quoted = re.findall(r"\*\*([\d.]+)\*\*", SPEED)
    assert len(quoted) >= 4
    assert set(quoted) <= {f"{row['measured']:.2g}" for row in rows}


def test_the_quoted_misses_are_those_of_the_last_benchmark():
    rows = json.loads((PROJECT / "benchmarks" / "results" / "bench.json").read_text(encoding="utf-8"))["rows"]
    (paragraph,) = (text for text in SPEED.split("\n\n") if "miss their targets" in text)
    count, total = re.findall(r"^(\w+) of the (\d+) measurements miss their targets", paragraph)[0]
    missed = [row for row in rows if not row["met"]]
    assert (NUMBERS.index(count.lower()), int(total)) == (len(missed), len(rows))
    quoted = {float(number.replace(",", "")) for number in re.findall(r"[\d,]*\d(?:\.\d+)?", paragraph)}
    assert {float(row["target"]) for row in missed} <= quoted
    loops = [row["measured"] for row in missed if "plain loops" in row["what"]]
    others = [row["measured"] for row in missed if "plain loops" not in row["what"]]
    for measured in (min(loops), max(loops), *others):
        assert quoted & {float(f"{measured:.0f}"), float(f"{measured:.2g}")}


def test_the_page_on_reproduction_shows_the_last_run():
    found = json.loads((PROJECT / "docs" / "reproduction.json").read_text(encoding="utf-8"))
    assert (PROJECT / "docs" / "reproduction.md").read_text(encoding="utf-8") == summary(found)
    assert found["verdict"].keys() == set(TITLES.values())


def test_there_are_commands_to_run():
    assert len(COMMANDS) >= 14
    assert len(BLOCKS) == 4
    assert len(PREPARATIONS) == 4


def test_the_library_example_runs():
    (example,) = [block for block in BLOCKS if "network.encode" in block]
    names = {}
    exec(example, names)  # noqa: S102 (the project's own page)
    assert names["maps"].shape == (4, 1, 1000)


def test_the_lines_that_draw_the_first_figure_run_as_written(monkeypatch, tmp_path):
    """On a minute of the record instead of five."""
    landing = (PROJECT / "docs" / "index.md").read_text(encoding="utf-8")
    lines = BLOCKS[0]
    assert re.findall(r"```python\n(.*?)```", landing, re.DOTALL) == [lines]
    assert len([line for line in lines.splitlines() if line]) == 6
    ecg = san.example_ecg()
    monkeypatch.setattr(san, "example_ecg", lambda: replace(ecg, samples=ecg.samples[:21600]))
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(lines, names)  # noqa: S102 (the project's own page)
    assert names["description"].phi < 0.4
    assert (tmp_path / "ecg.png").is_file()
    assert len(table(tmp_path / "events.csv")) == len(names["description"].events)


def test_the_readme_is_short_and_has_one_figure():
    assert len(README.splitlines()) < 120
    assert len(re.findall(r"^!\[", README, re.MULTILINE)) == 1


def test_the_quick_start_names_targets_that_exist():
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    (block,) = re.findall(r"## Quick start\n\n```sh\n(.*?)```", README, re.DOTALL)
    for target in re.findall(r"^make ([a-z]+)", block, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)

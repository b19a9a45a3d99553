"""The end of a command that has a process to itself."""

import os
import subprocess
import sys

import pytest

ENDING = """
import atexit, os, sys, threading, time
from san.cli.program import program_of

class Kept:
    def __del__(self, write=os.write):
        write(1, b"freed\\n")

def main():
    sys.kept = Kept()
    atexit.register(print, "at exit")
    threading.Thread(target=lambda: (time.sleep(0.1), print("thread"))).start()
    print("main")
    {end}

program_of(main)()
"""


def start(program, *options):
    return subprocess.run([sys.executable, *options, program], capture_output=True, text=True, timeout=60, input="")


@pytest.fixture
def program(tmp_path):
    def program(end):
        path = tmp_path / "program.py"
        path.write_text(ENDING.format(end=end), encoding="utf-8")
        return path

    return program


@pytest.mark.parametrize(
    ("end", "code", "said"),
    [
        ("pass", 0, ""),
        ("sys.exit()", 0, ""),
        ("sys.exit(130)", 130, ""),
        ("sys.exit('san: a mistake')", 1, "san: a mistake\n"),
    ],
)
def test_a_program_ends_as_python_ends_it_but_frees_nothing(program, end, code, said):
    ended = start(program(end))
    assert (ended.returncode, ended.stderr) == (code, said)
    assert ended.stdout.splitlines() == ["main", "thread", "at exit"]


def test_an_error_is_a_traceback(program):
    ended = start(program("raise KeyError('a')"))
    assert ended.returncode == 1
    assert ended.stderr.endswith("KeyError: 'a'\n")


def test_a_program_that_is_profiled_or_inspected_ends_as_usual(program, tmp_path):
    path = program("pass")
    start(path, "-m", "cProfile", "-o", tmp_path / "profile")
    assert (tmp_path / "profile").stat().st_size
    assert "freed" in start(path, "-i").stdout


@pytest.mark.skipif(sys.platform == "win32", reason="closes a pipe that a program writes to")
def test_a_reader_that_reads_no_more_is_reported_as_by_python(tmp_path):
    path = tmp_path / "program.py"
    ended = []
    for last in ("program_of(print)()", "print()"):
        path.write_text(f"from san.cli.program import program_of\n{last}\n", encoding="utf-8")
        reader, writer = os.pipe()
        os.close(reader)
        buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        run = subprocess.run([sys.executable, path], stdout=writer, stderr=subprocess.PIPE, env=buffered, timeout=60)
        os.close(writer)
        ended.append((run.returncode, run.stderr))
    assert ended[0] == ended[1]
    assert ended[0][0] == 120

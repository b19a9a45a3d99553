"""What results say of the software that they come from, in checkouts and installations of their own."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from san.cli.config import CONF, PACKAGE

EDITED = """
from pathlib import Path
from san.cli.launch import command
from san.reporting.provenance import code_fingerprint, versions

def edit(config):
    Path("san", "new.py").touch()
    print(versions()["commit"], code_fingerprint({}))

main = command("train", implementation="edited.edit")
"""
PROGRAM = (
    "import json; from san.reporting.provenance import code_fingerprint, versions; "
    "print(json.dumps([versions(), code_fingerprint({})]))"
)


def git(folder, *arguments):
    author = ["-c", "user.name=test", "-c", "user.email=test", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", folder, *author, *arguments]
    return subprocess.check_output(command, text=True).strip()


def told(folder, **environment):
    """The versions and the fingerprint of the code that a program tells which finds the package in a folder."""
    said = subprocess.check_output([sys.executable, "-c", PROGRAM], cwd=folder, env={**os.environ, **environment})
    return json.loads(said)


@pytest.fixture
def copy(tmp_path):
    for source, name in ((PACKAGE, "san"), (CONF, "conf")):
        shutil.copytree(source, tmp_path / "copy" / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "copy" / ".gitignore").write_text("__pycache__/\n")
    return tmp_path / "copy"


@pytest.fixture
def checkout(copy):
    git(copy, "init", "--quiet")
    git(copy, "add", ".")
    git(copy, "commit", "--quiet", "--message=first")
    return copy


@pytest.mark.slow
def test_a_result_names_the_commit_and_whether_it_was_changed(checkout):
    commit = git(checkout, "rev-parse", "HEAD")
    assert told(checkout)[0]["commit"] == commit
    (checkout / "notes.txt").write_text("no part of the program")
    assert told(checkout)[0]["commit"] == commit
    (checkout / "san" / "new.py").write_text("")
    assert told(checkout)[0]["commit"] == f"{commit}-dirty"
    (checkout / "san" / "new.py").unlink()
    (checkout / "conf" / "train.yaml").write_text("seed: 1\n")
    assert told(checkout)[0]["commit"] == f"{commit}-dirty"


@pytest.mark.slow
def test_the_commit_and_the_code_are_those_of_the_source_when_the_command_began(checkout, tmp_path):
    commit, code = git(checkout, "rev-parse", "HEAD"), told(checkout)[1]
    (tmp_path / "edited.py").write_text(EDITED)
    command = [sys.executable, "-c", "import edited; edited.main()", f"hydra.run.dir={tmp_path / 'run'}"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    said = subprocess.check_output(command, cwd=checkout, env=environment, text=True)
    assert said.split() == [commit, code]
    assert told(checkout)[1] != code


@pytest.mark.slow
def test_there_is_no_commit_without_a_checkout_or_without_git(copy, tmp_path):
    git(tmp_path, "init", "--quiet")  # of another project, around the place where the package is installed
    git(tmp_path, "commit", "--quiet", "--allow-empty", "--message=other")
    assert "commit" not in told(copy)[0]
    git(copy, "init", "--quiet")  # with no commit yet
    assert "commit" not in told(copy)[0]
    git(copy, "commit", "--quiet", "--allow-empty", "--message=first")
    assert "commit" in told(copy)[0]
    assert "commit" not in told(copy, PATH=str(tmp_path))[0]


@pytest.mark.slow
def test_an_edit_of_the_source_changes_the_code_and_a_commit_of_anything_else_does_not(checkout, tmp_path):
    first, code = told(checkout)
    (checkout / "notes.txt").write_text("no part of the program")
    git(checkout, "add", ".")
    git(checkout, "commit", "--quiet", "--message=second")
    second, same = told(checkout)
    assert first["commit"] != second["commit"]
    assert same == code
    with (checkout / "san" / "training" / "classifiers.py").open("a") as file:
        file.write("# edited\n")
    assert told(checkout)[1] != code
    git(checkout, "checkout", "--quiet", ".")
    assert told(checkout)[1] == code
    metadata = tmp_path / "other" / "numpy-0.1.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 0.1\n")
    third, other = told(checkout, PYTHONPATH=str(metadata.parents[1]))
    assert third["numpy"] == "0.1"
    assert other != code

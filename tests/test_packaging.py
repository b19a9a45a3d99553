"""The distribution and its extras have one name, and what is installed is locked, with hashes, for every Python."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import san

PROJECT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WRITTEN = [path for files in ("*.md", "docs/*.md", "conf/**/*.yaml", "san/**/*.py") for path in PROJECT.glob(files)]
PYTHONS = [line.rpartition(" ")[2] for line in PYPROJECT["classifiers"] if "Python :: 3." in line]
LOCK = (PROJECT / "constraints.txt").read_text(encoding="utf-8")
LOCKED = [Requirement(line) for line in re.findall(r"^(\w.*==.*?) \\$", LOCK, re.MULTILINE)]
EXTRAS = PYPROJECT["optional-dependencies"]
ASKED = [*PYPROJECT["dependencies"], *(requirement for extra in EXTRAS.values() for requirement in extra)]


def test_every_instruction_to_install_an_extra_names_this_distribution_and_an_extra_that_it_has():
    assert PYPROJECT["name"] == san.DISTRIBUTION
    told = [name for file in WRITTEN for name in re.findall(r"pip install '(.*?)'", file.read_text(encoding="utf-8"))]
    assert len(told) > 5
    known = {f"{name}[{extra}]" for name in (san.DISTRIBUTION, "{DISTRIBUTION}") for extra in EXTRAS}
    assert set(told) <= known


@pytest.mark.parametrize("python", PYTHONS)
def test_every_requirement_is_locked_at_a_version_that_it_allows(python):
    environment = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
    locked = {pin.name: pin.specifier for pin in LOCKED if not pin.marker or pin.marker.evaluate(environment)}
    for requirement in map(Requirement, ASKED):
        assert requirement.name in locked, f"{requirement} is not in constraints.txt: make lock"
        (pin,) = locked[requirement.name]
        assert requirement.specifier.contains(pin.version), f"{requirement} is locked at {pin.version}: make lock"


def test_every_locked_package_has_a_hash():
    assert len(LOCKED) > len(ASKED)
    entries = re.split(r"^(?=\w)", LOCK, flags=re.MULTILINE)[1:]
    assert len(entries) == len(LOCKED)
    assert all("--hash=sha256:" in entry for entry in entries)


def test_the_workflow_runs_all_checks_on_every_supported_python():
    jobs = yaml.safe_load((PROJECT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))["jobs"]
    assert jobs["check"]["strategy"]["matrix"]["python-version"] == PYTHONS
    assert [step["run"] for step in jobs["check"]["steps"] if "run" in step] == [".ci/run"]
    assert all("timeout-minutes" in job for job in jobs.values())

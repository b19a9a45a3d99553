"""The distribution and its extras have one name, and what is installed is locked, with hashes, for every Python."""

import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
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


def test_the_version_is_the_same_in_all_documents():
    citation = yaml.safe_load((PROJECT / "CITATION.cff").read_text(encoding="utf-8"))
    changelog = (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## \[([\d.]+)\] - (\S+)$", changelog, re.MULTILINE)
    assert (citation["version"], citation["date-released"]) == released[0]
    assert san.__version__ == released[0][0]


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


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """The sdist of this checkout, and the wheel that is built from the sdist alone."""
    folder = tmp_path_factory.mktemp("distributions")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, PROJECT]
    subprocess.run(build, check=True, capture_output=True, timeout=300)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


@pytest.mark.slow
def test_the_distributions_have_valid_metadata_and_the_version_of_the_package(distributions):
    checked = [sys.executable, "-m", "twine", "check", "--strict", *distributions]
    assert subprocess.run(checked, check=False, capture_output=True, timeout=60).returncode == 0
    assert all(f"-{san.__version__}" in file.name for file in distributions)


@pytest.mark.slow
def test_the_sdist_has_what_its_targets_need(distributions):
    with tarfile.open(distributions[0]) as archive:
        files = {name.partition("/")[2] for name in archive.getnames()}
    assert {"Makefile", "constraints.txt", "docs/conf.py", "examples/README.txt", "tests/conftest.py"} <= files
    assert not [name for name in files if name.startswith(("docs/api/", "docs/gallery/", "outputs/", "dist/"))]


@pytest.mark.slow
def test_the_wheel_works_in_an_environment_of_its_own_from_another_folder(distributions, tmp_path):
    """Install the wheel in an environment that has the requirements of this one, and no checkout."""
    venv.create(tmp_path / "environment", with_pip=True)
    python, train = (tmp_path / "environment" / "bin" / name for name in ("python", "san-train"))

    def run(*command):
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=300, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    run(python, "-m", "pip", "install", "--no-deps", "--no-index", distributions[1])
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (site / "requirements.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    assert Path(run(python, "-c", "import san; print(san.__file__)").strip()).is_relative_to(site)
    run(train, "debug=one_batch", "hydra.run.dir=run")
    assert (tmp_path / "run" / "results.json").is_file()
    assert float(run(python, "-c", "import san; print(san.example_ecg().sampling_frequency)")) == 360

"""The recipes of CONTRIBUTING.md, followed as written in a copy of the project."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
CONTRIBUTING = (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8")
RECIPES = dict(re.findall(r"^### (.+?)\n(.*?)(?=^### |\Z)", CONTRIBUTING, re.MULTILINE | re.DOTALL))
FILES = re.compile(r"\b(Write|Append to)\s`([^`]+)`[^`]*?:\n\n```(?:python|yaml)\n(.*?)```", re.DOTALL)
SMALL = {  # for data of thirty images
    "dataset=mnist": ["dataset.n_validation=10", "batch_size=2", "classifier.batch_size=2", "classifier.max_epochs=1"],
}
CONTRACTS = [f"tests/test_{name}.py" for name in ("activations", "config", "data", "figures")]


def follow(recipe, project):
    """Write the files of a recipe."""
    for verb, name, content in FILES.findall(recipe):
        assert (project / name).exists() == (verb == "Append to")
        with (project / name).open("a", encoding="utf-8") as file:
            file.write(content if verb == "Write" else f"\n\n{content}")


def start(project, *command, **environment):
    inherited = {key: value for key, value in os.environ.items() if key not in ("SAN_DATA_DIR", "PYTHONPATH")}
    finished = subprocess.run(
        command, cwd=project, env=inherited | environment, capture_output=True, text=True, timeout=600
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


@pytest.fixture
def project(tmp_path):
    for name in ("san", "conf", "tests", ".mypy_cache"):  # with the caches of numba and mypy
        if (PROJECT / name).is_dir():
            shutil.copytree(PROJECT / name, tmp_path / "project" / name)
    shutil.copy(PROJECT / "pyproject.toml", tmp_path / "project")
    return tmp_path / "project"


def test_there_are_four_recipes_and_every_block_of_code_is_used():
    assert len(RECIPES) == 4
    for recipe in RECIPES.values():
        assert len(FILES.findall(recipe)) == len(re.findall(r"```(?:python|yaml)", recipe)) == 2
        assert len(re.findall("```sh", recipe)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_recipe_works_as_written(project, write_images, tmp_path, recipe):
    write_images("MNIST")
    follow(recipe, project)
    (block,) = re.findall(r"```sh\n(.*?)```", recipe, re.DOTALL)
    for line in block.splitlines():
        python, *arguments = shlex.split(line)
        assert python == "python"
        if arguments[0] == "-m":
            arguments += ["debug=one_batch", f"hydra.run.dir={tmp_path / 'run'}", *SMALL.get(arguments[2], [])]
        start(project, sys.executable, *arguments, SAN_DATA_DIR=str(tmp_path))
        if arguments[0] == "-m":
            assert (tmp_path / "run" / "results.json").is_file()


@pytest.mark.slow
def test_the_files_of_the_recipes_pass_the_checks_of_the_project(project):
    for recipe in RECIPES.values():
        follow(recipe, project)
    for check in (["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]):
        start(project, sys.executable, "-m", *check)
    names = [Path(name).stem for recipe in RECIPES.values() for _, name, _ in FILES.findall(recipe) if "conf/" in name]
    said = start(project, sys.executable, "-m", "pytest", "-n0", "-v", *CONTRACTS, "-k", " or ".join(names))
    for name in names:
        assert re.search(rf"\[.*\b{name}\b.*\] PASSED", said)

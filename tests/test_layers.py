"""The layers of the package, enforced by folder: every import in every module is read, none is run."""

import ast
import json
import os
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path

import pytest

import san

PACKAGE = Path(san.__file__).parent
# From low to high: a file imports from its own layer and from lower ones. A name with a slash is a folder.
LAYERS = (
    ("__init__.py",),
    ("ops/",),
    ("functional.py", "networks.py", "activations.py", "metrics.py", "averages.py"),
    ("extensions/",),
    ("storage/",),
    ("data/",),
    ("figures/",),
    ("reporting/",),
    ("peers/",),
    ("training/",),
    ("checkpoint.py",),
    ("cli/",),
    ("use/",),
    ("commands/",),
    ("train.py", "sweep.py", "evaluate.py", "compare.py", "reproduce.py", "encode.py", "decode.py"),
)
CORE, COMMANDS = LAYERS[2], LAYERS[-1]
IMPLEMENTATIONS = "commands/"
MATHEMATICS = ("ops/", *CORE, "extensions/")
COMPILED = "ops/compiled/"
# The only places of a package; all others may be imported in every folder that is not the mathematics.
PLACES = {
    "hydra": ("cli/", "commands/"),
    "omegaconf": ("cli/", "commands/"),
    "pytorch_lightning": ("training/", "cli/", "commands/"),
    "lightning_fabric": ("training/", "cli/"),
    "numba": (COMPILED,),
}
# Imports with a replacement if the package is missing.
OPTIONAL = {"averages.py": {"torchmetrics"}, "ops/shapes.py": {"jaxtyping"}}
MAX_FILES, MAX_CORE_LINES = 14, 600


@dataclass(frozen=True)
class Import:
    """An import of a module, anywhere in a file: at its top, in a function, or for type checkers alone."""

    path: str
    line: int
    module: str
    guarded: bool

    @property
    def package(self):
        return self.module.partition(".")[0]

    def __str__(self):
        return f"san/{self.path}:{self.line} imports {self.module}"


def paths():
    return sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


def module_of(path):
    return ".".join(["san", *Path(path).with_suffix("").parts]).removesuffix(".__init__")


PATHS = {module_of(path): path for path in paths()}


def is_guarded(ancestors):
    """Return whether an import is for type checkers alone, or in a ``try`` that handles an absent package."""
    for above, below in pairwise(ancestors):
        if isinstance(above, ast.If) and ast.unparse(above.test) == "TYPE_CHECKING" and below in above.body:
            return True
        handled = [ast.unparse(handler.type or ast.Name("")) for handler in getattr(above, "handlers", [])]
        if isinstance(above, ast.Try) and below in above.body and {"ImportError", "ModuleNotFoundError"} & {*handled}:
            return True
    return False


def imports_of(path):
    """Yield the imports of a file of the package; a name imported from a package of san may be a module."""

    def walk(node, ancestors):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, is_guarded([*ancestors, node])
        for child in ast.iter_child_nodes(node):
            yield from walk(child, [*ancestors, node])

    for node, guarded in walk(ast.parse((PACKAGE / path).read_text(encoding="utf-8")), []):
        if isinstance(node, ast.Import):
            modules = {alias.name for alias in node.names}
        else:
            assert node.level == 0, f"san/{path}:{node.lineno} imports by a relative name"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = {name if name in PATHS else node.module for name in names}
        for module in sorted(modules):
            yield Import(path, node.lineno, module, guarded)


def is_in(path, places):
    return any(path.startswith(place) if place.endswith("/") else path == place for place in places)


def layer(path):
    (found,) = (index for index, places in enumerate(LAYERS) if is_in(path, places))
    return found


IMPORTS = [one for path in PATHS.values() for one in imports_of(path)]
# The public names of the package are imported when they are first used.
INTERNAL = [one for one in IMPORTS if one.package == "san" and not (one.path == "__init__.py" and one.guarded)]
FOREIGN = [one for one in IMPORTS if one.package not in {"san", *sys.stdlib_module_names}]


@pytest.mark.parametrize("path", PATHS.values())
def test_every_file_is_in_one_layer(path):
    assert sum(is_in(path, places) for places in LAYERS) == 1


def test_every_imported_module_exists():
    assert [str(one) for one in INTERNAL if one.module not in PATHS] == []


def test_no_file_imports_a_higher_layer():
    upwards = [one for one in INTERNAL if layer(PATHS[one.module]) > layer(one.path)]
    assert [str(one) for one in upwards] == []


def test_no_imports_form_a_circle():
    graph = defaultdict(set)
    for one in INTERNAL:
        graph[one.path].add(PATHS[one.module])
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_no_file_imports_a_command():
    """Check that a command imports neither another command nor, before it runs, an implementation."""
    commands = [one for one in INTERNAL if is_in(PATHS[one.module], COMMANDS)]
    implementations = [one for one in INTERNAL if PATHS[one.module].startswith(IMPLEMENTATIONS)]
    assert [str(one) for one in [*commands, *implementations]] == []


def test_every_command_has_an_implementation():
    implemented = {path.removeprefix(IMPLEMENTATIONS) for path in PATHS.values() if path.startswith(IMPLEMENTATIONS)}
    assert implemented == {"__init__.py", *COMMANDS}


def test_few_files_are_at_the_top():
    assert len([path for path in PATHS.values() if "/" not in path]) <= MAX_FILES


def test_the_core_is_short():
    files = [PACKAGE / f"{name}.py" for name in ("activations", "networks", "metrics")]
    assert sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files) < MAX_CORE_LINES


def test_the_mathematics_imports_torch_alone():
    def is_allowed(one):
        if one.package == "torch" or is_in(one.path, [COMPILED]):
            return True
        return one.guarded and one.package in OPTIONAL.get(one.path, ())

    foreign = [one for one in FOREIGN if is_in(one.path, MATHEMATICS) and not is_allowed(one)]
    assert [str(one) for one in foreign] == []


def test_the_compiled_operators_import_numpy_numba_and_torch_alone():
    compiled = [one for one in FOREIGN if is_in(one.path, [COMPILED])]
    assert [str(one) for one in compiled if one.package not in ("numba", "numpy", "torch")] == []
    outside = [one for one in INTERNAL if PATHS[one.module].startswith(COMPILED) and not is_in(one.path, [COMPILED])]
    assert [str(one) for one in outside if not (one.guarded and is_in(one.path, ["ops/"]))] == []


@pytest.mark.parametrize("package", PLACES)
def test_a_package_is_imported_in_its_places_alone(package):
    found = [one for one in FOREIGN if one.package == package]
    assert found, f"{package} is imported nowhere: remove it from PLACES"
    assert [str(one) for one in found if not is_in(one.path, PLACES[package])] == []


# Prints the state of the process before and after it imports all modules of san, all other packages being imported.
WATCHED = """
import importlib, json, logging, os, pkgutil, signal, sys, threading, warnings
from contextlib import suppress

for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_DFL)  # the parent's may be inherited
for module in sys.argv[1:]:
    with suppress(ImportError):  # of an optional package
        importlib.import_module(module)

import torch
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from matplotlib import rcParams
from omegaconf import OmegaConf

loaders = []

def state():
    loaders.append(ConfigLoaderImpl.load_configuration)
    return {
        "warning filters": [str(entry) for entry in warnings.filters],
        "environment": dict(os.environ),
        "resolvers": [OmegaConf.has_resolver(name) for name in ("oc.create", "oc.decode", "oc.env")],
        "loader of Hydra": loaders[0] is loaders[-1],
        "threads": [torch.get_num_threads(), torch.get_num_interop_threads()],
        "default dtype": str(torch.get_default_dtype()),
        "random state": torch.get_rng_state().sum().item(),
        "matplotlib": {name: str(value) for name, value in rcParams.items()},
        "logging": [logging.raiseExceptions, logging.root.level, len(logging.root.handlers)],
        "hooks": [str(hook) for hook in (sys.excepthook, threading.excepthook)],
        "signals": [str(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)],
        "threads of Python": threading.active_count(),
        "path": [*sys.path],
    }

def refuse(name):
    raise

before = state()
import san
modules = [module.name for module in pkgutil.walk_packages(san.__path__, "san.", onerror=refuse)]
for module in modules:
    importlib.import_module(module)
print(json.dumps({"modules": modules, "before": before, "after": state()}))
"""


@pytest.mark.slow
def test_importing_any_module_changes_nothing_outside_the_package(tmp_path):
    (tmp_path / "watched.py").write_text(WATCHED, encoding="utf-8")
    others = sorted({one.module for one in FOREIGN})
    command = [sys.executable, tmp_path / "watched.py", *others]
    # This process has imported the package, so its variables may already be changed.
    environment = {"PYTHONPATH": str(PACKAGE.parent)} | {
        name: os.environ[name] for name in ("HOME", "PATH") if name in os.environ
    }
    watched = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert watched.returncode == 0, watched.stderr
    found = json.loads(watched.stdout)
    assert {"san", *found["modules"]} == set(PATHS)
    assert {name: value for name, value in found["after"].items() if value != found["before"][name]} == {}
    assert found["after"]["resolvers"] == [True, True, True]

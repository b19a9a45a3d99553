"""A configuration file from outside the package chooses parts and values, and nothing else."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import results
from hydra._internal import config_repository, defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from mutations import MEMORY, SECONDS
from omegaconf import OmegaConf

from san import train
from san.cli import composed_once, composition, config

PROJECT = Path(__file__).parents[1]
GLOBAL = "# @package _global_\n"
TOO_MUCH = "more than 10000 values or 20 levels"


def doubled(levels):
    """Return YAML whose last key has 10 to the power of ``levels`` values."""
    lines = ["k0: &k0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"k{level}: &k{level} [{', '.join([f'*k{level - 1}'] * 10)}]" for level in range(1, levels)]
    return "\n".join(lines)


REFUSED = {
    "mode": ("hydra: {mode: MULTIRUN}", "sets hydra.mode"),
    "launcher": ("hydra: {launcher: {n_jobs: 2}}", "sets hydra.launcher"),
    "sweeper": ("hydra: {sweeper: {params: {seed: '1,2'}}}", "sets hydra.sweeper"),
    "callbacks": (
        "hydra: {callbacks: {x: {_target_: hydra.experimental.callbacks.LogJobReturnCallback}}}",
        "callbacks",
    ),
    "searchpath": ("hydra: {searchpath: ['pkg://this']}", "sets hydra.searchpath"),
    "env_set": ("hydra: {job: {env_set: {PATH: hacked}}}", "sets hydra.job"),
    "chdir": ("hydra: {job: {chdir: true}}", "sets hydra.job"),
    "output": ("hydra: {output_subdir: ../../x}", "sets hydra.output_subdir"),
    "reference": ("x: {launcher: {n_jobs: 2}}\nhydra: ${x}", "sets hydra"),
    "choice": ("defaults: [override /hydra/launcher: submitit_local]", "chooses /hydra/launcher"),
    "choice_without_override": ("defaults: [/hydra/launcher: submitit_local]", "chooses /hydra/launcher"),
    "choice_elsewhere": ("defaults: [/activation@_global_.hydra.launcher: relu]", "chooses /activation@_global_.hydra"),
    "choice_by_path": ("defaults: [hydra/launcher/joblib]", "chooses hydra/launcher/joblib"),
    "choice_by_reference": ("defaults: ['/${x}/launcher': joblib]", "chooses /${x}/launcher"),
    "choice_above": ("defaults: [/activation: ../hydra/launcher/joblib]", "is not a name in a folder"),
    "file_above": ("defaults: [../../elsewhere/x]", "is not a name in a folder"),
    "environment": ("seed: ${oc.env:HOME}", "sets seed=${oc.env:HOME}"),
    "environment_in_a_list": ("x: [{y: 'a ${oc.env:HOME}'}]", "sets x.y=a ${oc.env:HOME}"),
    "environment_by_reference": ("x: oc\nseed: '${${x}.env:HOME}'", "sets seed"),
    "environment_in_a_resolver": ("seed: ${oc.select:seed,${oc.env:HOME}}", "sets seed"),
    "aliases": (doubled(9), TOO_MUCH),
    "alias_of_itself": ("a: &a [*a]", TOO_MUCH),
    "levels": (f"a: {'[' * 5000}{']' * 5000}", TOO_MUCH),
    "values": (f"a: [{'1, ' * 20_000}]", TOO_MUCH),
    "bytes": (f"a: {'x' * 200_000}", "a configuration file may have 100000"),
    "references": (f"a: {'${seed}' * 1000}", "sets a to a text with references of more than 500"),
    "syntax": ("a: [1\nb: 2", "is not valid YAML"),
    "tag": ("a: !!python/object/apply:os.system ['touch hacked']", "cannot be read as a configuration"),
    "duplicate": ("seed: 1\nseed: 2", "duplicate key seed"),
    "defaults": ("defaults: 3", "cannot be read as a configuration"),
    "no_mapping": ("[1]", "has a list, not keys and values"),
    "overrides": ("overrides: ['hydra.searchpath=[pkg://this]']", "sets overrides"),
    "key": ("x: {1: 2}", "has the key 1 in x, which is not a text"),
    "bytes_of_yaml": ("x: !!binary aGFja2Vk", "sets x to a bytes"),
    "path_of_yaml": ("x: !!python/object/apply:pathlib.Path [hacked]", "sets x to a PosixPath"),
    "choice_of_a_number": ("defaults: [{1: x}]", "cannot be read as a configuration"),
    "control_character": ("a: \x01", "is not valid YAML"),
}


@pytest.fixture
def refused(run, tmp_path, monkeypatch):
    """Run ``san.train`` with arguments that must end in one line, and return the line."""
    monkeypatch.chdir(tmp_path)

    def refused(*arguments):
        code, said = run(train.main, *arguments, "debug=one_batch")
        assert (code, len(said.strip().splitlines())) == (1, 1), said
        assert {path.name for path in tmp_path.iterdir()} <= {"own", "other"}
        return said

    return refused


def write(place, content):
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(content, encoding="utf-8")


@pytest.mark.parametrize(("content", "said"), REFUSED.values(), ids=REFUSED)
def test_an_experiment_of_a_stranger_is_refused_in_one_line(refused, tmp_path, content, said):
    file = tmp_path / "own" / "experiment" / "evil.yaml"
    write(file, GLOBAL + content)
    line = refused("--config-dir=own", "experiment=evil")
    assert line.startswith(f"san: {file} ")
    assert said in line


ASSEMBLED = {  # a reference that only appears when another one is replaced
    "a resolver": "${p}{oc.create:{_target_:os.mkdir,path:hacked}}",
    "the environment": "${p}{oc.env:HOME}",
}
LOGGER = "logger: {x: {_target_: pytorch_lightning.loggers.CSVLogger, save_dir: '%s', name: '%s'}}"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "devices"), [*zip(ASSEMBLED.values(), (1, 2), strict=True)], ids=ASSEMBLED)
def test_an_assembled_reference_is_not_resolved(tmp_path, name, devices):
    content = f"{GLOBAL}p: $\n{LOGGER % ('${paths.output_dir}', name)}\n"
    write(tmp_path / "own" / "debug" / "evil.yaml", content)
    said = started(tmp_path, "debug=evil", "trainer.max_epochs=1", "trainer=ddp", "trainer.accelerator=cpu",
                   f"trainer.devices={devices}")  # fmt: skip
    assert "assembled to a reference" in said


@pytest.mark.slow
def test_the_ranks_of_a_sweep_check_the_files_that_they_compose(tmp_path):
    target = "{_target_: san.activations.Extrema, border_tolerance: 2}"
    write(tmp_path / "own" / "activation" / "evil.yaml", f"{GLOBAL}activation: {target}\nstolen: ${{oc.env:HOME}}\n")
    said = started(tmp_path, "activations=[evil]", "kernel_sizes=[8]", "trainer.max_epochs=1", "trainer=ddp",
                   "trainer.accelerator=cpu", "trainer.devices=2", command="san.sweep")  # fmt: skip
    assert "sets stolen=${oc.env:HOME}" in said


def started(folder, *arguments, command="san.train"):
    """Run a command in a process of its own that must fail with one line, and return the line."""
    given = [f"--config-dir={folder / 'own'}", "dataset=synthetic", "figure=[]" if command == "san.train" else "seed=0"]
    process = [sys.executable, "-m", command, *given, *arguments, f"hydra.run.dir={folder / 'run'}"]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    finished = subprocess.run(process, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert (finished.returncode, finished.stderr.count("\n")) == (1, 1), finished.stderr
    assert not (folder / "hacked").exists()
    return finished.stderr


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/", "ftp://127.0.0.1:9/a", "simplecache::http://127.0.0.1:9"])
@pytest.mark.parametrize("content", [LOGGER % ("%s", "x"), "paths: {output_dir: '%s'}", "paths: {cache_dir: '%s'}"])
def test_no_file_names_an_address_to_write_to(run, tmp_path, content, address):
    write(tmp_path / "own" / "debug" / "evil.yaml", GLOBAL + content % address)
    own = [f"--config-dir={tmp_path / 'own'}", "debug=evil", "dataset=synthetic", f"hydra.run.dir={tmp_path / 'run'}"]
    code, said = run(train.main, *own)
    assert code == 1
    assert f"={address} is an address: give it on the command line" in said


@pytest.mark.parametrize(
    "name",
    ["san.training.callbacks.bank_selection.BankSelection", "san.training.callbacks.kernel_restarts.KernelRestarts"],
)
def test_a_callback_that_is_not_for_configurations_is_refused(refused, tmp_path, name):
    file = tmp_path / "own" / "experiment" / "evil.yaml"
    write(file, f"{GLOBAL}callbacks: {{x: {{_target_: san.training.callbacks.{name}, path: victim}}}}\n")
    said = refused("--config-dir=own", "experiment=evil")
    assert f"callbacks.x._target_=san.training.callbacks.{name} is not allowed" in said


CHAIN = "\n".join(f"k{n}: '{f'${{k{n - 1}}}' * 40}'" for n in range(1, 8))
TREE = "\n".join(f"d{n}: {{a: '${{d{n - 1}}}', b: '${{d{n - 1}}}'}}" for n in range(1, 26))


@pytest.mark.parametrize("content", [f"k0: {'x' * 400}\n{CHAIN}", f"d0: {{}}\n{TREE}"], ids=["texts", "mappings"])
def test_references_do_not_multiply(refused, tmp_path, content):
    write(tmp_path / "own" / "experiment" / "evil.yaml", GLOBAL + content)
    assert "more than 100000 values with those it refers to" in refused("--config-dir=own", "experiment=evil")


def test_defaults_lists_do_not_multiply(refused, tmp_path):
    for n in range(18):
        write(tmp_path / "own" / "g" / f"f{n}.yaml", f"defaults: [f{n + 1}@a, f{n + 1}@b]\n")
    write(tmp_path / "own" / "g" / "f18.yaml", "x: 1\n")
    assert "the defaults lists name more than 1000 files" in refused("--config-dir=own", "+g=f0")


def test_a_file_that_chooses_itself_is_refused(refused, tmp_path):
    write(tmp_path / "own" / "g" / "f.yaml", "defaults: [f]\n")
    assert "refers to itself" in refused("--config-dir=own", "+g=f")


@pytest.mark.parametrize("kind", ["device", "pipe", "sparse"])
def test_the_help_reads_no_strange_file(run, tmp_path, kind):
    file = tmp_path / "own" / "trainer" / "evil.yaml"
    write(file, "")
    if kind == "sparse":
        with file.open("r+b") as opened:
            opened.truncate(3 * 10**9)
    else:
        file.unlink()
        file.symlink_to("/dev/zero") if kind == "device" else os.mkfifo(file)
    code, said = run(train.main, f"--config-dir={tmp_path / 'own'}", "--help")
    assert code == 1
    assert f"san: {file} " in said


@pytest.mark.parametrize("part", ["activation", "dataset", "metric", "network", "paths", "trainer"])
def test_a_part_has_keys(run, tmp_path, part):
    write(tmp_path / "own" / "experiment" / "mine.yaml", f"{GLOBAL}{part}: abc\n")
    own = [f"--config-dir={tmp_path / 'own'}", "experiment=mine", f"hydra.run.dir={tmp_path / 'run'}"]
    assert run(train.main, *own) == (1, f"san: {part}=abc must be keys and values")


@pytest.mark.parametrize("group", ["activation", "callbacks", "dataset", "logger", "optimizer", "trainer"])
@pytest.mark.parametrize("package", ["hydra", "hydra.launcher", "_global_.hydra.callbacks.x"])
def test_no_file_is_put_below_hydra(refused, tmp_path, group, package):
    write(tmp_path / "own" / group / "evil.yaml", f"# @package {package}\nn_jobs: 2\n")
    assert "sets hydra" in refused("--config-dir=own", f"{group}=evil")


@pytest.mark.parametrize("arguments", [["--config-name=evil"], ["--config-name=train", "+experiment=evil"]])
def test_the_folder_of_a_stranger_is_not_the_package(refused, tmp_path, arguments):
    write(tmp_path / "own" / "evil.yaml", "hydra: {launcher: {n_jobs: 2}}\n")
    write(tmp_path / "own" / "train.yaml", "seed: 1\n")
    write(tmp_path / "own" / "experiment" / "evil.yaml", f"{GLOBAL}hydra: {{launcher: {{n_jobs: 2}}}}\n")
    assert "sets hydra.launcher" in refused(f"--config-path={tmp_path / 'own'}", *arguments)


def test_the_launcher_of_a_run_folder_is_not_started(refused, run, tmp_path):
    folder = tmp_path / "own" / "run"
    assert run(train.main, "debug=one_batch", "dataset=synthetic", "figure=[]", f"hydra.run.dir={folder}")[0] == 0
    assert "sets hydra" in refused(f"--config-path={folder / '.hydra'}", "--config-name=hydra")


def test_a_file_is_named_in_its_folder(refused, tmp_path):
    write(tmp_path / "own" / "experiment" / "mine.yaml", GLOBAL)
    write(tmp_path / "other" / "evil.yaml", GLOBAL)
    assert "is not a name in a folder" in refused("--config-dir=own", "experiment=../../other/evil")


def test_a_run_is_not_repeated_from_a_pickle(refused):
    assert "would unpickle a file" in refused("--experimental-rerun=config.pickle")


def test_the_help_reads_files_of_a_stranger_as_a_run_does(run, tmp_path):
    write(tmp_path / "own" / "experiment" / "evil.yaml", GLOBAL + doubled(9))
    code, said = run(train.main, f"--config-dir={tmp_path / 'own'}", "experiment=evil", "--help")
    assert code == 1
    assert TOO_MUCH in said


def test_a_file_of_the_user_chooses_parts_and_values(run, tmp_path):
    write(
        tmp_path / "own" / "experiment" / "mine.yaml",
        f"{GLOBAL}defaults: [override /activation: relu]\n"
        "seed: 3\nfigure: {}\nkernel_size: &size 5\nmetric: {x: '${kernel_size}', y: 'a ${.x} ${now:%Y}', z: *size}\n",
    )
    options = [
        f"--config-dir={tmp_path / 'own'}",
        "experiment=mine",
        "debug=one_batch",
        "dataset=synthetic",
        "logger=[]",
    ]
    assert run(train.main, *options, f"hydra.run.dir={tmp_path / 'run'}") == (0, "")
    composed = OmegaConf.load(tmp_path / "run" / ".hydra" / "config.yaml")
    assert (composed.seed, composed.kernel_size, composed.metric.x) == (3, 5, 5)
    assert composed.metric.z == 5
    assert composed.metric.y.startswith("a 5 2")
    assert results(tmp_path / "run")["activation"] == "relu"


def test_a_configuration_is_composed_once_and_a_file_of_the_package_read_and_merged_once(run_train, monkeypatch):
    composed, opened, created = [], [], []
    compose, load = ConfigLoaderImpl._load_configuration_impl, FileConfigSource.load_config
    create = defaults_list._create_defaults_list
    monkeypatch.setattr(composition, "_read_files", {})
    monkeypatch.setattr(composed_once, "_known", {})
    monkeypatch.setattr(config_repository, "copy", None)  # its sources are not copied
    monkeypatch.setattr(
        defaults_list,
        "_create_defaults_list",
        lambda *given, **options: created.append(given) or create(*given, **options),
    )
    monkeypatch.setattr(
        ConfigLoaderImpl,
        "_load_configuration_impl",
        lambda *given, **options: composed.append(given) or compose(*given, **options),
    )
    monkeypatch.setattr(FileConfigSource, "load_config", lambda source, path: opened.append(path) or load(source, path))
    first, _ = run_train("first", "debug=one_batch", "activation=relu")
    assert len(composed) == 1
    run_train("second", "debug=one_batch", "activation=relu", "optimizer.lr=0.5", "+trainer.gradient_clip_val=3")
    again, _ = run_train("again", "debug=one_batch", "activation=relu")
    assert len(composed) == 3
    assert len(opened) == len({*opened})
    assert len(created) == 1
    one, other = ((folder / ".hydra" / "config.yaml").read_text(encoding="utf-8") for folder in (first, again))
    assert one == other
    run_train("other", "debug=one_batch", "activation=extrema")
    assert len(created) == 2


def test_a_file_of_the_package_that_has_changed_is_merged_again(tmp_path, monkeypatch):
    copied = shutil.copytree(config.CONF, tmp_path / "conf")
    for module in (config, composed_once):
        monkeypatch.setattr(module, "CONF", copied)
    with composition.checked_composition():
        assert config.compose_from_package("train", ["activation_name=any", "seed=5"]).seed == 5
        before = config.compose_from_package("train", ["activation_name=any"])
        write(copied / "train.yaml", (copied / "train.yaml").read_text(encoding="utf-8") + "\nadded: 3\n")
        os.utime(copied / "train.yaml", ns=(0, 0))
        after = config.compose_from_package("train", ["activation_name=any"])
    assert (before.seed, "added" in before, after.added) == (0, False, 3)


def test_the_command_line_chooses_a_launcher(run, tmp_path):
    write(tmp_path / "own" / "experiment" / "mine.yaml", f"{GLOBAL}seed: 3\n")
    options = ["hydra.mode=MULTIRUN", "hydra/launcher=basic", "n_kernels=1,2"]
    options += ["dataset=synthetic", "debug=one_batch", "figure=[]", "logger=[]"]
    own = [f"--config-dir={tmp_path / 'own'}", "experiment=mine", f"hydra.sweep.dir={tmp_path / 'jobs'}"]
    assert run(train.main, *own, *options)[0] == 0
    configuration = OmegaConf.load(tmp_path / "jobs" / "1" / ".hydra" / "config.yaml")
    assert (configuration.seed, configuration.n_kernels) == (3, 2)


@pytest.mark.slow
def test_strange_files_give_an_answer_or_one_line_and_run_no_code(tmp_path):
    command = [sys.executable, PROJECT / "tests" / "strangers.py", "0", "150", tmp_path]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1500)
    cases = [json.loads(line) for line in finished.stdout.splitlines()]
    assert len(cases) == 150, finished.stderr
    assert [case for case in cases if case["outcome"] not in ("answer", "error")] == []
    assert max(case["seconds"] for case in cases) < SECONDS
    assert max(case["bytes"] for case in cases) < MEMORY
    assert {"answer", "error"} == {case["outcome"] for case in cases}

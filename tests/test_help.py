"""The help of each command explains what its configuration files say, and its examples run."""

import re
import shlex
import sys
from itertools import pairwise

import numpy as np
import pytest
import yaml
from conftest import COMMANDS, choices, results
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from omegaconf import OmegaConf

from san import train
from san.cli.config import CONF
from san.cli.yaml_comments import Source

SECTIONS = ("Usage:", "Most used:", "Examples:", "GROUPS", "KEYS")
FILES = sorted(path.relative_to(CONF).with_suffix("").as_posix() for path in CONF.glob("*/*.yaml"))


@pytest.fixture
def help_of(monkeypatch, capsys):
    """Return what a command prints for ``--help`` and more arguments, in lines of 120 characters."""
    monkeypatch.setenv("COLUMNS", "120")

    def help_of(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *arguments, "--help"])
        COMMANDS[name].main()
        return capsys.readouterr().out

    return help_of


def section(said, name):
    """Return the lines of a section, to the next section."""
    lines = said.splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith(name))
    others = tuple(other for other in SECTIONS if other != name)
    return lines[start + 1 : next((at for at in range(start + 1, len(lines)) if lines[at].startswith(others)), None)]


def block(lines, title):
    """Return the lines below a title, to the next empty line."""
    start = next(index for index, line in enumerate(lines) if line.startswith(title))
    return lines[start + 1 : lines.index("", start) if "" in lines[start:] else None]


def leaves(config, prefix=""):
    """Return the values of a configuration by their full keys, without those that the help leaves out."""
    found = {}
    for key, value in config.items():
        if isinstance(value, dict) and value:
            found |= leaves(value, f"{prefix}{key}.")
        elif key not in ("_target_", "_partial_") and value != {}:
            found[f"{prefix}{key}"] = value
    return found


def referred(config, value):
    """Return a value with those of the keys to which it refers; environment variables and Hydra's values stay."""
    if not isinstance(value, str) or not (found := re.search(r"\$\{((?!\w+\._target_)[\w.]+)\}", value)):
        return value
    other = config
    for part in found[1].split("."):
        other = other[part]
    is_whole = found[0] == value
    return referred(config, other if is_whole else value.replace(found[0], str(referred(config, other))))


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_explains_the_command_first(help_of, name):
    said = help_of(name)
    header = Source(CONF / f"{name}.yaml", name)
    assert said.startswith(f"san.{name}: {header.lines[0].removeprefix('# ')}\n")
    assert said.count("\n", 0, said.index("Usage:")) == 2
    places = [said.index(f"\n{title}") for title in SECTIONS]
    assert places == sorted(places)
    most_used = [line for line in section(said, "Most used:") if line.startswith("  ") and line[2] != " "]
    assert [line.strip().partition("=")[0] for line in most_used] == header.words("Most used:")
    assert len(most_used) == (2 if name == "decode" else 5)  # which has no other keys
    assert len(header.examples) == 3
    assert [line.strip() for line in section(said, "Examples:") if line] == header.examples


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_lists_every_choice_with_its_description(help_of, name):
    groups = section(help_of(name), "GROUPS")
    titles = [line.partition("=")[0].removeprefix("+") for line in groups if line and not line.startswith(" ")]
    defaults = [group for source in (name, "base") for group in groups_of(source)]
    assert set(titles) <= {path.name for path in CONF.iterdir() if path.is_dir()}
    assert set(defaults if name in ("train", "sweep", "compare") else groups_of(name)) <= set(titles)
    for group in titles:
        listed = block(groups, next(line for line in groups if line.removeprefix("+").startswith(f"{group}=")))
        assert [line[4:].split()[0] for line in listed if line[4] != " "] == choices(group)


def groups_of(name):
    return [group.name for group in Source(CONF / f"{name}.yaml", name).groups]


@pytest.mark.parametrize("file", FILES)
def test_every_choice_is_described(file):
    if not file.startswith("hydra/"):
        assert Source(CONF / f"{file}.yaml", file).summary


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        *((name, []) for name in COMMANDS),
        ("train", ["dataset=csv", "activation=phi_pursuit", "classifier=fnn", "network=warped", "kernel_size=7"]),
        ("sweep", ["dataset=fashion_mnist", "callbacks=[early_stopping]", "logger=[csv,wandb]", "trainer=ddp"]),
    ],
)
def test_the_help_shows_every_key_with_the_value_that_it_has(help_of, name, arguments):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = OmegaConf.to_container(hydra_compose(name, arguments))
    keys = section(help_of(name, *arguments), "KEYS")
    shown = dict(line.split("=", 1) for line in keys if line.startswith("  ") and line[2] != " " and "=" in line)
    shown = {key.strip(): text for key, text in shown.items()}
    missing = []
    for key, value in leaves(config).items():
        if key in shown:
            assert yaml.safe_load(shown[key].split("  ")[0]) == referred(config, value), key
        else:
            missing.append(key)
    joined = [line.split()[0].removesuffix("KEY") for line in keys if line.strip().partition("  ")[0].endswith(".KEY")]
    assert [key for key in missing if not key.startswith(tuple(joined))] == []


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("arguments", [[], *([f"dataset={name}"] for name in choices("dataset"))], ids=str)
def test_the_help_explains_every_key(help_of, name, arguments):
    if arguments and name not in ("train", "sweep", "compare"):
        return
    keys = section(help_of(name, *arguments), "KEYS")
    # compare.yaml describes the keys of its grids for the first method that has them.
    rows = [(line, below) for line, below in pairwise([*keys, ""]) if re.match(r"  (?!grids\.)[\w.]+=", line)]
    unexplained = [line for line, below in rows if not re.search(r"\S  +\S", line) and not below.startswith("   ")]
    assert unexplained == []


def test_a_choice_on_the_command_line_is_the_one_that_is_explained(help_of):
    said = help_of("train", "dataset=csv", "path=x.csv")
    assert "* csv" in said
    assert "  physionet" in said
    assert "dataset.database" not in said
    assert "  path=x.csv" in said
    assert "required: path of a file or folder" in help_of("train", "dataset=csv")


def test_a_key_of_two_files_is_described_by_the_command_that_sets_it(help_of):
    keys = section(help_of("compare"), "KEYS")
    (line,) = (line for line in keys if line.startswith("  n_kernels="))
    assert line.split(maxsplit=1) == ["n_kernels=null", yaml_comment("compare", "n_kernels")]
    assert "  also sets" in "\n".join(block(keys, "base"))


def yaml_comment(name, key):
    return next(entry.comment for entry in Source(CONF / f"{name}.yaml", name).entries if entry.name == key)


@pytest.mark.parametrize("flag", ["--config-dir", "hydra.searchpath"])
def test_groups_and_choices_of_the_user_are_listed(help_of, tmp_path, flag):
    own = tmp_path / "it's, own"
    mine = "# Keep mine.\n_target_: mine.Mine\nstrength: 3   # of mine\n# a list\nlist:\n  - 1\n  - b\n"
    for file, text in {
        "activation/mine.yaml": mine,
        "theirs/one.yaml": "# @package _global_\n# The one.\nkernel_size: 9\n",
    }.items():
        (own / file).parent.mkdir(parents=True)
        (own / file).write_text(text, encoding="utf-8")
    quoted = str(own).replace("'", "\\'")
    where = ["--config-dir", str(own)] if flag == "--config-dir" else [f"hydra.searchpath=['file://{quoted}']"]
    said = help_of("train", *where, "activation=mine", "+theirs=one")
    assert "  * mine                  Keep mine." in said
    assert "+theirs=CHOICE\n  * one  The one.\n" in said
    assert "  activation.strength=3  of mine" in said
    assert "  activation.list=[1,b]  a list" in said
    assert "theirs=one\n  also sets  kernel_size=9" in said
    (line,) = (line for line in block(section(said, "KEYS"), "base") if line.startswith("  kernel_size="))
    assert line.split()[0] == "kernel_size=9"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["dataset=nope"], "dataset=nope is not known; choose one of csv"),
        (["--config-dir", "nowhere"], "--config-dir nowhere is not a folder"),
        (["kernel_size"], "kernel_size cannot be read as KEY=VALUE"),
        (["hydra.searchpath=[file://nowhere]", "activation=mine"], "activation=mine is not known; choose one of"),
    ],
)
@pytest.mark.filterwarnings("ignore:provider=.*is not available:UserWarning")  # Hydra's, of the folder nowhere
def test_mistakes_are_one_line(run, arguments, said):
    code, line = run(train.main, *arguments, "--help")
    assert code == 1
    assert line.startswith("san: ")
    assert said in line
    assert "\n" not in line.strip()


def test_a_file_that_is_not_yaml_is_a_mistake_of_one_line(run, tmp_path):
    (tmp_path / "activation").mkdir()
    (tmp_path / "activation" / "mine.yaml").write_text("_target_: [a\nb: : c\n", encoding="utf-8")
    for arguments in (["--help"], []):
        code, line = run(train.main, "--config-dir", str(tmp_path), "activation=mine", *arguments)
        assert code == 1
        assert line.startswith("san: ")
        assert "mine.yaml" in line
        assert "\n" not in line.strip()


def test_lines_fit_a_narrow_terminal(help_of, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    said = help_of("train")
    assert all(len(line) <= 80 for line in section(said, "GROUPS"))
    assert max(map(len, said.splitlines())) > 60


# tests/test_readme.py runs commands that use a model.
EXAMPLES = [
    example
    for name in COMMANDS
    if name not in ("encode", "decode")
    for example in Source(CONF / f"{name}.yaml", name).examples
]
FASTER = {
    "train": ["debug=one_batch", "logger=csv"],
    "sweep": ["debug=one_batch", "logger=csv"],
    "evaluate": ["trainer.enable_progress_bar=false"],
    "compare": [
        "trainer.max_epochs=1",
        "peer_examples=2",
        "dataset.split=[2,1,2]",
        "grids.signals.activations.kernel_sizes=[8,9]",
        *(f"grids.signals.patches_omp.{key}" for key in ("kernel_size=8", "n_kernels=1", "n_nonzero=1")),
        *(f"grids.signals.patches_omp.{key}=[]" for key in ("tolerance", "tolerance_or_none")),
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("example", [example for example in EXAMPLES if "san.reproduce" not in example])
def test_examples_run(run, run_train, tmp_path, monkeypatch, example):
    words = shlex.split(example.replace("outputs/train/DATE/TIME", str(tmp_path / "trained")))
    name, arguments = words[2].removeprefix("san."), words[3:]
    if name == "evaluate":
        run_train("trained", "debug=one_batch", "logger=csv", "figure=[]")
        np.save(tmp_path / "FILE.npy", np.random.default_rng(0).normal(size=5000))
        monkeypatch.chdir(tmp_path)
    if name == "compare" and "dataset.database=mitdb" in arguments:
        arguments += ["dataset.database=null", "activations=[extrema]", "peers=[]", "n_kernels=1"]  # no record is read
    where = f"hydra.{'sweep' if '-m' in arguments else 'run'}.dir={tmp_path / 'run'}"
    code, said = run(COMMANDS[name].main, *arguments, *FASTER[name], where)
    assert code == 0, said
    if "n_kernels=1..2" in arguments:
        settings = results(tmp_path / "run")["methods"][0]["settings"]
        assert {setting["setting"]["n_kernels"] for setting in settings} == {1, 2}


@pytest.mark.parametrize("example", [example for example in EXAMPLES if "san.reproduce" in example])
def test_examples_of_reproductions_are_valid(compose, example):
    from san.commands.reproduce import _check

    tables, figures = _check(compose(*shlex.split(example)[3:], name="reproduce"))
    assert tables or figures

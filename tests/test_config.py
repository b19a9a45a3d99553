import ast
from pathlib import Path

import pytest
from conftest import choices
from omegaconf import OmegaConf

import san
from san.command import CONF, instantiate

GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir() and path.name not in ("hydra", "paths"))
ALL = [(group, choice) for group in GROUPS for choice in choices(group)]
NOT_INSTANTIATED = ("dataset", "sweep", "debug", "trainer", "protocol", "experiment")  # datasets: test_data.py
PACKAGE = Path(san.__file__).parent


def chosen(group, choice):
    return {"figure": f"figure=[{choice}]", "sweep": f"+sweep={choice}"}.get(group, f"{group}={choice}")


@pytest.mark.parametrize(("group", "choice"), ALL)
def test_every_choice_of_every_group_composes(compose, group, choice):
    config = compose(chosen(group, choice))
    assert OmegaConf.is_config(config)


@pytest.mark.parametrize(("group", "choice"), [pair for pair in ALL if pair[0] not in NOT_INSTANTIATED])
def test_every_target_instantiates(compose, group, choice):
    config = compose(chosen(group, choice))
    assert instantiate(config[group]) is not None


@pytest.mark.parametrize("choice", ["cpu", "ddp"])
def test_trainers_instantiate(compose, choice):
    trainer = instantiate(compose(f"trainer={choice}", "trainer.devices=1", "trainer.accelerator=cpu").trainer)
    assert trainer.max_epochs == 30


def test_the_papers_settings_are_the_defaults(compose):
    config = compose("dataset=physionet")
    assert (config.optimizer.lr, config.optimizer.betas, config.optimizer.weight_decay) == (0.01, [0.9, 0.999], 0)
    assert (config.trainer.max_epochs, config.batch_size, config.activation.border_tolerance) == (30, 2, 3)
    assert compose("protocol=paper").metric.count_weights == "side"
    assert (config.decoder, config.metric.count_weights, config.n_kernels) == ("paper", "samples", 1)


@pytest.mark.parametrize(
    "target",
    ["os.system", "builtins.eval", "san.data.physionet.wfdb.rdrecord", "san.command.os.system", "torch.optim.Nothing"],
)
def test_configuration_can_name_nothing_foreign(target):
    with pytest.raises(ValueError, match="_target_="):
        instantiate(OmegaConf.create({"nested": [{"_target_": target}]}))


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("name", ["functional", "activations", "networks", "metrics", "shapes", "streaming"])
def test_the_mathematics_imports_torch_alone(name):
    foreign = {"hydra", "omegaconf", "pytorch_lightning", "numpy", "wfdb", "matplotlib", "rich"}
    assert not foreign & set(imports(PACKAGE / f"{name}.py"))


def test_only_commands_import_hydra():
    importing = {path.stem for path in PACKAGE.rglob("*.py") if {"hydra", "omegaconf"} & set(imports(path))}
    assert importing == {
        "assembly",
        "cells",
        "command",
        "compare",
        "ending",
        "evaluate",
        "multirun",
        "processes",
        "reproduce",
        "sweep",
        "train",
    }


def test_nothing_but_the_commands_is_loaded_to_compose():
    commands = {"compare", "evaluate", "reproduce", "sweep", "train"}
    for name in commands | {"assembly", "cells", "command", "ending", "multirun", "processes"}:
        top = ast.parse((PACKAGE / f"{name}.py").read_text()).body
        modules = {node.module for node in top if isinstance(node, ast.ImportFrom)}
        modules |= {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
        assert not {"torch", "pytorch_lightning", "matplotlib", "san.training", "san.networks"} & modules

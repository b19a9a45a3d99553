from importlib.util import find_spec

import pytest
from conftest import choices
from omegaconf import OmegaConf

from san.cli.config import CONF
from san.cli.parts import instantiate

GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir() and path.name not in ("hydra", "paths"))
ALL = [(group, choice) for group in GROUPS for choice in choices(group)]
NOT_INSTANTIATED = ("dataset", "sweep", "debug", "trainer", "protocol", "experiment")  # datasets: test_data.py
SEVERAL = ("callbacks", "figure", "logger")  # groups with any number of choices


def chosen(group, choice):
    if group in SEVERAL:
        return f"{group}=[{choice}]"
    return f"{'+' if group == 'sweep' else ''}{group}={choice}"


@pytest.mark.parametrize(("group", "choice"), ALL)
def test_every_choice_of_every_group_composes(compose, group, choice):
    config = compose(chosen(group, choice))
    assert OmegaConf.is_config(config)


@pytest.mark.parametrize(("group", "choice"), [pair for pair in ALL if pair[0] not in NOT_INSTANTIATED])
def test_every_target_instantiates(compose, group, choice):
    config = compose(chosen(group, choice))
    place = f"{group}.{choice}" if group in SEVERAL else group
    if choice == "wandb" and find_spec("wandb") is None:
        with pytest.raises(ValueError, match=r"^logger\.wandb needs a package that is not installed"):
            instantiate(config, place)
    else:
        assert instantiate(config, place) is not None


@pytest.mark.parametrize("choice", ["cpu", "ddp"])
def test_trainers_instantiate(compose, choice):
    trainer = instantiate(compose(f"trainer={choice}", "trainer.devices=1", "trainer.accelerator=cpu"), "trainer")
    assert trainer.max_epochs == 30


def test_the_papers_settings_are_the_defaults(compose):
    config = compose("dataset=physionet", "protocol=paper")
    assert (config.optimizer.lr, config.optimizer.betas, config.optimizer.weight_decay) == (0.01, [0.9, 0.999], 0)
    assert (config.trainer.max_epochs, config.batch_size, config.activation.border_tolerance) == (30, 2, 3)
    assert (config.decoder, config.metric.count_weights) == ("paper", "side")
    assert (config.n_kernels, config.initialization) == (1, "normal")


def test_the_first_command_learns_two_kernels_from_the_data(compose):
    config = compose("dataset=physionet")
    assert (config.n_kernels, config.kernel_size, config.initialization) == (2, 64, "data")
    assert config.metric.count_weights == "samples"
    table = compose("experiment=table1")
    assert (table.n_kernels, table.initialization) == (1, "normal")


@pytest.mark.parametrize("place", ["activation", "dataset", "loss", "optimizer", "nested"])
@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "san.data.physionet.wfdb.rdrecord",
        "san.cli.launch.os.system",
        "san.command.os.system",
        "torch.optim.Nothing",
    ],
)
def test_configuration_can_name_nothing_foreign(target, place):
    node = {"_target_": target, "_partial_": place in ("loss", "optimizer")}
    for part in (node, [node], {"below": node}):
        with pytest.raises(
            ValueError, match=rf"^{place}(\.below)?\._target_={target} (is not allowed|cannot be imported)"
        ):
            instantiate(OmegaConf.create({place: part}), place)

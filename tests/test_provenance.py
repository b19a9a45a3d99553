"""What a result depends on: every setting that is not listed, and the content of the data."""

import copy
import importlib
import inspect
from dataclasses import replace

import pytest
import pytorch_lightning as pl
import torch
from omegaconf import OmegaConf

from san.cli.settings import (
    CALLBACKS_WITHOUT_EFFECT,
    CANNOT_CHANGE_RESULTS,
    LAST_PART_COUNTS,
    MAY_CHANGE_WHEN_RESUMED,
    effective_settings,
)
from san.data.splits import Labels, Splits
from san.reporting import provenance
from san.reporting.provenance import Provenance, code_fingerprint, data_fingerprint

CALLBACKS = "callbacks=[early_stopping,lr_monitor,device_stats]"
OVERRIDES = {
    "train": ["dataset=numpy", "path=folder/x.npy", "classifier=cnn", CALLBACKS],
    "sweep": ["dataset=physionet", "activation_name=any"],
}

# Other keys, which count, may refer to them.
REFERRED_TO = {
    "path",
    "protocol.count_weights",
    "protocol.physionet_initialization",
    "protocol.physionet_kernels",
    "protocol.physionet_precision",
    "protocol.scaled_by",
    "protocol.uci_epilepsy_range",
}


def leaves(node, above=()):
    for key, value in node.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*above, str(key)))
        else:
            yield (*above, str(key))


def fingerprint(config):
    return Provenance.of(effective_settings(config), "").fingerprints["configuration"]


def changed(config, place, value="changed"):
    other = copy.deepcopy(config)
    OmegaConf.update(other, place, value, force_add=True)
    return fingerprint(other)


def is_below(place, keys):
    return any(place == key or place.startswith(f"{key}.") for key in keys)


@pytest.mark.parametrize("name", OVERRIDES)
def test_every_setting_counts_unless_it_is_listed(compose, name):
    config = compose(*OVERRIDES[name], name=name)
    before = fingerprint(config)
    ignored, plain = set(), OmegaConf.to_container(config)
    for keys in leaves(plain):
        place = ".".join(keys)
        observes = keys[0] == "callbacks" and plain["callbacks"][keys[1]]["_target_"] in CALLBACKS_WITHOUT_EFFECT
        if place in REFERRED_TO:
            continue
        is_ignored = is_below(place, CANNOT_CHANGE_RESULTS) or (observes and keys[-1] != "_target_")
        assert (changed(config, place) == before) == is_ignored, place
        ignored |= {place} if is_ignored else set()
    assert {"paths.output_dir", "paths.cache_dir", "num_workers", "trainer.enable_progress_bar"} <= ignored
    assert changed(config, "trainer.gradient_clip_val", 1.0) != before


def test_references_count_by_their_values(compose, monkeypatch):
    config = compose("dataset=numpy", "path=x.npy", "dataset.window=${oc.env:SAN_WINDOW}")
    monkeypatch.setenv("SAN_WINDOW", "10")
    before = fingerprint(config)
    monkeypatch.setenv("SAN_WINDOW", "20")
    assert fingerprint(config) != before
    for place in ("border_tolerance", "path", "protocol.count_weights", "protocol.scaled_by"):
        assert changed(config, place, "9") != before
    assert effective_settings(config)["activation"]["border_tolerance"] == 3


def test_data_counts_by_its_name_and_not_by_its_folder(compose):
    one, moved, renamed = (compose("dataset=numpy", f"path={path}") for path in ("x.npy", "/elsewhere/x.npy", "y.npy"))
    assert fingerprint(one) == fingerprint(moved) != fingerprint(renamed)


def test_every_listed_key_exists(compose):
    known = set(inspect.signature(pl.Trainer).parameters)
    places = {"callbacks.timer", *(f"trainer.{name}" for name in known)}
    for name, overrides in {**OVERRIDES, "compare": ["dataset=physionet", "activation_name=any"]}.items():
        config = OmegaConf.to_container(compose(*overrides, name=name))
        places |= {".".join(keys[: index + 1]) for keys in leaves(config) for index in range(len(keys))}
    places |= {"dataset.data_dir"}
    assert {*CANNOT_CHANGE_RESULTS, *MAY_CHANGE_WHEN_RESUMED, *LAST_PART_COUNTS} <= places


def test_data_counts_by_the_content_of_every_split():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 1, 6, generator=generator)
    labels = torch.tensor([0, 1, 0, 1])
    splits = Splits("a", x, x + 1, x + 2, labels=Labels(["even", "odd"], labels, labels, labels))
    same = replace(splits, name="b", train=x.clone(), sampling_frequency=2.0)
    assert data_fingerprint(same) == data_fingerprint(splits)
    nearly = x.clone()
    nearly[3, 0, 5] = torch.nextafter(nearly[3, 0, 5], torch.tensor(9.0))
    others = [
        *(replace(splits, **{split: nearly}) for split in ("train", "validation", "test")),
        replace(splits, train=x + 1, validation=x),
        replace(splits, labels=None),
        replace(splits, labels=replace(splits.labels, test=1 - labels)),
        replace(splits, labels=replace(splits.labels, classes=["odd", "even"])),
        Splits("a", *(part.view(2, 1, 12) for part in (x, x + 1, x + 2))),
        Splits("a", *(part.double() for part in (x, x + 1, x + 2))),
    ]
    assert len({data_fingerprint(other) for other in (splits, *others)}) == len(others) + 1


@pytest.fixture
def code(tmp_path, monkeypatch):
    """Return the code of a configuration that names a package of the user, as another process would compute it."""
    monkeypatch.syspath_prepend(tmp_path)

    def code():
        provenance._source.cache_clear()
        importlib.invalidate_caches()
        return code_fingerprint({"classifier": {"model": [{"_target_": "mine.losses.Huber"}]}})

    return code


def test_an_edit_of_a_users_package_that_the_configuration_names_changes_the_code(code, tmp_path):
    codes = [code()]
    (tmp_path / "other.py").write_text("x = 1")
    assert code() == codes[0]
    for content in ("x = 1", "x = 2"):
        (tmp_path / "mine.py").write_text(content)
        codes.append(code())
    (tmp_path / "mine.py").unlink()
    (tmp_path / "mine").mkdir()
    for name, content in (("__init__", ""), ("losses", ""), ("losses", "x = 2")):
        (tmp_path / "mine" / f"{name}.py").write_text(content)
        codes.append(code())
    assert len(set(codes)) == 6
    (tmp_path / "mine" / ".#losses.py").symlink_to("user@host.1")  # by which Emacs locks a file
    assert code() == codes[-1]


def test_the_code_is_that_of_the_start_of_the_process(code, tmp_path):
    (tmp_path / "mine.py").write_text("x = 1")
    before = code()
    (tmp_path / "mine.py").write_text("x = 2")
    assert code_fingerprint({"loss": {"_target_": "mine.losses.Huber"}}) == before
    assert code() != before

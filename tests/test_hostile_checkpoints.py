"""Checkpoints from a stranger cost little time and memory, and one with another structure is refused in one line."""

import json
import os
import subprocess
import sys
import zipfile
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from mutations import MEMORY, SAFETY, SECONDS
from test_checkpoint import Scripted
from torch.utils.data import DataLoader

from san import sweep
from san.checkpoint import PhiCheckpoint, read
from san.storage import checkpoints
from san.storage.checkpoints import save
from san.training.callbacks.training_state import fit

PROJECT = Path(__file__).parents[1]
# Reads checkpoints, each in a process of its own with limits on memory and time; prints what was said, the status, the
# seconds and the bytes of each.
READ = """
import json, os, resource, sys
from pathlib import Path
from san.checkpoint import read

memory, seconds = int(sys.argv[1]), int(sys.argv[2])
for path in map(Path, sys.argv[3:]):
    said = path.with_suffix(".txt")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    child = os.fork()
    if not child:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        try:
            said.write_text(f"accepted {read(path).keys()}")
        except Exception as error:
            said.write_text(str(error))
        os._exit(0)
    _, status, usage = os.wait4(child, 0)
    print(json.dumps([said.read_text() if said.exists() else "", status, usage.ru_utime + usage.ru_stime,
                      1024 * (usage.ru_maxrss - before)]), flush=True)
"""
ABSENT = ...
LEVELS = 40  # of containers, each of which holds the container below twice: 2**40 values


def text(value):
    return b"X" + len(value).to_bytes(4, "little") + value


def call(name, *arguments):
    return b"c" + name.replace(" ", "\n").encode() + b"\n(" + b"".join(arguments) + b"tR"


def nested(empty, fill):
    """Return the pickle of a list of containers, each of which holds the container before it twice."""
    levels = [empty + b"q" + bytes([n]) + (fill(b"h" + bytes([n - 1])) if n else b"") for n in range(LEVELS)]
    return b"](" + b"".join(levels) + b"e"


KEY = b"}(" + b")q\x00" + b"".join(b"h" + bytes([n - 1]) + b"\x86q" + bytes([n]) for n in range(1, LEVELS)) + b"K\x00u"
STORAGE = b"(" + text(b"storage") + b"ctorch\nFloatStorage\n" + text(b"0") + text(b"cpu") + b"M\xe8\x03tQ"
TENSOR = call("torch._utils _rebuild_tensor_v2", STORAGE, b"K\x00", b"M\xe8\x03\x85", b"K\x01\x85", b"\x89",
              call("collections OrderedDict"))  # fmt: skip
ATTACKS = {
    "a large bytearray": (call("builtins bytearray", b"J" + (2 * MEMORY).to_bytes(4, "little")), "builtins.bytearray"),
    "a slow codec": (
        call("_codecs encode", text("".join(map(chr, range(256, 50_000))).encode() * 4), text(b"punycode")),
        "_codecs.encode",
    ),
    "lists that share lists": (nested(b"]", lambda below: b"(" + 2 * below + b"e"), "values"),
    "dictionaries that share dictionaries": (
        nested(b"}", lambda below: b"(K\x00" + below + b"K\x01" + below + b"u"), "values",
    ),
    "ordered dictionaries that share others": (
        nested(call("collections OrderedDict"), lambda below: b"(K\x00" + below + b"K\x01" + below + b"u"), "values",
    ),
    "a list in itself": (b"]q\x00h\x00a", "adds values to a list"),
    "tuples that share tuples as a key": (KEY, "values|a key that is neither"),
    "keys of equal hashes": (
        b"}(" + b"".join(b"\x8a\x0a" + (n * (2**61 - 1)).to_bytes(10, "little") + b"N" for n in range(10**5)) + b"u",
        "a key that is neither",
    ),
    "a text that is repeated": (b"](" + text(b"x" * 10**6) + b"q\x00" + b"h\x00" * 10**6 + b"e", "more than"),
    "levels": (b"]" * 10**5 + b"a" * (10**5 - 1), "levels"),
    "many instructions": (b"](" + b"}" * 3 * 10**6 + b"e", "more than"),
    "tensors that share their values": (b"](" + TENSOR + b"q\x00" + b"h\x00" * 50 + b"e", "not stored"),
    "a call of a list": (b"]" + b")R", "calls list"),
    "another instruction": (b"\x8f", "instruction EMPTY_SET"),
}  # fmt: skip


def write(path, value=b"N", **others):
    """Write a checkpoint with a pickled value among its parts, and other members."""
    parts = {"config": b"}", "state_dict": b"}", "callbacks": b"}", "epoch": b"K\x00", "optimizer_states": value}
    content = b"\x80\x02}(" + b"".join(text(name.encode()) + part for name, part in parts.items()) + b"u."
    members = {"data.pkl": content, "byteorder": b"little", "version": b"3", "data/0": bytes(4000), **others}
    with zipfile.ZipFile(path, "w") as archive:
        for name, member in members.items():
            archive.writestr(f"archive/{name}", member)
    return path


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Read the checkpoints of all attacks in other processes; return the outcome of each."""
    folder = tmp_path_factory.mktemp("attacks")
    members = {f"data/{n}": b"" for n in range(1, 30_000)}
    paths = [write(folder / f"{number}.ckpt", value) for number, (value, _) in enumerate(ATTACKS.values())]
    paths.append(write(folder / "members.ckpt", **members))
    command = [sys.executable, "-c", READ, str(SAFETY), str(2 * SECONDS), *paths]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    found = map(json.loads, finished.stdout.splitlines())
    return dict(zip([*ATTACKS, "members"], found, strict=True))


def test_the_written_checkpoint_is_read(tmp_path):
    assert read(write(tmp_path / "x.ckpt", TENSOR))["optimizer_states"].shape == (1000,)


@pytest.mark.slow
@pytest.mark.parametrize("attack", [*ATTACKS, "members"])
def test_an_expensive_checkpoint_costs_little(outcomes, attack):
    said, status, seconds, n_bytes = outcomes[attack]
    reason = ATTACKS[attack][1] if attack in ATTACKS else "it has too many members"
    assert status == 0
    assert ".ckpt is not a checkpoint of san, or is truncated or damaged: " in said
    assert any(part in said for part in reason.split("|")), said
    assert seconds < SECONDS
    assert n_bytes < MEMORY


def test_a_large_file_and_a_file_with_a_comment_are_refused(tmp_path, monkeypatch):
    path = write(tmp_path / "x.ckpt")
    monkeypatch.setattr(checkpoints, "MAX_BYTES", 1000)
    with pytest.raises(ValueError, match="bytes, more than 1000"):
        read(path)
    monkeypatch.undo()
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"x"
    with pytest.raises(ValueError, match=r"does not end as a file of torch\.save does"):
        read(path)


def test_two_members_of_one_name_are_refused(tmp_path):
    path = write(tmp_path / "x.ckpt", **{"DATA.pkl": b"N."})
    with pytest.raises(ValueError, match="two members of the same name"):
        read(path)


@pytest.mark.slow
def test_a_damaged_selection_of_a_bank_is_not_resumed(run, tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal(600).cumsum())
    arguments = [
        "dataset=numpy", f"path={tmp_path / 'x.npy'}", "dataset.window=60", "kernel_sizes=3..5",
        "logger=[]", "figure=[]",
    ]  # fmt: skip
    folder = tmp_path / "run"
    assert run(sweep.main, *arguments, "trainer.max_epochs=1", f"hydra.run.dir={folder}") == (0, "")
    path = next((folder / "checkpoints").glob("*-3-5.ckpt"))
    for key, value, reason in (
        ("best_epochs", ABSENT, "its selection of epochs is missing"),
        ("best_epochs", [0], "its best epochs are damaged"),
        ("best_epochs", [0, 0, 1], "its best epochs are not among its 1 epochs"),
        ("validation_per_epoch", [], "its metrics are not those of 1 epochs"),
        ("validation_per_epoch", [{"phi": [0.5]}], "its metrics of each epoch are damaged"),
        ("validation_per_epoch", 5, "its metrics are not those of 1 epochs"),
        ("weight", torch.zeros(3), "its selected weights are damaged"),
    ):
        content = read(path)
        state = content["callbacks"]["BankSelection"]
        state.pop(key) if value is ABSENT else state.update({key: value})
        damaged = tmp_path / "damaged" / "checkpoints" / path.name
        damaged.parent.mkdir(parents=True, exist_ok=True)
        save(content, damaged)
        others = ["trainer.max_epochs=2", f"checkpoint={tmp_path / 'damaged'}", f"hydra.run.dir={tmp_path / 'new'}"]
        code, said = run(sweep.main, *arguments, *others)
        assert (code, said.count("\n")) == (1, 0), said
        assert f"{path.name} is not a checkpoint of san, or is damaged: {reason}" in said


class Trained(Scripted):
    """The scripted module, whose optimizer has a state."""

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.0)


def train(callback, n_epochs, path=None, module=Trained, callbacks=()):
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=n_epochs, callbacks=[callback, *callbacks], logger=False, log_every_n_steps=1,
        num_sanity_val_steps=0, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    loader = DataLoader(torch.zeros(1))
    data = pl.LightningDataModule.from_datasets(torch.zeros(1), torch.zeros(1))
    data.train_dataloader = data.val_dataloader = lambda: loader
    fit(trainer, module([0.9, 0.4, 0.7, 0.5][:n_epochs]), data, path)


@pytest.fixture
def stopped(tmp_path):
    """Return the content of a checkpoint after two epochs."""
    callback = PhiCheckpoint(tmp_path / "run", {"key": "value"})
    train(callback, 2, callbacks=[pl.callbacks.EarlyStopping("validation/phi")])
    return read(tmp_path / "run" / "last.ckpt")


STATE, GROUP = "optimizer_states>0>state>0", "optimizer_states>0>param_groups>0"
LOOP, PHI = "loops>fit_loop", "callbacks>PhiCheckpoint"
EARLY = pl.callbacks.EarlyStopping("validation/phi").state_key
DAMAGE = [
    ("epoch", 10**12, "has metrics of 2 epochs"),
    ("epoch", -1, "has metrics of 2 epochs"),
    ("global_step", "x", None),
    ("pytorch-lightning_version", "???", "Invalid version"),
    ("pytorch-lightning_version", ABSENT, "its state cannot be restored"),
    ("loops", ABSENT, "its progress is damaged"),
    ("loops", [], "its progress is damaged"),
    (f"{LOOP}>epoch_progress>current>processed", 0, "its progress is not that of the whole epoch 2"),
    (f"{LOOP}>epoch_progress>current>completed", -(10**12), "its progress is damaged"),
    (f"{LOOP}>epoch_progress>total>increment_by", 1, "its progress is damaged"),
    (f"{LOOP}>epoch_progress", ABSENT, "its progress is damaged"),
    (f"{LOOP}>state_dict>combined_loader", [{}], "its progress is damaged"),
    (f"{LOOP}>epoch_loop.batch_progress>is_last_batch", False, "its progress is not that of the whole epoch 2"),
    (f"{LOOP}>epoch_loop.batch_progress>current>ready", 10**9, "its progress is not that of the whole epoch 2"),
    (f"{LOOP}>epoch_loop.batch_progress>current>ready", 2.5, "its progress is damaged"),
    ("optimizer_states", ABSENT, "its optimizer state is damaged"),
    ("optimizer_states", [], "its optimizer state is damaged"),
    ("optimizer_states", [[0.5] * 50_000], "its optimizer state is damaged"),
    ("optimizer_states>0", {}, "its state cannot be restored (KeyError: 'param_groups')"),
    ("optimizer_states>0", 5, "its state cannot be restored"),
    (f"{GROUP}>params", [0, 0], "parameter group"),
    (f"{GROUP}>lr", "x", "lr is not 0.0"),
    (f"{GROUP}>lr", 10**400, "its optimizer state is damaged"),
    (f"{GROUP}>betas", (0.9,), "its optimizer state is damaged"),
    (f"{GROUP}>maximize", True, "maximize is not False"),
    (STATE, {}, "exp_avg is missing|step is missing|exp_avg_sq is missing"),
    ("optimizer_states>0>state", {}, "is missing"),
    (f"{STATE}>exp_avg", ABSENT, "KeyError: 'exp_avg'"),
    (f"{STATE}>exp_avg", torch.zeros(3), "its optimizer state is damaged"),
    (f"{STATE}>step", torch.tensor(-1.0), "ZeroDivisionError"),
    ("lr_schedulers", 5, "its optimizer state is damaged"),
    (PHI, [], "its selection of epochs is missing"),
    (f"{PHI}>best_epoch", ABSENT, "its selection of epochs is missing"),
    (f"{PHI}>best_epoch", 2, "its best epoch is not one of its 2 epochs"),
    (f"{PHI}>best_epoch", True, "its best epoch is not one of its 2 epochs"),
    (f"{PHI}>validation_per_epoch", "xy", "its metrics of each epoch are damaged"),
    (f"{PHI}>validation_per_epoch>0>phi", 10**400, "its metrics of each epoch are damaged"),
    (f"{PHI}>validation_per_epoch>1>phi", float("nan"), "its best epoch has no finite φ"),
    (f"callbacks>{EARLY}>wait_count", "x", "its state of the callback EarlyStopping is damaged"),
    (f"callbacks>{EARLY}>best_score", torch.zeros(5), "its state of the callback EarlyStopping is damaged"),
]


@pytest.mark.parametrize(("place", "value", "reason"), DAMAGE, ids=lambda value: str(value)[:60])
def test_a_checkpoint_of_another_structure_is_not_resumed(stopped, tmp_path, place, value, reason):
    *above, key = (int(name) if name.isdigit() else name for name in place.split(">"))
    node = stopped
    for name in above:
        node = node[name]
    if value is ABSENT:
        del node[key]
    else:
        node[key] = value
    path = tmp_path / "run" / "damaged.ckpt"
    save(stopped, path)
    resumed = PhiCheckpoint(tmp_path / "resumed", {"key": "value"})

    def resume():
        train(resumed, 4, resumed.adopt(path), callbacks=[pl.callbacks.EarlyStopping("validation/phi")])

    if reason is None:
        resume()
        return
    with pytest.raises(ValueError, match=r"\.ckpt is not a checkpoint of san, or is damaged: ") as raised:
        resume()
    assert any(part in str(raised.value) for part in reason.split("|")), raised.value


def test_an_error_of_the_training_is_not_one_of_the_checkpoint(stopped, tmp_path):
    class Failing(Trained):
        def training_step(self, batch, batch_index):
            raise RuntimeError("of the training")

    resumed = PhiCheckpoint(tmp_path / "resumed", {"key": "value"})
    path = resumed.adopt(tmp_path / "run" / "last.ckpt")
    with pytest.raises(RuntimeError, match=r"^of the training$"):
        train(resumed, 4, path, module=Failing, callbacks=[pl.callbacks.EarlyStopping("validation/phi")])


class Partly(Trained):
    """A module with a frozen parameter and one that no loss depends on."""

    def __init__(self, phis):
        super().__init__(phis)
        self.frozen = torch.nn.Parameter(torch.zeros(2), requires_grad=False)
        self.unused = torch.nn.Parameter(torch.zeros(2))


def test_a_module_resumes_whose_parameters_had_no_gradient(tmp_path):
    stopped, resumed = (PhiCheckpoint(tmp_path / name, {"key": "value"}) for name in ("stopped", "resumed"))
    train(stopped, 2, module=Partly)
    train(resumed, 4, resumed.adopt(tmp_path / "stopped" / "last.ckpt"), module=Partly)
    assert resumed.phi_per_epoch == pytest.approx([0.9, 0.4, 0.7, 0.5])


def test_progress_of_another_version_may_have_other_keys(stopped, tmp_path):
    stopped["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]["new"] = 0
    path = tmp_path / "run" / "other.ckpt"
    early = [pl.callbacks.EarlyStopping("validation/phi")]
    for version, refused in ((stopped["pytorch-lightning_version"], True), ("2.6.0", False)):
        stopped["pytorch-lightning_version"] = version
        save(stopped, path)
        resumed = PhiCheckpoint(tmp_path / f"resumed-{version}", {"key": "value"})
        with pytest.raises(ValueError, match="its progress is damaged") if refused else nullcontext():
            train(resumed, 4, resumed.adopt(path), callbacks=early)


def test_a_state_that_could_not_be_read_again_is_refused_before_the_first_epoch(tmp_path):
    class Collecting(pl.Callback):
        def state_dict(self):
            return {"seen": {1, 2}}

    with pytest.raises(ValueError, match=r"^the training could not be resumed from .* \(.*set.*\): the state of"):
        train(PhiCheckpoint(tmp_path / "run", {"key": "value"}), 2, callbacks=[Collecting()])

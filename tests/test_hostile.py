"""Files and configurations from a stranger run no code; damage is reported in one line."""

import json
import os
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import hydra
import numpy as np
import pytest
import torch
import wfdb
from hydra.utils import get_object
from mutations import KINDS, MEMORY, SECONDS
from omegaconf import OmegaConf

from san import evaluate, train
from san.cli.allow_list import resolved_parts
from san.cli.config import CONF
from san.cli.parts import instantiate
from san.commands.evaluate import evaluate as evaluate_checkpoint
from san.data import csv_files

PROJECT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Train in this process; return a folder with a checkpoint of signals and one of images."""
    folder = tmp_path_factory.mktemp("trained")
    for name, options in (("signal", ["kernel_size=20"]), ("image", ["dataset=synthetic_images", "kernel_size=4"])):
        common = ["trainer.max_epochs=1", "logger=csv", "figure=[]", f"paths.output_dir={folder / name}"]
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            config = hydra.compose("train", [*options, *common, "activation_name=extrema"])
        train.train(config)
        (folder / f"{name}.ckpt").write_bytes((folder / name / "checkpoints" / "best.ckpt").read_bytes())
    return folder


@pytest.fixture
def refused(run, tmp_path, monkeypatch):
    """Run a command that must fail with one line, and return the line."""
    monkeypatch.chdir(tmp_path)

    def refused(command, *arguments):
        code, said = run(command, *arguments, "hydra.run.dir=run")
        assert code == 1
        assert len(said.strip().splitlines()) == 1
        assert said.startswith("san: ")
        assert not Path("hacked").exists()
        return said

    return refused


@pytest.fixture
def altered(trained, tmp_path):
    """Write the checkpoint of signals with other parts or another configuration."""

    def altered(config=(), **parts):
        checkpoint = torch.load(trained / "signal.ckpt", weights_only=True)
        for place, value in dict(config).items():
            *above, key = place.split(".")
            node = checkpoint["config"]
            for name in above:
                node = node[name]
            node[key] = value
        torch.save({**checkpoint, **parts}, tmp_path / "altered.ckpt")
        return f"checkpoint={tmp_path / 'altered.ckpt'}"

    return altered


class Hack:
    """Create a file when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch hacked",)


def test_a_pickle_in_a_checkpoint_runs_no_code(altered, refused):
    assert "is not a checkpoint of san" in refused(evaluate.main, altered(config_of_others=Hack()))
    assert "is not a checkpoint of san" in refused(train.main, altered(callbacks={"x": Hack()}))


COMMAND = {"command": "touch hacked"}
CALLS = [
    {"_target_": "os.system", **COMMAND},
    {"_target_": "os.system", "_args_": ["touch hacked"]},
    {"_target_": "subprocess.run", "args": ["touch", "hacked"]},
    {"_target_": "builtins.eval", "_args_": ["open('hacked', 'w')"]},
    {"_target_": "pathlib.Path.touch", "_args_": ["hacked"]},
    {"_target_": "san.cli.launch.hydra.utils.instantiate", "config": {"_target_": "os.system", **COMMAND}},
    {"_target_": "san.cli.processes.get_method", "path": "os.system"},
    {"_target_": "san.cli.parts.hydra.utils.instantiate", "config": {"_target_": "os.system", **COMMAND}},
    {"_target_": "san.cli.parts.instantiate", "config": {"x": {"_target_": "os.system", **COMMAND}}, "place": "x"},
    {"_target_": "san.cli.launch.os.system", **COMMAND},
    {"_target_": "san.train.main"},
    {"_target_": "san.commands.train.train", "config": {}},
    {"_target_": "san.storage.files.replacing", "path": "hacked"},
    {"_target_": "san.storage.files.write_json", "path": "hacked", "content": {}},
    {"_target_": "san.storage.files.write_text", "path": "hacked", "text": ""},
    {"_target_": "san.storage.checkpoints.add_parts", "path": "hacked"},
    {"_target_": "san.storage.checkpoints.save", "content": {}, "path": "hacked"},
    {"_target_": "san.data.wfdb_files.Path.touch", "_args_": ["hacked"]},
    {"_target_": "torch.optim.adam.torch.load", "f": "hacked", "weights_only": False},
    {"_target_": "torch.nn.functional.torch.load", "f": "hacked", "weights_only": False},
    {"_target_": "pytorch_lightning.loggers.CSVLogger", "save_dir": "hacked"},
    {"_target_": "san.activations.Extrema", "border_tolerance": {"_target_": "os.system", **COMMAND}},
    {"_target_": "san.networks.Sequence"},
    {"_target_": "san.extensions.growing.Any"},
    {"_target_": "san.training.callbacks.kernel_figures.TensorBoardLogger", "save_dir": "hacked"},
    {"_target_": "san.data.physionet.load", "record": {"_target_": "san.data.mnist.load", "data_dir": "hacked"}},
]
CALLS_BY_OLD_NAMES = [
    {"_target_": "san.command.hydra.utils.instantiate", "config": {"_target_": "os.system", **COMMAND}},
    {"_target_": "san.command.instantiate", "config": {"_target_": "os.system", **COMMAND}},
    {"_target_": "san.command.os.system", **COMMAND},
    {"_target_": "san.files.replacing", "path": "hacked"},
    {"_target_": "san.checkpoint.add", "path": "hacked"},
    {"_target_": "san.results.write_json", "path": "hacked", "content": {}},
    {"_target_": "san.activations.Sequence"},
]
PLACES = (
    "activation", "callbacks.x", "classifier", "classifier.model", "figure.x", "loss", "network", "optimizer",
    "trainer", "x",
)  # fmt: skip


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call["_target_"])
def test_the_attacks_name_objects_that_exist(call):
    assert callable(get_object(call["_target_"]))


@pytest.mark.parametrize("call", [*CALLS, *CALLS_BY_OLD_NAMES], ids=lambda call: call["_target_"])
def test_a_checkpoint_calls_nothing_but_parts_where_they_belong(altered, tmp_path, monkeypatch, compose, call):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="_target_="):
        evaluate_checkpoint(compose(altered({"dataset": call}), name="evaluate"))
    for place in PLACES:
        config = OmegaConf.create({})
        OmegaConf.update(config, place, call, force_add=True)
        with pytest.raises(ValueError, match="_target_="):
            instantiate(config, place if place == "callbacks.x" else place.partition(".")[0])
    assert not Path("hacked").exists()


@pytest.mark.parametrize(
    "special", [{"_args_": []}, {"_recursive_": False}, {"_convert_": "none"}, {"_partial_": True}]
)
def test_a_part_is_called_as_this_package_calls_it(altered, refused, special):
    said = refused(evaluate.main, altered({"dataset": {"_target_": "san.data.synthetic.load", **special}}))
    assert f"dataset.{next(iter(special))}" in said


CALL = {"_target_": "os.system", "command": "touch hacked"}
TOUCH = {"_target_": "pathlib.Path.touch", "_args_": ["hacked"]}
STRANGE = [
    ("hydra.callbacks.x", CALL),
    ("hydra.callbacks.x", {"_target_": "subprocess.call", "args": ["touch", "hacked"]}),
    ("hydra.callbacks.x", TOUCH),
    ("hydra.callbacks.x", "${oc.create:'{_target_: pathlib.Path.touch, _args_: [hacked]}'}"),
    ("hydra.callbacks.x", "${oc.decode:'{_target_: pathlib.Path.touch, _args_: [hacked]}'}"),
    ("hydra.callbacks.x", "${x}"),
    ("hydra.launcher._target_", "os.system"),
    ("hydra.sweeper._target_", "san.train.main"),
    ("hydra.job_logging.handlers.x", {"class": "pathlib.Path", "filename": "hacked"}),
    ("hydra.job_logging.handlers.file.filename", "hacked"),
    ("hydra.job_logging.handlers.console.stream", "ext://os.system"),
    ("hydra.job_logging.formatters.x", {"()": "pathlib.Path.cwd"}),
    ("hydra.job_logging.filters", "${oc.env:HOME}"),
    ("hydra.job.env_set", {"LD_PRELOAD": "hacked.so"}),
    ("activation", CALL),
    ("callbacks.x", CALL),
    ("callbacks.x", {"_target_": "san.cli.processes.get_method", "path": "os.system"}),
    ("logger.x", CALL),
    ("dataset", {"_target_": "san.data.numpy_array.load", "path": TOUCH}),
    ("trainer.callbacks", [CALL]),
    ("trainer.plugins", [CALL]),
    ("x", CALL),
]


@pytest.mark.parametrize(("key", "value"), STRANGE, ids=str)
def test_a_strangers_configuration_file_runs_no_code(refused, tmp_path, key, value):
    folder = tmp_path / "strange" / "experiment"
    folder.mkdir(parents=True)
    content = OmegaConf.create({"x": TOUCH} if value == "${x}" else {})
    OmegaConf.update(content, key, value, force_add=True)
    (folder / "evil.yaml").write_text(f"# @package _global_\n{OmegaConf.to_yaml(content)}", encoding="utf-8")
    refused(train.main, f"--config-dir={folder.parent}", "experiment=evil", "debug=one_batch")


@pytest.mark.parametrize(
    "value",
    [
        "hydra.callbacks.x={_target_:os.system,command:'touch hacked'}",
        "hydra.callbacks.x={_target_:pathlib.Path.touch,_args_:[hacked]}",
        "hydra.launcher._target_=os.system",
        "hydra.job_logging.handlers.x={class:pathlib.Path}",
        "hydra.job.name=../hacked",
        "activation={_target_:os.system,command:'touch hacked'}",
        "activation._target_=subprocess.getoutput",
        "loss._target_=san.cli.launch.hydra.utils.instantiate",
        "loss._target_=san.command.hydra.utils.instantiate",
        "callbacks.x={_target_:os.system,command:'touch hacked'}",
        "trainer.callbacks=[{_target_:os.system,command:'touch hacked'}]",
    ],
)
def test_a_value_on_the_command_line_runs_no_code(refused, value):
    said = refused(train.main, f"++{value}", "debug=one_batch")
    assert "is not allowed" in said or "must be" in said


def test_a_checkpoint_reads_no_environment_and_resolves_nothing(altered, refused, monkeypatch):
    monkeypatch.setenv("SECRET", "hush")
    for reference in ("${oc.env:SECRET}", "${oc.decode:x}", "${now:%Y}", "${${x}:y}", "${.x}", "$\\{x}${"):
        said = refused(evaluate.main, altered({"dataset.database": reference}))
        assert "dataset.database=" in said
        assert "hush" not in said


@pytest.mark.parametrize(
    ("value", "said"), [("${seed}" * 1400, "has 1400 references, more than 20"), ("a ${dataset}", "a plain value")]
)
def test_a_text_of_a_checkpoint_has_few_references_to_plain_values(altered, refused, value, said):
    assert said in refused(evaluate.main, altered({"decoder": value}))


def test_references_do_not_grow():
    doubling = {f"k{n}": f"${{k{n + 1}}}${{k{n + 1}}}" for n in range(100)} | {"k100": "x"}
    with pytest.raises(ValueError, match="does not refer to a plain value"):
        resolved_parts(doubling, ["k0"], {})
    shared = [1]
    for _ in range(15):
        shared = [shared] * 10
    with pytest.raises(ValueError, match="more than"):
        resolved_parts({"x": shared}, ["x"], {})
    itself = {}
    itself["x"] = itself
    with pytest.raises(ValueError, match="levels"):
        resolved_parts(itself, ["x"], {})


@pytest.mark.usefixtures("offline")
def test_a_checkpoint_cannot_choose_where_data_is_written(altered, compose, tmp_path):
    dataset = {"_target_": "san.data.mnist.load", "collection": "MNIST", "n_validation": 1,
               "data_dir": str(tmp_path / "hacked")}  # fmt: skip
    given = altered({"dataset": dataset, "paths.data_dir": str(tmp_path / "hacked")})
    with pytest.raises(FileNotFoundError, match=r"mine/MNIST"):
        evaluate_checkpoint(compose(given, f"paths.data_dir={tmp_path / 'mine'}", name="evaluate"))
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize("name", ["..", "../x", "/etc/x", "a/../../x", "a b", "a%2fb", "x?y", "s3://x"])
def test_names_of_records_are_not_paths(compose, name):
    for key in ("database", "record"):
        with pytest.raises(ValueError, match=rf"^dataset\.{key}=.* must be a name"):
            instantiate(compose("dataset.database=x", f"dataset.{key}='{name}'"), "dataset")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"kernel_size": 10**9}, "has kernels of shape"),
        ({"n_kernels": 10**9}, "has kernels of shape"),
        ({"kernel_sizes": [10**9] * 50}, "has kernels of shape"),
        ({"kernel_sizes": 20}, "must be a list"),
        ({"kernel_size": 10**30}, "must be an integer"),
        ({"seed": "x"}, "seed=x must be an integer"),
        ({"dataset": {}}, "dataset names no _target_"),
        ({"dataset": 5}, "dataset='5' must be keys and values with a _target_"),
        ({"activation": {}}, "activation names no _target_"),
        ({"activation.border_tolerance": 2.5}, "border_tolerance"),
        ({"activation.require_sign": "x"}, "activation.require_sign=x must be true or false"),
        ({"loss.bogus": 1}, "loss.bogus is not an argument of l1_loss"),
        ({"dataset.split": {"_partial_": "/"}}, "dataset.split._partial_ is not allowed without a _target_"),
        ({"loss._target_": "torch.nn.functional.cosine_embedding_loss"}, "cannot be computed"),
        ({"decoder": "x" * 10**6}, "a text of 1000000 characters"),
        ({"dataset": {"_target_": "san.data.synthetic.load", "space": [10**9], "kernel_sizes": [20],
                      "split": [9, 9, 9], "occupancy": 0.5, "noise": 0, "seed": 0}}, "instances per kernel take too"),
    ],
    ids=lambda value: str(value)[:100],  # a longer identifier would not fit into the environment of a command
)  # fmt: skip
def test_absurd_values_in_a_checkpoint_are_refused_before_memory_is_reserved(altered, refused, config, said):
    assert said in refused(evaluate.main, altered(config))


def test_weights_that_are_not_stored_are_refused(altered, refused):
    few = torch.zeros(1)
    for weight in (few.expand(10**12), torch.empty(10**12, device="meta"), few.to_sparse(), few.int(), "x", None):
        said = refused(evaluate.main, altered(state_dict={"network.weight": weight}))
        assert "must contain stored weights only" in said or "is not a checkpoint" in said
    assert "a tensor has values that are not stored" in refused(
        evaluate.main, altered(classifier={"x": few.expand(10**12)})
    )


def test_a_changed_byte_in_a_weight_is_noticed(trained, refused, tmp_path):
    content = bytearray((trained / "signal.ckpt").read_bytes())
    with zipfile.ZipFile(trained / "signal.ckpt") as archive:
        (weight,) = (member for member in archive.infolist() if member.filename.endswith("data/0"))
    name = weight.filename.encode()
    at = content.index(name, weight.header_offset) + len(name) + 40
    at += (-at) % 64  # the weights are aligned
    content[at] ^= 1
    (tmp_path / "flipped.ckpt").write_bytes(content)
    assert "or is truncated or damaged" in refused(evaluate.main, f"checkpoint={tmp_path / 'flipped.ckpt'}")


def test_a_compressed_checkpoint_is_not_unpacked(refused, tmp_path):
    bomb = tmp_path / "bomb.ckpt"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("archive/data.pkl", "w") as file:
        for _ in range(100):
            file.write(bytes(10**6))
    assert "or is truncated or damaged" in refused(evaluate.main, f"checkpoint={bomb}")


@pytest.fixture
def record(tmp_path):
    """Write a record of 4,000 samples; return a function that replaces a part of its header."""
    samples = np.random.default_rng(0).standard_normal((4000, 1)).cumsum(0)
    wfdb.wrsamp("r", fs=100, units=["mV"], sig_name=["I"], p_signal=samples, fmt=["16"], write_dir=str(tmp_path))
    header = tmp_path / "r.hea"

    def record(old, new):
        text = header.read_text(encoding="utf-8")
        assert old in text
        header.write_text(text.replace(old, new), encoding="utf-8")

    return record


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("4000", "1000000000000", "8000 bytes of at least 2000000000000"),
        ("4000", "9" * 900, "damaged"),
        ("r 1 100", "r 1000000 100", "claims 1000000 channels and describes 1"),
        ("r.dat 16", "r.dat 16x1000000000", "claims 1000000000 samples a frame"),
        ("r.dat 16", "r.dat 16:1000000000", "skewed by 1000000000"),
        ("r.dat 16", "r.dat 16+1000000000000", "8000 bytes of at least 1000000008000"),
        ("r.dat 16", "r.dat 516", "damaged"),
        ("r.dat 16", "none.dat 16", "is not a file"),
        ("r 1 100", "r/9 1 100", "damaged"),
        ("r 1 100", "r 1 0", "frequency"),
        ("r 1 100", "9" * 50_000, "more than 1000 characters"),
        ("r 1 100", "#" * 200_000 + "\nr 1 100", "at most are read"),
    ],
)  # fmt: skip
def test_a_header_that_claims_too_much_is_refused(record, trained, refused, tmp_path, old, new, said):
    record(old, new)
    given = ["dataset=wfdb", f"path={tmp_path / 'r'}", "dataset.window=400"]
    if "516" in new:
        record("4000", "1000000000000")
    assert said in refused(evaluate.main, f"checkpoint={trained / 'signal.ckpt'}", *given)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"ECG\n" + b"1" * 10**7, "line 2 has more than"),
        (b"," * 10**7, "line 1 has more than"),
        (b"ECG\n1,2\n3,4\n", "cannot be read as a table"),
        (b"\x1f\x8b" + bytes(1000), "cannot be read as a table|invalid samples"),
        (b"", "cannot be read as a table"),
        (b"ECG\n" + b"9" * 400 + b"\n1\n", "too large"),
    ],
)
def test_an_absurd_table_is_refused(trained, refused, tmp_path, content, said):
    (tmp_path / "x.csv.gz").write_bytes(content)
    given = ["dataset=csv", f"path={tmp_path / 'x.csv.gz'}"]
    line = refused(evaluate.main, f"checkpoint={trained / 'signal.ckpt'}", *given)
    assert any(part in line for part in said.split("|")), line


def test_a_row_longer_than_the_headings_does_not_shift_the_columns(tmp_path):
    (tmp_path / "x.csv").write_text("time,ECG\n0,5,\n1,6,\n", encoding="utf-8")
    assert csv_files.read(tmp_path / "x.csv")["ECG"].tolist() == [5, 6]
    (tmp_path / "x.csv").write_text("time,ECG\n0,5,7\n1,6,8\n", encoding="utf-8")
    with pytest.raises(ValueError, match="Length of header"):
        csv_files.read(tmp_path / "x.csv")


def test_markup_and_control_characters_in_names_are_text(trained, run, refused, tmp_path, monkeypatch):
    values = np.random.default_rng(0).standard_normal(4000).cumsum()
    (tmp_path / "x.csv").write_text("[/bold]\n" + "\n".join(map(str, values)), encoding="utf-8")
    given = [f"checkpoint={trained / 'signal.ckpt'}", "dataset=csv", "path=x.csv", "dataset.window=500"]
    monkeypatch.chdir(tmp_path)
    assert run(evaluate.main, *given, "hydra.run.dir=run") == (0, "")
    (tmp_path / "x.csv").write_text("\x1b[2Ja,b\n1,2\n", encoding="utf-8")
    assert "\x1b" not in refused(evaluate.main, *given, "column=c")


@pytest.mark.parametrize("at", [0, 4, 8])
@pytest.mark.usefixtures("offline")
def test_an_idx_file_that_claims_too_much_is_refused(write_images, trained, refused, tmp_path, at):
    file = write_images("MNIST") / "t10k-images-idx3-ubyte"
    content = file.read_bytes()
    file.write_bytes(content[:at] + (10**9).to_bytes(4, "big") + content[at + 4 :])
    given = ["dataset=mnist", f"paths.data_dir={tmp_path}", "dataset.n_validation=10"]
    assert "its files are not in" in refused(evaluate.main, f"checkpoint={trained / 'image.ckpt'}", *given)


def test_a_numpy_header_that_claims_too_much_is_refused(trained, refused, tmp_path):
    np.save(tmp_path / "x.npy", np.ones(1000))
    content = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").write_bytes(content.replace(b"(1000,), }      ", b"(10000000000,)} "))
    line = refused(
        evaluate.main, f"checkpoint={trained / 'signal.ckpt'}", "dataset=numpy", f"path={tmp_path / 'x.npy'}"
    )
    assert "cannot be read as an array of numbers" in line


def mutate(kind, folder):
    """Evaluate sixty damaged files in another process; return the outcome of each."""
    command = [sys.executable, PROJECT / "tests" / "mutations.py", kind, "0", "60", folder]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1500)
    whole, *cases = map(json.loads, finished.stdout.splitlines())
    assert whole["outcome"] == "answer", whole
    assert len(cases) == 60, finished.stderr
    return cases


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_give_an_answer_or_one_line(trained, kind):
    cases = mutate(kind, trained)
    longest, most = (max(case[key] for case in cases) for key in ("seconds", "memory"))
    print(f"{kind}: {Counter(case['outcome'] for case in cases)}, at most {longest:.2f} s and {most / 1e6:.0f} MB more")
    assert [case for case in cases if case["outcome"] == "fault"] == []
    assert longest < SECONDS
    assert most < MEMORY
    assert {"answer", "error"} == {case["outcome"] for case in cases}

"""Compose and build configurations of strangers in a separate process, and report what each did.

``python tests/strangers.py FIRST COUNT FOLDER`` prints one line of JSON per case; a case depends on its number alone.
A case is a YAML file of the package with other keys, values, arguments, choices and bytes in a folder of a stranger.
"""

import contextlib
import copy
import inspect
import io
import json
import os
import random
import resource
import shutil
import signal
import sys
import time
import warnings
from pathlib import Path

import torch
import yaml
from hydra.utils import get_object
from mutations import PATIENCE, SAFETY, VALUES, HangError, change, damage, memory

from san.cli.config import CONF
from san.cli.errors import is_mistake
from san.cli.launch import command
from san.cli.parts import instantiate

GROUPS = ("activation", "callbacks", "dataset", "experiment", "figure", "logger", "optimizer", "trainer")
PARTS = (
    "activation",
    "callbacks",
    "classifier",
    "dataset",
    "figure",
    "logger",
    "loss",
    "network",
    "optimizer",
    "trainer",
)
# What runs a program, opens a connection or loads a library; see the table of audit events in Python's documentation.
DEEDS_OF_CODE = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "os.startfile", "subprocess.Popen",
                 "socket.connect", "socket.getaddrinfo", "pty.spawn", "code.__new__", "webbrowser.open")  # fmt: skip
HYDRA = [
    {"mode": "MULTIRUN"},
    {"launcher": {"_target_": "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher",
                  "setup": ["touch hacked"]}},
    {"sweeper": {"params": {"seed": "1,2", "hydra/launcher": "submitit_local"}}},
    {"callbacks": {"x": {"_target_": "os.system", "command": "touch hacked"}}},
    {"searchpath": ["pkg://this", "file:///"]},
    {"job": {"env_set": {"PATH": "."}, "chdir": True}},
    {"job_logging": {"handlers": {"x": {"class": "os.system"}}}},
    {"output_subdir": "../../hacked"},
    {"run": {"dir": "/proc/self"}},
    "${x}",
]  # fmt: skip
CHOICES = [
    {"override /hydra/launcher": "submitit_local"}, {"/hydra/launcher@hydra.launcher": "joblib"},
    {"override /hydra/sweeper": "basic"}, "hydra/launcher/joblib", {"/activation@hydra": "relu"}, "/../../etc/passwd",
    {"optional /dataset": "../hydra/launcher/joblib"}, {"/activation": "${oc.env:HOME}"},
    {"override /activation": "relu"},
    {"/activation@activation.x": "extrema"}, "_self_", {"/trainer": None}, 3,
]  # fmt: skip
PACKAGES = (
    "_global_",
    "hydra",
    "hydra.launcher",
    "activation",
    "_group_",
    "trainer.callbacks",
    "a.b",
    "_global_.hydra",
)
TEXTS = (
    "${oc.env:HOME}", "${oc.create:{_target_: os.system}}", "${${x}.env:HOME}", "${hydra:launcher}", "touch hacked",
    "http://127.0.0.1:9/x", "pkg://this", "file:///etc/passwd", "/etc/passwd", "os.system", "hacked", "$(touch hacked)",
    "!!python/name:os.system", "deepspeed", "xla", "mpi", "\x1b[2J",
)  # fmt: skip
DOWNLOADS = ("physionet.org", "ossci-datasets", "yann.lecun.com", "fashion-mnist")  # of absent data
done: list[str] = []


def watch(event, arguments):
    """Record what a configuration must not do; let nothing connect, not even to download absent data."""
    if not event.startswith(DEEDS_OF_CODE):
        return
    if event.startswith("socket") and any(host in str(arguments) for host in DOWNLOADS):
        raise OSError("no connection in a test")
    done.append(f"{event} {arguments!r}"[:200])


def build(config):
    """Build every part of a configuration; stand in for the implementation of ``san.train``."""
    for part in PARTS:
        try:
            instantiate(config, part)
        except Exception as error:
            if not is_mistake(error):
                raise


def known_files():
    return [(group, file) for group in GROUPS for file in sorted((CONF / group).glob("*.yaml"))]


def change_argument(content, chance):
    """Set an argument of an object that the content names, whether or not the content gives it."""
    named = [node for node in nodes(content) if isinstance(node.get("_target_"), str)]
    if named:
        node = chance.choice(named)
        with contextlib.suppress(Exception):
            node[chance.choice(list(inspect.signature(get_object(node["_target_"])).parameters))] = hostile(chance)


def nodes(node):
    """Return the mappings of a container."""
    below = node.values() if isinstance(node, dict) else node if isinstance(node, list) else []
    return [*([node] if isinstance(node, dict) else []), *(other for value in below for other in nodes(value))]


def hostile(chance):
    return copy.deepcopy(chance.choice([*VALUES, *TEXTS]))


def strange_file(folder, chance):
    """Write a file of the package with other content into a folder of a stranger."""
    group, file = chance.choice(known_files())
    text = file.read_text(encoding="utf-8")
    content = yaml.safe_load(text) or {}
    for _ in range(chance.choice([0, 1, 2, 3])):
        change(content, chance)
    if chance.random() < 0.1:
        content["hydra"] = copy.deepcopy(chance.choice(HYDRA))
    if chance.random() < 0.1:
        content["defaults"] = copy.deepcopy(chance.sample(CHOICES, chance.choice([1, 2, 3])))
    if chance.random() < 0.4:
        content[chance.choice(["seed", "paths", "x", *PARTS])] = hostile(chance)
    if chance.random() < 0.5:
        change_argument(content, chance)
    package = chance.choice(PACKAGES) if chance.random() < 0.1 else "_global_" if "_global_" in text else group
    try:
        written = f"# @package {package}\n{yaml.safe_dump(content)}".encode()
    except (yaml.YAMLError, UnicodeEncodeError):
        written = text.encode()
    if chance.random() < 0.1:
        written = damage(written, chance)
    place = folder / "own" / group
    place.mkdir(parents=True, exist_ok=True)
    (place / "evil.yaml").write_bytes(written)
    flag = [f"--config-dir={folder / 'own'}"]
    return group, [*flag, f"{'+' if group in ('figure', 'callbacks') else ''}{group}=evil"]


def judge(arguments, folder):
    """Run ``san.train`` until its parts are built; return what it said, or its fault."""

    def stop(*_):
        raise HangError

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(PATIENCE)
    sys.argv[1:] = [*arguments, f"hydra.run.dir={folder / 'run'}", "hydra.output_subdir=null"]
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
            command("train", implementation="strangers.build")()
    except HangError:
        return "fault", f"more than {PATIENCE} s"
    except SystemExit as error:
        lines = (error.code if isinstance(error.code, str) else said.getvalue()).strip().splitlines()
        return ("error", lines[0]) if len(lines) == 1 else ("fault", f"{len(lines)} lines: {lines[-1:]}")
    except Exception as error:
        return "fault", f"{type(error).__name__}: {error}"[:500]
    finally:
        signal.alarm(0)
    return "answer", ""


def main(first, count, source):
    folder = Path(source) / f"strangers-{first}"
    folder.mkdir()
    os.chdir(folder)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    judge(["debug=one_batch", "dataset=synthetic", "logger=[]"], folder)  # imports all modules that the cases need
    used = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + SAFETY, used + SAFETY))
    sys.addaudithook(watch)
    sys.audit("os.system", b"true")
    assert done, "what a file runs is not seen"
    for number in range(first, first + count):
        done.clear()
        for left in ("own", "hacked"):
            shutil.rmtree(folder / left, ignore_errors=True)
        group, arguments = strange_file(folder, random.Random(f"strangers-{number}"))
        before, start = memory("VmRSS"), time.process_time()
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        outcome, said = judge(arguments, folder)
        seconds, grown = time.process_time() - start, memory("VmHWM") - before
        if done or Path("hacked").is_file():  # a folder of that name is one of data
            outcome, said = "code", "; ".join(done)
        report = {"case": number, "kind": group, "outcome": outcome, "said": said, "seconds": seconds, "bytes": grown}
        print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])

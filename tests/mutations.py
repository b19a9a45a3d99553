"""Evaluate or resume from damaged files in a separate process; report the outcome, time and memory of each.

``python tests/mutations.py KIND FIRST COUNT FOLDER`` prints one line of JSON per case; a case depends on its kind and
number alone. FOLDER has the checkpoints ``signal.ckpt`` and ``image.ckpt``.
"""

import contextlib
import copy
import io
import json
import logging
import random
import re
import resource
import shutil
import signal
import sys
import time
import timeit
import warnings
import zipfile
from pathlib import Path

import hydra
import numpy as np
import pandas as pd
import torch
from PIL import Image

from san.cli.config import CONF
from san.cli.errors import is_mistake, one_line
from san.commands.evaluate import evaluate
from san.commands.train import train
from san.data.wfdb_files import RECORDS

LOOP = timeit.timeit("for _ in range(2_000_000): pass", timer=time.process_time, number=1)
SECONDS = round(10 * max(1, LOOP / 0.025))  # of processor time; longer on a machine on which a plain loop takes longer
PATIENCE = 60  # seconds of wall time, for a case that hangs
MEMORY = 10**9
SAFETY = 4 * MEMORY  # of address space, so that a fault here does not end other programs of the machine
HUGE = [b"0", b"-1", b"1", b"65536", b"1000000", b"1000000000", b"1000000000000", b"9" * 30, b"9" * 400,
        b"1e308", b"nan"]  # fmt: skip
DEEDS = ("flip", "cut", "insert", "delete", "repeat", "huge", "huge", "swap", "fill", "all")
NUMBERS = (0, 1, 2, 28, 255, 10**6, 10**9, 2**31 - 1, 2**32 - 1)
VALUES = [
    None, True, 0, -1, 2.5, 10**6, 10**9, 10**12, 2**63, 2**64, 10**400, float("nan"), float("inf"), -1e308, "", "x",
    "???", "${seed}", "${a.b}", "${oc.env:HOME}", "${oc.create:{_target_: os.system}}", "${", "/", "../..",
    "\x1b[2J[/x]", "x" * 10**6, [], {}, [[]], [10**9] * 50, {"_target_": "os.system"}, {"_target_": "san.train.main"},
    "os.system", "san.data.synthetic.load", "\ud800",
]  # fmt: skip

TENSORS = [
    torch.zeros(0), torch.zeros(20), torch.zeros(1, 20), torch.full((1, 20), torch.nan), torch.zeros(1, 20).double(),
    torch.ones(1, 20, dtype=torch.int64), torch.zeros(1).expand(10**6), torch.tensor(-1.0), torch.tensor(1e30),
    torch.tensor(2**62), torch.tensor(1j),
]  # fmt: skip
RESUME = [
    "kernel_size=20", "trainer.max_epochs=2", "trainer.enable_progress_bar=false", "logger=[]", "figure=[]",
    "activation_name=extrema",
]  # fmt: skip
PICTURES = [
    ("png", "L", {}), ("png", "RGB", {}), ("png", "P", {}), ("png", "I;16", {}), ("jpg", "L", {}), ("jpg", "RGB", {}),
    ("tif", "L", {}), ("tif", "I;16", {}), ("tif", "RGB", {"compression": "tiff_lzw"}),
    ("tif", "L", {"compression": "tiff_deflate"}), ("tif", "1", {"compression": "group4"}), ("gif", "L", {}),
    ("bmp", "L", {}), ("pgm", "L", {}), ("webp", "RGB", {}), ("webp", "RGB", {"lossless": True}),
]  # fmt: skip


def damage(content, chance, *, header=0):
    """Change the content of a file one to three times, as a disk, an editor or an enemy might."""
    for _ in range(chance.choice([1, 1, 2, 3])):
        at, length = chance.randrange(len(content) + 1), chance.choice([1, 2, 4, 16, 100, 1000])
        deed = chance.choice(DEEDS)
        part = content[at : at + length]
        if deed == "flip" and content:
            changed = bytearray(content)
            for _ in range(chance.choice([1, 1, 8])):
                changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
            content = bytes(changed)
        elif deed == "cut":
            content = content[:at]
        elif deed == "insert":
            content = content[:at] + chance.randbytes(length) + content[at:]
        elif deed == "delete":
            content = content[:at] + content[at + length :]
        elif deed == "repeat":
            content = content[:at] + part * chance.choice([2, 10, 100]) + content[at:]
        elif deed == "huge" and header:
            field = 4 * chance.randrange(header)
            content = content[:field] + chance.choice(NUMBERS).to_bytes(4, "big") + content[field + 4 :]
        elif deed == "huge":
            numbers = list(re.finditer(rb"\d+", content[:100_000]))
            if numbers:
                start, end = chance.choice(numbers).span()
                content = content[:start] + chance.choice(HUGE) + content[end:]
        elif deed == "swap":
            other = chance.randrange(len(content) + 1)
            first, second = sorted([at, other])
            content = content[second:] + content[first:second] + content[:first]
        elif deed == "fill":
            content = content[:at] + bytes([chance.choice([0, 255])]) * len(part) + content[at + length :]
        elif chance.random() < 0.3:
            content = b"" if chance.random() < 0.5 else chance.randbytes(chance.choice([1, 100, 10_000]))
    return content


def mutate_checkpoint(folder, chance):
    """Damage the bytes of a checkpoint, or a packed member with a new checksum, or change the stored values."""
    original, path = folder / "signal.ckpt", folder / "case.ckpt"
    way = chance.choice(["bytes", "packed", "values"])
    if way == "bytes":
        path.write_bytes(damage(original.read_bytes(), chance))
    elif way == "packed":
        with zipfile.ZipFile(original) as source, zipfile.ZipFile(path, "w") as target:
            chosen = chance.choice([name for name in source.namelist() if name.endswith(("data.pkl", "/0"))])
            for name in source.namelist():
                content = source.read(name)
                target.writestr(name, damage(content, chance) if name == chosen else content)
    else:
        checkpoint = torch.load(original, weights_only=True)
        for _ in range(chance.choice([1, 1, 2])):
            change(checkpoint if chance.random() < 0.2 else checkpoint["config"], chance)
        torch.save(checkpoint, path)
    return way, [f"checkpoint={path}"]


def change(node, chance):
    """Replace a value, or add one under a new key."""
    while True:
        if not isinstance(node, dict | list) or not node:
            return
        key = chance.choice(list(node) if isinstance(node, dict) else range(len(node)))
        if isinstance(node[key], dict | list) and node[key] and chance.random() < 0.8:
            node = node[key]
            continue
        if isinstance(node, dict) and chance.random() < 0.2:
            key = chance.choice(["_target_", "_partial_", "_args_", "_recursive_", "_convert_", "new"])
        node[key] = copy.deepcopy(chance.choice(VALUES))  # a later change must not reach VALUES
        return


def mutate_resume(folder, chance):
    """Change the structure of a checkpoint: replace, delete, add or swap the values of its parts, at any depth."""
    checkpoint, path = torch.load(folder / "signal.ckpt", weights_only=True), folder / "case.ckpt"
    parts = [checkpoint, checkpoint["loops"]["fit_loop"], checkpoint["callbacks"], checkpoint["optimizer_states"]]
    ways = [restructure(chance.choice(parts), chance) for _ in range(chance.choice([1, 1, 1, 2, 3]))]
    torch.save(checkpoint, path)
    return " ".join(ways), [f"checkpoint={path}", *RESUME]


def restructure(node, chance):
    """Make one change; return its place and the change."""
    place = []
    while True:
        items = node if isinstance(node, dict) else dict(enumerate(node))
        key = chance.choice(list(items) or ["new"])
        place.append(str(key))
        below = items.get(key)
        if isinstance(below, dict | list) and below and chance.random() < 0.9:
            node = below
            continue
        deed = chance.choice(["replace", "replace", "replace", "delete", "add", "swap"])
        other = chance.choice(list(items) or ["new"])
        value = chance.choice([*VALUES, *TENSORS])
        if isinstance(node, list):
            at = key if items else 0
            node[at : at + 1] = {"delete": [], "add": [items.get(key), value]}.get(deed, [value])
        elif deed == "delete":
            node.pop(key, None)
        elif deed == "add":
            node[chance.choice(["new", "", "items", "ready", 0, -1, 2.5, "_target_"])] = value
        elif deed == "swap" and key in node:
            node[key], node[other] = node[other], node[key]
        else:
            node[key] = value
        return f"{deed} {'.'.join(place)}"


def mutate_record(folder, chance):
    """Damage the header of a record, its samples or both."""
    place = folder / "physionet" / "mitdb"
    place.mkdir(parents=True, exist_ok=True)
    way = chance.choice(["hea", "hea", "dat", "both"])
    for suffix in ("hea", "dat"):
        content = (RECORDS / "mitdb" / f"208.{suffix}").read_bytes()
        (place / f"208.{suffix}").write_bytes(damage(content, chance) if way in (suffix, "both") else content)
    if chance.random() < 0.5:
        return way, [f"checkpoint={folder / 'signal.ckpt'}", f"paths.data_dir={folder}", "dataset=physionet"]
    return way, [f"checkpoint={folder / 'signal.ckpt'}", "dataset=wfdb", f"path={place / '208'}"]


def mutate_table(folder, chance):
    """Damage a CSV file."""
    samples = np.random.default_rng(0).standard_normal(4000).cumsum()
    whole = pd.DataFrame({"time": range(4000), "ECG": samples}).to_csv(index=False).encode()
    (folder / "case.csv").write_bytes(damage(whole, chance))
    column = chance.choice(["ECG", 1])
    return "csv", [f"checkpoint={folder / 'signal.ckpt'}", "dataset=csv", f"path={folder / 'case.csv'}",
                   f"column={column}", "dataset.window=500"]  # fmt: skip


def mutate_images(folder, chance):
    """Damage one of the four files of MNIST."""
    place = folder / "MNIST" / "raw"
    place.mkdir(parents=True, exist_ok=True)
    chosen = chance.choice(["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"])
    for prefix, count in (("train", 20), ("t10k", 10)):
        pixels = np.random.default_rng(0).integers(1, 256, (count, 784), dtype=np.uint8)
        for name, numbers, body in (("images-idx3", (0x803, count, 28, 28), pixels.tobytes()),
                                    ("labels-idx1", (0x801, count), bytes(range(10)) * (count // 10))):  # fmt: skip
            content = b"".join(number.to_bytes(4, "big") for number in numbers) + body
            if f"{prefix}-{name}" == chosen:
                content = damage(content, chance, header=len(numbers))
            (place / f"{prefix}-{name}-ubyte").write_bytes(content)
    return chosen, [f"checkpoint={folder / 'image.ckpt'}", "dataset=mnist", "dataset.n_validation=10",
                    f"paths.data_dir={folder}"]  # fmt: skip


def mutate_folder(folder, chance):
    """Damage one of five images of a folder, in one of the formats that are read."""
    place = folder / "pictures"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    suffix, mode, options = chance.choice(PICTURES)
    for index in range(5):
        pixels = np.random.default_rng(index).integers(1, 256, (28, 28), dtype=np.uint8)
        image = Image.fromarray(pixels.astype(np.uint16) * 257 if mode == "I;16" else pixels)
        image = image if mode in ("L", "I;16") else image.convert(mode)
        image.save(place / f"{index}.{suffix}", **options)
    chosen = place / f"{chance.randrange(5)}.{suffix}"
    chosen.write_bytes(damage(chosen.read_bytes(), chance))
    size = chance.choice([[], ["dataset.size=[28,28]"]])
    return suffix, [f"checkpoint={folder / 'image.ckpt'}", "dataset=images", f"path={place}", *size]


def mutate_chunk(folder, chance):
    """Damage a record that is read in chunks: its header, its samples or both."""
    way, arguments = mutate_record(folder, chance)
    record = folder / "physionet" / "mitdb" / "208"
    return way, [arguments[0], "dataset=wfdb", f"path={record}", f"chunk={chance.choice([1000, 4000])}"]


KINDS = {
    "checkpoint": mutate_checkpoint, "resume": mutate_resume, "record": mutate_record, "table": mutate_table,
    "images": mutate_images, "folder": mutate_folder, "chunk": mutate_chunk,
}  # fmt: skip


class HangError(BaseException):
    """A case takes too long; not an ``Exception``, which a loader could report as damage."""


def judge(kind, arguments, folder, patience=PATIENCE):
    """Evaluate or resume; return ``answer`` and phi, ``error`` and its line, or ``fault`` and its description."""

    def stop(*_):
        raise HangError

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(patience)
    try:
        command = train if kind == "resume" else evaluate
        config = hydra.compose(command.__name__, [f"paths.output_dir={folder / 'out'}", *arguments])
        with contextlib.redirect_stdout(io.StringIO()):
            phi = command(config)
        return ("answer", phi) if np.isfinite(phi) else ("fault", f"phi is {phi}")
    except HangError:
        return "fault", f"more than {patience} s"
    except Exception as error:
        clean = is_mistake(error) and "\n" not in one_line(error)
        return ("error", one_line(error)) if clean else ("fault", f"{type(error).__name__}: {error}"[:500])
    finally:
        signal.alarm(0)


def memory(kind):
    """Return the memory of this process in bytes, now (``VmRSS``) or at its maximum (``VmHWM``)."""
    (line,) = (
        line for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines() if line.startswith(kind)
    )
    return int(line.split()[1]) * 1024


def main(kind, first, count, source):
    folder = Path(source) / f"{kind}-{first}-{count}"
    folder.mkdir()
    for name in ("signal.ckpt", "image.ckpt"):
        shutil.copyfile(Path(source) / name, folder / name)
    torch.set_num_threads(1)
    logging.disable()
    warnings.simplefilter("ignore")
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        whole = [
            f"checkpoint={folder / ('image' if kind in ('images', 'folder') else 'signal')}.ckpt",
            *(RESUME if kind == "resume" else []),
        ]
        expected = judge(kind, whole, folder, patience=600)  # imports all modules that the cases need
        print(json.dumps({"case": None, "outcome": expected[0], "said": expected[1]}), flush=True)
        if expected[0] != "answer":
            return
        used = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + SAFETY, used + SAFETY))
        for case in range(first, first + count):
            way, arguments = KINDS[kind](folder, random.Random(f"{kind} {case}"))
            Path("/proc/self/clear_refs").write_text(
                "5", encoding="utf-8"
            )  # reset the maximum, so that it belongs to this case
            before = memory("VmRSS")
            start = time.process_time()
            outcome, said = judge(kind, arguments, folder)
            if way == "bytes" and outcome == "answer" and said != expected[1]:
                outcome, said = "fault", f"phi is {said}, not {expected[1]}"
            seconds = time.process_time() - start
            more = memory("VmHWM") - before
            if seconds > SECONDS or more > MEMORY:
                outcome, said = "fault", f"{seconds} s, {more} bytes"
            print(json.dumps({"case": case, "way": way, "outcome": outcome, "said": said, "seconds": seconds,
                              "memory": more}), flush=True)  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])

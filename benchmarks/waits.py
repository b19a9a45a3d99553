"""Benchmarks of the waits of a user: command start, encoding, comparison and long recordings."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import san
from benchmarks.measuring import Row, median_run, median_seconds, results, row, run_module, train_config
from san.cli.build import load_dataset
from san.peers.convolutional_sparse_coding import ConvolutionalSparseCoding
from san.peers.patches_omp import PatchesOMP
from san.peers.peer import Level, Peer

LONG = 10**7  # samples of a recording to train on
LONG_EPOCHS = 2
DAY = 24 * 3600 * 360  # samples of a day of ECG at 360 Hz


def wait_rows(data_dir: Path, folder: Path) -> list[Row]:
    """Measure the waits of a user; those for real data are skipped if the data are absent.

    Args:
        data_dir: Folder of the datasets.
        folder: Folder for the runs.
    """
    rows = [start_row(folder), *long_rows(folder)]
    if (data_dir / "physionet" / "mitdb").is_dir():
        rows += [encoding_row(data_dir, folder), comparison_row(data_dir, folder)]
    return rows


def start_row(folder: Path) -> Row:
    """Measure the training of the shipped ECG, most of which is the import of libraries."""
    command = ["san.train", "dataset=physionet", "activation=extrema", f"hydra.run.dir={folder / 'start'}"]
    whole = median_run(*command)
    lightning = median_run("timeit", "--number=1", "--repeat=1", "import pytorch_lightning")
    training = results(folder / "start")["wall_seconds"]
    detail = f"training {training:.1f} s, import of Lightning alone {lightning:.1f} s"
    return row("san.train of the shipped ECG: whole process", 3.3, whole, "s", detail)


def long_rows(folder: Path) -> list[Row]:
    """Measure the training on a long recording, whose time is to grow with its samples alone, and a day's encoding."""
    ecg = san.example_ecg().samples.reshape(-1).astype(np.float32)
    noise = np.random.default_rng(0)
    seconds, peaks = [], []
    for n in (LONG // 10, LONG):
        np.save(folder / "long.npy", np.resize(ecg, n) + noise.normal(0, 0.01, n).astype(np.float32))
        _, peak = run_module(
            "san.train", "dataset=numpy", f"path={folder / 'long.npy'}", "sampling_frequency=360", "kernel_size=100",
            f"trainer.max_epochs={LONG_EPOCHS}", "figure=[]", "logger=[]", f"hydra.run.dir={folder / f'long_{n}'}",
        )  # fmt: skip
        seconds.append(results(folder / f"long_{n}")["wall_seconds"] / LONG_EPOCHS)
        peaks.append(peak)
    detail = f"{seconds[1]:.1f} s an epoch, {seconds[0]:.1f} s of a tenth; peaks {peaks[1]:.2f} and {peaks[0]:.2f} GB"
    growth = row(
        "training on 10^7 samples: an epoch, relative to 10^6", 11, seconds[1] / seconds[0], "x at most", detail
    )
    np.save(folder / "day.npy", np.resize(ecg, DAY))
    whole, peak = run_module(
        "san.encode", f"checkpoint={folder / f'long_{LONG}'}", f"path={folder / 'day.npy'}", "sampling_frequency=360",
        "plot=false", "report=false", f"hydra.run.dir={folder / 'day'}",
    )  # fmt: skip
    day = row(
        "san.encode of a day of ECG: whole process", 300, whole, "s", f"{DAY / whole:.2g} samples/s, peak {peak:.2f} GB"
    )
    return [growth, day]


def encoding_row(data_dir: Path, folder: Path) -> Row:
    """Measure phi pursuit on the test signals of mitdb/100, beside the codings of other libraries."""
    common = ["dataset.database=mitdb", f"paths.data_dir={data_dir}"]
    run_module(
        "san.train", *common, "activation=phi_pursuit", "kernel_size=60", "n_kernels=2", "figure=[]", "logger=[]",
        f"hydra.run.dir={folder / 'pursuit'}",
    )  # fmt: skip
    splits = load_dataset(train_config("phi_pursuit", *common))
    x, network = splits.test, san.load(folder / "pursuit").network
    atoms: dict[str, Any] = {"kernel_size": 60, "n_kernels": 2, "seed": 0}
    rivals = {
        "ConvBPDN": speed(ConvolutionalSparseCoding(splits.train, sparsity=0.2, **atoms), {"threshold": 0.4}, x),
        "OMP of patches": speed(PatchesOMP(splits.train, alpha=1, **atoms), {"n_nonzero": 2}, x),
    }
    seconds, cores = median_seconds(lambda: network.encode(x), repeats=5), torch.get_num_threads()
    others = ", ".join(f"{name} {samples:.2g}" for name, samples in rivals.items())
    phi = results(folder / "pursuit")["test"]["phi"]
    detail = f"on {cores} cores; mean test phi {phi:.3f}; samples/s of others on one core: {others}"
    name = "phi pursuit of mitdb/100, 2 kernels of 60: encoding"
    return row(name, 1e5, x.numel() / seconds / cores, "samples/s and core or more", detail)


def speed(peer: Peer, level: Level, x: Tensor) -> float:
    """Return the samples that a baseline method describes in a second."""
    seconds = median_seconds(
        lambda: list(peer.describe(x, [level], loss=torch.nn.functional.l1_loss, n_weights=120)), repeats=5
    )
    return x.numel() / seconds


def comparison_row(data_dir: Path, folder: Path) -> Row:
    """Measure the comparison of all methods on mitdb/100 over their whole grids."""
    whole, peak = run_module(
        "san.compare", "dataset.database=mitdb", f"paths.data_dir={data_dir}", f"hydra.run.dir={folder / 'compared'}"
    )
    methods = {found["method"]: found["seconds"]["grid"] for found in results(folder / "compared")["methods"]}
    detail = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in methods.items())
    return row(
        "san.compare of mitdb/100, whole grids: whole process",
        55,
        whole,
        "s",
        f"{detail}; peak of a process {peak:.2f} GB",
    )

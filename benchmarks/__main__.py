"""``make bench``: how fast it is, each figure a ratio of medians of paired runs against the plain way."""

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
import timeit
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from rich.console import Console
from rich.table import Table
from scipy.signal import find_peaks

from benchmarks import plain
from benchmarks.figures import draw_growth, draw_sweep_times
from san.activations import Extrema
from san.command import CONF, instantiate
from san.figures.style import save
from san.files import replacing
from san.functional import extrema
from san.networks import SparselyActivatedNetwork
from san.pursuit import PhiPursuit
from san.results import versions, write_json

RESULTS = Path(__file__).parent / "results"
LOCAL = ("bidmc", "ctu-uhb-ctgdb", "drivedb", "emgdb", "mitdb", "noneeg")
SIZES = (1, 50, 100, 150, 200, 250)
PLAIN = 6  # lengths and batches that the plain way is given, too
EVERY = 5  # of the 250 kernel sizes are trained plainly, one at a time, for the time of all

Row = dict[str, Any]


def paired(ours: Callable[[], Any], other: Callable[[], Any], repeats: int = 15) -> tuple[float, float]:
    """Return the median seconds of two functions, run in turns, each for a fiftieth of a second or once."""
    timers = [timeit.Timer(function) for function in (ours, other)]
    numbers = []
    for timer in timers:
        timer.timeit(1)
        numbers.append(max(1, round(0.02 / timer.timeit(1))))
    times = [[timer.timeit(number) / number for timer, number in zip(timers, numbers, strict=True)]
             for _ in range(repeats)]  # fmt: skip
    mine, others = zip(*times, strict=True)
    return median(mine), median(others)


def ratio(name: str, target: float, ours: Callable[[], Any], other: Callable[[], Any], repeats: int = 15) -> Row:
    """Measure how many times faster than another a function is."""
    mine, others = paired(ours, other, repeats)
    return row(name, target, others / mine, "x or more", f"{1e3 * mine:.3f} ms against {1e3 * others:.3f} ms")


def row(name: str, target: float, measured: float, unit: str, detail: str) -> Row:
    """Return a line of the table; what is counted in times should be more than the target, all else less."""
    met = measured >= target if unit == "x or more" else measured <= target
    return {"what": name, "target": target, "measured": measured, "unit": unit, "met": met, "detail": detail}


def selection() -> list[Row]:
    """Measure Extrema on random maps."""
    rows = []
    torch.manual_seed(0)
    for shape, distance in (((64, 1, 178), 10), ((256, 1, 1000), 20), ((64, 1, 28, 28), 2)):
        maps = torch.randn(shape)
        assert torch.equal(extrema(maps, distance), plain.extrema(maps, distance))
        rows.append(ratio(f"Extrema {shape}, distance {distance}: plain loops", 300,
                          lambda m=maps, d=distance: extrema(m, d),
                          lambda m=maps, d=distance: plain.extrema(m, d), 7))  # fmt: skip
    for n, distance, target in ((178, 10, 8), (12000, 50, 4)):
        maps = torch.randn(64, 1, n)
        lines = maps[:, 0].numpy()
        rows.append(ratio(f"Extrema (64, 1, {n}), distance {distance}: scipy find_peaks", target,
                          lambda m=maps, d=distance: extrema(m, d),
                          lambda s=lines, d=distance: [find_peaks(line, distance=d) for line in s]))  # fmt: skip
    maps, kernel = torch.randn(64, 1, 12000), torch.randn(1, 1, 50)
    mine, clone = paired(lambda: extrema(maps, 50), maps.clone, 30)
    rows.append(row("Extrema (64, 1, 12000): times a clone()", 40, mine / clone, "x at most",
                    f"{1e3 * mine:.3f} ms against {1e3 * clone:.3f} ms"))  # fmt: skip
    rows.append(ratio("Extrema (64, 1, 12000): the convolution before it, m = 50", 1,
                      lambda: extrema(maps, 50), lambda: F.conv1d(maps, kernel)))  # fmt: skip
    return rows


def step() -> list[Row]:
    """Measure a training step of a network against the same with dense convolutions."""
    torch.manual_seed(0)
    x = torch.randn(64, 1, 12000)
    network = SparselyActivatedNetwork([100], Extrema(3), seed=0)
    kernel = network.weight[0].detach().clone().requires_grad_()

    def ours() -> None:
        network.zero_grad()
        F.l1_loss(network(x), x).backward()

    def dense() -> None:
        kernel.grad = None
        F.l1_loss(plain.correlate(extrema(plain.correlate(x, kernel), 97), kernel), x).backward()

    return [ratio("forward and backward, Extrema, m = 100, (64, 1, 12000): dense convolutions", 2, ours, dense, 7)]


def pursuit() -> tuple[list[Row], dict[str, Any]]:
    """Measure the encoding of the pursuit, and how it grows with samples and with kernels."""
    generator = torch.Generator().manual_seed(0)

    def taken(n: int, q: int) -> float:
        network = SparselyActivatedNetwork([20] * q, PhiPursuit(), decoder="adjoint", seed=0).eval()
        x = torch.randn(2, 1, n, generator=generator).cumsum(2)
        x = x - x.mean(2, keepdim=True)
        return paired(lambda: network.encode(x), lambda: None, 5)[0] / 2

    lengths, numbers = [1000 * 4**power for power in range(4)], [1, 2, 4, 8]
    grown: dict[str, Any] = {"samples": lengths, "by_samples": [taken(n, 2) for n in lengths],
                             "kernels": numbers, "by_kernels": [taken(4000, q) for q in numbers]}  # fmt: skip
    grown["slope_of_samples"] = float(np.polyfit(np.log(lengths), np.log(grown["by_samples"]), 1)[0])
    speed = lengths[-1] / grown["by_samples"][-1]
    detail = f"growth with samples: n^{grown['slope_of_samples']:.2f}; 8 kernels take " \
             f"{grown['by_kernels'][-1] / grown['by_kernels'][0]:.1f} times as long as 1"  # fmt: skip
    rows = [row("phi pursuit, 2 kernels of 20 samples: encoding", 1e5, speed, "samples/s", detail)]
    kernel, x = torch.randn(20, generator=generator), torch.randn(1000, generator=generator).cumsum(0)
    network = SparselyActivatedNetwork([20], PhiPursuit(training_refinements=0), decoder="adjoint", seed=0).train()
    rows.append(ratio("phi pursuit, greedy part, (1, 1, 1000), m = 20: all correlations anew", 20,
                      lambda: network.encode(x.view(1, 1, -1)), lambda: plain.pursue(x, kernel, 10), 3))  # fmt: skip
    return rows, grown


def command(*arguments: str) -> tuple[float, float, str]:
    """Run a module as a process; return its seconds, its peak memory in GB so far of all, and its standard output."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True, check=True)  # noqa: S603
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    return time.perf_counter() - start, peak, done.stdout


def commands(data_dir: Path, folder: str) -> tuple[list[Row], dict[str, list[float]]]:
    """Measure whole commands, and how the time of a sweep grows with the kernel sizes in it."""
    rows = []
    seconds = median(command("san.train", "--help")[0] for _ in range(3))
    rows.append(row("python -m san.train --help", 2, seconds, "s", "whole process"))
    times: dict[str, list[float]] = {"sizes": [], "ours": [], "plain": []}
    if not (data_dir / "physionet" / "mitdb").is_dir():
        return rows, times
    where = f"paths.data_dir={data_dir}"
    mitdb = ("san.sweep", "dataset.database=mitdb", where, "logger=csv")
    fitted = {}
    for last in SIZES:
        fitted[last] = []
        for _ in range(3):
            whole, peak, _ = command(*mitdb, f"kernel_sizes=1..{last}", f"hydra.run.dir={folder}/sweep")
            fitted[last].append(json.loads(Path(folder, "sweep", "results.json").read_text())["wall_seconds"])
    rows.append(row("san.sweep of mitdb, 1..250, Extrema: whole process", 10, whole, "s", f"peak {peak:.2f} GB"))
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", ["dataset.database=mitdb", where, "paths.output_dir=.", "activation_name=extrema"])
    splits = instantiate(config.dataset)
    taken = {}
    for size in range(1, 251, EVERY):
        start = time.perf_counter()
        plain.train(splits.train, splits.validation, size, epochs=30, batch_size=2, seed=0)
        taken[size] = time.perf_counter() - start
    times["sizes"] = [float(last) for last in SIZES]
    times["ours"] = [median(fitted[last]) for last in SIZES]
    times["plain"] = [EVERY * sum(s for size, s in taken.items() if size <= last) for last in SIZES]
    times["plain"][0] = taken[1]
    everything = times["plain"][-1]
    detail = f"{times['ours'][-1]:.2f} s against {everything:.1f} s ({len(taken)} sizes trained)"
    rows.append(row("sweep of 250 kernel sizes of mitdb: one at a time, plain", 150, everything / times["ours"][-1],
                    "x or more", detail))  # fmt: skip
    names = "[identity,relu,topk_absolutes,extrema_pool_indices,extrema]"
    whole, peak, _ = command(
        "san.sweep", "-m", f"dataset.database={','.join(LOCAL)}", f"activations={names}", where, "logger=csv",
        f"hydra.sweep.dir={folder}/table1",
    )  # fmt: skip
    rows.append(row("Table I, 6 databases, 7,500 networks: whole process", 60, whole, "s", f"peak {peak:.2f} GB"))
    if (data_dir / "MNIST").is_dir():
        whole, peak, _ = command(
            "san.train", "dataset=mnist", "kernel_size=4", "classifier=fnn", where, "logger=csv",
            f"paths.cache_dir={folder}/cache", f"hydra.run.dir={folder}/mnist",
        )  # fmt: skip
        rows.append(
            row("MNIST, Extrema, m = 4: 5 epochs, and 5 of two classifiers", 90, whole, "s", f"peak {peak:.2f} GB")
        )
    return rows, times


def growth() -> dict[str, Any]:
    """Measure a forward and backward pass over the number of samples and over that of examples."""
    lengths, batches = [1000 * 2**power for power in range(9)], [2**power for power in range(9)]
    network = SparselyActivatedNetwork([100], Extrema(3), seed=0)

    kernel = network.weight[0].detach().clone().requires_grad_()

    def plainly(x: torch.Tensor) -> torch.Tensor:
        return plain.correlate(plain.extrema(plain.correlate(x, kernel), 97), kernel)

    def taken(reconstruct: Callable[[torch.Tensor], torch.Tensor], batch: int, n: int) -> float:
        x = torch.randn(batch, 1, n)

        def pass_() -> None:
            F.l1_loss(reconstruct(x), x).backward()

        return paired(pass_, lambda: None, 7)[0]

    grown = {
        "samples": lengths,
        "by_samples": [taken(network, 8, n) for n in lengths],
        "plain_by_samples": [taken(plainly, 8, n) for n in lengths[:PLAIN]],
        "examples": batches,
        "by_examples": [taken(network, batch, 8000) for batch in batches],
        "plain_by_examples": [taken(plainly, batch, 8000) for batch in batches[:PLAIN]],
    }
    for axis in ("samples", "examples"):
        upper = slice(len(grown[axis]) // 2, None)
        slope = np.polyfit(np.log(grown[axis][upper]), np.log(grown[f"by_{axis}"][upper]), 1)[0]
        grown[f"slope_of_{axis}"] = float(slope)
    return grown


def main() -> None:
    """Measure everything, print the table, and write JSON and figures."""
    data_dir = Path(os.environ.get("SAN_DATA_DIR", "data")).resolve()
    start = time.perf_counter()
    extrema(torch.randn(2, 1, 50), 3)
    first = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        whole, times = commands(data_dir, folder)
    (searched, search), grown = pursuit(), growth()
    rows = [*selection(), *step(), *searched, *whole]
    machine = {"processor": platform.processor() or platform.machine(), "threads": torch.get_num_threads()}
    write_json(RESULTS / "bench.json", {
        "rows": rows, "growth": grown, "pursuit": search, "sweep": times, "first_call_seconds": first,
        "machine": machine, "versions": versions(),
    })  # fmt: skip
    save(draw_growth(grown), RESULTS / "growth.png")
    if times["sizes"]:
        save(draw_sweep_times(times), RESULTS / "sweep.png")
    table = Table()
    for heading in ("what", "target", "measured", "met", "detail"):
        table.add_column(heading)
    for line in rows:
        table.add_row(line["what"], f"{line['target']:g} {line['unit']}", f"{line['measured']:.3g}",
                      "yes" if line["met"] else "NO", line["detail"])  # fmt: skip
    Console(width=200).print(table)
    lines = [f"| {line['what']} | {line['target']:g} {line['unit']} | {line['measured']:.3g} | {line['detail']} |"
             for line in rows]  # fmt: skip
    head = ["| what | target | measured | detail |", "|---|---|---|---|"]
    written = f"Written by `make bench` on {torch.get_num_threads()} cores."
    with replacing(RESULTS / "README.md") as unfinished:
        unfinished.write_text("\n".join([written, "", *head, *lines, ""]))
    print(f"first call, with loading or compilation: {first:.2f} s; growth with samples: n^"
          f"{grown['slope_of_samples']:.2f}, with examples: n^{grown['slope_of_examples']:.2f}")  # fmt: skip


if __name__ == "__main__":
    main()

"""``make bench``: measure the speed of `san`, mostly as ratios of median times to straightforward implementations.

``python -m benchmarks selection pursuit`` measures some parts again.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from scipy.signal import find_peaks

from benchmarks import plain
from benchmarks.figures import draw_growth, draw_sweep_times
from benchmarks.measuring import (
    Row,
    median_run,
    median_seconds,
    paired_medians,
    ratio_row,
    results,
    row,
    run_module,
    train_config,
)
from benchmarks.waits import wait_rows
from san.activations import Extrema
from san.cli.build import load_dataset
from san.cli.parts import instantiate
from san.figures.style import save
from san.functional import extrema
from san.networks import SparselyActivatedNetwork, TrainingStep
from san.reporting.provenance import versions
from san.storage.files import read_json, write_json, write_text

RESULTS = Path(__file__).parent / "results"
DATABASES = ("bidmc", "ctu-uhb-ctgdb", "drivedb", "emgdb", "mitdb", "noneeg")  # swept for Table I
LARGEST_SIZES = (1, 50, 100, 150, 200, 250)  # samples; a sweep is timed from kernel size 1 to each of these
SIZE_STEP = 5  # every fifth of the 250 kernel sizes is trained one at a time, and the time is multiplied by 5
N_PLAIN = 6  # the straightforward implementation is timed on the 6 shortest lengths and smallest batches only

Part = tuple[list[Row], dict[str, Any]]  # rows of the table, and data of the figures


def selection_rows() -> list[Row]:
    """Measure the selection of extrema from random maps."""
    rows = []
    torch.manual_seed(0)
    for shape, distance in (((64, 1, 178), 10), ((256, 1, 1000), 20), ((64, 1, 28, 28), 2)):
        maps = torch.randn(shape)
        assert torch.equal(extrema(maps, distance), plain.extrema(maps, distance))
        rows.append(
            ratio_row(
                f"Extrema {shape}, distance {distance}: plain loops",
                300,
                lambda m=maps, d=distance: extrema(m, d),
                lambda m=maps, d=distance: plain.extrema(m, d),
                repeats=7,
            )
        )
    for n, distance, target in ((178, 10, 8), (12000, 50, 4)):
        maps = torch.randn(64, 1, n)
        lines = maps[:, 0].numpy()
        rows.append(
            ratio_row(
                f"Extrema (64, 1, {n}), distance {distance}: scipy find_peaks",
                target,
                lambda m=maps, d=distance: extrema(m, d),
                lambda s=lines, d=distance: [find_peaks(line, distance=d) for line in s],
            )
        )
    maps, kernel = torch.randn(64, 1, 12000), torch.randn(1, 1, 50)
    selected, cloned = paired_medians(lambda: extrema(maps, 50), maps.clone, repeats=30)
    detail = f"{1e3 * selected:.3f} ms against {1e3 * cloned:.3f} ms"
    rows.append(row("Extrema (64, 1, 12000): multiple of a clone()", 40, selected / cloned, "x at most", detail))
    rows.append(
        ratio_row(
            "Extrema (64, 1, 12000): the convolution before it, m = 50",
            1,
            lambda: extrema(maps, 50),
            lambda: F.conv1d(maps, kernel),
        )
    )
    return rows


def step_row() -> Row:
    """Measure a training step of a network against the same step with dense convolutions."""
    torch.manual_seed(0)
    x = torch.randn(64, 1, 12000)
    network = SparselyActivatedNetwork([100], Extrema(3), seed=0)
    kernel = network.weight[0].detach().clone().requires_grad_()

    def sparse_step() -> None:
        network.zero_grad()
        F.l1_loss(network(x), x).backward()

    def dense_step() -> None:
        kernel.grad = None
        F.l1_loss(plain.correlate(extrema(plain.correlate(x, kernel), 97), kernel), x).backward()

    name = "forward and backward, Extrema, m = 100, (64, 1, 12000): dense convolutions"
    return ratio_row(name, 2, sparse_step, dense_step, repeats=7)


def pursuit_part() -> Part:
    """Measure the encoding of the pursuit, and the growth of its time with samples and with kernels."""
    generator = torch.Generator().manual_seed(0)

    def seconds_per_example(n: int, n_kernels: int) -> float:
        network = pursuit_network(n_kernels)
        x = torch.randn(2, 1, n, generator=generator).cumsum(2)
        x = x - x.mean(2, keepdim=True)
        return median_seconds(lambda: network.encode(x), repeats=5) / 2

    lengths, numbers = [1000 * 4**power for power in range(4)], [1, 2, 4, 8]
    growth: dict[str, Any] = {
        "samples": lengths,
        "by_samples": [seconds_per_example(n, 2) for n in lengths],
        "kernels": numbers,
        "by_kernels": [seconds_per_example(4000, n_kernels) for n_kernels in numbers],
    }
    growth["slope_of_samples"] = float(np.polyfit(np.log(lengths), np.log(growth["by_samples"]), 1)[0])
    speed = lengths[-1] / growth["by_samples"][-1]
    detail = (
        f"time grows with samples as n^{growth['slope_of_samples']:.2f}; 8 kernels take "
        f"{growth['by_kernels'][-1] / growth['by_kernels'][0]:.1f} times as long as 1"
    )
    rows = [row("phi pursuit, 2 kernels of 20 samples: encoding", 1e5, speed, "samples/s or more", detail)]
    kernel, x = torch.randn(20, generator=generator), torch.randn(1000, generator=generator).cumsum(0)
    network = pursuit_network(1, "activation.training_refinements=0")
    with network.activation.during(TrainingStep(epoch=0, batch=0)):  # the greedy part alone
        greedy = ratio_row(
            "phi pursuit, greedy part, (1, 1, 1000), m = 20: all correlations recomputed",
            20,
            lambda: network.encode(x.view(1, 1, -1)),
            lambda: plain.pursue(x, kernel, 10),
            repeats=3,
        )
    return [*rows, greedy], {"pursuit": growth}


def pursuit_network(n_kernels: int, *overrides: str) -> SparselyActivatedNetwork:
    """Build a network of kernels of 20 samples with the configured phi pursuit."""
    config = train_config("phi_pursuit", *overrides)
    return SparselyActivatedNetwork([20] * n_kernels, instantiate(config, "activation"), decoder="adjoint", seed=0)


def commands_part(data_dir: Path, folder: Path) -> Part:
    """Measure whole commands, and the time of a sweep over its number of kernel sizes.

    Args:
        data_dir: Folder of the datasets; commands whose dataset is absent are skipped.
        folder: Folder for the runs.

    Returns:
        The rows, and the times by largest kernel size; no times if the dataset is absent.
    """
    rows = [row("python -m san.train --help", 2, median_run("san.train", "--help"), "s", "whole process")]
    times: dict[str, list[float]] = {"sizes": [], "ours": [], "plain": []}
    if not (data_dir / "physionet" / "mitdb").is_dir():
        return rows, {"sweep": times}
    common = (f"paths.data_dir={data_dir}", "logger=csv")
    single = (*common, "n_kernels=1", "initialization=normal")  # the models of Table I
    sweep_row, fitted = sweep_seconds(single, folder / "sweep")
    one_at_a_time = plain_seconds(data_dir)
    times = {"sizes": [float(size) for size in LARGEST_SIZES], "ours": fitted, "plain": one_at_a_time}
    detail = f"{fitted[-1]:.2f} s against {one_at_a_time[-1]:.1f} s ({250 // SIZE_STEP} sizes trained)"
    gain = one_at_a_time[-1] / fitted[-1]
    rows += [sweep_row, row("sweep of 250 kernel sizes of mitdb: one at a time, plain", 150, gain, "x or more", detail)]
    names = "[identity,relu,topk_absolutes,extrema_pool_indices,extrema]"
    database = f"dataset.database={','.join(DATABASES)}"
    where = ("hydra/launcher=joblib", f"hydra.sweep.dir={folder / 'table1'}")
    whole, peak = run_module("san.sweep", "-m", database, f"activations={names}", *single, *where)
    name = "Table I, 6 databases, 7,500 networks, hydra/launcher=joblib: whole command"
    rows.append(row(name, 45, whole, "s", f"peak of a process {peak:.2f} GB"))
    if (data_dir / "MNIST").is_dir():
        mnist = ("dataset=mnist", "kernel_size=4", "classifier=fnn", f"paths.cache_dir={folder / 'cache'}")
        whole, peak = run_module("san.train", *mnist, *common, f"hydra.run.dir={folder / 'mnist'}")
        name = "MNIST, Extrema, m = 4: 5 epochs, and 5 of two classifiers"
        rows.append(row(name, 90, whole, "s", f"peak {peak:.2f} GB"))
    return rows, {"sweep": times}


def sweep_seconds(common: tuple[str, ...], folder: Path) -> tuple[Row, list[float]]:
    """Time sweeps of mitdb; return the row of the largest and the median fit seconds by largest kernel size."""
    fitted = []
    for largest in LARGEST_SIZES:
        repeated = []
        for _ in range(3):
            whole, peak = run_module(
                "san.sweep", "dataset.database=mitdb", *common, f"kernel_sizes=1..{largest}", f"hydra.run.dir={folder}"
            )
            repeated.append(results(folder)["wall_seconds"])
        fitted.append(median(repeated))
    name = "san.sweep of mitdb, 1..250, Extrema: whole process"
    return row(name, 5, whole, "s", f"peak {peak:.2f} GB"), fitted


def plain_seconds(data_dir: Path) -> list[float]:
    """Estimate the seconds of training mitdb one kernel size at a time, by largest kernel size."""
    splits = load_dataset(train_config("extrema", "dataset.database=mitdb", f"paths.data_dir={data_dir}"))
    seconds_of = {}
    for size in range(1, 251, SIZE_STEP):
        start = time.perf_counter()
        plain.train(splits.train, splits.validation, size, epochs=30, batch_size=2, seed=0)
        seconds_of[size] = time.perf_counter() - start
    estimates = [SIZE_STEP * sum(s for size, s in seconds_of.items() if size <= largest) for largest in LARGEST_SIZES]
    estimates[0] = seconds_of[1]
    return estimates


def measure_growth() -> dict[str, Any]:
    """Measure the time of a forward and backward pass over the number of samples and of examples."""
    lengths, batches = [1000 * 2**power for power in range(9)], [2**power for power in range(9)]
    network = SparselyActivatedNetwork([100], Extrema(3), seed=0)
    kernel = network.weight[0].detach().clone().requires_grad_()

    def plain_reconstruct(x: torch.Tensor) -> torch.Tensor:
        return plain.correlate(plain.extrema(plain.correlate(x, kernel), 97), kernel)

    def pass_seconds(reconstruct: Callable[[torch.Tensor], torch.Tensor], batch: int, n: int) -> float:
        x = torch.randn(batch, 1, n)
        return median_seconds(lambda: F.l1_loss(reconstruct(x), x).backward(), repeats=7)

    growth = {
        "samples": lengths,
        "by_samples": [pass_seconds(network, 8, n) for n in lengths],
        "plain_by_samples": [pass_seconds(plain_reconstruct, 8, n) for n in lengths[:N_PLAIN]],
        "examples": batches,
        "by_examples": [pass_seconds(network, batch, 8000) for batch in batches],
        "plain_by_examples": [pass_seconds(plain_reconstruct, batch, 8000) for batch in batches[:N_PLAIN]],
    }
    for axis in ("samples", "examples"):
        upper = slice(len(growth[axis]) // 2, None)
        slope = np.polyfit(np.log(growth[axis][upper]), np.log(growth[f"by_{axis}"][upper]), 1)[0]
        growth[f"slope_of_{axis}"] = float(slope)
    return growth


def main(chosen: Sequence[str]) -> None:
    """Measure parts, all by default, print the table, and write JSON, Markdown and figures to ``benchmarks/results/``.

    The rows of other parts stay as they were measured; each part has the versions of its code.
    """
    data_dir = Path(os.environ.get("SAN_DATA_DIR", "data")).resolve()
    extrema(torch.randn(2, 1, 50), 3)  # the first call loads or compiles
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts: dict[str, Callable[[], Part]] = {
            "selection": lambda: ([*selection_rows(), step_row()], {}),
            "pursuit": pursuit_part,
            "commands": lambda: commands_part(data_dir, folder),
            "waits": lambda: (wait_rows(data_dir, folder), {}),
            "growth": lambda: ([], {"growth": measure_growth()}),
        }
        if unknown := set(chosen) - set(parts):
            raise SystemExit(f"{sorted(unknown)} are no parts of the benchmark: choose among {', '.join(parts)}")
        measured = {part: parts[part]() for part in chosen or parts}
    found = read_json(RESULTS / "bench.json") or {"rows": [], "parts": {}}
    lines = [line for line in found["rows"] if line["part"] not in measured]
    for part, (rows, drawn) in measured.items():
        lines += [{"part": part, **line} for line in rows]
        found |= drawn
        found["parts"][part] = {"versions": versions(), "cores": torch.get_num_threads()}
    found["rows"] = sorted(lines, key=lambda line: [*parts].index(line["part"]))
    write_json(RESULTS / "bench.json", found)
    if "growth" in measured:
        save(draw_growth(found["growth"]), RESULTS / "growth", ["png"])
    if "commands" in measured and found["sweep"]["sizes"]:
        save(draw_sweep_times(found["sweep"]), RESULTS / "sweep", ["png"])
    Console(width=200).print(console_table(found["rows"]))
    write_text(RESULTS / "README.md", markdown_table(found))


def console_table(rows: list[Row]) -> Table:
    """Return the rows as a table for the console."""
    table = Table()
    for heading in ("measurement", "target", "measured", "met", "detail"):
        table.add_column(heading)
    for line in rows:
        target = f"{line['target']:g} {line['unit']}"
        table.add_row(line["what"], target, f"{line['measured']:.3g}", "yes" if line["met"] else "NO", line["detail"])
    return table


def markdown_table(found: dict[str, Any]) -> str:
    """Return the page that holds the rows."""
    lines = ["Written by `make bench`. Each part is measured on its own, by the code of its commit.", ""]
    lines += ["| measurement | target | measured | met | detail | part | cores | code |", f"|{'---|' * 8}"]
    for line in found["rows"]:
        part = found["parts"][line["part"]]
        lines.append(
            f"| {line['what']} | {line['target']:g} {line['unit']} | {line['measured']:.3g} | "
            f"{'yes' if line['met'] else '**no**'} | {line['detail']} | {line['part']} | {part['cores']} | "
            f"{short_commit(part['versions'])} |"
        )
    return "\n".join([*lines, ""])


def short_commit(of_part: dict[str, str]) -> str:
    """Return the commit of a part's code and whether the code differed from it; the release if there is no commit."""
    commit, _, change = of_part.get("commit", of_part["san"]).partition("-")
    return f"{commit[:7]} with changes" if change else commit[:7]


if __name__ == "__main__":
    main(sys.argv[1:])

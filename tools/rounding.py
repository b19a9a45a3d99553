"""Replay Identity and ReLU of Tables III and IV in several orders of the float sums; write docs/rounding.json and .md.

    python tools/rounding.py                     # all variants; cells that are already in docs/rounding.json are kept
    python tools/rounding.py --jobs 2            # in two processes
    python tools/rounding.py --variants float64  # one variant

A variant has the initial kernels, batches, loss, optimizer and last epoch of `protocol=paper`. It differs from another
variant in rounding alone: how many threads share the sum over a batch, the rounding of Adam, the precision, or the last
bit of the initial kernels. The convolutions are loops in C, rounding.c, with the sums of oneDNN, the library behind the
dense convolutions of torch on a CPU: a sum adds product by product, and each of n threads adds up the products of its
consecutive examples of a batch. The loops take a tenth of the time of torch.
"""

import argparse
import ctypes
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from torch import Tensor

from san.activations import Identity, ReLU
from san.data.mnist import Collection, load
from san.data.splits import Splits
from san.metrics import inverse_compression_ratio, normalized_reconstruction_loss, phi
from san.networks import SparselyActivatedNetwork
from san.reporting.paper_tables import METRIC_LABELS, distance_class, printed_table
from san.training.published_draws import PROGRAM, Cell, Draws, draws_of_cells

PROJECT = Path(__file__).parents[1]
RESULTS, PAGE = PROJECT / "docs" / "rounding.json", PROJECT / "docs" / "rounding.md"
COLLECTIONS: Mapping[int, Collection] = {3: "MNIST", 4: "FashionMNIST"}
TITLES = {3: "Table III", 4: "Table IV"}
ACTIVATIONS = {"identity": Identity, "relu": ReLU}
BATCH_SIZE, LEARNING_RATE, BETAS, EPSILON = 64, 0.01, (0.9, 0.999), 1e-8
LAST_STEPS, FEW_EXAMPLES = 40, 500  # steps whose kernels are tested for the learning noise, and test examples for that

Metrics = dict[str, float]
Results = dict[str, dict[str, Any]]  # for each variant, the metrics of each cell by its name


class Variant(NamedTuple):
    """Floating-point arithmetic of a replay.

    Args:
        parts: Threads that share the sum over a batch; each adds up consecutive examples, then the sums are added.
        adam: Release of torch whose order of operations the optimizer has: ``now``, ``1.3`` or ``1.2``.
        dtype: Precision of all numbers.
        rounding: Which samples of the initial kernels are changed in the last bit; none for 0.
    """

    parts: int = 1
    adam: str = "now"
    dtype: torch.dtype = torch.float32
    rounding: int = 0


VARIANTS = {
    "1 thread": Variant(),
    "2 threads": Variant(parts=2),
    "Adam of torch 1.3, 6 threads": Variant(parts=6, adam="1.3"),
    "Adam of torch 1.2, 12 threads": Variant(parts=12, adam="1.2"),
    "last bit 1": Variant(rounding=1),
    "last bit 2": Variant(rounding=2),
    "float64": Variant(dtype=torch.float64),
}


def main() -> int:
    """Replay the missing cells and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("SAN_DATA_DIR", "data"), help="folder of MNIST/ and others")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS), metavar="NAME")
    arguments = parser.parse_args()
    stored: Results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    due = [
        (arguments.data, variant, cell)
        for variant in arguments.variants
        for cell in cells()
        if cell_name(cell) not in stored.get(variant, {})
    ]
    with get_context("spawn").Pool(arguments.jobs) as pool:
        for variant, name, metrics in pool.imap_unordered(_measure, due):
            stored.setdefault(variant, {})[name] = metrics
            RESULTS.write_text(json.dumps(_in_order(stored), indent=1) + "\n", encoding="utf-8")
    reproduction = json.loads((PROJECT / "docs" / "reproduction.json").read_text(encoding="utf-8"))
    PAGE.write_text(page(_in_order(stored), reproduction), encoding="utf-8")
    return 0


def cells() -> Iterator[Cell]:
    """Yield the cells of Identity and ReLU in Tables III and IV."""
    for table in COLLECTIONS:
        for activation in ACTIVATIONS:
            for size in PROGRAM[table].sizes:
                yield Cell(table, "", activation, size)


def cell_name(cell: Cell) -> str:
    """Return the table, the activation and the kernel size of a cell as text."""
    return f"{TITLES[cell.table]}, m = {cell.kernel_size}, {'ReLU' if cell.activation == 'relu' else 'Identity'}"


def replay(splits: Splits, cell: Cell, draws: Draws, variant: Variant) -> dict[str, Any]:
    """Train the model of a cell and return its test metrics and the range of L̃ over the last steps.

    Args:
        splits: The examples.
        cell: The cell.
        draws: Its initial kernels, and the order of the training examples in each epoch.
        variant: The arithmetic.
    """
    kernels = [kernel.to(variant.dtype).requires_grad_() for kernel in _changed(draws.kernels, variant.rounding)]
    optimizer = optimizer_of(kernels, variant.adam)
    batches = [batch for order in draws.orders for batch in order.split(BATCH_SIZE)]
    train, test = splits.train.to(variant.dtype), splits.test.to(variant.dtype)
    noise = []
    for step, batch in enumerate(batches, start=1):
        gradients = gradient(train[batch], kernels, cell.activation, variant.parts)
        for kernel, own in zip(kernels, gradients, strict=True):
            kernel.grad = own
        optimizer.step()
        if step > len(batches) - LAST_STEPS and variant == Variant():
            noise.append(metrics_of(test[:FEW_EXAMPLES], kernels, cell.activation)["loss_normalized"])
    metrics: dict[str, Any] = metrics_of(test, kernels, cell.activation)
    return metrics | ({"last_steps": [min(noise), max(noise)]} if noise else {})


def gradient(x: Tensor, kernels: Sequence[Tensor], activation: str, parts: int) -> Tensor:
    """Return the gradient of the mean absolute error of the reconstruction with respect to two kernels, [2, m, m].

    Args:
        x: A batch, [batch, 1, side, side].
        kernels: The kernels, [m, m] each.
        activation: ``identity`` or ``relu``.
        parts: Parts of the batch whose sums are added at the end.
    """
    weight = torch.stack([kernel.detach() for kernel in kernels])
    x, found = x.contiguous(), torch.empty_like(weight)
    arrays = [ctypes.c_void_p(tensor.data_ptr()) for tensor in (x, weight, found)]
    size, is_relu = weight.shape[-1], activation == "relu"
    _library(x.dtype).gradient(arrays[0], len(x), arrays[1], size, is_relu, min(parts, len(x)), arrays[2])
    return found


def optimizer_of(kernels: Sequence[Tensor], release: str) -> "torch.optim.Optimizer | EarlierAdam":
    """Return Adam with the order of operations of a release of torch."""
    if release == "now":
        return torch.optim.Adam(kernels, lr=LEARNING_RATE, betas=BETAS, eps=EPSILON)
    return EarlierAdam(kernels, scales_root=release == "1.3")


class EarlierAdam:
    """Adam in the order of operations of an earlier release of torch; with exact numbers it is the same optimizer.

    Args:
        kernels: The parameters.
        scales_root: Whether the root of the second moment is scaled, as in torch 1.3 and 1.4, or the step, as in 1.2.
    """

    def __init__(self, kernels: Sequence[Tensor], scales_root: bool) -> None:
        self.kernels = kernels
        self.scales_root = scales_root
        self.steps = 0
        self.moments = [(torch.zeros_like(kernel), torch.zeros_like(kernel)) for kernel in kernels]

    @torch.no_grad()
    def step(self) -> None:
        """Change each kernel by its gradient."""
        self.steps += 1
        of_mean, of_square = (1 - beta**self.steps for beta in BETAS)
        for kernel, (mean, square) in zip(self.kernels, self.moments, strict=True):
            slope = torch.zeros_like(kernel) if kernel.grad is None else kernel.grad
            mean.mul_(BETAS[0]).add_(slope, alpha=1 - BETAS[0])
            square.mul_(BETAS[1]).addcmul_(slope, slope, value=1 - BETAS[1])
            root, step = square.sqrt(), LEARNING_RATE / of_mean
            if self.scales_root:
                root = root / math.sqrt(of_square)
            else:
                step = LEARNING_RATE * math.sqrt(of_square) / of_mean
            kernel.addcdiv_(mean, root.add_(EPSILON), value=-step)


@torch.no_grad()
def metrics_of(x: Tensor, kernels: Sequence[Tensor], activation: str) -> Metrics:
    """Return the mean metrics of examples; W counts m weights a kernel, as in the printed tables."""
    size = len(kernels[0])
    network = SparselyActivatedNetwork([size] * len(kernels), ACTIVATIONS[activation](), 2, seed=0).to(x)
    for own, kernel in zip(network.kernels, kernels, strict=True):
        own.copy_(kernel)
    found = []
    for batch in x.split(BATCH_SIZE):
        maps = network.encode(batch)
        ratio = inverse_compression_ratio(maps, network.n_weights("side"))
        loss = normalized_reconstruction_loss(network.decode(maps), batch)
        found.append(torch.stack([ratio.to(loss), loss, phi(ratio.to(loss), loss)]))
    return dict(zip(METRIC_LABELS, torch.cat(found, dim=1).double().mean(1).tolist(), strict=True))


# The page.


def page(results: Results, reproduction: Mapping[str, Any]) -> str:
    """Return the text of docs/rounding.md about the variants whose cells are all there.

    Args:
        results: The metrics of each variant and cell.
        reproduction: What docs/reproduction.json has.
    """
    results = {variant: of_cells for variant, of_cells in results.items() if len(of_cells) == len(_printed())}
    printed, inside, rows = _compared(results)
    noise = {name: metrics["last_steps"] for name, metrics in results["1 thread"].items() if "last_steps" in metrics}
    best = {table: max(_counts(results, reproduction, table).values()) for table in TITLES}
    lines = [
        "# Which printed numbers depend on rounding?",
        "",
        "Written by `python tools/rounding.py` from `rounding.json`. It replays Identity and ReLU of Tables III and IV",
        "with the random numbers of the published program. The variants are equal with exact numbers; they differ in",
        "rounding alone: how many threads share the sums over a batch, the order of operations in Adam, the precision,",
        "or the last bit of the initial kernels.",
        "",
        f"**{sum(inside)} of {len(inside)} printed numbers are in the range of the variants**, and no "
        f"variant has the printed digits in all cells: at most {best[3]} of 90 numbers in Table III and {best[4]} of "
        "90 in Table IV.",
        "",
        "## Numbers as printed, by variant",
        "",
        "CR⁻¹, L̃ and φ̄ equal to the last printed digit, of 90 in a table; for the other activation functions as in",
        "[Does it reproduce?](reproduction.md), whose replay is the first row.",
        "",
        "| variant | Table III | Table IV | L̃ of Identity, 12 cells |",
        "|---|---|---|---|",
        *_count_rows(results, reproduction, printed),
        "",
        "Each thread sums a part of the examples of a batch, as oneDNN does with AVX2 instructions; then the sums are",
        "added. On the first batches, for m of 2 or more, the kernel gradients of one thread are those of dense torch",
        "convolutions bit for bit: in torch 2.15 with AVX2 and with AVX-512, and in torch 1.4 with AVX-512. The paper",
        "names a CPU of 6 cores and 12 threads; torch of its time computed Adam in other orders.",
        "",
        "## L̃ of Identity",
        "",
        f"The learning rate of 0.01 does not decay, so L̃ never settles. Over the last {LAST_STEPS} of 3910 training",
        f"steps, L̃ of the first {FEW_EXAMPLES} test examples has this range. The printed L̃ is the value after the last",
        "step, which rounding changes as much as another last step would.",
        "",
        "| cell | least | most | printed |",
        "|---|---|---|---|",
        *(
            f"| {name} | {least:.3f} | {most:.3f} | {_printed()[name]['loss_normalized']:.2f} |"
            for name, (least, most) in noise.items()
            if name.endswith("Identity")
        ),
        "",
        "## Numbers that a variant misses",
        "",
        "| cell | number | printed | least | most | variants as printed | printed value |",
        "|---|---|---|---|---|---|---|",
        *rows,
    ]
    return "\n".join(lines) + "\n"


def _compared(results: Results) -> tuple[dict[str, dict[str, int]], list[bool], list[str]]:
    """Return the counts of printed numbers, whether each number is in its range, and the rows of missed numbers.

    The counts are those of each variant, by cell.
    """
    counts: dict[str, dict[str, int]] = {variant: {} for variant in results}
    inside, rows = [], []
    for name, printed in _printed().items():
        for metric, label in METRIC_LABELS.items():
            values = {variant: own[name][metric] for variant, own in results.items()}
            hits = [distance_class(metric, value, printed[metric]) == "printed" for value in values.values()]
            for variant, hit in zip(values, hits, strict=True):
                counts[variant][name] = counts[variant].get(name, 0) + hit
            least, most = min(values.values()), max(values.values())
            is_inside = any(hits) or least <= printed[metric] <= most
            inside.append(is_inside)
            if not all(hits):
                rows.append(
                    f"| {name} | {label} | {printed[metric]:.2f} | {least:.3f} | {most:.3f} | {sum(hits)} of "
                    f"{len(hits)} | {'inside' if is_inside else '**outside**'} |"
                )
    return counts, inside, rows


def _count_rows(
    results: Results, reproduction: Mapping[str, Any], printed: Mapping[str, Mapping[str, int]]
) -> Iterator[str]:
    """Yield the rows of the table of variants, the replay of `san.reproduce` first."""
    of_tables = {table: _counts(results, reproduction, table) for table in TITLES}
    replayed = [sum(_of_replay(reproduction, table, tuple(METRIC_LABELS)).values()) for table in TITLES]
    identity = sum(_of_replay(reproduction, table, ("loss_normalized",))["identity"] for table in TITLES)
    yield f"| `san.reproduce` | {replayed[0]} | {replayed[1]} | {identity} |"
    losses = {name: row["loss_normalized"] for name, row in _printed().items() if name.endswith("Identity")}
    for variant in printed:
        hits = [
            distance_class("loss_normalized", results[variant][name]["loss_normalized"], value) == "printed"
            for name, value in losses.items()
        ]
        yield f"| {variant} | {of_tables[3][variant]} | {of_tables[4][variant]} | {sum(hits)} |"


def _counts(results: Results, reproduction: Mapping[str, Any], table: int) -> dict[str, int]:
    """Return how many of the 90 metrics of a table have the printed digits in each variant."""
    replayed = _of_replay(reproduction, table, tuple(METRIC_LABELS))
    others = sum(count for activation, count in replayed.items() if activation not in ACTIVATIONS)
    counts, _, _ = _compared(results)
    return {
        variant: others + sum(count for name, count in of_cells.items() if name.startswith(f"{TITLES[table]},"))
        for variant, of_cells in counts.items()
    }


def _of_replay(reproduction: Mapping[str, Any], table: int, numbers: Sequence[str]) -> dict[str, int]:
    """Return how many numbers of each activation have the printed digits in the replay of `san.reproduce`."""
    (rows,) = (rows for title, rows in reproduction["verdict"].items() if title.startswith(f"{TITLES[table]}:"))
    counts: dict[str, int] = {}
    for row in rows:
        if row["number"] in numbers:
            counts[row["activation"]] = counts.get(row["activation"], 0) + row["printed"]
    return counts


@cache
def _printed() -> dict[str, Metrics]:
    """Return the printed metrics of each cell by its name."""
    found = {}
    for cell in cells():
        table = printed_table(cell.table).set_index(["activation", "kernel_size"])
        row = table.loc[(cell.activation, cell.kernel_size)]
        found[cell_name(cell)] = {metric: float(row[metric]) for metric in METRIC_LABELS}
    return found


def _measure(due: tuple[str, str, Cell]) -> tuple[str, str, dict[str, Any]]:
    """Replay a cell in a process of its own; return the variant, the name of the cell and its metrics."""
    data, variant, cell = due
    torch.set_num_threads(1)
    (draws,) = draws_of_cells([cell])
    if draws is None:
        raise ValueError(f"{cell} has no draws")
    return variant, cell_name(cell), replay(_splits(data, cell.table), cell, draws, VARIANTS[variant])


@cache
def _library(dtype: torch.dtype) -> ctypes.CDLL:
    """Compile rounding.c for a precision."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise FileNotFoundError("cc, a C compiler, is not installed")
    source = Path(__file__).with_suffix(".c")
    with TemporaryDirectory() as folder:
        library = Path(folder) / "rounding.so"
        options = ["-O3", "-march=native", "-ffp-contract=fast", "-shared", "-fPIC"]
        numbers = ["-DREAL=double", "-DFMA=fma"] if dtype == torch.float64 else ["-DREAL=float", "-DFMA=fmaf"]
        subprocess.run([compiler, *options, *numbers, "-o", str(library), str(source)], check=True)
        return ctypes.CDLL(str(library))


@cache
def _splits(data: str, table: int) -> Splits:
    return load(collection=COLLECTIONS[table], n_validation=PROGRAM[table].n_examples[1], data_dir=data)


def _changed(kernels: Sequence[Tensor], rounding: int) -> list[Tensor]:
    """Return copies of kernels, half of their samples changed in the last bit unless the rounding is 0."""
    bits = torch.Generator().manual_seed(rounding)
    changed = [torch.rand(kernel.shape, generator=bits) < (0.5 if rounding else 0) for kernel in kernels]
    return [
        torch.where(where, kernel.nextafter(torch.zeros(())), kernel)
        for kernel, where in zip(kernels, changed, strict=True)
    ]


def _in_order(results: Results) -> Results:
    """Return results in the order of the variants and of the cells."""
    names = [cell_name(cell) for cell in cells()]
    return {
        variant: {name: results[variant][name] for name in names if name in results[variant]}
        for variant in VARIANTS
        if variant in results
    }


if __name__ == "__main__":
    sys.exit(main())

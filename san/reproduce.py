"""``python -m san.reproduce``: the tables of the paper computed again, beside the printed ones."""

import logging
import os
import shutil
import signal
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import compose
from omegaconf import DictConfig, OmegaConf

from san.cells import Bank, end_with, finish
from san.command import CONF, command, paper_databases

__all__ = ["main", "reproduce"]

log = logging.getLogger(__name__)

DATASETS = {1: "physionet", 2: "uci_epilepsy", 3: "mnist", 4: "fashion_mnist"}
ACTIVATIONS = ("identity", "relu", "topk_absolutes", "extrema_pool_indices", "extrema")
SIZES = {1: "1..250", 2: "8..15", 3: "1..6", 4: "1..6"}
FIGURES = {1: (), 2: (2, 3), 3: (1,), 4: (1,), 5: (1,)}  # and the tables whose models they show
PROTOCOLS = ("honest", "paper")
WORK = {1: 1, 2: 20, 3: 60, 4: 60}  # of a bank of a table, to tell how long the rest takes; any unit


def reproduce(config: DictConfig) -> None:
    """Train all models of the tables that were not trained before, and write tables, figures and a report.

    Raises:
        ValueError: If a table, a figure or a number is not one there is.
    """
    tables, figures = _check(config)
    start = time.perf_counter()
    folder = Path(config.paths.output_dir)
    banks = [bank for number in tables for bank in _banks(config, number)]
    jobs = _jobs(config)
    absent = {**_databases_left_out(config), **_finish(banks, jobs)} if 1 in tables else _finish(banks, jobs)
    cells: dict[int, dict[tuple[str, str], dict[str, list[Any]]]] = {number: {} for number in tables}
    parts = dict.fromkeys(tables, 0.0)
    for bank in banks:
        if (finished := bank.read()) is not None:
            by_protocol = cells[bank.table].setdefault((bank.dataset, bank.activation), defaultdict(list))
            for protocol, models in finished["models"].items():
                by_protocol[protocol].append(models)
            parts[bank.table] += finished["seconds"]

    from san.report import record, write_report
    from san.results import versions, write_json
    from san.tables import table_of_databases, table_of_sizes, write

    made = {}
    for number in config.tables:
        if number == 1:
            made[number] = table_of_databases(cells[number], absent)
        else:
            of_activations = {activation: models for (_, activation), models in cells[number].items()}
            made[number] = table_of_sizes(number, of_activations, absent.get(DATASETS[number], ""))
        write(number, made[number], folder)
    _draw(config, figures, cells, folder)
    written = record(
        made,
        absent=absent,
        config=OmegaConf.to_container(config, resolve=True),
        versions=versions(),
        jobs=jobs,
        seconds_of_tables=parts,
        wall_seconds=time.perf_counter() - start,
    )
    write_json(folder / "reproduce.json", written)
    write_report(written, made, folder)
    _print(written, folder)


def _check(config: DictConfig) -> tuple[list[int], list[int]]:
    """Return the tables to train the models of, and the figures to draw."""
    figures = list(FIGURES) if config.figures is None else list(config.figures)
    for key, chosen, known in (("tables", config.tables, SIZES), ("figures", figures, FIGURES)):
        if any(number not in known for number in chosen):
            raise ValueError(f"{key}={list(chosen)} must be some of {list(known)}")
    if not config.tables and not config.figures:
        raise ValueError("tables=[] and no figures: nothing is left to do")
    counts = {"seeds": config.seeds, "classifier_seeds": config.classifier_seeds, "jobs": config.jobs or 1}
    for name, count in config.seeds_of.items():
        if name not in ACTIVATIONS:
            raise ValueError(f"seeds_of.{name}: there is no {name}, but {', '.join(ACTIVATIONS)}")
        counts[f"seeds_of.{name}"] = count
    for key, count in counts.items():
        if not isinstance(count, int) or count < 1:
            raise ValueError(f"{key}={count} must be an integer, 1 or more")
    if config.figures is None:
        figures = [number for number in figures if not FIGURES[number] or set(FIGURES[number]) & set(config.tables)]
        return sorted(config.tables), figures
    return sorted({*config.tables, *(table for number in figures for table in FIGURES[number])}), sorted(figures)


def _jobs(config: DictConfig) -> int:
    from joblib import cpu_count

    return int(config.jobs or cpu_count())


def _banks(config: DictConfig, number: int) -> Iterator[Bank]:
    """Yield what a table is made of."""
    datasets: dict[str, list[str]] = {DATASETS[number]: []}
    if number == 1:
        datasets = {name: [f"dataset.database={name}"] for name in _databases(config)}
    protocols: dict[str, DictConfig] = {name: OmegaConf.load(CONF / "protocol" / f"{name}.yaml") for name in PROTOCOLS}  # type: ignore[misc]
    # Table II is scaled differently by the two protocols, so that each has its own training.
    groups = [(name,) for name in PROTOCOLS] if number == 2 else [PROTOCOLS]
    for dataset, overrides in datasets.items():
        for activation in ACTIVATIONS:
            n_seeds = max(config.seeds, config.seeds_of.get(activation, 1))
            n_classifiers = max(n_seeds, config.classifier_seeds)
            for seed in range(n_seeds):
                for names in groups:
                    composed = _compose(config, number, activation, f"seed={seed}", f"protocol={names[0]}", *overrides)
                    yield Bank(
                        table=number,
                        dataset=dataset,
                        config=composed,
                        protocols={name: protocols[name] for name in names},
                        classifier_seeds=range(seed, n_classifiers, n_seeds),
                        cache=Path(config.paths.cache_dir),
                    )


def _databases(config: DictConfig) -> list[str]:
    local = Path(config.paths.data_dir) / "physionet"
    return list(config.databases or (name for name in paper_databases() if (local / name).is_dir()))


def _databases_left_out(config: DictConfig) -> dict[str, str]:
    """Return why there are no models of a database of Table I."""
    reason = "not one of databases=" if config.databases else "not in paths.data_dir"
    left_out = [name for name in paper_databases() if name not in _databases(config)]
    return {name: f"{reason}; databases=[{name}] reads it, from PhysioNet if need be" for name in left_out}


def _compose(config: DictConfig, number: int, activation: str, *overrides: str) -> DictConfig:
    """Compose the sweep of a table and an activation function."""
    composed = compose(
        "sweep",
        [
            f"experiment=table{number}",
            f"activation={activation}",
            f"activation_name={activation}",
            "logger=csv",
            "trainer.enable_progress_bar=false",
            f"paths.data_dir={config.paths.data_dir}",
            f"paths.output_dir={config.paths.output_dir}",
            *overrides,
            *config.overrides,
        ],
    )
    composed.kernel_sizes = SIZES[number]
    return composed


def _finish(banks: Sequence[Bank], jobs: int) -> dict[str, str]:
    """Train the banks that are not finished, the longest first, and tell how many are and how long the rest takes.

    Returns:
        Why there is no data of a dataset, by its name.

    Raises:
        OSError: If a process was killed.
    """
    from joblib import Parallel, cpu_count, delayed, parallel_config
    from joblib.externals.loky import get_reusable_executor
    from joblib.externals.loky.process_executor import TerminatedWorkerError
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    from san.assembly import warn_of_dead_kernels

    left = sorted((bank for bank in banks if bank.read() is None), key=lambda bank: -WORK[bank.table])
    log.info("%d of %d banks of models are finished", len(banks) - len(left), len(banks))
    absent: dict[str, str] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True, speed_estimate_period=1e9)
    task = bar.add_task("", total=sum(WORK[bank.table] for bank in left))
    threads = max(1, cpu_count() // jobs)
    with (
        bar,
        parallel_config(
            "loky", n_jobs=jobs, inner_max_num_threads=threads, initializer=end_with, initargs=[os.getpid()]
        ),
    ):
        try:
            with _deaf():
                results = Parallel(return_as="generator_unordered")(delayed(finish)(bank) for bank in left)
            for count, (bank, reason) in enumerate(results, start=1):
                bar.update(task, advance=WORK[bank.table], description=f"{bank}")
                if reason is not None:
                    absent[bank.dataset] = reason
                    continue
                rest = bar.tasks[0].time_remaining
                log.info("%d of %d: %s; %s", count, len(left), bank, "" if rest is None else f"{rest:.0f} s left")
                for model in bank.read()["models"][next(iter(bank.protocols))]:
                    warn_of_dead_kernels(model)
        except TerminatedWorkerError as error:
            raise OSError(
                "a process that trained was killed; if it was for want of memory, run again with fewer jobs=N, "
                "what is finished is kept"
            ) from error
    get_reusable_executor(reuse=True).shutdown()  # its processes would hold memory while figures are drawn
    for cache in {bank.cache for bank in banks}:
        shutil.rmtree(cache / "unfinished", ignore_errors=True)
    for dataset, reason in absent.items():
        log.warning("%s: data absent (%s)", dataset, reason)
    return absent


@contextmanager
def _deaf() -> Iterator[None]:
    """Let the processes that are started meanwhile not hear a Ctrl-C: the one that started them ends them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _draw(config: DictConfig, figures: Sequence[int], cells: dict[int, Any], folder: Path) -> None:
    """Draw the figures whose models are there, by the paper's protocol and the first seed."""
    if 1 in figures:
        _draw_activations(folder)
    for number in (2, 3) if 2 in figures else ():
        if models := cells.get(number, {}).get((DATASETS[number], "extrema")):
            _draw_forward_pass(config, number, models["paper"][0], folder)
    if models_of_databases := {key: models["paper"][0] for key, models in cells.get(1, {}).items()}:
        _draw_models(models_of_databases, figures, folder)


def _draw_activations(folder: Path) -> None:
    """Draw Figure 1: each activation function on a second of the shipped record and on an image."""
    import torch

    from san.command import instantiate
    from san.figures.activation_functions import draw_activations

    config = compose("sweep", ["dataset=physionet", "activation_name=any"])
    splits = instantiate(config.dataset)
    image = instantiate(compose("sweep", ["dataset=synthetic_images", "activation_name=any"]).dataset).test[0, 0]
    functions = {
        name: instantiate(compose("sweep", [f"activation={name}", f"activation_name={name}"]).activation)
        for name in ACTIVATIONS
    }
    length = round(splits.sampling_frequency)
    with torch.no_grad():
        drawn = draw_activations(functions, splits.test[0, 0, :length], image, (40, 6), splits.sampling_frequency)
    _save(drawn, "figure1", folder)


def _draw_forward_pass(config: DictConfig, number: int, models: list[Any], folder: Path) -> None:
    """Draw Figure 2: the forward pass of the selected Extrema model, of a signal or of an image."""
    import torch

    from san.assembly import build, load
    from san.figures.forward_pass import draw
    from san.figures.style import Run

    choice = _compose(config, number, "extrema", "protocol=paper")
    splits = load(choice)
    (model,) = (model for model in models if "patterns" in model)
    network = build(choice, splits, [model["kernel_sizes"]]).network
    with torch.no_grad():
        for kernel, pattern in zip(network.kernels, model["patterns"], strict=True):
            kernel.copy_(torch.tensor(pattern))
        # The patterns of patterns are the kernels: what is mirrored twice is as it was.
        for kernel, mirrored in zip(network.kernels, network.patterns, strict=True):
            kernel.copy_(mirrored)
    run = Run(splits.name, "extrema", network, splits.test[0], [], 0, splits.sampling_frequency, splits.units)
    _save(draw(run), "figure2a" if number == 2 else "figure2b", folder)


def _save(drawn: Any, name: str, folder: Path) -> None:
    from san.figures.style import save

    for suffix in ("png", "pdf"):
        save(drawn, folder / f"{name}.{suffix}")


def _draw_models(cells: dict[tuple[str, str], Any], figures: Sequence[int], folder: Path) -> None:
    """Draw the figures of Table I's models."""
    from san.figures.reproduction import draw_density, draw_kernel_grid, draw_planes

    frequencies = {
        database: model["sampling_frequency"]
        for (database, _), models in cells.items()
        for model in models
        if "sampling_frequency" in model
    }
    drawn = {
        3: lambda: draw_planes(cells),
        4: lambda: draw_density(cells),
        5: lambda: draw_kernel_grid(cells, frequencies),
    }
    for number in sorted(set(drawn) & set(figures)):
        _save(drawn[number](), f"figure{number}", folder)


def _print(written: dict[str, Any], folder: Path) -> None:
    """Print the verdict on each table, and where the rest is."""
    from rich.console import Console

    from san.results import shown
    from san.tables import CLOSE, NEAR

    console = Console()
    for title, rows in written["verdict"].items():
        cells, near, close, far = (sum(row[key] for row in rows) for key in ("cells", "near", "close", "far"))
        verdict = f"φ̄ of {cells} cells: {near} within {NEAR} of the printed, {close} more within {CLOSE}, {far} beyond"
        console.print(f"{title}: {verdict if rows else 'data absent'}", soft_wrap=True, highlight=False)
    console.print(shown(folder / "report.html"), soft_wrap=True, highlight=False)


main = command("reproduce", reproduce, "the same command goes on with what is left")

if __name__ == "__main__":
    main()

"""The command ``san.reproduce``."""

import logging
import re
import shutil
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from hydra import compose
from joblib import cpu_count
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from san.cli.build import build_module, load_dataset
from san.cli.config import paper_databases
from san.cli.parts import instantiate
from san.cli.trials import Trial, complete
from san.cli.workers import computed, end_workers
from san.data.splits import Splits
from san.figures.activation_functions import draw_activations
from san.figures.forward_pass import draw
from san.figures.reproduction import draw_density, draw_kernel_grid, draw_planes
from san.figures.style import Run, save
from san.reporting.console import console
from san.reporting.paper_tables import table_of_databases, table_of_sizes, write_table
from san.reporting.provenance import data_fingerprint, versions
from san.reporting.report import reproduction_record, write_report
from san.reporting.results import relative_to_here
from san.storage.files import write_json
from san.training.published_draws import ACTIVATIONS, PROGRAM

__all__ = ["reproduce"]

log = logging.getLogger(__name__)

DATASET_OF_TABLE = {1: "physionet", 2: "uci_epilepsy", 3: "mnist", 4: "fashion_mnist"}
TABLES_OF_FIGURE = {1: (), 2: (2, 3), 3: (1,), 4: (1,), 5: (1,)}  # the tables whose models a figure shows
PROTOCOLS = ("honest", "paper")
ROUNDED = {(2, "relu"), (3, "relu"), (4, "relu")}  # two complementary kernels, which rounding errors drive apart
WORK_OF_TRIAL = {1: 1, 2: 20, 3: 60, 4: 60}  # relative duration of a trial of a table, to estimate the remaining time


def reproduce(config: DictConfig) -> None:
    """Complete the trials of the tables, and write tables, figures and a report.

    Raises:
        ValueError: If a table, a figure or a number is invalid.
    """
    tables, figures = _check(config)
    start = time.perf_counter()
    folder = Path(config.paths.output_dir)
    absent = _skipped_databases(config) if 1 in tables else {}
    trials = [trial for number in tables for trial in _trials(config, number, absent)]
    jobs = int(config.jobs or cpu_count())
    _complete_all(trials, jobs)
    cells: dict[int, dict[tuple[str, str], dict[str, list[Any]]]] = {number: {} for number in tables}
    seconds_of_tables = dict.fromkeys(tables, 0.0)
    for trial in trials:
        if (completed := trial.read()) is not None:
            by_protocol = cells[trial.table].setdefault((trial.dataset, trial.activation), defaultdict(list))
            by_protocol["rounding" if trial.rounding else trial.protocol].append(completed["models"])
            seconds_of_tables[trial.table] += completed["seconds"]
    paper_tables = {}
    for number in config.tables:
        if number == 1:
            paper_tables[number] = table_of_databases(cells[number], absent)
        else:
            of_activations = {activation: models for (_, activation), models in cells[number].items()}
            reason = absent.get(DATASET_OF_TABLE[number], "")
            paper_tables[number] = table_of_sizes(number, of_activations, reason)
        write_table(number, paper_tables[number], folder)
    _draw_figures(config, figures, cells, folder)
    record = reproduction_record(
        paper_tables,
        absent=absent,
        config=OmegaConf.to_container(config, resolve=True),
        versions=versions(),
        jobs=jobs,
        seconds_of_tables=seconds_of_tables,
        wall_seconds=time.perf_counter() - start,
    )
    write_json(folder / "reproduce.json", record)
    write_report(record, paper_tables, folder)
    _print_verdict(record, folder)


def _check(config: DictConfig) -> tuple[list[int], list[int]]:
    """Return the tables whose models to train, and the figures to draw.

    Raises:
        ValueError: If a table, a figure or a number is invalid.
    """
    figures = list(TABLES_OF_FIGURE) if config.figures is None else list(config.figures)
    for key, given, known in (("tables", config.tables, PROGRAM), ("figures", figures, TABLES_OF_FIGURE)):
        if any(number not in known for number in given):
            raise ValueError(f"{key}={list(given)} must be some of {list(known)}")
    if not config.tables and not config.figures:
        raise ValueError("tables=[] and figures=[] leave nothing to do: name some of them")
    counts = {"seeds": config.seeds, "classifier_seeds": config.classifier_seeds, "jobs": config.jobs or 1}
    for name, count in config.seeds_of.items():
        if name not in ACTIVATIONS:
            raise ValueError(f"seeds_of.{name}: {name} must be one of {', '.join(ACTIVATIONS)}")
        counts[f"seeds_of.{name}"] = count
    if not isinstance(config.roundings, int) or config.roundings < 0:
        raise ValueError(f"roundings={config.roundings} must be an integer, 0 or more")
    for key, count in counts.items():
        if not isinstance(count, int) or count < 1:
            raise ValueError(f"{key}={count} must be an integer, 1 or more")
    if config.figures is None:
        tables = set(config.tables)
        figures = [number for number in figures if not TABLES_OF_FIGURE[number] or tables & {*TABLES_OF_FIGURE[number]}]
        return sorted(tables), figures
    tables_of_figures = {table for number in figures for table in TABLES_OF_FIGURE[number]}
    return sorted({*config.tables, *tables_of_figures}), sorted(figures)


def _trials(config: DictConfig, number: int, absent: dict[str, str]) -> Iterator[Trial]:
    """Yield the trials of a table whose data is there; add the reason to ``absent`` for the others, by dataset."""
    databases = _databases(config) if number == 1 else [None]
    # A composition takes longer than a copy with another database and seed.
    compose_once = cache(partial(_compose, config, number))
    is_seed_given = any(override.lstrip("+").startswith("seed=") for override in config.overrides)
    for database in databases:
        dataset = database or DATASET_OF_TABLE[number]
        try:
            data = {
                protocol: data_fingerprint(load_dataset(_of_database(compose_once(ACTIVATIONS[0], protocol), database)))
                for protocol in PROTOCOLS
            }
        except FileNotFoundError as error:
            absent[dataset] = str(error)
            log.warning("%s: data absent (%s)", dataset, error)
            continue
        for activation in ACTIVATIONS:
            n_seeds = max(config.seeds, config.seeds_of.get(activation, 1))
            n_classifiers = max(n_seeds, config.classifier_seeds)
            n_roundings = config.roundings if (number, activation) in ROUNDED else 0
            honest = [("honest", seed, range(seed, n_classifiers, n_seeds), 0) for seed in range(n_seeds)]
            rounded = [("paper", 0, range(0), rounding) for rounding in range(1, n_roundings + 1)]
            for protocol, seed, classifier_seeds, rounding in [*honest, ("paper", 0, range(1), 0), *rounded]:
                composed = _of_database(compose_once(activation, protocol), database)
                if not is_seed_given:
                    composed.seed = seed
                yield Trial(
                    table=number,
                    dataset=dataset,
                    protocol=protocol,
                    config=composed,
                    classifier_seeds=classifier_seeds,
                    data=data[protocol],
                    cache=Path(config.paths.cache_dir),
                    rounding=rounding,
                )


def _databases(config: DictConfig) -> list[str]:
    for name in config.databases or ():
        if not re.fullmatch(r"[\w-]+", str(name)):
            raise ValueError(f"databases={list(config.databases)}: {name} is not the name of a database of PhysioNet")
    local = Path(config.paths.data_dir) / "physionet"
    return list(config.databases or (name for name in paper_databases() if (local / name).is_dir()))


def _skipped_databases(config: DictConfig) -> dict[str, str]:
    """Return the reason for each database of Table I without models."""
    reason = "not one of databases=" if config.databases else "not in paths.data_dir"
    skipped = [name for name in paper_databases() if name not in _databases(config)]
    return {name: f"{reason}; databases=[{name}] reads it, from PhysioNet if absent" for name in skipped}


def _of_database(config: DictConfig, database: str | None) -> DictConfig:
    """Return a copy of a configuration for a database of PhysioNet; None for other datasets."""
    of_database = config.copy()
    if database is not None:
        of_database.dataset.database = database
    return of_database


def _compose(config: DictConfig, number: int, activation: str, protocol: str) -> DictConfig:
    """Compose the sweep of a table, an activation and a protocol."""
    composed = compose(
        "sweep",
        [
            f"experiment=table{number}",
            f"activation={activation}",
            f"activation_name={activation}",
            f"protocol={protocol}",
            "logger=[]",
            "trainer.enable_progress_bar=false",
            *config.overrides,
        ],
    )
    # Not as overrides, which would be parsed, and their references replaced, once more.
    composed.paths.data_dir, composed.paths.output_dir = config.paths.data_dir, config.paths.output_dir
    composed.kernel_sizes = list(PROGRAM[number].sizes)
    return composed


def _complete_all(trials: Sequence[Trial], jobs: int) -> None:
    """Complete the trials that are not cached, the longest first, and log the progress and the remaining time.

    Raises:
        OSError: If a process was killed.
    """
    due = sorted((trial for trial in trials if trial.read() is None), key=lambda trial: -WORK_OF_TRIAL[trial.table])
    log.info("%d of %d trials are complete", len(trials) - len(due), len(trials))
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True, speed_estimate_period=1e9)
    task = bar.add_task("", total=sum(WORK_OF_TRIAL[trial.table] for trial in due))
    with bar:
        for count, trial in enumerate(computed(complete, due, jobs, in_order=False), start=1):
            bar.update(task, advance=WORK_OF_TRIAL[trial.table], description=f"{trial}")
            rest = bar.tasks[0].time_remaining
            log.info("%d of %d: %s; %s", count, len(due), trial, "" if rest is None else f"{rest:.0f} s left")
    end_workers()  # idle, they would hold memory while figures are drawn
    for folder in {trial.cache for trial in trials}:
        shutil.rmtree(folder / "unfinished", ignore_errors=True)


def _draw_figures(config: DictConfig, figures: Sequence[int], cells: Mapping[int, Any], folder: Path) -> None:
    """Draw the figures of the complete trials, by the paper's protocol and the first seed."""
    if 1 in figures:
        _draw_activations(config, folder)
    for number in (2, 3) if 2 in figures else ():
        if models := cells.get(number, {}).get((DATASET_OF_TABLE[number], "extrema")):
            _draw_forward_pass(config, number, models["paper"][0], folder)
    if models_of_databases := {key: models["paper"][0] for key, models in cells.get(1, {}).items()}:
        _draw_models(models_of_databases, figures, folder)


def _draw_activations(config: DictConfig, folder: Path) -> None:
    """Draw Figure 1: each activation on a second of a signal and on an image, those of the paper if they are there."""
    data = Path(config.paths.data_dir)
    signals = _load(config, "uci_epilepsy" if (data / "uci_epilepsy").is_dir() else "physionet")
    of_mnist = ("mnist", "dataset.n_validation=1")
    images = _load(config, *of_mnist if (data / "MNIST").is_dir() else ("synthetic_images",))
    functions = {
        name: instantiate(compose("sweep", [f"activation={name}", f"activation_name={name}"]), "activation")
        for name in ACTIVATIONS
    }
    signal = signals.test[0, 0, : round(signals.sampling_frequency or signals.shape[-1])]
    sizes = (len(signal) // 9, 6)
    with torch.no_grad():
        drawn = draw_activations(functions, signal, images.test[0, 0], sizes, signals.sampling_frequency)
    save(drawn, folder / "figure1")


def _load(config: DictConfig, dataset: str, *overrides: str) -> Splits:
    composed = compose("sweep", [f"dataset={dataset}", "protocol=paper", "activation_name=any", *overrides])
    composed.paths.data_dir = config.paths.data_dir
    splits: Splits = instantiate(composed, "dataset")
    return splits


def _draw_forward_pass(config: DictConfig, number: int, models: list[Any], folder: Path) -> None:
    """Draw Figure 2: the forward pass of the selected Extrema model, of a signal or of an image."""
    choice = _compose(config, number, "extrema", "paper")
    splits = load_dataset(choice)
    (model,) = (model for model in models if "atoms" in model)
    network = build_module(choice, splits, [model["kernel_sizes"]]).network
    with torch.no_grad():
        for kernel, atom in zip(network.kernels, model["atoms"], strict=True):
            kernel.copy_(torch.tensor(atom))
        # The atom of an atom is the kernel: mirrored twice.
        for kernel, mirrored in zip(network.kernels, network.atoms, strict=True):
            kernel.copy_(mirrored)
    run = Run(splits.name, "extrema", network, splits.test[0], [], 0, splits.sampling_frequency, splits.units)
    save(draw(run), folder / ("figure2a" if number == 2 else "figure2b"))


def _draw_models(cells: Mapping[tuple[str, str], Any], figures: Sequence[int], folder: Path) -> None:
    """Draw the figures of Table I's models."""
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
        save(drawn[number](), folder / f"figure{number}")


def _print_verdict(record: Mapping[str, Any], folder: Path) -> None:
    """Print the verdict on each table, and the path of the report."""
    output = console()
    for title, rows in record["verdict"].items():
        cells, printed, near, beyond = (sum(row[key] for row in rows) for key in ("cells", "printed", "near", "beyond"))
        verdict = f"{printed} of {cells} printed numbers to the last digit, {near} near, {beyond} beyond"
        output.print(f"{title}: {verdict if rows else 'data absent'}", soft_wrap=True, highlight=False)
    output.print(relative_to_here(folder / "report.html"), soft_wrap=True, highlight=False)

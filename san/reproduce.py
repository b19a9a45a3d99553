"""``python -m san.reproduce``: the tables of the paper computed again, beside the printed ones."""

import hashlib
import json
import logging
import shutil
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose
from omegaconf import DictConfig, OmegaConf

from san.command import CONF, command, paper_databases
from san.sweep import evaluate_bank, parse_sizes, train_bank

__all__ = ["main", "reproduce"]

log = logging.getLogger(__name__)

ACTIVATIONS = ("identity", "relu", "topk_absolutes", "extrema_pool_indices", "extrema")
SIZES = {1: "1..250", 2: "8..15", 3: "1..6", 4: "1..6"}
PROTOCOLS = ("honest", "paper")
FORMAT = 1  # of a finished bank; another one is trained again


@dataclass(frozen=True)
class Bank:
    """All kernel sizes of one activation function on one dataset, with one seed."""

    table: int
    dataset: str
    activation: str
    seed: int
    protocols: tuple[str, ...]
    overrides: tuple[str, ...]


def reproduce(config: DictConfig) -> None:
    """Train all models of the tables that were not trained before, and write the tables.

    Raises:
        ValueError: If a table or a number is not one there is.
    """
    _check(config)
    start = time.perf_counter()
    folder = Path(config.paths.output_dir)
    banks = [bank for number in config.tables for bank in _banks(config, number)]
    cells: dict[tuple[int, str, str], dict[str, list[Any]]] = defaultdict(lambda: {name: [] for name in PROTOCOLS})
    absent: dict[str, str] = {}
    for bank in _in_turn(banks):
        if bank.dataset in absent:
            continue
        try:
            trained = _models(config, bank)
        except FileNotFoundError as error:
            absent[bank.dataset] = str(error)
            log.warning("%s: data absent", bank.dataset)
            continue
        for protocol, models in trained.items():
            cells[bank.table, bank.dataset, bank.activation][protocol].append(models)

    from san.report import write_report
    from san.results import versions, write_json
    from san.tables import DATASETS, table_of_databases, table_of_sizes, write

    tables = {}
    for number in config.tables:
        own = {key[1:]: models for key, models in cells.items() if key[0] == number}
        table = (
            table_of_databases(own)
            if number == 1
            else table_of_sizes(number, {key[1]: models for key, models in own.items() if key[0] == DATASETS[number]})
        )
        tables[number] = table
        write(number, table, folder)
        _print(number, table)
        if number == 1 and own:
            _draw_models({key: models["paper"][0] for key, models in own.items()}, folder)
        if number in (2, 3) and own:
            _draw_forward_pass(config, number, own[DATASETS[number], "extrema"]["paper"][0], folder)
    _draw_activations(folder)
    seconds = time.perf_counter() - start
    settings = {"config": OmegaConf.to_container(config, resolve=True), "versions": versions()}
    write_json(folder / "reproduce.json", {**settings, "absent": absent, "wall_seconds": seconds})
    write_report(tables, folder, absent=absent, settings=settings, seconds=seconds)


def _check(config: DictConfig) -> None:
    unknown = [number for number in config.tables if number not in SIZES]
    if unknown or not config.tables:
        raise ValueError(f"tables={list(config.tables)} must be some of {list(SIZES)}")
    if not isinstance(config.seeds, int) or config.seeds < 1:
        raise ValueError(f"seeds={config.seeds} must be an integer, 1 or more")


def _banks(config: DictConfig, number: int) -> Iterator[Bank]:
    """Yield what a table is made of."""
    if number == 1:
        local = Path(config.paths.data_dir) / "physionet"
        names = config.databases or [name for name in paper_databases() if (local / name).is_dir()]
        datasets: dict[str, tuple[str, ...]] = {
            name: ("dataset=physionet", f"dataset.database={name}") for name in names
        }
    else:
        from san.tables import DATASETS

        datasets = {DATASETS[number]: (f"dataset={DATASETS[number]}",)}
    # Table II is scaled differently by the two protocols, so that each has its own training.
    groups = [(name,) for name in PROTOCOLS] if number == 2 else [PROTOCOLS]
    for dataset, overrides in datasets.items():
        for activation in ACTIVATIONS:
            for seed in range(config.seeds):
                for protocols in groups:
                    yield Bank(number, dataset, activation, seed, protocols, overrides)


def _in_turn(banks: list[Bank]) -> Iterator[Bank]:
    """Yield banks, and tell how many are done and how long the rest will take."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=len(banks))
        for index, bank in enumerate(banks):
            title = f"table {bank.table}, {bank.dataset}, {bank.activation}, seed {bank.seed}"
            bar.update(task, description=title, completed=index)
            log.info("%d of %d: %s", index + 1, len(banks), title)
            yield bank


def _models(config: DictConfig, bank: Bank) -> dict[str, list[Any]]:
    """Return the results of a bank's models by protocol, trained now or before."""
    folder = Path(config.paths.cache_dir)
    choice = compose(
        "sweep",
        [
            *bank.overrides,
            f"activation={bank.activation}",
            f"activation_name={bank.activation}",
            f"protocol={bank.protocols[0]}",
            f"seed={bank.seed}",
            "logger=csv",
            "trainer.enable_progress_bar=false",
            f"paths.data_dir={config.paths.data_dir}",
            f"paths.output_dir={folder / 'unfinished'}",
            *config.overrides,
        ],
    )
    choice.kernel_sizes = SIZES[bank.table]
    path = folder / f"{_fingerprint(choice, bank)}.json"
    if path.is_file():
        finished: dict[str, list[Any]] = json.loads(path.read_text())
        return finished

    from san.assembly import load
    from san.results import write_json

    splits = load(choice)
    trained = train_bank(choice, parse_sizes(choice.kernel_sizes), splits)
    models = {}
    for name in bank.protocols:
        protocol = OmegaConf.load(CONF / "protocol" / f"{name}.yaml")
        results, _, _ = evaluate_bank(trained, protocol.tested_epoch, protocol.count_weights)
        selected = min(results, key=lambda model: float(model[protocol.selected_by]["phi"]))
        network = trained.module.network
        patterns = network.model(network.sizes_of_models.index(selected["kernel_sizes"])).patterns
        selected["patterns"] = [pattern.tolist() for pattern in patterns]
        selected["sampling_frequency"] = splits.sampling_frequency
        models[name] = results
    write_json(path, models)
    shutil.rmtree(folder / "unfinished", ignore_errors=True)
    return models


def _fingerprint(choice: DictConfig, bank: Bank) -> str:
    from san.results import versions

    settings: Any = OmegaConf.to_container(choice, resolve=True)
    del settings["paths"]
    text = json.dumps([FORMAT, settings, bank.dataset, bank.protocols, versions()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


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
    from san.tables import DATASETS

    overrides = ["activation=extrema", "activation_name=extrema", "protocol=paper", *config.overrides]
    choice = compose("sweep", [f"dataset={DATASETS[number]}", f"paths.data_dir={config.paths.data_dir}", *overrides])
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


def _draw_models(cells: dict[tuple[str, str], Any], folder: Path) -> None:
    """Draw the figures of Table I's models, by the paper's protocol and the first seed."""
    from san.figures.reproduction import draw_density, draw_kernel_grid, draw_planes

    frequencies = {
        database: model["sampling_frequency"]
        for (database, _), models in cells.items()
        for model in models
        if "sampling_frequency" in model
    }
    _save(draw_planes(cells), "figure3", folder)
    _save(draw_density(cells), "figure4", folder)
    _save(draw_kernel_grid(cells, frequencies), "figure5", folder)


def _print(number: int, table: Any) -> None:
    from rich.console import Console

    from san.report import CLOSE, NEAR

    if "difference" not in table:
        Console().print(f"Table {number}: data absent", highlight=False)
        return
    beyond = table["difference"].abs().dropna()
    Console().print(
        f"Table {number}: {len(beyond)} of {len(table)} cells; phi within {NEAR} of the printed one in "
        f"{(beyond <= NEAR).sum()}, within {CLOSE} in {(beyond <= CLOSE).sum()}, beyond in {(beyond > CLOSE).sum()}",
        soft_wrap=True, highlight=False,
    )  # fmt: skip


main = command("reproduce", reproduce)

if __name__ == "__main__":
    main()

"""The command ``san.compare``."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from joblib import cpu_count
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from san.cli.build import load_dataset
from san.cli.compared_networks import ComparedNetworks, check_kernel_forms, kernel_forms, lowest, tuned
from san.cli.config import check_numbers, stored_configuration, with_activation
from san.cli.model_results import Results
from san.cli.parts import instantiate
from san.cli.processes import n_processes
from san.cli.ranks import started_by_torchrun
from san.cli.settings import effective_settings
from san.cli.workers import computed, end_workers
from san.data.splits import Splits
from san.peers.peer import Level, Peer
from san.peers.tuning import METHODS, mean_metrics, require_installed
from san.reporting.comparison import summarize_comparison, write_comparison_table
from san.reporting.progress import Advance, progress_bar
from san.reporting.provenance import Provenance, data_fingerprint, versions
from san.reporting.results import lowest_phi
from san.storage.files import read_json, write_json

__all__ = ["compare"]

COUNTS = ("kernel_size", "n_kernels", "n_nonzero", "n_nonzero_by_phi")

MIN_SETTINGS = 100  # settings for which processes are worth the seconds in which they start

log = logging.getLogger(__name__)


def compare(config: DictConfig) -> float:
    """Tune each method over its grid, test it, and write the table and the figure of all methods.

    Returns:
        The φ of the best method, on the split that the protocol selects by.
    """
    _check(config)
    require_installed(config.peers)
    start = time.perf_counter()
    pl.seed_everything(config.seed, workers=True, verbose=False)
    splits = load_dataset(config)
    grids = config.grids.signals if splits.n_dims == 1 else config.grids.images
    networks = [
        ComparedNetworks(config, name, form, grids, splits)
        for name in config.activations
        for form in kernel_forms(config, name, splits.n_channels)
    ]
    for name in config.peers:
        _check_grid(name, grids[name])
    folder = Path(config.paths.output_dir)
    due: list[_Due] = []
    for compared in networks:
        try:
            parts = compared.parts(splits)
        except ValueError as error:
            log.warning("%s is skipped: %s", compared.name, error)
            continue
        n_settings = len(parts) * sum(len(bank.kernel_sizes) for bank in compared.banks)
        settings = [_settings(bank) for bank in compared.banks]
        due.append(_Due(compared.name, n_settings, settings, partial(compared.tune, parts)))
    for name in config.peers:
        grid = grids[name]
        peer = {
            "settings": _settings(config),
            "grid": _lists(grid),
            "version": import_module(METHODS[name].package).__version__,
        }
        learned, levels = _settings_of_peer(name, grid, splits)
        tune = partial(_tune_peer, config, name, learned, levels, splits)
        due.append(_Due(name, len(learned) * len(levels), peer, tune))
    if not due:
        raise ValueError("all methods are skipped, which leaves nothing to compare: name others")
    jobs = _jobs(config, sum(method.n_settings for method in due))
    kept = _Kept(folder / "methods", data_fingerprint(splits))
    methods: list[Results] = []
    results = {
        "dataset": splits.name,
        "channels": splits.n_channels,
        "space": list(splits.shape[1:]),
        "selected_by": config.protocol.selected_by,
        "seed": config.seed,
        "jobs": jobs,
        "methods": methods,
    }
    for method in due:
        methods.append(kept.or_tuned(method, f"{method.name} ({len(methods) + 1} of {len(due)})", jobs))
        write_comparison_table(results, folder)
        log.info("%d of %d methods are in compare.csv", len(methods), len(due))
    end_workers()
    results |= {
        "wall_seconds": time.perf_counter() - start,
        "versions": versions(),
        "config": stored_configuration(config),
    }
    write_json(folder / "results.json", results)
    summarize_comparison(results, folder)
    best: Any = lowest_phi([method["chosen"] for method in methods], config.protocol.selected_by)
    return float(best[config.protocol.selected_by]["phi"])


@dataclass
class _Due:
    """A method to tune.

    Attributes:
        name: Name of the method.
        n_settings: Number of settings of its grid.
        settings: Everything that can change its results.
        tune: Tunes it by a number of processes, and reports the settings that are done.
    """

    name: str
    n_settings: int
    settings: Any
    tune: Callable[[int, Advance], Results]


class _Kept:
    """The complete methods of an interrupted comparison in the same folder.

    Args:
        folder: Folder with one file for each complete method.
        data: Fingerprint of the examples.
    """

    def __init__(self, folder: Path, data: str) -> None:
        self.folder = folder
        self.data = data

    def or_tuned(self, due: _Due, title: str, jobs: int) -> Results:
        """Return a complete method of the same settings, code and data, else tune it and keep the result.

        Args:
            due: The method.
            title: Name of the method on the progress bar.
            jobs: Number of processes to tune it by.
        """
        fingerprints = Provenance.of({"method": due.name, "settings": due.settings}, self.data).fingerprints
        file = self.folder / f"{due.name}.json"
        stored = read_json(file) or {}
        if stored.get("fingerprints") == fingerprints:
            log.info("%s: complete, with its times, from %s", due.name, file)
            return dict(stored["method"])
        with progress_bar(title, due.n_settings) as advance:
            method = due.tune(jobs, advance)
        write_json(file, {"fingerprints": fingerprints, "method": method})
        return method


def _settings(config: DictConfig) -> dict[str, Any]:
    """Return the settings that can change the results of a method, without those of the other methods."""
    others = ("activations", "grids", "jobs", "kernel_forms", "peers")
    return {key: value for key, value in effective_settings(config).items() if key not in others}


def _jobs(config: DictConfig, n_settings: int) -> int:
    """Return the number of processes that tune a method."""
    if config.jobs is not None:
        return int(config.jobs)
    return int(cpu_count()) if config.trainer.accelerator == "cpu" and n_settings >= MIN_SETTINGS else 1


def _check(config: DictConfig) -> None:
    """Refuse invalid choices before any data is read.

    Raises:
        ValueError: If there is nothing to compare, or a choice is invalid.
    """
    if not (config.activations or config.peers):
        raise ValueError("activations=[] and peers=[] leave nothing to compare: name some of them")
    if config.classifier:
        raise ValueError("classifier: methods are compared by φ alone, so it must be none")
    if started_by_torchrun() or n_processes(config) != 1:
        raise ValueError(f"trainer.devices={config.trainer.devices}: each training has one process here; use jobs=N")
    of_jobs = [] if config.jobs is None else ["jobs"]
    check_numbers(config, ["seed", "peer_examples", "batch_size", "num_workers", *of_jobs])
    for name in config.activations:
        with_activation(config, name)
    check_kernel_forms(config)


def _check_grid(name: str, grid: DictConfig) -> None:
    """Refuse the grid of a baseline method with a value that is not a positive number, or a count not an integer."""
    for key, values in _lists(grid).items():
        for value in values:
            kinds = (int,) if key in COUNTS else (int, float)
            if type(value) not in kinds or not 0 < value < float("inf"):
                kind = "an integer, 1 or more" if key in COUNTS else "a number above 0"
                raise ValueError(f"grids: {key}={value} of {name} must be {kind}")


def _lists(grid: DictConfig) -> dict[str, list[Any]]:
    return {str(key): list(values) if OmegaConf.is_list(values) else [values] for key, values in grid.items()}


def _settings_of_peer(name: str, grid: DictConfig, splits: Splits) -> tuple[list[Results], list[Level]]:
    """Return the useful settings that a baseline method learns by, and the levels of sparsity of each of them.

    Raises:
        ValueError: If there is none.
    """
    lists = _lists(grid)
    levels: list[Level] = [{key: value} for key in METHODS[name].level_names for value in lists.pop(key)]
    settings = [dict(zip(lists, values, strict=True)) for values in product(*lists.values())]
    useful = [setting for setting in settings if _is_useful(setting, splits.shape[1:])]
    if not (levels and useful):
        raise ValueError(f"grids: {name} has no setting with fewer weights than the samples of an example")
    return useful, levels


def _tune_peer(
    config: DictConfig,
    name: str,
    learned_by: Sequence[Results],
    levels: Sequence[Level],
    splits: Splits,
    jobs: int,
    advance: Advance,
) -> Results:
    """Tune a baseline method over its settings, and test the selected one on all test examples."""
    method = METHODS[name]
    examples = {split: _evenly_spaced(of_split, config.peer_examples) for split, of_split in splits.examples.items()}
    options: Any = {"loss": instantiate(config, "loss"), "count_weights": config.metric.count_weights}
    selected_by = config.protocol.selected_by
    learn = partial(_learn, method, examples, levels, config.seed, options)
    start = time.perf_counter()
    settings: list[Results] = []
    best: Any = None
    for learned in computed(learn, learned_by, jobs):
        settings += learned.settings
        of_levels = lowest(name, learned.settings, selected_by)
        if best is None or of_levels[selected_by]["phi"] < best[0][selected_by]["phi"]:
            best = of_levels, learned
        advance(len(levels))
    seconds = time.perf_counter() - start
    selected, learned = best
    if len(examples["test"]) < len(splits.test):
        level = {key: value for key, value in selected["setting"].items() if key in method.level_names}
        selected = {**selected, "test": mean_metrics(learned.peer, splits.test, [level], **options)[0]}
    return tuned(name, settings, selected, grid=seconds, selected_alone=learned.seconds)


@dataclass(frozen=True)
class _Learned:
    """A baseline method that has learned, with the seconds of the learning, and its metrics at each level."""

    peer: Peer
    seconds: float
    settings: list[Results]


def _learn(
    method: type[Peer],
    examples: Mapping[str, Tensor],
    levels: Sequence[Level],
    seed: int,
    options: Mapping[str, Any],
    learned: Results,
) -> _Learned:
    """Learn the atoms of a setting, and describe the validation and test examples at each level of sparsity."""
    start = time.perf_counter()
    peer = method(examples["train"], **learned, seed=seed)
    seconds = time.perf_counter() - start
    metrics = {split: mean_metrics(peer, examples[split], levels, **options) for split in ("validation", "test")}
    settings: list[Results] = [
        {
            "setting": {**learned, **level},
            "n_weights": peer.n_weights(options["count_weights"]),
            **{split: metrics[split][index] for split in metrics},
        }
        for index, level in enumerate(levels)
    ]
    return _Learned(peer, seconds, settings)


def _evenly_spaced(examples: Tensor, maximum: int) -> Tensor:
    """Return at most ``maximum`` examples, evenly spaced."""
    if len(examples) <= maximum:
        return examples
    return examples[[index * len(examples) // maximum for index in range(maximum)]]


def _is_useful(setting: Mapping[str, Any], space: Sequence[int]) -> bool:
    """Return whether an atom fits into an example, and fewer weights are stored than an example has samples."""
    size = setting["kernel_size"]
    return bool(size <= min(space) and setting["n_kernels"] * size ** len(space) < prod(space))

"""What a reproduction is made of: banks that are trained, tested and classified once, and kept."""

import json
import logging
import os
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

if TYPE_CHECKING:
    from san.data.splits import Splits
    from san.sweep import TrainedBank

__all__ = ["Bank", "end_with", "finish"]

FORMAT = 2  # of a finished bank; another one is trained again

_last_splits: "dict[str, Splits]" = {}


@dataclass(frozen=True)
class Bank:
    """All kernel sizes of one activation function on one dataset, with one seed.

    Args:
        table: Number of the paper's table.
        dataset: Of the table, by name.
        config: Of a sweep; its seed and its activation function are the bank's.
        protocols: What the trained models are judged by, by name.
        classifier_seeds: Of the classifiers on the reconstructions, if the configuration has a classifier.
        cache: Folder of the finished banks.
    """

    table: int
    dataset: str
    config: DictConfig
    protocols: Mapping[str, DictConfig]
    classifier_seeds: Sequence[int]
    cache: Path

    @property
    def activation(self) -> str:
        """Name of the activation function."""
        return str(self.config.activation_name)

    def __str__(self) -> str:
        """Name the bank for a log."""
        return f"table {self.table}, {self.dataset}, {self.activation}, seed {self.config.seed}"

    @cached_property
    def path(self) -> Path:
        """Where the bank is when it is finished, named by all that it depends on."""
        from san.results import fingerprint

        settings: Any = OmegaConf.to_container(self.config, resolve=True)
        del settings["paths"], settings["num_workers"]
        protocols = {name: OmegaConf.to_container(protocol) for name, protocol in self.protocols.items()}
        return self.cache / f"{fingerprint([FORMAT, settings, protocols, list(self.classifier_seeds)])}.json"

    def read(self) -> dict[str, Any] | None:
        """Return the ``models`` by protocol and the ``seconds`` that they took, if the bank is finished."""
        if not self.path.is_file():
            return None
        finished: dict[str, Any] = json.loads(self.path.read_text())
        return finished


def finish(bank: Bank) -> tuple[Bank, str | None]:
    """Train, test and classify the models of a bank, and keep their results.

    Returns:
        The bank, and why it is not finished if its data is absent.
    """
    from san.results import lowest_phi, write_json
    from san.sweep import evaluate_bank, parse_numbers, train_bank

    if not logging.getLogger().handlers:  # in a process of its own, whose findings are told by the one that asked
        logging.getLogger().addHandler(logging.NullHandler())
    start = time.perf_counter()
    config = bank.config.copy()
    unfinished = bank.cache / "unfinished" / bank.path.stem
    config.paths.output_dir, config.paths.cache_dir = str(unfinished), str(bank.cache)
    if (unfinished / "checkpoints").is_dir():
        config.checkpoint = str(unfinished)
    try:
        splits = _splits(config)
    except FileNotFoundError as error:
        return bank, str(error)
    classifier, config.classifier = config.classifier, {}
    trained = train_bank(config, parse_numbers("kernel_sizes", config.kernel_sizes), splits)
    judged = {}
    for name, protocol in bank.protocols.items():
        config.protocol = protocol
        models, _, _ = evaluate_bank(trained)
        if classifier:
            _classify(bank, trained, classifier, name, models)
        selected = lowest_phi(models, protocol.selected_by)
        if selected is not None:
            network = trained.module.network
            patterns = network.model(network.sizes_of_models.index(selected["kernel_sizes"])).patterns
            selected["patterns"] = [pattern.tolist() for pattern in patterns]
            selected["sampling_frequency"] = splits.sampling_frequency
        judged[name] = models
    write_json(bank.path, {"models": judged, "seconds": time.perf_counter() - start})
    shutil.rmtree(unfinished, ignore_errors=True)
    return bank, None


def end_with(parent: int) -> None:
    """End this process within a second of the one that started it, however that ends."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _splits(config: DictConfig) -> "Splits":
    """Load a dataset, or return it where the bank before had the same."""
    from san.assembly import load

    key = json.dumps(OmegaConf.to_container(config.dataset, resolve=True))
    if key not in _last_splits:
        _last_splits.clear()
        _last_splits[key] = load(config)
    return _last_splits[key]


def _classify(
    bank: Bank, trained: "TrainedBank", classifier: DictConfig, protocol: str, models: Sequence[dict[str, Any]]
) -> None:
    """Add to the results of each model the accuracies of its classifiers, by seed, and of their baselines."""
    from san.assembly import classify

    config, network = trained.config.copy(), trained.module.network
    config.classifier = classifier
    by_seed = classify(config, f"{protocol}/", trained.splits, network, trained.trainer.strategy, bank.classifier_seeds)
    for model in models:
        index = network.sizes_of_models.index(model["kernel_sizes"])
        outcomes = [of_models[index][0] for of_models in by_seed]
        model["accuracies"] = [outcome["test"]["accuracy"] for outcome in outcomes]
        model["baselines"] = [outcome["baseline"]["test"]["accuracy"] for outcome in outcomes]

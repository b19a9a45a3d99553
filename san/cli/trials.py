"""The trials of a reproduction: trained, tested and classified once, and cached."""

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from san.cli.bank import TrainedBank, evaluate_bank, train_bank
from san.cli.build import classify, load_dataset
from san.cli.config import parse_numbers
from san.cli.settings import effective_settings
from san.data.splits import Splits
from san.reporting.provenance import Provenance, code_fingerprint, data_fingerprint
from san.reporting.results import lowest_phi
from san.storage.files import read_json, write_json

__all__ = ["Trial", "complete"]

_last_splits: dict[str, Splits] = {}


@dataclass(frozen=True)
class Trial:
    """One activation function and seed on one dataset of a table, with all kernel sizes as a bank.

    Args:
        table: Number of the paper's table.
        dataset: Name of the dataset within the table.
        config: Configuration of a sweep, with the seed and the activation of the trial.
        protocols: The protocols by which the trained models are selected and tested, by name.
        classifier_seeds: Seeds of the classifiers on the reconstructions, if the configuration has a classifier.
        data: Fingerprint of the dataset's content.
        cache: Folder of the complete trials.
    """

    table: int
    dataset: str
    config: DictConfig
    protocols: Mapping[str, DictConfig]
    classifier_seeds: Sequence[int]
    data: str
    cache: Path

    @property
    def activation(self) -> str:
        """Name of the activation function."""
        return str(self.config.activation_name)

    def __str__(self) -> str:
        """Return the name of the trial for a log."""
        return f"table {self.table}, {self.dataset}, {self.activation}, seed {self.config.seed}"

    @cached_property
    def provenance(self) -> Provenance:
        """Everything that the results depend on, with the code of the process that first asked for it."""
        settings = {
            "config": effective_settings(self.config),
            "protocols": {name: OmegaConf.to_container(protocol) for name, protocol in self.protocols.items()},
            "classifier_seeds": list(self.classifier_seeds),
        }
        return Provenance.of(settings, self.data)

    @property
    def path(self) -> Path:
        """File of the complete trial, named by everything it depends on."""
        return self.cache / f"{self.provenance.key}.json"

    def read(self) -> dict[str, Any] | None:
        """Return the ``models`` by protocol and the ``seconds`` of a complete trial, None if it is not complete."""
        return read_json(self.path)


def complete(trial: Trial) -> Trial:
    """Train, test and classify the models of a trial, cache their results, and return the trial.

    Raises:
        ValueError: If the code or the data of this process are no longer those of the process that made the trial.
    """
    start = time.perf_counter()
    config = trial.config.copy()
    unfinished = trial.cache / "unfinished" / trial.path.stem
    config.paths.output_dir, config.paths.cache_dir = str(unfinished), str(trial.cache)
    if (unfinished / "checkpoints").is_dir():
        config.checkpoint = str(unfinished)
    splits = _cached_splits(config, trial.data)
    if code_fingerprint(trial.provenance.settings) != trial.provenance.code or data_fingerprint(splits) != trial.data:
        raise ValueError(f"{trial}: the source or the data changed while this ran: start the same command again")
    classifier, config.classifier = config.classifier, {}
    bank = train_bank(config, parse_numbers("kernel_sizes", config.kernel_sizes), splits)
    models_by_protocol = {}
    for name, protocol in trial.protocols.items():
        config.protocol = protocol
        models, _, _ = evaluate_bank(bank)
        if classifier:
            _add_accuracies(trial, bank, classifier, name, models)
        selected = lowest_phi(models, protocol.selected_by)
        if selected is not None:
            network = bank.module.network
            atoms = network.model(network.sizes_of_models.index(selected["kernel_sizes"])).atoms
            selected["atoms"] = [atom.tolist() for atom in atoms]
            selected["sampling_frequency"] = splits.sampling_frequency
        models_by_protocol[name] = models
    write_json(trial.path, {"models": models_by_protocol, "seconds": time.perf_counter() - start})
    shutil.rmtree(unfinished, ignore_errors=True)
    return trial


def _cached_splits(config: DictConfig, data: str) -> Splits:
    """Load a dataset, or return it if the previous trial of this process had the same, of the same content."""
    key = json.dumps([OmegaConf.to_container(config.dataset, resolve=True), data])
    if key not in _last_splits:
        _last_splits.clear()
        _last_splits[key] = load_dataset(config)
    return _last_splits[key]


def _add_accuracies(
    trial: Trial, bank: TrainedBank, classifier: DictConfig, protocol: str, models: Sequence[dict[str, Any]]
) -> None:
    """Add the accuracies of the classifiers, by seed, and of their baselines to the results of each model."""
    config, network = bank.config.copy(), bank.module.network
    config.classifier = classifier
    strategy = bank.trainer.strategy
    by_seed = classify(config, f"{protocol}/", bank.splits, network, strategy, trial.classifier_seeds)
    for model in models:
        index = network.sizes_of_models.index(model["kernel_sizes"])
        outcomes = [of_models[index][0] for of_models in by_seed]
        model["accuracies"] = [outcome["test"]["accuracy"] for outcome in outcomes]
        model["baselines"] = [outcome["baseline"]["test"]["accuracy"] for outcome in outcomes]

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
        protocol: Name of its protocol.
        config: Configuration of a sweep, with the seed, the activation and the protocol of the trial.
        classifier_seeds: Seeds of the classifiers on the reconstructions, if the configuration has a classifier; the
            models of the paper have its random numbers instead.
        data: Fingerprint of the dataset's content.
        cache: Folder of the complete trials.
        rounding: Changes the last bits of the initial kernels; see :class:`san.cli.random_numbers.RandomNumbers`.
    """

    table: int
    dataset: str
    protocol: str
    config: DictConfig
    classifier_seeds: Sequence[int]
    data: str
    cache: Path
    rounding: int = 0

    @property
    def activation(self) -> str:
        """Name of the activation function."""
        return str(self.config.activation_name)

    def __str__(self) -> str:
        """Return the name of the trial for a log."""
        return (
            f"table {self.table}, {self.dataset}, {self.activation}, {self.protocol} protocol, seed {self.config.seed}"
        )

    @cached_property
    def provenance(self) -> Provenance:
        """Everything that the results depend on, with the code of the process that first asked for it."""
        settings = {
            "config": effective_settings(self.config),
            "rounding": self.rounding,
            "selected_by": self.config.protocol.selected_by,
            "classifier_seeds": list(self.classifier_seeds),
        }
        return Provenance.of(settings, self.data)

    @property
    def path(self) -> Path:
        """File of the complete trial, named by everything it depends on."""
        return self.cache / f"{self.provenance.key}.json"

    def read(self) -> dict[str, Any] | None:
        """Return the ``models`` and the ``seconds`` of a complete trial, None if it is not complete."""
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
    bank = train_bank(config, parse_numbers("kernel_sizes", config.kernel_sizes), splits, trial.rounding)
    models, _, _ = evaluate_bank(bank)
    if classifier and trial.classifier_seeds:
        _add_accuracies(trial, bank, classifier, models)
    selected = lowest_phi(models, config.protocol.selected_by)
    if selected is not None:
        network = bank.module.network
        atoms = network.model(network.sizes_of_models.index(selected["kernel_sizes"])).atoms
        selected["atoms"] = [atom.tolist() for atom in atoms]
        selected["sampling_frequency"] = splits.sampling_frequency
    write_json(trial.path, {"models": models, "seconds": time.perf_counter() - start})
    shutil.rmtree(unfinished, ignore_errors=True)
    return trial


def _cached_splits(config: DictConfig, data: str) -> Splits:
    """Load a dataset, or return it if the previous trial of this process had the same, of the same content."""
    key = json.dumps([OmegaConf.to_container(config.dataset, resolve=True), data])
    if key not in _last_splits:
        _last_splits.clear()
        _last_splits[key] = load_dataset(config)
    return _last_splits[key]


def _add_accuracies(trial: Trial, bank: TrainedBank, classifier: DictConfig, models: Sequence[dict[str, Any]]) -> None:
    """Add the accuracies of the classifiers and of their baselines, one for each start, to the results of each model.

    The paper counts the accuracy of a baseline on the validation and test examples together.
    """
    config, network = bank.config.copy(), bank.module.network
    config.classifier = classifier
    starts = bank.random_numbers.classifier_starts(config, trial.classifier_seeds)
    outcomes = classify(config, f"{trial.protocol}/", bank.splits, network, bank.trainer.strategy, starts)
    n_validation, n_test = len(bank.splits.validation) if trial.protocol == "paper" else 0, len(bank.splits.test)
    for model in models:
        index = network.sizes_of_models.index(model["kernel_sizes"])
        of_model = [of_models[index][0] for of_models in outcomes]
        model["accuracies"] = [outcome["test"]["accuracy"] for outcome in of_model]
        model["baselines"] = [_accuracy(outcome["baseline"], n_validation, n_test) for outcome in of_model]


def _accuracy(outcome: Mapping[str, Any], n_validation: int, n_test: int) -> float:
    """Return the accuracy of a classifier over some validation and test examples."""
    n_correct = n_validation * outcome["validation_accuracy"] + n_test * outcome["test"]["accuracy"]
    return float(n_correct / (n_validation + n_test))

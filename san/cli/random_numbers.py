"""The random numbers of a training: those of the paper for a model of its tables, those of the seed for any other."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from san.cli.config import CONF, compose_from_package
from san.cli.settings import MAY_CHANGE_WHEN_RESUMED, SAME_ON_ANY_DEVICE, effective_settings, without
from san.data.splits import Splits
from san.networks import SparselyActivatedNetwork
from san.training.data_module import Order, order_of_models, shuffled
from san.training.published_draws import (
    ACTIVATIONS,
    DATABASES,
    PROGRAM,
    Cell,
    ClassifierDraws,
    baseline_draws,
    draws_of_cells,
)
from san.training.stacking import Start, Starts

__all__ = ["PUBLISHED", "RandomNumbers"]

PUBLISHED, SEEDED = "published", "seed"
TABLE_OF_DATASET = {"physionet": 1, "uci_epilepsy": 2, "MNIST": 3, "FashionMNIST": 4}
PARTS_OF_TRAINING = (
    "activation", "batch_size", "dataset", "decoder", "initial_deviation", "initial_mean", "initialization", "kernel",
    "loss", "n_kernels", "network", "optimizer", "protocol", "restart_every", "seed", "shuffle", "trainer",
)  # fmt: skip
ANY_DEVICE = {key: reason for key, reason in MAY_CHANGE_WHEN_RESUMED.items() if reason == SAME_ON_ANY_DEVICE}


class RandomNumbers:
    """The random numbers of the models of a training.

    A model of a printed table, trained by the protocol of the paper with seed 0, has the initial kernels and the order
    of the training examples of the published program, and so has its classifier. Any other model has those of the seed.

    Args:
        config: The configuration of the training.
        splits: The examples.
        models: The kernel sizes of each model.
        rounding: Which samples of the initial kernels are changed in their last bit, so that trainings differ in
            rounding alone: none for 0, random ones for any other number.
    """

    def __init__(self, config: DictConfig, splits: Splits, models: Sequence[Sequence[int]], rounding: int = 0) -> None:
        self._config, self._n_examples = config, len(splits.train)
        self._rounding = rounding
        self._table = _table_of(config, splits)
        cells = [_cell(config, self._table, sizes) for sizes in models]
        self._draws = draws_of_cells(cells)

    @property
    def sources(self) -> list[str]:
        """Where the random numbers of each model are from: ``published`` or ``seed``."""
        return [SEEDED if draws is None else PUBLISHED for draws in self._draws]

    @property
    def settings(self) -> dict[str, Any]:
        """The sources as a setting on which the results depend, empty if all are the seed."""
        return {"random_numbers": self.sources} if PUBLISHED in self.sources else {}

    def initialize(self, network: SparselyActivatedNetwork) -> None:
        """Set the initial kernels of the models of the paper, and change the last bits of all if that is asked for."""
        per_model = len(network.kernel_sizes) // network.n_models
        kernels, bits = network.kernels, torch.Generator().manual_seed(self._rounding)
        with torch.no_grad():
            for model, draws in enumerate(self._draws):
                for index, drawn in enumerate([] if draws is None else draws.kernels):
                    kernels[model * per_model + index].copy_(drawn)
            for kernel in kernels if self._rounding else []:
                is_changed = torch.rand(kernel.shape, generator=bits) < 0.5
                kernel.copy_(torch.where(is_changed, kernel.nextafter(torch.zeros(())), kernel))

    def order(self) -> Order | None:
        """Return the order of the training examples, one for all models or one for each."""
        of_seed = self._order_of_seed(self._config.seed)
        return order_of_models([of_seed if draws is None else draws.orders.__getitem__ for draws in self._draws])

    def classifier_starts(self, config: DictConfig, seeds: Sequence[int]) -> list[Starts]:
        """Return the starts of the classifiers of a configuration: the draws of the paper, or one for each seed."""
        drawn = [draws.classifier for draws in self._draws if draws is not None and draws.classifier is not None]
        if self._table is not None and len(drawn) == len(self._draws) and _has_classifier(config, self._table):
            baseline = baseline_draws(self._table)
            return [Starts(PUBLISHED, [_start(draws) for draws in drawn], _start(baseline))]
        starts = []
        for seed in seeds:
            start = Start(torch.Generator().manual_seed(seed).get_state(), self._order_of_seed(seed))
            starts.append(Starts(str(seed), [start] * len(self._draws), start))
        return starts

    def _order_of_seed(self, seed: int) -> Order | None:
        return shuffled(self._n_examples, seed) if self._config.shuffle else None


def _start(draws: ClassifierDraws) -> Start:
    return Start(draws.state, draws.orders.__getitem__)


def _table_of(config: DictConfig, splits: Splits) -> int | None:
    """Return the table whose models a configuration trains, if their sizes are those of the table; None if of none."""
    module = str(config.dataset._target_).removeprefix("san.data.").removesuffix(".load")
    table = TABLE_OF_DATASET.get(config.dataset.get("collection", module))
    if table is None or config.protocol != OmegaConf.load(CONF / "protocol" / "paper.yaml"):
        return None
    if config.get("n_starts", 1) != 1 or config.activation_name not in ACTIVATIONS:
        return None
    if table == 1 and config.dataset.database not in DATABASES:
        return None
    if tuple(map(len, splits.examples.values())) != PROGRAM[table].n_examples:
        return None
    return table if _settings_of_training(config) == _settings_of_training(_reference(config, table)) else None


def _settings_of_training(config: DictConfig) -> dict[str, Any]:
    return without(effective_settings(config, PARTS_OF_TRAINING), ANY_DEVICE)


def _has_classifier(config: DictConfig, table: int) -> bool:
    """Return whether the classifier of a configuration is the classifier of a table."""
    return effective_settings(config, ["classifier"]) == effective_settings(_reference(config, table), ["classifier"])


def _reference(config: DictConfig, table: int) -> DictConfig:
    """Compose the configuration of a table, with the activation function and the database of a configuration."""
    reference = _composed(table, config.activation_name).copy()
    if table == 1:
        reference.dataset.database = config.dataset.database
    return reference


@cache
def _composed(table: int, activation: str) -> DictConfig:
    overrides = [f"experiment=table{table}", "protocol=paper", f"activation={activation}"]
    return compose_from_package("train", [*overrides, f"activation_name={activation}"])


def _cell(config: DictConfig, table: int | None, sizes: Sequence[int]) -> Cell | None:
    """Return the model of a table with the given kernel sizes, None if there is none."""
    if table is None or len(sizes) != PROGRAM[table].n_kernels or len(set(sizes)) > 1:
        return None
    if sizes[0] not in PROGRAM[table].sizes:
        return None
    return Cell(table, config.dataset.database if table == 1 else "", config.activation_name, sizes[0])

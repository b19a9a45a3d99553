"""The networks of a comparison: an activation function with one form of kernels, tuned over its grid."""

import logging
import time
import warnings
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from san.cli.bank import TrainedBank, evaluate_bank, shares, train_bank
from san.cli.build import check_counts, check_densities
from san.cli.config import parse_numbers, with_activation
from san.cli.model_results import Results
from san.cli.parts import instantiate
from san.cli.workers import computed
from san.data.names import channel_place
from san.data.splits import Splits
from san.networks import SparselyActivatedNetwork
from san.ops.choices import shown
from san.peers.channels_alone import ChannelsAlone
from san.peers.tuning import mean_metrics
from san.reporting.progress import Advance
from san.reporting.results import METRICS, lowest_phi

__all__ = ["ComparedNetworks", "check_kernel_forms", "kernel_forms", "lowest", "tuned"]

ALONE = "alone"
FORMS = ("full", "rank1", ALONE)
SPLITS = ("validation", "test")

log = logging.getLogger(__name__)


def check_kernel_forms(config: DictConfig) -> None:
    """Refuse invalid forms of kernels.

    Raises:
        ValueError: If the forms of an activation function are not a list of known ones.
    """
    for name, forms in config.kernel_forms.items():
        if not OmegaConf.is_list(forms) or not forms or any(form not in FORMS for form in forms):
            raise ValueError(f"kernel_forms.{name}={shown(forms)} must be a list of {', '.join(FORMS)}")


def kernel_forms(config: DictConfig, name: str, n_channels: int) -> list[str]:
    """Return the forms of kernels to compare an activation function with; of one channel, all forms are the same."""
    return [config.kernel] if n_channels == 1 else list(config.kernel_forms.get(name, [config.kernel]))


class ComparedNetworks:
    """An activation function with one form of kernels, as a method of a comparison.

    Args:
        config: The configuration of the comparison.
        name: Name of the activation function.
        form: ``full`` or ``rank1`` kernels, or ``alone`` for a network of one channel for each channel.
        grids: The grids of the dimensions of the examples.
        splits: The examples.

    Attributes:
        name: Name of the method: of the activation function and, for several channels, of the form if it is not full.
        banks: The configurations of the banks, one per number of kernels.

    Raises:
        ValueError: If a number of kernels or a kernel size is invalid.
    """

    def __init__(self, config: DictConfig, name: str, form: str, grids: DictConfig, splits: Splits) -> None:
        own_name = splits.n_channels > 1 and form != "full"
        self.name = f"{name}_{form}" if own_name else name
        self.alone = form == ALONE
        self.selected_by = config.protocol.selected_by
        grid = grids.get(name, grids.activations)
        numbers = parse_numbers("n_kernels", grid.n_kernels if config.n_kernels is None else config.n_kernels)
        sizes = parse_numbers("kernel_sizes", grid.kernel_sizes if config.kernel_sizes is None else config.kernel_sizes)
        if config.kernel_sizes is None:
            sizes = [size for size in sizes if size <= min(splits.shape[1:])]
        folder = Path(config.paths.output_dir, "trainings", form if own_name else "")
        self.banks = []
        for number in numbers:
            bank = with_activation(config, name)
            bank.n_kernels, bank.kernel_sizes, bank.checkpoint = number, sizes, None
            bank.kernel = "full" if self.alone else form
            bank.paths.output_dir = str(folder / f"{number}")
            check_counts(bank)
            check_densities(bank, number, splits.shape[1:])
            self.banks.append(bank)

    def parts(self, splits: Splits) -> list[Splits]:
        """Return the examples that each network sees: of all channels, or of each channel alone.

        Raises:
            ValueError: If a channel of an example is zero everywhere and is to be described alone.
        """
        if not self.alone:
            return [splits]
        return [
            Splits(
                channel_place(splits.name, channel, splits.channels),
                splits.train[:, [channel]],
                splits.validation[:, [channel]],
                splits.test[:, [channel]],
                sampling_frequency=splits.sampling_frequency,
                units=splits.units,
                channels=splits.channels[channel : channel + 1],
                channel_units=splits.channel_units[channel : channel + 1],
            )
            for channel in range(splits.n_channels)
        ]

    def tune(self, parts: Sequence[Splits], jobs: int, advance: Advance) -> Results:
        """Train the models, and the selected model once more alone, to measure its time.

        Args:
            parts: The examples that each network sees; see :meth:`parts`.
            jobs: Number of processes that train.
            advance: Reports the number of further trained models.
        """
        start = time.perf_counter()
        folders = [f"channel_{channel}" for channel in range(len(parts))] if self.alone else [""]
        trained = self._train(parts, folders, jobs, advance)
        of_parts = [[setting for share in of_part for setting in share.settings] for of_part in trained]
        selected = [lowest(self.name, settings, self.selected_by) for settings in of_parts]
        settings, chosen = of_parts[0], selected[0]
        if self.alone:
            settings = self._together(of_parts, trained, parts)
            networks = [_model(of_part, setting) for of_part, setting in zip(trained, selected, strict=True)]
            of_channels = {key: [setting["setting"][key] for setting in selected] for key in chosen["setting"]}
            chosen = {**self._joint(of_channels, networks, parts), "channels": selected}
            settings.append(chosen)
        seconds = time.perf_counter() - start
        start = time.perf_counter()
        for setting, part, folder in zip(selected, parts, folders, strict=True):
            n_kernels, size = setting["setting"]["n_kernels"], setting["setting"]["kernel_size"]
            (bank,) = (bank for bank in self._banks_in(folder) if bank.n_kernels == n_kernels)
            _train_bank(bank, [size], part)
        return tuned(self.name, settings, chosen, grid=seconds, selected_alone=time.perf_counter() - start)

    def _train(
        self, parts: Sequence[Splits], folders: Sequence[str], jobs: int, advance: Advance
    ) -> list[list["_TrainedShare"]]:
        """Train a model for each setting of the grid.

        Returns:
            The shares of each part, in the order of the grid.
        """
        due = []
        for part, folder in enumerate(folders):
            batch = parts[part].train[: self.banks[0].batch_size]
            for config in self._banks_in(folder):
                n_kernels = config.n_kernels * config.n_starts
                of_bank = shares(list(config.kernel_sizes), n_kernels, batch, config.max_memory)
                due += [_Share(part, config, sizes, parts[part]) for sizes in of_bank]
        due.reverse()  # the last bank of a grid has most kernels, so the longest training starts first
        trained: list[list[_TrainedShare]] = [[] for _ in parts]
        for share, of_share in zip(due, computed(_train_share, due, jobs), strict=True):
            trained[share.part].insert(0, of_share)
            advance(len(share.sizes))
        return trained

    def _banks_in(self, folder: str) -> list[DictConfig]:
        """Return the configurations of the banks, each with a separate folder for its files."""
        banks = deepcopy(self.banks)
        for bank in banks:
            own = Path(bank.paths.output_dir)
            bank.paths.output_dir = str(own.parent / folder / own.name)
        return banks

    def _together(
        self,
        of_parts: Sequence[Sequence[Results]],
        trained: Sequence[Sequence["_TrainedShare"]],
        parts: Sequence[Splits],
    ) -> list[Results]:
        """Return the metrics of each setting, the same for all channels, that did not fail for any channel."""
        first, *others = ([setting["setting"] for setting in settings] for settings in of_parts)
        common = [setting for setting in first if all(setting in other for other in others)]
        return [
            self._joint(setting, [_model(of_part, {"setting": setting}) for of_part in trained], parts)
            for setting in common
        ]

    def _joint(
        self, setting: Results, networks: Sequence[SparselyActivatedNetwork], parts: Sequence[Splits]
    ) -> Results:
        """Return the metrics of the examples over all channels, if a separate network describes each channel."""
        config, alone = self.banks[0], ChannelsAlone(networks)
        options: Any = {"loss": instantiate(config, "loss"), "count_weights": config.metric.count_weights}
        examples = {split: torch.cat([part.examples[split] for part in parts], dim=1) for split in SPLITS}
        metrics = {split: mean_metrics(alone, examples[split], [{}], **options)[0] for split in SPLITS}
        return {"setting": setting, "n_weights": alone.n_weights(config.metric.count_weights), **metrics}


@dataclass(frozen=True)
class _Share:
    """Models to train as one bank: the part of the examples, the configuration of the bank and the kernel sizes."""

    part: int
    config: DictConfig
    sizes: list[int]
    splits: Splits


@dataclass(frozen=True)
class _TrainedShare:
    """The settings of trained models with their metrics, and the network of all models, on the CPU."""

    settings: list[Results]
    network: SparselyActivatedNetwork


def _train_share(share: _Share) -> _TrainedShare:
    bank = _train_bank(share.config, share.sizes, share.splits)
    models, failures, _ = evaluate_bank(bank)
    for failed, reason in failures.items():
        log.warning("%s, %d kernels: %s", failed, share.config.n_kernels, reason)
    return _TrainedShare([_setting_of(model) for model in models], bank.module.network.cpu())


def _train_bank(config: DictConfig, sizes: list[int], splits: Splits) -> TrainedBank:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Experiment logs directory")  # of an interrupted comparison
        return train_bank(config, sizes, splits)


def lowest(name: str, settings: Sequence[Results], split: Any) -> Results:
    """Return the setting of the lowest φ on a split.

    Raises:
        FloatingPointError: If φ is finite with no setting.
    """
    found = lowest_phi([setting for setting in settings if isfinite(setting[split]["phi"])], split)
    if found is None:
        raise FloatingPointError(f"{name}: φ is not finite with any setting: lower optimizer.lr")
    return found


def tuned(name: str, settings: list[Results], selected: Results, *, grid: float, selected_alone: float) -> Results:
    """Return the results of a method, and log its time.

    Args:
        name: Name of the method.
        settings: All settings with their metrics.
        selected: The selected setting.
        grid: Seconds of all settings.
        selected_alone: Seconds of the learning of the selected setting.
    """
    log.info("%s: %d settings in %.0f s", name, len(settings), grid)
    seconds = {"grid": grid, "chosen": selected_alone}
    return {"method": name, "chosen": selected, "seconds": seconds, "settings": settings}


def _setting_of(model: Results) -> Results:
    sizes = model["kernel_sizes"]
    return {
        "setting": {"kernel_size": sizes[0], "n_kernels": len(sizes)},
        "n_weights": model["n_weights"],
        **{split: {name: model[split][name] for name in METRICS} for split in SPLITS},
    }


def _model(trained: Sequence[_TrainedShare], wanted: Results) -> SparselyActivatedNetwork:
    """Return the model of a setting."""
    sizes = [wanted["setting"]["kernel_size"]] * wanted["setting"]["n_kernels"]
    (network,) = (share.network for share in trained if sizes in share.network.sizes_of_models)
    return network.model(network.sizes_of_models.index(sizes))

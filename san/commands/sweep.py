"""The command ``san.sweep``."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf

from san.cli.bank import TrainedBank, bank_name, evaluate_bank, refuse_other_banks, shares, train_bank
from san.cli.build import check_counts, check_densities, load_dataset, wants_page
from san.cli.calls import callable_from_python
from san.cli.config import parse_numbers, stored_configuration, with_activation
from san.cli.model_results import Results
from san.cli.parts import instantiate
from san.cli.recommendation import recommendation
from san.cli.run_figures import Figures, write_figures
from san.extensions.fitting import CANDIDATES, fitting_sizes
from san.figures.sweep import draw_sweep
from san.reporting.console import console
from san.reporting.results import lowest_phi, summarize_models, sweep_row
from san.storage.checkpoints import save
from san.storage.files import write_json
from san.training.tensorboard import TensorBoard
from san.use.kernel_page import write_test_page
from san.use.loading import load

__all__ = ["sweep"]

EVERY_SIZE = "1..250"


@callable_from_python
def sweep(config: DictConfig) -> float:
    """Train a bank of models for each activation, and write the files of a multirun.

    Returns:
        The φ of the best model, on the split that the protocol selects by.
    """
    is_automatic = config.activations == "auto"
    if not (is_automatic or config.activations is None or OmegaConf.is_list(config.activations)):
        raise ValueError(f"activations={config.activations} must be a list such as [extrema,relu], or auto")
    names = CANDIDATES if is_automatic else config.activations or [None]
    figures: Figures = instantiate(config, "figure")
    has_page = wants_page(config.report, is_automatic)
    sizes = [] if config.kernel_sizes is None else parse_numbers("kernel_sizes", config.kernel_sizes)
    choices = [
        _with_n_kernels(choice, n_kernels)
        for choice in (with_activation(config, name) for name in names)
        for n_kernels in parse_numbers("n_kernels", config.n_kernels)
    ]
    for choice in choices:
        check_counts(choice, ["n_starts"])
    start = time.perf_counter()
    pl.seed_everything(config.seed, workers=True, verbose=False)
    splits = load_dataset(config)
    if not sizes:
        sizes = fitting_sizes(splits.train) if is_automatic else parse_numbers("kernel_sizes", EVERY_SIZE)
    for choice in choices:
        check_densities(choice, choice.n_kernels, splits.shape[1:])
    batch = splits.train[: config.batch_size]
    split = config.protocol.selected_by
    results: list[Results] = []
    best: Results | None = None
    failures: dict[str, str] = {}
    checkpoints: list[dict[str, Any]] = []
    banks = [
        (choice, share)
        for choice in choices
        for share in shares(sizes, choice.n_kernels * choice.n_starts, batch, config.max_memory)
    ]
    refuse_other_banks(config, [bank_name(choice, share) for choice, share in banks])
    seconds = dict.fromkeys((choice.activation_name for choice, _ in banks), 0.0)
    for choice, share in banks:
        before = time.perf_counter()
        bank = train_bank(choice, share, splits)
        seconds[choice.activation_name] += time.perf_counter() - before
        tested, failed, kept = evaluate_bank(bank)
        _log_figure(bank, tested)
        results += tested
        best = lowest_phi(results, split)
        if best is not None and any(best is one for one in tested):
            network = bank.module.network
            best_network = network.model(network.sizes_of_models.index(best["kernel_sizes"]))
        failures |= failed
        checkpoints += kept
    folder = Path(config.paths.output_dir)
    if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
        if best is not None:
            save(checkpoints[results.index(best)], folder / "checkpoints" / "best.ckpt")
        wall_seconds = time.perf_counter() - start
        stored = stored_configuration(config)
        write_json(folder / "results.json", {"models": results, "wall_seconds": wall_seconds, "config": stored})
        summarize_models(results, split, failures, folder)
        if best is not None:
            write_figures(figures, best, best_network, splits, folder)
        if best is not None and has_page:
            write_test_page(load(folder), splits, folder / "report.html")
        if is_automatic:
            for line in recommendation(results, seconds, split):
                console().print(line, soft_wrap=True, highlight=False)
    if best is None or failures:
        n_models = len(failures) + len(results)
        raise FloatingPointError(f"{len(failures)} of {n_models} models failed; the table lists the reasons")
    return float(best[split]["phi"])


def _with_n_kernels(config: DictConfig, n_kernels: int) -> DictConfig:
    choice = config.copy()
    choice.n_kernels = n_kernels
    return choice


def _log_figure(bank: TrainedBank, results: Sequence[Results]) -> None:
    """Add φ over the kernel size to TensorBoard."""
    for logger in bank.trainer.loggers:
        if isinstance(logger, TensorBoard) and results:
            drawn = draw_sweep([sweep_row(model) for model in results], bank.config.protocol.selected_by)
            logger.experiment.add_figure("phi over kernel size", drawn, bank.trainer.current_epoch)
            logger.save()

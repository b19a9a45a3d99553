"""``python -m san.compare``: every activation function and the peers on the same split, counted by the same phi."""

import logging
import time
from collections.abc import Mapping, Sequence
from itertools import product
from math import isfinite, prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from san import processes
from san.assembly import check, check_numbers, load, plain
from san.command import command, instantiate
from san.sweep import evaluate_bank, parse_numbers, train_bank, with_activation

if TYPE_CHECKING:
    from torch import Tensor

    from san.data.splits import Splits

__all__ = ["compare", "main"]

Results = dict[str, Any]
COUNTS = ("kernel_size", "n_kernels", "n_nonzero")

log = logging.getLogger(__name__)


def compare(config: DictConfig) -> float:
    """Tune each method over its grid, test it, and write the table and the figure of all.

    Returns:
        The phi of the best method, on the split that the protocol selects by.
    """
    _check(config)

    import pytorch_lightning as pl

    from san.comparison import summarise
    from san.peers import require
    from san.results import lowest_phi, versions, write_json

    require(config.peers)
    start = time.perf_counter()
    pl.seed_everything(config.seed, workers=True, verbose=False)
    splits = load(config)
    grids = config.grids.signals if splits.n_dims == 1 else config.grids.images
    banks = [_banks(config, name, grids, splits) for name in config.activations]
    for name in config.peers:
        _check_grid(name, grids[name])
    methods = [_tune_activation(of_one, splits) for of_one in banks]
    methods += [_tune_peer(config, name, grids[name], splits) for name in config.peers]
    results = {
        "dataset": splits.name,
        "space": list(splits.shape[1:]),
        "selected_by": config.protocol.selected_by,
        "seed": config.seed,
        "methods": methods,
        "wall_seconds": time.perf_counter() - start,
        "versions": versions(),
        "config": plain(config),
    }
    folder = Path(config.paths.output_dir)
    write_json(folder / "results.json", results)
    summarise(results, folder)
    best: Any = lowest_phi([method["chosen"] for method in methods], config.protocol.selected_by)
    return float(best[config.protocol.selected_by]["phi"])


def _check(config: DictConfig) -> None:
    """Refuse what can be refused before any data is read.

    Raises:
        ValueError: If nothing is compared, or something that is not.
    """
    if not (config.activations or config.peers):
        raise ValueError("activations=[] and peers=[] leave nothing to compare: name some of them")
    if config.classifier:
        raise ValueError("classifier: methods are compared by phi alone, so it must be none")
    if processes.count(config) != 1:
        raise ValueError(f"trainer.devices={config.trainer.devices}: times are compared in one process: make it 1")
    check_numbers(config, ["seed", "peer_examples", "batch_size", "num_workers"])
    for name in config.activations:
        with_activation(config, name)


def _check_grid(name: str, grid: DictConfig) -> None:
    """Refuse the grid of a peer where a value is not a number above zero, or one that counts is not an integer."""
    for key, values in _lists(grid).items():
        for value in values:
            kinds = (int,) if key in COUNTS else (int, float)
            if type(value) not in kinds or not 0 < value < float("inf"):
                kind = "an integer, 1 or more" if key in COUNTS else "a number above 0"
                raise ValueError(f"grids: {key}={value} of {name} must be {kind}")


def _lists(grid: DictConfig) -> dict[str, list[Any]]:
    return {str(key): list(values) if OmegaConf.is_list(values) else [values] for key, values in grid.items()}


def _banks(config: DictConfig, name: str, grids: DictConfig, splits: "Splits") -> list[DictConfig]:
    """Return the configurations of the banks of an activation function, one for each number of kernels.

    Raises:
        ValueError: If a number of kernels or a kernel size is not one.
    """
    grid = grids.get(name, grids.activations)
    numbers = grid.n_kernels if config.n_kernels is None else config.n_kernels
    sizes = parse_numbers("kernel_sizes", grid.kernel_sizes if config.kernel_sizes is None else config.kernel_sizes)
    if config.kernel_sizes is None:
        sizes = [size for size in sizes if size <= min(splits.shape[1:])]
    banks = []
    for number in numbers if OmegaConf.is_list(numbers) else [numbers]:
        bank = with_activation(config, name)
        bank.n_kernels, bank.kernel_sizes, bank.checkpoint = number, sizes, None
        bank.paths.output_dir = str(Path(config.paths.output_dir, "trainings", f"{number}"))
        check(bank)
        banks.append(bank)
    if not banks:
        raise ValueError("n_kernels=[] is empty: give a number of kernels, or a list of them")
    return banks


def _tune_activation(banks: Sequence[DictConfig], splits: "Splits") -> Results:
    """Train the models of an activation function, and the chosen one once more alone, to know its time."""
    from san.bank import shares

    start = time.perf_counter()
    settings: list[Results] = []
    for config in banks:
        sizes, batch = list(config.kernel_sizes), splits.train[: config.batch_size]
        for share in shares(sizes, config.n_kernels, batch, config.max_memory):
            models, failures, _ = evaluate_bank(train_bank(config, share, splits))
            for failed, reason in failures.items():
                log.warning("%s, %d kernels: %s", failed, config.n_kernels, reason)
            settings += [_setting_of(model) for model in models]
    seconds = time.perf_counter() - start
    name, selected_by = banks[0].activation_name, banks[0].protocol.selected_by
    chosen = _lowest(name, settings, selected_by)
    start = time.perf_counter()
    (alone,) = (bank for bank in banks if bank.n_kernels == chosen["setting"]["n_kernels"])
    train_bank(alone, [chosen["setting"]["kernel_size"]], splits)
    return _tuned(name, settings, chosen, grid=seconds, chosen_alone=time.perf_counter() - start)


def _setting_of(model: Results) -> Results:
    sizes = model["kernel_sizes"]
    return {
        "setting": {"kernel_size": sizes[0], "n_kernels": len(sizes)},
        "n_weights": model["n_weights"],
        **{split: _figures(model[split]) for split in ("validation", "test")},
    }


def _figures(of_split: Mapping[str, float]) -> dict[str, float]:
    from san.results import FIGURES

    return {name: of_split[name] for name in FIGURES}


def _tune_peer(config: DictConfig, name: str, grid: DictConfig, splits: "Splits") -> Results:
    """Try the settings of a peer that can be of use, and test the chosen one on all test examples."""
    from san.peers import PEERS, judge

    peer_class, lists = PEERS[name], _lists(grid)
    levels = [{key: value} for key in peer_class.levels for value in lists.pop(key)]
    examples = {split: _some(of_split, config.peer_examples) for split, of_split in splits.examples.items()}
    how: Any = {"loss": instantiate(config.loss), "count_weights": config.metric.count_weights}
    selected_by = config.protocol.selected_by
    start = time.perf_counter()
    settings: list[Results] = []
    best: Any = None
    for values in product(*lists.values()) if levels else ():
        learned = dict(zip(lists, values, strict=True))
        if not _is_of_use(learned, splits.shape[1:]):
            continue
        begun = time.perf_counter()
        peer = peer_class(examples["train"], **learned, seed=config.seed)
        learning = time.perf_counter() - begun
        judged = {split: judge(peer, examples[split], levels, **how) for split in ("validation", "test")}
        of_peer: list[Results] = [
            {
                "setting": {**learned, **level},
                "n_weights": peer.n_weights(config.metric.count_weights),
                **{split: judged[split][index] for split in judged},
            }
            for index, level in enumerate(levels)
        ]
        settings += of_peer
        lowest = _lowest(name, of_peer, selected_by)
        if best is None or lowest[selected_by]["phi"] < best[0][selected_by]["phi"]:
            best = lowest, peer, learning
    if best is None:
        raise ValueError(f"grids: {name} is left no setting of fewer weights than the samples of an example")
    seconds = time.perf_counter() - start
    chosen, peer, learning = best
    if len(examples["test"]) < len(splits.test):
        level = {key: value for key, value in chosen["setting"].items() if key in peer_class.levels}
        chosen = {**chosen, "test": judge(peer, splits.test, [level], **how)[0]}
    return _tuned(name, settings, chosen, grid=seconds, chosen_alone=learning)


def _some(examples: "Tensor", most: int) -> "Tensor":
    """Return that many examples at most, evenly apart."""
    return examples if len(examples) <= most else examples[[at * len(examples) // most for at in range(most)]]


def _is_of_use(setting: Mapping[str, Any], space: Sequence[int]) -> bool:
    """Tell whether a pattern fits, and fewer weights are stored than an example has samples."""
    size = setting["kernel_size"]
    return bool(size <= min(space) and setting["n_kernels"] * size ** len(space) < prod(space))


def _lowest(name: str, settings: Sequence[Results], split: str) -> Results:
    """Return the setting of the lowest phi of a split.

    Raises:
        FloatingPointError: If there is none.
    """
    from san.results import lowest_phi

    lowest = lowest_phi([setting for setting in settings if isfinite(setting[split]["phi"])], split)
    if lowest is None:
        raise FloatingPointError(f"{name}: phi is not finite with any setting: lower optimizer.lr")
    return lowest


def _tuned(name: str, settings: list[Results], chosen: Results, *, grid: float, chosen_alone: float) -> Results:
    log.info("%s: %d settings in %.0f s", name, len(settings), grid)
    seconds = {"grid": grid, "chosen": chosen_alone}
    return {"method": name, "chosen": chosen, "seconds": seconds, "settings": settings}


main = command("compare", compare)

if __name__ == "__main__":
    main()

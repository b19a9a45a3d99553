"""From a configuration to its parts, for every command that trains or tests."""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from omegaconf import DictConfig, OmegaConf

from san.command import instantiate

if TYPE_CHECKING:
    from pytorch_lightning.strategies import Strategy
    from torch import nn

    from san.data.recording import Recording
    from san.data.splits import Splits
    from san.metrics import Loss
    from san.networks import SparselyActivatedNetwork
    from san.restarts import KernelRestarts
    from san.training import SANModule

__all__ = [
    "build",
    "check",
    "check_numbers",
    "classify",
    "describe",
    "load",
    "plain",
    "restarts",
    "warn_of_dead_kernels",
]

log = logging.getLogger(__name__)

Outcome = dict[str, Any]


def plain(config: DictConfig) -> dict[str, Any]:
    """Return the configuration in plain containers, as results and checkpoints store it."""
    return {**cast("dict[str, Any]", OmegaConf.to_container(config)), "activation_name": config.activation_name}


def check(config: DictConfig, keys: Sequence[str] = ()) -> None:
    """Refuse what no other part of the program could tell so clearly.

    Raises:
        ValueError: If a number that counts something, under the usual keys or those given, is not a positive integer.
    """
    check_numbers(config, ("seed", "n_kernels", "batch_size", "num_workers", "kernel_figure_every", *keys))


def check_numbers(config: DictConfig, keys: Sequence[str]) -> None:
    """Refuse what is not a number that counts something, or a list of such numbers.

    Raises:
        ValueError: If a value is not an integer, one or more, or zero or more for the seed and the workers.
    """
    for key in keys:
        if key == "kernel_sizes" and not (OmegaConf.is_list(config[key]) and config[key]):
            raise ValueError(f"kernel_sizes={config[key]} must be a list of integers, such as [10,20]")
        values = config[key] if key == "kernel_sizes" else [config[key]]
        least, most = (0, 2**32 - 1) if key in ("seed", "num_workers") else (1, 2**63 - 1)
        for value in values:
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
                raise ValueError(f"{key}={value} must be an integer, {least} or more, {most} or less")


def load(config: DictConfig) -> "Splits":
    """Load the dataset, and refuse what cannot be trained on it before anything is.

    Raises:
        ValueError: If a batch is larger than the data, or the classifier does not fit it.
    """
    splits: Splits = instantiate(config.dataset)
    sizes = {"batch_size": config.batch_size}
    if config.classifier:
        instantiate(config.classifier).new_classifier(splits, config.seed)
        sizes["classifier.batch_size"] = config.classifier.batch_size
    for key, size in sizes.items():
        if size > len(splits.train):
            raise ValueError(f"{key}={size} is larger than the {len(splits.train)} training examples: lower it")
    return splits


def build(
    config: DictConfig,
    splits: "Splits | Recording",
    models: Sequence[Sequence[int]],
    starts: Sequence[int] | None = None,
) -> "SANModule":
    """Make the module that a configuration describes, for the examples at hand.

    Args:
        config: The configuration.
        splits: The examples.
        models: The kernel sizes of each model.
        starts: Numbers that tell models of equal sizes apart.

    Raises:
        ValueError: If something cannot be made as it is described.
    """
    from san.training import SANModule

    network: SparselyActivatedNetwork = instantiate(config.network)(
        [size for sizes in models for size in sizes],
        instantiate(config.activation),
        splits.n_dims,
        decoder=config.decoder,
        n_models=len(models),
        seed=config.seed,
        starts=starts,
        draw=_draw(config, splits),
    )
    network.check(splits.shape[1:])
    _refuse_what_does_not_go_together(config, network)
    return SANModule(
        network,
        loss=_checked(instantiate(config.loss), config.loss),
        optimizer=instantiate(config.optimizer),
        count_weights=config.metric.count_weights,
    )


def _refuse_what_does_not_go_together(config: DictConfig, network: "SparselyActivatedNetwork") -> None:
    from san.networks import SparselyActivatedNetwork

    changes_kernels = {
        f"activation={config.activation_name}": network.activation.unit_norm,
        f"restart_every={config.restart_every}": config.restart_every is not None,
    }
    for choice, changes in changes_kernels.items():
        if changes and type(network) is not SparselyActivatedNetwork:
            raise ValueError(f"{choice} changes kernels, which network._target_={config.network._target_} keeps in a "
                             "form of its own: use network=plain")  # fmt: skip
    side = min(network.kernel_sizes)
    if network.activation.unit_norm and side == 1 and max(map(len, network.sizes_of_models)) > 1:
        raise ValueError(f"kernel_size=1: {config.n_kernels} kernels of one sample and of the norm 1 cannot be told "
                         "apart, use n_kernels=1 or a larger kernel_size")  # fmt: skip


def restarts(config: DictConfig, splits: "Splits") -> "list[KernelRestarts]":
    """Return the callback that lets dead kernels begin again, if that is asked for.

    Raises:
        ValueError: If the number of epochs is not a positive integer.
    """
    from san.restarts import KernelRestarts

    if config.restart_every is None:
        return []
    check_numbers(config, ["restart_every"])
    return [KernelRestarts(splits.train, config.restart_every)]


def _draw(config: DictConfig, splits: Any) -> Any:
    """Return what draws the initial kernels, None for the network's own distribution."""
    from san.initialization import windows

    if config.initialization not in ("normal", "data"):
        raise ValueError(f"initialization={config.initialization} must be normal or data")
    return windows(splits.train, config.decoder == "paper") if config.initialization == "data" else None


def _checked(loss: "Loss", config: DictConfig) -> "Loss":
    """Return a loss, if it is one: of each sample, called as those of torch.nn.functional."""
    import torch

    sample = torch.ones(1, 1, 2)
    try:
        found = loss(sample, sample, reduction="none")
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"loss={config} cannot be computed of a reconstruction and its example: {error}") from error
    if found.shape != sample.shape:
        raise ValueError(f"loss={config} is not one of each sample of an example")
    return loss


def classify(
    config: DictConfig,
    name: str,
    splits: "Splits",
    network: "SparselyActivatedNetwork",
    strategy: "Strategy",
    seeds: Sequence[int],
) -> "list[list[tuple[Outcome, nn.Module]]]":
    """Train and test classifiers on the reconstructions of a network, one for each seed and model.

    Args:
        config: The configuration.
        name: Of the loggers.
        splits: The examples.
        network: The selected network, or a bank of them.
        strategy: Of the trainer that trained it.
        seeds: Of the classifiers.
    """
    chosen = OmegaConf.masked_copy(config, ["classifier", "trainer", "shuffle"])
    settings = cast("dict[str, Any]", OmegaConf.to_container(chosen, resolve=True))
    del settings["trainer"]["max_epochs"], settings["classifier"]["max_memory"]
    compared: list[list[tuple[Outcome, nn.Module]]] = instantiate(config.classifier).compare(
        network.to(strategy.root_device),
        splits,
        seeds=seeds,
        epoch=config.protocol.tested_epoch,
        cache=Path(config.paths.cache_dir),
        settings=settings,
        new_trainer=partial(_classifier_trainer, config, name),
        num_workers=config.num_workers,
    )
    return compared


def describe(
    config: DictConfig, splits: "Splits | Recording", module: "SANModule", model: int, classification: Outcome | None
) -> dict[str, Any]:
    """Return the part of the results of a model that all commands share, after its test."""
    from san.results import versions

    figures = {name: values[model] for name, values in module.figures["test"].items()}
    own = len(module.network.kernel_sizes) // module.network.n_models
    return {
        "dataset": splits.name,
        "activation": config.activation_name,
        "kernel_sizes": module.network.sizes_of_models[model],
        "seed": config.seed,
        "n_weights": module.n_weights[model],
        "dead_kernels": [kernel - model * own for kernel in module.dead_kernels if kernel // own == model],
        "test": {**figures, "accuracy": classification["test"]["accuracy"] if classification else None},
        **({"classifier": classification} if classification else {}),
        "versions": versions(),
    }


def warn_of_dead_kernels(results: dict[str, Any]) -> None:
    """Tell which kernels no test example needed, so that a collapse is not taken for a result."""
    dead, sizes = results["dead_kernels"], results["kernel_sizes"]
    if dead:
        log.warning(
            "%s, kernel size %s: %d of %d kernels are dead (%s), their activation maps zero in every test example%s",
            results["activation"], "+".join(map(str, sizes)), len(dead), len(sizes),
            ", ".join(str(kernel + 1) for kernel in dead),
            ", so the model says nothing and φ̄ is that of its weights alone" if len(dead) == len(sizes) else "",
        )  # fmt: skip


def _classifier_trainer(config: DictConfig, prefix: str, name: str, max_epochs: int, callbacks: list[Any]) -> Any:
    from san.callbacks import progress

    return instantiate(
        config.trainer, max_epochs=max_epochs, enable_checkpointing=False, default_root_dir=config.paths.output_dir,
        logger=instantiate(config.logger, version=f"{prefix}{name}"),
        callbacks=[*progress(config.trainer.enable_progress_bar, "validation/accuracy"), *callbacks],
    )  # fmt: skip

"""The results of one model, shared by all commands."""

import logging
from typing import Any

from omegaconf import DictConfig

from san.data.recording import Recording
from san.data.splits import Splits
from san.extensions.recovery import recoveries
from san.ops.kernels import sizes_text
from san.reporting.provenance import versions
from san.training.san_module import SANModule

__all__ = ["Results", "model_results", "warn_of_dead_kernels"]

Results = dict[str, Any]

log = logging.getLogger(__name__)


def model_results(
    config: DictConfig,
    splits: Splits | Recording,
    module: SANModule,
    model: int,
    classification: dict[str, Any] | None,
) -> Results:
    """Return the results of a model after its test.

    Args:
        config: The configuration.
        splits: The examples.
        module: The tested module.
        model: Index of the model in the bank.
        classification: Outcome of its classifier, if it has one.
    """
    metrics = {name: values[model] for name, values in module.metrics["test"].items()}
    per_model = len(module.network.kernel_sizes) // module.network.n_models
    planted = splits.planted if isinstance(splits, Splits) else []
    found = recoveries(planted, module.network.atoms[model * per_model : (model + 1) * per_model]) if planted else []
    return {
        "dataset": splits.name,
        "activation": config.activation_name,
        "kernel_sizes": module.network.sizes_of_models[model],
        "seed": config.seed,
        "n_weights": module.network.n_weights(module.count_weights, model),
        "dead_kernels": [kernel % per_model for kernel in module.dead_kernels if kernel // per_model == model],
        **({"planted": [one._asdict() for one in found]} if found else {}),
        "test": {**metrics, "accuracy": classification["test"]["accuracy"] if classification else None},
        **({"classifier": classification} if classification else {}),
        "versions": versions(),
    }


def warn_of_dead_kernels(results: Results) -> None:
    """Log which kernels have no activation in any test example, so that a collapse is not mistaken for a result."""
    dead, sizes = results["dead_kernels"], results["kernel_sizes"]
    if dead:
        log.warning(
            "%s, kernel size %s: %d of %d kernels are dead (%s), without an activation in any test example%s",
            results["activation"],
            sizes_text(sizes),
            len(dead),
            len(sizes),
            ", ".join(map(str, dead)),
            ", so the description is empty and φ̄ counts the weights alone" if len(dead) == len(sizes) else "",
        )

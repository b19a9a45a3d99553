"""What to use of the models that a sweep compared, why, and the command that trains it."""

import shlex
from collections.abc import Mapping, Sequence

from hydra.core.hydra_config import HydraConfig

from san.cli.model_results import Results
from san.reporting.results import SelectionSplit, lowest_phi

__all__ = ["recommendation"]

# Overrides of a sweep that the command of one model replaces or does not have.
OF_SWEEPS = ("activation", "activations", "checkpoint", "kernel_sizes", "max_memory", "n_kernels", "n_starts")


def recommendation(models: Sequence[Results], seconds: Mapping[str, float], split: SelectionSplit) -> list[str]:
    """Return lines that say which model to use, how the best of each other activation compares, and how to train it.

    Args:
        models: The results of all models.
        seconds: Time of the training of all models of an activation, by its name.
        split: The split whose φ̄ selects.
    """
    of_activations = [lowest_phi([model for model in models if model["activation"] == name], split) for name in seconds]
    best_first = sorted((best for best in of_activations if best is not None), key=lambda best: best[split]["phi"])
    if not best_first:
        return []
    best = best_first[0]
    others = [
        f"{other['activation']} {other[split]['phi']:.3f} at {other['kernel_sizes'][0]}" for other in best_first[1:]
    ]
    times = ", ".join(f"{name} {duration:.0f} s" for name, duration in seconds.items())
    size, n_kernels = best["kernel_sizes"][0], len(best["kernel_sizes"])
    chosen = [f"activation={best['activation']}", f"kernel_size={size}"]
    chosen += [f"n_kernels={n_kernels}"] if any(key.startswith("n_kernels=") for key in _given()) else []
    return [
        f"Use {best['activation']} with kernels of {size} samples: {split} φ̄ {best[split]['phi']:.3f}"
        + (f" ({', '.join(others)})" if others else ""),
        f"Seconds of training: {times}",
        f"To train it alone: {' '.join(['python -m san.train', *_overrides(), *chosen])}",
    ]


def _given() -> list[str]:
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def _overrides() -> list[str]:
    """Return the overrides of the running command that also apply to one model, quoted for a shell."""
    return [shlex.quote(override) for override in _given() if override.lstrip("+~").partition("=")[0] not in OF_SWEEPS]

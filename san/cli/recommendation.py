"""The model to use after a sweep, with the reason, and the command to run after a sweep or a training."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from san.cli.keys import is_referenced, key_of
from san.cli.model_results import Results
from san.reporting.results import SelectionSplit, lowest_phi, relative_to_here

__all__ = ["next_command", "recommendation"]

# Overrides of a sweep that the command of one model replaces or does not have.
OF_SWEEPS = ("activation", "activations", "checkpoint", "kernel_sizes", "max_memory", "n_kernels", "n_starts")
# Overrides of a training that choosing φ pursuit replaces.
OF_ACTIVATIONS = (
    "activation", "border_tolerance", "checkpoint", "debug", "decoder", "experiment", "initial_deviation",
    "initial_kernels", "initial_mean", "initialization", "network", "restart_every",
)  # fmt: skip
PURSUIT = "phi_pursuit"
SAYS_LITTLE = 0.95  # φ̄ from which a model describes hardly more than an empty description, which scores 1
OF_PACKAGE = ("hydra", "main", "schema")  # providers of configurations


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
    overrides = _overrides(lambda key: not _is_or_below(key, OF_SWEEPS))
    return [
        f"Use {best['activation']} with kernels of {size} samples: {split} φ̄ {best[split]['phi']:.3f}"
        + (f" ({', '.join(others)})" if others else ""),
        f"Seconds of training: {times}",
        f"To train it alone: {' '.join(['python -m san.train', *overrides, *chosen])}",
    ]


def next_command(config: DictConfig, validation_phi: float, folder: Path) -> str:
    """Return the command to run after a training, with its purpose.

    It is a sweep of the same data if φ̄ is near or above 1, the use of the model after φ pursuit, and else φ pursuit on
    the same data. A training with configuration files of the user is not repeated, because these may not suit another
    activation.

    Args:
        config: The configuration of the training.
        validation_phi: The validation φ̄ of the selected epoch.
        folder: The run folder.
    """
    is_own = not HydraConfig.initialized() or any(
        source.provider not in OF_PACKAGE for source in HydraConfig.get().runtime.config_sources
    )
    if not is_own and validation_phi >= SAYS_LITTLE:
        of_data = OmegaConf.to_container(config.dataset, resolve=False)
        overrides = _overrides(lambda key: _is_or_below(key, ("dataset",)) or is_referenced(of_data, key))
        command = " ".join(["python -m san.sweep", *overrides, "activations=auto"])
        return f"φ̄ is near or above 1. To find an activation and a kernel size for these data: {command}"
    if is_own or config.activation_name == PURSUIT:
        place = shlex.quote(relative_to_here(folder))
        return f"To describe a recording: python -m san.encode checkpoint={place} path=FILE"
    overrides = _overrides(lambda key: not _is_or_below(key, OF_ACTIVATIONS))
    return f"For a lower φ̄: {' '.join(['python -m san.train', *overrides, f'activation={PURSUIT}'])}"


def _given() -> list[str]:
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def _overrides(is_kept: Callable[[str], bool]) -> list[str]:
    """Return the overrides of the running command whose keys are kept, quoted for a shell."""
    return [shlex.quote(override) for override in _given() if is_kept(key_of(override))]


def _is_or_below(key: str, names: Sequence[str]) -> bool:
    return key in names or key.startswith(tuple(f"{name}." for name in names))

"""The initial kernels that a configuration asks for: drawn, or of a checkpoint or a file."""

import math
from functools import cache
from typing import Any, Literal

from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from san.cli.config import CONF
from san.cli.trained import trained_configuration
from san.data.kernel_files import read_kernels
from san.data.recording import Recording
from san.data.splits import Splits
from san.extensions.initialization import set_atoms, window_sampler
from san.networks import Decoder, SparselyActivatedNetwork
from san.ops.choices import check_choice, shown
from san.ops.kernels import KernelSampler, kernel_index, mirror, normal_sampler
from san.storage.checkpoints import find, read, refuse_other_sizes

__all__ = ["check_initialization", "initialize", "kernel_sampler"]

Initialization = Literal["normal", "data", "checkpoint", "file"]
OF_NORMAL = ("initial_mean", "initial_deviation")
GIVEN = ("checkpoint", "file")
WITH_OWN_WEIGHTS = ("san.networks.SparselyActivatedNetwork", "san.extensions.growing.GrowingNetwork")


def kernel_sampler(config: DictConfig, splits: Splits | Recording) -> KernelSampler:
    """Return the sampler of the initial kernels.

    Raises:
        ValueError: If the initialization is unknown, or a key of another initialization is given.
    """
    check_initialization(config)
    if config.initialization == "data" and isinstance(splits, Splits):
        return window_sampler(splits.train, config.decoder == "paper")
    return normal_sampler(config.initial_mean, config.initial_deviation)


def initialize(network: SparselyActivatedNetwork, config: DictConfig) -> None:
    """Set the kernels of each model of a network to those of a checkpoint or a file, if the configuration asks for it.

    Raises:
        FileNotFoundError: If there is no checkpoint or file.
        ValueError: If it cannot be read, has another number of kernels than a model, or the network derives its
            kernels from other weights.
    """
    if config.initialization not in GIVEN:
        return
    given = f"initial_kernels={config.initial_kernels}"
    if type(network) is not SparselyActivatedNetwork:
        raise ValueError(
            f"initialization={config.initialization} sets kernels, but network._target_={config.network._target_} "
            "derives them from other weights: use network=plain"
        )
    if config.get("n_starts", 1) != 1:
        raise ValueError(f"n_starts={config.n_starts}: all starts from {given} would be equal: make it 1")
    atoms = _atoms(config, network.n_dims, network.channels)
    if len(atoms) != (n_kernels := len(network.sizes_of_models[0])):
        raise ValueError(
            f"{given} has {len(atoms)} kernels, but the number of kernels of a model is {n_kernels}: set "
            f"n_kernels={len(atoms)}, or kernel_sizes of as many"
        )
    set_atoms(network, atoms)
    for size, kernel in zip(network.kernel_sizes, network.kernels, strict=True):
        if not kernel.any():
            raise ValueError(f"{given} has a kernel that is zero in its middle {size} samples: it would stay zero")


def check_initialization(config: DictConfig) -> None:
    """Refuse an unknown initialization, keys of another one, a given path without use, and invalid numbers.

    Raises:
        ValueError: If there is one.
    """
    check_choice("initialization", config.initialization, Initialization)
    chosen, path = f"initialization={config.initialization}", config.initial_kernels
    if config.initialization in GIVEN and path is None:
        what = "a checkpoint or a run folder" if config.initialization == "checkpoint" else "a .npy or .csv file"
        raise ValueError(f"{chosen} needs initial_kernels=PATH, {what}: add it to the command")
    if config.initialization not in GIVEN and path is not None:
        raise ValueError(f"initial_kernels={path} needs initialization=checkpoint or initialization=file, not {chosen}")
    defaults = _defaults()
    for key in OF_NORMAL:
        value = config[key]
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"{key}={shown(value)} must be a finite number")
        if config.initialization != "normal" and value != defaults[key]:
            raise ValueError(f"{key}={value} is of initialization=normal alone, not {chosen}: leave one of them out")
    if config.initial_deviation < 0 or (config.initial_deviation == 0 and config.initial_mean == 0):
        raise ValueError(
            f"initial_deviation={config.initial_deviation} must be above 0, or 0 with an initial_mean that is not 0"
        )


@cache
def _defaults() -> Any:
    return OmegaConf.load(CONF / "base.yaml")


def _atoms(config: DictConfig, n_dims: int, channels: int) -> list[Tensor]:
    """Return the given kernels as they reconstruct: [m], [m, m], of several channels [channels, m] or [channels, m, m].

    Raises:
        FileNotFoundError: If there is no checkpoint or file.
        ValueError: If it cannot be read, or a kernel is zero or not finite.
    """
    path = config.initial_kernels
    atoms = (read_kernels if config.initialization == "file" else _of_checkpoint)(path, n_dims, channels)
    for index, atom in enumerate(atoms):
        if not (atom.isfinite().all() and atom.any()):
            raise ValueError(f"initial_kernels={path}: kernel {index + 1} is zero or has numbers that are not finite")
    return atoms


def _of_checkpoint(path: str, n_dims: int, channels: int) -> list[Tensor]:
    """Return the kernels of a checkpoint that are in use."""
    try:
        file = find(path, "best")
    except FileNotFoundError as error:
        raise FileNotFoundError(f"initial_kernels={path} is neither a checkpoint nor a run folder with one") from error
    content = read(file)
    trained = trained_configuration(content["config"], file)
    check_choice(f"decoder in {file}", trained.decoder, Decoder)
    if (target := OmegaConf.select(trained, "network._target_")) not in WITH_OWN_WEIGHTS:
        raise ValueError(f"{file} has kernels of {target}, which derives them from other weights: give a plain network")
    weight = content["state_dict"]["network.weight"]
    if weight.dim() not in (n_dims + 1, n_dims + 2):
        raise ValueError(f"{file} has kernels of {weight.dim() - 1} axes, but the examples have {n_dims}")
    listed = trained.kernel_sizes
    n_kernels, longest = (trained.n_kernels, trained.kernel_size) if listed is None else (len(listed), max(listed))
    refuse_other_sizes(content, n_kernels, channels, [longest] * n_dims, file)
    kernels = [
        weight[kernel_index(kernel, size, longest, n_dims)].float()
        for kernel, size in enumerate([longest] * n_kernels if listed is None else listed)
    ]
    used = [kernel for kernel in kernels if kernel.any()]
    if not used:
        raise ValueError(f"{file} has no kernel that is not zero")
    return used if trained.decoder == "adjoint" else [mirror(kernel, n_dims) for kernel in used]

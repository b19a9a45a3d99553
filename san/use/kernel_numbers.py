"""The numbers of each kernel in a description: its events, intervals, amplitudes, share of the energy, φ̄ without it."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from san.extensions.warping import WarpedNetwork
from san.metrics import inverse_compression_ratio, normalized_reconstruction_loss, phi
from san.networks import SparselyActivatedNetwork, WeightCount
from san.use.description import Array, Description
from san.use.model import Model

__all__ = ["KernelNumbers", "energy_explained", "event_energies", "kernel_numbers", "own_reconstruction"]

BATCH_SAMPLES = 2**22  # samples of the activation maps that are decoded together


class KernelNumbers(NamedTuple):
    """The numbers of one kernel.

    Args:
        kernel: Index of the kernel, from 0.
        n_events: Events in all recordings.
        n_examples: Recordings with at least one event.
        rate: Events per second, or events per recording if the sampling frequency is unknown or not applicable.
        intervals: Time from each event to the next in the same recording, [intervals], in seconds or, without a
            sampling frequency, in samples; empty for images.
        amplitudes: Amplitude of each event as the events of the description have it, [events].
        energy_share: Increase of the squared error if the events of the kernel are removed, over the sum of the squared
            samples, both of scaled samples and summed over all windows.
        phi_without: φ̄ of the windows without the events and the weights of the kernel; all other events stay.
    """

    kernel: int
    n_events: int
    n_examples: int
    rate: float
    intervals: Array
    amplitudes: Array
    energy_share: float
    phi_without: float


def event_energies(description: Description) -> list[float]:
    """Return the sum of the squared amplitudes of each kernel's events times the energy of the kernel."""
    squares = np.zeros(len(description.network.kernel_sizes))
    for window in description.windows:
        np.add.at(squares, window.places[:, 0].numpy(), window.amplitudes.double().square().numpy())
    atoms = [float(atom.detach().double().square().sum()) for atom in description.network.atoms]
    return [float(square * atom) for square, atom in zip(squares, atoms, strict=True)]


def energy_explained(description: Description) -> float:
    """Return one minus the squared error over the sum of the squared samples, of scaled samples over all windows."""
    error = energy = 0.0
    for _, x, maps in _batches(description):
        error += _energy(x - _decode(description.network, maps))
        energy += _energy(x)
    return 1 - error / energy


def kernel_numbers(model: Model, description: Description, kernels: Sequence[int]) -> list[KernelNumbers]:
    """Return the numbers of some kernels.

    Args:
        model: The model.
        description: A description by the model.
        kernels: Indices of the kernels.
    """
    shares, phis = _without_each(model, description, kernels)
    events, fs = description.events, description.origin.sampling_frequency
    in_time = description.network.n_dims == 1
    n_examples, n_samples = description.shape[0], math.prod(description.shape[2:])
    extent = n_examples * n_samples / fs if in_time and fs is not None else n_examples
    numbers = []
    for kernel, share, without in zip(kernels, shares, phis, strict=True):
        own = events[events["kernel"] == kernel]
        intervals = own.groupby("example")["sample"].diff().dropna().to_numpy(np.float64) if in_time else np.empty(0)
        numbers.append(
            KernelNumbers(
                kernel=kernel,
                n_events=len(own),
                n_examples=own["example"].nunique(),
                rate=len(own) / extent,
                intervals=intervals / (fs or 1),
                amplitudes=own["amplitude"].to_numpy(np.float64),
                energy_share=share,
                phi_without=without,
            )
        )
    return numbers


def own_reconstruction(description: Description, window: int, kernel: int) -> Array:
    """Return the part of a window's reconstruction that a kernel adds, [channels, *space], in scaled samples."""
    place = description.windows[window].places
    is_own = place[:, 0] == kernel
    space = description.parts[window].shape[1:]
    maps = torch.zeros(1, len(description.network.kernel_sizes), *space)
    maps[0].index_put_(place[is_own].unbind(1), description.windows[window].amplitudes[is_own])
    part: Array = _decode(description.network, maps)[0].double().numpy()
    return part


def _without_each(model: Model, description: Description, kernels: Sequence[int]) -> tuple[list[float], list[float]]:
    """Return, for each kernel, its share of the energy and φ̄ without it."""
    network, count = model.network, model.count_weights
    n_weights = network.n_weights(count)
    energy = 0.0
    increases, phis = np.zeros(len(kernels)), np.zeros((len(kernels), len(description.windows)))
    for indices, x, maps in _batches(description):
        whole = _decode(network, maps)
        error = _energy(x - whole)
        energy += _energy(x)
        for row, kernel in enumerate(kernels):
            own = torch.zeros_like(maps)
            own[:, kernel] = maps[:, kernel]
            others = whole - _decode(network, own)
            increases[row] += _energy(x - others) - error
            weights = n_weights - _own_weights(network, kernel, count)
            ratios = inverse_compression_ratio(maps - own, weights, network.channels)
            phis[row, indices] = phi(ratios, normalized_reconstruction_loss(others, x, model.loss)).double().numpy()
    return (increases / energy).tolist(), phis.mean(1).tolist()


def _own_weights(network: SparselyActivatedNetwork, kernel: int, count: WeightCount) -> int:
    """Return by how many W is less without a kernel: its weights, or one number if it shares them with others."""
    if isinstance(network, WarpedNetwork) and network.n_scales > 1:
        return 1
    if not network.in_use(0)[kernel]:
        return 0
    size: int = network.kernel_sizes[kernel] ** (network.n_dims if count == "samples" else 1)
    return size + network.channels if network.kernel == "rank1" else size * network.channels


def _batches(description: Description) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """Yield windows of one shape at a time: indices, scaled samples [windows, channels, *space], and maps."""
    network, parts = description.network, description.parts
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for index, part in enumerate(parts):
        by_shape.setdefault(part.shape, []).append(index)
    for shape, found in by_shape.items():
        per_batch = max(1, BATCH_SAMPLES // (parts[found[0]][0].size * len(network.kernel_sizes)))
        for first in range(0, len(found), per_batch):
            indices = found[first : first + per_batch]
            maps = torch.zeros(len(indices), len(network.kernel_sizes), *shape[1:])
            scaled = []
            for row, index in enumerate(indices):
                window = description.windows[index]
                maps[row].index_put_(window.places.unbind(1), window.amplitudes)
                samples = torch.from_numpy(parts[index]).unsqueeze(0)
                scaled.append(description.scale.apply(samples, description.origin.name, window.statistics))
            yield indices, torch.cat(scaled).to(maps.dtype), maps


@torch.no_grad()
def _decode(network: SparselyActivatedNetwork, maps: Tensor) -> Tensor:
    return network.decode(maps)


def _energy(x: Tensor) -> float:
    return float(x.double().square().sum())

"""Learn kernels from a recording or examples, with the activation function and the kernel size of the lowest φ̄."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike

from san.data.axes import axes_of
from san.data.scale import Scaling
from san.data.signal import Signal, agreed_frequency
from san.extensions.fitting import CANDIDATES, fitting_sizes
from san.networks import Encoder, KernelForm
from san.use.model import Model
from san.use.recordings import Array, as_numbers
from san.use.training import selecting_splits, train_models

__all__ = ["fit"]

LONGEST_WINDOW = 1000  # samples
FEWEST_WINDOWS = 5
SHAPES = "[samples], [examples, samples] or [examples, channels, samples]"


def fit(
    x: ArrayLike | Signal,
    *,
    sampling_frequency: float | None = None,
    axes: Sequence[str] | None = None,
    activations: Sequence[str | Encoder] = CANDIDATES,
    kernel_sizes: Sequence[int] | None = None,
    n_kernels: int = 1,
    kernel: KernelForm = "full",
    window: int | None = None,
    scaling: Scaling = "example",
    validation_fraction: float = 0.3,
    max_epochs: int = 30,
    random_state: int = 0,
) -> Model:
    """Learn kernels from a recording.

    A model is trained for each activation function and kernel size, on the first part of the recording; the model and
    the epoch with the lowest φ̄ on the last part are kept.

    Args:
        x: The recording, [samples] or [1, channels, samples], or examples, [examples, samples] or [examples, channels,
            samples], in physical units; or a signal of :func:`san.read`, of one channel or several.
        sampling_frequency: In hertz; None if unknown.
        axes: Names of the axes of an array, such as ``["channels", "time"]``; None to take them by their number; see
            :func:`san.data.axes.axes_of`. Images need ``["examples", "rows", "columns"]``.
        activations: Choices of ``activation=``, or activation functions of your own, such as an instance of a subclass
            of :class:`san.activations.SparseActivation`, which has the name of its class.
        kernel_sizes: Kernel sizes in samples; None for sizes that fit the signal; see
            :func:`san.extensions.fitting.fitting_sizes`.
        n_kernels: Kernels of a model.
        kernel: Form of the kernels of several channels: ``full``, or ``rank1`` for one waveform times a weight of each
            channel.
        window: Samples of the windows that a recording is divided into; None for 1,000, or a fifth of a shorter one.
        scaling: Scaling of the windows; see :class:`san.data.scale.Scale`.
        validation_fraction: Share of the windows, the last ones, that select.
        max_epochs: Epochs of training.
        random_state: Seed of the initial kernels and of the order of the windows.

    Returns:
        The model. Its ``candidates`` are all models that were compared.

    Raises:
        ValueError: If the recording is too short or has invalid samples, or an option is invalid.

    Example:
        >>> signal = np.random.default_rng(0).standard_normal(1000).cumsum()
        >>> model = fit(signal, activations=["extrema"], kernel_sizes=[5, 10], max_epochs=2)
        >>> sorted(model.candidates["kernel_size"])
        [5, 10]
    """
    if isinstance(activations, str) or not activations:
        raise ValueError(f"activations={activations!r} must be a list of names, such as ['extrema', 'phi_pursuit']")
    if kernel_sizes is not None and not np.ndim(kernel_sizes):
        raise ValueError(f"kernel_sizes={kernel_sizes} must be a list of numbers, such as [20, 40]")
    name = "x"
    channels: tuple[str, ...] = ("",)
    units: tuple[str, ...] = ("",)
    if isinstance(x, Signal):
        name, channels, units = x.name, x.channels, x.channel_units
        if x.sampling_frequency is not None:
            sampling_frequency = agreed_frequency(sampling_frequency, x.sampling_frequency, x.name)
        if axes is not None:
            raise ValueError(f"axes={axes} does not apply to {x.name}, whose axes are known: leave it out")
        axes = ("time",) if x.n_channels == 1 else ("channels", "time")
        x = x.samples
    given = as_numbers(x, SHAPES)
    found = axes_of(given.shape, axes=axes, place="x", one_channel="x[0] for one channel")
    arranged = found.arranged(given)
    if found.has_examples and len(arranged) == 1:
        arranged = arranged[0]
    examples = torch.from_numpy(_windows(arranged, window))
    splits = selecting_splits(
        examples,
        validation_fraction,
        scaling=scaling,
        name=name,
        sampling_frequency=sampling_frequency,
        channels=channels,
        channel_units=units,
    )
    overrides: dict[str, Any] = {
        "n_kernels": n_kernels,
        "kernel": kernel,
        "batch_size": min(2, len(splits.train)),
        "seed": random_state,
        "trainer.max_epochs": max_epochs,
    }
    sizes = list(dict.fromkeys(fitting_sizes(splits.train) if kernel_sizes is None else kernel_sizes))
    rows: list[tuple[str, int, float, float]] = []
    models: list[Model] = []
    for activation in activations:
        for size, trained in zip(sizes, train_models(activation, sizes, overrides, splits), strict=True):
            rows.append((trained.model.activation, size, trained.phi, trained.seconds))
            models.append(trained.model)
    candidates = pd.DataFrame(rows, columns=["activation", "kernel_size", "validation_phi", "seconds"])
    best = models[int(candidates["validation_phi"].argmin())]
    best.candidates = candidates.sort_values("validation_phi", ignore_index=True, kind="stable")
    return best


def _windows(given: Array, window: int | None) -> Array:
    """Return the examples, [examples, channels, *space]: the given ones, or windows of one, [channels, samples].

    Raises:
        ValueError: If there are several examples and a window, or the recording is shorter than two windows.
    """
    if given.ndim > 2:
        if window is not None:
            raise ValueError(f"window={window} does not apply to {len(given)} examples: leave it out")
        return given
    n_channels, n_samples = given.shape
    length = min(LONGEST_WINDOW, n_samples // FEWEST_WINDOWS) if window is None else window
    if not isinstance(length, int | np.integer) or length < 2 or n_samples < 2 * length:
        raise ValueError(f"window={length} must be from 2 to half of the {n_samples} samples of the recording")
    whole = given[:, : n_samples // length * length]
    return whole.reshape(n_channels, -1, length).swapaxes(0, 1)

"""The common result of all datasets: training, validation and test examples, with labels and units."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

import torch
from torch import Tensor

from san.data.names import OfChannels, channel_place
from san.data.scale import Scale, Statistics

__all__ = ["Labels", "Splits", "check_sampling_frequency", "per_channel", "standardize"]

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Labels:
    """The class of each example, for a classifier.

    Args:
        classes: Names of the classes.
        train: Class index of each training example, [examples] in int64.
        validation: Class index of each validation example.
        test: Class index of each test example.
    """

    classes: Sequence[str]
    train: Tensor
    validation: Tensor
    test: Tensor

    @property
    def by_split(self) -> dict[str, Tensor]:
        """The labels by the name of their split: ``train``, ``validation`` and ``test``."""
        return {split: getattr(self, split) for split in SPLITS}

    def refuse_absent_classes(self, name: str) -> None:
        """Refuse splits in which a class has no example.

        Args:
            name: Name of the data in the error.

        Raises:
            ValueError: If a class has no example in a split; the error names both.
        """
        for split, labels in self.by_split.items():
            counts = labels.bincount(minlength=len(self.classes))
            absent = [label for label, count in zip(self.classes, counts, strict=True) if not count]
            if absent:
                raise ValueError(
                    f"{name}: no {split} example is of the class {', '.join(absent)}: change the sizes of the splits, "
                    "or train without a classifier"
                )


@dataclass(frozen=True)
class Splits(OfChannels):
    """Examples of one recording or collection, split for training, model selection and the final test.

    Args:
        name: Name of the data in results, such as ``physionet/mitdb/208``.
        train: Examples to train on, [examples, channels, *space].
        validation: Examples to select the epoch and the kernel size on.
        test: Examples for the final test only.
        sampling_frequency: Sampling frequency in hertz; None if unknown or not applicable.
        units: Label of the amplitude axis.
        planted: Kernels that generated synthetic data, each [m] or [m, m].
        labels: Classes of the examples; None without classes.
        scale: How the examples were scaled; None if unknown.
        channels: Name of each channel or column; empty if unknown.
        channel_units: Physical unit of each channel before it was scaled, such as ``mV``; empty if unknown.
        test_statistics: The numbers by which the test examples were scaled; None if unknown.

    Raises:
        ValueError: If a split is empty; if an example differs in shape, is not finite or is zero in all channels (phi
            is undefined there); if the sampling frequency is not positive; or if the numbers of labels and examples, or
            of names and channels differ.
    """

    name: str
    train: Tensor
    validation: Tensor
    test: Tensor
    sampling_frequency: float | None = None
    units: str = "amplitude (SD)"
    planted: list[Tensor] = field(default_factory=list)
    labels: Labels | None = None
    scale: Scale | None = None
    channels: tuple[str, ...] = ("",)
    channel_units: tuple[str, ...] = ("",)
    test_statistics: Statistics | None = None

    def __post_init__(self) -> None:
        """Check the sampling frequency, the examples and the labels."""
        check_sampling_frequency(self.sampling_frequency, self.name)
        for split, examples in (("training", self.train), ("validation", self.validation), ("test", self.test)):
            if len(examples) == 0:
                raise ValueError(f"{self.name}: there is no {split} example: give each split at least one")
            if examples.shape[1:] != self.train.shape[1:]:
                raise ValueError(f"{self.name}: {split} examples are {tuple(examples.shape[1:])}, not {self.shape}")
        for name in ("channels", "channel_units"):
            object.__setattr__(self, name, per_channel(getattr(self, name), self.n_channels, name, self.name))
        for split, examples in (("training", self.train), ("validation", self.validation), ("test", self.test)):
            infinite = ~examples.isfinite().flatten(2).all(2)
            if infinite.any():
                example, position = infinite.nonzero()[0].tolist()
                place = channel_place(f"{split} example {example}", position, self.channels)
                raise ValueError(f"{self.name}: {place} has samples that are not finite")
            zero = ~examples.flatten(1).any(1)
            if zero.any():
                place = f"{split} example {int(zero.nonzero()[0])}"
                raise ValueError(f"{self.name}: {place} is zero everywhere, phi is undefined there")
        if self.labels is not None:
            for split, labels in self.labels.by_split.items():
                if len(labels) != len(self.examples[split]):
                    raise ValueError(
                        f"{self.name}: {len(labels)} labels for {len(self.examples[split])} {split} examples"
                    )

    @property
    def examples(self) -> dict[str, Tensor]:
        """The examples by the name of their split: ``train``, ``validation`` and ``test``."""
        return {split: getattr(self, split) for split in SPLITS}

    @property
    def origin(self) -> dict[str, Any]:
        """What a checkpoint stores of the examples, as plain data."""
        return {
            "name": self.name,
            "channels": list(self.channels),
            "channel_units": list(self.channel_units),
            "sampling_frequency": None if self.sampling_frequency is None else float(self.sampling_frequency),
            "space": list(self.shape[1:]),
        }

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of an example, [channels, *space]."""
        return tuple(self.train.shape[1:])

    @property
    def n_channels(self) -> int:
        """Number of channels of an example."""
        return self.shape[0]

    @property
    def n_dims(self) -> int:
        """1 for signals, 2 for images."""
        return len(self.shape) - 1


def standardize(signals: Tensor, name: str, channels: Sequence[str] = ()) -> Tensor:
    """Scale each channel of each example to mean zero and sample standard deviation one.

    Args:
        signals: The examples, [examples, channels, *space]; in float64, the result is exact to the last digit of
            float32.
        name: Name of the signals in errors.
        channels: Name of each channel, for errors; none if they are unknown.

    Raises:
        ValueError: If a channel of an example is constant.
    """
    return Scale("example").apply(signals, name, channels=channels).to(torch.get_default_dtype())


def per_channel(texts: Sequence[str], n_channels: int, what: str, name: str) -> tuple[str, ...]:
    """Return one text for each channel; the default, one empty text, becomes an empty text for each.

    Args:
        texts: The texts.
        n_channels: The number of channels.
        what: Name of the field, for the error.
        name: Name of the data, for the error.

    Raises:
        ValueError: If the numbers of texts and channels differ.
    """
    if tuple(texts) == ("",):
        return ("",) * n_channels
    if isinstance(texts, str) or len(texts) != n_channels:
        raise ValueError(f"{name}: {what}={texts!r} must be a tuple of one text for each of {n_channels} channels")
    return tuple(texts)


def check_sampling_frequency(value: float | None, name: str) -> None:
    """Refuse a sampling frequency that is not a positive number.

    Args:
        value: Sampling frequency in hertz; None if unknown.
        name: Name of the data in errors.

    Raises:
        ValueError: If the sampling frequency is zero, negative or not finite.
    """
    if value is not None and not 0 < value < inf:
        raise ValueError(f"{name}: sampling_frequency={value} must be positive (hertz)")

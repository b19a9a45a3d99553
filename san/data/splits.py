"""What every dataset gives: training, validation and test examples, and how they came to be."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

import torch
from torch import Tensor

__all__ = ["Labels", "Splits", "standardize"]

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Labels:
    """The class of each example, for a classifier.

    Args:
        classes: Their names.
        train: Index of the class of each training example, [examples] in int64.
        validation: The same of each validation example.
        test: The same of each test example.
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
        """Refuse splits that do not have every class.

        Raises:
            ValueError: If a class has no example in a split; it names both.
        """
        for split, labels in self.by_split.items():
            counts = labels.bincount(minlength=len(self.classes))
            absent = [label for label, count in zip(self.classes, counts, strict=True) if not count]
            if absent:
                raise ValueError(
                    f"{name}: no {split} example is of the class {', '.join(absent)}: change the fractions of the "
                    "splits, or use classifier=none"
                )


@dataclass(frozen=True)
class Splits:
    """Examples of one recording or collection, split for training, model selection and the final test.

    Args:
        name: What results call it, such as ``physionet/mitdb/208``.
        train: Examples to learn from, [examples, 1, *space].
        validation: Examples to select the epoch and the kernel size with.
        test: Examples that only the final test reads.
        sampling_frequency: In hertz; None where there is none.
        units: Label of the amplitude's axis.
        planted: The kernels that synthetic data was made from, [m] or [m, m] each.
        labels: The classes; None where there are none.

    Raises:
        ValueError: If a split is empty, an example has another shape or is not finite, or is zero everywhere, as phi
            is undefined there; if the sampling frequency is not positive; or if there is not one label for
            each example.
    """

    name: str
    train: Tensor
    validation: Tensor
    test: Tensor
    sampling_frequency: float | None = None
    units: str = "amplitude (SD)"
    planted: list[Tensor] = field(default_factory=list)
    labels: Labels | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be described."""
        if self.sampling_frequency is not None and not 0 < self.sampling_frequency < inf:
            raise ValueError(f"{self.name}: a sampling frequency of {self.sampling_frequency} Hz must be positive")
        for split, examples in (("training", self.train), ("validation", self.validation), ("test", self.test)):
            if len(examples) == 0:
                raise ValueError(f"{self.name}: there is no {split} example: give each split at least one")
            if examples.shape[1:] != self.train.shape[1:]:
                raise ValueError(f"{self.name}: {split} examples are {tuple(examples.shape[1:])}, not {self.shape}")
            undefined = {
                "has samples that are not finite": ~examples.isfinite().flatten(1).all(1),
                "is zero everywhere, phi is undefined there": ~examples.flatten(1).any(1),
            }
            for reason, where in undefined.items():
                if where.any():
                    raise ValueError(f"{self.name}: {split} example {int(where.nonzero()[0])} {reason}")
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
    def shape(self) -> tuple[int, ...]:
        """Shape of an example, [1, *space]."""
        return tuple(self.train.shape[1:])

    @property
    def n_dims(self) -> int:
        """1 for signals, 2 for images."""
        return len(self.shape) - 1


def standardize(signals: Tensor, name: str) -> Tensor:
    """Give each example mean zero and sample standard deviation one.

    Args:
        signals: [examples, 1, *space], in float64 so that the result is right to the last digit of float32.
        name: What to call the signals in an error.

    Raises:
        ValueError: If a signal is constant.
    """
    flat = signals.flatten(1)
    constant = (flat == flat[:, :1]).all(1)
    if constant.any():
        index, length = int(constant.nonzero()[0]), flat.shape[1]
        raise ValueError(
            f"{name}: signal {index} (samples {index * length} to {(index + 1) * length - 1}) is constant, "
            "phi is undefined there: choose another record, channel or signal_length"
        )
    scaled = (flat - flat.mean(1, keepdim=True)) / flat.std(1, keepdim=True)
    return scaled.view_as(signals).to(torch.get_default_dtype())

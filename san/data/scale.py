"""The scale of examples: fitted once, applied to any examples, undone, and stored as plain data."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from math import isfinite
from sys import float_info
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from san.ops.choices import check_choice

__all__ = ["FITTED", "Scale", "ScaledBy", "Scaling", "Statistics", "check_scaling"]

Scaling = Literal["none", "example", "all", "range"]
ScaledBy = Literal["train", "all"]

FITTED = ("all", "range")
"""The scalings with one offset and one unit for all examples, which are therefore the statistics of some examples."""


class Statistics(NamedTuple):
    """The numbers by which examples are scaled, in the unit of the unscaled samples.

    Args:
        offset: Subtracted first: one number, or [examples, 1, *ones] in float64.
        unit: Divided by then, > 0: one number, or [examples, 1, *ones] in float64.
    """

    offset: float | Tensor
    unit: float | Tensor


@dataclass(frozen=True)
class Scale:
    r"""Scale examples: :math:`lowest + (highest - lowest) \cdot (x - offset) / unit`.

    ``all`` subtracts the mean and divides by the sample standard deviation; ``range`` maps the minimum to ``lowest``
    and the maximum to ``highest``. Both use the statistics of the examples that the scale was fitted to, so other
    examples may be below ``lowest`` or above ``highest``. ``example`` scales each example to mean zero and sample
    standard deviation one, and ``none`` does not scale.

    Args:
        kind: The scaling.
        offset: Mean or minimum of the fitted samples; unused by ``none`` and ``example``.
        unit: Deviation or width of the fitted samples, > 0; unused by ``none`` and ``example``.
        lowest: Scaled value of the offset.
        highest: Scaled value of the offset plus the unit.

    Raises:
        ValueError: If the scaling is unknown, or a number is not a finite float or out of its range.

    Example:
        >>> scale = Scale.fit("range", [torch.tensor([[[2.0, 4.0]]])], [-1, 1], "x")
        >>> scale.apply(torch.tensor([[[3.0, 6.0]]]), "x")
        tensor([[[0., 3.]]])
    """

    kind: Scaling
    offset: float = 0.0
    unit: float = 1.0
    lowest: float = 0.0
    highest: float = 1.0

    def __post_init__(self) -> None:
        """Check the scaling and the numbers."""
        check_choice("scaling", self.kind, Scaling)
        numbers = (self.offset, self.unit, self.lowest, self.highest)
        valid = all(isinstance(number, float) and isfinite(number) for number in numbers)
        if not valid or self.unit <= 0 or self.lowest >= self.highest:
            raise ValueError(
                f"offset={self.offset}, unit={self.unit}, lowest={self.lowest} and highest={self.highest} of a scale "
                "must be finite numbers, the unit above 0 and lowest below highest"
            )

    @classmethod
    def fit(cls, kind: Scaling, examples: Sequence[Tensor], value_range: Sequence[float], name: str) -> "Scale":
        """Return the scale with the statistics of the given examples.

        Args:
            kind: The scaling.
            examples: One or more tensors of any shape, in float64.
            value_range: ``lowest`` and ``highest``, if the scaling is ``range``.
            name: Name of the examples in errors.

        Raises:
            ValueError: If the scaling is unknown, the value range is invalid, or the examples to fit are constant or
                not finite.
        """
        check_scaling(kind, value_range)
        if kind not in FITTED:
            return cls(kind)
        samples = torch.cat([part.flatten() for part in examples])
        minimum, maximum = float(samples.min()), float(samples.max())
        if minimum == maximum:
            raise ValueError(f"{name} is constant: there is nothing to scale")
        standard, extent = (float(samples.mean()), float(samples.std())), (minimum, maximum - minimum)
        if not all(map(isfinite, (*standard, *extent))):
            raise ValueError(f"{name} has samples that are not finite or too large: scaling={kind} is undefined")
        return cls.of(kind, standard, extent, value_range)

    @classmethod
    def of(
        cls, kind: Scaling, standard: tuple[float, float], extent: tuple[float, float], value_range: Sequence[float]
    ) -> "Scale":
        """Return the scale with the given statistics.

        Args:
            kind: The scaling.
            standard: Mean and sample standard deviation of the fitted samples, used by ``all``.
            extent: Minimum and width of the fitted samples, used by ``range``.
            value_range: ``lowest`` and ``highest``, used by ``range``.
        """
        if kind == "all":
            return cls(kind, *standard)
        if kind == "range":
            lowest, highest = map(float, value_range)
            return cls(kind, *extent, lowest, highest)
        return cls(kind)

    def statistics(self, examples: Tensor, name: str) -> Statistics:
        """Return the numbers that scale the examples: of each example if ``example``, else of this scale.

        Args:
            examples: The unscaled examples, [examples, 1, *space], in float64.
            name: Name of the examples in errors.

        Raises:
            ValueError: If the scaling is ``example`` and an example is constant.
        """
        if self.kind != "example":
            return Statistics(self.offset, self.unit)
        flat = examples.flatten(1)
        constant = (flat == flat[:, :1]).all(1)
        if constant.any():
            index, length = int(constant.nonzero()[0]), flat.shape[1]
            raise ValueError(
                f"{name}: signal {index} (samples {index * length} to {(index + 1) * length - 1}) is constant, "
                "phi is undefined there: choose another record or channel, or longer signals"
            )
        per_example = (len(examples), *[1] * (examples.dim() - 1))
        return Statistics(flat.mean(1).view(per_example), flat.std(1).view(per_example))

    def apply(self, examples: Tensor, name: str, statistics: Statistics | None = None) -> Tensor:
        """Return the scaled examples, in the precision of the given ones.

        Args:
            examples: The unscaled examples, [examples, 1, *space], in float64 so that the result is exact to the last
                digit of float32.
            name: Name of the examples in errors.
            statistics: The result of :meth:`statistics` for the same examples, if it is already known.

        Raises:
            ValueError: If the scaling is ``example`` and an example is constant.
        """
        if self.kind == "none":
            return examples
        offset, unit = self.statistics(examples, name) if statistics is None else statistics
        return self.lowest + (self.highest - self.lowest) * (examples - offset) / unit

    def undo(self, scaled: Tensor, statistics: Statistics | None = None) -> Tensor:
        """Return examples in their unit before scaling.

        Args:
            scaled: Scaled examples, or reconstructions of them, [examples, 1, *space].
            statistics: The result of :meth:`statistics` for the same examples; required if the scaling is ``example``.

        Raises:
            ValueError: If the scaling is ``example`` and there are no statistics.
        """
        if self.kind == "none":
            return scaled
        if statistics is None and self.kind == "example":
            raise ValueError("statistics=None: give the statistics of each example, which scaling=example is undone by")
        offset, unit = (self.offset, self.unit) if statistics is None else statistics
        return offset + (scaled - self.lowest) * unit / (self.highest - self.lowest)

    def to_dict(self) -> dict[str, str | float]:
        """Return plain data, from which :meth:`from_dict` restores the scale."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Any) -> "Scale":
        """Restore a scale from plain data, without trust.

        Args:
            stored: The result of :meth:`to_dict`.

        Raises:
            ValueError: If the data have other keys, an unknown scaling or invalid numbers.
        """
        keys = {field.name for field in fields(cls)}
        if not isinstance(stored, Mapping) or set(stored) != keys or stored["kind"] not in get_args(Scaling):
            raise ValueError(f"a stored scale must have the keys {', '.join(sorted(keys))} and a known kind")
        if not all(type(stored[key]) is float for key in keys - {"kind"}):
            raise ValueError("the numbers of a stored scale must be floats")
        return cls(**stored)


def check_scaling(scaling: Scaling, value_range: Sequence[float], scale: Scale | None = None) -> None:
    """Refuse an unknown scaling, an invalid value range, and values that differ from those of the training data.

    Args:
        scaling: The scaling.
        value_range: Smallest and largest value after scaling; unused unless the scaling is ``range``.
        scale: Scale of the training data; None if the data are scaled by their own statistics.

    Raises:
        ValueError: If the scaling is unknown or the value range is not two increasing numbers, or if one of them is
            not that of the scale.
    """
    check_choice("scaling", scaling, Scaling)
    if scaling == "range":
        numbers = [value for value in value_range if type(value) in (int, float) and abs(value) <= float_info.max]
        if len(value_range) != 2 or len(numbers) != 2 or numbers[0] >= numbers[1]:
            raise ValueError(f"value_range={list(value_range)} must be two numbers, the smaller one first")
    if scale is None:
        return
    if scaling != scale.kind:
        raise ValueError(f"scaling={scaling} must be {scale.kind}, the scaling of the training data")
    trained = [scale.lowest, scale.highest]
    if scaling == "range" and list(value_range) != trained:
        raise ValueError(f"value_range={list(value_range)} must be {trained}, the range of the training data")

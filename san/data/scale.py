"""The scale of examples: fitted once, applied to any examples, undone, and stored as plain data."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from math import isfinite
from sys import float_info
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import torch
from torch import Tensor

from san.data.names import channel_place
from san.ops.choices import check_choice

__all__ = ["FITTED", "Scale", "ScaledBy", "Scaling", "Statistics", "check_scaling"]

MAX_LISTED = 5  # numbers in an error

Scaling = Literal["none", "example", "all", "range"]
ScaledBy = Literal["train", "all"]

Numbers: TypeAlias = float | tuple[float, ...]
"""A number of one channel, or one for each of several channels."""

FITTED = ("all", "range")
"""The scalings with one offset and one unit for all examples, which are therefore the statistics of some examples."""


class Statistics(NamedTuple):
    """The numbers by which examples are scaled, in the unit of the unscaled samples.

    Args:
        offset: Subtracted first: one number, or a tensor that broadcasts to [examples, channels, *ones], in float64.
        unit: Divided by then, > 0: one number, or a tensor of the same shape, in float64.
    """

    offset: float | Tensor
    unit: float | Tensor


@dataclass(frozen=True)
class Scale:
    r"""Scale examples: :math:`lowest + (highest - lowest) \cdot (x - offset) / unit`.

    ``all`` subtracts the mean and divides by the sample standard deviation; ``range`` maps the minimum to ``lowest``
    and the maximum to ``highest``. Both use the statistics of the examples that the scale was fitted to, so other
    examples may be below ``lowest`` or above ``highest``. ``example`` scales each example to mean zero and sample
    standard deviation one, and ``none`` does not scale. Each of several channels is scaled by its own statistics.

    Args:
        kind: The scaling.
        offset: Mean or minimum of the fitted samples; of several channels, a tuple with one for each. Unused by
            ``none`` and ``example``.
        unit: Deviation or width of the fitted samples, > 0; of several channels, a tuple with one for each. Unused by
            ``none`` and ``example``.
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
    offset: Numbers = 0.0
    unit: Numbers = 1.0
    lowest: float = 0.0
    highest: float = 1.0

    def __post_init__(self) -> None:
        """Check the scaling and the numbers."""
        check_choice("scaling", self.kind, Scaling)
        offsets, units = _each(self.offset), _each(self.unit)
        numbers = (*offsets, *units, self.lowest, self.highest)
        valid = all(isinstance(number, float) and isfinite(number) for number in numbers)
        if not valid or min(units, default=0) <= 0 or self.lowest >= self.highest:
            raise ValueError(
                f"offset={_listed(offsets)}, unit={_listed(units)}, lowest={self.lowest} and highest={self.highest} of "
                "a scale must be finite numbers, the unit above 0 and lowest below highest"
            )
        if len(offsets) != len(units):
            raise ValueError(
                f"a scale has {len(offsets)} offsets and {len(units)} units, not one of each for a channel"
            )

    @property
    def sizes(self) -> tuple[float, ...]:
        """The size of a scaled amplitude of one in the unit of the unscaled samples, of each channel of the scale."""
        return tuple(unit / (self.highest - self.lowest) for unit in _each(self.unit))

    @classmethod
    def fit(
        cls,
        kind: Scaling,
        examples: Sequence[Tensor],
        value_range: Sequence[float],
        name: str,
        channels: Sequence[str] = (),
    ) -> "Scale":
        """Return the scale with the statistics of the given examples, channel by channel.

        Args:
            kind: The scaling.
            examples: One or more tensors, each [examples, channels, *space], in float64.
            value_range: ``lowest`` and ``highest``, if the scaling is ``range``.
            name: Name of the examples in errors.
            channels: Name of each channel, for errors; none if they are unknown.

        Raises:
            ValueError: If the scaling is unknown, the value range is invalid, or a channel of the examples to fit is
                constant or not finite.
        """
        check_scaling(kind, value_range)
        if kind not in FITTED:
            return cls(kind)
        n_channels = examples[0].shape[1]
        names = channels or [""] * n_channels
        standard, extent = [], []
        for position in range(n_channels):
            samples = torch.cat([part[:, position].flatten() for part in examples])
            minimum, maximum = float(samples.min()), float(samples.max())
            place = channel_place(name, position, names)
            if minimum == maximum:
                raise ValueError(f"{place} is constant: there is nothing to scale{_advice(names)}")
            standard.append((float(samples.mean()), float(samples.std())))
            extent.append((minimum, maximum - minimum))
            if not all(map(isfinite, (*standard[-1], *extent[-1]))):
                raise ValueError(f"{place} has samples that are not finite or too large: scaling={kind} is undefined")
        return cls.of(kind, standard, extent, value_range)

    @classmethod
    def of(
        cls,
        kind: Scaling,
        standard: Sequence[tuple[float, float]],
        extent: Sequence[tuple[float, float]],
        value_range: Sequence[float],
    ) -> "Scale":
        """Return the scale with the given statistics.

        Args:
            kind: The scaling.
            standard: Mean and sample standard deviation of the fitted samples of each channel, used by ``all``.
            extent: Minimum and width of the fitted samples of each channel, used by ``range``.
            value_range: ``lowest`` and ``highest``, used by ``range``.
        """
        if kind not in FITTED:
            return cls(kind)
        offsets, units = zip(*(standard if kind == "all" else extent), strict=True)
        own = (offsets[0], units[0]) if len(offsets) == 1 else (offsets, units)
        return cls(kind, *own, *(map(float, value_range) if kind == "range" else ()))

    def statistics(self, examples: Tensor, name: str, channels: Sequence[str] = ()) -> Statistics:
        """Return the numbers that scale the examples: of each example if ``example``, else of this scale.

        Args:
            examples: The unscaled examples, [examples, channels, *space], in float64.
            name: Name of the examples in errors.
            channels: Name of each channel, for errors; none if they are unknown.

        Raises:
            ValueError: If the scaling is ``example`` and a channel of an example is constant, or if the scale is of
                another number of channels.
        """
        if self.kind != "example":
            return self._of_channels(examples, name)
        rows = examples.flatten(2).flatten(0, 1)  # [examples * channels, samples]
        n_channels, length = examples.shape[1], rows.shape[1]
        constant = (rows == rows[:, :1]).all(1)
        if constant.any():
            index, position = divmod(int(constant.nonzero()[0]), n_channels)
            names = channels or [""] * n_channels
            raise ValueError(
                f"{channel_place(name, position, names)}: signal {index} (samples {index * length} to "
                f"{(index + 1) * length - 1}) is constant, phi is undefined there: choose other data or longer "
                f"examples{_advice(names)}"
            )
        per_example = (len(examples), n_channels, *[1] * (examples.dim() - 2))
        return Statistics(rows.mean(1).view(per_example), rows.std(1).view(per_example))

    def apply(
        self, examples: Tensor, name: str, statistics: Statistics | None = None, channels: Sequence[str] = ()
    ) -> Tensor:
        """Return the scaled examples, in the precision of the given ones.

        Args:
            examples: The unscaled examples, [examples, channels, *space], in float64 so that the result is exact to the
                last digit of float32.
            name: Name of the examples in errors.
            statistics: The result of :meth:`statistics` for the same examples, if it is already known.
            channels: Name of each channel, for errors; none if they are unknown.

        Raises:
            ValueError: If the scaling is ``example`` and a channel of an example is constant, or if the scale is of
                another number of channels.
        """
        if self.kind == "none":
            return examples
        offset, unit = self.statistics(examples, name, channels) if statistics is None else statistics
        return self.lowest + (self.highest - self.lowest) * (examples - offset) / unit

    def undo(self, scaled: Tensor, statistics: Statistics | None = None) -> Tensor:
        """Return examples in their unit before scaling.

        Args:
            scaled: Scaled examples, or reconstructions of them, [examples, channels, *space].
            statistics: The result of :meth:`statistics` for the same examples; required if the scaling is ``example``.

        Raises:
            ValueError: If the scaling is ``example`` and there are no statistics, or if the scale is of another number
                of channels.
        """
        if self.kind == "none":
            return scaled
        if statistics is None and self.kind == "example":
            raise ValueError("statistics=None: give the statistics of each example, which scaling=example is undone by")
        offset, unit = self._of_channels(scaled, "scaled") if statistics is None else statistics
        return offset + (scaled - self.lowest) * unit / (self.highest - self.lowest)

    def _of_channels(self, examples: Tensor, name: str) -> Statistics:
        """Return the numbers of this scale as they broadcast to examples."""
        offsets, units = _each(self.offset), _each(self.unit)
        n_channels = examples.shape[1] if examples.dim() > 1 else 1
        if self.kind in FITTED and len(offsets) != n_channels:
            raise ValueError(
                f"{name} has {n_channels} channels, and the statistics that scale it are of {len(offsets)}: choose the "
                "channels of the training data"
            )
        if len(offsets) == 1:
            return Statistics(offsets[0], units[0])
        shape = (1, -1, *[1] * (examples.dim() - 2))
        return Statistics(*(torch.tensor(own, dtype=examples.dtype).view(shape) for own in (offsets, units)))

    def to_dict(self) -> dict[str, str | float | list[float]]:
        """Return plain data, from which :meth:`from_dict` restores the scale."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

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
        numbers = {key: _stored(stored[key]) for key in ("offset", "unit")}
        numbers |= {key: stored[key] for key in ("lowest", "highest")}
        listed = [own if isinstance(own, tuple) else (own,) for own in numbers.values()]
        if not all(type(number) is float for own in listed for number in own):
            raise ValueError("the numbers of a stored scale must be floats, or lists of one float for each channel")
        return cls(stored["kind"], **numbers)


def _each(numbers: Numbers) -> tuple[float, ...]:
    """Return the numbers of the channels."""
    return numbers if isinstance(numbers, tuple) else (numbers,)


def _listed(numbers: tuple[float, ...]) -> object:
    return numbers[0] if len(numbers) == 1 else f"{list(numbers[:MAX_LISTED])}"


def _stored(value: Any) -> Any:
    """Return the numbers of several channels as a tuple, and any other value as it is."""
    is_list = isinstance(value, Sequence) and not isinstance(value, str | bytes) and len(value) > 1
    return tuple(value) if is_list else value


def _advice(channels: Sequence[str]) -> str:
    return ", or choose channels without it, such as channel=[0,1]" if len(channels) > 1 else ""


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

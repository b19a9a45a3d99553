"""Choose columns of a table, or channels of a record, by their indices or names; name a channel in errors."""

from collections.abc import Sequence
from typing import TypeAlias

__all__ = ["Channels", "OfChannels", "channel_place", "index_of", "indices_of", "only"]

Channels: TypeAlias = int | str | Sequence[int | str] | None
"""An index or a name, several of them, ``all``, or None for the only channel."""

ALL = "all"
MAX_NAMED = 100  # channels in an error


class OfChannels:
    """What has channels: the name and the unit of the only one.

    Attributes:
        channels: Name of each channel; empty if unknown.
        channel_units: Physical unit of each channel; empty if unknown.
    """

    channels: tuple[str, ...]
    channel_units: tuple[str, ...]

    @property
    def channel(self) -> str:
        """Name of the only channel; empty if it is unknown or there are several."""
        return only(self.channels)

    @property
    def unit(self) -> str:
        """Physical unit of the only channel; empty if it is unknown or there are several."""
        return only(self.channel_units)


def only(texts: Sequence[str]) -> str:
    """Return the only text; empty if there are several."""
    return texts[0] if len(texts) == 1 else ""


def indices_of(key: str, value: Channels, names: Sequence[str], place: str, *, but: int | None = None) -> list[int]:
    """Return the indices of the chosen columns or channels, in the order of the choice.

    Args:
        key: Name of the argument: ``column`` or ``channel``.
        value: An index or a name, see :func:`index_of`; several of them; ``all``; or None for the only one.
        names: The names, in order.
        place: The file, for errors.
        but: Index of a column that ``all`` and None do not count, such as the column of times.

    Raises:
        ValueError: If there is no such one, a choice may mean two of them, or one is chosen twice or none at all.
    """
    value = getattr(value, "tolist", lambda: value)()  # of NumPy
    counted = [index for index in range(len(names)) if index != but]
    if value == ALL:
        if ALL in names:
            raise ValueError(
                f"{key}={ALL} chooses every {key}, and is the name of {key} {names.index(ALL)} in {place}: give indices"
            )
        if not counted:
            raise ValueError(f"{key}={ALL}: {place} has no {key} of samples")
        return counted
    if value is None and len(counted) == 1:
        return counted
    if value is None or isinstance(value, str | int):
        return [index_of(key, value, names, place)]
    if not value:
        raise ValueError(f"{key}=[]: give one {key} of {place} or more, {ALL}, or null for the only one")
    chosen = [index_of(key, one, names, place) for one in value]
    for position, index in enumerate(chosen):
        if index in chosen[:position]:
            given = ",".join(map(str, value))
            raise ValueError(f"{key}=[{given}] has {key} {_label(index, names)} of {place} twice: give it once")
    return chosen


def index_of(key: str, value: int | str | None, names: Sequence[str], place: str) -> int:
    """Return the index of a column or channel; refuse a choice that may mean two of them.

    An integer is an index, or a name if no index is that large. A string is a name.

    Args:
        key: Name of the argument: ``column`` or ``channel``.
        value: Index or name; None for the only one.
        names: The names, in order.
        place: The file, for errors.

    Raises:
        ValueError: If there is no such one, or if the value is None, the name occurs repeatedly, or the integer is both
            an index and the name of another one.
    """
    if value is None:
        if len(names) == 1:
            return 0
        raise ValueError(f"{key}=null: {place} has {len(names)} of them; choose one of {_labels(names)}")
    named = [index for index, name in enumerate(names) if name == str(value)]
    is_index = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(names)
    if is_index and named and int(value) not in named:
        raise ValueError(
            f"{key}={value} is the index of {names[int(value)]} and the name of {key} {named[0]} in {place}: give the "
            f"name in quotes, \"{key}='{value}'\" or \"{key}='{names[int(value)]}'\""
        )
    if is_index:
        return int(value)
    if len(named) > 1:
        raise ValueError(f"{key}={value} is the name of {' and '.join(map(str, named))} in {place}: give one index")
    if not named:
        raise ValueError(f"{key}={value} is not a {key} of {place}; choose one of {_labels(names)}")
    return named[0]


def channel_place(name: str, position: int, channels: Sequence[str]) -> str:
    """Return the name of a channel of the data in errors; of data of one channel, the name of the data.

    Args:
        name: Name of the data.
        position: Position of the channel in the data.
        channels: Name of each channel; empty if unknown.
    """
    return name if len(channels) == 1 else f"{name}, channel {channels[position] or position}"


def _labels(names: Sequence[str]) -> str:
    more = f" ... ({len(names)} in all)" if len(names) > MAX_NAMED else ""
    return ", ".join(_label(index, names) for index in range(min(len(names), MAX_NAMED))) + more


def _label(index: int, names: Sequence[str]) -> str:
    return str(index) if names[index] == str(index) else f"{index} ({names[index]})"

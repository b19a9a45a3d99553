"""Find a column of a table, or a channel of a record, by its index or its name."""

from collections.abc import Sequence

__all__ = ["index_of"]


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
    choices = ", ".join(str(index) if name == str(index) else f"{index} ({name})" for index, name in enumerate(names))
    if value is None:
        if len(names) == 1:
            return 0
        raise ValueError(f"{key}=null: {place} has {len(names)} of them; choose one of {choices}")
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
        raise ValueError(f"{key}={value} is not a {key} of {place}; choose one of {choices}")
    return named[0]

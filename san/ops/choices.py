"""Closed choices: the values of a ``Literal``, checked where a user's value arrives."""

from typing import Any, Literal, get_args

__all__ = ["Flag", "check_choice"]

Flag = Literal[True, False]


def check_choice(name: str, value: object, choices: Any) -> None:
    """Refuse a value that is not one of the choices.

    Args:
        name: Name of the argument, for the error.
        value: The value given.
        choices: A ``Literal`` type.

    Raises:
        ValueError: If the value is none of the choices.
    """
    allowed = get_args(choices)
    if value not in allowed:
        raise ValueError(f"{name}={value} must be one of {', '.join(map(str, allowed))}")

"""Values that a user gives: closed choices, the largest integer, and how a value is shown."""

from typing import Any, Literal, get_args

__all__ = ["LARGEST", "Flag", "check_choice", "shown"]

LARGEST = 2**63 - 1  # of torch's integers

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


def shown(value: object) -> object:
    """Return a value as a configuration shows it."""
    return "null" if value is None else value

"""Checks of the types of arguments that arrive from a configuration or a user's call."""

import os
import types
from collections.abc import Callable, Mapping, Sequence
from functools import cache, wraps
from inspect import signature
from numbers import Integral, Real
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from torch import Tensor

from san.ops.choices import LARGEST, shown

__all__ = ["checked_arguments", "what_it_must_be"]

NOUNS = {bool: "true or false", int: "an integer", float: "a number", str: "text", types.NoneType: "null"}
PLURALS = {int: "integers", float: "numbers", str: "texts"}

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def checked_arguments(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Make a function refuse arguments of other types than its signature has, before it runs.

    Integers, numbers, texts, None, mappings, and sequences of integers, numbers or texts are checked. An integer is a
    number, a path is a text, and a boolean is neither. Arguments of any other type, such as a ``Literal``, are left to
    the function.

    Args:
        function: The function. It then raises ``ValueError`` for a wrong argument, with its name, value and type.

    Example:
        >>> @checked_arguments
        ... def f(*, window: int) -> int:
        ...     return window
        >>> f(window="abc")
        Traceback (most recent call last):
        ValueError: window=abc must be an integer
    """
    parameters = signature(function)

    @wraps(function)
    def checked(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        hints = _hints(function)
        for name, value in parameters.bind(*args, **kwargs).arguments.items():
            if (wanted := what_it_must_be(value, hints.get(name))) is not None:
                raise ValueError(f"{name}={shown(value)} must be {wanted}")
        return function(*args, **kwargs)

    return checked


@cache
def _hints(function: Callable[..., Any]) -> Mapping[str, Any]:
    return get_type_hints(function)


def what_it_must_be(value: Any, hint: Any) -> str | None:
    """Return what a value must be, such as ``an integer or null``; None if it is, or if the annotation is not compared.

    Args:
        value: A value of a configuration, or an argument.
        hint: The annotation.
    """
    wanted = _alternatives(hint)
    if not wanted or isinstance(value, Tensor) or any(_fits(value, kind) for kind in wanted):
        return None
    # Equal unions are one object to Python, in the order of the first that was written anywhere.
    *others, last = sorted((_noun(kind) for kind in wanted if not (kind is int and float in wanted)), key=_order)
    return f"{', '.join(others)} or {last}" if others else last


def _alternatives(hint: Any) -> tuple[Any, ...]:
    """Return the types of an annotation without tensors; none if one of them is not compared."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal and {type(value) for value in arguments} == {bool}:
        return (bool,)
    kinds = arguments if origin in (Union, types.UnionType) else (hint,)
    kinds = tuple(kind for kind in kinds if kind is not Tensor)
    return kinds if all(kind in NOUNS or _items(kind) or _is_mapping(kind) for kind in kinds) else ()


def _items(kind: Any) -> tuple[Any, ...]:
    """Return the types of the items of a sequence; none for any other type."""
    if get_origin(kind) not in (list, tuple, Sequence) or not get_args(kind):
        return ()
    items = _alternatives(get_args(kind)[0])
    return items if all(item in PLURALS for item in items) else ()


def _is_mapping(kind: Any) -> bool:
    return get_origin(kind) in (dict, Mapping)


def _noun(kind: Any) -> str:
    if _is_mapping(kind):
        return "keys and values"
    return NOUNS[kind] if kind in NOUNS else f"a list of {' or '.join(PLURALS[item] for item in _items(kind))}"


def _order(noun: str) -> tuple[bool, str]:
    return noun == NOUNS[types.NoneType], noun


def _fits(value: Any, kind: Any) -> bool:
    if _is_mapping(kind):
        return isinstance(value, Mapping)
    if kind not in NOUNS:
        is_text = isinstance(value, str | bytes | Mapping)
        is_list = not is_text and hasattr(value, "__len__") and getattr(value, "ndim", 1) > 0
        return is_list and all(any(_fits(item, one) for one in _items(kind)) for item in value)
    if kind is str:
        return isinstance(value, str | os.PathLike)
    if kind in (bool, types.NoneType):
        return isinstance(value, kind)
    if isinstance(value, bool):
        return False
    if isinstance(value, Integral):
        return abs(int(value)) <= LARGEST
    return kind is float and isinstance(value, Real)

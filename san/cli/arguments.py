"""Compare the keys and values of a part of the configuration with the arguments of the object that it names."""

import inspect
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, get_type_hints

from san.cli.allow_list import named_targets, rule_of
from san.cli.errors import nearest
from san.data.arguments import what_it_must_be
from san.ops.choices import shown

__all__ = ["refuse_unknown_arguments"]

NAMED = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def refuse_unknown_arguments(part: Any, place: str) -> None:
    """Refuse keys that an object has no argument for, and values of another kind than an argument takes.

    An annotation that :mod:`san.data.arguments` does not compare accepts every value, and so does an object without a
    signature.

    Args:
        part: Plain containers whose objects :mod:`san.cli.allow_list` accepted.
        place: Key of the part, such as ``dataset``.

    Raises:
        ValueError: If there is such a key or value.
    """
    for below, node in named_targets(part, place):
        path = str(node["_target_"])
        module, _, name = path.rpartition(".")
        target = getattr(import_module(module), name)
        try:
            parameters = inspect.signature(target).parameters
        except (TypeError, ValueError):  # of a function in C
            continue
        given = {str(key): value for key, value in node.items() if not str(key).startswith("_")}
        rule = rule_of(below, path)
        of_program = [*list(parameters)[: rule.n_positional], *rule.keywords]
        named = {
            key: parameter for key, parameter in parameters.items() if parameter.kind in NAMED and key not in of_program
        }
        is_open = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        _refuse_unknown([key for key in given if not is_open or key in of_program], list(named), below, name)
        hints = _hints(target)
        for key, parameter in named.items():
            value = given.get(key, parameter.default)
            if value is not parameter.default and (wanted := what_it_must_be(value, hints.get(key))) is not None:
                raise ValueError(f"{below}.{key}={shown(value)} must be {wanted}")


def _refuse_unknown(given: Sequence[str], known: Sequence[str], place: str, name: str) -> None:
    for key in given:
        if key not in known:
            near = nearest(f"{place}.{key}", [f"{place}.{other}" for other in known])
            raise ValueError(
                f"{place}.{key} is not an argument of {name}{near}, which has {', '.join(known) or 'none'}; remove it, "
                f"by ~{place}.{key} if a file sets it"
            )


def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    called = target.__init__ if isinstance(target, type) else target  # type: ignore[misc] # of any class
    try:
        return get_type_hints(inspect.unwrap(called))
    except Exception:  # an annotation of a user's package may refer to anything
        return {}

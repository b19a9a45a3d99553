"""The words of a command line, before Hydra reads them."""

import re
import shlex
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import NoReturn

from hydra._internal.utils import get_args_parser

__all__ = ["arranged", "meant_command"]

DASHED = re.compile(r"--?([A-Za-z][\w./-]+)(=.*)?", re.DOTALL)


def arranged(command: str, arguments: Sequence[str]) -> list[str]:
    """Return a command line with its options before its overrides, where Hydra looks for them.

    Args:
        command: The command, for errors.
        arguments: The words after it.

    Raises:
        ValueError: If an option is unknown or incomplete, or a space separates an override.
    """
    _refuse_spaces(command, arguments)
    parser = get_args_parser()
    _refuse_dashes(command, arguments, parser)
    parser.error = _refuse  # type: ignore[method-assign] # which prints the usage and exits
    options, overrides = list(arguments), parser.parse_intermixed_args(arguments).overrides
    for override in overrides:
        options.remove(override)
    return [*options, *overrides]


def meant_command(command: str, arguments: Sequence[str]) -> str:
    """Return a command line as a user types it."""
    return shlex.join(["python", "-m", f"san.{command}", *arguments])


def _refuse(message: str) -> NoReturn:
    raise ValueError(f"{message}; --hydra-help lists the options, and overrides are KEY=VALUE, without dashes")


def _refuse_dashes(command: str, arguments: Sequence[str], parser: ArgumentParser) -> None:
    """Refuse ``--kernel_size 8`` and ``--kernel_size=8``."""
    known = list(parser._option_string_actions)
    meant: list[str] = []
    wrong = ""
    words = list(arguments)
    while words:
        word = words.pop(0)
        found = DASHED.fullmatch(word)
        name = word.partition("=")[0]
        is_option = name in known or (name.startswith("--") and any(option.startswith(name) for option in known))
        if found is None or is_option:
            meant.append(word)
            continue
        wrong = wrong or word
        has_value = found[2] is None and words and "=" not in words[0] and not DASHED.fullmatch(words[0])
        value = found[2] or f"={words.pop(0) if has_value else 'VALUE'}"
        meant.append(f"{found[1].replace('-', '_')}{value}")
    if wrong:
        raise ValueError(f"{wrong} is not an option, and overrides have no dashes: {meant_command(command, meant)}")


def _refuse_spaces(command: str, arguments: Sequence[str]) -> None:
    """Refuse ``kernel_size = 8`` and ``kernel_sizes=[8, 16]``, which a shell gives as several words."""
    meant: list[str] = []
    for word in arguments:
        before = meant[-1] if meant else ""
        is_open = "=[" in before and before.count("[") > before.count("]") and "=" not in word
        follows = before.endswith("=") and "=" not in word and not word.startswith("-")
        if is_open or follows or (word.startswith("=") and before and "=" not in before):
            meant[-1] += word
        else:
            meant.append(word)
    if len(meant) < len(arguments):
        raise ValueError(f"spaces separate overrides, so an override has none: {meant_command(command, meant)}")

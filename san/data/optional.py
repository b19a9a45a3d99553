"""Packages that only some file formats need."""

from importlib import import_module
from typing import Any

from san import DISTRIBUTION

__all__ = ["imported"]


def imported(module: str, path: str) -> Any:
    """Import a module of a package that is not always installed.

    Args:
        module: Name of the module.
        path: The file that needs it, for the error.

    Raises:
        ValueError: If the package is not installed; the error says how to install it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ValueError(f"path={path} needs the package {package}: pip install '{DISTRIBUTION}[formats]'") from error

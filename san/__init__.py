"""Sparsely Activated Networks: a few interpretable kernels, selected by how verbose and how wrong they are."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from san.use.description import Description
    from san.use.estimator import SAN
    from san.use.loading import load
    from san.use.model import Model

__all__ = ["SAN", "Description", "Model", "load"]
__version__ = "0.1.0"

PLACES = {
    "Description": "san.use.description",
    "Model": "san.use.model",
    "SAN": "san.use.estimator",
    "load": "san.use.loading",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``import san.networks`` needs torch alone."""
    if name not in PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(PLACES[name]), name)

"""Sparsely Activated Networks: a few interpretable kernels, selected by how verbose and how wrong they are."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from san.data.example_ecg import example_ecg
    from san.data.reading import read_recording as read
    from san.use.description import Description
    from san.use.estimator import SAN
    from san.use.fit import fit
    from san.use.loading import load
    from san.use.model import Model

__all__ = ["SAN", "Description", "Model", "example_ecg", "fit", "load", "read"]
__version__ = "0.2.0"
DISTRIBUTION = "sparsely-activated-networks"  # what pip installs; the name "san" on PyPI is another project's

PLACES = {
    "Description": ("san.use.description", "Description"),
    "Model": ("san.use.model", "Model"),
    "SAN": ("san.use.estimator", "SAN"),
    "example_ecg": ("san.data.example_ecg", "example_ecg"),
    "fit": ("san.use.fit", "fit"),
    "load": ("san.use.loading", "load"),
    "read": ("san.data.reading", "read_recording"),
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``import san.networks`` needs torch alone."""
    if name not in PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = PLACES[name]
    return getattr(import_module(module), attribute)

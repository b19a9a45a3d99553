"""Sparsely Activated Networks: a few interpretable kernels, selected by how verbose and how wrong they are."""

__version__ = "0.1.0"

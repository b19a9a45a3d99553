"""The operators on the CPU, compiled by numba; their rows are shared among threads. They take and return tensors."""

from san.ops.compiled.placement import correlate, gather, place, weigh, weigh_everywhere
from san.ops.compiled.pursuit import pursue
from san.ops.compiled.selection import extrema, extrema_pool_indices, topk_absolutes

__all__ = [
    "correlate",
    "extrema",
    "extrema_pool_indices",
    "gather",
    "place",
    "pursue",
    "topk_absolutes",
    "weigh",
    "weigh_everywhere",
]

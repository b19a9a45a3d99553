"""The operators on the CPU, compiled by numba, the rows shared among threads."""

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

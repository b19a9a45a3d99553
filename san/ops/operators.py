"""Register functions as operators of torch, which autograd, ``torch.compile`` and ``torch.export`` take as one step."""

from collections.abc import Callable
from typing import ParamSpec, cast

import torch
from torch import Tensor

__all__ = ["operator"]

P = ParamSpec("P")


def operator(name: str) -> Callable[[Callable[P, Tensor]], Callable[P, Tensor]]:
    """Register a function as the operator ``san::name`` for all devices, and return the operator.

    ``torch.library.custom_op`` does the same with checks for aliases around each call, which take longer than a small
    selection, and imports the compiler at the first call. The function may therefore not write to its inputs or
    return one of them.
    """

    def register(function: Callable[P, Tensor]) -> Callable[P, Tensor]:
        torch.library.define(f"san::{name}", torch.library.infer_schema(function, mutates_args=()))
        torch.library.impl(f"san::{name}", "default", function)
        return cast("Callable[P, Tensor]", getattr(torch.ops.san, name).default)

    return register

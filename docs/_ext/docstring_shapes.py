"""Set the shapes in docstrings, such as [batch, kernels, *space], as code; a star would begin an emphasis."""

import re
from typing import Any

SHAPE = re.compile(r"(?<!`)\[[\w ,*]*\*\w+[\w ,*]*\]")


def setup(app: Any) -> dict[str, bool]:
    """Change each docstring before it is parsed."""
    app.connect("autodoc-process-docstring", _set_shapes, priority=1)
    return {"parallel_read_safe": True}


def _set_shapes(app: Any, what: str, name: str, subject: Any, options: Any, lines: list[str]) -> None:
    lines[:] = [SHAPE.sub(lambda shape: f"``{shape[0]}``", line) for line in lines]

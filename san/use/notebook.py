"""Figures in notebooks."""

import base64
from html import escape

from matplotlib.figure import Figure

from san.figures.style import as_bytes
from san.storage.text import printable

__all__ = ["as_html"]


def as_html(drawn: Figure, caption: str) -> str:
    """Return a figure with a caption as HTML that needs no other file.

    Args:
        drawn: The figure.
        caption: Text below it.
    """
    image = base64.b64encode(as_bytes(drawn, "png", 100)).decode()
    text = escape(printable(caption))
    return f'<figure><img alt="{text}" src="data:image/png;base64,{image}"><figcaption>{text}</figcaption></figure>'

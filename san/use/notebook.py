"""Figures in notebooks."""

import base64
import io
from html import escape

from matplotlib.figure import Figure

from san.storage.text import printable

__all__ = ["as_html"]


def as_html(drawn: Figure, caption: str) -> str:
    """Return a figure with a caption as HTML that needs no other file.

    Args:
        drawn: The figure.
        caption: Text below it.
    """
    buffer = io.BytesIO()
    drawn.savefig(buffer, format="png", dpi=100)
    image = base64.b64encode(buffer.getbuffer()).decode()
    text = escape(printable(caption))
    return f'<figure><img alt="{text}" src="data:image/png;base64,{image}"><figcaption>{text}</figcaption></figure>'

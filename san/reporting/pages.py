"""Self-contained HTML pages: one style, figures inside the page, no address of another file or machine."""

import base64
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

__all__ = ["html_page", "png_address"]


def html_page(template: str, **values: Any) -> str:
    """Return a page, with all texts escaped.

    Args:
        template: Name of a template in ``san/reporting/templates/`` that extends ``base.html.jinja``.
        **values: Values of the template.
    """
    environment = Environment(
        loader=PackageLoader("san.reporting", "templates"), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template(template).render(**values)


def png_address(content: bytes) -> str:
    """Return the content of a PNG file as the address of an image of a page."""
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"

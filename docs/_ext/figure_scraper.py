"""Show figures that pyplot does not know, such as those of ``model.plot()``, if they are the last value of a block."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.pyplot import fignum_exists
from sphinx_gallery.scrapers import figure_rst


def _get_sg_image_scraper() -> Any:
    return scrape


def scrape(block: Sequence[Any], variables: Mapping[str, Any], gallery_conf: Mapping[str, Any]) -> str:
    """Save the last value of a block, if it is such a figure, and return the lines that show it."""
    names = variables["example_globals"]
    value = names.get("___")
    if not isinstance(value, Figure) or fignum_exists(getattr(value, "number", -1)):
        return ""
    names["___"] = None  # or the next block would show it again
    path = Path(next(variables["image_path_iterator"]))
    value.savefig(path, dpi=gallery_conf.get("dpi", 100))
    return str(figure_rst([str(path)], gallery_conf["src_dir"]))

"""Configuration of the documentation site; ``make docs`` builds it in ``dist/site``."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

import san  # noqa: E402

project = "san"
author = "The san maintainers"
release = version = san.__version__
copyright = f"2026, {author}"  # noqa: A001 (Sphinx reads this name)

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "myst_parser",
    "command_reference",
    "docstring_shapes",
    "mathml",
    "root_pages",
]
exclude_patterns = ["_ext", "_templates"]
templates_path = ["_templates"]

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_numpy_docstring = False
napoleon_use_ivar = True

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": "/",
    "within_subsection_order": "FileNameSortKey",
    "image_scrapers": ("matplotlib", "figure_scraper"),
    "ignore_repr_types": "Figure|Axes|Text|Line2D|list",
    "remove_config_comments": True,
    "download_all_examples": False,
    "write_computation_times": False,
    "show_signature": False,
    "copyfile_regex": "",
    "abort_on_example_error": True,
    "first_notebook_cell": "# pip install 'sparsely-activated-networks[examples]'",
    "nested_sections": False,
}

html_math_renderer = "mathml"
html_theme = "pydata_sphinx_theme"
html_title = f"san {release}"
html_static_path = ["_static"]
html_css_files = ["san.css"]
html_favicon = "_static/kernel.svg"
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": html_title, "image_light": "_static/kernel.svg", "image_dark": "_static/kernel.svg"},
    "navbar_align": "left",
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "header_links_before_dropdown": 6,
}

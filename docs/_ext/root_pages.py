"""Show documents outside ``docs/``, such as SECURITY.md, as pages of the site, with links that lead to its pages.

A link in a document is written for the repository, ``docs/use.md`` in README.md and ``../SECURITY.md`` in docs/use.md;
the site has these documents in the folder ``project``, and the scripts of ``examples/`` as pages of its gallery.
"""

import re
from pathlib import Path
from typing import Any

PAGES = {
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/results/README.md": "benchmarks.md",
}
FOLDER = "project"


def setup(app: Any) -> dict[str, bool]:
    """Copy the documents before Sphinx lists its sources, and turn links into those of the site."""
    app.connect("config-inited", lambda app, _: copy_pages(Path(app.srcdir)))
    app.connect("source-read", _turn_links)
    return {"parallel_read_safe": True}


def copy_pages(docs: Path) -> None:
    """Write each document as ``project/<page>``, with the pictures beside it."""
    (docs / FOLDER).mkdir(exist_ok=True)
    for document, page in PAGES.items():
        source = docs.parent / document
        text = re.sub(r"\]\(docs/", "](../", source.read_text(encoding="utf-8"))
        for other, its_page in PAGES.items():
            text = text.replace(f"]({other}", f"]({its_page}")
        for picture in re.findall(r"!\[.*?\]\((\w+\.png)\)", text):
            (docs / FOLDER / picture).write_bytes((source.parent / picture).read_bytes())
        title = "" if text.startswith("# ") else f"# {Path(page).stem.capitalize()}\n\n"
        (docs / FOLDER / page).write_text(title + text, encoding="utf-8")


def _turn_links(app: Any, name: str, content: list[str]) -> None:
    if not name.startswith(f"{FOLDER}/"):
        up = "../" * name.count("/")
        for document, page in PAGES.items():
            content[0] = content[0].replace(f"]({up}../{document}", f"]({up}{FOLDER}/{page}")
        content[0] = re.sub(rf"\]\({up}\.\./examples/(\w+)\.py", rf"]({up}gallery/\1.rst", content[0])

"""The page on results beyond the paper, and the tool that writes its tables."""

import json
import runpy
from pathlib import Path

PROJECT = Path(__file__).parents[1]
TOOL = runpy.run_path(str(PROJECT / "tools" / "beyond.py"))


def test_the_page_has_the_tables_of_the_last_measurement():
    found = json.loads((PROJECT / "docs" / "beyond.json").read_text(encoding="utf-8"))
    assert TOOL["tables"](found) in (PROJECT / "docs" / "beyond.md").read_text(encoding="utf-8")
    assert (len(found["records"]), len(found["images"])) == (len(TOOL["DATABASES"]), len(TOOL["IMAGES"]))

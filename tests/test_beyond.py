"""The page on what is beyond the paper, and how its tables are made."""

import json
import runpy
from pathlib import Path

PROJECT = Path(__file__).parents[1]
TOOL = runpy.run_path(str(PROJECT / "tools" / "beyond.py"))


def test_the_tables_are_those_of_the_last_measurement():
    found = json.loads((PROJECT / "docs" / "beyond.json").read_text())
    assert TOOL["tables"](found) in (PROJECT / "docs" / "beyond.md").read_text()
    assert (len(found["records"]), len(found["images"])) == (len(TOOL["DATABASES"]), len(TOOL["IMAGES"]))

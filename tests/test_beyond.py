"""The page on what is beyond the paper, and how its table is made."""

import json
import runpy
from pathlib import Path

PROJECT = Path(__file__).parents[1]
TOOL = runpy.run_path(str(PROJECT / "tools" / "beyond.py"))


def test_the_table_is_that_of_the_last_measurement():
    found = json.loads((PROJECT / "docs" / "beyond.json").read_text())
    assert TOOL["table"](found) in (PROJECT / "docs" / "beyond.md").read_text()
    assert len(found) == len(TOOL["DATABASES"])

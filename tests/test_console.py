"""Streams that cannot encode every character."""

import json
import os
import subprocess
import sys

import pytest

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def start(folder, command, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", f"san.{command}", *arguments, f"hydra.run.dir={folder}"],
        env=os.environ | environment,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=300,
    )


@pytest.mark.slow
def test_a_run_in_the_c_locale_ends_as_in_utf_8(tmp_path):
    common = ("train", "trainer.max_epochs=1", "figure=[forward_pass]")
    wide, ascii_only = (start(tmp_path / name, *common, **env) for name, env in (("utf8", {}), ("ascii", ASCII)))
    assert (wide.returncode, ascii_only.returncode) == (0, 0), ascii_only.stderr
    assert "φ̄" in wide.stdout
    assert ascii_only.stdout.isascii()
    assert "validation" in ascii_only.stdout
    one, two = (
        json.loads((tmp_path / name / "results.json").read_text(encoding="utf-8")) for name in ("utf8", "ascii")
    )
    assert one["test"] == two["test"]
    assert (tmp_path / "ascii" / "figures" / "forward_pass.png").is_file()


@pytest.mark.slow
def test_a_multirun_and_a_mistake_in_the_c_locale_are_readable(tmp_path):
    swept = start(tmp_path / "sweep", "sweep", "kernel_sizes=[8,12]", "trainer.max_epochs=1", "logger=csv", **ASCII)
    assert swept.returncode == 0, swept.stderr
    assert "extrema" in swept.stdout or "12" in swept.stdout
    refused = start(tmp_path / "run", "train", "kernel_size=5000", **ASCII)
    assert refused.returncode == 1
    assert len(refused.stderr.strip().splitlines()) == 1

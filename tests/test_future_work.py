"""The page on the paper's future work, and the tool that writes it."""

import json
import runpy
from pathlib import Path

import pytest
from conftest import results

from san import sweep

PROJECT = Path(__file__).parents[1]
TOOL = runpy.run_path(str(PROJECT / "tools" / "future_work.py"))


def test_the_page_has_the_numbers_of_the_last_measurement():
    found = json.loads((PROJECT / "docs" / "future_work.json").read_text(encoding="utf-8"))
    assert (PROJECT / "docs" / "future_work.md").read_text(encoding="utf-8") == TOOL["page"](found)
    assert list(found["cells"]) == list(TOOL["CHOICES"])
    for cells in found["cells"].values():
        assert len(cells) == len(TOOL["DATABASES"])
        for cell in cells.values():
            assert len(cell["phi"]) == len(cell["kernel_size"]) == len(found["seeds"]) == 5
            assert set(cell["kernel_size"]) <= set(found["kernel_sizes"])


def test_the_collected_phi_is_the_test_phi_of_the_model_selected_by_validation(run, tmp_path):
    arguments = ["-m", "seed=0,1", "kernel_sizes=[5,60]", "trainer.max_epochs=2", "logger=csv", "figure=[]"]
    code, message = run(sweep.main, *arguments, f"hydra.sweep.dir={tmp_path}")
    assert code == 0, message
    (cell,) = TOOL["collect"](tmp_path).values()
    for job in range(2):
        models = results(tmp_path / str(job))["models"]
        best = min(models, key=lambda model: model["validation"]["phi"])
        assert cell["phi"][job] == pytest.approx(best["test"]["phi"], abs=1e-4)
        assert cell["kernel_size"][job] == best["kernel_sizes"][0]


@pytest.mark.parametrize("choice", TOOL["CHOICES"])
def test_every_choice_composes(compose, choice):
    config = compose(*TOOL["CHOICES"][choice][1], name="sweep")
    assert config.n_kernels in (1, 2)


def test_a_difference_within_the_standard_deviation_has_no_sign():
    cells = {
        "extrema": {"record": {"phi": [0.5, 0.52, 0.51]}},
        "worse": {"record": {"phi": [0.6, 0.62, 0.61]}},
        "better": {"record": {"phi": [0.4, 0.42, 0.41]}},
        "same": {"record": {"phi": [0.5, 0.6, 0.4]}},
    }
    assert [TOOL["_sign"](cells, choice, "record") for choice in ("worse", "better", "same")] == [1, -1, 0]

"""The examples of the gallery, run as the notebooks that the site offers for download."""

import copy
import json
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))


def test_there_are_examples():
    assert len(EXAMPLES) >= 12


@pytest.mark.notebooks
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.stem)
def test_the_notebook_runs_in_an_empty_folder_and_shows_a_figure(example, tmp_path):
    # Imported here, because these libraries take seconds and no other test needs them.
    import nbformat
    from nbclient import NotebookClient
    from sphinx_gallery.gen_gallery import DEFAULT_GALLERY_CONF
    from sphinx_gallery.notebook import jupyter_notebook
    from sphinx_gallery.py_source_parser import split_code_and_text_blocks

    _, blocks = split_code_and_text_blocks(str(example))
    content = jupyter_notebook(blocks, copy.deepcopy(DEFAULT_GALLERY_CONF), str(example.parent))
    notebook = nbformat.reads(json.dumps(content), as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    shown = [kind for output in outputs for kind in output.get("data", {})]
    assert "image/png" in shown
    assert not [output.text for output in outputs if output.get("name") == "stderr"]
    assert [*tmp_path.iterdir()] == []

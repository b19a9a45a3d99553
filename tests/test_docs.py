"""The pages of the documentation: reachable, without broken links, with code that runs and with measured numbers."""

import doctest
import re
import runpy
import shlex
import shutil
from pathlib import Path

import pytest
from conftest import COMMANDS

PROJECT = Path(__file__).parents[1]
DOCS = PROJECT / "docs"
EXTENSION = runpy.run_path(str(DOCS / "_ext" / "root_pages.py"))
GENERATED = ("api", "commands", "gallery", EXTENSION["FOLDER"])
OTHERS = [PROJECT / name for name in ("README.md", *EXTENSION["PAGES"])]
PAGES = {
    path.relative_to(DOCS).with_suffix("").as_posix(): path.read_text(encoding="utf-8")
    for path in sorted(DOCS.rglob("*.*"))
    if path.suffix in (".md", ".rst") and path.relative_to(DOCS).parts[0] not in (*GENERATED, "_templates")
}
TUTORIALS = ("first_model", "own_recording", "choose", "use_model")
MEASURED = ("compare", "beyond", "future_work")
CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def generated():
    """Return the names of the pages that the extensions of the site write."""
    scripts = [f"gallery/{path.stem}" for path in (PROJECT / "examples").glob("*.py")]
    documents = [f"{EXTENSION['FOLDER']}/{Path(page).stem}" for page in EXTENSION["PAGES"].values()]
    return {*(f"commands/{name}" for name in COMMANDS), *documents, *scripts, "gallery/index"}


def entries(name):
    """Return the names of the pages in the tables of contents of a page."""
    folder = Path(name).parent
    for block in re.findall(r"^```\{toctree\}\n(.*?)^```", PAGES[name], re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if line and not line.startswith(":"):
                yield (folder / re.sub(r"^.*<(.*)>$", r"\1", line)).as_posix()


def anchors(text):
    """Return the anchors of the headings of a page, as GitHub and MyST write them."""
    headings = re.findall(r"^#+ (.+)$", CODE.sub("", text), re.MULTILINE)
    words = [re.sub(r"\[(.*?)\]\(.*?\)|`", r"\1", heading).strip().lower() for heading in headings]
    return {re.sub(r"[^\w\- ]", "", one).replace(" ", "-") for one in words}


def links(path):
    """Return the targets of the links, cards and pictures of a document, without addresses of other sites."""
    text = CODE.sub("", path.read_text(encoding="utf-8"))
    found = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", text))
    return [target for target in found if "://" not in target]


def is_generated(path):
    name = path.relative_to(DOCS).with_suffix("").as_posix() if path.is_relative_to(DOCS) else ""
    return name in generated()


def test_every_page_is_reachable_from_the_landing_page():
    seen, waiting = set(), ["index"]
    while waiting:
        name = waiting.pop()
        assert name in PAGES or name in generated(), f"a table of contents has {name}, which is no page"
        if name in seen or name not in PAGES:
            continue
        seen.add(name)
        waiting += entries(name)
    assert seen == set(PAGES)


def test_a_page_is_in_one_table_of_contents():
    listed = [entry for name in PAGES for entry in entries(name)]
    assert sorted(listed) == sorted(set(listed))


@pytest.mark.parametrize(
    "path",
    [*OTHERS, *(path for name in PAGES if (path := DOCS / f"{name}.md").is_file())],
    ids=lambda path: str(path.relative_to(PROJECT)),
)
def test_links_lead_to_files_and_headings_that_exist(path):
    for link in links(path):
        target, _, anchor = link.partition("#")
        file = (path.parent / target).resolve() if target else path
        assert file.exists() or is_generated(file), f"{link} does not exist"
        assert not anchor or anchor in anchors(file.read_text(encoding="utf-8")), f"{link} is no heading"


def test_cards_lead_to_pages_that_exist():
    cards = re.findall(r"^:link: (\S+)$", PAGES["index"], re.MULTILINE)
    thumbnails = re.findall(r"^:img-top: gallery/images/thumb/sphx_glr_(\w+)_thumb\.png$", PAGES["index"], re.MULTILINE)
    assert len(thumbnails) >= 6
    assert {f"gallery/{name}" for name in thumbnails} == {card for card in cards if card.startswith("gallery/")}
    for card in cards:
        if card.startswith("gallery/") and not [*(PROJECT / "examples").glob("*.py")]:
            continue  # the site has no examples, and is not built
        assert card in PAGES or card in generated(), f"{card} is no page"


def test_the_drawings_of_the_pages_are_those_of_the_script():
    drawn = set(runpy.run_path(str(PROJECT / "tools" / "drawings.py"))["DRAWINGS"])
    assert {path.stem for path in (DOCS / "drawings").iterdir()} == drawn
    shown = {name for text in PAGES.values() for name in re.findall(r"\bdrawings/(\w+)\.png", text)}
    assert shown == drawn


@pytest.mark.parametrize("name", ["network", "channels"])
def test_a_drawing_without_a_recording_draws(name):
    drawn = runpy.run_path(str(PROJECT / "tools" / "drawings.py"))["DRAWINGS"][name]()
    assert len(drawn.axes) >= 7
    drawn.draw_without_rendering()


def test_the_examples_of_the_page_on_phi_give_the_numbers_that_it_prints():
    blocks = re.findall(r"```python\n(.*?)```", PAGES["phi"], re.DOTALL)
    example = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, "phi", "docs/phi.md", 0)
    assert len(example.examples) > 15
    assert doctest.DocTestRunner().run(example).failed == 0


def test_every_block_of_python_is_valid():
    for name, text in PAGES.items():
        for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
            if ">>>" not in block:
                compile(block, name, "exec")


@pytest.mark.parametrize("path", [PROJECT / "README.md", DOCS / "which_activation.md"], ids=lambda path: path.name)
def test_quoted_metrics_are_those_of_the_pages_that_measured_them(path):
    measured = {number for name in MEASURED for number in re.findall(r"\d\.\d{3}", PAGES[name])}
    quoted = set(re.findall(r"\d\.\d{3}\b", path.read_text(encoding="utf-8")))
    assert len(quoted) >= 20
    assert quoted <= measured


def commands(block):
    """Return the commands of a block of shell lines, each as its words; lines that end with a backslash continue."""
    return [shlex.split(line, comments=True) for line in block.replace("\\\n", " ").splitlines()]


def test_the_commands_of_the_tutorials_are_known():
    words = [line for name in TUTORIALS for block in _blocks(name, "sh") for line in commands(block)]
    assert {line[0] for line in words} == {"pip", "python", "tensorboard"}
    assert {line[2].removeprefix("san.") for line in words if line[0] == "python"} <= {*COMMANDS, "notebook"}
    assert len(words) >= 8


@pytest.mark.slow
@pytest.mark.longest
def test_the_tutorials_run_as_written_one_after_another(run, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in TUTORIALS:
        variables = {}
        for language, block in re.findall(r"```(sh|python)\n(.*?)```", PAGES[f"tutorials/{name}"], re.DOTALL):
            if language == "python":
                exec(block, variables)  # noqa: S102 (the project's own page)
                continue
            for program, *arguments in commands(block):
                if program == "python":
                    _run_into_the_folder_of_the_pages(run, *arguments[1:])
    assert (tmp_path / "outputs" / "decode" / "DATE" / "TIME").is_dir()


def _blocks(tutorial, language):
    return re.findall(rf"```{language}\n(.*?)```", PAGES[f"tutorials/{tutorial}"], re.DOTALL)


def _run_into_the_folder_of_the_pages(run, module, *arguments):
    """Run a command with the run folder that the pages name, in place of an earlier run of it."""
    name = module.removeprefix("san.")
    folder = Path("outputs") / name / "DATE" / "TIME"
    if folder.exists():
        shutil.rmtree(folder)
    code, said = run(COMMANDS[name].main, *arguments, f"hydra.run.dir={folder}")
    assert code == 0, said

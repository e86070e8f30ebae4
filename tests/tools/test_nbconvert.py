"""What `jupyter nbconvert` makes of the notebooks as they stand, without a tool of the course's."""

import os
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbconvert import HTMLExporter, MarkdownExporter, ScriptExporter, SlidesExporter
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from notebook_file import put_slide_types

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def kinds(nb):
    return [cell.metadata.get("slideshow", {}).get("slide_type") for cell in nb.cells]


def test_slides_begin_at_titles_figures_and_where_there_is_no_room():
    figure = new_output("display_data", data={"image/png": "", "text/plain": "Figure"})
    cells = [
        new_code_cell("import torch", id="setup"),
        new_markdown_cell("# Title"),
        new_code_cell("1 + 1"),
        new_code_cell("plot()", outputs=[figure]),
        new_markdown_cell("words"),
        new_code_cell("assert True", metadata={"tags": ["proof"]}),
        new_code_cell("\n".join("abcdefghijklmnopqrstuvwxyz")),
        new_code_cell("\n".join("abcdefghijklmnopqrstuvwxyz")),
        new_markdown_cell("### An exercise"),
        new_code_cell("a = 1", metadata={"tags": ["solution"], "slideshow": {"slide_type": "fragment"}}),
    ]
    nb = new_notebook(cells=cells)
    put_slide_types(nb)
    right = ["skip", "slide", None, "subslide", None, "skip", "subslide", "subslide", "slide", "fragment"]
    assert kinds(nb) == right
    again = deepcopy(nb)
    put_slide_types(again)
    assert again == nb


@each_notebook
def test_a_stored_notebook_has_its_slide_types(path):
    nb = nbformat.read(path, as_version=4)
    before = deepcopy(nb)
    put_slide_types(nb)
    assert nb == before
    for cell, kind in zip(nb.cells, kinds(nb), strict=True):
        if {"proof", "solution"} & set(cell.metadata.get("tags", [])):
            assert kind == "skip", cell.id
        elif cell.cell_type == "markdown" and cell.source.startswith("## "):
            assert kind == "slide", cell.id
        elif "image/png" in str(cell.get("outputs")):
            assert kind == "subslide", cell.id


HEIGHTS = """[...document.querySelectorAll(".slides section")].filter(e => !e.querySelector("section")).map(e => {
  e.style.width = "960px";
  return [e.getBoundingClientRect().height, e.innerText.trim().slice(0, 60)];
})"""


@each_notebook
def test_no_slide_of_nbconvert_is_longer_than_two_screens(path, browser):
    deck, _ = SlidesExporter().from_filename(path)
    page = browser.new_page(viewport={"width": 1280, "height": 720})
    page.route(
        "**/*", lambda route: route.abort()
    )  # its reveal.js is in the web; the slides then lie one below another
    page.set_content(deck, wait_until="domcontentloaded")
    heights = page.evaluate(HEIGHTS)
    page.close()
    assert len(heights) > 15
    assert min(heights)[0] > 30
    assert max(heights)[0] <= 2 * 720, max(heights)


def test_nbconvert_leaves_proofs_and_solutions_out_of_slides():
    page = BeautifulSoup(SlidesExporter().from_filename(NOTEBOOKS[2])[0], "html.parser")
    shown = page.select_one(".slides").text
    assert "def standardize(" in shown
    assert "_solution" not in shown
    assert "# Proof" not in shown


@each_notebook
def test_nbconvert_writes_a_script_of_python(path, tmp_path):
    script, resources = ScriptExporter().from_filename(path)
    assert resources["output_extension"] == ".py"
    compile(script, path.stem, "exec")
    assert "get_ipython" not in script


def test_the_script_runs(tmp_path):
    script = tmp_path / "02.py"
    script.write_text(ScriptExporter().from_filename(NOTEBOOKS[2])[0], encoding="utf-8")
    variables = os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}
    command = [sys.executable, script]
    done = subprocess.run(command, cwd=ROOT / "notebooks", env=variables, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "[3.0, 5.0] becomes [-1.0, 1.0]" in done.stdout


@each_notebook
def test_nbconvert_writes_html_and_markdown(path):
    nb = nbformat.read(path, as_version=4)
    title = nb.cells[0].source.splitlines()[0].removeprefix("# ").replace("`", "")
    page = BeautifulSoup(HTMLExporter().from_notebook_node(nb)[0], "html.parser")
    assert page.h1.text.startswith(title)
    text, resources = MarkdownExporter().from_notebook_node(nb)
    assert f"# {title}" in text.replace("`", "")
    figures = sum("image/png" in output.get("data", {}) for cell in nb.cells for output in cell.get("outputs", []))
    assert len(page.select("img[src^='data:image/png']")) == len(resources["outputs"]) == figures

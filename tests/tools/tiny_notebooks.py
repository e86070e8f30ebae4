"""Tiny notebooks for the tests of the tools, and a way to call the runner as `make run` does."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).parents[2]


def make_notebook(folder, *sources, name="05_tiny.ipynb", tags=()):
    cells = [new_markdown_cell("# Tiny", id="title")]
    for n, source in enumerate(sources):
        cells.append(new_code_cell(source, id=f"cell-{n}", metadata={"tags": list(tags)} if tags else {}))
    path = folder / name
    nbformat.write(new_notebook(cells=cells, metadata={"foreign": 1}), path)
    return path


def outputs(path):
    """Return what each code cell of a notebook shows as text."""
    nb = nbformat.read(path, as_version=4)
    shown = ([o.get("text") or o.data["text/plain"] for o in c.outputs] for c in nb.cells if c.cell_type == "code")
    return ["".join(texts).strip() for texts in shown]


def start(*arguments, cwd, **variables):
    """Start the runner in a process of its own; a variable that is None is not set there."""
    env = {k: v for k, v in (os.environ | variables).items() if v is not None}
    return subprocess.Popen(
        [sys.executable, "-W", "error", str(ROOT / "tools" / "notebooks.py"), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env=env,
    )

"""A student presses Shift+Enter twice: each code cell can be run again at once, and says the same."""

import copy
from pathlib import Path

import nbformat
import pytest

import timetable
from execution import execute
from notebook_file import IGNORED, IMAGES

FOLDER = Path(__file__).parents[2] / "notebooks"
# The others take too long for a test of every day; what holds there was tried by hand.
QUICK = sorted(name for name, seconds in timetable.seconds().items() if seconds < 60)


def doubled(nb):
    """The notebook with each code cell followed by itself."""
    double = copy.deepcopy(nb)
    double.cells = []
    for cell in nb.cells:
        double.cells.append(cell)
        if cell.cell_type == "code":
            double.cells.append(copy.deepcopy(cell))
            double.cells[-1].id = f"{cell.id}-again"
    return double


def said(cell):
    """What the cell printed and showed, pictures apart."""
    data = [{k: v for k, v in output.get("data", {}).items() if k not in IMAGES} for output in cell.outputs]
    return [(output.get("text"), shown) for output, shown in zip(cell.outputs, data, strict=True)]


def test_the_quick_notebooks_are_tried():
    assert {name[:2] for name in QUICK} >= {"00", "02", "11"}


@pytest.mark.parametrize("name", QUICK)
def test_every_cell_can_be_run_twice_in_a_row(name, tmp_path):
    nbformat.write(doubled(nbformat.read(FOLDER / name, as_version=4)), tmp_path / name)
    code = [cell for cell in execute(tmp_path / name).cells if cell.cell_type == "code"]  # an error is raised
    for once, again in zip(code[::2], code[1::2], strict=True):
        if IGNORED not in once.metadata.get("tags", []):
            assert said(again) == said(once), again.id

"""A student presses Shift+Enter twice: each code cell can be run again at once, and nothing breaks."""

import copy
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import timetable
from kernels import Kernel, marked_environment

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


def test_the_quick_notebooks_are_tried():
    assert {name[:2] for name in QUICK} >= {"00", "02", "11"}


@pytest.mark.parametrize("name", QUICK)
def test_every_cell_can_be_run_twice_in_a_row(name):
    nb = doubled(nbformat.read(FOLDER / name, as_version=4))
    client = NotebookClient(
        nb,
        timeout=3600,
        startup_timeout=600,
        iopub_timeout=600,
        allow_errors=True,
        kernel_manager_class=Kernel,
        kernel_name="python3",
        resources={"metadata": {"path": str(FOLDER)}},
    )
    with marked_environment(TQDM_DISABLE="1") as environment:
        client.execute(env=environment)
    code = [c for c in nb.cells if c.cell_type == "code"]
    failed = {c.id: o.evalue for c in code for o in c.outputs if o.output_type == "error"}
    assert not failed

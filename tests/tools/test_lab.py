"""Copies for students in a real JupyterLab, in a real browser, as a student uses them."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import nbformat
import pytest

import student
from hand import in_view, mouse_key_and_finger, numbers

ROOT = Path(__file__).parents[2]
IDLE = "jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
CELLS = "jupyterapp.shell.currentWidget.content.model.toJSON().cells"
MINUTES = 60_000  # milliseconds


@pytest.fixture(scope="module")
def lab(tmp_path_factory, browser):
    """The address of a JupyterLab with settings of its own, that shows students' copies of notebooks 00 to 02."""
    folder = tmp_path_factory.mktemp("lab")
    names = ("00_start_here", "01_why_normalize", "02_batch_norm_from_scratch")
    assert student.main([*(str(ROOT / "notebooks" / f"{n}.ipynb") for n in names), "--build", str(folder)]) == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    private = {"CONFIG_DIR": "config", "DATA_DIR": "share", "RUNTIME_DIR": "runtime"}
    private = {f"JUPYTER_{k}": str(folder / v) for k, v in private.items()}
    private |= {f"JUPYTERLAB_{n}_DIR": str(folder / n) for n in ("SETTINGS", "WORKSPACES")}
    news = folder / "SETTINGS" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    news.parent.mkdir(parents=True)
    news.write_text('{"fetchNews": "false"}')  # it asks before it does; the question would cover the page
    options = [
        "--no-browser",
        "--ip=127.0.0.1",
        f"--port={port}",
        "--ServerApp.port_retries=0",
        "--IdentityProvider.token=",
        "--LabApp.expose_app_in_browser=True",
        "--LabApp.extension_manager=readonly",
        f"--notebook-dir={folder / 'student'}",
        *(["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []),
    ]
    log = folder / "lab.log"
    with open(log, "w") as written:
        env = os.environ | private | {"IPYTHONDIR": str(folder / "ipython"), "PYTHONPATH": str(ROOT)}
        env.pop("MPLBACKEND", None)  # the notebooks' own: inline
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options], stdout=written, stderr=subprocess.STDOUT, env=env
        )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            assert server.poll() is None, log.read_text()
            try:
                urlopen(f"{address}/api/status", timeout=5).close()
                break
            except (URLError, TimeoutError, ConnectionError):
                time.sleep(0.5)
        else:
            pytest.fail(f"JupyterLab does not answer:\n{log.read_text()}")
        yield address
    finally:
        server.terminate()
        server.wait(timeout=30)
        shutil.rmtree(folder / "student")


class Notebook:
    """An open notebook in JupyterLab."""

    def __init__(self, browser, address, name):
        self.page = browser.new_page(viewport={"width": 1280, "height": 900})
        self.page.set_default_timeout(MINUTES)
        self.page.goto(f"{address}/lab/tree/{name}.ipynb?reset")
        self.page.wait_for_function("window.jupyterapp")
        self.page.evaluate("() => jupyterapp.restored")
        self.page.wait_for_function(f"jupyterapp.shell.currentWidget?.context?.path === '{name}.ipynb'")
        self.page.evaluate(
            "async () => { const open = jupyterapp.shell.currentWidget;"
            " await open.context.ready; await open.sessionContext.ready }"
        )
        self.page.wait_for_function(IDLE)

    def cells(self):
        return [nbformat.from_dict(c) for c in self.page.evaluate(CELLS)]

    def cell(self, id):
        return next(c for c in self.cells() if c.id == id)

    def run_all(self):
        self.page.evaluate("() => { jupyterapp.commands.execute('notebook:run-all-cells') }")
        self.wait_for_all(CELLS)

    def run_up_to(self, id):
        self.show(id)
        self.page.evaluate("() => { jupyterapp.commands.execute('notebook:run-all-above') }")
        self.wait_for_all(f"{CELLS}.slice(0, {[c.id for c in self.cells()].index(id)})")
        self.run(id)

    def wait_for_all(self, cells):
        done = f"{cells}.every(c => c.cell_type !== 'code' || c.execution_count !== null) && {IDLE}"
        self.page.wait_for_function(done, timeout=60 * MINUTES, polling=500)  # on a busy machine too

    def show(self, id):
        """Scroll to a cell, make it the active one, and return it on the page."""
        number = [c.id for c in self.cells()].index(id)
        self.page.evaluate(
            "async n => { const book = jupyterapp.shell.currentWidget.content; book.activeCellIndex = n;"
            " book.deselectAll(); await book.scrollToItem(n, 'center') }",
            number,
        )
        return self.page.locator(f".jp-Notebook .jp-Cell[data-windowed-list-index='{number}']")

    def write_and_run(self, id, source):
        """Replace a cell's text with the keyboard and run it; return what it showed."""
        shown = self.show(id)
        shown.locator(".cm-content").click()
        self.page.keyboard.press("ControlOrMeta+A")
        self.page.keyboard.insert_text(source)
        assert self.cell(id).source == source
        return self.run(id)

    def run(self, id):
        before = self.cell(id).execution_count or 0  # of a cell that has not run: null
        self.show(id)
        self.page.evaluate("() => { jupyterapp.commands.execute('notebook:run-cell') }")
        ran = f"{CELLS}.some(c => c.id === '{id}' && c.execution_count !== null && c.execution_count !== {before})"
        self.page.wait_for_function(f"{ran} && {IDLE}")
        return self.cell(id).outputs


@pytest.fixture
def opened(lab, browser):
    notebooks = []

    def open_notebook(name):
        notebooks.append(Notebook(browser, lab, name))
        return notebooks[-1]

    yield open_notebook
    for notebook in notebooks:
        notebook.page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.shutdown()")
        notebook.page.close()


def assert_all_ran(notebook):
    code = [c for c in notebook.cells() if c.cell_type == "code"]
    assert [c.execution_count for c in code] == list(range(1, len(code) + 1))
    errors = [(c.id, o.ename, o.evalue) for c in code for o in c.outputs if o.output_type == "error"]
    assert errors == []
    checks = [c for c in code if "check" in c.metadata.get("tags", [])]
    assert len(checks) >= 2
    assert all("not written yet" in c.outputs[0].text for c in checks)  # no solution is there


CLASS_MEANS = """def class_means(X, y, num_classes):
    return torch.stack([X[y == number].{}(dim=0) for number in range(num_classes)])"""
NORMALIZE = """def my_normalize(rows, eps):
    columns = []
    for column in zip(*rows, strict=True):
        mean = sum(column) / len(column)
        var = sum((x - mean) ** 2 for x in column) / len(column)
        columns.append([(x - mean) / {} for x in column])
    return [list(row) for row in zip(*columns, strict=True)]"""


@pytest.mark.parametrize(
    ("name", "wrong", "right"),
    [
        ("00_start_here", CLASS_MEANS.format("sum"), CLASS_MEANS.format("mean")),
        (
            "02_batch_norm_from_scratch",
            NORMALIZE.format("(math.sqrt(var) + eps)"),
            NORMALIZE.format("math.sqrt(var + eps)"),
        ),
    ],
)
def test_a_student_runs_a_notebook_and_does_an_exercise(name, wrong, right, opened, screenshots):
    notebook = opened(name)
    notebook.run_all()
    assert_all_ran(notebook)
    stub, check = "exercise-1-stub", "exercise-1-check"
    assert notebook.write_and_run(stub, wrong) == []
    (feedback,) = notebook.run(check)
    assert feedback.output_type == "error"
    (line,) = feedback.traceback  # no traceback: one line of feedback
    function = re.search(r"def (\w+)", wrong)[1]
    assert line.startswith(f"✗ {function}: ")
    shown = notebook.show(check).locator(".jp-OutputArea-output")
    assert line[:60] in shown.inner_text()
    notebook.page.screenshot(path=screenshots / f"lab-{name[:2]}-wrong.png")
    assert notebook.write_and_run(stub, right) == []
    (praise,) = notebook.run(check)
    assert praise.text.startswith(f"✓ {function}: ")
    assert "✓" in notebook.show(check).locator(".jp-OutputArea-output").inner_text()
    notebook.page.screenshot(path=screenshots / f"lab-{name[:2]}-right.png")


def test_an_explorable_answers_the_hand_and_tells_the_kernel(opened, screenshots):
    notebook, cell = opened("02_batch_norm_from_scratch"), "explore-one-batch"
    notebook.run_up_to(cell)
    notebook.write_and_run(cell, "w = explorables.one_batch()\nw")
    place = notebook.show(cell).locator(".explorable")
    place.wait_for()
    active = "() => jupyterapp.shell.currentWidget.content.activeCellIndex"
    before = notebook.page.evaluate(active)
    values = mouse_key_and_finger(notebook.page, place)
    place.get_by_role("slider", name="value 5 of 5").press("ArrowDown")  # which else goes to the next cell
    assert notebook.page.evaluate(active) == before
    values[4] -= 0.1
    assert in_view(place) == values
    notebook.page.screenshot(path=screenshots / "lab-02-explorable.png")
    (shown,) = notebook.write_and_run("exercise-1-stub", "w.values")
    assert shown.data["text/plain"] == str(values)
    notebook.write_and_run("exercise-1-stub", "w.values = [3, 5]")
    place = notebook.show(cell).locator(".explorable")
    place.locator("tr:first-child td").nth(2).wait_for(state="detached")
    assert numbers(place, "Y").tolist() == [-1, 1]

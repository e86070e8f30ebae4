"""The notebook runner does what the Makefile promises."""

import json
import re
import subprocess
import time

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from tiny_notebooks import ROOT, make_notebook

import execution
import kernels
import notebook_file
import notebooks as runner

FIGURE = """
from d2lnorm.course.plotting import new_axes, show
ax = new_axes()
ax.set_title("$x$")
show(ax, "an empty <panel>")
"""


def test_run_leaves_a_copy_in_build_and_the_source_as_it_was(tmp_path, build, capfd):
    path = make_notebook(tmp_path, "import os; print(os.path.basename(os.getcwd()))", "1 + 1", FIGURE)
    before = path.read_bytes()
    assert runner.run([path], build) == 0
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["05_tiny.ipynb", "build"]
    copy = nbformat.read(build / path.name, as_version=4)
    assert copy.cells[1].outputs[0].text.strip() == tmp_path.name  # it ran beside its source
    assert copy.cells[2].outputs[0].data["text/plain"] == "2"
    assert "foreign" not in copy.metadata
    assert copy.cells[3].outputs[0].metadata["image/png"]["alt"] == "an empty <panel>"
    out, err = capfd.readouterr()
    first, second = out.splitlines()  # where no terminal is, one line a notebook
    assert first == f"Executing 1 notebook. Each copy is in {build} as soon as its line is here."
    assert re.fullmatch(rf"05_tiny.ipynb: \d+ s, see {build}/05_tiny.ipynb", second)
    assert err == ""


def test_a_failing_cell_is_named_with_its_notebook_and_error_and_the_others_go_on(tmp_path, build, capfd):
    path = make_notebook(tmp_path, "a = 1", "a / 0", "print('never')")
    other = make_notebook(tmp_path, "a = 1", name="06_other.ipynb")
    assert runner.run([path, other], build) == 1
    message = capfd.readouterr().err
    assert "05_tiny.ipynb, cell 3 (cell-1) failed" in message
    assert "a / 0" in message
    assert "ZeroDivisionError: division by zero" in message
    assert f"What was executed: {build / '05_tiny.ipynb'}" in message
    assert message.endswith("Finished: 06_other. Failed: 05_tiny.\n")
    copy = nbformat.read(build / path.name, as_version=4)  # to look at
    assert copy.cells[2].outputs[0].ename == "ZeroDivisionError"
    assert copy.cells[3].execution_count is None


def test_a_dead_kernel_is_a_failure_too(tmp_path, build, capfd):
    path = make_notebook(tmp_path, "a = 1", "import os; os.write(2, b'out of memory'); os._exit(1)")
    assert runner.run([path], build) == 1
    assert "05_tiny.ipynb, cell 3 (cell-1) failed. Kernel died\nout of memory\n" in capfd.readouterr().err


def test_a_cell_that_hangs_is_named_with_what_to_do(tmp_path, build, capfd, monkeypatch):
    monkeypatch.setattr(execution, "LIMIT", 1 / 60)
    path = make_notebook(tmp_path, "a = 1", "import time\ntime.sleep(60)")
    assert runner.run([path], build) == 1
    message = capfd.readouterr().err
    assert message.startswith("\n05_tiny.ipynb, cell 3 (cell-1) was stopped: import time\nIt did not end within ")
    assert "programs leave it next to nothing of the cores. Close them" in message


def test_a_kernel_that_does_not_start_is_a_failure_too(tmp_path, build, capfd, monkeypatch):
    monkeypatch.setattr(
        kernels, "get_kernel_dict", lambda: {"argv": ["sh", "-c", "echo why >&2; exit 1"], "metadata": {}}
    )
    path = make_notebook(tmp_path, "a = 1")
    assert runner.run([path], build) == 1
    assert re.search(r"05_tiny.ipynb: its kernel did not start. Kernel died.*\nwhy\n", capfd.readouterr().err)


def test_store_is_byte_stable_and_cleans_metadata(tmp_path, capfd):
    path = make_notebook(tmp_path, "print('same')", FIGURE)
    nb = nbformat.read(path, as_version=4)
    nb.cells[1].metadata = {"tags": ["W1"], "collapsed": False, "execution": {"t": 1}}
    nb.cells.append(new_code_cell("import time; time.time()", id="clock", metadata={"tags": [notebook_file.IGNORED]}))
    nbformat.write(nb, path)
    assert runner.store([path]) == 0
    first = path.read_bytes()
    stored = nbformat.read(path, as_version=4)
    assert dict(stored.cells[1].metadata) == {"tags": ["W1"]}
    assert [c.execution_count for c in stored.cells if c.cell_type == "code"] == [1, 2, 3]
    assert stored.metadata == {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {
            "file_extension": ".py",
            "mimetype": "text/x-python",
            "name": "python",
            "nbconvert_exporter": "python",
            "pygments_lexer": "ipython3",
        },
    }
    assert "stored" in capfd.readouterr().out
    time.sleep(0.01)
    assert runner.store([path]) == 0
    assert path.read_bytes() == first
    assert "nothing changed" in capfd.readouterr().out
    stored.cells[1].source = "print('other')"
    nbformat.write(stored, path)
    assert runner.store([path]) == 0
    assert "other" in nbformat.read(path, as_version=4).cells[1].outputs[0].text
    for words in ("seconds", "minutes"):  # what nbval ignores counts where more than its numbers changed
        stored = nbformat.read(path, as_version=4)
        stored.cells[3].source = f"import time; print(time.time(), '{words}')"
        nbformat.write(stored, path)
        assert runner.store([path]) == 0
        assert words in nbformat.read(path, as_version=4).cells[3].outputs[0].text
    last = path.read_bytes()
    assert runner.store([path]) == 0
    assert path.read_bytes() == last


def test_a_print_that_arrives_in_pieces_is_stored_as_one(tmp_path):
    path = make_notebook(
        tmp_path, "import sys, time\nfor w in 'ab':\n    print(w); sys.stdout.flush(); time.sleep(0.3)"
    )
    assert runner.store([path]) == 0
    (output,) = nbformat.read(path, as_version=4).cells[1].outputs
    assert output.text == "a\nb\n"


def test_store_keeps_the_old_file_when_a_cell_fails(tmp_path):
    path = make_notebook(tmp_path, "1 / 0")
    before = path.read_bytes()
    assert runner.store([path]) == 1
    assert path.read_bytes() == before


def test_dead_widget_views_are_not_stored():
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "x"}, "text/plain": "bar"}
    cell = new_code_cell("w", outputs=[nbformat.v4.new_output("display_data", data=view)])
    nb = new_notebook(cells=[cell], metadata={"widgets": {"state": {}}})
    notebook_file.clean_metadata(nb)
    assert nb.cells[0].outputs == []
    assert "widgets" not in nb.metadata


def test_every_make_target_is_listed_with_a_line():
    listed = subprocess.run(["make", "-s"], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    names = [line.split()[1] for line in listed.splitlines()]
    wanted = {"setup", "data", "run", "lab", "slides", "student", "test", "notebooks", "lint", "bench", "clean"}
    assert wanted <= set(names)
    assert all(len(line.split()) > 3 for line in listed.splitlines())


@pytest.mark.parametrize(("again", "options"), [("", []), ("AGAIN=1", ["--again"])])
def test_make_hands_on_what_it_is_told(again, options):
    command = ["make", "-n", "ENV=an environment", "NOTEBOOKS=a.ipynb", *again.split(), "run"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.splitlines()[-1].split() == ['"$PY"', "tools/notebooks.py", "run", *options, "a.ipynb"]


def test_stored_notebooks_are_clean():
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        nb = json.loads(path.read_text())
        assert path.stat().st_size < 500_000, path
        assert set(nb["metadata"]) == {"kernelspec", "language_info"}, path
        code = [c for c in nb["cells"] if c["cell_type"] == "code"]
        assert [c["execution_count"] for c in code] == list(range(1, len(code) + 1)), path
        for cell in nb["cells"]:
            assert set(cell["metadata"]) <= notebook_file.KEPT_CELL_METADATA, (path, cell["id"])
        for output in (o for c in code for o in c["outputs"]):
            assert output["output_type"] != "error", path
            if "image/png" in output.get("data", {}):
                assert output["metadata"]["image/png"]["alt"], path

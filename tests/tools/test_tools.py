"""The notebook runner and the build folder do what the Makefile promises."""

import json
import subprocess
import time
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

import build_folder
import notebooks as runner

ROOT = Path(__file__).parents[2]


def make_notebook(folder, *sources, name="05_tiny.ipynb", tags=()):
    cells = [new_markdown_cell("# Tiny", id="title")]
    for n, source in enumerate(sources):
        cells.append(new_code_cell(source, id=f"cell-{n}", metadata={"tags": list(tags)} if tags else {}))
    path = folder / name
    nbformat.write(new_notebook(cells=cells, metadata={"foreign": 1}), path)
    return path


@pytest.fixture
def build(tmp_path, monkeypatch):
    folder = tmp_path / "build"
    for function in (build_folder.edited, build_folder.put_notebook, build_folder.not_ours, build_folder.clean):
        defaults = tuple(folder if d == build_folder.BUILD else d for d in function.__defaults__)
        monkeypatch.setattr(function, "__defaults__", defaults)
    return folder


FIGURE = """
from d2lnorm.course.plotting import new_axes, show
ax = new_axes()
ax.set_title("$x$")
show(ax, "an empty <panel>")
"""


def test_run_leaves_copy_and_page_in_build_and_the_source_as_it_was(tmp_path, build, capfd):
    path = make_notebook(tmp_path, "import os; print(os.path.basename(os.getcwd()))", "1 + 1", FIGURE)
    before = path.read_bytes()
    runner.run([path])
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["05_tiny.ipynb", "build"]
    copy = nbformat.read(build / path.name, as_version=4)
    assert copy.cells[1].outputs[0].text.strip() == tmp_path.name  # it ran beside its source
    assert copy.cells[2].outputs[0].data["text/plain"] == "2"
    assert "foreign" not in copy.metadata
    page = BeautifulSoup((build / "05_tiny.html").read_text(), "html.parser")
    assert [image["alt"] for image in page.select("img")] == ["an empty <panel>"]
    assert "require.min.js" not in str(page)
    out, progress = capfd.readouterr()
    assert "05_tiny.ipynb: " in out
    assert "05_tiny" in progress
    assert "3/3" in progress
    assert "WARNING" not in progress


def test_a_solution_is_folded_away_in_the_page(tmp_path, build):
    path = make_notebook(tmp_path, "task = 'given'", "answer = 42")
    nb = nbformat.read(path, as_version=4)
    nb.cells[2].metadata.tags = ["solution"]
    nbformat.write(nb, path)
    runner.run([path])
    page = BeautifulSoup((build / "05_tiny.html").read_text(), "html.parser")
    (folded,) = page.select("details:not([open])")
    assert folded.summary.text == "Solution"
    assert "answer = 42" in folded.text
    assert "given" not in folded.text
    assert "given" in page.text


def test_a_failing_cell_is_named_with_its_notebook_and_error(tmp_path, build, capfd):
    path = make_notebook(tmp_path, "a = 1", "a / 0", "print('never')")
    assert runner.main(["run", str(path)]) == 1
    message = capfd.readouterr().err
    assert "05_tiny.ipynb, cell 3 (cell-1) failed" in message
    assert "a / 0" in message
    assert "ZeroDivisionError: division by zero" in message
    copy = nbformat.read(build / path.name, as_version=4)  # to look at
    assert copy.cells[2].outputs[0].ename == "ZeroDivisionError"
    assert copy.cells[3].execution_count is None


def test_a_dead_kernel_is_a_failure_too(tmp_path, build):
    path = make_notebook(tmp_path, "a = 1", "import os; os._exit(1)")
    with pytest.raises(runner.NotebookFailed, match=r"05_tiny.ipynb, cell 3 \(cell-1\) failed"):
        runner.run([path])


def test_an_edited_copy_is_set_aside_not_lost(build, capfd):
    target = build_folder.put_notebook("a.ipynb", "first")
    build_folder.put_notebook("a.ipynb", "second")
    assert [p.name for p in build.glob("*.ipynb")] == ["a.ipynb"]
    target.write_text("a student's work")
    build_folder.put_notebook("a.ipynb", "third")
    (mine,) = (p for p in build.glob("*.ipynb") if p.name != "a.ipynb")
    assert mine.read_text() == "a student's work"
    assert target.read_text() == "third"
    assert f"your version is now {mine.name}" in capfd.readouterr().err
    target.write_text("again, in the same second")
    build_folder.put_notebook("a.ipynb", "fourth")
    assert sorted(p.read_text() for p in build.glob("a.mine*.ipynb")) == [
        "a student's work",
        "again, in the same second",
    ]
    with pytest.raises(SystemExit, match=f"files that are yours: .*{mine.name}"):
        build_folder.clean()
    assert mine.exists()
    for own in build.glob("a.mine*.ipynb"):
        own.unlink()
    build_folder.clean()
    assert not build.exists()
    build_folder.clean()  # nothing to do is no error


@pytest.mark.parametrize(
    "name",
    [
        "student/week1/mine.ipynb",
        "student/notes.txt",
        "student/b.html",
        "model.params",
        "slides/00_annotated.pdf",
        ".hidden",
    ],
)
def test_clean_keeps_what_no_tool_wrote(name, build):
    build_folder.put_notebook("a.ipynb", "ours")
    build_folder.put_notebook("student/b.ipynb", "ours")
    for ours in ("a.html", "slides/index.html", "slides/02_batch_norm_from_scratch.pdf", "screenshots/lab-01.png"):
        (build / ours).parent.mkdir(exist_ok=True)
        (build / ours).write_text("ours")
    (build / name).parent.mkdir(parents=True, exist_ok=True)
    (build / name).write_text("mine")
    with pytest.raises(SystemExit, match=f"files that are yours: {name}$"):
        build_folder.clean()
    assert (build / name).read_text() == "mine"
    (build / name).unlink()
    build_folder.clean()
    assert not build.exists()


def test_without_a_readable_record_every_notebook_counts_as_edited(build):
    target = build_folder.put_notebook("a.ipynb", "ours")
    (build / build_folder.WRITTEN).write_text("{half")
    assert build_folder.edited() == [target]
    with pytest.raises(SystemExit, match="files that are yours: a.ipynb"):
        build_folder.clean()


def test_clean_says_so_when_it_cannot(build, monkeypatch):
    build_folder.put_notebook("a.ipynb", "ours")
    monkeypatch.setattr(build_folder.shutil, "rmtree", lambda path: (_ for _ in ()).throw(PermissionError("no")))
    with pytest.raises(SystemExit, match="build/ could not be removed: no"):
        build_folder.clean()


def test_store_is_byte_stable_and_cleans_metadata(tmp_path, capfd):
    path = make_notebook(tmp_path, "print('same')", FIGURE)
    nb = nbformat.read(path, as_version=4)
    nb.cells[1].metadata = {"tags": ["W1"], "collapsed": False, "execution": {"t": 1}}
    nb.cells.append(new_code_cell("import time; time.time()", id="clock", metadata={"tags": [runner.IGNORED]}))
    nbformat.write(nb, path)
    runner.store([path])
    first = path.read_bytes()
    stored = nbformat.read(path, as_version=4)
    assert dict(stored.cells[1].metadata) == {"tags": ["W1"]}
    assert [c.execution_count for c in stored.cells if c.cell_type == "code"] == [1, 2, 3]
    assert stored.metadata == {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    assert "stored" in capfd.readouterr().out
    time.sleep(0.01)
    runner.store([path])
    assert path.read_bytes() == first
    assert "nothing changed" in capfd.readouterr().out
    stored.cells[1].source = "print('other')"
    nbformat.write(stored, path)
    runner.store([path])
    assert "other" in nbformat.read(path, as_version=4).cells[1].outputs[0].text


def test_a_print_that_arrives_in_pieces_is_stored_as_one(tmp_path):
    path = make_notebook(
        tmp_path, "import sys, time\nfor w in 'ab':\n    print(w); sys.stdout.flush(); time.sleep(0.3)"
    )
    runner.store([path])
    (output,) = nbformat.read(path, as_version=4).cells[1].outputs
    assert output.text == "a\nb\n"


def test_store_keeps_the_old_file_when_a_cell_fails(tmp_path):
    path = make_notebook(tmp_path, "1 / 0")
    before = path.read_bytes()
    with pytest.raises(runner.NotebookFailed):
        runner.store([path])
    assert path.read_bytes() == before


def test_dead_widget_views_are_not_stored():
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "x"}, "text/plain": "bar"}
    cell = new_code_cell("w", outputs=[nbformat.v4.new_output("display_data", data=view)])
    nb = new_notebook(cells=[cell], metadata={"widgets": {"state": {}}})
    runner.clean_metadata(nb)
    assert nb.cells[0].outputs == []
    assert "widgets" not in nb.metadata


def test_every_make_target_is_listed_with_a_line():
    listed = subprocess.run(["make", "-s"], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    names = [line.split()[1] for line in listed.splitlines()]
    wanted = {"setup", "data", "run", "lab", "slides", "student", "test", "notebooks", "lint", "bench", "clean"}
    assert wanted <= set(names)
    assert all(len(line.split()) > 3 for line in listed.splitlines())


def test_stored_notebooks_are_clean():
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        nb = json.loads(path.read_text())
        assert path.stat().st_size < 500_000, path
        assert set(nb["metadata"]) == {"kernelspec", "language_info"}, path
        code = [c for c in nb["cells"] if c["cell_type"] == "code"]
        assert [c["execution_count"] for c in code] == list(range(1, len(code) + 1)), path
        for cell in nb["cells"]:
            assert set(cell["metadata"]) <= runner.KEPT_CELL_METADATA, (path, cell["id"])
        for output in (o for c in code for o in c["outputs"]):
            assert output["output_type"] != "error", path
            if "image/png" in output.get("data", {}):
                assert output["metadata"]["image/png"]["alt"], path

"""The copies for students hold no solution and no output, and are else the course's notebooks."""

import ast
import re
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

import build_folder
import student
from student import tags

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = {path.name: nbformat.read(path, as_version=4) for path in sorted(FOLDER.glob("*.ipynb"))}
each_notebook = pytest.mark.parametrize("name", NOTEBOOKS)


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    build = tmp_path_factory.mktemp("build")
    assert student.main(["--build", str(build)]) == 0
    return build


def copy_of(name, build):
    return nbformat.read(build / "student" / name, as_version=4)


def code(nb, tag=None):
    return [c for c in nb.cells if c.cell_type == "code" and (tag is None or tag in tags(c))]


def answer_name(cell):
    """The name that a check is called with."""
    return re.findall(r"^check_\w+\((\w+)\)", cell.source, flags=re.M)[-1]


def renamed(solution, name):
    """A solution's code under the name that the stub gives, as a student would have written it; without its check."""
    source = solution.source[: solution.source.rindex("\ncheck_")]
    return re.sub(rf"\b{answer_name(solution)}\b", name, source)


def test_there_is_a_copy_of_each_notebook(build):
    assert sorted(p.name for p in (build / "student").iterdir()) == list(NOTEBOOKS)
    assert (build / "data").resolve() == FOLDER.parent / "data"  # where d2l looks from build/student


@each_notebook
def test_no_solution_and_no_output(name, build):
    nb = copy_of(name, build)
    text = (build / "student" / name).read_text()
    assert not re.search(r"\w+_solution\b|\w+Solution\b", text)
    prose = "\n".join(c.source for c in nb.cells if c.cell_type == "markdown")
    assert not re.search(r"\bsolutions?\b|git restore", prose, re.I)  # nor a hint at them
    for solution in code(NOTEBOOKS[name], "solution"):
        assert not any(solution.source in c.source for c in nb.cells)
        for definition in (n for n in ast.parse(solution.source).body if isinstance(n, ast.FunctionDef | ast.ClassDef)):
            body = "\n".join(ast.unparse(node) for node in definition.body if not isinstance(node, ast.Expr))
            assert body
            assert not any(body in ast.unparse(ast.parse(c.source)) for c in code(nb)), solution.id
    assert all(c.outputs == [] and c.execution_count is None for c in code(nb))


@each_notebook
def test_with_the_solutions_put_back_it_is_the_notebook_that_nbval_runs(name, build):
    """So the copy runs as far as its first stub: nbval executes these very cells, in this order."""
    nb, own = copy_of(name, build), NOTEBOOKS[name]
    copied = {c.id: c for c in nb.cells}
    solutions = [c for c in own.cells if "solution" in tags(c)]
    assert len(nb.cells) + len(solutions) == len(own.cells)
    together = [copied.get(c.id, c) for c in own.cells]
    assert [c.id for c in together if c.id in copied] == [c.id for c in nb.cells]
    for cell, original in zip(together, own.cells, strict=True):
        assert (cell.cell_type, cell.source, cell.metadata) == (original.cell_type, original.source, original.metadata)
    assert nb.metadata == own.metadata


def test_a_proof_stays_and_stays_folded():
    folded = {"tags": ["proof", "hide-input"], "jupyter": {"source_hidden": True}}
    proof = new_code_cell("# Proof: one is one.\nassert 1 == 1", id="proof", metadata=folded, execution_count=1)
    copy = student.student_copy(new_notebook(cells=[proof]), "tiny.ipynb")
    assert [(c.id, c.source, c.metadata) for c in copy.cells] == [("proof", proof.source, folded)]


@each_notebook
def test_every_check_passes_with_the_solution_in_the_stubs_place(name, build, capsys):
    nb, solutions = copy_of(name, build), code(NOTEBOOKS[name], "solution")
    names = {}
    for cell in code(nb):
        body = ast.parse(cell.source).body
        definitions_only = all(
            isinstance(n, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef) for n in body
        )
        if cell.id == "setup" or definitions_only or "check" in tags(cell):
            exec(cell.source, names)
        if "check" in tags(cell):
            stub = answer_name(cell)
            assert capsys.readouterr().out.splitlines()[-1].startswith(f"○ {stub}: not written yet")
            exec(renamed(solutions.pop(0), stub), names)
            exec(cell.source, names)
            assert capsys.readouterr().out.startswith(f"✓ {stub}: ")
    assert not solutions


def test_a_student_s_work_is_left_as_it_is(tmp_path, capfd):
    assert student.main(["--build", str(tmp_path)]) == 0
    first, second = (tmp_path / "student" / name for name in list(NOTEBOOKS)[:2])
    clean = first.read_bytes()
    first.write_text("a student's work")
    second.unlink()
    (tmp_path / "student" / "notes.ipynb").write_text("mine")
    assert student.main(["--build", str(tmp_path)]) == 0
    assert first.read_text() == "a student's work"
    assert f"{first.name} was edited: left as it is" in capfd.readouterr().err
    assert second.exists()
    assert (tmp_path / "student" / "notes.ipynb").read_text() == "mine"
    with pytest.raises(SystemExit, match=f"files that are yours: student/{first.name}, student/notes.ipynb"):
        build_folder.clean(tmp_path)
    first.rename(tmp_path / "student" / "mine.ipynb")
    assert student.main(["--build", str(tmp_path)]) == 0
    assert first.read_bytes() == clean
    for mine in ("mine.ipynb", "notes.ipynb"):
        (tmp_path / "student" / mine).unlink()
    build_folder.clean(tmp_path)
    assert not tmp_path.exists()
    assert (FOLDER.parent / "data" / "README.md").exists()  # the link went, not what it led to


@pytest.mark.parametrize("part", ["stub", "check", "solution"])
def test_an_exercise_that_is_not_whole_is_an_error_and_nothing_is_written(part, tmp_path, capsys):
    source = next(iter(NOTEBOOKS))
    nb = nbformat.from_dict({**NOTEBOOKS[source]})
    for number in (1, 2):  # in the middle, and at the end
        nb.cells = [c for c in NOTEBOOKS[source].cells if c.id != f"exercise-{number}-{part}"]
        nbformat.write(nb, tmp_path / source)
        assert student.main([str(tmp_path / source), "--build", str(tmp_path / "build")]) == 1
        message = capsys.readouterr().err
        assert message.startswith(f"{source}: ")
        assert f"exercise-N-{part}" in message or f"no {part}" in message
        assert not (tmp_path / "build").exists()


def test_where_no_link_can_be_made_it_says_what_follows(tmp_path, monkeypatch, capfd):
    def refuse(*args, **kwargs):
        raise OSError("no right to make links")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    source = FOLDER / next(iter(NOTEBOOKS))
    assert student.main([str(source), "--build", str(tmp_path)]) == 0
    assert "d2l will fetch its own copy there (no right to make links)" in capfd.readouterr().err
    assert (tmp_path / "student" / source.name).exists()

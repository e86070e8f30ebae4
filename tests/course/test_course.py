"""The notebooks keep the course's promises: every row of the syllabus run, outputs compared, exercises with checks,
lessons that are short."""

import ast
import importlib
import re
from itertools import chain
from pathlib import Path

import nbformat
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from d2lnorm.course import explorables
from notebook_file import IGNORED

FOLDER = Path(__file__).parents[2] / "notebooks"
# What each notebook teaches: the rows of the course's syllabus. W: worked numbers, T: reference tables, B: things
# built from scratch, E: errors of widely copied notes, C: claims put to the test on real data,
# S: sequences and Transformers, P: batch norm across processes.
TAUGHT = {
    "00_start_here": "",
    "01_why_normalize": "W9 C8 C13 C16 E15",
    "02_batch_norm_from_scratch": "W1 W2 W3 W4 B1 B3 T4 E11",
    "03_running_statistics": "B2 W7 T3 T9 E4 E5 E6 E12 C10",
    "04_nn_batchnorm": "W6 T1 T2 B6 E9 C12",
    "05_layer_norm_and_relatives": "B4 T5 T6 C11",
    "06_dropout": "B5 W5 W8 T7 E13 C7",
    "07_lenet_fashion_mnist": "W10 B7 E14 C1 C2 C4 C14",
    "08_choosing_a_norm": "C3 C5 C6 C9 C15 C17 T8 B8",
    "09_sequences_and_transformers": "S1 S2 S3 S4 S5 S6",
    "10_batch_norm_across_processes": "P1 P2 P3 P4 P5 P6",
    "11_errata_of_the_notes": " ".join(f"E{n}" for n in range(1, 18)),
}
ONLY_IN_THE_APPENDIX = {"E1", "E2", "E3", "E7", "E8", "E10", "E16", "E17"}
ROWS = {
    f"{kind}{n}"
    for kind, last in {"W": 10, "T": 9, "B": 8, "E": 17, "C": 17, "S": 6, "P": 6}.items()
    for n in range(1, last + 1)
}
WAYS = ("by-hand", "from-scratch", "torch-nn")
# The numbers of the worked examples that must come out in each way, to four digits.
NUMBERS = {
    "W1": [2, 3, 0.6667, 0.2, 0.3],
    "W2": [0.8137, 1.7290, 1.8307, 2.7461, 2.8478, 3.7632, 0.8, 1.7, 1.8, 2.7, 2.8, 3.7],
    "W3": [6.5, 10.5, 17.25, 19.7143, -1.3242, -1.0835, -0.8427, -0.6019, 1.3242, 0.65, 1.05, 2.8714],
    "W4": [0.375, 0.6919, 0.9918, 0.5109, -1.6530, 0.1503],
    "W5": [0, 2],
    "W6": [],  # random ones
    "W7": [0.1, 0.19, 0.271],
    "W9": [4.54e-05],
}
ONLY_IN = {("W1", "by-hand"): [0.9667, 1.0], ("W1", "from-scratch"): [0.9667], ("W1", "torch-nn"): [1.0]}

NOTEBOOKS = {path.stem: nbformat.read(path, as_version=4) for path in sorted(FOLDER.glob("*.ipynb"))}
each_notebook = pytest.mark.parametrize("name", NOTEBOOKS)


LESSONS = [name for name in NOTEBOOKS if name < "09"]  # the course; what follows is for those who go on
# What a newcomer reads once: words of prose and code cells, of a notebook and of all the lessons.
SHORT, TOGETHER, SHORT_TOGETHER = (2200, 45), "00 to 08 together", (16_000, 340)


def code_cells(name, *tags):
    """The code cells of a notebook that have all of the tags."""
    return [c for c in NOTEBOOKS[name].cells if c.cell_type == "code" and set(tags) <= set(tags_of(c))]


def tags_of(cell):
    return cell.metadata.get("tags", [])


def text_of(cell):
    """What the cell's stored output says in words and numbers."""
    return "\n".join(o.get("text") or o.get("data", {}).get("text/plain", "") for o in cell.outputs)


def prose(name):
    return "\n\n".join(c.source for c in NOTEBOOKS[name].cells if c.cell_type == "markdown")


def is_compared(cell):
    return cell.execution_count is not None and not {IGNORED, "nbval-skip"} & set(tags_of(cell))


def asserts(cell):
    return any(
        isinstance(node, ast.Assert) or (isinstance(node, ast.Name | ast.Attribute) and "assert" in ast.unparse(node))
        for node in ast.walk(ast.parse(cell.source))
    )


def calls(cell, function):
    return any(
        isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == function
        for node in ast.walk(ast.parse(cell.source))
    )


def test_the_course_has_its_notebooks():
    assert list(NOTEBOOKS) == list(TAUGHT)
    assert len(LESSONS) == 9


def test_every_row_of_the_syllabus_is_taught_by_executed_cells(tell):
    where = {row: [] for row in sorted(ROWS, key=lambda row: ("WTBECSP".index(row[0]), int(row[1:])))}
    for name in NOTEBOOKS:
        for cell in code_cells(name):
            for row in ROWS & set(tags_of(cell)):
                assert cell.execution_count is not None, (name, cell.id)
                where[row].append((name, cell.id))
    lines = ["where each row of the syllabus is taught (notebook: cells)"]
    for row, cells in where.items():
        names = {name: [i for n, i in cells if n == name] for name, _ in cells}
        lines.append(f"{row:>4}  " + "; ".join(f"{name[:2]}: {', '.join(ids)}" for name, ids in names.items()))
    tell(*lines)
    for name, rows in TAUGHT.items():
        for row in rows.split():
            assert any(n == name for n, _ in where[row]), f"{row} is not taught in {name}"
    assert all(where.values())
    left = {name: {row for row in ONLY_IN_THE_APPENDIX if name in {n for n, _ in where[row]}} for name in LESSONS}
    assert not any(left.values()), left
    assert set(chain(*(rows.split() for rows in TAUGHT.values()))) == ROWS


def test_at_least_90_percent_of_the_code_cells_are_compared(tell):
    cells = [(c, name) for name in NOTEBOOKS for c in code_cells(name)]
    share = sum(is_compared(c) for c, _ in cells) / len(cells)
    lines = [f"{len(cells)} code cells, {share:.1%} of them compared with their stored output"]
    for name in NOTEBOOKS:
        own = code_cells(name)
        lines.append(f"  {name:<28} {sum(map(is_compared, own)):3d} of {len(own):3d}")
    tell(*lines)
    assert share >= 0.9
    assert not [(name, c.id) for c, name in cells if "nbval-skip" in tags_of(c)]


def test_the_worked_numbers_are_what_torch_computes():
    X = torch.tensor([[1.0, 2], [2, 3], [3, 4]])
    bn = nn.BatchNorm1d(2)
    bn(X)
    torch.testing.assert_close(bn.running_mean, torch.tensor([0.2, 0.3]))
    torch.testing.assert_close(bn.running_var, torch.tensor([1.0, 1.0]))
    mean, var = torch.tensor([0.2, 0.3]), torch.tensor([0.9667, 0.9667])
    W2 = torch.cat([F.batch_norm(X, mean, var).flatten(), bn.eval()(X).flatten()])
    torch.testing.assert_close(W2, torch.tensor(NUMBERS["W2"]), rtol=0, atol=6e-5)
    x = torch.arange(1.0, 17).view(2, 2, 2, 2)
    bn = nn.BatchNorm2d(2)
    y = bn(x)
    channels = x.transpose(0, 1).flatten(1)
    W3 = [*channels.mean(1), channels[0].var(unbiased=False), channels[1].var(), *y[0, 0].flatten(), -y[0, 0, 0, 0]]
    W3 = torch.stack([*W3, *bn.running_mean, bn.running_var[0]])
    torch.testing.assert_close(W3, torch.tensor(NUMBERS["W3"]), rtol=0, atol=6e-5)
    column = torch.tensor([[1.2], [0.8], [-1.0], [0.5]])
    W4 = [column.mean(), column.var(unbiased=False), *nn.BatchNorm1d(1)(column).flatten()]
    torch.testing.assert_close(torch.stack(W4), torch.tensor(NUMBERS["W4"]), rtol=0, atol=6e-5)
    torch.testing.assert_close(1 - 0.9 ** torch.arange(1.0, 4), torch.tensor(NUMBERS["W7"]))
    ten = torch.tensor(10.0, requires_grad=True)
    torch.sigmoid(ten).backward()
    assert abs(ten.grad.item() - NUMBERS["W9"][0]) < 6e-8


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("row", NUMBERS)
def test_worked_numbers_come_out_by_hand_from_scratch_and_by_torch(row, way):
    name = next(n for n, rows in TAUGHT.items() if row in rows.split())
    cells = code_cells(name, row, way)
    assert cells, f"{name} has no cell tagged {row} and {way}"
    defined = [node for c in code_cells(name, row) for node in ast.parse(c.source).body if hasattr(node, "name")]
    helpers = {node.name for node in defined if "assert" in ast.unparse(node)}
    asserted = any(asserts(c) or any(calls(c, h) for h in helpers) for c in cells)
    assert asserted, f"{name} asserts nothing of {row} in its cells tagged {way}"
    shown = "\n".join(text_of(c) for c in cells if is_compared(c))
    found = [float(n) for n in re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", shown)]
    for number in NUMBERS[row] + ONLY_IN.get((row, way), []):
        close = 6e-5 if abs(number) > 0.001 else 0.005 * abs(number)
        assert any(abs(f - number) <= close for f in found), f"{row} {way}: no {number} in what {name} prints:\n{shown}"
    if way == "by-hand":
        for cell in cells:
            assert not re.search(r"\.(mean|var|std)\(|F\.|nn\.", cell.source), f"{cell.id}: is that by hand?"


def words(name):
    return sum(len(c.source.split()) for c in NOTEBOOKS[name].cells if c.cell_type == "markdown")


def test_a_lesson_is_short_enough_to_be_read_once(tell):
    size = {name: (words(name), len(code_cells(name))) for name in NOTEBOOKS}
    size[TOGETHER] = tuple(sum(size[name][n] for name in LESSONS) for n in (0, 1))
    allowed = dict.fromkeys(NOTEBOOKS, SHORT) | {TOGETHER: SHORT_TOGETHER}
    lines = ["words of prose and code cells, and how many there may be"]
    for name, (w, c) in size.items():
        lines.append(f"  {name:<28} {w:6,} of {allowed[name][0]:6,} {c:5d} of {allowed[name][1]:3d}")
    tell(*lines)
    for name, (w, c) in size.items():
        assert w <= allowed[name][0], f"{name} has {w} words"
        assert c <= allowed[name][1], f"{name} has {c} code cells"


def names_of(cell, context):
    """The names that a cell defines (ast.Store) or uses (ast.Load)."""
    nodes = list(ast.walk(ast.parse(cell.source)))
    found = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, context)}
    if context is ast.Store:
        found |= {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    return found


def only_asserts(cell, later):
    """Whether a cell asserts, shows nothing, and makes nothing that a later cell uses."""
    made = names_of(cell, ast.Store)
    for other in later:
        again = names_of(other, ast.Store)
        if made & names_of(other, ast.Load) - again:
            return False
        made -= again
    return asserts(cell) and not cell.outputs


def test_what_is_claimed_is_asserted_in_the_cell_that_shows_it(tell):
    """A cell of asserts alone stops a reader, and proves what stands elsewhere. One that is folded does not."""
    silent = {}
    for name in NOTEBOOKS:
        cells = code_cells(name)
        alone = (c for n, c in enumerate(cells) if only_asserts(c, cells[n + 1 :]))
        silent[name] = [c.id for c in alone if not {"proof", "check"} & set(tags_of(c))]
    left = {name[:2]: len(ids) for name, ids in silent.items() if ids}
    tell(f"cells of asserts alone: {left or 'none'}")
    for name, ids in silent.items():
        assert not ids, f"{name}: asserts alone in {ids}"


@each_notebook
def test_a_busy_machine_costs_a_notebook_its_share_and_not_ten_times(name):
    """With more threads, an optimizer's loop beside another busy program took 30 times as long."""
    assert "torch.set_num_threads(1)" in code_cells(name)[0].source


@each_notebook
def test_a_proof_is_folded_and_says_what_it_proves_one_a_section(name):
    section, seen = "", []
    for cell in NOTEBOOKS[name].cells:
        if cell.cell_type == "markdown":
            section = (re.findall(r"^## (.+)$", cell.source, flags=re.M) or [section])[-1]
        elif "proof" in tags_of(cell):
            assert "hide-input" in tags_of(cell), cell.id
            assert cell.metadata.get("jupyter") == {"source_hidden": True}, cell.id
            assert re.match(r"# Proof: \S", cell.source), cell.id
            assert asserts(cell), cell.id
            seen.append(section)
    assert len(seen) == len(set(seen)), f"more than one proof in a section: {seen}"


@each_notebook
def test_errors_of_the_notes_have_one_form(name):
    for row in re.findall(r"E\d+", TAUGHT[name]):
        cells = code_cells(name, row)
        assert any(map(asserts, cells)), f"{row}: nothing asserted"
        assert any("Verdict" in text_of(c) for c in cells), f"{row}: no verdict is shown"


@each_notebook
def test_claims_on_real_data_have_a_figure_and_asserts(name):
    for row in re.findall(r"C\d+", TAUGHT[name]):
        cells = code_cells(name, row)
        assert any("image/png" in o.get("data", {}) for c in cells for o in c.outputs), f"{row}: no figure"
        assert any(asserts(c) and IGNORED not in tags_of(c) for c in cells), f"{row}: nothing asserted"


@each_notebook
def test_tables_come_from_running_code(name):
    for row in re.findall(r"T\d+", TAUGHT[name]):
        assert any(calls(c, "table") for c in code_cells(name, row)), f"{row}: no cell makes a table"


@each_notebook
def test_opening_and_end(name):
    cells = NOTEBOOKS[name].cells
    assert re.match(rf"# {name[:2]} · \S", cells[0].source)
    for words in ("**After this notebook you can**", "**You need**", "**Time**", "2 cores"):
        assert words in cells[0].source
    assert "torch.__version__" in next(c for c in cells if c.cell_type == "code").source
    headings = re.findall(r"^## (.+)$", prose(name), flags=re.M)
    assert headings[-3:] == ["Summary", "Exercises", "References"]


@each_notebook
def test_the_student_is_asked_to_predict(name):
    assert prose(name).count("**Predict:**") >= 3


@each_notebook
def test_exercises_have_stub_check_and_a_collapsed_solution(name):
    cells = {c.id: c for c in NOTEBOOKS[name].cells}
    minutes, checked = [], []
    count = sum(re.fullmatch(r"exercise-\d", i) is not None for i in cells)
    least = {"00_start_here": 2, "11_errata_of_the_notes": 1}.get(name, 3)  # an invitation, and an appendix
    assert least <= count <= 5
    for n in range(1, count + 1):
        task, stub, check, solution = (cells[f"exercise-{n}{part}"] for part in ("", "-stub", "-check", "-solution"))
        order = [i for i in cells if re.match(rf"exercise-{n}(-stub|-check|-solution)?$", i)]
        assert order == [f"exercise-{n}{part}" for part in ("", "-stub", "-check", "-solution")]
        minutes.append(int(re.match(rf"### Exercise {n} · .+ \((\d+) minutes\)\n", task.source)[1]))
        assert "exercise" in tags_of(stub)
        assert "raise NotImplementedError" in stub.source
        (function,) = re.findall(r"^(check_\w+)\(\w+\)", check.source, flags=re.M)
        assert "check" in tags_of(check)
        assert text_of(check).startswith("○ ")
        assert function in solution.source
        assert "solution" in tags_of(solution)
        assert solution.metadata["jupyter"] == {"source_hidden": True}
        assert text_of(solution).splitlines()[-1].startswith("✓ ")
        assert is_compared(solution)
        checked.append(function)
    assert minutes == sorted(minutes)
    module = importlib.import_module(f"d2lnorm.course.exercises.{name[3:]}")
    assert sorted(checked) == sorted(module.__all__)


@each_notebook
def test_one_thing_a_cell(name):
    for cell in code_cells(name):
        lines = [line for line in cell.source.splitlines() if line.strip()]
        limit = 40 if cell.id == "setup" or re.search(r"^(class|def) ", cell.source, flags=re.M) else 24
        assert len(lines) <= limit, f"{cell.id} has {len(lines)} lines"


EXPLORED = {  # which explorables each notebook shows
    "01": ["depth"],
    "02": ["one_batch", "push_one_output"],
    "03": ["running_mean"],
    "04": ["one_batch"],
    "05": ["which_values"],
    "06": ["dropout"],
}


@each_notebook
def test_what_moves_answers_the_hand_and_is_not_stored(name):
    shown = []
    for cell in code_cells(name, "widget"):
        (expression,) = ast.parse(cell.source).body
        module, _, called = ast.unparse(expression.value.func).partition(".")
        assert module == "explorables"
        shown.append(called)
        state = {argument.arg: ast.literal_eval(argument.value) for argument in expression.value.keywords}
        assert getattr(explorables, called)(**state).state().items() >= state.items()
        assert cell.source.startswith("# "), f"{cell.id}: say what to try"
        assert not cell.outputs, f"{name}, {cell.id}: a stored widget is dead"
    assert shown == EXPLORED.get(name[:2], [])


@each_notebook
def test_images_in_the_prose_have_words_too(name):
    assert "![](" not in prose(name)
    assert "<img" not in prose(name)
    assert not re.search(r"!\[[^\]]*\]\((?!attachment:)", prose(name)), "a page in build/ would lack that file"


def test_links_between_notebooks_lead_somewhere():
    for name in NOTEBOOKS:
        for target in re.findall(r"\]\(([^)#]+\.ipynb)\)", prose(name)):
            assert (FOLDER / target).exists(), (name, target)

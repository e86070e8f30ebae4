"""Notebooks as other programs save them can be run and stored."""

import json

import nbformat
import pytest
from tiny_notebooks import ROOT, make_notebook, outputs

import notebook_file
import notebooks as runner

VS_CODE = {
    "cells": [
        {"cell_type": "markdown", "metadata": {}, "source": ["# Title"]},
        {
            "cell_type": "code",
            "execution_count": 3,
            "metadata": {"vscode": {"languageId": "python"}, "tags": ["W1"]},
            "outputs": [],
            "source": ["a = 1\r\n", "a + 1"],
        },
    ],
    "metadata": {
        "kernelspec": {"display_name": ".venv (3.9.1)", "language": "python", "name": "python39-of-another-machine"},
        "language_info": {"name": "python", "version": "3.9.1", "nbconvert_exporter": "python"},
        "orig_nbformat": 4,
    },
    "nbformat": 4,
    "nbformat_minor": 2,
}
COLAB = {
    "nbformat": 4,
    "nbformat_minor": 0,
    "metadata": {
        "accelerator": "GPU",
        "colab": {"provenance": [], "gpuType": "T4"},
        "kernelspec": {"name": "python3", "display_name": "Python 3"},
        "widgets": {"application/vnd.jupyter.widget-state+json": {"abc": {"model_name": "FloatProgressModel"}}},
    },
    "cells": [
        {"cell_type": "markdown", "source": ["# Title"], "metadata": {"id": "xyz"}},
        {"cell_type": "code", "source": ["1 + 1"], "metadata": {"id": "x", "outputId": "y", "tags": ["W1"]}},
    ],
}


@pytest.mark.parametrize("saved", [VS_CODE, COLAB], ids=["VS Code", "Colab"])
def test_other_programs_notebooks_run_and_are_stored_clean(saved, tmp_path, build, capfd):
    path = tmp_path / "05_tiny.ipynb"
    path.write_text(json.dumps(saved))
    assert runner.run([path], build) == 0
    assert outputs(build / path.name) == ["2"]
    assert json.loads(path.read_text()) == saved
    assert runner.store([path]) == 0
    nb = json.loads(path.read_text())
    nbformat.validate(nbformat.from_dict(nb))
    assert [cell["id"] for cell in nb["cells"]] == ["cell-0", "cell-1"]
    assert nb["metadata"].keys() == {"kernelspec", "language_info"}
    assert nb["metadata"]["kernelspec"]["name"] == "python3"
    assert nb["cells"][1]["metadata"] == {"tags": ["W1"]}
    assert "\r" not in path.read_text()
    before = path.read_bytes()
    assert runner.store([path]) == 0
    assert path.read_bytes() == before
    assert "nothing changed" in capfd.readouterr().out


def test_line_ends_of_windows_are_no_change(tmp_path, capfd):
    path = make_notebook(tmp_path, "print('a')\n1 + 1")
    assert runner.store([path]) == 0
    stored = path.read_bytes()
    path.write_bytes(b"\xef\xbb\xbf" + stored.replace(b"\n", b"\r\n"))
    assert notebook_file.read(path) == nbformat.reads(stored.decode(), as_version=4)
    path.write_bytes(stored.replace(b"\n", b"\r\n"))
    before = path.read_bytes()
    assert runner.store([path]) == 0
    assert path.read_bytes() == before
    assert capfd.readouterr().out.endswith("05_tiny.ipynb: nothing changed, left as it is\n")


def test_ids_are_kept_where_they_are_right_and_made_where_not(tmp_path):
    path = tmp_path / "a.ipynb"
    cells = [{"cell_type": "raw", "source": "", "metadata": {}} for _ in range(5)]
    for cell, id in zip(cells, ("cell-1", None, "mine", "mine", None), strict=True):
        cell |= {"id": id} if id else {}
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    nb = notebook_file.read(path)
    assert [cell.id for cell in nb.cells] == ["cell-1", "cell-2", "mine", "cell-3", "cell-4"]
    nbformat.validate(nb)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("<<<<<<< HEAD\n{}", "is no notebook that can be read: JSONDecodeError: Expecting value: line 1"),
        ("", "is no notebook that can be read: JSONDecodeError"),
        ("[]", "is no notebook that can be read: TypeError"),
        ('{"nbformat": 4}', "is no notebook that can be read: KeyError"),
        ('{"nbformat": 4, "nbformat_minor": 5, "cells": [{}]}', "is no notebook that can be read: KeyError"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_what_is_no_notebook_is_named_and_the_others_run(content, said, tmp_path, build, capfd):
    path = tmp_path / "0_broken.ipynb"
    if content is not None:
        path.write_text(content)
    assert runner.run([path], build) == 1
    assert f"{path} {said}" in capfd.readouterr().err
    assert runner.store([path]) == 1
    assert f"{path} {said}" in capfd.readouterr().err


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_the_course_s_notebooks_are_read_and_written_without_a_change(path):
    nb = notebook_file.read(path)
    notebook_file.clean_metadata(nb)
    assert nbformat.writes(nb) + "\n" == path.read_text(encoding="utf-8")

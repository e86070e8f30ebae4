"""A notebook as a file: read whoever saved it, cleaned of what differs between machines, compared."""

import json
import re
from pathlib import Path

import nbformat

KEPT_CELL_METADATA = {"tags", "slideshow", "jupyter"}
IGNORED = "nbval-ignore-output"
NUMBER = re.compile(r" *[-+]?\d[\d.,]*(e[-+]?\d+)?|nan|inf")
IMAGES = {"image/png", "image/jpeg"}


class NotANotebook(Exception):
    """A file cannot be read as a notebook; the message names it and says why."""


def read(path: Path) -> nbformat.NotebookNode:
    """Return the notebook at `path` in the present format, also where VS Code, Colab or an old Jupyter saved it.

    Cells without an id, or with one that an earlier cell has, get one by their number; line ends are newlines.

    Raises:
        NotANotebook: there is no such file, or it holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))  # some editors on Windows write a mark first
        if content["nbformat"] == 4:
            content["nbformat_minor"] = max(5, content["nbformat_minor"])
            _complete(content["cells"])
        return nbformat.reads(json.dumps(content), as_version=4)
    except OSError as error:
        raise NotANotebook(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotANotebook(f"{path} is no notebook that can be read: {type(error).__name__}: {error}") from None


def _complete(cells: list[dict]) -> None:
    """Put into each cell, in place, what the format asks for and some programs leave out."""
    given, seen = {cell.get("id") for cell in cells}, set()
    for number, cell in enumerate(cells):
        if cell.get("id") in seen | {None}:
            cell["id"] = next(new for n in range(len(cells) + 1) if (new := f"cell-{number + n}") not in given | seen)
        seen.add(cell["id"])
        cell.setdefault("metadata", {})
        cell["source"] = "".join(cell["source"]).replace("\r\n", "\n")
        if cell["cell_type"] == "code":
            cell.setdefault("outputs", [])
            cell.setdefault("execution_count", None)


def clean_metadata(nb: nbformat.NotebookNode) -> None:
    """Drop, in place, what differs between machines: kernel details, widget state, foreign cell metadata."""
    nb.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    for cell in nb.cells:
        cell.metadata = nbformat.from_dict({k: v for k, v in cell.metadata.items() if k in KEPT_CELL_METADATA})
        if cell.cell_type == "code":
            cell.outputs = [
                o for o in cell.outputs if "application/vnd.jupyter.widget-view+json" not in o.get("data", {})
            ]


def compared(nb: nbformat.NotebookNode) -> list:
    """Return what must be equal for two executions to count as the same: all but the numbers that nbval ignores."""

    def shown(output: dict, ignored: bool) -> dict:
        data = {k: v for k, v in output.get("data", {}).items() if not (ignored and k in IMAGES)}
        output = {**output, "data": data}
        return {k: NUMBER.sub("#", str(v)) for k, v in output.items()} if ignored else output

    return [
        (c.id, c.cell_type, c.source, c.metadata)
        + ((c.execution_count, [shown(o, IGNORED in c.metadata.get("tags", [])) for o in c.outputs])
           if c.cell_type == "code" else ())
        for c in nb.cells
    ]  # fmt: skip

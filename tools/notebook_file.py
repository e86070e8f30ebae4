"""A notebook as a file: read whoever saved it, cleaned of what differs between machines, compared."""

import json
import re
from pathlib import Path

import nbformat

KEPT_CELL_METADATA = {"tags", "slideshow", "jupyter"}
IGNORED = "nbval-ignore-output"
NUMBER = re.compile(r" *[-+]?\d[\d.,]*(e[-+]?\d+)?|nan|inf")
IMAGES = {"image/png", "image/jpeg"}
SKIPPED = {"proof", "solution", "setup"}  # ids and tags of cells that no slide shows
SCREEN = 1000  # pixels of a slide that are filled before the next one begins below it


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
            "language_info": {  # all that nbconvert needs to write a .py; no version, which differs
                "file_extension": ".py",
                "mimetype": "text/x-python",
                "name": "python",
                "nbconvert_exporter": "python",
                "pygments_lexer": "ipython3",
            },
        }
    )
    for cell in nb.cells:
        cell.metadata = nbformat.from_dict({k: v for k, v in cell.metadata.items() if k in KEPT_CELL_METADATA})
        if cell.cell_type == "code":
            cell.outputs = [
                o for o in cell.outputs if "application/vnd.jupyter.widget-view+json" not in o.get("data", {})
            ]


def height(cell: nbformat.NotebookNode) -> float:
    """Estimate how many pixels high a cell is on a slide of nbconvert's: 75 letters of text or a line of code, 24."""
    lines = sum(1 + len(line) // 75 for line in cell.source.splitlines())
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        text = output.get("text") or data.get("text/plain", "")
        lines += 18 if IMAGES & set(data) else 1.5 * len(text.splitlines())
    return 24 * (lines + 1)


def put_slide_types(nb: nbformat.NotebookNode) -> None:
    """Mark, in place, where `jupyter nbconvert --to slides` begins a slide; what an author has marked stays.

    A title begins a slide. A figure, or a cell for which there is no room, begins one below it. Proofs, solutions and
    the imports are skipped.
    """
    used = 0.0
    for cell in nb.cells:
        kind, title = cell.metadata.get("slideshow", {}).get("slide_type"), cell.source.startswith("#")
        figure = any(IMAGES & set(output.get("data", {})) for output in cell.get("outputs", []))
        if kind is None:
            if SKIPPED & {cell.id, *cell.metadata.get("tags", [])}:
                kind = "skip"
            elif cell.cell_type == "markdown" and title:
                kind = "slide"
            elif figure or used + height(cell) > SCREEN:
                kind = "subslide"
            if kind:
                cell.metadata["slideshow"] = {"slide_type": kind}
        used = height(cell) + (0 if kind in ("slide", "subslide") else used) if kind != "skip" else used


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

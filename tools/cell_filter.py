"""A Pandoc filter that puts a notebook's cells into a deck. All else in a deck is Pandoc's own Markdown.

The deck's front matter names the notebook: `notebook: ../notebooks/02_batch_norm_from_scratch.ipynb`. Then

    ::: {.cell #ID show=code from="class BatchNorm" to="self.eps = eps"}
    :::

is replaced by the cell with that id. `show` is `code` (its source), `output` (what it printed, its table or figure) or
`verdict` (its claim, then at each key press the run, the verdict, the cause). `from` and `to` cut code and printed
lines: from the first that holds the one text to the next that holds the other; `lines=5` ends after five. Letters are
as large as the column allows, or `letters=18` pixels.

    ::: {.explorable #one_batch values="1,2,9"}
    :::

is replaced by that explorable in that state; in PowerPoint by a picture of it. Above notes, `::: {.notes minutes=2}`,
the speaker sees a clock.
"""

import base64
import re
import sys
from html import escape
from itertools import accumulate
from pathlib import Path
from textwrap import dedent

import nbformat
import panflute as pf
import pypandoc

from browser import NoBrowser, chromium

sys.path.append(str(Path(__file__).parents[1]))  # Pandoc starts this file, perhaps where the package is not installed

NEVER = {"solution", "setup"}  # ids and tags of cells that no slide shows


def lines_of(text: str, div: pf.Div, kind: str) -> pf.CodeBlock:
    """Return the lines that `from`, `to` and `lines` choose; deck.css makes letters as large as the longest allows."""
    lines, start, end = text.splitlines(), div.attributes.get("from", ""), div.attributes.get("to")
    first = next((n for n, line in enumerate(lines) if start in line), None)
    last = first if end is None else next((n for n in range(first or 0, len(lines)) if end in lines[n]), None)
    if first is None or last is None:
        raise ValueError(f"no line of it contains {(start if first is None else end)!r}")
    count = int(div.attributes.get("lines", len(lines) if end is None else last + 1 - first))
    chosen = dedent("\n".join(lines[first : first + count]))
    style = f"--longest: {max(map(len, chosen.splitlines()), default=1)}; --lines: {len(chosen.splitlines())}"
    return pf.CodeBlock(chosen, classes=[kind], attributes={"style": style})


def shown(output: nbformat.NotebookNode, div: pf.Div) -> list[pf.Element]:
    """Return the blocks that show an output: printed lines, a figure, a table or a value."""
    data = output.get("data", {})
    if "text" in output or set(data) == {"text/plain"}:
        return [lines_of(output.get("text") or data["text/plain"], div, "printed")]
    if {"from", "to", "lines"} & set(div.attributes):
        raise ValueError("only code and printed lines can be cut, not a table or a figure")
    if png := data.get("image/png", "").strip():
        alt = output.metadata.get("image/png", {}).get("alt", "")
        if folder := div.doc.get_metadata("figures", ""):  # PowerPoint's writer wants a file
            Path(folder, f"{div.identifier}.png").write_bytes(base64.b64decode(png))
            return [pf.Para(pf.Image(url=f"{div.identifier}.png", title=alt))]
        return [pf.Para(pf.Image(pf.Str(alt), url=f"data:image/png;base64,{png}"))]
    kind = "html" if "text/html" in data else "markdown"
    shape = re.compile(r"\([\d, ]+\)")  # is not broken over two lines
    text = shape.sub(lambda match: match[0].replace(" ", "&nbsp;"), data.get(f"text/{kind}", ""))
    return pf.convert_text(text, kind, pandoc_path=pypandoc.get_pandoc_path())


def show(div: pf.Div, cell: nbformat.NotebookNode | None) -> pf.Div:
    """Return what stands in a deck in the place of `::: {.cell #ID show=...}`."""
    what, options = div.attributes.get("show"), set(div.attributes) - {"show", "from", "to", "lines", "letters"}
    if cell is None or cell.cell_type != "code":
        raise ValueError("the notebook has no code cell with this id")
    if never := NEVER & {div.identifier, *cell.metadata.get("tags", [])}:
        raise ValueError(f"it is a cell for the notebook alone ({', '.join(never)})")
    if what not in {"code", "output", "verdict"} or options:
        raise ValueError(f"show=code, output or verdict was expected, from, to, lines, letters, not {div.attributes}")
    if what != "code" and not cell.outputs:
        raise ValueError("it has no stored output")
    code = [lines_of(cell.source, div, "python")] if what == "code" else []
    new = pf.Div(*(code or (block for output in cell.outputs for block in shown(output, div))), classes=[what])
    if not new.content:
        raise ValueError("nothing of its output can stand on a slide")
    if size := div.attributes.get("letters"):
        new.attributes["style"] = f"--letters: {float(size):g}px"
    if what == "verdict":
        new.classes += ["wrong"] if "Wrong." in pf.stringify(new) else []
        new.walk(lambda e, doc: e.classes.append("fragment") if isinstance(e, pf.TableRow) and e.index else None)
    return new


def explorable(div: pf.Div) -> list[pf.Element]:
    """Return what stands in a deck in the place of `::: {.explorable #NAME}`: its place and, once, the script."""
    from d2lnorm.course import explorables

    place, script = explorables.element(div.identifier, **div.attributes), f"<script>{explorables.script()}</script>"
    folder = div.doc.get_metadata("figures", "")
    if not folder:
        first = not getattr(div.doc, "has_script", False)
        div.doc.has_script = True
        return [pf.RawBlock(html, "html") for html in ([script] if first else []) + [place]]
    try:
        with chromium() as browser:
            page = browser.new_page(viewport={"width": 720, "height": 720}, device_scale_factor=2)
            page.set_content(f'<!doctype html><meta charset="utf-8">{script}{place}')
            page.wait_for_selector(".ready")
            page.locator("[data-explorable]").screenshot(path=Path(folder, f"{div.identifier}.png"))
    except NoBrowser as missing:
        raise ValueError(f"a picture is needed in PowerPoint, and {missing}") from None
    return [pf.Para(pf.Image(url=f"{div.identifier}.png", title=f"{div.identifier}: try it on the course's pages"))]


def put_clocks(doc: pf.Doc) -> None:
    """Put a clock above the notes of each slide. The title slide has `notes:` and `minutes:` in the front matter."""
    notes = [div for div in doc.content if isinstance(div, pf.Div) and "notes" in div.classes]
    times = [float(doc.get_metadata("minutes", 0)), *(float(div.attributes.get("minutes", 0)) for div in notes)]
    ends = accumulate(times)
    title, *clocks = (f"{m:g} min, to minute {next(ends):g} of {sum(times):g}" for m in times)
    doc.metadata["title-slide-attributes"] = {"data-notes": f"{title}. {doc.get_metadata('notes', '')}"}
    for div, clock in zip(notes, clocks, strict=True):
        div.content.insert(0, pf.Para(pf.Strong(pf.Str(clock))))


def put_cells(doc: pf.Doc) -> pf.Doc:
    """Return the deck with its notebook's cells in their places; raise ValueError, with slide and cell, if not."""
    path, slide = Path(doc.get_metadata("notebook", "")), ""
    if not path.is_file():
        raise ValueError(f"the front matter's `notebook:` was expected to name a notebook, not {str(path)!r}")
    cells = {cell.id: cell for cell in nbformat.read(path, as_version=4).cells}

    def act(element: pf.Element, doc: pf.Doc) -> pf.Element | list | None:
        nonlocal slide
        if isinstance(element, pf.Header):
            slide = pf.stringify(element)
        elif isinstance(element, pf.Math) and doc.format == "revealjs":  # for MathJax in the file, not in the web
            marks = (r"\(", r"\)") if element.format == "InlineMath" else (r"\[", r"\]")
            return pf.RawInline(escape(element.text).join(marks), "html")
        elif isinstance(element, pf.Para) and (text := pf.stringify(element).strip()).startswith((":::", ". . .")):
            if text != ". . .":
                raise ValueError(f"slide {slide!r}: Pandoc does not understand {text!r}")
            return [] if doc.format == "pptx" else None  # its writer knows no pause
        elif isinstance(element, pf.Div) and {"cell", "explorable"} & set(element.classes):
            try:
                if "explorable" in element.classes:
                    return explorable(element)
                new = show(element, cells.get(element.identifier))
                return list(new.content) if doc.format == "pptx" else new  # it shows no figure that is in a box
            except ValueError as error:
                raise ValueError(f"slide {slide!r}, cell {element.identifier!r}: {error}") from None
        elif isinstance(element, pf.Div) and not element.content:
            raise ValueError(f"slide {slide!r}: nothing stands in ::: {' '.join(element.classes)}")
        return None

    put_clocks(doc)
    return doc.walk(act)


if __name__ == "__main__":
    try:
        pf.dump(put_cells(pf.load()))
    except ValueError as error:
        sys.exit(str(error))

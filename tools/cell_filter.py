"""A Pandoc filter that puts the cells of a notebook into a deck. All else in a deck is Pandoc's own Markdown.

The deck's front matter names the notebook: `notebook: ../notebooks/02_batch_norm_from_scratch.ipynb`. Then

    ::: {.cell #ID show=code from="class BatchNorm" to="self.eps = eps"}
    :::

is replaced by the cell with that id. `show` is one of

    code      its source
    output    what it printed, the table or the figure that it showed
    verdict   the cell's claim, then at each key press the run, the verdict, the cause

`from` and `to` cut code or printed lines: from the first line that holds the one text to the next that holds the
other; `lines=5` ends after five. `letters=18` sets the letters' size in pixels; without it they are as large as the
column allows.

Notes may tell their minutes: `::: {.notes minutes=2}`. The speaker then sees a clock above them. Those of the title
slide are `notes:` and `minutes:` in the front matter.
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

WIDTH = 1140  # pixels between a slide's margins
LARGEST, SMALLEST = 26, 15  # pixels of code's letters
CUT = {"from", "to", "lines"}
NEVER = {"solution", "setup"}  # ids and tags of cells that no slide shows


def excerpt(text: str, options: dict[str, str]) -> str:
    """Return the lines that `from`, `to` and `lines` choose, without the indentation that they share."""
    lines, start, end = text.splitlines(), options.get("from", ""), options.get("to")
    first = next((n for n, line in enumerate(lines) if start in line), None)
    last = first if end is None else next((n for n in range(first or 0, len(lines)) if end in lines[n]), None)
    if first is None or last is None:
        raise ValueError(f"no line of it contains {(start if first is None else end)!r}")
    count = int(options.get("lines", len(lines) if end is None else last + 1 - first))
    return dedent("\n".join(lines[first : first + count]))


def width(element: pf.Element) -> float:
    """Return how many pixels wide the column is in which an element stands."""
    while element := element.parent:
        if "column" in getattr(element, "classes", ()):
            return WIDTH * float(element.attributes.get("width", "50%").rstrip("%")) / 100 - 14
    return WIDTH


def letters(div: pf.Div) -> float:
    """Return the size of letters that a cell asks for; 0 if it does not say."""
    size = float(div.attributes.get("letters", 0))
    if "letters" in div.attributes and not size > 0:
        raise ValueError(f"letters of {size:g} pixels cannot be read")
    return size


def block(text: str, classes: list[str], div: pf.Div) -> pf.CodeBlock:
    """Return lines in letters of one width, as large as the column allows."""
    lines = text.splitlines() or [""]
    fitting = int(2 * (width(div) - 40) / (0.61 * max(1, *map(len, lines)))) / 2
    size = letters(div) or max(SMALLEST, min(LARGEST if len(lines) <= 9 else 22, fitting))
    return pf.CodeBlock(text, classes=classes, attributes={"style": f"font-size: {size:g}px"})


def figure(png: str, alt: str, div: pf.Div) -> pf.Image:
    """Return a figure that is in the deck itself; PowerPoint's writer gets a file, in the folder `-M figures=`."""
    if folder := div.doc.get_metadata("figures", ""):
        name = f"{div.identifier}.png"
        (Path(folder) / name).write_bytes(base64.b64decode(png))
        return pf.Image(url=name, title=alt)
    return pf.Image(pf.Str(alt), url=f"data:image/png;base64,{png.strip()}")


def shown(output: nbformat.NotebookNode, div: pf.Div) -> list[pf.Element]:
    """Return the blocks that show an output: printed lines, a figure, a table or a value."""
    if output.output_type == "stream":
        return [block(excerpt(output.text.rstrip(), div.attributes), ["printed"], div)]
    if CUT & set(div.attributes):
        raise ValueError("only code and printed lines can be cut, not a table or a figure")
    data = output.get("data", {})
    if png := data.get("image/png"):
        alt = output.metadata.get("image/png", {}).get("alt", "")
        return [pf.Para(figure(png, alt, div))]
    if html := data.get("text/html"):  # no shape is broken over two lines
        html = re.sub(r"\([\d, ]+\)", lambda shape: shape[0].replace(" ", "&nbsp;"), html)
        blocks = pf.convert_text(html, "html", pandoc_path=pypandoc.get_pandoc_path())
        for table in (b for b in blocks if isinstance(b, pf.Table)):
            table.colspec = [(align, "ColWidthDefault") for align, _ in table.colspec]
        return blocks
    if markdown := data.get("text/markdown"):
        return pf.convert_text(markdown, pandoc_path=pypandoc.get_pandoc_path())
    return [block(data.get("text/plain", ""), ["printed"], div)]


def put_cell(div: pf.Div, cells: dict[str, nbformat.NotebookNode]) -> pf.Div:
    """Return what stands in a deck in the place of `::: {.cell #ID show=...}`."""
    what, options = div.attributes.get("show"), set(div.attributes) - CUT - {"show", "letters"}
    cell = cells.get(div.identifier)
    if cell is None or cell.cell_type != "code":
        raise ValueError("the notebook has no code cell with this id")
    if never := NEVER & {div.identifier, *cell.metadata.get("tags", [])}:
        raise ValueError(f"it is a cell for the notebook alone ({', '.join(never)})")
    if what not in ("code", "output", "verdict") or options:
        raise ValueError(
            f"show=code, output or verdict was expected, with from, to, lines, letters, not {div.attributes}"
        )
    if what == "code":
        return pf.Div(block(excerpt(cell.source, div.attributes), ["python"], div), classes=["code"])
    if not cell.outputs:
        raise ValueError("it has no stored output")
    new = pf.Div(*(b for output in cell.outputs for b in shown(output, div)), classes=["output"])
    if "letters" in div.attributes:
        new.classes.append("sized")
        new.attributes["style"] = f"font-size: {letters(div):g}px"
    if what == "verdict":
        new.classes += ["verdict", "wrong"] if "Wrong." in pf.stringify(new) else ["verdict"]
        new.walk(lambda e, doc: e.classes.append("fragment") if isinstance(e, pf.TableRow) and e.index else None)
    return new


def minutes(doc: pf.Doc) -> list[float]:
    """Return how long the speaker takes: first for the title slide, then for each slide that has notes."""
    notes = (div for div in doc.content if isinstance(div, pf.Div) and "notes" in div.classes)
    return [float(doc.get_metadata("minutes", 0)), *(float(div.attributes.get("minutes", 0)) for div in notes)]


def put_clocks(doc: pf.Doc) -> None:
    """Put a clock above the notes of each slide, and those of the title slide where reveal.js looks for them."""
    times = minutes(doc)
    clocks = [
        f"{m:g} min, to minute {end:g} of {sum(times):g}" for m, end in zip(times, accumulate(times), strict=True)
    ]
    doc.metadata["title-slide-attributes"] = {"data-notes": f"{clocks.pop(0)}. {doc.get_metadata('notes', '')}"}
    for div in doc.content:
        if isinstance(div, pf.Div) and "notes" in div.classes:
            div.content.insert(0, pf.Para(pf.Strong(pf.Str(clocks.pop(0)))))


def put_cells(doc: pf.Doc) -> pf.Doc:
    """Return the deck with its notebook's cells in their places.

    Raises:
        ValueError: the deck asks for what the notebook does not have; the message has the slide and the cell.
    """
    path, slide = Path(doc.get_metadata("notebook", "")), pf.stringify(doc.metadata["title"])
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
            if doc.format == "pptx":
                return []  # its writer knows no pause
        elif isinstance(element, pf.Div) and "cell" in element.classes:
            try:
                cell = put_cell(element, cells)
                return list(cell.content) if doc.format == "pptx" else cell  # it shows no figure that is in a box
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

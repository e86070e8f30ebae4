"""From a deck's script and a notebook to the notebook that nbconvert's template turns into slides."""

import re
import shlex
from html import escape
from itertools import accumulate

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_raw_cell

from deck import DeckError, Slide, plain

WIDTH, HEIGHT, MARGIN = 1280, 720, 56  # pixels of a slide
LARGEST, SMALLEST = 26, 15  # pixels of code's letters
ALMOST = re.compile(r"\{\{\s*(code|output|verdict|columns?|end)\b|^\s*\. ?\. ?\.\s*$")  # a slip of the pen
NEVER = {"solution", "setup"}  # tags of cells that no slide shows


def excerpt(lines: list[str], start: str | None, end: str | None, where: str) -> list[str]:
    """Return the lines from the first that contains `start` to the next that contains `end`, indentation removed."""
    first, last = 0, len(lines)
    if start is not None:
        first = next((n for n, line in enumerate(lines) if start in line), None)
    if first is not None and end is not None:
        last = next((n + 1 for n, line in enumerate(lines[first:], first) if end in line), None)
    if first is None or last is None:
        raise DeckError(f"{where}: no line of the cell contains {(start if first is None else end)!r}")
    chosen = lines[first:last]
    indent = min((len(line) - len(line.lstrip()) for line in chosen if line.strip()), default=0)
    return [line[indent:] for line in chosen]


def letters(text: str, width: float) -> float:
    """Return the size in pixels of monospaced letters with which the text is at most `width` pixels wide."""
    lines = text.splitlines() or [""]
    fitting = (width - 40) / (0.61 * max(1, *map(len, lines)))
    return max(SMALLEST, min(LARGEST if len(lines) <= 9 else 22, int(2 * fitting) / 2))


def positive(number: str | float) -> float:
    """Return the number; raise ValueError unless it is one that a width or a size can be."""
    if not 0 < float(number) < 1000:
        raise ValueError(f"a number above 0 and below 1000 was expected, not {number!r}")
    return float(number)


def prepared(output: nbformat.NotebookNode, cut: tuple, what: str) -> nbformat.NotebookNode:
    """Return an output as a slide shows it.

    Of printed lines only those that are asked for; in tables no shape is broken over two lines; the lines of a verdict
    appear one after the other.
    """
    if output.output_type == "stream":
        text = "\n".join(excerpt(output.text.rstrip().splitlines(), *cut))
        return nbformat.from_dict(output | {"text": text})
    if cut[0] or cut[1]:
        raise DeckError(f"{cut[2]}: only printed lines and code can be cut, not a table or a figure")
    data = dict(output.get("data", {}))
    if html := data.get("text/html"):
        html = re.sub(r"\([\d, ]+\)", lambda shape: shape[0].replace(" ", "&nbsp;"), html)
        if what == "verdict":
            claim, *rest = html.split("</tr>")
            html = "</tr>".join([claim, *(row.replace("<tr>", '<tr class="fragment">') for row in rest)])
        data["text/html"] = html
    return nbformat.from_dict(output | {"data": data})


def monospaced(output: nbformat.NotebookNode) -> str:
    """Return the text of an output that is shown in letters of one width: prints, and values that are not tables."""
    data = output.get("data", {})
    return output.get("text", "") or ("" if {"text/html", "image/png"} & set(data) else data.get("text/plain", ""))


class Assembler:
    """Turns slides into the cells of a notebook: raw cells hold the HTML around what the others hold."""

    def __init__(self, notebook: nbformat.NotebookNode, script: str):
        self.cells_by_id = {cell.id: cell for cell in notebook.cells}
        self.script = script
        self.cells: list[nbformat.NotebookNode] = []
        self.open: list[str] = []
        self.ratio, self.column = [1.0], 0

    def html(self, text: str) -> None:
        self.cells.append(new_raw_cell(text))

    def begin(self, kind: str, style: str = "") -> None:
        self.open.append(kind)
        self.html(f'<div class="{kind}"{style}>')

    def close(self, last: str | None = None) -> None:
        """Close what is open down to the innermost of this kind, or everything when none is given."""
        while self.open:
            kind = self.open.pop()
            self.html("</div>")
            if kind == "columns":
                self.ratio, self.column = [1.0], 0
            if kind == last:
                return

    def width(self) -> float:
        whole = WIDTH - 2 * MARGIN
        return whole * self.ratio[self.column] / sum(self.ratio) - 14 * (len(self.ratio) > 1)

    def show(self, what: str, words: list[str], where: str) -> None:
        name, options = words[0], dict(zip(words[1::2], words[2::2], strict=False))
        cell = self.cells_by_id.get(name)
        if cell is None or cell.cell_type != "code":
            raise DeckError(f"{where}: the notebook has no code cell with the id {name!r}")
        if never := NEVER & {name, *cell.metadata.get("tags", [])}:
            raise DeckError(f"{where}: {name!r} is a cell for the notebook alone ({', '.join(never)})")
        if len(words) % 2 == 0 or set(options) - {"from", "to", "letters"}:
            raise DeckError(f'{where}: after the id may stand: from "text" to "text" letters 18, but it is {words[1:]}')
        cut = options.get("from"), options.get("to"), where
        if what == "code":
            text = "\n".join(excerpt(cell.source.splitlines(), *cut))
            shown = new_code_cell(text)
        elif cell.outputs:
            shown = new_code_cell("", outputs=[prepared(output, cut, what) for output in cell.outputs])
            shown.metadata["transient"] = {"remove_source": True}
            text = "\n".join(monospaced(output) for output in shown.outputs)
        else:
            raise DeckError(f"{where}: the cell {name!r} has no stored output")
        shown.metadata["letters"] = positive(options.get("letters", letters(text, self.width())))
        classes = {"code": ["code"], "output": ["output"], "verdict": ["output", "verdict"]}[what]
        if what == "verdict" and ">Wrong." in str(shown.outputs):
            classes.append("wrong")
        if "letters" in options:
            classes.append("sized")
        shown.metadata["classes"] = " ".join(classes)
        self.cells.append(shown)

    def directive(self, text: str, where: str) -> None:
        try:
            what, *words = shlex.split(text)
            if what in ("code", "output", "verdict") and words:
                self.show(what, words, where)
            else:
                self.lay_out(what, words, where)
        except DeckError:
            raise
        except ValueError as error:  # an open quotation mark, or no number where one should be
            raise DeckError(f"{where}: {error} in {text!r}") from None

    def lay_out(self, what: str, words: list[str], where: str) -> None:
        if what == "columns" and len(words) <= 1:
            self.ratio, self.column = [positive(n) for n in (words or ["1:1"])[0].split(":")], 0
            tracks = " ".join(f"minmax(0, {n:g}fr)" for n in self.ratio)
            self.begin("columns", f' style="grid-template-columns: {tracks}"')
            self.begin("column")
        elif what == "column" and "column" in self.open and self.column + 1 < len(self.ratio):
            self.close("column")
            self.column += 1
            self.begin("column")
        elif [what, *words] == ["end", "columns"] and "columns" in self.open:
            self.close("columns")
        else:
            asked = " ".join([what, *words])
            known = "code, output, verdict, columns, column, end columns"
            raise DeckError(f"{where}: {asked!r} is none of {known}, or misplaced")

    def add(self, slide: Slide, number: int, of: int, title: str, clock: str) -> None:
        """Append the cells of a slide."""
        kind = "title" if number == 1 else "plain"
        self.html(f'<section class="{kind}">')
        self.cells.append(new_markdown_cell(("# " if number == 1 else "## ") + slide.title))
        text: list[str] = []
        for line_number, line, is_code in [*slide.body, (0, ". . .", False)]:
            match = None if is_code else re.fullmatch(r"\{\{ (.+) \}\}|\. \. \.", line.rstrip())
            if not match:
                if not is_code and ALMOST.search(line):
                    where = f"{self.script}, line {line_number}"
                    raise DeckError(f"{where}: {line!r} must be a line of its own: {{{{ code ID }}}}, say, or . . .")
                text.append(line)
                continue
            if "\n".join(text).strip():
                self.cells.append(new_markdown_cell("\n".join(text).strip()))
            text = []
            if match[1]:
                self.directive(match[1], f"{self.script}, line {line_number}")
            elif line_number:
                if self.open and self.open[-1] == "fragment":
                    self.close("fragment")
                self.begin("fragment")
        self.close()
        if slide.notes:
            self.html('<aside class="notes">')
            self.cells.append(new_markdown_cell(f"**{clock}**\n\n{slide.notes}"))
            self.html("</aside>")
        self.html(
            f"<footer><span>d2lnorm &middot; {escape(title)}</span><span>{number} / {of}</span></footer></section>"
        )


def assemble(slides: list[Slide], notebook: nbformat.NotebookNode, script: str) -> nbformat.NotebookNode:
    """Return a notebook with the slides' cells, each slide in a <section>, in the order of the script.

    Raises:
        DeckError: the script asks for what the notebook does not have.
    """
    assembler = Assembler(notebook, script)
    title = f"{script[:2]} {plain(slides[0].title)}"
    ends = list(accumulate(slide.minutes for slide in slides))
    for number, (slide, end) in enumerate(zip(slides, ends, strict=True), 1):
        clock = f"{slide.minutes:g} min, to minute {end:g} of {ends[-1]:g}"
        assembler.add(slide, number, len(slides), title, clock)
    return new_notebook(cells=assembler.cells, metadata=notebook.metadata)

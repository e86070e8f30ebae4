"""A deck's script, `slides/NN_topic.md`, and the notebook whose code, outputs and figures it shows.

A script is Markdown. `# ` begins the title slide and `## ` every other slide. Lines of their own:

    {{ code ID }}            the source of the notebook's cell of that id
    {{ output ID }}          what it printed, the table or the figure that it showed
    {{ verdict ID }}         the cell's claim, then at each key press the run, the verdict, the cause
    {{ code ID from "class BatchNorm" to "self.eps = eps" }}
                             the lines from the first that holds the one text to the next that holds the other
    {{ output ID letters 18 }}  a table with letters of 18 pixels
    {{ columns 3:2 }}        what follows stands in columns, here 3 to 2 wide,
    {{ column }}             the next column begins,
    {{ end columns }}        and the whole width again
    . . .                    what follows (in this column) appears at the next key press
    ::: notes 2 min          up to a line `:::`, what to say and to ask; only the speaker sees it
"""

import re
import shlex
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_raw_cell

WIDTH, HEIGHT, MARGIN = 1280, 720, 56  # pixels of a slide
LARGEST, SMALLEST = 26, 15  # pixels of code's letters
NEVER = {"solution", "setup"}  # tags of cells that no slide shows


class DeckError(ValueError):
    """A script names what is not there, or is not written as it should be; the message has file, line and cause."""


@dataclass
class Slide:
    """One slide: its title, its lines between title and notes, and the notes with their minutes."""

    title: str
    line: int
    body: list[tuple[int, str]] = field(default_factory=list)
    notes: str = ""
    minutes: float = 0


def parse(path: Path) -> list[Slide]:
    """Return the slides of a script.

    Raises:
        DeckError: text before the first title, notes without minutes or without an end.
    """
    slides: list[Slide] = []
    fence, notes = False, None
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        where = f"{path.name}, line {number}"
        if line.startswith("```"):
            fence = not fence
        if notes is not None and line.strip() == ":::":
            slides[-1].notes, notes = "\n".join(notes).strip(), None
        elif notes is not None:
            notes.append(line)
        elif line.startswith(":::"):
            if not (slides and (match := re.fullmatch(r"::: notes ([\d.]+) min", line.strip()))):
                raise DeckError(f'{where}: notes begin with "::: notes 2 min", but this line is {line!r}')
            slides[-1].minutes, notes = float(match[1]), []
        elif not fence and (match := re.match(r"(##?) +(.+)", line)):
            if (match[1] == "#") != (not slides):
                raise DeckError(f'{where}: the first title, and no other, begins with "# "')
            slides.append(Slide(match[2].strip(), number))
        elif slides:
            slides[-1].body.append((number, line))
        elif line.strip():
            raise DeckError(f"{where}: text before the first title")
    if notes is not None:
        raise DeckError(f"{path.name}: the notes of {slides[-1].title!r} have no end: a line with ::: alone")
    return slides


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

    def close(self, *kinds: str) -> None:
        """Close what is open down to the innermost of these kinds, or everything when none is given."""
        while self.open:
            kind = self.open.pop()
            self.html("</div>")
            if kind in kinds:
                return

    def width(self) -> float:
        whole = WIDTH - 2 * MARGIN
        return whole * self.ratio[self.column] / sum(self.ratio) - 14 * (len(self.ratio) > 1)

    def show(self, what: str, words: list[str], where: str) -> None:
        name, options = words[0], dict(zip(words[1::2], words[2::2], strict=False))
        cell = self.cells_by_id.get(name)
        if cell is None or cell.cell_type != "code":
            raise DeckError(f"{where}: the notebook has no code cell with the id {name!r}")
        if tags := NEVER & set(cell.metadata.get("tags", [])) or NEVER & {name}:
            raise DeckError(f"{where}: {name!r} is a cell for the notebook alone ({', '.join(tags)})")
        if len(words) % 2 == 0 or set(options) - {"from", "to", "letters"}:
            raise DeckError(f'{where}: after the id may stand: from "text" to "text" letters 18, but it is {words[1:]}')
        cut = options.get("from"), options.get("to"), where
        if what == "code":
            source = "\n".join(excerpt(cell.source.splitlines(), *cut))
            shown = new_code_cell(source, metadata={"letters": letters(source, self.width())})
        else:
            outputs = [self.trimmed(output, cut) for output in cell.outputs]
            if not outputs:
                raise DeckError(f"{where}: the cell {name!r} has no stored output")
            texts = [o.text if "text" in o else o.data["text/plain"] for o in outputs if "text/html" not in o.get("data", ())]
            shown = new_code_cell("", outputs=outputs, metadata={"letters": letters("\n".join(texts), self.width())})
            shown.metadata["transient"] = {"remove_source": True}
        if "letters" in options:
            shown.metadata |= {"letters": float(options["letters"]), "kind": "sized"}
        if what == "verdict":
            shown.metadata["kind"] = "verdict"
            for table in (o.data for o in shown.outputs if "text/html" in o.get("data", {})):
                claim, *rest = table["text/html"].split("</tr>")
                table["text/html"] = "</tr>".join([claim, *(row.replace("<tr>", '<tr class="fragment">') for row in rest)])
        self.cells.append(shown)

    @staticmethod
    def trimmed(output: nbformat.NotebookNode, cut: tuple) -> nbformat.NotebookNode:
        """Return an output, of printed lines only those that are asked for, and with no shape broken in a table."""
        if output.output_type == "stream":
            return nbformat.from_dict(output | {"text": "\n".join(excerpt(output.text.rstrip().splitlines(), *cut))})
        data = dict(output.get("data", {}))
        if "text/html" in data:
            data["text/html"] = re.sub(r"\([\d, ]+\)", lambda m: m[0].replace(" ", "&nbsp;"), data["text/html"])
        return nbformat.from_dict(output | {"data": data})

    def directive(self, text: str, where: str) -> None:
        try:
            what, *words = shlex.split(text)
        except ValueError as error:
            raise DeckError(f"{where}: {error} in {text!r}") from None
        if what in ("code", "output", "verdict") and words:
            self.show(what, words, where)
        elif what == "columns" and len(words) <= 1:
            self.ratio, self.column = [float(n) for n in (words or ["1:1"])[0].split(":")], 0
            tracks = " ".join(f"minmax(0, {n:g}fr)" for n in self.ratio)
            self.begin("columns", f' style="grid-template-columns: {tracks}"')
            self.begin("column")
        elif what == "column" and "column" in self.open and self.column + 1 < len(self.ratio):
            self.close("column")
            self.column += 1
            self.begin("column")
        elif [what, *words] == ["end", "columns"] and "columns" in self.open:
            self.close("columns")
            self.ratio, self.column = [1.0], 0
        else:
            raise DeckError(f"{where}: {text!r} is none of code, output, verdict, columns, column, end columns, or misplaced")

    def add(self, slide: Slide, number: int, of: int, title: str, clock: str) -> None:
        """Append the cells of a slide."""
        kind = "title" if number == 1 else "plain"
        self.html(f'<section class="{kind}">')
        self.cells.append(new_markdown_cell(("# " if number == 1 else "## ") + slide.title))
        text: list[str] = []
        for line_number, line in [*slide.body, (0, ". . .")]:
            match = re.fullmatch(r"\{\{ (.+) \}\}|\. \. \.", line.strip())
            if not match:
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
        self.ratio, self.column = [1.0], 0
        if slide.notes:
            self.html('<aside class="notes">')
            self.cells.append(new_markdown_cell(f"**{clock}**\n\n{slide.notes}"))
            self.html("</aside>")
        self.html(f"<footer><span>d2lnorm &middot; {title}</span><span>{number} / {of}</span></footer></section>")


def assemble(slides: list[Slide], notebook: nbformat.NotebookNode, script: str) -> nbformat.NotebookNode:
    """Return a notebook with the slides' cells, each slide in a <section>, in the order of the script.

    Raises:
        DeckError: the script asks for what the notebook does not have.
    """
    assembler = Assembler(notebook, script)
    ends = list(accumulate(slide.minutes for slide in slides))
    for number, (slide, end) in enumerate(zip(slides, ends, strict=True), 1):
        clock = f"{slide.minutes:g} min, to minute {end:g} of {ends[-1]:g}"
        assembler.add(slide, number, len(slides), f"{script[:2]} {slides[0].title.replace(chr(96), str())}", clock)
    return new_notebook(cells=assembler.cells, metadata=notebook.metadata)

"""A deck's script, `slides/NN_topic.md`: what is said beside a notebook's code, outputs and figures.

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
from dataclasses import dataclass, field
from pathlib import Path


class DeckError(ValueError):
    """A script names what is not there, or is not written as it should be; the message has file, line and cause."""


@dataclass
class Slide:
    """One slide: its title, its lines between title and notes, and the notes with their minutes."""

    title: str
    body: list[tuple[int, str, bool]] = field(default_factory=list)  # line number, line, whether it is code
    notes: str = ""
    minutes: float = 0


def parse(path: Path) -> list[Slide]:
    """Return the slides of a script.

    Raises:
        DeckError: what the format does not allow, such as text before the first title, or notes without an end.
    """
    slides: list[Slide] = []
    fence, notes = "", None
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        where = f"{path.name}, line {number}"
        if mark := re.match(r"```|~~~", line):
            fence = "" if mark[0] == fence else fence or mark[0]
        if notes is not None:
            if line.strip() == ":::":
                slides[-1].notes, notes = "\n".join(notes).strip(), None
            else:
                notes.append(line)
        elif fence and slides:
            slides[-1].body.append((number, line, True))
        elif line.lstrip().startswith(":::"):
            if not (slides and (match := re.fullmatch(r"::: notes (\d+(?:\.\d+)?) min", line.rstrip()))):
                raise DeckError(f'{where}: notes begin with "::: notes 2 min", but this line is {line!r}')
            if slides[-1].minutes:
                raise DeckError(f"{where}: the slide {slides[-1].title!r} has notes already")
            slides[-1].minutes, notes = float(match[1]), []
        elif match := re.match(r"(##?)(?!#)(.*)", line):
            if not match[2].startswith(" ") or not match[2].strip():
                raise DeckError(f'{where}: a title is "## ", then words, but this line is {line!r}')
            if (match[1] == "#") != (not slides):
                raise DeckError(f'{where}: the first title, and no other, begins with "# "')
            slides.append(Slide(match[2].strip()))
        elif slides:
            slides[-1].body.append((number, line, bool(mark)))
        elif line.strip():
            raise DeckError(f"{where}: text before the first title")
    if notes is not None:
        raise DeckError(f"{path.name}: the notes of {slides[-1].title!r} have no end: a line with ::: alone")
    if fence:
        raise DeckError(f"{path.name}: a code block that begins with {fence} has no end")
    if not slides:
        raise DeckError(f'{path.name}: no slide; the first begins with "# " and its title')
    return slides


def plain(title: str) -> str:
    """Return a title without the marks of Markdown and of formulas, for places that show none."""
    return re.sub(r"[`*$]", "", title)

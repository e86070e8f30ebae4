"""Make the slide decks: Pandoc's Markdown in slides/ becomes an HTML deck in one file and a PDF, or a .pptx."""

import argparse
import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import panflute as pf
import pypandoc
from playwright.sync_api import Browser
from playwright.sync_api import Error as BrowserError

from browser import NoBrowser, chromium
from build_folder import BUILD, put, write
from cell_filter import minutes
from check_deck import check
from npm_packages import PackageMissing, unpack

ROOT = Path(__file__).parent.parent
PDF = "?print-pdf&pdfSeparateFragments=false&pdfMaxPagesPerSlide=1"
OPTIONS = {
    "html": ["-d", "deck.yaml"],
    "pptx": ["-t", "pptx", "--slide-level=2", "--fail-if-warnings", "-F", "../tools/cell_filter.py"],
}
KEYS = """Each deck is one file that needs no network: copy it to a stick, open it in any browser. **S** opens the
speaker's view with notes and clock, **F** fills the screen, **O** shows all slides, **B** blanks the screen,
**?** lists every key."""


class DeckError(ValueError):
    """A deck cannot be made; the message has its name and the cause."""


def outline(deck: Path) -> tuple[str, int, float]:
    """Return a deck's title, its number of slides, and the minutes that its notes add up to."""
    doc = pf.load(io.StringIO(pypandoc.convert_file(deck, "json")))
    slides = [block for block in doc.content if isinstance(block, pf.Header) and block.level == 2]
    return pf.stringify(doc.metadata["title"]), 1 + len(slides), sum(minutes(doc))


def pandoc(*arguments: str | Path, text: str | None = None) -> None:
    """Run Pandoc in slides/, with this Python for the filter.

    Raises:
        DeckError: Pandoc, or the filter, says that something is wrong.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    command, options = [pypandoc.get_pandoc_path(), *arguments], {"cwd": ROOT / "slides", "input": text}
    done = subprocess.run(command, env=os.environ | {"PATH": path}, capture_output=True, encoding="utf-8", **options)
    if done.returncode:
        raise DeckError(done.stderr.strip())


def make(deck: Path, target: Path) -> Path:
    """Write a deck in the format that the target's suffix names, .html or .pptx, and return the target.

    Raises:
        DeckError: the deck asks for what is not there, or is not written as it should be.
        PackageMissing: reveal.js or MathJax cannot be fetched.
    """
    target = target.resolve()
    kind = target.suffix.removeprefix(".")
    if kind == "html":
        for package in ("reveal.js-5.2.1", "mathjax-3.2.2"):
            unpack(package)
        target.with_suffix(".pdf").unlink(missing_ok=True)  # it shows another state
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        new = Path(folder) / target.name
        figures = ["-M", f"figures={folder}", f"--resource-path={folder}"] if kind == "pptx" else []
        try:
            pandoc(*OPTIONS[kind], *figures, deck.resolve(), "-o", new)
        except DeckError as error:
            raise DeckError(f"{deck.name}: {error}") from None
        if kind == "pptx":  # people edit these
            return put(f"{target.parent.name}/{target.name}", new.read_bytes(), target.parent.parent)
        write(target, new.read_bytes())
        return target


def pdf(browser: Browser, deck: Path) -> None:
    """Print a deck, a page for each slide with all its fragments, into a PDF beside it."""
    tab = browser.new_page()
    try:
        tab.goto(deck.resolve().as_uri() + PDF)
        tab.wait_for_function("window.Reveal && Reveal.isReady() && document.querySelector('.pdf-page')")
        tab.evaluate("MathJax.startup.promise")
        tab.wait_for_timeout(200)  # reveal.js sizes the pages in the next frame
        new = deck.with_suffix(".pdf.new")
        tab.pdf(path=new, prefer_css_page_size=True, print_background=True, tagged=True)
        new.replace(deck.with_suffix(".pdf"))
    finally:
        tab.close()


def index(folder: Path) -> str:
    """Return, in Markdown, the page that lists the decks in a folder."""
    rows = ["| deck | slides | minutes | on paper |", "|----|--|--|--|"]
    for deck in sorted((ROOT / "slides").glob("*.md")):
        if (folder / f"{deck.stem}.html").exists():
            title, slides, time = outline(deck)
            paper = f"[PDF]({deck.stem}.pdf)" if (folder / f"{deck.stem}.pdf").exists() else ""
            rows.append(f"| [{deck.stem[:2]} · {title}]({deck.stem}.html) | {slides} | {time:g} | {paper} |")
    return "\n".join(["---", "title: 'd2lnorm: slides'", "maxwidth: 46em", "---", "", KEYS, "", *rows, ""])


def print_and_check(decks: list[Path]) -> list[str]:
    """Make the PDFs of decks and return the faults that a room would see; without a browser, say so on stderr."""
    faults = []
    try:
        with chromium() as browser:
            for deck in decks:
                try:
                    pdf(browser, deck)
                    slides, seen = check(browser, deck)
                    faults += [f"{deck.name}, {fault}" for fault in seen]
                    print(f"{deck.stem}: {slides} slides, HTML and PDF", flush=True)
                except BrowserError as error:
                    faults.append(f"{deck.name}: the browser gave up: {str(error).splitlines()[0]}")
    except NoBrowser as missing:
        print(f"The HTML decks are made; they are not checked, and there are no PDFs: {missing}", file=sys.stderr)
    return faults


def main(arguments: list[str]) -> int:
    """Return the exit status: 1 when a deck could not be made, or has a fault; the cause is on stderr."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("decks", nargs="*", type=Path, default=sorted((ROOT / "slides").glob("*.md")))
    parser.add_argument("--format", choices=OPTIONS, default="html")
    parser.add_argument("--to", type=Path, default=BUILD / "slides", help="the folder for the decks")
    options = parser.parse_args(arguments)
    page = options.to / "index.html"
    try:
        if page.exists() and "<title>d2lnorm: slides</title>" not in page.read_text(encoding="utf-8"):
            raise DeckError(f"{page} is not this course's: name a folder of its own for the decks")
        made = [make(deck, options.to / f"{deck.stem}.{options.format}") for deck in options.decks]
        if options.format == "pptx":
            print(*made, sep="\n")
            return 0
        faults = print_and_check(made)
        pandoc("-s", "-o", page.resolve(), text=index(options.to))
    except (DeckError, PackageMissing) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"Open {page}: in a deck, S shows the speaker's view, F fills the screen.")
    if faults:
        print("A room would see these faults:", *faults, sep="\n  ", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Make the slide decks: a script in slides/ and its notebook become a self-contained deck and a PDF in build/."""

import argparse
import sys
from html import escape
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter
from playwright.sync_api import Browser
from playwright.sync_api import Error as BrowserError
from pygments.formatters import HtmlFormatter

from browser import NoBrowser, chromium
from build_folder import BUILD, write
from check_deck import check
from deck import DeckError, Slide, parse, plain
from deck_cells import HEIGHT, WIDTH, assemble
from npm_packages import MATHJAX, PackageMissing, read, script_text

ROOT = Path(__file__).parent.parent
TEMPLATES = Path(__file__).parent / "templates"
SCRIPTS = (
    MATHJAX,
    ("reveal.js-5.2.1", "dist/reveal.js"),
    ("reveal.js-5.2.1", "plugin/notes/notes.js"),
)


def page(slides: list[Slide], notebook: nbformat.NotebookNode, script: str) -> str:
    """Return the deck as one HTML file that needs no other.

    Raises:
        DeckError: the script asks for what the notebook does not have.
        PackageMissing: reveal.js or MathJax cannot be fetched.
    """
    style = read("reveal.js-5.2.1", "dist/reveal.css") + (TEMPLATES / "deck" / "style.css").read_text(encoding="utf-8")
    deck = {
        "title": plain(slides[0].title),
        "css": style + HtmlFormatter(style="default").get_style_defs(".reveal .highlight"),
        "scripts": [script_text(read(*place)) for place in SCRIPTS],
        "width": WIDTH,
        "height": HEIGHT,
    }
    exporter = HTMLExporter(
        extra_template_basedirs=[str(TEMPLATES)], template_name="deck", embed_images=True, exclude_anchor_links=True
    )
    text, _ = exporter.from_notebook_node(assemble(slides, notebook, script), {"deck": deck})
    return text


def pdf(browser: Browser, deck: Path) -> None:
    """Print a deck, a page for each slide with all its fragments, into a PDF beside it."""
    tab = browser.new_page()
    try:
        tab.goto(f"{deck.resolve().as_uri()}?print-pdf")
        tab.wait_for_function("window.Reveal && Reveal.isReady() && document.querySelector('.pdf-page')")
        tab.wait_for_timeout(200)  # reveal.js sizes the pages in the next frame
        new = deck.with_suffix(".pdf.new")
        tab.pdf(path=new, prefer_css_page_size=True, print_background=True, tagged=True)
        new.replace(deck.with_suffix(".pdf"))
    finally:
        tab.close()


def index(folder: Path) -> str:
    """Return the page that lists the decks in a folder."""
    rows = []
    for script in sorted((ROOT / "slides").glob("*.md")):
        deck = folder / f"{script.stem}.html"
        if deck.exists():
            slides = parse(script)
            paper = f'<a href="{deck.stem}.pdf">PDF</a>' if deck.with_suffix(".pdf").exists() else ""
            title = f"{deck.stem[:2]} · {escape(plain(slides[0].title))}"
            minutes = sum(slide.minutes for slide in slides)
            cells = f'<a href="{deck.name}">{title}</a>', len(slides), f"{minutes:g}", paper
            rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>\n")
    return (TEMPLATES / "deck" / "list.html").read_text(encoding="utf-8").replace("ROWS", "".join(rows))


def make(scripts: list[Path], target: Path) -> list[tuple[Path, list[Slide]]]:
    """Write the decks of these scripts, and return each with its slides.

    Raises:
        DeckError: the folder holds another index.html, a script or its notebook is missing, or as `page` does.
        PackageMissing: as `page` does.
    """
    decks = []
    target.mkdir(parents=True, exist_ok=True)
    page_of_another = target / "index.html"
    if page_of_another.exists() and "<title>d2lnorm: slides</title>" not in page_of_another.read_text(encoding="utf-8"):
        raise DeckError(f"{page_of_another} is not this course's: name a folder of its own for the decks")
    for script in scripts:
        notebook_path = ROOT / "notebooks" / f"{script.stem}.ipynb"
        for needed in (script, notebook_path):
            if not needed.is_file():
                raise DeckError(f"a deck needs its script and a notebook of the same name, but there is no {needed}")
        notebook = nbformat.read(notebook_path, as_version=4)
        slides = parse(script)
        deck = target / f"{script.stem}.html"
        write(deck, page(slides, notebook, script.name))
        deck.with_suffix(".pdf").unlink(missing_ok=True)  # it shows another state
        decks.append((deck, slides))
    return decks


def print_and_check(decks: list[tuple[Path, list[Slide]]]) -> list[str]:
    """Make the PDFs of decks and return the faults that a room would see; without a browser, say so on stderr."""
    faults = []
    try:
        with chromium() as browser:
            for deck, slides in decks:
                try:
                    pdf(browser, deck)
                    faults += [f"{deck.name}, {fault}" for fault in check(browser, deck)[1]]
                except BrowserError as error:
                    faults.append(f"{deck.name}: the browser gave up: {str(error).splitlines()[0]}")
                print(f"{deck.stem}: {len(slides)} slides, {sum(s.minutes for s in slides):g} minutes, HTML and PDF")
    except NoBrowser as missing:
        print(f"The HTML decks are made; they are not checked, and there are no PDFs: {missing}", file=sys.stderr)
    return faults


def main(arguments: list[str]) -> int:
    """Return the exit status: 1 when a deck could not be made, or has a fault; the cause is on stderr."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scripts", nargs="*", type=Path, default=sorted((ROOT / "slides").glob("*.md")))
    parser.add_argument("--to", type=Path, default=BUILD / "slides", help="the folder for the decks")
    options = parser.parse_args(arguments)
    try:
        faults = print_and_check(make(options.scripts, options.to))
        write(options.to / "index.html", index(options.to))
    except (DeckError, PackageMissing) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"Open {options.to / 'index.html'}: in a deck, S shows the speaker's view, F fills the screen.")
    if faults:
        print("A room would see these faults:", *faults, sep="\n  ", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

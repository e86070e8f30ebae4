"""Make the slide decks: `slides/NN_topic.md` and its notebook become a self-contained deck and a PDF in build/slides/."""

import argparse
import sys
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter
from playwright.sync_api import Browser
from pygments.formatters import HtmlFormatter

from browser import NoBrowser, chromium
from build_folder import BUILD, write
from deck import HEIGHT, WIDTH, DeckError, Slide, assemble, parse
from npm_packages import PackageMissing, read

ROOT = Path(__file__).parent.parent
TEMPLATES = Path(__file__).parent / "templates"
SCRIPTS = (
    ("mathjax-3.2.2", "es5/tex-svg-full.js"),
    ("reveal.js-5.2.1", "dist/reveal.js"),
    ("reveal.js-5.2.1", "plugin/notes/notes.js"),
)


def html(slides: list[Slide], notebook: nbformat.NotebookNode, script: str) -> str:
    """Return the deck as one HTML file that needs no other.

    Raises:
        DeckError: the script asks for what the notebook does not have.
        PackageMissing: reveal.js or MathJax cannot be fetched.
    """
    style = read("reveal.js-5.2.1", "dist/reveal.css") + (TEMPLATES / "deck" / "style.css").read_text()
    deck = {
        "title": slides[0].title,
        "css": style + HtmlFormatter(style="default").get_style_defs(".reveal .highlight"),
        "scripts": [read(*place).replace("</script", r"<\/script") for place in SCRIPTS],
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
    page = browser.new_page()
    try:
        page.goto(f"{deck.resolve().as_uri()}?print-pdf")
        page.wait_for_function("window.Reveal && Reveal.isReady() && document.querySelector('.pdf-page')")
        page.wait_for_timeout(200)  # reveal.js sizes the pages in the next frame
        new = deck.with_suffix(".pdf.new")
        page.pdf(path=new, prefer_css_page_size=True, print_background=True, tagged=True)
        new.replace(deck.with_suffix(".pdf"))
    finally:
        page.close()


def index(decks: list[tuple[Path, list[Slide]]]) -> str:
    """Return the page that lists the decks."""
    rows = "".join(
        f'<tr><td><a href="{path.name}">{path.stem[:2]} · {slides[0].title}</a></td><td>{len(slides)}</td>'
        f"<td>{sum(s.minutes for s in slides):g}</td>"
        + (f'<td><a href="{path.stem}.pdf">PDF</a></td>' if path.with_suffix(".pdf").exists() else "<td></td>")
        + "</tr>\n"
        for path, slides in decks
    )
    return (TEMPLATES / "deck" / "list.html").read_text().replace("ROWS", rows)


def make(scripts: list[Path], target: Path) -> list[tuple[Path, list[Slide]]]:
    """Write the decks of these scripts, and return each with its slides."""
    decks = []
    target.mkdir(parents=True, exist_ok=True)
    for script in scripts:
        notebook = nbformat.read(ROOT / "notebooks" / f"{script.stem}.ipynb", as_version=4)
        slides = parse(script)
        deck = target / f"{script.stem}.html"
        write(deck, html(slides, notebook, script.name))
        deck.with_suffix(".pdf").unlink(missing_ok=True)  # it shows another state
        decks.append((deck, slides))
    return decks


def main(arguments: list[str]) -> int:
    """Return the exit status: 1 when a deck could not be made, and then the cause is on stderr."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scripts", nargs="*", type=Path, default=sorted((ROOT / "slides").glob("*.md")))
    parser.add_argument("--to", type=Path, default=BUILD / "slides", help="the folder for the decks")
    options = parser.parse_args(arguments)
    try:
        decks = make(options.scripts, options.to)
    except (DeckError, PackageMissing) as error:
        print(error, file=sys.stderr)
        return 1
    try:
        with chromium() as browser:
            for deck, slides in decks:
                pdf(browser, deck)
                print(f"{deck.stem}: {len(slides)} slides, {sum(s.minutes for s in slides):g} minutes, HTML and PDF")
    except NoBrowser as missing:
        print(f"The HTML decks are made, the PDFs are not: {missing}", file=sys.stderr)
    write(options.to / "index.html", index(decks))
    print(f"Open {options.to / 'index.html'}: in a deck, S shows the speaker's view, F fills the screen.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

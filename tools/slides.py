"""Make the slide decks: Pandoc's Markdown in slides/ becomes an HTML deck in one file and a PDF, or a .pptx."""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

import pypandoc
from playwright.sync_api import Browser
from playwright.sync_api import Error as BrowserError

from browser import NoBrowser, chromium
from build_folder import BUILD, put, write
from check_deck import check
from npm_packages import PackageMissing, unpack

DECKS = Path(__file__).parent.parent / "slides"
PDF = "?print-pdf&pdfSeparateFragments=false&pdfMaxPagesPerSlide=1"
KEYS = """Each deck is one file that needs no network: copy it to a stick, open it in any browser. **S** opens the
speaker's view with notes and clock, **F** fills the screen, **O** shows all slides, **?** lists every key."""


def pandoc(*arguments: str | Path, text: str = "") -> None:
    """Run Pandoc in slides/, with this Python for the filter; raise ValueError with what Pandoc or the filter says."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    options = {"cwd": DECKS, "env": os.environ | {"PATH": path}, "encoding": "utf-8", "capture_output": True}
    done = subprocess.run([pypandoc.get_pandoc_path(), *arguments], input=text, **options)
    if done.returncode:
        raise ValueError(f"{arguments[-1]}: {done.stderr.strip()}")


def make(deck: Path, target: Path) -> Path:
    """Write a deck in the format that the target's suffix names, .html or .pptx, and return the target.

    Raises:
        ValueError: the deck asks for what is not there, or is not written as it should be.
        PackageMissing: reveal.js or MathJax cannot be fetched.
    """
    with tempfile.TemporaryDirectory() as folder:
        new = Path(folder, target.name)
        if target.suffix == ".pptx":
            figures = "-M", f"figures={folder}", f"--resource-path={folder}"
            pandoc("-d", "pptx.yaml", *figures, "-o", new, deck.resolve())
            return put(f"{target.parent.name}/{target.name}", new.read_bytes(), target.parent.parent)  # people edit it
        unpack("reveal.js-5.2.1")
        unpack("mathjax-3.2.2")
        pandoc("-d", "deck.yaml", "-o", new, deck.resolve())
        target.with_suffix(".pdf").unlink(missing_ok=True)  # it shows another state
        write(target, new.read_bytes())
        return target


def pdf(browser: Browser, deck: Path) -> None:
    """Print a deck, a page for each slide with all its fragments, into a PDF beside it."""
    tab = browser.new_page()
    try:
        tab.goto(deck.resolve().as_uri() + PDF)
        tab.wait_for_function("window.Reveal && Reveal.isReady() && document.querySelector('.pdf-page')")
        tab.evaluate("MathJax.startup.promise")
        tab.wait_for_function("!document.querySelector('[data-explorable]:not(.ready)')")
        tab.wait_for_timeout(200)  # reveal.js sizes the pages in the next frame
        write(deck.with_suffix(".pdf"), tab.pdf(prefer_css_page_size=True, print_background=True, tagged=True))
    finally:
        tab.close()


def outline(deck: Path) -> tuple[str, int, float]:
    """Return a deck's title, its number of slides, and the minutes that its notes add up to."""
    text = deck.read_text(encoding="utf-8")
    minutes = map(float, re.findall(r"\bminutes(?:=|: )([\d.]+)", text))
    return re.search(r"^title: (.*)", text, re.M)[1], 1 + len(re.findall("^## ", text, re.M)), sum(minutes)


def index(folder: Path) -> str:
    """Return, in Markdown, the page that lists the decks in a folder."""
    rows = ["| deck | slides | minutes | on paper |", "|----|--|--|--|"]
    for deck in sorted(DECKS.glob("*.md")):
        if (folder / f"{deck.stem}.html").exists():
            title, slides, minutes = outline(deck)
            paper = f"[PDF]({deck.stem}.pdf)" if (folder / f"{deck.stem}.pdf").exists() else ""
            rows.append(f"| [{deck.stem[:2]} · {title}]({deck.stem}.html) | {slides} | {minutes:g} | {paper} |")
    return "\n".join(["---", "title: 'd2lnorm: slides'", "maxwidth: 46em", "---", "", KEYS, "", *rows, ""])


def main(arguments: list[str]) -> int:
    """Return the exit status: 1 when a deck could not be made, or has a fault; the cause is on stderr."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("decks", nargs="*", type=Path, default=sorted(DECKS.glob("*.md")))
    parser.add_argument("--format", choices=("html", "pptx"), default="html")
    options, folder, faults = parser.parse_args(arguments), BUILD / "slides", []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        made = [make(deck, folder / f"{deck.stem}.{options.format}") for deck in options.decks]
        with chromium() if options.format == "html" else nullcontext() as browser:
            for deck in made:
                if browser:
                    pdf(browser, deck)
                    faults += [f"{deck.name}, {fault}" for fault in check(browser, deck)[1]]
                print(deck, flush=True)
    except (ValueError, PackageMissing, BrowserError) as error:
        faults = [str(error)]
    except NoBrowser as missing:
        print(f"The HTML decks are made; they are not checked, and there are no PDFs: {missing}", file=sys.stderr)
    pandoc("-s", "-o", folder / "index.html", text=index(folder))
    if faults:
        print("These faults must be mended:", *faults, sep="\n  ", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The decks: what their Markdown may say, and what a room would see of them in a browser, without a network."""

import base64
import io
import re
import shutil
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from pathlib import Path
from zipfile import ZipFile

import nbformat
import panflute as pf
import pypandoc
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_notebook, new_output
from PIL import Image

import cell_filter
import check_deck
import npm_packages
import slides
from browser import NoBrowser
from hand import mouse_key_and_finger

ROOT = Path(__file__).parents[2]
DECKS = {path.stem: path for path in sorted((ROOT / "slides").glob("*.md"))}
QUIZ = "11_errata_of_the_notes"  # shorter, and of verdicts alone
each_deck = pytest.mark.parametrize("name", DECKS)


def notebook_of(name):
    return nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)


@pytest.fixture(scope="module")
def make_deck(tmp_path_factory) -> Callable[[str], Path]:
    """Make a course's deck once, and return its path. Skips where reveal.js and MathJax cannot be fetched."""
    folder = tmp_path_factory.mktemp("slides")

    def make(name):
        if not (folder / f"{name}.html").exists():
            slides.make(DECKS[name], folder / f"{name}.html")
        return folder / f"{name}.html"

    return make


# What the decks say.


def slides_of(name):
    """The Markdown of a deck's slides, the front matter first."""
    return re.split(r"^(?=## )", DECKS[name].read_text(), flags=re.M)


def test_every_notebook_has_a_deck():
    assert list(DECKS) == [path.stem for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]


@each_deck
def test_a_deck_has_15_to_40_slides_and_notes_for_the_speaker(name):
    made = slides_of(name)
    _, number, minutes = slides.outline(DECKS[name])
    assert number == len(made)
    assert (10 if name == QUIZ else 15) <= number <= 40
    noted = ["\nnotes: |" in made[0], *("::: {.notes minutes=" in slide for slide in made[1:])]
    assert sum(noted) >= number / 2
    for first, second, slide in zip(noted, noted[1:], made, strict=False):
        assert first or second, f"neither this slide nor the next has notes: {slide.splitlines()[0]}"
    assert "::: notes" not in DECKS[name].read_text()  # without minutes
    assert 20 <= minutes <= 90


def test_the_readme_says_how_long_the_decks_are():
    outlines = [slides.outline(path) for path in DECKS.values()]
    lengths, minutes = [n for _, n, _ in outlines], [m for _, _, m in outlines]
    assert f"decks of {min(lengths)} to {max(lengths)} slides" in (ROOT / "README.md").read_text()
    assert 25 <= min(minutes) <= max(minutes) <= 70  # "half an hour to 70 minutes each"


@each_deck
def test_a_prediction_comes_before_its_result(name):
    asked = [slide for slide in slides_of(name) if "**Predict:**" in slide]
    assert len(asked) >= 3
    for slide in asked:
        question = slide.index("**Predict:**")
        shown = [m.start() for m in re.finditer(r"^::: \{\.cell .*show=(output|verdict)", slide, flags=re.M)]
        pauses = [m.start() for m in re.finditer(r"^\. \. \.$", slide, flags=re.M) if m.start() > question]
        assert pauses, slide
        assert not any(question < n < min(pauses) for n in shown), slide


@each_deck
def test_every_verdict_of_the_notebook_is_in_its_deck(name):
    for cell in notebook_of(name).cells:
        if cell.cell_type == "code" and re.search(r"^verdict\(", cell.source, flags=re.M):
            assert f"::: {{.cell #{cell.id} show=verdict" in DECKS[name].read_text(), cell.id


def numbers(text):
    """The numbers in a text that somebody computed or measured: with a decimal point, or with three digits or more."""
    return {n.replace(",", "") for n in re.findall(r"(?<![\w.])\d[\d,]*\.\d+|(?<![\w.,])\d[\d,]*\d\d(?![\w.])", text)}


@each_deck
def test_no_number_is_typed_that_the_notebook_does_not_have(name):
    known = []
    for cell in notebook_of(name).cells:
        known.append(cell.source.replace("_", ""))
        for output in cell.get("outputs", []):
            known += [output.get("text", ""), *(output.get("data", {}).get(k, "") for k in ("text/plain", "text/html"))]
    said = re.sub(r"\bminutes(=|: )[\d.]+", "", DECKS[name].read_text())
    unknown = numbers(said) - numbers("\n".join(known))
    assert not unknown


def test_numbers():
    assert numbers("of 10,000 images 0.25 and 12, x1024, 2015).") == {"10000", "0.25", "2015"}


PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="  # 1 x 1


def shows(data, **metadata):
    return new_output("display_data", data=data, metadata=metadata)


def claim(verdict):
    rows = {"Claim": "it is 1", "Run": "it is 2", "Verdict": verdict}
    return "<table>" + "".join(f"<tr><th>{k}</th><td>{v}</td></tr>" for k, v in rows.items()) + "</table>"


OUTPUTS = {
    "table": shows({"text/html": "<table><tr><td>(2, 3, 4)</td></tr></table>"}),
    "svg": shows({"image/svg+xml": "<svg></svg>"}),
    "dot": shows({"image/png": PIXEL}, **{"image/png": {"alt": "a dot"}}),
    "no-alt": shows({"image/png": PIXEL}),
    "value": new_output("execute_result", data={"text/plain": "42"}, execution_count=1),
    "words": shows({"text/markdown": "so *it* is"}),
    "wrong": shows({"text/html": claim("Wrong. So.")}),
    "right": shows({"text/html": claim("Right. So.")}),
    "depends": shows({"text/html": claim("It depends. So.")}),
}
NOTEBOOK = new_notebook(
    cells=[
        new_code_cell(
            "a = 1\nif a:\n    b = 2\n    c = 3",
            id="sums",
            outputs=[new_output("stream", name="stdout", text="one\ntwo\nthree\n")],
        ),
        new_code_cell("a = 1", id="quiet"),
        new_code_cell("x = " + "1 + " * 20 + "1", id="long"),
        new_code_cell("a = 42", id="answer", metadata={"tags": ["solution"]}),
        new_code_cell("import torch", id="setup"),
        *(new_code_cell("show", id=name, outputs=[output]) for name, output in OUTPUTS.items()),
    ]
)


def write_deck(folder, body, title="Tiny"):
    """Write a deck, and its notebook; return the deck's path."""
    notebook, path = folder / "05_tiny.ipynb", folder / "05_tiny.md"
    nbformat.write(NOTEBOOK, notebook)
    front = f"---\ntitle: {title}\nnotebook: {notebook}\nminutes: 1\nnotes: Begin.\n---\n\n"
    path.write_text(f"{front}## Second\n\n{body}\n\n::: {{.notes minutes=3}}\nSay *hello*.\n:::\n")
    return path


def filtered(folder, body, kind="revealjs"):
    """The deck as the filter leaves it."""
    doc = pf.load(io.StringIO(pypandoc.convert_file(write_deck(folder, body), "json")))
    doc.format = kind
    return cell_filter.put_cells(doc)


def html(folder, body):
    """The second slide as HTML."""
    text = io.StringIO()
    pf.dump(filtered(folder, body), text)
    page = pypandoc.convert_text(text.getvalue(), "revealjs", "json", ["--slide-level=2"])
    return BeautifulSoup(page, "html.parser").section


def cell(name, what="output", more=""):
    return f"::: {{.cell #{name} show={what} {more}}}\n:::\n"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (cell("no-such"), "cell 'no-such': the notebook has no code cell with this id"),
        (cell("sums", "code", 'from="b =" to="x"'), "cell 'sums': no line of it contains 'x'"),
        (cell("sums", "code", 'from="x"'), "no line of it contains 'x'"),
        (cell("sums", "code", "until=x"), "show=code, output or verdict was expected"),
        (cell("sums", "picture"), "show=code, output or verdict was expected"),
        (cell("sums", "output", "letters=big"), "could not convert string to float: 'big'"),
        (cell("sums", "output", "lines=many"), "invalid literal for int() with base 10: 'many'"),
        (cell("quiet"), "it has no stored output"),
        (cell("svg"), "nothing of its output can stand on a slide"),
        (cell("answer", "code"), "it is a cell for the notebook alone (solution)"),
        (cell("setup", "code"), "it is a cell for the notebook alone (setup)"),
        (cell("table", "output", "from=a"), "only code and printed lines can be cut"),
        (cell("sums", "output", 'to=" 3"'), "slide 'Second': Pandoc does not understand '::: {.cell #sums"),
        ("::: {.cel #sums show=code}\n:::", "slide 'Second': nothing stands in ::: cel"),
        ("::: {.explorable #one}\n:::", "slide 'Second', cell 'one': there is no explorable 'one', only one_batch"),
        (". . . {{ code sums }}", "slide 'Second': Pandoc does not understand '. . . {{ code sums }}'"),
    ],
)
def test_a_mistake_in_a_deck_is_named_with_its_slide_and_cell(body, message, tmp_path):
    with pytest.raises(ValueError, match=r"^slide 'Second'") as error:
        filtered(tmp_path, body)
    assert message in str(error.value)


def test_make_slides_says_what_the_filter_and_pandoc_say(tmp_path, packages):
    with pytest.raises(ValueError, match=r"05_tiny.md: slide 'Second', cell 'no': the notebook has no code cell"):
        slides.make(write_deck(tmp_path, cell("no")), tmp_path / "deck.html")
    with pytest.raises(ValueError, match=r"(?s)05_tiny.md: .*nowhere.png"):
        slides.make(write_deck(tmp_path, "![a picture](nowhere.png)"), tmp_path / "deck.html")
    with pytest.raises(ValueError, match=r"(?s)05_tiny.md: .*unclosed"):
        slides.make(write_deck(tmp_path, "::: {.column width=50%}\nhi"), tmp_path / "deck.html")
    lost = write_deck(tmp_path, "hello")
    lost.write_text(lost.read_text().replace("05_tiny.ipynb", "lost.ipynb"))
    with pytest.raises(ValueError, match=r"was expected to name a notebook, not '.*lost.ipynb'"):
        slides.make(lost, tmp_path / "deck.html")
    assert [path.name for path in tmp_path.iterdir() if "deck" in path.name] == []


def test_a_deck_has_what_it_asks_for(tmp_path):
    code = cell("sums", "code", 'from="b =" to="c ="')
    body = f"""Text $x^2$.

:::: columns
::: {{.column width="60%"}}
{code}:::
::: {{.column width="40%"}}
. . .

{cell("sums")}:::
::::

. . .

last"""
    slide = html(tmp_path, body)
    assert slide.p.text == r"Text \(x^2\)."
    assert slide.select_one(".code pre").text == "b = 2\nc = 3"  # the indentation is gone
    assert slide.select_one(".column .fragment .output pre").text == "one\ntwo\nthree"
    assert [f.p.text for f in slide.find_all("div", "fragment", recursive=False)] == ["last"]
    assert " ".join(slide.select_one("aside.notes").text.split()) == "3 min, to minute 4 of 4 Say hello."


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ("from=two", "two\nthree"),
        ("to=two", "one\ntwo"),
        ("from=two lines=1", "two"),
        ("lines=2", "one\ntwo"),
        ("from=two to=two", "two"),
    ],
)
def test_lines_can_be_cut(options, left, tmp_path):
    assert html(tmp_path, cell("sums", "output", options)).pre.text == left


def test_the_title_slide_s_notes_are_where_reveal_looks_for_them(tmp_path):
    doc = filtered(tmp_path, "hello")
    assert doc.get_metadata("title-slide-attributes") == {"data-notes": "1 min, to minute 1 of 4. Begin."}


def test_code_in_a_deck_is_left_as_it_is(tmp_path):
    code = "# not a title\n## nor this\n. . .\n::: {.cell #no-such}\n::: notes"
    assert html(tmp_path, f"~~~text\n{code}\n~~~").pre.text == code


def test_each_kind_of_output_is_shown(tmp_path):
    assert html(tmp_path, cell("value")).pre.text == "42"
    assert html(tmp_path, cell("words")).em.text == "it"
    dot = html(tmp_path, cell("dot")).img
    assert dot["alt"] == "a dot"
    assert base64.b64decode(dot["data-src"].split(",")[1]).startswith(b"\x89PNG")


def test_a_shape_in_a_table_is_never_broken_over_two_lines(tmp_path):
    slide = html(tmp_path, cell("table", "output", "letters=18"))
    assert slide.td.text == "(2,\xa03,\xa04)"
    assert slide.select_one(".output")["style"] == "--letters: 18px"


@pytest.mark.parametrize(("name", "kind"), [("wrong", ["wrong"]), ("right", []), ("depends", [])])
def test_a_verdict_appears_line_by_line_and_a_wrong_claim_has_another_colour(name, kind, tmp_path):
    output = html(tmp_path, cell(name, "verdict")).select_one(".verdict")
    assert output["class"] == ["verdict", *kind]
    assert ["fragment" in row.get("class", []) for row in output.select("tr")] == [False, True, True]


# What a room sees.


@each_deck
def test_nothing_is_cut_off_unrendered_or_fetched(name, browser, packages, make_deck, tell):
    number, faults = check_deck.check(browser, make_deck(name))
    tell(f"{name}: {number} slides checked, {len(faults)} faults")
    assert faults == []
    assert number == slides.outline(DECKS[name])[1]


OFF_THE_PAGE = """() => [...document.querySelectorAll(".pdf-page")].flatMap(page => {
  const paper = page.getBoundingClientRect();
  return [...page.querySelectorAll("section *:not(aside.notes, aside.notes *, svg *)")].filter(e => {
    const box = e.getBoundingClientRect();  // 40 pixels of margin at the sides, but for the foot's lines
    return box.width && box.height && (box.left < paper.left + 40 || box.right > paper.right - 40
      || box.top < paper.top + 20 || box.bottom > paper.bottom - 10);
  }).map(e => e.textContent.slice(0, 40));
})"""


@each_deck
def test_the_pdf_has_a_page_for_each_slide(name, browser, packages, make_deck):
    made = make_deck(name)
    slides.pdf(browser, made)
    tab = browser.new_page()
    tab.goto(made.as_uri() + slides.PDF)
    tab.wait_for_function("document.querySelector('.pdf-page')")
    tab.wait_for_timeout(200)
    assert tab.evaluate(OFF_THE_PAGE) == []
    drawn = tab.locator(".explorable svg:has(path, rect)")
    assert drawn.count() == DECKS[name].read_text().count("{.explorable ")
    tab.close()
    pages = re.findall(rb"/Type\s*/Page\b", made.with_suffix(".pdf").read_bytes())
    assert len(pages) == slides.outline(DECKS[name])[1]


LONG = "\n".join(f"- line {n}" for n in range(30))
FAULTS = [  # what stands on a slide, and what the check says of it
    (LONG, "outside the slide"),
    ("x" * 120, "cut off"),
    (f"```\n{'wide ' * 60}\n```", "cut off"),
    ('<div style="height: 50px; overflow: hidden">' + "word " * 300 + "</div>", "cut off"),
    (r"$\nosuch{x}$", "formula not rendered"),
    (r"It costs \$5 and $x", "formula not rendered"),
    ('<p style="font-size: 9px">small print</p>', "letters too small"),
    ('<p>fine <span style="font-size: 9px">small</span> fine</p>', "letters too small"),
    ('<p style="margin-left: -200px">gone</p>', "outside the slide"),
    ('<p style="margin-top: -200px">gone</p>', "outside the slide"),
    ('<div style="width: 1300px; height: 9px; background: red">.</div>', "outside the slide"),
    ('<p style="position: absolute; bottom: 30px">too low</p>', "outside the slide"),
    ('<p>one</p><p style="margin: -44px 0 0">two</p>', 'lies on "'),
    ('<p style="position: absolute; top: 50px; margin: 0">over the title</p>', 'lies on "'),
    ('<div class="output"><table></table></div>', "an output that shows nothing"),
    (cell("no-alt"), "an image without alt text"),
    (f"![](data:image/png;base64,{PIXEL})", "an image without alt text"),
    (f'<img src="data:image/png;base64,{PIXEL}" alt="a dot" style="width: 90px">', "90 pixels wide"),
    (cell("dot"), None),
    ("::: {.explorable #one_batch gamma=9}\n:::", "a state that does not fit"),
    ("::: {.explorable #one_batch gamma=3}\n:::", None),
    ("all is well: $x$ `a` {{", None),
]


def test_letters_are_as_large_as_their_column_allows(tmp_path, browser, packages):
    narrow = f':::: columns\n::: {{.column width="50%"}}\n{cell("long", "code")}:::\n::::\n\n'
    others = [cell("long", "code"), cell("sums", "code"), cell("sums", "code", "letters=18")]
    deck = slides.make(write_deck(tmp_path, narrow + "\n".join(others)), tmp_path / "deck.html")
    page = browser.new_page(viewport=check_deck.SIZE)
    page.goto(f"{deck.as_uri()}#/1")
    page.wait_for_function("window.Reveal && Reveal.isReady()")
    code = "[...document.querySelectorAll('.present pre')]"
    sizes = page.evaluate(f"{code}.map(e => parseFloat(getComputedStyle(e).fontSize))")
    wide = page.evaluate(f"{code}.map(e => e.scrollWidth / e.clientWidth)")
    page.close()
    assert sizes[0] == 15  # not smaller, even if the line is cut off: the check says so
    assert 15 < sizes[1] < 26
    assert sizes[2:] == [26, 18]
    assert wide[0] > 1.01
    assert wide[1:] == [1, 1, 1]


def test_the_check_sees_each_fault(tmp_path, browser, packages):
    bodies = [body for body, _ in FAULTS]
    deck = slides.make(write_deck(tmp_path, "\n\n## Next\n\n".join(bodies)), tmp_path / "deck.html")
    number, faults = check_deck.check(browser, deck)
    assert number == 1 + len(FAULTS)
    for slide, (body, expected) in enumerate(FAULTS, 2):
        seen = [fault for fault in faults if fault.startswith(f"slide {slide} (")]
        assert any(expected in fault for fault in seen) if expected else not seen, (body, seen)
    assert all(fault.startswith("slide ") for fault in faults)


def test_the_check_sees_what_is_wrong_with_a_whole_deck(tmp_path, browser, packages):
    deck = slides.make(write_deck(tmp_path, "all is well"), tmp_path / "deck.html")
    assert check_deck.check(browser, deck) == (2, [])
    deck.write_text(
        deck.read_text()
        .replace("slideNumber: 'c/t'", "slideNumber: false")
        .replace(
            "<p>all is well</p>",
            '<img src="http://127.0.0.1:9/x.png" alt="far away"><script>console.error("oh"); nosuch()</script>',
        )
    )
    number, faults = check_deck.check(browser, deck)
    assert number == 2
    for expected in ("a request leaves the file", "console: oh", "script error: nosuch is not defined"):
        assert any(expected in fault for fault in faults), expected
    assert sum("no page number" in fault for fault in faults) == 2


def test_a_prediction_s_result_is_hidden_until_the_key_is_pressed(tmp_path, browser, packages):
    made = slides.make(write_deck(tmp_path, f"> **Predict:** what?\n\n. . .\n\n{cell('sums')}"), tmp_path / "deck.html")
    page = browser.new_page(viewport={"width": 1280, "height": 720})
    page.goto(made.as_uri())
    page.wait_for_function("window.Reveal && Reveal.isReady()")
    page.keyboard.press("ArrowRight")
    result = page.locator(".present .output")
    hidden = result.evaluate("e => getComputedStyle(e.closest('.fragment')).visibility")
    page.keyboard.press("ArrowRight")
    shown = result.evaluate("e => getComputedStyle(e.closest('.fragment')).visibility")
    page.close()
    assert (hidden, shown) == ("hidden", "visible")


def test_an_explorable_on_a_slide_answers_the_hand_and_turns_no_slide(tmp_path, browser, packages, screenshots):
    body = "## One\n\nwords\n\n## Two\n\n::: {.explorable #one_batch}\n:::\n\n## Three\n\nwords"
    deck = slides.make(write_deck(tmp_path, body), tmp_path / "deck.html")
    page = browser.new_page(viewport={"width": 1000, "height": 700})  # reveal.js makes the slide smaller
    page.goto(f"{deck.as_uri()}#/three")
    page.wait_for_function("window.Reveal && Reveal.isReady()")
    page.keyboard.press("PageUp")
    place = page.locator(".present .explorable")
    place.wait_for()
    mouse_key_and_finger(page, place)
    place.get_by_role("slider", name="gamma").press("ArrowRight")
    page.screenshot(path=screenshots / "slide-explorable.png")
    turned = page.evaluate("Reveal.getIndices().h")
    place.get_by_role("slider", name="value 2 of 5").press("PageDown")  # a presenter's key
    assert page.evaluate("Reveal.getIndices().h") == turned + 1
    page.close()


def test_the_speaker_sees_notes_and_the_room_does_not(tmp_path, browser, packages):
    made = slides.make(write_deck(tmp_path, "words"), tmp_path / "deck.html")
    page = browser.new_page()
    page.goto(f"{made.as_uri()}#/1")
    page.wait_for_function("window.Reveal && Reveal.isReady()")
    assert not page.locator("section.present aside.notes").is_visible()
    with page.expect_popup() as popup:
        page.keyboard.press("s")
    speaker = popup.value
    speaker.wait_for_function("document.querySelector('.speaker-controls-notes .value').textContent.includes('hello')")
    speaker.close()
    page.close()


def test_the_index_lists_every_deck_that_is_there(tmp_path):
    decks = [tmp_path / f"{name}.html" for name in DECKS][1:]
    for deck in decks:
        deck.touch()
    decks[0].with_suffix(".pdf").touch()
    slides.pandoc("-s", "-o", tmp_path / "index.html", text=slides.index(tmp_path))
    page = BeautifulSoup((tmp_path / "index.html").read_text(), "html.parser")
    assert page.title.text == "d2lnorm: slides"
    assert [a["href"] for a in page.select("td:first-child a")] == [deck.name for deck in decks]
    assert [a["href"] for a in page.select("a[href$=pdf]")] == [f"{decks[0].stem}.pdf"]
    counts = [int(row.select("td")[1].text) for row in page.select("tbody tr")]
    assert counts == [len(slides_of(deck.stem)) for deck in decks]
    assert not page.select("script, link[href^=http], img")


def test_make_slides_says_which_slide_has_a_fault(tmp_path, browser, packages, monkeypatch, capfd):
    monkeypatch.setattr(slides, "chromium", lambda: nullcontext(browser))
    monkeypatch.setattr(slides, "BUILD", tmp_path)
    arguments = [str(write_deck(tmp_path, "all is well"))]
    assert slides.main(arguments) == 0
    assert capfd.readouterr().out.split() == [str(tmp_path / "slides" / "05_tiny.html")]
    assert sorted(p.name for p in (tmp_path / "slides").iterdir()) == ["05_tiny.html", "05_tiny.pdf", "index.html"]
    write_deck(tmp_path, LONG)
    assert slides.main(arguments) == 1
    assert "05_tiny.html, slide 2 (Second): outside the slide" in capfd.readouterr().err
    with monkeypatch.context() as without_browser:
        without_browser.setattr(slides, "chromium", no_browser)
        assert (tmp_path / "slides" / "05_tiny.pdf").exists()
        assert slides.main(arguments) == 0
        assert not (tmp_path / "slides" / "05_tiny.pdf").exists()  # it would show another state
    assert "not checked, and there are no PDFs: none here" in capfd.readouterr().err
    write_deck(tmp_path, cell("no"))
    assert slides.main(arguments) == 1
    assert "05_tiny.md: slide 'Second', cell 'no': the notebook has no" in capfd.readouterr().err


@contextmanager
def no_browser():
    raise NoBrowser("none here")
    yield


def test_a_deck_becomes_a_powerpoint_file_and_an_edited_one_is_kept(tmp_path, monkeypatch, capfd):
    body = f"Text $x^2$.\n\n. . .\n\n{cell('sums')}\n\n## Third\n\n{cell('dot')}"
    monkeypatch.setattr(slides, "BUILD", tmp_path)
    arguments = [str(write_deck(tmp_path, body)), "--format", "pptx"]
    assert slides.main(arguments) == slides.main(arguments) == 0  # ours is written again
    made = tmp_path / "slides" / "05_tiny.pptx"
    assert [*made.parent.glob("*.pptx")] == [made]
    with ZipFile(made) as file:
        shown = "".join(file.read(f"ppt/slides/slide{n}.xml").decode() for n in (1, 2, 3))
        assert sum(name.startswith("ppt/media/") for name in file.namelist()) == 1
        assert any("hello" in file.read(n).decode() for n in file.namelist() if "notesSlides/notesSlide" in n)
    assert 'descr="a dot' in shown  # the figure's alt text
    assert "data:" not in shown
    assert "<m:oMath" in shown
    assert "three" in shown
    assert ". . ." not in shown
    made.write_bytes(b"mine now")
    assert slides.main(arguments) == 0
    assert "was edited: your version is now 05_tiny.mine-" in capfd.readouterr().err
    assert sorted(len(p.read_bytes()) < 10 for p in made.parent.glob("*.pptx")) == [False, True]


# The packages of npm.


def test_in_powerpoint_a_picture_stands_for_an_explorable(tmp_path, browser, packages, screenshots):
    deck = write_deck(tmp_path, "::: {.explorable #one_batch}\n:::")
    made = slides.make(deck, tmp_path / "deck.pptx")
    with ZipFile(made) as file:
        (name,) = (n for n in file.namelist() if n.startswith("ppt/media/"))
        image = Image.open(io.BytesIO(file.read(name))).convert("RGB")
        assert "one_batch: try it on the course" in file.read("ppt/slides/slide2.xml").decode()
    image.save(screenshots / "powerpoint-explorable.png")
    count = {color: n for n, color in image.getcolors(image.width * image.height)}
    handles, outputs, mean = (0, 114, 178), (0, 158, 115), (213, 94, 0)
    assert min(count[color] for color in (handles, outputs, mean)) > 200


def test_a_damaged_archive_is_never_used(tmp_path, monkeypatch, capsys, packages):
    good = npm_packages.FOLDER / "reveal.js-5.2.1.tgz"
    (tmp_path / good.name).write_bytes(good.read_bytes()[:-1])
    monkeypatch.setattr(npm_packages, "npm", lambda: shutil.which("false"))
    with pytest.raises(npm_packages.PackageMissing, match=r"npm could not fetch reveal.js 5.2.1"):
        npm_packages.unpack("reveal.js-5.2.1", tmp_path)
    assert "fetching it again" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == [good.name]


def test_an_archive_of_another_content_is_refused(tmp_path, monkeypatch):
    fake = tmp_path / "npm"
    fake.write_text('#!/bin/sh\necho other > "$6/reveal.js-5.2.1.tgz"\n')
    fake.chmod(0o755)
    monkeypatch.setattr(npm_packages, "npm", lambda: str(fake))
    with pytest.raises(npm_packages.PackageMissing, match="has the SHA-512 .* was expected"):
        npm_packages.fetch("reveal.js-5.2.1", tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []


def test_without_npm_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(npm_packages.shutil, "which", lambda *a, **k: None)
    with pytest.raises(npm_packages.PackageMissing, match="slides and pages need npm once.*apt-get install npm"):
        npm_packages.fetch("reveal.js-5.2.1", tmp_path)


def test_a_package_is_unpacked_whole_or_not_at_all(tmp_path, packages):
    name = "reveal.js-5.2.1"
    (tmp_path / f"{name}.tgz").write_bytes((npm_packages.FOLDER / f"{name}.tgz").read_bytes())
    folder = npm_packages.unpack(name, tmp_path)
    assert (folder / "package/dist/reveal.js").is_file()
    (folder / "mark").touch()
    assert (npm_packages.unpack(name, tmp_path) / "mark").exists()  # not again
    assert sorted(p.name for p in tmp_path.iterdir()) == [name, f"{name}.tgz"]

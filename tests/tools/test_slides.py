"""The decks: what their scripts may say, and what a room would see of them in a browser, without a network."""

import re
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_notebook, new_output

import check_deck
import deck_cells
import npm_packages
import slides
from deck import DeckError, parse
from deck_cells import assemble

ROOT = Path(__file__).parents[2]
SCRIPTS = {path.stem: path for path in sorted((ROOT / "slides").glob("*.md"))}
each_deck = pytest.mark.parametrize("name", SCRIPTS)


def notebook_of(name):
    return nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)


@pytest.fixture(scope="module")
def make_deck(tmp_path_factory) -> Callable[[str], Path]:
    """Make a course's deck once, and return its path. Skips where reveal.js and MathJax cannot be fetched."""
    folder = tmp_path_factory.mktemp("slides")

    def make(name):
        if not (folder / f"{name}.html").exists():
            slides.make([SCRIPTS[name]], folder)
        return folder / f"{name}.html"

    return make


# What the scripts say.


WITHOUT_A_DECK = {"11_errata_of_the_notes"}  # an appendix, to look things up in: nobody lectures through 17 errata


def test_every_notebook_has_a_deck():
    notebooks = [path.stem for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
    assert list(SCRIPTS) == [name for name in notebooks if name not in WITHOUT_A_DECK]
    assert set(notebooks) >= WITHOUT_A_DECK


@each_deck
def test_a_deck_has_15_to_40_slides_and_notes_for_the_speaker(name):
    made = parse(SCRIPTS[name])
    assert 15 <= len(made) <= 40
    assert sum(bool(s.notes) for s in made) >= len(made) / 2
    for first, second in zip(made, made[1:], strict=False):
        assert first.notes or second.notes, f"neither {first.title!r} nor {second.title!r} has notes"
    assert all(s.minutes > 0 for s in made if s.notes)
    assert 20 <= sum(s.minutes for s in made) <= 90


def test_the_readme_says_how_long_the_decks_are():
    lengths = [len(parse(path)) for path in SCRIPTS.values()]
    assert f"decks of {min(lengths)} to {max(lengths)} slides" in (ROOT / "README.md").read_text()
    minutes = [sum(s.minutes for s in parse(path)) for path in SCRIPTS.values()]
    assert 25 <= min(minutes) <= max(minutes) <= 70  # "half an hour to 70 minutes each"


@each_deck
def test_a_prediction_comes_before_its_result(name):
    asked = [s for s in parse(SCRIPTS[name]) if "**Predict:**" in "\n".join(line for _, line, _ in s.body)]
    assert len(asked) >= 3
    for slide in asked:
        lines = [line for _, line, _ in slide.body]
        question = next(n for n, line in enumerate(lines) if "**Predict:**" in line)
        shown = [n for n, line in enumerate(lines) if line.startswith(("{{ output", "{{ verdict"))]
        pauses = [n for n, line in enumerate(lines) if line == ". . ."]
        assert any(p > question for p in pauses), slide.title
        assert not any(n > question and n < min(p for p in pauses if p > question) for n in shown), slide.title


@each_deck
def test_every_verdict_of_the_notebook_is_in_its_deck(name):
    script = SCRIPTS[name].read_text()
    for cell in notebook_of(name).cells:
        if cell.cell_type == "code" and re.search(r"^verdict\(", cell.source, flags=re.M):
            assert f"{{{{ verdict {cell.id} }}}}" in script, cell.id


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
    script = re.sub(r"^::: notes .*", "", SCRIPTS[name].read_text(), flags=re.M)
    unknown = numbers(script) - numbers("\n".join(known))
    assert not unknown


def test_numbers():
    assert numbers("of 10,000 images 0.25 and 12, x1024, 2015).") == {"10000", "0.25", "2015"}


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("words\n# T\n", "line 1: text before the first title"),
        ("## T\n", "line 1: the first title, and no other, begins with"),
        ("# T\n# U\n", "line 2: the first title, and no other, begins with"),
        ("# T\n::: notes\nhi\n:::\n", "line 2: notes begin with"),
        ("# T\n::: notes 2 min\nhi\n", "the notes of 'T' have no end"),
        ("# T\n{{ code no-such }}\n", "line 2: the notebook has no code cell with the id 'no-such'"),
        ("# T\n{{ code sums from 'b =' to 'x' }}\n", "line 2: no line of the cell contains 'x'"),
        ("# T\n{{ code sums until 'x' }}\n", "line 2: after the id may stand"),
        ("# T\n{{ code sums from 'x }}\n", "line 2: No closing quotation"),
        ("# T\n{{ output sums letters big }}\n", "line 2: could not convert string to float: 'big'"),
        ("# T\n{{ columns wide }}\n", "line 2: could not convert string to float: 'wide'"),
        ("# T\n{{ output quiet }}\n", "line 2: the cell 'quiet' has no stored output"),
        ("# T\n{{ code answer }}\n", "line 2: 'answer' is a cell for the notebook alone"),
        ("# T\n{{ picture sums }}\n", "line 2: 'picture sums' is none of"),
        ("# T\n{{ column }}\n", "line 2: 'column' is none of"),
        ("# T\n{{ columns 1:1 }}\n{{ column }}\n{{ column }}\n", "line 4: 'column' is none of"),
        ("# T\n{{ end columns }}\n", "line 2: 'end columns' is none of"),
        ("# T\n{{ columns 0 }}\n", "line 2: a number above 0 and below 1000 was expected, not '0'"),
        ("# T\n{{ output sums letters -3 }}\n", "line 2: a number above 0 and below 1000 was expected, not '-3'"),
        ("# T\n{{ output table from 'a' }}\n", "line 2: only printed lines and code can be cut"),
        ("# T\n{{ code setup }}\n", "line 2: 'setup' is a cell for the notebook alone"),
        ("# T\n{{code sums}}\n", "line 2: '{{code sums}}' must be a line of its own"),
        ("# T\n- {{ output sums }}\n", "line 2: '- {{ output sums }}' must be a line of its own"),
        ("# T\n  . . .\n", "line 2: '  . . .' must be a line of its own"),
        ("# T\n::: notes 2.5.1 min\nhi\n:::\n", "line 2: notes begin with"),
        ("# T\n ::: notes 2 min\nhi\n:::\n", "line 2: notes begin with"),
        ("# T\n::: notes 1 min\na\n:::\n::: notes 2 min\nb\n:::\n", "line 5: the slide 'T' has notes already"),
        ("# T\n##U\n", "line 2: a title is"),
        ("# T\n## \n", "line 2: a title is"),
        ("# T\n```python\n## U\n", "a code block that begins with ``` has no end"),
        ("\n", "no slide"),
    ],
)
def test_a_mistake_in_a_script_is_named_with_its_line(script, message, tmp_path):
    path = tmp_path / "05_t.md"
    path.write_text(script)
    with pytest.raises(DeckError) as error:
        assemble(parse(path), tiny_notebook(), path.name)
    assert str(error.value).startswith("05_t.md")
    assert message in str(error.value)


TABLE = "<table><tr><td>(2, 3, 4)</td></tr></table>"


def tiny_notebook(*outputs):
    printed = new_output("stream", name="stdout", text="one\ntwo\nthree\n")
    cells = [
        new_code_cell("a = 1\nif a:\n    b = 2\n    c = 3", id="sums", outputs=[printed, *outputs]),
        new_code_cell("a = 1", id="quiet"),
        new_code_cell("a = 42", id="answer", metadata={"tags": ["solution"]}),
        new_code_cell("import torch", id="setup"),
        new_code_cell("table", id="table", outputs=[new_output("display_data", data={"text/html": TABLE})]),
    ]
    language = {"language_info": {"name": "python"}}
    return new_notebook(cells=cells, metadata=language)


def write_script(folder, body):
    path = folder / "05_tiny.md"
    path.write_text(f"# Tiny\n\n## Second\n\n{body}\n\n::: notes 3 min\nSay *hello*.\n:::\n")
    return path


def tiny_deck(folder, body, notebook=None):
    path = write_script(folder, body)
    made = folder / "05_tiny.html"
    made.write_text(slides.page(parse(path), notebook or tiny_notebook(), path.name))
    return made


def test_a_deck_has_what_its_script_asks_for(tmp_path, packages):
    body = (
        "Text $x^2$.\n\n{{ columns 3:2 }}\n{{ code sums from 'b =' to 'c =' }}\n{{ column }}\n. . .\n"
        "{{ output sums }}\n{{ end columns }}\n\n. . .\n\nlast"
    )
    page = BeautifulSoup(tiny_deck(tmp_path, body).read_text(), "html.parser")
    first, second = page.select(".slides > section")
    assert first.h1.text == "Tiny"
    assert second.h2.text == "Second"
    assert second.select_one(".code pre").text.strip() == "b = 2\nc = 3"  # the indentation is gone
    assert "3fr" in second.select_one(".columns")["style"]
    assert second.select_one(".column .fragment .output pre").text == "one\ntwo\nthree"
    assert [f.text.strip() for f in second.select("section > .fragment")] == ["last"]
    assert " ".join(second.select_one("aside.notes").text.split()) == "3 min, to minute 3 of 3 Say hello."
    assert second.footer.text == "d2lnorm · 05 Tiny2 / 2"
    assert "<script src" not in str(page)
    assert not page.select("link, iframe")


def test_code_in_a_script_is_left_as_it_is(tmp_path, packages):
    code = "# not a title\n## nor this\n. . .\n{{ code nosuch }}\n::: notes"
    page = BeautifulSoup(tiny_deck(tmp_path, f"~~~text\n{code}\n~~~").read_text(), "html.parser")
    _, second = page.select(".slides > section")
    assert second.select_one(".text pre").text.strip() == code


def test_a_shape_in_a_table_is_never_broken_over_two_lines(tmp_path, packages):
    page = BeautifulSoup(tiny_deck(tmp_path, "{{ output table letters 18 }}").read_text(), "html.parser")
    assert page.td.text == "(2,\xa03,\xa04)"
    assert page.select_one(".output.sized")["style"] == "font-size: 18.0px"


def test_letters_are_as_large_as_their_column_allows(tmp_path, packages):
    long = tiny_notebook()
    long.cells[1].source = "x = " + "1 + " * 15 + "1"
    body = "{{ columns }}\n{{ code quiet }}\n{{ end columns }}\n{{ code quiet }}\n{{ code sums }}"
    page = BeautifulSoup(tiny_deck(tmp_path, body, long).read_text(), "html.parser")
    narrow, wide, short = (float(c["style"].removeprefix("font-size: ")[:-2]) for c in page.select(".code"))
    assert deck_cells.SMALLEST == narrow < wide <= short == deck_cells.LARGEST


def test_a_title_is_plain_where_marks_would_show(tmp_path, packages):
    path = tmp_path / "05_tiny.md"
    path.write_text("# The `a<b` of $x$\n")
    page = BeautifulSoup(slides.page(parse(path), tiny_notebook(), path.name), "html.parser")
    assert page.title.text == "The a<b of x · d2lnorm"
    assert page.footer.span.text == "d2lnorm · 05 The a<b of x"


@pytest.mark.parametrize(
    ("word", "kind"), [("Wrong.", "verdict wrong"), ("Right.", "verdict"), ("It depends.", "verdict")]
)
def test_a_wrong_claim_has_another_colour(word, kind, tmp_path, packages):
    nb = tiny_notebook()
    nb.cells[4].outputs[0].data["text/html"] = f"<table><tr><td>{word} So.</td></tr></table>"
    page = BeautifulSoup(tiny_deck(tmp_path, "{{ verdict table }}", nb).read_text(), "html.parser")
    assert page.select_one(".output")["class"] == ["output", *kind.split()]


def test_a_verdict_appears_line_by_line(tmp_path, packages):
    table = "<table><tr><th>Claim</th></tr><tr><th>Run</th></tr><tr><th>Verdict</th></tr></table>"
    nb = tiny_notebook(new_output("display_data", data={"text/html": table, "text/plain": "Claim"}))
    nb.cells[0].outputs.pop(0)
    page = BeautifulSoup(tiny_deck(tmp_path, "{{ verdict sums }}", nb).read_text(), "html.parser")
    assert [row.get("class") for row in page.select(".verdict tr")] == [None, ["fragment"], ["fragment"]]


# What a room sees.


@each_deck
def test_nothing_is_cut_off_unrendered_or_fetched(name, browser, packages, make_deck, tell):
    number, faults = check_deck.check(browser, make_deck(name))
    tell(f"{name}: {number} slides checked, {len(faults)} faults")
    assert faults == []
    assert number == len(parse(SCRIPTS[name]))


OFF_THE_PAGE = """() => [...document.querySelectorAll(".pdf-page")].flatMap(page => {
  const paper = page.getBoundingClientRect();
  return [...page.querySelectorAll("section *:not(aside.notes, aside.notes *)")].filter(e => {
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
    tab.goto(f"{made.as_uri()}?print-pdf")
    tab.wait_for_function("document.querySelector('.pdf-page')")
    tab.wait_for_timeout(200)
    assert tab.evaluate(OFF_THE_PAGE) == []
    tab.close()
    pages = re.findall(rb"/Type\s*/Page\b", made.with_suffix(".pdf").read_bytes())
    assert len(pages) == len(parse(SCRIPTS[name]))


LONG = "\n".join(f"- line {n}" for n in range(30))
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="  # 1 x 1


def figure(**metadata):
    data = {"image/png": PIXEL, "text/plain": "Figure"}
    return tiny_notebook(new_output("display_data", data=data, metadata={"image/png": metadata}))


def only_svg():
    nb = tiny_notebook()
    nb.cells[4].outputs = [new_output("display_data", data={"image/svg+xml": "<svg></svg>"})]
    return nb


@pytest.mark.parametrize(
    ("body", "notebook", "fault"),
    [
        (LONG, None, "outside the slide"),
        ("x" * 120, None, "cut off"),
        (f"```\n{'wide ' * 60}\n```", None, "cut off"),
        ('<div style="height: 50px; overflow: hidden">' + "word " * 300 + "</div>", None, "cut off"),
        (r"$\nosuch{x}$", None, "formula not rendered"),
        ("It costs <span>\\$5 and \\\\(x</span>", None, "formula not rendered"),
        ('<p style="font-size: 9px">small print</p>', None, "letters too small"),
        ('<p>fine <span style="font-size: 9px">small</span> fine</p>', None, "letters too small"),
        ('<p style="margin-left: -200px">gone</p>', None, "outside the slide"),
        ('<p style="margin-top: -200px">gone</p>', None, "outside the slide"),
        ('<div style="width: 1300px; height: 9px; background: red"></div>', None, "outside the slide"),
        ('<p style="position: absolute; bottom: 30px">too low</p>', None, "outside the slide"),
        ('<p>one</p><p style="margin: -44px 0 0">two</p>', None, 'lies on "'),
        ('<p style="position: absolute; top: 50px; margin: 0">over the title</p>', None, 'lies on "'),
        (
            "<script>setTimeout(() => document.querySelectorAll('footer').forEach(e => e.remove()))</script>",
            None,
            "no page",
        ),
        ("{{ output table }}", only_svg(), "an output that shows nothing"),
        ("{{ output sums }}", figure(), "an image without alt text"),
        (f"![](data:image/png;base64,{PIXEL})", None, "an image without alt text"),
        ("{{ output sums }}", figure(alt="a dot"), None),
        ('<img src="data:image/png;base64,' + PIXEL + '" alt="a dot" style="width: 90px">', None, "90 pixels wide"),
        ('<img src="http://127.0.0.1:9/x.png" alt="far away">', None, "a request leaves the file"),
        ('<script>console.error("oh")</script>', None, "console: oh"),
        ("<script>nosuch()</script>", None, "script error: nosuch is not defined"),
        ("all is well: $x$ `a` {{", None, None),
    ],
)
def test_the_check_sees_each_fault(body, notebook, fault, tmp_path, browser, packages):
    number, faults = check_deck.check(browser, tiny_deck(tmp_path, body, notebook))
    assert number == 2
    if fault is None:
        assert faults == []
    else:
        assert any(fault in f for f in faults), faults


def test_a_prediction_s_result_is_hidden_until_the_key_is_pressed(tmp_path, browser, packages):
    made = tiny_deck(tmp_path, "> **Predict:** what?\n\n. . .\n\n{{ output sums }}")
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


def test_the_speaker_sees_notes_and_the_room_does_not(tmp_path, browser, packages):
    made = tiny_deck(tmp_path, "words")
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
    decks = [tmp_path / f"{name}.html" for name in SCRIPTS][1:]
    for deck in decks:
        deck.touch()
    decks[0].with_suffix(".pdf").touch()
    page = BeautifulSoup(slides.index(tmp_path), "html.parser")
    assert [a["href"] for a in page.select("td:first-child a")] == [deck.name for deck in decks]
    assert [a["href"] for a in page.select("a[href$=pdf]")] == [f"{decks[0].stem}.pdf"]
    counts = [int(row.select("td")[1].text) for row in page.select("tbody tr")]
    assert counts == [len(parse(SCRIPTS[deck.stem])) for deck in decks]


def test_a_folder_with_another_index_is_left_as_it_is(tmp_path, capfd):
    (tmp_path / "index.html").write_text("my homepage")
    assert slides.main([str(SCRIPTS["00_start_here"]), "--to", str(tmp_path)]) == 1
    assert "is not this course's" in capfd.readouterr().err
    assert [p.read_text() for p in tmp_path.iterdir()] == ["my homepage"]


def test_make_slides_says_which_slide_has_a_fault(tmp_path, browser, packages, monkeypatch, capfd):
    (tmp_path / "notebooks").mkdir()
    nbformat.write(tiny_notebook(), tmp_path / "notebooks" / "05_tiny.ipynb")
    monkeypatch.setattr(slides, "ROOT", tmp_path)
    monkeypatch.setattr(slides, "chromium", lambda: nullcontext(browser))
    (tmp_path / "slides").mkdir()
    arguments = [str(write_script(tmp_path / "slides", "all is well")), "--to", str(tmp_path / "build")]
    assert slides.main(arguments) == 0
    assert "05_tiny: 2 slides, 3 minutes, HTML and PDF" in capfd.readouterr().out
    assert sorted(p.name for p in (tmp_path / "build").iterdir()) == ["05_tiny.html", "05_tiny.pdf", "index.html"]
    write_script(tmp_path / "slides", LONG)
    assert slides.main(arguments) == 1
    assert "05_tiny.html, slide 2 (Second): outside the slide" in capfd.readouterr().err
    with monkeypatch.context() as without_browser:
        without_browser.setattr(slides, "print_and_check", lambda decks: [])
        assert (tmp_path / "build" / "05_tiny.pdf").exists()
        assert slides.main(arguments) == 0
        assert not (tmp_path / "build" / "05_tiny.pdf").exists()  # it would show another state
    write_script(tmp_path / "slides", "{{ code nosuch }}")
    assert slides.main(arguments) == 1
    assert "05_tiny.md, line 5: the notebook has no code cell" in capfd.readouterr().err
    (tmp_path / "notebooks" / "05_tiny.ipynb").unlink()
    assert slides.main(arguments) == 1
    assert "a deck needs its script and a notebook of the same name, but there is no" in capfd.readouterr().err


# The packages of npm.


def test_a_damaged_archive_is_never_used(tmp_path, monkeypatch, capsys, packages):
    good = npm_packages.FOLDER / "reveal.js-5.2.1.tgz"
    (tmp_path / good.name).write_bytes(good.read_bytes()[:-1])
    monkeypatch.setattr(npm_packages, "npm", lambda: shutil.which("false"))
    with pytest.raises(npm_packages.PackageMissing, match=r"npm could not fetch reveal.js 5.2.1"):
        npm_packages.read("reveal.js-5.2.1", "dist/reveal.js", tmp_path)
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
    with pytest.raises(npm_packages.PackageMissing, match="slides need npm once.*apt-get install npm"):
        npm_packages.fetch("reveal.js-5.2.1", tmp_path)


def test_without_mathjax_there_is_no_script(monkeypatch):
    def missing(*place, **options):
        raise npm_packages.PackageMissing

    monkeypatch.setattr(npm_packages, "read", missing)
    assert npm_packages.mathjax.__wrapped__() == ""

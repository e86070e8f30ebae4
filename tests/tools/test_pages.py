"""The site of pages: what a reader sees of it in a browser, without a network, on a screen and on a phone."""

import json
import re
import shutil
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
from bs4 import BeautifulSoup

import pages
from hand import in_view, mouse_key_and_finger

ROOT = Path(__file__).parents[2]
NOTEBOOKS = [path.stem for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]


@pytest.fixture(scope="module")
def site(packages, tmp_path_factory):
    """The course's site."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "BUILD", tmp_path_factory.mktemp("pages") / "build")
        assert pages.main() == 0  # Sphinx takes each warning for an error
        yield pages.BUILD / "site"


@pytest.fixture(scope="module")
def soups(site):
    paths = [
        path for path in sorted(site.rglob("*.html")) if "_static" not in path.parts
    ]  # there are the theme's parts
    return {path: BeautifulSoup(path.read_text(), "html.parser") for path in paths}


@pytest.fixture(scope="module")
def tab(browser):
    """Opens a page at a width, and returns it with what went wrong."""
    faults = []
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    inside = ("file:", "data:", "blob:")
    page.on("request", lambda request: request.url.startswith(inside) or faults.append(f"request: {request.url}"))
    page.on("console", lambda message: message.type == "error" and faults.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: faults.append(f"script: {error}"))

    def open_page(path, width=1280):
        faults.clear()
        page.set_viewport_size({"width": width, "height": 800})
        page.goto(path.as_uri() if isinstance(path, Path) else path)
        page.evaluate("window.MathJax?.startup.promise")
        return page, faults

    yield open_page
    page.close()


def test_every_notebook_text_and_function_has_its_place(site, soups):
    assert "By the authors of d2lnorm" in soups[site / "index.html"].get_text(" ", strip=True)
    side = soups[site / "index.html"].select_one("nav.bd-links")
    links = [a["href"] for a in side.select("a.internal")]
    assert [link for link in links if "notebooks/" in link] == [f"notebooks/{name}.html" for name in NOTEBOOKS]
    assert {"api.html", "docs/install.html", "docs/troubleshooting.html", "CONTRIBUTING.html"} <= set(links)
    names = {dt["id"].rpartition(".")[2] for dt in soups[site / "api.html"].select("dt.sig[id]")}
    assert {"BatchNorm", "LayerNorm", "SyncBatchNorm", "train", "lenet", "load_fashion_mnist", "side_by_side"} <= names


def test_no_link_is_broken_and_nothing_is_asked_of_the_web(site, soups):
    broken = []
    for path, soup in soups.items():
        for element in soup.select("[href], [src]"):
            address, anchor = urldefrag(unquote(element.get("href") or element["src"]))
            if address.startswith(("http:", "https:", "data:", "mailto:")):
                if element.name != "a" and not address.startswith("data:"):
                    broken.append((path.name, str(element)[:100]))
                continue
            target = (path.parent / address.split("?")[0]).resolve() if address else path
            if not target.exists():
                broken.append((path.name, address))
            elif anchor and target in soups and not soups[target].find(id=anchor):
                broken.append((path.name, f"{address}#{anchor}"))
    assert len(soups) > 30
    assert broken == []


@pytest.mark.parametrize("width", [400, 1280])
def test_a_page_fits_the_window_and_asks_nothing_of_the_web(width, site, soups, tab):
    seen = [path for path in soups if "_modules" not in path.parts]
    for path in seen:
        page, faults = tab(path, width)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        assert faults == [], path
        assert page.locator("mjx-merror, [data-mjx-error]").count() == 0, path
    assert len(seen) >= 20


def test_formulas_are_drawn(site, tab):
    page, _ = tab(site / "notebooks" / f"{NOTEBOOKS[2]}.html")
    assert page.locator("mjx-container svg").count() > 90
    text = page.evaluate("document.querySelector('article').innerText")
    assert "\\frac" not in text


def test_the_search_works_without_a_network(site, tab):
    page, _ = tab(f"{(site / 'search.html').as_uri()}?q=saturates")
    page.wait_for_selector("#search-results li a")
    assert any(NOTEBOOKS[1] in link.get_attribute("href") for link in page.locator("#search-results li a").all())


def test_proofs_and_solutions_are_folded_and_figures_have_words(site, soups):
    page = soups[site / "notebooks" / f"{NOTEBOOKS[2]}.html"]
    titles = [title.text for title in page.select("details.hide summary .collapsed")]
    assert "Solution" in titles
    assert any(title.startswith("Proof: ") for title in titles)
    assert not page.select("details.hide[open]")
    assert not [
        cell for cell in page.select("div.cell_input") if "_solution(" in cell.text and not cell.find_parent("details")
    ]
    for path, soup in soups.items():
        for image in soup.select(".cell_output img"):
            assert image.get("alt", "").strip(), path
            assert "_images" not in image["alt"], path


def test_a_figure_is_enlarged_by_a_click_and_the_next_page_follows(site, tab):
    page, _ = tab(site / "notebooks" / f"{NOTEBOOKS[2]}.html")
    figure = page.locator(".cell_output img").first
    small = figure.bounding_box()["width"]
    figure.click()
    large = page.locator("dialog.figure img")
    assert large.bounding_box()["width"] > 1.2 * small
    page.keyboard.press("Escape")
    large.wait_for(state="detached")
    page.locator("a.right-next").click()
    assert page.url.endswith(f"{NOTEBOOKS[3]}.html")
    page.locator("a.left-prev").click()
    assert page.url.endswith(f"{NOTEBOOKS[2]}.html")


@pytest.mark.parametrize("width", [400, 1280])
def test_the_gallery_answers_the_hand_and_a_link(site, tab, width, screenshots):
    address = (site / "explorables.html").as_uri()
    page, faults = tab("about:blank", width)
    page.goto(address)
    page.wait_for_function("document.querySelectorAll('.ready').length === 6")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.screenshot(path=screenshots / f"gallery-{width}.png", full_page=True)
    place = page.locator("#one_batch")
    place.scroll_into_view_if_needed()
    values = mouse_key_and_finger(page, place)
    link = place.get_by_role("link", name="Link to this state").get_attribute("href")
    page.goto(address + link)
    page.reload()
    page.wait_for_function("document.querySelectorAll('.ready').length === 6")
    assert in_view(place) == values
    assert faults == []


def test_a_notebook_s_page_has_its_explorables(site, soups, tab, screenshots):
    for name in NOTEBOOKS:
        cells = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text())["cells"]
        widgets = ["".join(c["source"]) for c in cells if "widget" in c["metadata"].get("tags", [])]
        there = [e["data-explorable"] for e in soups[site / "notebooks" / f"{name}.html"].select("[data-explorable]")]
        assert there == [re.search(r"explorables\.(\w+)", source)[1] for source in widgets]
    page, faults = tab(site / "notebooks" / "02_batch_norm_from_scratch.html")
    page.wait_for_function("document.querySelectorAll('.ready').length === 2")
    place = page.locator("#one_batch")
    place.scroll_into_view_if_needed()
    page.screenshot(path=screenshots / "page-02-explorable.png")
    mouse_key_and_finger(page, place)
    assert faults == []


def test_a_page_can_be_dark(site, tab):
    page, _ = tab(site / "index.html")
    for theme in ("dark", "light"):
        page.locator("button.theme-switch-button:visible").first.click()
        page.locator(f"button[data-mode={theme}]:visible").first.click()
        page.wait_for_selector(f"html[data-theme={theme}]")


@pytest.fixture
def tiny(tmp_path, packages, monkeypatch):
    """A course of one page, whose text the test writes."""
    for name in ("docs/site", "d2lnorm"):
        shutil.copytree(ROOT / name, tmp_path / name)
    (tmp_path / "docs/site/api.md").write_text("# API")
    (tmp_path / "docs/site/explorables.md").unlink()  # it leads to notebooks
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    monkeypatch.setattr(pages, "TEXTS", ("docs", "d2lnorm"))
    monkeypatch.setattr(pages, "BUILD", tmp_path / "build")
    return tmp_path


def test_a_link_that_leads_nowhere_is_an_error_and_the_old_site_stays(tiny, capfd):
    (tiny / "docs/site/index.md").write_text("# Title\n\n[lost](notebooks/nowhere.ipynb)\n")
    old = tiny / "build" / "site" / "old.html"
    old.parent.mkdir(parents=True)
    old.touch()
    assert pages.main() == 1
    assert "nowhere.ipynb" in capfd.readouterr().err
    assert old.exists()
    assert [path.name for path in (tiny / "build").iterdir()] == ["site"]


def test_where_build_cannot_be_written_the_site_goes_to_the_user_s_cache(tiny, monkeypatch, capfd):
    (tiny / "docs/site/index.md").write_text("# Title\n\n```{toctree}\napi\n```\n")
    (tiny / "build").write_text("a file where the folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tiny / "cache"))
    assert pages.main() == 0
    out, err = capfd.readouterr()
    page = tiny / "cache/d2lnorm/build/site/index.html"
    assert out == f"Open {page}\n"
    assert "cannot be written to (File exists)" in err
    assert "Title" in page.read_text()

"""What happens where there is no Chromium. In a module of its own: Playwright starts once at a time."""

from pathlib import Path

import pytest

import browser
import slides

SCRIPT = Path(__file__).parents[2] / "slides" / "00_start_here.md"


def test_without_chromium_the_message_says_how_to_get_one(monkeypatch):
    monkeypatch.setattr(browser.shutil, "which", lambda name: None)
    assert browser.find("/no/such/file") is None
    monkeypatch.setattr(browser, "find", lambda own: None)
    with pytest.raises(browser.NoBrowser, match="^no Chromium found: install it with `apt-get install chromium`"):
        browser.chromium().__enter__()


def test_without_chromium_the_decks_are_made_all_the_same(tmp_path, packages, monkeypatch, capfd):
    monkeypatch.setattr(browser, "find", lambda own: None)
    monkeypatch.setattr(slides, "BUILD", tmp_path)
    assert slides.main([str(SCRIPT)]) == 0
    error = capfd.readouterr().err
    assert "The HTML decks are made; they are not checked, and there are no PDFs: no Chromium found" in error
    assert len(error.splitlines()) == 1
    assert sorted(p.name for p in (tmp_path / "slides").iterdir()) == ["00_start_here.html", "index.html"]


def test_a_chromium_that_does_not_start_is_named(tmp_path, monkeypatch):
    broken = tmp_path / "chromium"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(browser, "find", lambda own: str(broken))
    with pytest.raises(browser.NoBrowser, match=f"^{broken} does not start: "):
        browser.chromium().__enter__()

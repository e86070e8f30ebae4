"""A headless Chromium for PDFs and tests: the system's, or the one that Playwright installed."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Error, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
HOW = (
    "no Chromium found: install it with `apt-get install chromium` (Debian, Ubuntu) "
    f"or `{sys.executable} -m playwright install chromium` (anywhere)"
)
OPTIONS = ["--disable-gpu", "--disable-quic", "--disable-background-networking"]


class NoBrowser(Exception):
    """There is no Chromium here, or it does not start; the message says which, and how to install it."""


def find(playwrights_own: str) -> str | None:
    """Return the path of Playwright's own Chromium if it is installed, else of the system's, else None."""
    if os.path.exists(playwrights_own):
        return playwrights_own
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Yield a headless Chromium, and close it at the end.

    Raises:
        NoBrowser: none is installed, or it does not start.
    """
    with sync_playwright() as playwright:
        path = find(playwright.chromium.executable_path)
        if path is None:
            raise NoBrowser(HOW)
        root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []  # its sandbox refuses root
        try:
            browser = playwright.chromium.launch(executable_path=path, args=OPTIONS + root)
        except Error as error:
            raise NoBrowser(f"{path} does not start: {str(error).splitlines()[0]}") from None
        try:
            yield browser
        finally:
            browser.close()

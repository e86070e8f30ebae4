"""Fixtures for the tests that need a browser, or packages of npm."""

import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from browser import NoBrowser, chromium
from npm_packages import SHA512, PackageMissing, fetch

SCREENSHOTS = Path(__file__).parent.parent / "build" / "screenshots"


def missing(cause):
    """Skip the test, with a line that says what to install. In CI nothing may be missing: there it fails."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(str(cause))


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium."""
    with ExitStack() as stack:
        try:
            found = stack.enter_context(chromium())
        except NoBrowser as cause:
            missing(cause)
        yield found


@pytest.fixture(scope="session")
def packages():
    """Makes sure that reveal.js and MathJax are here."""
    try:
        for package in SHA512:
            fetch(package)
    except PackageMissing as cause:
        missing(cause)


@pytest.fixture(scope="session")
def screenshots():
    """The folder for pictures of what the browser showed."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    return SCREENSHOTS

"""Fixtures for the tests that need a browser."""

import os
from contextlib import ExitStack
from pathlib import Path

import pytest
from browser import NoBrowser, chromium

SCREENSHOTS = Path(__file__).parent.parent / "build" / "screenshots"


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium. Where there is none the test is skipped, with a line that says how to get one; not in CI."""
    with ExitStack() as stack:
        try:
            found = stack.enter_context(chromium())
        except NoBrowser as missing:
            if os.environ.get("CI"):
                pytest.fail(f"CI must run the browser tests, but {missing}")
            pytest.skip(str(missing))
        yield found


@pytest.fixture(scope="session")
def screenshots():
    """The folder for pictures of what the browser showed."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    return SCREENSHOTS

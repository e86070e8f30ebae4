"""What is written beside the code: its links lead somewhere, and its first screen stays short."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")), ROOT / "data" / "README.md"]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def anchors(path):
    """The anchors that a page's headings get: in small letters, spaces as hyphens, other marks left out."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(path):
    text = path.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    for link in links:
        name, _, anchor = link.partition("#")
        if ":" not in name:
            target = path.parent / name if name else path
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


def test_readme_begins_with_what_it_is_a_picture_two_commands_and_every_notebook():
    first = README.split("\n## ")[0]
    assert len(re.findall(r"<img |!\[", first)) == 1
    assert len(re.findall(r"^make ", first, re.M)) == 2
    assert re.findall(r"\(notebooks/(\w+\.ipynb)\)", first) == sorted(p.name for p in ROOT.glob("notebooks/*.ipynb"))


def test_every_page_is_linked_from_the_readme():
    for path in DOCUMENTS:
        name = str(path.relative_to(ROOT))
        assert name == "README.md" or f"]({name})" in README, name


def test_the_changelog_has_the_packages_version_and_a_form_that_tools_read():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## \[(.+?)\](?: - \d{4}-\d\d-\d\d)?$", text, re.M)
    assert len(versions) == len(re.findall("^## ", text, re.M))
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert versions[:2] == ["Unreleased", version]
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.+)$", text, re.M)) <= kinds

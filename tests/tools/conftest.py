"""The folder build/ of a test of the tools."""

import pytest

import build_folder


@pytest.fixture
def build(tmp_path, monkeypatch):
    """A folder that stands in for build/; it is made by what writes there first."""
    folder = tmp_path / "build"
    tools = (build_folder.usable, build_folder.add, build_folder.edited, build_folder.put)
    for function in (*tools, build_folder.not_ours, build_folder.clean):
        defaults = tuple(folder if d == build_folder.BUILD else d for d in function.__defaults__)
        monkeypatch.setattr(function, "__defaults__", defaults)
    return folder

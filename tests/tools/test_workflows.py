"""GitHub's workflows call the commands that people call, with few rights, and on every Python that is promised."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.yml"))}
TESTS = WORKFLOWS["tests"]["jobs"]


def steps(workflow):
    return [step for job in WORKFLOWS[workflow]["jobs"].values() for step in job["steps"]]


def lines(job):
    """The commands of a job, one a line."""
    return [line for step in job["steps"] for line in step.get("run", "").splitlines()]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_may_only_read_and_ends_by_itself(name):
    workflow = WORKFLOWS[name]
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"]["cancel-in-progress"] is True
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 90
        assert "permissions" not in job


@pytest.mark.parametrize("name", WORKFLOWS)
def test_actions_are_github_s_own_in_a_major_version(name):
    for step in steps(name):
        if "uses" in step:
            assert re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"])
            if step["uses"].startswith("actions/setup-python@"):
                assert step["with"]["cache"] == "pip"
            if step["uses"].startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


def test_every_python_that_the_project_admits_is_tried_on_linux():
    admitted = SpecifierSet(
        tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    )
    tried = TESTS["test"]["strategy"]["matrix"]["python"]
    assert [f"3.{n}" for n in range(9, 30) if f"3.{n}" in admitted and f"3.{n}" not in tried] == []


def test_the_same_commands_as_in_ci_and_the_makefile():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    called = {step["run"].removeprefix("make ") for name in WORKFLOWS for step in steps(name) if is_make(step)}
    assert {"lint", "test", "pages", "slides"} <= called <= targets
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert "make test" in lines(TESTS["test"])


def is_make(step):
    return step.get("run", "").startswith("make ")


def test_windows_follows_the_page_on_installing():
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    documented = re.search(r"```bat\n(.+?)```", page, re.S)[1].splitlines()
    *setup, lab = documented
    done = lines(TESTS["windows"])
    assert [line for line in done if line in setup][: len(setup)] == setup
    assert lab.startswith("jupyter lab ")  # only whether it is there can be tried
    assert "jupyter lab --version" in done

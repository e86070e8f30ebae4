"""The pinned list, environment.yml and pyproject.toml must agree, and the package must stay small and light."""

import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from check_environment import pinned, problems

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA = (ROOT / "environment.yml").read_text()
SETUP = (ROOT / "tools" / "setup.sh").read_text()
PINS = {canonicalize_name(r.name): r for r in pinned()}
DECLARED = {
    canonicalize_name(r.name): r
    for r in map(Requirement, PROJECT["dependencies"] + PROJECT["optional-dependencies"]["course"])
}


def test_every_requirement_is_pinned_to_one_version():
    for requirement in PINS.values():
        assert re.fullmatch(r"==[\w.]+", str(requirement.specifier)), requirement


def test_list_and_project_name_the_same_packages_and_agree():
    assert PINS.keys() == DECLARED.keys()
    for name, requirement in DECLARED.items():
        version = str(PINS[name].specifier).removeprefix("==")
        assert version in requirement.specifier, f"{requirement} does not admit the pinned {version}"


def test_package_itself_needs_little():
    names = {Requirement(r).name for r in PROJECT["dependencies"]}
    assert names == {"torch", "numpy", "matplotlib", "tqdm", "joblib", "psutil"}


def test_conda_reads_the_same_list_and_names_no_version_of_its_own():
    entries = re.findall(r"^ +- (.+?)$", CONDA, re.M)
    assert entries == ["conda-forge", "python >=3.11,<3.15", "pip", "make", "pip:", "-r requirements.txt"]
    conda_python = SpecifierSet(entries[1].removeprefix("python "))
    assert conda_python == SpecifierSet(PROJECT["requires-python"])


def test_the_hooks_before_a_commit_run_the_pinned_ruff():
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    versions = re.findall(r"additional_dependencies: \[(.+)\]", hooks)
    assert versions == [f"{PINS['ruff']}"] * hooks.count("entry: ruff ")
    assert len(versions) == 2


def test_this_environment_holds_the_pinned_versions():
    assert problems(pinned()) == []


def test_check_names_what_differs():
    found = problems([Requirement("torch==1.0"), Requirement("no-such-package==2"), Requirement("torch")])
    assert re.fullmatch(r"torch==1\.0 is wanted, [\w.+]+ is installed", found[0])
    assert found[1:] == ["no-such-package==2 is not installed"]


def test_an_empty_environment_without_pip_is_told_how_to_fill_it(tmp_path):
    venv.create(tmp_path / "a venv", with_pip=False, symlinks=True)  # as `uv venv` makes it
    command = ["make", "-s", "check-env", f"ENV={tmp_path / 'a venv'}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={"PATH": "/usr/bin:/bin"})
    assert done.returncode
    assert f"environment {tmp_path / 'a venv'} does not hold the course's pinned packages:\n  packaging" in done.stdout
    python = tmp_path / "a venv/bin/python"
    assert done.stderr.startswith(f"Complete it with: uv pip install --python {python} -r requirements.txt\n")


def test_the_set_up_takes_the_pythons_that_the_project_names():
    ((low, high),) = re.findall(r"\((3, \d+)\) <= sys.version_info\[:2\] <= \((3, \d+)\)", SETUP)
    allowed = SpecifierSet(PROJECT["requires-python"])
    within = [f"3.{n}" for n in range(30) if f"3.{n}" in allowed]
    assert [within[0], within[-1]] == [version.replace(", ", ".") for version in (low, high)]
    searched = re.search(r"for other in (.+);", SETUP)[1].split()
    assert sorted(searched) == [f"python{version}" for version in within]
    for name in ("README.md", "requirements.txt", "tools/setup.sh"):
        assert f"Python {within[0]} to {within[-1]}" in (ROOT / name).read_text()
    assert f"{sys.version_info.major}.{sys.version_info.minor}" in allowed


@pytest.mark.parametrize("path", sorted((ROOT / "d2lnorm").rglob("*.py")), ids=lambda p: p.name)
def test_modules_are_small_and_say_what_they_export(path):
    text = path.read_text()
    assert len(text.splitlines()) < 200
    assert text.startswith('"""')
    if path.name != "__main__.py":
        assert "__all__ = [" in text


def test_nothing_names_a_registrys_host_or_a_machines_path():
    if not (ROOT / ".git").exists():
        pytest.skip("an archive without git's list of files")
    tracked = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    words = ["pypi" + ".org", "python" + "hosted", "debian" + ".org", "npm" + "js", "/" + "work/", "/" + "root/"]
    for name in tracked.splitlines():
        path = ROOT / name
        if path.is_file() and path.suffix not in {".png", ".pptx"}:
            text = path.read_text(encoding="utf-8")
            assert [w for w in words if w in text] == [], name

"""The set-up script makes, repairs and keeps the environment as promised; a fake Python stands in for the real one."""

import os
import shutil
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

FAKE_PYTHON = """#!/bin/sh
# stands in for Python: notes each call, makes "environments", and fails or hangs where the test says so
echo "$*" >> "$CALLS"
case "$*" in
  -) if [ -n "$REAL" ]; then exec "$REAL" -; fi; cat > /dev/null;;
  "-m venv --without-pip "*|"-m venv "*) for venv; do :; done
     mkdir -p "$venv/bin"; cp "$0" "$venv/bin/python"; touch "$venv/pyvenv.cfg";;
  "-m pip install "*) [ -z "$SLOW" ] || sleep "$SLOW"; [ -z "$BREAK" ] || exit 1;;
esac
"""


@pytest.fixture
def checkout(tmp_path):
    """A copy of the files that the set-up reads, and a way to call make there with the fake Python."""
    for name in ("Makefile", "requirements.txt", "pyproject.toml", "tools"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    python = tmp_path / "fake-python"
    python.write_text(FAKE_PYTHON)
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    calls = tmp_path / "calls"

    def make(*arguments, broken="", python=python, **variables):
        calls.write_text("")
        env = os.environ | {"CALLS": str(calls), "BREAK": broken, "REAL": "", "SLOW": ""} | variables
        command = ["make", f"PYTHON={python}", *arguments]
        result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env)
        return result, calls.read_text().splitlines()

    return tmp_path, make


def test_setup_runs_once_and_again_when_the_list_changes(checkout):
    folder, make = checkout
    result, calls = make("setup")
    assert result.returncode == 0, result.stderr
    assert "-m pip install -r requirements.txt -e ." in calls
    assert (folder / ".venv/.ready").exists()
    assert make("setup")[1] == []
    os.utime(folder / "requirements.txt", (time.time() + 5, time.time() + 5))
    _, calls = make("setup")
    assert "-m pip install -r requirements.txt -e ." in calls
    assert not any("venv" in c for c in calls)  # the environment itself is kept


def test_interrupted_setup_is_started_anew(checkout):
    folder, make = checkout
    result, _ = make("setup", broken="yes")
    assert result.returncode != 0
    assert not (folder / ".venv/.ready").exists()
    (folder / ".venv/half-a-package").touch()
    result, calls = make("setup")
    assert result.returncode == 0, result.stderr
    assert "was interrupted: starting it anew" in result.stdout
    assert not (folder / ".venv/half-a-package").exists()
    assert any("-m venv" in c for c in calls)


def test_an_update_that_fails_leaves_the_environment(checkout):
    folder, make = checkout
    make("setup")
    (folder / ".venv/a-package").touch()
    os.utime(folder / "requirements.txt", (time.time() + 5, time.time() + 5))
    result, _ = make("setup", broken="yes")
    assert result.returncode != 0
    os.utime(folder / "requirements.txt", (time.time() - 5, time.time() - 5))
    result, _ = make("setup")
    assert result.returncode == 0, result.stderr
    assert (folder / ".venv/a-package").exists()


def test_setup_does_not_touch_a_folder_that_it_did_not_make(checkout):
    folder, make = checkout
    (folder / "mine").mkdir()
    (folder / "mine/my-package").touch()
    result, calls = make("setup", "VENV=mine")
    assert result.returncode != 0
    assert "this course did not make it: use it as it is with ENV=mine" in result.stderr
    assert set(calls) == {"-"}
    assert [p.name for p in (folder / "mine").iterdir()] == ["my-package"]


def test_a_torch_index_is_handed_to_pip(checkout):
    _, make = checkout
    _, calls = make("setup", "TORCH_INDEX=file:///wheels")
    assert "-m pip install --extra-index-url file:///wheels -r requirements.txt -e ." in calls


def test_an_existing_environment_is_checked_and_not_changed(checkout):
    folder, make = checkout
    (folder / "conda/bin").mkdir(parents=True)
    shutil.copy(folder / "fake-python", folder / "conda/bin/python")
    result, calls = make("setup", "ENV=conda")
    assert result.returncode == 0, result.stderr
    assert calls == ["tools/check_environment.py"]
    assert not (folder / ".venv").exists()


def old_python(folder, name="python3"):
    """Put a command into a folder that says of itself that it is Python 3.9."""
    folder.mkdir(exist_ok=True)
    old = folder / name
    old.write_text('#!/bin/sh\ncat > /dev/null; printf "$0 is Python 3.9.1. " >&2; exit 1\n')
    old.chmod(0o755)
    return folder


def test_where_python3_is_too_old_another_is_found(checkout):
    folder, make = checkout
    path = old_python(folder / "bin")
    old_python(path, "python3.12")
    shutil.copy(folder / "fake-python", path / "python3.13")
    result, calls = make("setup", python="python3", PATH=f"{path}:/usr/bin:/bin")
    assert result.returncode == 0, result.stderr
    assert f"{path}/python3 is Python 3.9.1. Taking python3.13 ({path}/python3.13)" in result.stderr
    assert "-m venv .venv" in calls
    assert (folder / ".venv/.ready").exists()


def test_a_python_that_was_asked_for_is_not_replaced(checkout):
    folder, make = checkout
    path = old_python(folder / "bin", "python3.10")
    shutil.copy(folder / "fake-python", path / "python3.13")
    result, calls = make("setup", python="python3.10", PATH=f"{path}:/usr/bin:/bin")
    assert result.returncode
    assert "Python 3.9.1. Python 3.11 to 3.14 is needed, and python3.10 is none: install one" in result.stderr
    assert calls == []
    assert not (folder / ".venv").exists()


def test_several_targets_at_once_share_one_set_up(checkout):
    _, make = checkout
    result, calls = make("-j4", "lint", "slides", "student", "bench", SLOW="1")
    assert result.returncode == 0, result.stderr
    assert sum("pip install" in call for call in calls) == 1
    assert all(
        calls.index(call) > calls.index("-m pip check") for call in calls if call.startswith(("tools/", "-m ruff"))
    )


def test_two_set_ups_at_once_do_the_work_once(checkout):
    folder, make = checkout
    with ThreadPoolExecutor() as pool:
        first, second = pool.map(lambda _: make("setup", REAL=sys.executable, SLOW="2")[0], range(2))
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert (first.stdout + second.stdout).count("Another set-up is at work here: waiting for it.") == 1
    calls = (folder / "calls").read_text().splitlines()
    assert sum("pip install" in call for call in calls) == 1

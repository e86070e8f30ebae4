"""Ctrl-C and other signals end `make run` in words, and no process of a notebook survives."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from tiny_notebooks import ROOT, make_notebook, start

import kernels

CHILDREN = """
import subprocess, time
from pathlib import Path
sleep = ["sleep", "600"]
processes = [subprocess.Popen(sleep), subprocess.Popen(sleep, start_new_session=True)]
processes.append(subprocess.Popen(["sh", "-c", "(sleep 600 &); exec sleep 600"], start_new_session=True))
"""
pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux's /proc")
BUSY = "Path('busy').write_text('')\ntime.sleep(600)"


def wait_for(path, process):
    for _ in range(600):
        if path.exists():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    pytest.fail(f"there is no {path}")


def sleepers(folder):
    """Return the pids of the sleeping processes that a notebook in this folder started."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if b"sleep\x00600" in (process / "cmdline").read_bytes() and (process / "cwd").readlink() == folder:
                found.append(int(process.name))
    return found


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_ends_it_and_the_next_call_goes_on(name, tmp_path):
    make_notebook(tmp_path, "1", name="01_done.ipynb")
    long = make_notebook(tmp_path, CHILDREN + "time.sleep(1)", BUSY, name="02_long.ipynb")
    make_notebook(tmp_path, "1", name="03_never.ipynb")
    names = ("01_done.ipynb", "02_long.ipynb", "03_never.ipynb")
    process = start("run", "--build", "build", *names, cwd=tmp_path)
    wait_for(tmp_path / "busy", process)
    assert len(sleepers(tmp_path)) == 4
    number = getattr(signal, name)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    assert "01_done.ipynb: " in out
    stopped = "\nStopped. Finished: 01_done. Not finished: 02_long, 03_never.\nThe same command goes on from here.\n"
    assert err == stopped
    assert sleepers(tmp_path) == []
    assert sorted(p.name for p in (tmp_path / "build").glob("[!.]*")) == ["01_done.ipynb"]

    make_notebook(tmp_path, "1", name=long.name)
    process = start("run", "--build", "build", *names, cwd=tmp_path)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    assert out.startswith("Finished before and unchanged: 01_done. To execute all again: make run AGAIN=1\n")
    assert re.findall(r"^(\w+).ipynb: ", out, re.M) == ["02_long", "03_never"]


def test_what_a_finished_notebook_left_running_is_ended_too(tmp_path, build):
    path = make_notebook(tmp_path, CHILDREN)
    process = start("run", "--build", build, path, cwd=tmp_path)
    _, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    assert sleepers(tmp_path) == []


def test_shared_memory_of_a_stopped_notebook_is_given_back(tmp_path, build):
    made = "from multiprocessing.shared_memory import SharedMemory\nmemory = SharedMemory(create=True, size=10)"
    path = make_notebook(tmp_path, made + CHILDREN, "Path('name').write_text(memory.name)", BUSY)
    process = start("run", "--build", build, path, cwd=tmp_path)
    wait_for(tmp_path / "busy", process)
    memory = Path("/dev/shm", (tmp_path / "name").read_text())
    assert memory.exists()
    process.terminate()
    process.communicate(timeout=120)
    assert not memory.exists()
    assert sleepers(tmp_path) == []


def test_only_marked_processes_are_ended():
    other = subprocess.Popen(["sleep", "600"], env=os.environ | {kernels.MARK: "another kernel's"})
    with kernels.marked_environment(A="b") as environment:
        assert environment["A"] == "b"
        ours = subprocess.Popen(["sleep", "600"], env=environment)
    assert ours.wait(timeout=10) == -signal.SIGKILL
    assert other.poll() is None
    other.kill()
    other.wait()


def test_make_stops_without_a_traceback(tmp_path):
    path = make_notebook(tmp_path, "import time\nfrom pathlib import Path", BUSY)
    (tmp_path / "env/bin").mkdir(parents=True)
    python = tmp_path / "env/bin/python"
    python.write_text(
        f'#!/bin/sh\n[ "$1" = tools/notebooks.py ] || exit 0\nexec {sys.executable} "$@" --build {tmp_path}/build\n'
    )
    python.chmod(0o755)
    command = ["make", f"ENV={tmp_path}/env", f"NOTEBOOKS={path}", "run"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_for(tmp_path / "busy", process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, err = process.communicate(timeout=60)
    assert process.returncode
    assert "Stopped. Finished: none. Not finished: 05_tiny." in err
    assert "Traceback" not in err

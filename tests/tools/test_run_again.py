"""What `make run` executes again, what it leaves, and what happens to it where others write, or nobody can."""

import errno
import json
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from tiny_notebooks import make_notebook, outputs, start

import build_folder
import finished
import notebooks as runner


@pytest.fixture
def executed(build, capfd):
    """Run notebooks and return the names of those that were executed."""

    def run(*paths, again=False):
        assert runner.run(list(paths), build, again) == 0
        return re.findall(r"^(\w+).ipynb: ", capfd.readouterr().out, re.M)

    return run


def test_a_finished_notebook_is_executed_again_only_when_something_changed(tmp_path, build, executed, monkeypatch):
    path = make_notebook(tmp_path, "1 + 1")
    assert executed(path) == ["05_tiny"]
    assert executed(path) == []
    assert executed(path, again=True) == ["05_tiny"]
    make_notebook(tmp_path, "1 + 2")
    assert executed(path) == ["05_tiny"]
    assert outputs(build / path.name) == ["3"]
    assert executed(path) == []
    (build / "05_tiny.ipynb").unlink()
    assert executed(path) == ["05_tiny"]
    monkeypatch.setattr(finished, "package", lambda: "another state of d2lnorm")
    assert executed(path) == ["05_tiny"]


def test_a_notebook_that_was_only_run_where_it_lies_counts_as_unchanged(tmp_path, executed):
    path = make_notebook(tmp_path, "1 + 1")
    executed(path)
    content = json.loads(path.read_text())
    content["cells"][1] |= {"execution_count": 7, "metadata": {"collapsed": True}}
    path.write_text(json.dumps(content))
    assert executed(path) == []


def test_an_edited_copy_stays_where_it_is_until_the_notebook_is_executed_again(tmp_path, build, executed):
    path = make_notebook(tmp_path, "1 + 1")
    executed(path)
    copy = make_notebook(build, "my own")
    assert executed(path) == []
    assert "my own" in copy.read_text()
    assert executed(path, again=True) == ["05_tiny"]
    (mine,) = build.glob("05_tiny.mine-*.ipynb")
    assert "my own" in mine.read_text()


def test_a_page_that_shows_a_failure_is_not_finished(tmp_path, build, executed):
    path = make_notebook(tmp_path, "1 + 1")
    assert executed(path) == ["05_tiny"]
    make_notebook(tmp_path, "1 / 0")
    assert runner.run([path], build) == 1
    make_notebook(tmp_path, "1 + 1")
    assert executed(path) == ["05_tiny"]


def test_the_package_s_digest_is_of_names_and_code(tmp_path):
    (tmp_path / "a.py").write_text("1")
    seen = set()
    for change in (lambda: None, lambda: (tmp_path / "a.py").write_text("2"), lambda: (tmp_path / "b.py").touch()):
        change()
        seen.add(finished.package.__wrapped__(tmp_path))
    assert len(seen) == 3
    (tmp_path / "a.py").write_bytes(b"2")
    assert finished.package.__wrapped__(tmp_path) in seen


def test_two_runs_at_once_do_the_work_once(tmp_path):
    path = make_notebook(tmp_path, "import time; time.sleep(3)", "print('whole')")
    both = [start("run", "--build", "build", path, cwd=tmp_path) for _ in range(2)]
    answers = sorted(process.communicate(timeout=120) for process in both)
    assert [process.returncode for process in both] == [0, 0]
    (first, none), (second, waited) = answers
    assert re.search(r"^05_tiny.ipynb: ", first, re.M)
    assert second.startswith("Finished before and unchanged: 05_tiny.")
    assert none == ""
    assert waited == f"{runner.WAITING}\n"
    assert outputs(tmp_path / "build/05_tiny.ipynb")[1] == "whole"


def test_build_is_not_removed_under_a_run(tmp_path, build):
    path = make_notebook(tmp_path, "open('here', 'w')", "import time; time.sleep(60)")
    process = start("run", "--build", build, path, cwd=tmp_path)
    while not (tmp_path / "here").exists():
        time.sleep(0.1)
    with pytest.raises(SystemExit, match="build/ is kept, for another command is writing to it"):
        build_folder.clean()
    process.terminate()
    process.communicate(timeout=60)
    build_folder.clean()
    assert not build.exists()


def test_two_tools_that_record_at_once_lose_nothing(build):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: build_folder.put(f"{n}.ipynb", "ours", build), range(40)))
    assert build_folder.edited() == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named_and_nothing_half_written(number, tmp_path, build, monkeypatch, capfd):
    first, second = make_notebook(tmp_path, "1 + 1"), make_notebook(tmp_path, "1 + 2", name="06_more.ipynb")
    assert runner.run([first], build) == 0
    before = {p.name: p.read_bytes() for p in build.iterdir()}

    class Full:
        def __init__(self, handle, *arguments, **options):
            self.file = real(handle, *arguments, **options)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.file.close()

        def write(self, text):
            if not os.readlink(f"/proc/self/fd/{self.file.fileno()}").startswith(f"{build}/"):
                return self.file.write(text)  # the kernel's
            self.file.write(text[:10])
            raise OSError(number, "No space left on device")

    real = build_folder.os.fdopen
    monkeypatch.setattr(build_folder.os, "fdopen", Full)
    assert runner.run([first, second], build) == 1
    assert {p.name: p.read_bytes() for p in build.iterdir()} == before
    err = capfd.readouterr().err
    named = f"No space left on device: {build / build_folder.FINISHED}"
    assert f"{named}. Finished: none. Not finished: 06_more.\nMake room on the disk; then" in err


def test_where_build_cannot_be_written_the_user_s_cache_is_used(tmp_path, monkeypatch, capfd):
    build = tmp_path / "build"
    build.write_text("a file where the folder should be: root may write into read-only folders")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert build_folder.usable(build) == tmp_path / "cache/d2lnorm/build"
    assert "cannot be written to (File exists): copies go to " in capfd.readouterr().err
    monkeypatch.setenv("XDG_CACHE_HOME", str(build))
    other = build_folder.usable(build)
    assert other.is_dir()
    assert other.name.startswith("d2lnorm-build-")
    assert f"copies go to {other}\n" in capfd.readouterr().err
    other.rmdir()
    assert build_folder.usable(tmp_path / "new") == tmp_path / "new"
    assert capfd.readouterr().err == ""

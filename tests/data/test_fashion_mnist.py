"""Every way in which the data can be wrong or out of reach, on four tiny stand-ins and without a network."""

import gzip
import hashlib
import http.server
import os
import socket
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from d2lnorm import FetchError, __main__, fetch_fashion_mnist
from d2lnorm.data import fashion_mnist, sources
from d2lnorm.data.batches import _read_verified
from d2lnorm.data.fashion_mnist import FILES, raw_folder

TRAIN_X, TRAIN_Y, TEST_X, TEST_Y = FILES
CONTENT = {name: bytes([i]) * 1000 for i, name in enumerate(FILES)}


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """Let the four names stand for tiny files, and let no real source be asked."""
    for name, content in CONTENT.items():
        monkeypatch.setitem(FILES, name, (len(content), hashlib.sha256(content).hexdigest()))
    monkeypatch.setattr(fashion_mnist, "SOURCES", [])


@pytest.fixture
def raw(tmp_path):
    """The folder of the data, with the four right files."""
    folder = raw_folder(tmp_path)
    folder.mkdir(parents=True)
    for name, content in CONTENT.items():
        (folder / name).write_bytes(content)
    return folder


def use(monkeypatch, *functions):
    monkeypatch.setattr(fashion_mnist, "SOURCES", [(f"source {f.__name__}", f) for f in functions])


def good(names, scratch):
    for name in names:
        (scratch / f"{name}.gz").write_bytes(gzip.compress(CONTENT[name]))
        yield name, scratch / f"{name}.gz"


def unreachable(names, scratch):
    raise OSError("cannot reach https://host.example/path now")
    yield


def assert_complete(folder):
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == CONTENT  # and nothing else is there


def put(folder, **contents):
    folder.mkdir(exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


def test_right_files_are_left_alone_in_silence(raw, tmp_path, capfd):
    before = {p: p.stat().st_mtime_ns for p in raw.iterdir()}
    assert fetch_fashion_mnist(tmp_path) == raw
    assert {p: p.stat().st_mtime_ns for p in raw.iterdir()} == before
    assert capfd.readouterr() == ("", "")


def test_a_fresh_fetch_says_what_it_tries(tmp_path, monkeypatch, capfd):
    use(monkeypatch, unreachable, good)
    assert_complete(fetch_fashion_mnist(tmp_path))
    assert capfd.readouterr().err.splitlines() == [
        "d2lnorm: 4 of 4 files of Fashion-MNIST needed; trying source unreachable",
        "d2lnorm: 4 of 4 files of Fashion-MNIST needed; trying source good",
    ]
    assert os.stat(raw_folder(tmp_path) / TRAIN_X).st_mode & 0o777 == 0o644


def test_the_sources_are_in_order():
    functions = [function for _, function in sources.SOURCES]
    assert functions == [sources.from_system, sources.from_torchvision, sources.from_debian]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (CONTENT[TRAIN_X][:-1], "is truncated: 999 bytes instead of 1,000"),
        (b"", "is truncated: 0 bytes instead of 1,000"),
        (CONTENT[TRAIN_X] + b"x", "is too long: 1,001 bytes instead of 1,000"),
        (b"\1" + CONTENT[TRAIN_X][1:], "is corrupted: its SHA-256 begins with "),
        (CONTENT[TEST_X], f"is swapped: it holds the content of {TEST_X}"),
    ],
    ids=["truncated", "empty", "too long", "corrupted", "swapped"],
)
def test_a_wrong_file_is_named_and_replaced(raw, tmp_path, monkeypatch, capfd, content, said):
    (raw / TRAIN_X).write_bytes(content)
    use(monkeypatch, good)
    fetch_fashion_mnist(tmp_path)
    assert_complete(raw)
    err = capfd.readouterr().err
    assert f"d2lnorm: {TRAIN_X} {said}" in err
    assert "; it will be replaced" in err
    assert "1 of 4 files" in err  # the right ones are not asked for


def test_two_files_under_each_other_s_names_are_replaced(raw, tmp_path, monkeypatch, capfd):
    put(raw, **{TRAIN_Y: CONTENT[TEST_Y], TEST_Y: CONTENT[TRAIN_Y]})
    use(monkeypatch, good)
    assert_complete(fetch_fashion_mnist(tmp_path))
    err = capfd.readouterr().err
    assert f"{TRAIN_Y} is swapped: it holds the content of {TEST_Y}" in err
    assert f"{TEST_Y} is swapped: it holds the content of {TRAIN_Y}" in err


def test_each_source_is_asked_only_for_what_is_still_needed(tmp_path, monkeypatch):
    asked = []

    def two_good_ones(names, scratch):
        asked.append(names)
        yield from good(names[:2], scratch)
        raise TimeoutError("timed out")

    def rest(names, scratch):
        asked.append(names)
        yield from good(names, scratch)

    use(monkeypatch, two_good_ones, rest, unreachable)
    assert_complete(fetch_fashion_mnist(tmp_path))
    assert asked == [(TRAIN_X, TRAIN_Y, TEST_X, TEST_Y), (TEST_X, TEST_Y)]


def test_nothing_reachable_names_files_sources_and_ways_out(raw, tmp_path, monkeypatch):
    def lying(names, scratch):
        put(scratch, a=b"not what was asked for", b=CONTENT[TRAIN_Y])
        yield TRAIN_X, scratch / "a"
        yield TEST_X, scratch / "b"
        yield TEST_X, scratch / "absent.gz"

    def absent(names, scratch):
        raise sources.SourceError("there is none")

    damaged = raw / f"{TEST_X}.damaged"
    (raw / TRAIN_X).unlink()
    (raw / TEST_X).write_bytes(b"half")
    use(monkeypatch, absent, lying, unreachable)
    with pytest.raises(FetchError) as caught:
        fetch_fashion_mnist(tmp_path)
    lines = str(caught.value).splitlines()
    assert lines[:6] == [
        f"Fashion-MNIST is not complete in {raw}:",
        f"  {TRAIN_X} is missing",
        f"  {TEST_X} is truncated: 4 bytes instead of 1,000; set aside as {damaged.name}",
        "Tried, in this order:",
        "  source absent: there is none",
        f"  source lying: {TRAIN_X} is truncated: 22 bytes instead of 1,000",
    ]
    assert lines[6] == f"  source lying: {TEST_X} is swapped: it holds the content of {TRAIN_Y}"
    assert lines[7].startswith(f"  source lying: {TEST_X} could not be unpacked (FileNotFoundError: ")
    assert lines[8] == "  source unreachable: OSError: cannot reach (address) now"
    assert lines[9] == "What you can do:"
    for way_out in "http_proxy", "install the package dataset-fashion-mnist", "Copy the four files":
        assert way_out in str(caught.value)
    # What is wrong no longer bears the name under which d2l would train on it, and goes once all is right.
    assert sorted(p.name for p in raw.iterdir()) == sorted([TRAIN_Y, TEST_Y, damaged.name])
    use(monkeypatch, good)
    assert_complete(fetch_fashion_mnist(tmp_path))


@pytest.mark.parametrize("how", ["cut", "not gzip", "bytes changed"])
def test_a_damaged_gz_is_reported_and_the_next_source_asked(tmp_path, monkeypatch, how):
    def damaged(names, scratch):
        packed = gzip.compress(os.urandom(5000))
        for name, path in good(names, scratch):
            if name == TEST_X:
                cut, changed = packed[:2000], packed[:100] + bytes(50) + packed[150:]
                path.write_bytes({"cut": cut, "not gzip": b"<html>", "bytes changed": changed}[how])
            yield name, path

    use(monkeypatch, damaged)
    with pytest.raises(FetchError, match=f"source damaged: {TEST_X} could not be unpacked \\(") as caught:
        fetch_fashion_mnist(tmp_path)
    assert f"{TRAIN_X} " not in str(caught.value)  # the other three were taken
    use(monkeypatch, good)
    assert_complete(fetch_fashion_mnist(tmp_path))


@pytest.mark.parametrize("moment", ["download", "write", "rename"])
def test_an_interrupted_fetch_leaves_nothing_that_is_taken_for_data(tmp_path, monkeypatch, moment):
    def interrupted(names, scratch):
        yield from good(names[:2], scratch)
        raise KeyboardInterrupt

    def interrupt(*args):
        raise KeyboardInterrupt

    use(monkeypatch, interrupted if moment == "download" else good)
    with monkeypatch.context() as patch:
        if moment == "write":
            patch.setattr(fashion_mnist, "verdict", interrupt)
        if moment == "rename":
            patch.setattr(fashion_mnist.os, "replace", interrupt)
        with pytest.raises(KeyboardInterrupt):
            fetch_fashion_mnist(tmp_path)
    left = {p.name: p.read_bytes() for p in raw_folder(tmp_path).iterdir()}
    assert left == ({n: CONTENT[n] for n in (TRAIN_X, TRAIN_Y)} if moment == "download" else {})
    use(monkeypatch, good)
    assert_complete(fetch_fashion_mnist(tmp_path))  # the next call repairs it


def test_what_a_killed_call_left_does_no_harm_and_is_removed(raw, tmp_path):
    old, new = raw / f".{TRAIN_X}.abc.part", raw / f".{TRAIN_X}.xyz.part"
    old.write_bytes(b"half")
    os.utime(old, (time.time() - 3600,) * 2)
    new.write_bytes(b"another process is writing this")
    fetch_fashion_mnist(tmp_path)
    assert not old.exists()
    assert new.exists()


def test_two_fetches_at_once_do_not_harm_each_other(tmp_path, monkeypatch):
    both_started = threading.Barrier(2)

    def slow(names, scratch):
        both_started.wait(timeout=10)
        yield from good(names, scratch)

    use(monkeypatch, slow)
    results = []
    threads = [threading.Thread(target=lambda: results.append(fetch_fashion_mnist(tmp_path))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [raw_folder(tmp_path)] * 2
    assert_complete(raw_folder(tmp_path))


def test_a_file_that_another_process_brought_meanwhile_is_not_set_aside(raw, tmp_path, monkeypatch):
    def beaten(names, scratch):
        put(raw, **{TRAIN_X: CONTENT[TRAIN_X]})
        raise OSError("too late")
        yield

    (raw / TRAIN_X).write_bytes(b"half")
    use(monkeypatch, beaten)
    with pytest.raises(FetchError):
        fetch_fashion_mnist(tmp_path)
    assert_complete(raw)


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "FashionMNIST").write_text("a file where a folder should be")
    use(monkeypatch, good)
    with pytest.raises(FetchError, match="Fashion-MNIST cannot be written to .*FashionMNIST/raw: "):
        fetch_fashion_mnist(tmp_path)


def test_a_folder_under_a_file_s_name_is_reported(raw, tmp_path, monkeypatch):
    (raw / TRAIN_X).unlink()
    (raw / TRAIN_X).mkdir()
    use(monkeypatch, good)
    with pytest.raises(FetchError, match=f"{TRAIN_X} cannot be read \\(IsADirectoryError"):
        fetch_fashion_mnist(tmp_path)


def test_in_a_checkout_the_default_root_is_its_data_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert raw_folder() == Path(__file__).resolve().parents[2] / "data" / "FashionMNIST" / "raw"


@pytest.mark.parametrize(
    ("platform", "variable", "usual"),
    [
        ("linux", "XDG_CACHE_HOME", ".cache"),
        ("darwin", "XDG_CACHE_HOME", "Library/Caches"),
        ("win32", "LOCALAPPDATA", "AppData/Local"),
    ],
)
def test_an_installed_package_keeps_the_data_in_the_user_s_cache(monkeypatch, tmp_path, platform, variable, usual):
    monkeypatch.setattr(fashion_mnist, "__file__", str(tmp_path / "site-packages/d2lnorm/data/fashion_mnist.py"))
    monkeypatch.setattr(fashion_mnist.sys, "platform", platform)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for named, folder in (None, f"home/{usual}"), ("", f"home/{usual}"), ("a/b", f"home/{usual}"), ("/a/b", "/a/b"):
        if named is None:
            monkeypatch.delenv(variable, raising=False)
        else:
            monkeypatch.setenv(variable, named)
        assert raw_folder() == tmp_path / folder / "d2lnorm" / "FashionMNIST" / "raw"
    monkeypatch.setenv(variable, str(tmp_path / "cache"))
    use(monkeypatch, good)
    assert_complete(fetch_fashion_mnist())
    assert [p.name for p in tmp_path.iterdir()] == ["cache"]  # and nothing where one stands


@pytest.mark.parametrize("root", ["~/sets", Path("~", "sets")])
def test_a_tilde_is_the_user_s_home(monkeypatch, tmp_path, root):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.chdir(tmp_path)
    use(monkeypatch, good)
    assert fetch_fashion_mnist(root) == raw_folder(root) == home / "sets" / "FashionMNIST" / "raw"
    assert_complete(home / "sets" / "FashionMNIST" / "raw")
    assert _read_verified(root)[TRAIN_X].tobytes() == CONTENT[TRAIN_X]
    assert [p.name for p in tmp_path.iterdir()] == ["home"]  # and no folder that is named ~


# The sources themselves.


def test_the_system_copy_is_read_packed_or_not(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "SYSTEM_COPY", tmp_path / "system")
    with pytest.raises(sources.SourceError, match="there is none"):
        list(sources.from_system([TRAIN_X], tmp_path))
    put(tmp_path / "system", **{TRAIN_X: CONTENT[TRAIN_X], f"{TRAIN_Y}.gz": gzip.compress(CONTENT[TRAIN_Y])})
    found = dict(sources.from_system([TRAIN_X, TRAIN_Y], tmp_path))
    assert [p.name for p in found.values()] == [TRAIN_X, f"{TRAIN_Y}.gz"]


def test_an_absent_torchvision_is_reported_and_the_next_source_asked(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    use(monkeypatch, sources.from_torchvision)
    with pytest.raises(FetchError, match="source from_torchvision: ModuleNotFoundError: .*torchvision"):
        fetch_fashion_mnist(tmp_path)
    use(monkeypatch, sources.from_torchvision, good)
    assert_complete(fetch_fashion_mnist(tmp_path))


@pytest.fixture
def mirror(monkeypatch, tmp_path):
    """Let torchvision's mirror be a folder that a server on this machine offers."""
    from torchvision.datasets import FashionMNIST

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    folder = put(tmp_path / "mirror", **{f"{n}.gz": gzip.compress(c, mtime=0) for n, c in CONTENT.items()})
    md5 = [(p.name, hashlib.md5(p.read_bytes()).hexdigest()) for p in folder.iterdir()]
    monkeypatch.setattr(FashionMNIST, "resources", md5)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        monkeypatch.setattr(FashionMNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield folder
        server.shutdown()
        thread.join()


def test_torchvision_s_download_is_used_and_the_socket_timeout_put_back(mirror, tmp_path, monkeypatch):
    use(monkeypatch, sources.from_torchvision)
    assert_complete(fetch_fashion_mnist(tmp_path))
    assert socket.getdefaulttimeout() is None


def test_a_download_that_torchvision_finds_damaged_is_reported(mirror, tmp_path, monkeypatch):
    (mirror / f"{TEST_X}.gz").write_bytes(b"half")
    use(monkeypatch, sources.from_torchvision)
    with pytest.raises(FetchError, match="source from_torchvision: RuntimeError: File not found or corrupted"):
        fetch_fashion_mnist(tmp_path)


def test_a_host_that_never_answers_is_given_up(tmp_path, monkeypatch):
    from torchvision.datasets import FashionMNIST

    monkeypatch.setattr(sources, "SILENCE", 0.2)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as server:  # it takes the connection, and says nothing
        monkeypatch.setattr(FashionMNIST, "mirrors", [f"http://127.0.0.1:{server.getsockname()[1]}/"])
        use(monkeypatch, sources.from_torchvision)
        hung = threading.Timer(5, server.close)  # then the wait ends, with another error
        hung.start()
        with pytest.raises(FetchError, match="source from_torchvision: TimeoutError: timed out"):
            fetch_fashion_mnist(tmp_path)
        hung.cancel()
    assert socket.getdefaulttimeout() is None


@pytest.fixture
def apt(tmp_path, monkeypatch):
    """Return a function that puts shell scripts in the place of apt-get and dpkg-deb."""
    bin_, calls = tmp_path / "bin", tmp_path / "calls"
    put(bin_, **{f"{n}.gz": gzip.compress(c) for n, c in CONTENT.items()})
    monkeypatch.setenv("PATH", f"{bin_}:/usr/bin:/bin")
    monkeypatch.setattr(sources, "which", lambda tool: (bin_ / tool).exists() or None)

    def install(download, update="exit 0", unpack=None):
        unpack = unpack or f'd="$3{sources.SYSTEM_COPY}"; mkdir -p "$d"; cp {bin_}/*.gz "$d"'
        for tool, script in {
            "apt-get": f'echo "$*" >> {calls}; case "$*" in *update) {update};; *) {download};; esac',
            "dpkg-deb": unpack,
        }.items():
            (bin_ / tool).write_text(f"#!/bin/sh\n{script}\n")
            (bin_ / tool).chmod(0o755)
        use(monkeypatch, sources.from_debian)

    install.calls = lambda: calls.read_text().splitlines()
    return install


DOWNLOADED = "touch dataset-fashion-mnist_1_all.deb"


def test_the_debian_package_is_downloaded_and_unpacked(apt, tmp_path, capfd):
    apt(DOWNLOADED)
    assert_complete(fetch_fashion_mnist(tmp_path))
    (call,) = apt.calls()
    assert call.endswith(" download dataset-fashion-mnist")
    assert "Dir::State::Lists" not in call  # the machine's own package lists
    assert "Acquire::http::Timeout=10" in call
    assert ("APT::Sandbox::User=root" in call) == (os.geteuid() == 0)
    assert "apt-get download dataset-fashion-mnist" in capfd.readouterr().err  # the progress bar's name


def test_without_package_lists_private_ones_are_fetched(apt, tmp_path):
    apt(f'case "$*" in *State::Lists*) {DOWNLOADED};; *) echo "E: Unable to locate package"; exit 100;; esac')
    assert_complete(fetch_fashion_mnist(tmp_path))
    assert [call.split()[-1] for call in apt.calls()] == [sources.PACKAGE, "update", sources.PACKAGE]
    assert all("-oDir::State::Lists=/" in call for call in apt.calls()[1:])


def test_an_apt_without_a_network_is_quoted(apt, tmp_path):
    apt("echo 'W: no'; echo 'E: Unable to locate package'; exit 100", "echo 'E: Could not resolve'; exit 100")
    download = "apt-get download dataset-fashion-mnist failed: E: Unable to locate package"
    said = f"source from_debian: {download}; then apt-get update failed: E: Could not resolve; then {download}"
    with pytest.raises(FetchError) as caught:
        fetch_fashion_mnist(tmp_path)
    assert said in str(caught.value)


def test_a_package_that_cannot_be_unpacked_is_quoted(apt, tmp_path):
    apt(DOWNLOADED, unpack="echo it is no archive; exit 2")
    with pytest.raises(FetchError, match="dpkg-deb failed: it is no archive"):
        fetch_fashion_mnist(tmp_path)


@pytest.mark.parametrize("tool", ["apt-get", "dpkg-deb"])
def test_a_machine_without_apt_is_told_so(apt, tmp_path, tool):
    apt(DOWNLOADED)
    (tmp_path / "bin" / tool).unlink()
    with pytest.raises(FetchError, match=f"source from_debian: {tool} is not installed here"):
        fetch_fashion_mnist(tmp_path)


def test_an_apt_that_hangs_is_stopped(apt, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "PATIENCE", 0.2)
    apt("exec sleep 60", "exec sleep 60")
    start = time.monotonic()
    with pytest.raises(FetchError, match="apt-get update: nothing arrived for 0 s, so it was stopped"):
        fetch_fashion_mnist(tmp_path)
    assert time.monotonic() - start < 10


def test_ctrl_c_stops_the_command_that_runs(apt, tmp_path, monkeypatch):
    started = []
    real = subprocess.Popen
    monkeypatch.setattr(sources.subprocess, "Popen", lambda *a, **k: started.append(real(*a, **k)) or started[0])

    def interrupt(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(sources.time, "sleep", interrupt)
    apt("exec sleep 60")
    with pytest.raises(KeyboardInterrupt):
        fetch_fashion_mnist(tmp_path)
    assert started[0].returncode is not None


# The command.


def test_the_command_says_where_the_data_is(monkeypatch, raw, tmp_path, capfd):
    monkeypatch.setattr(__main__, "fetch_fashion_mnist", lambda: fetch_fashion_mnist(tmp_path))
    assert __main__.main(["data"]) == 0
    assert capfd.readouterr() == (f"Fashion-MNIST: 4 files in {raw}, every SHA-256 right\n", "")


def test_the_command_fails_without_a_traceback(monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(__main__, "fetch_fashion_mnist", lambda: fetch_fashion_mnist(tmp_path))
    assert __main__.main(["data"]) == 1
    assert capfd.readouterr().err.startswith("Fashion-MNIST is not complete in ")


def test_the_command_can_be_interrupted(monkeypatch, capfd):
    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setattr(__main__, "fetch_fashion_mnist", interrupt)
    assert __main__.main(["data"]) == 130
    assert "interrupted" in capfd.readouterr().err


def test_another_command_is_answered_with_the_one_that_there_is(capsys):
    assert __main__.main([]) == __main__.main(["date"]) == 2
    assert capsys.readouterr().err.startswith("usage: python -m d2lnorm")


def test_an_unknown_command_shows_the_usage():
    command = [sys.executable, "-W", "error", "-m", "d2lnorm", "date"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: python -m d2lnorm")


def test_the_readme_of_the_data_has_the_same_table(monkeypatch):
    monkeypatch.undo()  # the real table again
    readme = (Path(__file__).resolve().parents[2] / "data" / "README.md").read_text()
    for name, (size, sha256) in FILES.items():
        assert any(name in row and f"{size:,}" in row and sha256 in row for row in readme.splitlines())

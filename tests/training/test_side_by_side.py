"""Runs side by side: what comes back is what one process would have found, and nothing is left behind."""

import contextlib
import linecache
import os
import signal
import subprocess
import sys
import tempfile
import time
import types
import warnings
from pathlib import Path

import pytest
import torch
from joblib.externals.loky import BrokenProcessPool
from small_runs import net, tiny, weights
from torch import nn
from tqdm.auto import tqdm

from d2lnorm import Batches, side_by_side, train
from d2lnorm.training import affordable

SEEDS = [{"seed": seed} for seed in range(4)]


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    """The folder for temporary files. What is left in it, or in shared memory, fails the test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    tqdm.get_lock()  # the bars' own, which Python 3.14 keeps in shared memory until the process ends
    before = {*Path("/dev/shm").glob(f"*-{os.getpid()}-*")}
    yield tmp_path
    assert {*tmp_path.glob("d2lnorm-*"), *Path("/dev/shm").glob(f"*-{os.getpid()}-*")} - before == set()


def state():
    return torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_rng_state().tolist()


def ended(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return False
    return True


def soon(condition, seconds=60):
    """Wait until the condition holds; return whether it does in time."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def test_the_same_results_for_any_number_of_workers():
    def run(seed):
        given = [torch.rand(2).tolist(), str(torch.get_default_dtype()), torch.is_grad_enabled()]
        torch.manual_seed(seed)
        torch.set_default_dtype(torch.float32)
        torch.set_grad_enabled(True)
        model = net()
        history = train(model, tiny(), tiny(), 2, 0.1)
        return [*given, torch.get_num_threads(), history.loss, [w.tolist() for w in weights(model)], seed]

    torch.manual_seed(5)
    before = state()
    try:
        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(2)
        with torch.no_grad():
            changed = state()
            here, two, three = (side_by_side(run, SEEDS, workers=workers) for workers in (1, 2, 3))
            assert state() == changed
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_num_threads(before[0])
    assert here == two == three
    assert all(run[1:4] == ["torch.float64", False, 1] for run in here)
    assert all(run[0] == here[0][0] for run in here)  # each from the caller's random state
    assert [run[-1] for run in here] == [0, 1, 2, 3]


def test_the_state_is_restored_after_an_error_too():
    def run(seed):
        torch.set_num_threads(2)
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        torch.manual_seed(seed)
        raise ValueError("no")

    before = state()
    with pytest.raises(ValueError, match="no") as caught:
        side_by_side(run, [{"seed": 7}], workers=1)
    assert state() == before
    assert caught.value.__notes__ == ["in the run with seed=7"]


def test_what_comes_back_and_what_is_handed_over(folder, capsys):
    """Results of a class of the notebook, prints and warnings in the settings' order; images in a file."""
    images, changed = torch.randn(4_000, 4, 28, 28), []  # 50 MB
    data, sum_before = Batches(images, torch.arange(4_000) % 3, 64).first(3_000), images.sum()

    class Model(nn.Linear):
        pass

    def run(seed, wait=0):
        time.sleep(wait)
        changed.append(seed)
        total = images.sum()
        images.zero_()
        print(f"seed {seed}", end=";")
        warnings.warn(f"of seed {seed}", UserWarning, stacklevel=1)
        sizes = {path.name: path.stat().st_size for path in folder.glob("d2lnorm-*/*")}
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        train(net(), tiny(), tiny(), 1, 0.1)
        return Model(2, 3), list(changed), total.item(), len(data.dataset), os.getpid(), blocked, sizes

    with pytest.warns(UserWarning, match="of seed") as warned:
        found = side_by_side(run, [{"seed": 0, "wait": 2}, *SEEDS[1:]], workers=2)
    line = run.__code__.co_firstlineno + 6
    assert [(str(w.message), w.filename, w.lineno) for w in warned] == [
        (f"of seed {seed}", __file__, line) for seed in range(4)
    ]
    assert capsys.readouterr().out == "seed 0;seed 1;seed 2;seed 3;"
    models, changes, sums, lengths, processes, blocked, sizes = zip(*found, strict=True)
    assert {type(model) for model in models} == {Model}
    assert changes == ([0], [1], [2], [3])  # none sees what another one changed,
    assert changed == []  # nor does the caller
    assert set(sums) == {sums[0]}
    assert images.sum() == sum_before
    assert len(set(processes)) == 2
    assert os.getpid() not in processes
    assert [path for pid in processes for path in Path("/dev/shm").glob(f"*-{pid}-*")] == []  # tqdm's lock, say
    assert all(signal.SIGINT in signals for signals in blocked)  # Ctrl-C is for the caller
    assert set(lengths) == {3_000}
    assert sizes[0]["job"] < 100_000
    assert sizes[0].keys() - {"job", "0", "1", "2", "3"} == {"tensor1", "tensor2"}  # and of Batches, the part it has
    assert sizes[0]["tensor1"] + sizes[0]["tensor2"] == images.nbytes * 7 // 4


class Unportable(Exception):
    """It cannot be made again from its arguments, as unpickling does."""

    def __init__(self, seed, more):
        super().__init__(f"seed {seed} {more}")


def stop(model, history):
    raise ValueError("seed 1 failed")


CELL = """
def run(seed):
    if seed != 1:
        time.sleep(300)
    {}
"""


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ('raise Unportable(seed, "failed")', RuntimeError),
        ("train(net(), tiny(), tiny(), 2, 0.1, after_epoch=stop)", ValueError),
    ],
    ids=["unportable", "with history"],
)
def test_an_error_ends_the_rest_and_says_where_it_was(line, kind, monkeypatch):
    source = CELL.format(line)
    names = {**globals(), "__name__": "__main__"}
    exec(compile(source, "/cell/1.py", "exec"), names)
    lines = len(source), None, source.splitlines(keepends=True), "/cell/1.py"
    monkeypatch.setitem(linecache.cache, "/cell/1.py", lines)  # as a notebook's kernel does
    start = time.monotonic()
    with pytest.raises(kind, match="seed 1 failed") as caught:
        side_by_side(names["run"], SEEDS, workers=2)
    assert time.monotonic() - start < 100
    *_, worker, setting = caught.value.__notes__
    assert setting == "in the run with seed=1"
    assert worker.startswith("in a worker:\nTraceback (most recent call last):\n")
    assert f'File "/cell/1.py", line 5, in run\n    {line}\n' in worker
    assert kind is RuntimeError or len(caught.value.history) == 1


def test_a_worker_that_dies_ends_the_rest():
    with pytest.raises(BrokenProcessPool, match="unexpectedly terminated"):
        side_by_side(lambda seed: os._exit(3) if seed == 1 else time.sleep(300), SEEDS, workers=2)


def test_a_function_that_cannot_be_handed_over_is_an_error_at_once():
    lock = (i for i in range(3))
    with pytest.raises(TypeError, match="generator"):
        side_by_side(lambda seed: next(lock), SEEDS, workers=2)


SCRIPT = """
import os, sys
from pathlib import Path
import torch
from d2lnorm import side_by_side

folder = Path(sys.argv[1])

def run(seed):
    (folder / str(seed)).write_text(str(os.getpid()))
    while True:
        torch.randn(500, 500) @ torch.randn(500, 500)

try:
    print("called", flush=True)
    side_by_side(run, [{"seed": seed} for seed in range(4)], workers=2)
except KeyboardInterrupt:
    print("left:", os.listdir(os.environ["TMPDIR"]), list(Path("/dev/shm").glob(f"*-{os.getpid()}-*")))
"""


@contextlib.contextmanager
def script(folder):
    """The script in a group of processes of its own, which is gone in the end; warnings are errors there."""
    for name in ("seeds", "temporary"):
        (folder / name).mkdir()
    (folder / "script.py").write_text(SCRIPT)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(folder / "temporary")}
    arguments = [sys.executable, "-W", "error", folder / "script.py", folder / "seeds"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(arguments, env=env, start_new_session=True, **pipes)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        for path in ("seeds/0", "seeds/1", "seeds", "temporary", "script.py"):
            path = folder / path
            path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)


def running(folder):
    """The ids of the two workers, when both are computing."""
    files = [folder / "seeds" / seed for seed in "01"]
    assert soon(lambda: all(f.exists() and f.read_text() for f in files))
    return [int(f.read_text()) for f in files]


@pytest.mark.parametrize("to", ["parent", "group", "group while workers start"])
def test_ctrl_c_ends_all_at_once(to, folder):
    with script(folder) as process:
        assert process.stdout.readline() == "called\n"
        pids = running(folder) if "start" not in to else []
        time.sleep(0.5)
        start = time.monotonic()
        (os.kill if to == "parent" else os.killpg)(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert time.monotonic() - start < 20
        assert out == "left: [] []\n"
        assert err == ""
        assert process.returncode == 0
        assert all(map(ended, pids))
        assert soon(lambda: group_ended(process.pid))


def test_a_parent_that_is_killed_leaves_nothing_either(folder):
    with script(folder) as process:
        pids = running(folder)
        process.kill()
        process.wait()
        assert soon(lambda: all(map(ended, pids)))
        assert soon(lambda: group_ended(process.pid))
        assert list((folder / "temporary").iterdir()) == []


def group_ended(group):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, 0)
        return False
    return True


def test_where_there_is_a_gpu_all_is_computed_here(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert set(side_by_side(lambda seed: os.getpid(), SEEDS)) == {os.getpid()}


@pytest.mark.parametrize(("cores", "gigabytes", "workers"), [(4, 2.5, 2), (2, 2.5, 2), (1, 9, 1), (4, 0.3, 1)])
def test_as_many_workers_as_cores_and_memory_allow(cores, gigabytes, workers, monkeypatch):
    free = types.SimpleNamespace(available=int(gigabytes * 2**30))
    monkeypatch.setattr("psutil.virtual_memory", lambda: free)
    monkeypatch.setattr("joblib.cpu_count", lambda: cores)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert affordable.affordable_workers() == workers


def test_a_bar_counts_the_runs_unless_told_not_to(monkeypatch, capsys):
    side_by_side(lambda seed: None, SEEDS, workers=1)
    assert capsys.readouterr().err == ""
    monkeypatch.delenv("TQDM_DISABLE")
    side_by_side(lambda seed: None, SEEDS, workers=1)
    assert "run" in capsys.readouterr().err


def test_no_settings_no_results():
    assert side_by_side(lambda: None, []) == []

"""Training by several processes under torchrun, beside the same training by one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import distributed, nn

import d2lnorm
from d2lnorm.course import processes
from d2lnorm.course.processes import run_in_processes

ROOT = Path(__file__).parents[2]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
NORMS = {
    "sync": lambda C, dims: d2lnorm.SyncBatchNorm(C),
    "group": lambda C, dims: nn.GroupNorm(2, C),
    "torch": "torch",
}


def data(examples, batch_size, shuffle=True):
    generator = torch.Generator().manual_seed(0)
    X = torch.rand(examples, 1, 28, 28, generator=generator, dtype=torch.float64)
    return d2lnorm.Batches(X, torch.arange(examples) % 10, batch_size, shuffle)


def trained(norm, examples, batch_size, **options):
    """The history of two epochs, and the net's state."""
    rank = distributed.get_rank() if distributed.is_initialized() else 0
    torch.manual_seed(rank)  # each process draws other weights: those of the first count
    net = d2lnorm.lenet(NORMS[norm]).double()
    history = d2lnorm.train(
        net, data(examples, batch_size), data(13, 5, shuffle=False), num_epochs=2, lr=0.1, device="cpu", **options
    )
    return history, net.state_dict()


def all_of(cases):
    return [trained(*case) for case in cases]


def test_two_processes_train_as_one():
    cases = [("sync", 64, 16), ("sync", 23, 8), ("sync", 11, 3), ("group", 10, 3)]  # last batches of 16, 7, 2 and 1
    first, second = run_in_processes(2, all_of, cases=cases)
    for case, by_first, by_second in zip(cases, first, second, strict=True):
        history, state = trained(*case)
        for theirs, their_state in (by_first, by_second):
            torch.testing.assert_close(their_state, state, rtol=1e-8, atol=1e-8)  # two epochs let rounding grow
            torch.testing.assert_close(theirs.loss, history.loss, rtol=1e-6, atol=0)  # summed in float32
            assert (theirs.train_acc, theirs.test_acc) == (history.train_acc, history.test_acc)


class Watcher(nn.Module):
    """A linear classifier of one feature; notes which examples come, and what dropout lets through."""

    def __init__(self):
        super().__init__()
        self.linear, self.seen, self.masks = nn.Linear(1, 10), [], []

    def forward(self, X):
        if self.training:
            self.seen.append(X.flatten().tolist())
            self.masks.append((nn.functional.dropout(torch.ones(100)) > 0).tolist())
        return self.linear(X)


def watched():
    X = torch.arange(11.0)[:, None]
    torch.manual_seed(5)
    net = Watcher()
    d2lnorm.train(net, d2lnorm.Batches(X, X.flatten().long() % 10, 4, shuffle=True), [(X, X[:, 0].long() % 10)], 2, 0.1)
    print("said by every process")
    return net.seen, net.masks


def test_no_example_is_lost_or_doubled_and_the_order_is_that_of_one():
    (first, masks), (second, other_masks) = run_in_processes(2, watched)
    X = torch.arange(11.0)[:, None]
    torch.manual_seed(5)
    net = Watcher()
    batches = d2lnorm.Batches(X, X.flatten().long() % 10, 4, shuffle=True)
    d2lnorm.train(net, batches, [(X, X[:, 0].long() % 10)], 2, 0.1, "cpu")
    assert [a + b for a, b in zip(first, second, strict=True)] == net.seen
    assert [(len(a), len(b)) for a, b in zip(first, second, strict=True)] == [(2, 2), (2, 2), (2, 1)] * 2
    assert all(a != b for a, b in zip(masks, other_masks, strict=True))  # dropout draws for each process


def local_buffers():
    history, state = trained("torch", 32, 16)
    return state


def test_without_synchronization_the_first_process_statistics_are_everybodys(capfd):
    first, second = run_in_processes(2, local_buffers)
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def launched(seed):
    return distributed.is_torchelastic_launched(), trained("group", 8, 4)[0].loss


def experiment():
    return d2lnorm.side_by_side(launched, [{"seed": 0}, {"seed": 1}], workers=2)


def test_a_worker_of_an_experiment_under_torchrun_trains_alone():
    alone = [(False, trained("group", 8, 4)[0].loss)] * 2
    assert run_in_processes(2, experiment) == [alone, alone]


def refused():
    return trained("torch", 18, 16)


def test_a_share_of_one_example_is_refused_before_anything_is_changed():
    with pytest.raises(RuntimeError, match="the last of the 2 batches of train_iter holds 2 examples for 2 processes"):
        run_in_processes(2, refused)


def test_a_machine_without_local_sockets_gets_a_message(monkeypatch):
    def none(*_, **__):
        raise PermissionError("not permitted")

    monkeypatch.setattr(processes.socket, "create_server", none)
    with pytest.raises(RuntimeError, match="local sockets, and this machine opens none"):
        run_in_processes(2, local_buffers)


def tiny(norm):
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10), *([norm(10, 2)] if callable(norm) else []))


def start(tmp_path, command, *arguments):
    env = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{Path(__file__).parent}", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, "-m", "d2lnorm", "train", "--net", "test_processes:tiny", *arguments],
        cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def test_the_command_trains_alone_and_under_torchrun(tmp_path):
    histories, states = [], []
    for command, folder in (([sys.executable], "one"), (TORCHRUN, "two")):
        options = ["--norm=none", "--epochs=2", "--lr=0.1", "--batch-size=512", "--device=cpu"]
        done = start(tmp_path, command, *options, f"--save={folder}")
        out, err = done.communicate(timeout=600)
        assert done.returncode == 0, err
        assert out.count("epoch     loss") == 1  # one process prints
        histories.append(json.loads((tmp_path / folder / "history.json").read_text()))
        states.append(torch.load(tmp_path / folder / "weights.pt", weights_only=True))
    torch.testing.assert_close(histories[1]["loss"], histories[0]["loss"], rtol=1e-4, atol=0)
    torch.testing.assert_close(states[1], states[0], rtol=1e-4, atol=1e-4)
    again = start(tmp_path, [sys.executable], "--save=one")
    assert "holds the history.json and weights.pt of another run" in again.communicate(timeout=600)[1]
    assert again.returncode == 1


def test_ctrl_c_ends_every_process_and_the_finished_epochs_are_on_the_disk(tmp_path):
    running = start(tmp_path, TORCHRUN, "--epochs=10000", "--lr=0.01", "--batch-size=4096", "--save=run")
    history = tmp_path / "run" / "history.json"
    for _ in range(3000):
        if history.exists():
            break
        assert running.poll() is None, running.communicate()
        time.sleep(0.1)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does
    running.communicate(timeout=120)
    assert running.returncode != 0
    with pytest.raises(ProcessLookupError):  # none of the group is left
        os.killpg(running.pid, 0)
    assert len(json.loads(history.read_text())["loss"]) >= 1
    assert set(torch.load(tmp_path / "run" / "weights.pt", weights_only=True)) == {"1.weight", "1.bias"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lr=0"], "invalid positive float value: '0'"),
        (["--epochs=1.5"], "invalid positive int value: '1.5'"),
        (["--net=nowhere:net"], "--net must be lenet or MODULE:FUNCTION, but is 'nowhere:net'"),
        (["--norm=none", "--net=test_processes"], "--net must be lenet or MODULE:FUNCTION"),
    ],
)
def test_a_wrong_argument_is_told_in_a_line(arguments, message, tmp_path):
    done = start(tmp_path, [sys.executable], *arguments)
    out, err = done.communicate(timeout=600)
    assert done.returncode in (1, 2)
    assert message in err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())

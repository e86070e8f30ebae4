"""Measure the course's speed as ratios: both sides in one run, interleaved, medians. Takes about 5 minutes."""

import contextlib
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch.nn import functional as F

import bench_explorables
import bench_layers
import d2lnorm

ROOT = Path(__file__).parent.parent
BATCH = 256
Row = tuple[str, float, float, str]  # what, seconds of each side, the limit


def interleaved(sides: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Call each side in turn, `rounds` times over, after one call to warm up; return the median seconds."""
    return dict(zip(sides, bench_layers.medians(list(sides.values()), rounds, warm_up=1), strict=True))


def epoch_rows() -> list[Row]:
    """One epoch, test evaluation included, of the book's LeNet with nn.BatchNorm: d2l's loop against ours."""
    from d2l import torch as d2l

    warnings.simplefilter("ignore")  # d2l asks for 4 workers, torch finds that too many, and the like
    ours = d2lnorm.load_fashion_mnist(BATCH)
    here = os.getcwd()
    os.chdir(ROOT / "notebooks")
    book = d2l.load_data_fashion_mnist(BATCH)
    os.chdir(here)
    d2l.display.display = d2l.display.clear_output = lambda *a, **k: None  # the frames that a notebook would show
    cpu = torch.device("cpu")

    def epoch(train, iterators, norm="torch"):
        torch.manual_seed(0)
        with contextlib.redirect_stdout(None):  # d2l's loop prints its results
            train(d2lnorm.lenet(norm), *iterators, 1, 1.0, cpu)

    t = interleaved(
        {
            "book": partial(epoch, d2l.train_ch6, book),
            "ours": partial(epoch, d2lnorm.train, ours),
            "scratch": partial(epoch, d2lnorm.train, ours, "scratch"),
            "drop-in": partial(epoch, d2lnorm.train, ours, bench_layers.drop_in),
        },
        rounds=3,
    )
    return [
        ("epoch: d2l.train_ch6 with its iterators / train with ours", t["book"], t["ours"], ">= 2.8, aim 3.5"),
        ("epoch of train: the book's BatchNorm / nn.BatchNorm", t["scratch"], t["ours"], "<= 1.4"),
        ("epoch of train: the drop-in / nn.BatchNorm", t["drop-in"], t["ours"], "<= 1.2"),
    ]


def step_rows() -> list[Row]:
    """The training part of `train` against the same number of steps on one batch that stays in memory."""
    train_iter, test_iter = d2lnorm.load_fashion_mnist(BATCH)
    one_test_batch = d2lnorm.Batches(*next(iter(test_iter)), BATCH)
    steps = 60
    some = d2lnorm.Batches(*(t[: steps * BATCH] for t in train_iter.dataset.tensors), BATCH, shuffle=True)
    X, y = next(iter(some))
    nets = [d2lnorm.lenet("torch"), d2lnorm.lenet("torch")]
    opt = torch.optim.SGD(nets[1].parameters(), lr=0.1)

    def bare():
        for _ in range(steps):
            opt.zero_grad()
            F.cross_entropy(nets[1](X), y).backward()
            opt.step()

    def trained():
        d2lnorm.train(nets[0], some, one_test_batch, 1, 0.1, "cpu")

    def evaluated():
        d2lnorm.evaluate_accuracy(nets[0], one_test_batch)

    t = interleaved({"train": trained, "bare": bare, "evaluate": evaluated}, rounds=15)
    training = t["train"] - t["evaluate"]
    return [("training part of train / bare forward, backward, step", training, t["bare"], "<= 1.10")]


def start_rows() -> list[Row]:
    """Importing and loading, against importing torch."""

    def python(code: str) -> Callable[[], object]:
        return partial(subprocess.run, [sys.executable, "-c", code], check=True, cwd=ROOT)

    t = interleaved({"torch": python("import torch"), "both": python("import torch, d2lnorm")}, rounds=7)
    load = interleaved({"load": lambda: d2lnorm.load_fashion_mnist(BATCH)}, rounds=5)["load"]
    extra = t["both"] - t["torch"]
    return [
        (f"import torch, d2lnorm / import torch ({extra:+.2f} s)", t["both"], t["torch"], "at most +0.1 s"),
        ("load_fashion_mnist, files there / import torch", load, t["torch"], "load < 1 s"),
    ]


def accuracy_table() -> None:
    """Time to accuracy: the book's recipe against momentum under a one-cycle schedule, the same net."""
    iterators = d2lnorm.load_fashion_mnist(BATCH)
    one_cycle = {
        "optimizer": partial(torch.optim.SGD, momentum=0.9),
        "schedule": partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=1.0, cycle_momentum=False),
    }
    print(f"\n{'recipe, 6 epochs, seed 0':<32}  {'test accuracy after each epoch':<44}  seconds")
    for name, options in {"SGD, lr 1.0 (the book's)": {}, "momentum 0.9, one cycle to 1.0": one_cycle}.items():
        torch.manual_seed(0)
        history = d2lnorm.train(d2lnorm.lenet("torch"), *iterators, 6, 1.0, **options)
        accuracies = "  ".join(f"{a:.3f}" for a in history.test_acc)
        print(f"{name:<32}  {accuracies:<44}  {sum(history.seconds):7.1f}")


def print_rows(rows: list[Row]) -> None:
    for what, first, second, limit in rows:
        print(f"{what:<62} {first / second:6.2f}  {first:8.3f} s /{second:8.3f} s   {limit}", flush=True)


if __name__ == "__main__":
    os.environ |= {"TQDM_DISABLE": "1", "MPLBACKEND": "agg"}
    torch.set_num_threads(1)  # as `train` does: both sides of a ratio get the same
    print(f"1 thread, torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}")
    print(f"{'what':<62} {'ratio':>6}  {'medians':>22}   wanted")
    for rows in (start_rows, step_rows, epoch_rows):
        print_rows(rows())
    accuracy_table()
    print()
    bench_layers.main([])
    print()
    bench_explorables.main()

"""`python -m d2lnorm train`: LeNet, or a net of one's own, on Fashion-MNIST; alone, or under `torchrun`."""

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import torch
from torch import nn

from d2lnorm.data import load_fashion_mnist
from d2lnorm.lenet import lenet
from d2lnorm.nn import GroupNorm, SyncBatchNorm
from d2lnorm.training.history import History
from d2lnorm.training.loop import train

__all__ = ["add_arguments", "run"]

NORMS: dict[str, Callable | str | None] = {
    "none": None,
    "scratch": "scratch",
    "torch": "torch",
    "sync": lambda num_features, num_dims: SyncBatchNorm(num_features),
    "group": lambda num_features, num_dims: GroupNorm(2, num_features),
}
HISTORY, WEIGHTS = "history.json", "weights.pt"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument(
        "--net", default="lenet", metavar="NET", help="lenet, or MODULE:FUNCTION that is called as lenet(norm)"
    )
    parser.add_argument("--norm", default="torch", choices=NORMS, help="sync: batch norm over all processes' examples")
    parser.add_argument("--epochs", type=_positive(int), default=10)
    parser.add_argument("--lr", type=_positive(float), default=1.0)
    parser.add_argument(
        "--batch-size", type=_positive(int), default=256, help="examples of a step, of all processes together"
    )
    parser.add_argument("--device", help="cpu, cuda, ...; without it a GPU where there is one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--save", type=Path, metavar="FOLDER", help=f"for {HISTORY} and {WEIGHTS}; without it a new one in runs/"
    )


def run(arguments: argparse.Namespace) -> None:
    """Train, print the history, and save it and the weights after each epoch, by the first process alone.

    Raises SystemExit, with a message: there is no such net; `--save` holds a run already. Nothing has been done then.
    """
    first = os.environ.get("RANK", "0") == "0"
    folder = arguments.save or Path("runs") / time.strftime("%Y-%m-%d_%H-%M-%S")
    taken = [name for name in (HISTORY, WEIGHTS) if (folder / name).exists()]
    if taken and first:
        raise SystemExit(f"{folder} holds the {' and '.join(taken)} of another run; choose another folder")
    torch.manual_seed(arguments.seed)
    net = _function(arguments.net)(NORMS[arguments.norm])
    batches = load_fashion_mnist(arguments.batch_size)

    def save(net: nn.Module, history: History) -> None:
        if first:
            folder.mkdir(parents=True, exist_ok=True)
            _replace(folder / WEIGHTS, lambda path: torch.save(net.state_dict(), path))
            _replace(folder / HISTORY, lambda path: path.write_text(json.dumps(asdict(history), indent=1)))

    try:
        history = train(net, *batches, arguments.epochs, arguments.lr, arguments.device, after_epoch=save)
    except KeyboardInterrupt:
        if first and folder.exists():
            print(f"the finished epochs' {HISTORY} and {WEIGHTS} are in {folder.resolve()}")
        raise
    if first:
        print(history)
        print(f"{HISTORY} and {WEIGHTS} are in {folder.resolve()}")


def _positive(kind: type) -> Callable[[str], float]:
    def number(text: str) -> float:
        if not 0 < kind(text) < float("inf"):
            raise ValueError
        return kind(text)

    number.__name__ = f"positive {kind.__name__}"  # argparse says "invalid positive int value: '0'"
    return number


def _function(name: str) -> Callable[..., nn.Module]:
    if name == "lenet":
        return lenet
    module, _, function = name.partition(":")
    try:
        return getattr(import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise SystemExit(f"--net must be lenet or MODULE:FUNCTION, but is {name!r}: {error}") from error


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write beside the file and put it in its place at once: whoever reads it finds the old or the new one."""
    part = path.with_name(path.name + ".part")
    write(part)
    part.replace(path)

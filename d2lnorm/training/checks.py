"""What `train` refuses, in words, before anything has been changed."""

import math
import os
from typing import Any

import torch
from torch import nn

from d2lnorm.training.examples import SizedIterable
from d2lnorm.training.factories import check_factory

__all__ = ["check_arguments", "usable"]


def check_arguments(
    net: nn.Module, train_iter: SizedIterable, test_iter: SizedIterable, num_epochs: int, lr: float, **functions: object
) -> None:
    """Raise TypeError or ValueError unless these are arguments for `train`. A function may be None."""
    if not isinstance(net, nn.Module):
        raise TypeError(f"net must be an nn.Module, but is {_words(net)}")
    if isinstance(num_epochs, bool) or not isinstance(num_epochs, int) or num_epochs < 1:
        raise ValueError(f"num_epochs must be a whole number of at least 1, but is {num_epochs!r}")
    if not _positive(lr):
        raise ValueError(f"lr must be finite and greater than 0, but is {lr!r}")
    for name, data_iter in (("train_iter", train_iter), ("test_iter", test_iter)):
        if _length(name, data_iter) == 0:
            raise ValueError(f"{name} is empty: there is nothing to learn from or to be judged by")
    for name, function in functions.items():
        if function is None:
            continue
        if name in ("optimizer", "schedule"):
            check_factory(name, function)
        elif not callable(function):
            raise TypeError(f"{name} must be a function, but is {_words(function)}")


def usable(device: torch.device | str | None) -> torch.device:
    """Return the device that `train` means: None is the first GPU where there is one; under torchrun, each its own.

    Raises:
        ValueError: there is no such device here, or it computes nothing ("meta").
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        found = torch.device(device)
        if found.type == "cuda" and found.index is None and "LOCAL_RANK" in os.environ:
            found = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.zeros(1, device=found).item()
    except Exception as error:
        raise ValueError(f"device {device!r} cannot be used here: {error}") from error
    return found


def _positive(lr: float) -> bool:
    try:
        return not isinstance(lr, bool) and lr > 0 and math.isfinite(lr)
    except TypeError:  # no number
        return False


def _length(name: str, data_iter: Any) -> int:
    try:
        return len(data_iter)
    except TypeError:
        raise TypeError(
            f"{name} must have a length and start anew in each epoch, as a DataLoader and a list of batches do, "
            f"but is {_words(data_iter)} without a length; a generator would be used up after one epoch"
        ) from None


def _words(thing: object) -> str:
    return f"the class {thing.__name__}" if isinstance(thing, type) else f"of type {type(thing).__name__}"

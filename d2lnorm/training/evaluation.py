"""The accuracy of a classifier on a data set."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["evaluate_accuracy"]


def evaluate_accuracy(net: nn.Module, data_iter: Iterable, device: torch.device | str | None = None) -> float:
    """Return the share of `data_iter`'s examples, in [0, 1], whose largest logit is the label's.

    The net predicts in evaluation mode and is left in the mode in which it was found.

    Args:
        net: maps X to logits (N, num_classes).
        data_iter: yields (X, y), y of shape (N,) with class numbers.
        device: where to compute; None: where the net's parameters are.

    Raises:
        ValueError: `data_iter` yields no example.
    """
    device = device_of(net) if device is None else device
    correct, total = torch.zeros((), dtype=torch.long, device=device), 0
    with modes_kept(net), torch.inference_mode():
        net.eval()
        for X, y in data_iter:
            correct += (net(X.to(device)).argmax(dim=1) == y.to(device)).sum()
            total += len(y)
    if total == 0:
        raise ValueError("data_iter yields no example: there is no accuracy to compute")
    return correct.item() / total  # the only wait for the device


def device_of(net: nn.Module) -> torch.device:
    """The device of the net's first parameter; the CPU for a net without parameters."""
    return next((p.device for p in net.parameters()), torch.device("cpu"))


@contextmanager
def modes_kept(net: nn.Module) -> Iterator[None]:
    """Give every module of `net` its mode (training or evaluation) back at the end, also after an error."""
    modes = {m: m.training for m in net.modules()}
    try:
        yield
    finally:
        for m, training in modes.items():
            m.training = training

"""What a look at a net finds, and gives back at the end: its device, its modes, torch's random state."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch import nn

__all__ = ["device_of", "modes_kept", "random_state_kept"]


def device_of(net: nn.Module) -> torch.device:
    """The device of the net's first parameter or else buffer; the CPU for a net that has neither."""
    return next((t.device for t in chain(net.parameters(), net.buffers())), torch.device("cpu"))


@contextmanager
def modes_kept(net: nn.Module) -> Iterator[None]:
    """Give every module of `net` its mode (training or evaluation) back at the end, also after an error."""
    modes = {m: m.training for m in net.modules()}
    try:
        yield
    finally:
        for m, training in modes.items():
            m.training = training


def random_state_kept(device: torch.device):
    """A context that gives torch's generators of the CPU and of `device` their states back at the end."""
    return torch.random.fork_rng([device] if device.type == "cuda" else [])

"""The optimizer and its schedule, made by the functions that the user of `train` gives."""

from collections.abc import Callable
from itertools import count
from typing import TypeVar

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from d2lnorm.training.kept import device_of

__all__ = ["check_factory", "on_device", "stepping"]

Made = TypeVar("Made", Optimizer, LRScheduler)
EXAMPLES = {
    "optimizer": "functools.partial(torch.optim.SGD, momentum=0.9)",
    "schedule": "functools.partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=1.0)",
}


def check_factory(name: str, function: object) -> None:
    """Raise TypeError unless `function` can be called. An optimizer or schedule that is made already cannot."""
    if not callable(function):
        raise TypeError(
            f"{name} must be a function that makes one, {EXAMPLES[name]} say, "
            f"but is of type {type(function).__name__}; `train` calls it when the net is on its device"
        )


def on_device(
    net: nn.Module, device: torch.device, lr: float, optimizer: Callable, schedule: Callable | None, steps: int
) -> tuple[Optimizer, LRScheduler | None]:
    """Move `net` to `device` and return `(optimizer, schedule)` for it. After an error the net is where it was.

    Raises:
        TypeError: a function makes something else. A function's own error carries a note that says how it was
            called.
    """
    before, scheduler = device_of(net), None
    try:
        net.to(device)
        opt = _made(Optimizer, "optimizer", f"net.parameters(), lr={lr}", lambda: optimizer(net.parameters(), lr=lr))
        if schedule:
            given = f"optimizer, total_steps={steps}"
            scheduler = _made(LRScheduler, "schedule", given, lambda: schedule(opt, total_steps=steps))
    except BaseException:
        net.to(before)
        raise
    return opt, scheduler


def stepping(scheduler: LRScheduler | None, steps: int) -> Callable[[], None]:
    """Return a function to be called after each step of the optimizer.

    It raises ValueError when the schedule has come to its end and training has not.
    """
    numbers = count(1)

    def advance() -> None:
        number = next(numbers)
        try:
            if scheduler:
                scheduler.step()
        except ValueError as error:
            raise ValueError(
                f"the schedule cannot take step {number} of {steps}: {error}. A schedule must be made with the "
                f"total_steps that it is given, and train_iter must yield as many batches as its length says"
            ) from error

    return advance


def _made(kind: type[Made], name: str, given: str, make: Callable[[], object]) -> Made:
    try:
        found = make()
    except Exception as error:
        error.add_note(f"It was raised by {name}({given}). A function that works is {EXAMPLES[name]}.")
        raise
    if isinstance(found, ReduceLROnPlateau) or not isinstance(found, kind):
        raise TypeError(f"{name}({given}) must make what {EXAMPLES[name]} makes, but made a {type(found).__name__}")
    return found

"""An epoch of training, right and with the usual slips, and what an answer does in its epoch."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from d2lnorm.course.exercises.common.nets import BATCH_NORMS

__all__ = ["epoch", "give_gradients", "seen_in", "slipped", "strange"]

PILED_UP = "gradients of earlier batches are still in it, call optimizer.zero_grad() in each step"
STALE = "the first step used gradients that `.grad` held before the call"
NEVER = "gradients of before the call and of earlier batches are still in it, call optimizer.zero_grad() in each step"
NOT_WHOLE = "dropout was off, while BN worked as in training: the whole net must be in training mode"
NEW_STATE = "that is as if the optimizer were new: it has a history, which must stay"
NEW_STATISTICS = "that is as if the running statistics were new: they have a history, which must stay"
BACKWARDS = "that is as if the batches came in reverse"


def give_gradients(net: nn.Module) -> None:
    """Leave gradients, as an earlier step does."""
    for p in net.parameters():
        if p.requires_grad:
            p.grad = torch.ones_like(p)


def epoch(net: nn.Module, steps: Any, batches: list, seed: int, slip: str = "") -> Tensor:
    """Train the net in training mode for an epoch, perhaps with a slip; return the batches' losses."""
    torch.manual_seed(seed)  # for dropout
    give_gradients(net)
    losses: list[Tensor] = []
    for layer in net.modules():
        layer.training = slip != NOT_WHOLE or isinstance(layer, BATCH_NORMS)
        if slip == NEW_STATISTICS and isinstance(layer, BATCH_NORMS):
            layer.reset_running_stats()
    if slip == NEW_STATE:
        steps.state.clear()
    for X, y in batches[::-1] if slip == BACKWARDS else batches:
        if slip not in (NEVER, PILED_UP if losses else STALE):
            steps.zero_grad()
        loss = F.cross_entropy(net(X), y)
        loss.backward()
        steps.step()
        losses.append(loss.detach())
    return torch.stack(losses)


def slipped(net: nn.Module, optimizer: Any, batches: list, seed: int) -> dict[str, dict[str, Tensor]]:
    """For each slip, in words, the state of the net after an epoch of a copy with it."""
    states = {}
    for slip in (PILED_UP, STALE, NEVER, NOT_WHOLE, NEW_STATE, NEW_STATISTICS, BACKWARDS):
        twin, steps = copy.deepcopy((net, optimizer))
        epoch(twin, steps, batches, seed, slip)
        states[slip] = twin.state_dict()
    return states


@contextmanager
def seen_in(net: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[tuple[list, list]]:
    """Give two lists: for each run of the net, which layer was in evaluation mode; an entry for each step."""
    off: list[str | None] = []
    steps: list[None] = []

    def look(*_: Any) -> None:
        off.append(next((name for name, m in net.named_modules() if not m.training), None))

    layer = next(m for m in net.modules() if not [*m.children()])
    hooks = layer.register_forward_pre_hook(look), optimizer.register_step_pre_hook(lambda *_: steps.append(None))
    yield off, steps
    for hook in hooks:
        hook.remove()


def strange(off: list, steps: list, batches: int, drawn: bool) -> str:
    """Say what was strange in an epoch: how often something ran, in which mode, or what it drew."""
    whole = off.count(None)
    runs = whole or len(off)  # those in evaluation mode beside the others may be there to look at the net
    if not runs == len(steps) == batches:
        ran, stepped = (f"{n} time{'s' * (n != 1)}" for n in (runs, len(steps)))
        ran += " in training mode" * (whole < len(off) and whole > 0)
        return (
            f"for {batches} batches net(X) ran {ran} and optimizer.step() {stepped}: each must run once for each batch"
        )
    if not whole:
        mode = f"layer {off[0]!r} was in evaluation mode" if off[0] else "`net.training` was False"
        others = "" if off[0] else ", not only its layers,"
        return f"during net(X), {mode}: the whole net{others} must be in training mode"
    return "" if drawn else "torch's random generator was seeded or moved: leave it to dropout alone"

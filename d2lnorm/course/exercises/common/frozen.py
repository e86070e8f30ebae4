"""What the checks ask of a net whose batch norms are frozen."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from d2lnorm.course.exercises.common.feedback import expect, expect_close
from d2lnorm.course.exercises.common.nets import NetWithStatistics
from d2lnorm.course.exercises.common.twins import tolerance

__all__ = ["expect_frozen"]


def expect_frozen(net: nn.Module, state: dict[str, Tensor], wanted: dict[nn.Module, bool], when: str) -> None:
    """Expect the wanted modes, and that each BN normalizes with the statistics in `state`, and holds them still."""
    seen: dict[nn.Module, tuple[Tensor, Tensor]] = {}
    modes = {m: m.training for m in wanted}

    def note(layer: nn.Module, args: Any, Y: Tensor) -> None:
        seen[layer], modes[layer] = (args[0], Y), layer.training  # a layer's mode counts while it computes

    hooks = [m.register_forward_hook(note) for m in net.modules()]
    logits = net(torch.randn(5, 1, 3, 3).to(next(net.parameters())))
    for hook in hooks:
        hook.remove()
    off = [m for m, mode in wanted.items() if modes[m] != mode]
    wrong = ", ".join(f"{type(m).__name__} ({'training' if modes[m] else 'evaluation'})" for m in off)
    expect(not wrong, f"{when}, these layers are in the wrong mode: {wrong}. Freeze BN, and leave the others alone.")
    for path, eps in NetWithStatistics.EPS.items():
        layer = net.get_submodule(path)
        name, (inputs, Y) = type(layer).__name__, seen[layer]
        mean, var, weight, bias = (state[f"{path}.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
        moved = [k for k, t in net.state_dict().items() if k.startswith(path) and not torch.equal(t, state[k])]
        expect(not moved, f"{when}, {name} still moves {', '.join(moved)}; evaluation mode holds all of it still.")
        own = F.batch_norm(inputs, None, None, weight, bias, True, 0.0, eps)
        right = F.batch_norm(inputs, mean, var, weight, bias, False, 0.0, eps).detach()
        mistakes = {"the statistics stand still, but the batch's own are used to normalize": own}
        expect_close(Y, right, f"{when}, in {Y.dtype}, the output of {name} (eps={eps:g})", mistakes, **tolerance(Y))
    if logits.requires_grad:
        logits.sum().backward()

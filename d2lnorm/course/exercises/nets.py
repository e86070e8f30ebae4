"""Nets and layers with which the checks compare."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from d2lnorm.course.exercises.feedback import NotYet, expect, randn

__all__ = [
    "expect_meant",
    "expect_normalized",
    "expect_state",
    "listened",
    "listening_nets",
    "net_with_norms",
    "normalized",
]


def expect_meant(net: Any, norms: list, X: Tensor) -> None:
    """Expect the output of the net that the text describes, made of the answer's own layers, in both modes."""
    net, norms = copy.deepcopy((net, norms))
    first, second = sorted((m for m in net.modules() if isinstance(m, nn.Conv2d)), key=lambda m: m.in_channels)
    out, hidden = sorted((m for m in net.modules() if isinstance(m, nn.Linear)), key=lambda m: m.out_features)
    of_hidden = next(m for m in norms if m.running_mean.numel() == 32)
    with torch.no_grad():
        for number, norm in enumerate(norms):
            for t in (*norm.parameters(), norm.running_mean):
                t.add_(0.3 * randn(*t.shape, seed=number).to(t.dtype))

    def meant(one: nn.Module, two: nn.Module) -> Tensor:
        Y = F.max_pool2d(torch.relu(one(first(X))), 2)
        Y = F.max_pool2d(torch.relu(two(second(Y))), 2)
        return out(torch.relu(of_hidden(hidden(Y.flatten(1)))))

    small = [m for m in norms if m is not of_hidden]
    for mode in (False, True):
        with torch.no_grad():
            got = net.train(mode)(X)
            right = [meant(*order) for order in (small, small[::-1])]
        where = "training" if mode else "evaluation"
        fine = any(torch.allclose(got, Y, rtol=1e-3, atol=1e-4) for Y in right)
        expect(
            fine,
            f"in {where} the logits are not those of the net that was meant: after each of the three layers its batch "
            "norm, then a ReLU; pooling after the first two ReLUs; nothing after the last layer.",
        )


class Branching(nn.Module):
    """A net with a branch that begins after its first layer, and layers in another order than they are called."""

    def __init__(self) -> None:
        super().__init__()
        self.last, self.branch, self.first = nn.Linear(4, 2), nn.Linear(4, 4), nn.Linear(3, 4)

    def forward(self, X: Tensor) -> Tensor:
        H = self.first(X)
        return self.last(H + torch.tanh(self.branch(H)))


def listening_nets(generator: torch.Generator) -> list[tuple[str, nn.Module, Tensor]]:
    """Nets, and batches for them, whose layers are to be listened to."""
    frozen = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4).eval(), nn.Sequential(nn.Dropout(0.0), nn.Linear(4, 2)))
    frozen[0].register_forward_hook(lambda *_: None)  # the student's own
    nets = {"a net that branches": Branching(), "a net with a frozen layer": frozen, "a net of one layer": nn.Tanh()}
    return [(what, net, torch.randn(6, 3, generator=generator) + 1) for what, net in nets.items()]


def listened(net: nn.Module, X: Tensor) -> dict[str, Tensor]:
    """Mean and standard deviation of each layer's output, with hooks on a copy."""
    net, found = copy.deepcopy(net), {}

    def note(name: str) -> Callable:
        def hook(layer: nn.Module, inputs: Any, Y: Tensor) -> None:
            found[name] = torch.stack([Y.mean(), Y.std(correction=0)])

        return hook

    for name, layer in net.named_modules():
        if not [*layer.children()]:
            layer.register_forward_hook(note(name))
    with torch.no_grad():
        net(X)
    return found


def net_with_norms() -> nn.Sequential:
    """A net with norms of several kinds, biases, and a parameter that is no layer's."""
    block = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2), nn.ReLU(), nn.LayerNorm((4, 4)))
    net = nn.Sequential(block, nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)), nn.Linear(3, 2), nn.BatchNorm3d(2))
    net.register_parameter("temperature", nn.Parameter(torch.ones(())))  # no layer's: it decays, as all others do
    return net


def normalized(X: Tensor, axes: tuple, gamma: Tensor, beta: Tensor, correction: int = 0) -> Tensor:
    """Batch norm with the statistics over these axes."""
    mean, var = X.mean(dim=axes, keepdim=True), X.var(dim=axes, keepdim=True, correction=correction)
    return gamma * (X - mean) / (var + 1e-5).sqrt() + beta


def expect_state(layer: Any, twin: nn.Module) -> None:
    """Expect a new layer whose state_dict has the keys, shapes, types and values of its twin in torch."""
    expect(isinstance(layer, nn.Module), f"it must be an nn.Module, but is a {type(layer).__name__}.")
    got, wanted = layer.state_dict(), twin.state_dict()
    missing = [k for k in wanted if k not in got]
    plain = [k for k in missing if isinstance(getattr(layer, k, None), Tensor)]
    hint = f"{', '.join(plain)} is a plain attribute: register_buffer makes it part of the state." if plain else ""
    expect(not missing, f"the state_dict lacks {', '.join(missing)}. {hint}")
    expect(set(got) == set(wanted), f"the state_dict must have the keys {list(wanted)}, but has {list(got)}.")
    for k, t in wanted.items():
        same = got[k].shape == t.shape and got[k].dtype == t.dtype
        expect(same, f"{k} must have shape {tuple(t.shape)} and type {t.dtype}, as in PyTorch.")
    learned = sorted(name for name, _ in layer.named_parameters())
    expect(learned == ["bias", "weight"], f"weight and bias alone are parameters, not {', '.join(learned)}.")
    for k, t in wanted.items():
        wrong = got[k][got[k] != t].tolist()
        start = f"in a new layer {k} must be {t.max():g}, as in PyTorch, but it starts with"
        expect(not wrong, f"{start} {', '.join(f'{x:g}' for x in wrong)}.")


def expect_normalized(mean: Tensor, std: Tensor, a: Tensor, i: int) -> None:
    """Expect of the outputs `a` of layer `i` mean 0 and deviation 1 in each unit; else say what they look like."""
    close = partial(torch.allclose, rtol=1e-3, atol=1e-3)
    one, zero = torch.ones_like(std), torch.zeros_like(mean)
    if close(std, one) and close(mean, zero):
        return
    where = f"The pre-activations of layer {i} are not normalized"
    if close(std, one * (1 - 1 / len(a)) ** 0.5):
        raise NotYet(f"{where}: the standard deviation was divided by n - 1; use correction=0.")
    if close(a.std(correction=0), one[0]):
        raise NotYet(f"{where}: as a whole they are, but each unit needs its own mean and standard deviation.")
    if close(std, one):
        raise NotYet(f"{where}: the deviation is 1, but the mean is not 0. What must become of the bias?")
    if close(mean, zero):
        raise NotYet(f"{where}: the mean is 0, but the deviation is not 1. Divide weights and bias.")
    later = "" if i == 0 else " Was it measured after the layers before it had been changed?"
    raise NotYet(f"{where}: its means are up to {mean.abs().max():.2f}, its deviations up to {std.max():.2f}.{later}")

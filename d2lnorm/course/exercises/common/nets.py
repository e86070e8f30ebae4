"""Nets on which answers are tried."""

import copy
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "BATCH_NORMS",
    "Branching",
    "NetWithStatistics",
    "SubclassOfBatchNorm2d",
    "Watched",
    "filled",
    "heard",
    "listening_nets",
    "net_with_dropout",
    "nets_with_norms",
]

BATCH_NORMS = nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d
Layer = TypeVar("Layer", bound=nn.Module)


class Branching(nn.Module):
    """A net with a branch that begins after its first layer, and layers in another order than they are called."""

    def __init__(self) -> None:
        super().__init__()
        self.last, self.branch, self.first = nn.Linear(4, 2), nn.Linear(4, 4), nn.Linear(3, 4)

    def forward(self, X: Tensor) -> Tensor:
        H = self.first(X)
        return self.last(H + torch.tanh(self.branch(H)))


class Watched(nn.Module):
    """A branch that triples its input, adds 1, and remembers what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(3.0), requires_grad=False)
        self.seen: list[Tensor] = []

    def forward(self, X: Tensor) -> Tensor:
        self.seen.append(X.detach())
        return self.weight * X + 1


class Rectified(nn.Module):
    """A layer of one's own, without parameters, that works in place."""

    def forward(self, X: Tensor) -> Tensor:
        return X.relu_()


class ForImages(nn.Module):
    """A net with BN in a part of it, whose dropout asks the whole net for the mode."""

    def __init__(self, head: nn.Module, p: float) -> None:
        super().__init__()
        self.p, self.head = p, head
        self.part = nn.Sequential(nn.Conv2d(1, 8, 2), nn.BatchNorm2d(8, eps=10.0, momentum=0.3))

    def forward(self, X: Tensor) -> Tensor:
        return self.head(F.dropout(self.part(X).relu().flatten(1), self.p, self.training))


class SubclassOfBatchNorm2d(nn.BatchNorm2d):
    """Somebody's own layer, which is a BatchNorm2d, too."""


class NetWithStatistics(nn.Module):
    """Two kinds of BN, one of them deep, another norm with statistics, frozen biases; all values are drawn."""

    EPS = {"bn": 1e-5, "head.out.1": 0.1}

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(1, 2, 2), nn.BatchNorm2d(2)
        self.other = nn.InstanceNorm2d(2, track_running_stats=True)
        out = nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4, eps=0.1))
        self.head = nn.ModuleDict({"drop": nn.Dropout(0.5), "out": out})
        for bias in (self.conv.get_parameter("bias"), out[1].get_parameter("bias")):
            bias.requires_grad_(False)
        for t in self.to(dtype).state_dict().values():
            nn.init.uniform_(t, 0.5, 2.0) if t.is_floating_point() else t.random_(1, 10_000)

    def forward(self, X: Tensor) -> Tensor:
        H = self.head["drop"](self.other(self.bn(self.conv(X))).flatten(1))
        return self.head["out"](H)


def listening_nets(generator: torch.Generator) -> list[tuple[str, nn.Module, Tensor]]:
    """Nets, and batches for them, whose layers are to be listened to."""
    block = nn.Sequential(nn.BatchNorm1d(5, momentum=0.01), nn.LeakyReLU(inplace=True))
    plain = filled(nn.Sequential(nn.Linear(3, 5), block, nn.Linear(5, 2), Rectified()), generator)
    plain[0].bias.requires_grad_(False)
    plain[2].weight.grad = torch.ones(2, 5)
    frozen = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4).eval(), nn.Sequential(nn.Dropout(0.0), nn.Linear(4, 2)))
    filled(frozen, generator)[0].register_forward_hook(lambda *_: None)  # the student's own
    norm = nn.BatchNorm2d(3, momentum=None)
    images = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(2, 3, 2), norm, nn.Flatten(), nn.Linear(18, 1))
    branching = Branching()
    branching.last.bias.data.fill_(1e4)  # in float32 a variance in one pass is lost there
    nets = {
        "a net with a block": plain,
        "a net that branches, with a last bias of 10,000": branching,
        "a net with a frozen layer": frozen,
        "a net of one layer": nn.Tanh(),
        "a net of one layer in place": nn.ReLU(inplace=True),
    }
    batches = [(what, net, torch.randn(6, 3, generator=generator) * 2 + 1) for what, net in nets.items()]
    batches[4][2][0] = -2.0  # the first number that is told when the ReLU has written into X
    X = torch.randn(5, 2, 4, 3, generator=generator, dtype=torch.float64)
    return [*batches, ("a float64 net in evaluation mode", filled(images.double().eval(), generator), X)]


def filled(module: Layer, generator: torch.Generator) -> Layer:
    """Return `module` with drawn parameters and running statistics, which hide nothing."""
    for name, t in module.state_dict().items():
        if t.is_floating_point():
            t.copy_(torch.randn(t.shape, generator=generator))
            if name.endswith(("running_var", "moving_var")):
                t.abs_().add_(0.3)
    return module


def heard(net: nn.Module, X: Tensor) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """Of each layer, with hooks on a copy: its input, its output, and what stands in its output at the end."""
    net, found = copy.deepcopy(net), {}

    def note(name: str) -> Callable:
        def hook(layer: nn.Module, inputs: Any, Y: Tensor) -> None:
            found[name] = inputs[0].clone(), Y.clone(), Y

        return hook

    for name, layer in net.named_modules():
        if not [*layer.children()]:
            layer.register_forward_hook(note(name))
    with torch.no_grad():
        net(X.clone())
    return found


def nets_with_norms() -> dict[str, nn.Module]:
    """Nets with norms and layers of several kinds, biases of several names, and a parameter that is no layer's."""
    block = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2), nn.ReLU(), nn.LayerNorm((4, 4)))
    net = nn.Sequential(block, nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)), nn.Linear(3, 2), nn.BatchNorm3d(2))
    net.register_parameter("temperature", nn.Parameter(torch.ones(())))  # no layer's: it decays, as all others do
    named = {"debias": nn.Linear(2, 2), "norm_free": nn.Linear(2, 2), "gru": nn.GRU(2, 3), "norm": nn.BatchNorm1d(2)}
    others = nn.Sequential(nn.Embedding(3, 4), nn.MultiheadAttention(4, 2), nn.GroupNorm(2, 4), nn.PReLU(4))
    others.extend([nn.InstanceNorm1d(4, affine=True), nn.RMSNorm(4)])
    tied = nn.Sequential(nn.Embedding(4, 3), nn.Tanh(), nn.Linear(3, 4, bias=False))
    tied[2].weight = tied[0].weight
    twice, frozen = nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    frozen[:2].requires_grad_(False)
    return {
        "a net of blocks": net,
        "a net whose layers have names": nn.ModuleDict(named),
        "a net with layers of other kinds": others,
        "a net that uses a layer twice": nn.Sequential(twice, nn.LayerNorm(2), nn.Sequential(twice)),
        "a net with frozen layers": frozen,
        "a net whose last layer has the embedding's weight": tied,
        "a net with a subclass of nn.BatchNorm2d": nn.Sequential(nn.Conv2d(1, 2, 3), SubclassOfBatchNorm2d(2)),
        "a single linear layer": nn.Linear(3, 2),
        "a single batch norm": nn.BatchNorm1d(3),
    }


def net_with_dropout(generator: torch.Generator, image: bool, p: float) -> nn.Module:
    """A net with BN and dropout, for images of shape (1, 3, 3) or for vectors of 4 numbers."""
    norm = nn.BatchNorm1d(16, eps=10.0, momentum=0.3)
    head = nn.Sequential(nn.Linear(32 if image else 4, 16), norm, nn.ReLU(), nn.Dropout(p), nn.Linear(16, 7))
    return filled(ForImages(head, p) if image else head, generator)

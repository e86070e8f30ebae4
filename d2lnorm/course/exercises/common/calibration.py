"""Nets whose linear layers are to be calibrated, and what must not change in them."""

import torch
from torch import Tensor, nn

from d2lnorm.course.exercises.common.feedback import expect
from d2lnorm.course.exercises.common.nets import filled

__all__ = ["HINTS", "calibration_nets", "expect_same_parts", "put_back"]

HINTS = {
    "a net with one activation in two places": "This net has one activation in two places: was it applied in both?",
    "a net that begins in place, with two batch norms": "Its batch norms are in training (layer 2) and evaluation mode "
    "(layer 4): did each run in its own?",
}


def calibration_nets(generator: torch.Generator) -> list[tuple[str, nn.Sequential, Tensor]]:
    """Nets, and batches for them, whose linear layers are to be calibrated; see `HINTS` for the last two."""
    shared, norms = nn.Tanh(), (nn.BatchNorm1d(4), nn.Linear(4, 4), nn.BatchNorm1d(4).eval())
    nets = [
        nn.Sequential(nn.Linear(5, 4), nn.Sigmoid(), nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)),
        nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 4), nn.ReLU(inplace=True), nn.Linear(4, 3)).double().eval(),
        nn.Sequential(nn.Tanh(), nn.Linear(5, 2)),
        nn.Sequential(nn.Linear(5, 5), shared, nn.Linear(5, 5), shared, nn.Linear(5, 5)),
        nn.Sequential(nn.ReLU(inplace=True), nn.Linear(5, 4), *norms, nn.Linear(4, 3)),
    ]
    names = "a net with two activations", "a float64 net of small weights", "a net of one linear layer"
    for net in nets:
        filled(net, generator)
    with torch.no_grad():
        for p in nets[1].parameters():
            p.mul_(1e-4)
    nets[0][0].bias.requires_grad_(False)
    nets[0][4].weight.grad = torch.ones(2, 3)
    batches = [torch.randn(n, 5, generator=generator) * 3 + 1 for n in (4, 7, 6, 9, 8)]
    batches[1] = batches[1].double()
    nets[4].get_parameter("3.weight").requires_grad_(False)
    with torch.no_grad():
        std, mean = torch.std_mean(nets[2](batches[2]), 0, correction=0)
        nets[2].get_parameter("1.weight").mul_(1.05 / std.view(2, 1))  # almost what is asked, but not quite
        nets[2].get_parameter("1.bias").sub_(mean).mul_(1.05 / std)
    return [*zip((*names, *HINTS), nets, batches, strict=True)]


def put_back(net: nn.Sequential, start: nn.Sequential) -> None:
    """Give the linear layers of `net` the parameters that they have in `start`."""
    with torch.no_grad():
        for layer, old in zip(net, start, strict=True):
            if isinstance(layer, nn.Linear):
                for p, q in zip(layer.parameters(), old.parameters(), strict=True):
                    p.copy_(q)


def expect_same_parts(net: nn.Sequential, layers: list, parameters: list, start: nn.Module) -> None:
    same = len(net) == len(layers) and all(a is b for a, b in zip(net, layers, strict=True))
    expect(same, "layers were added, taken away or replaced by others. Change the weights and biases in place.")
    now = [*net.parameters()]
    same = len(now) == len(parameters) and all(a is b for a, b in zip(now, parameters, strict=True))
    expect(same, "a parameter was replaced by another; an optimizer would still hold the old one. Change it in place.")
    same = all(a.dtype == b.dtype for a, b in zip(now, start.parameters(), strict=True))
    expect(same, f"the parameters have another dtype now, {now[0].dtype}.")

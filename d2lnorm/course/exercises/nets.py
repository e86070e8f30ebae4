"""Nets and outputs with which the checks of notebook 04 compare."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from d2lnorm.course.exercises.feedback import expect, randn

__all__ = ["expect_meant", "net_with_norms", "normalized"]


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

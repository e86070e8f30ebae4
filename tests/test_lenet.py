"""LeNet's shapes, its normalization argument, and the parameters that normalization adds."""

import pytest
import torch
from torch import nn

from d2lnorm import BatchNorm, lenet


def count(net):
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(
    ("norm", "types"),
    [
        ("scratch", [BatchNorm] * 4),
        ("torch", [nn.BatchNorm2d, nn.BatchNorm2d, nn.BatchNorm1d, nn.BatchNorm1d]),
        (None, []),
        (lambda num_features, num_dims: nn.GroupNorm(2, num_features), [nn.GroupNorm] * 4),
    ],
)
def test_norm_argument(norm, types):
    net = lenet(norm)
    plain = (nn.Conv2d, nn.Linear, nn.Sigmoid, nn.AvgPool2d, nn.Flatten)
    assert [type(m) for m in net if not isinstance(m, plain)] == types
    assert net(torch.rand(2, 1, 28, 28)).shape == (2, 10)
    assert count(net) == 44_426 + (2 * (6 + 16 + 120 + 84) if types else 0)


def test_normalization_sits_between_layer_and_sigmoid():
    net = list(lenet())
    for before, norm, after in zip(net, net[1:], net[2:], strict=False):
        if isinstance(norm, BatchNorm):
            assert isinstance(before, nn.Conv2d | nn.Linear)
            assert isinstance(after, nn.Sigmoid)
            assert norm.num_dims == (4 if isinstance(before, nn.Conv2d) else 2)


def test_same_seed_gives_the_same_weights_with_and_without():
    weights = []
    for norm in ("scratch", "torch", None):
        torch.manual_seed(0)
        weights.append([m.weight for m in lenet(norm) if isinstance(m, nn.Conv2d | nn.Linear)])
    for a, b, c in zip(*weights, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)


def test_unknown_norm_is_named():
    with pytest.raises(ValueError, match='norm must be "scratch", "torch", None or a function, but is \'batch\''):
        lenet("batch")

"""A net and a data set small enough to train in a moment, and how to compare what came of it."""

import torch
from torch import nn
from torch.nn import functional as F

from d2lnorm import Batches

KEEP = {"init_weights": lambda module: None}  # train on from the weights that the net has


def tiny(n=40, batch_size=16, shuffle=True):
    g = torch.Generator().manual_seed(0)
    y = torch.arange(n) % 3
    X = torch.randn(n, 4, generator=g) + 3 * F.one_hot(y, 4)
    return Batches(X, y, batch_size, shuffle)


def net():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def weights(module):
    return [value.detach().clone() for value in module.state_dict().values()]


def assert_same(a, b):
    for x, y in zip(weights(a), weights(b), strict=True):
        assert torch.equal(x, y)


class Untouched:
    """A context in which a net's weights, buffers and modes stay as they are, and torch's random state as well."""

    def __init__(self, model):
        self.model = model

    def __enter__(self):
        self.before, self.modes = weights(self.model), [m.training for m in self.model.modules()]
        self.random = torch.get_rng_state()

    def __exit__(self, *error):
        assert all(torch.equal(a, b) for a, b in zip(weights(self.model), self.before, strict=True))
        assert [m.training for m in self.model.modules()] == self.modes
        assert torch.equal(torch.get_rng_state(), self.random)

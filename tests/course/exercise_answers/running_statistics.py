"""Answers to the exercises of the notebook on running statistics."""

import math

import torch
from torch import nn
from torch.nn import functional as F

import d2lnorm
from d2lnorm.course.exercises.running_statistics import (
    check_batch_norm_1d,
    check_freeze_batch_norm,
    check_load,
    check_momentum_for,
)
from exercise_answers import Answers

NORMS = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d


def load_strictly(net, file):
    net.load_state_dict(torch.load(file, map_location="cpu"))
    return net.eval()


def load_by_hand(net, file):
    state, own = torch.load(file), net.state_dict()
    if set(state) != set(own):
        raise KeyError(set(state) ^ set(own))
    with torch.no_grad():
        for name, t in own.items():
            t.copy_(state[name])
    for module in net.modules():
        module.training = False
    return net


def load_parameters(net, file):
    state = torch.load(file)
    for name, parameter in net.named_parameters():
        parameter.data.copy_(state[name])
    return net.eval()


def load_data(net, file):
    """As in the notebook: the parameters stay the same objects, the statistics are lost."""
    state = torch.load(file)
    for name, parameter in net.named_parameters():
        parameter.data = state[name]
    return net


def load_assigned(net, file):
    net.load_state_dict(torch.load(file), assign=True)
    return net.eval()


def load_leniently(net, file):
    net.load_state_dict(torch.load(file), strict=False)
    return net.eval()


def load_in_training(net, file):
    net.load_state_dict(torch.load(file))
    return net


def load_another(net, file):
    return load_strictly(nn.Sequential(*net), file)


def norms(net):
    return [m for m in net.modules() if isinstance(m, NORMS)]


def freeze_by_hook(net):
    def stay(layer, args):
        layer.eval()

    for m in norms(net):
        m.register_forward_pre_hook(stay)
    return net


def freeze_by_train(net):
    for m in norms(net):
        m.eval()
        m.train = lambda mode=True, m=m: m
    return net


def freeze_at_the_root(net):
    def train(mode=True):
        type(net).train(net, mode)
        for m in norms(net):
            m.training = False
        return net

    net.train = train
    return net.train()


def freeze_once(net):
    for m in norms(net):
        m.eval()
    return net


def freeze_parameters(net):
    for m in norms(net):
        m.requires_grad_(False)
    return net


def freeze_momentum(net):
    for m in norms(net):
        m.momentum = 0.0
    return net


def freeze_tracking(net):
    for m in norms(net):
        m.track_running_stats = False
    return net


def freeze_all(net):
    net.eval()
    net.train = lambda mode=True: net
    return net


def freeze_with_parameters(net):
    for m in norms(net):
        m.requires_grad_(False)
    return freeze_by_train(net)


def freeze_the_top(net):
    for m in net:
        if isinstance(m, NORMS):
            m.eval()
            m.train = lambda mode=True, m=m: m
    return net


def freeze_without_return(net):
    freeze_by_train(net)


class Layer(nn.Module):
    """Right; the wrong ones below change one line each."""

    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = nn.Parameter(torch.ones(num_features)), nn.Parameter(torch.zeros(num_features))
        self.keep("running_mean", torch.zeros(num_features))
        self.keep("running_var", torch.ones(num_features))
        self.keep("num_batches_tracked", torch.tensor(0))

    def keep(self, name, tensor):
        self.register_buffer(name, tensor)

    def mode(self):
        return self.training

    def statistics(self, X, axes):
        var, mean = torch.var_mean(X, axes, correction=0)
        return mean, var

    def normalized(self, X, mean, var):
        return (X - mean) / (var + self.eps).sqrt()

    def for_storing(self, var, n):
        return var * n / (n - 1)

    def average(self, old, new):
        m = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
        return (1 - m) * old + m * new.detach()

    def check(self, n):
        if n == 1:
            raise ValueError("one value per channel")

    def forward(self, X):
        axes, like, n = [0, *range(2, X.dim())], [1, -1] + [1] * (X.dim() - 2), X.numel() // X.shape[1]
        mean, var = self.running_mean, self.running_var
        if self.mode():
            self.check(n)
            mean, var = self.statistics(X, axes)
            self.num_batches_tracked += 1
            self.running_mean = self.average(self.running_mean, mean)
            self.running_var = self.average(self.running_var, self.for_storing(var, n))
        Y = self.normalized(X, mean.view(like), var.view(like))
        return self.weight.view(like) * Y + self.bias.view(like)


class Functional(Layer):
    """Right in its numbers, by F.batch_norm."""

    def forward(self, X):
        m = self.momentum
        if self.training:
            self.num_batches_tracked += 1
            m = 1 / self.num_batches_tracked.item() if m is None else m
        return F.batch_norm(
            X, self.running_mean, self.running_var, self.weight, self.bias, self.training, m or 0.0, self.eps
        )


class UnbiasedNormalization(Layer):
    def statistics(self, X, axes):
        var, mean = torch.var_mean(X, axes)
        return mean, var

    def for_storing(self, var, n):
        return var


class BiasedRunning(Layer):
    def for_storing(self, var, n):
        return var


class EpsOutside(Layer):
    def normalized(self, X, mean, var):
        return (X - mean) / (var.sqrt() + self.eps)


class SquaresApart(Layer):
    def statistics(self, X, axes):
        mean = X.mean(axes)
        return mean, X.square().mean(axes) - mean.square()


class NoGradient(Layer):
    def statistics(self, X, axes):
        with torch.no_grad():
            return super().statistics(X, axes)


class KeepsGraph(Layer):
    def average(self, old, new):
        m = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
        return (1 - m) * old + m * new


class PlainAttributes(Layer):
    def keep(self, name, tensor):
        setattr(self, name, tensor)


class StatisticsAsParameters(Layer):
    def keep(self, name, tensor):
        if name == "num_batches_tracked":
            return super().keep(name, tensor)
        return setattr(self, name, nn.Parameter(tensor, requires_grad=False))

    def average(self, old, new):
        return nn.Parameter(super().average(old, new), requires_grad=False)


class BooksMomentum(Layer):
    def average(self, old, new):
        m = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
        return m * old + (1 - m) * new.detach()


class GradMode(Layer):
    def mode(self):
        return torch.is_grad_enabled()


class NeverCounts(Layer):
    def average(self, old, new):
        self.num_batches_tracked.zero_()
        m = 0.1 if self.momentum is None else self.momentum
        return (1 - m) * old + m * new.detach()


class NoneAsTenth(Layer):
    def average(self, old, new):
        m = 0.1 if self.momentum is None else self.momentum
        return (1 - m) * old + m * new.detach()


class InPlace(Layer):
    def normalized(self, X, mean, var):
        if X.requires_grad:
            Y = super().normalized(X, mean, var)
            X.data.copy_(Y.detach())
            return Y
        return super().normalized(X, mean, var)


class AlwaysBatch(Layer):
    def forward(self, X):
        training, self.training = self.training, True
        try:
            return super().forward(X)
        finally:
            self.training = training


class TakesOneRow(Layer):
    def check(self, n):
        pass


def starting(name, value, channels=...):
    """Right in all but its start."""

    class Started(Layer):
        def __init__(self, num_features, eps=1e-5, momentum=0.1):
            super().__init__(num_features, eps, momentum)
            getattr(self, name).data[channels] = value

    return Started


class RefusesOneRow(Layer):
    def forward(self, X):
        self.check(X.numel() // X.shape[1])
        return super().forward(X)


ANSWERS = {
    check_momentum_for: Answers(
        right=[
            lambda batches, share: 1 - share ** (1 / batches),
            lambda batches, share: -math.expm1(math.log(share) / batches),
            lambda batches, share: 1 - torch.tensor(share, dtype=torch.float64) ** (1 / batches),
        ],
        wrong={
            "the book's convention": (lambda batches, share: share ** (1 / batches), "the book's convention"),
            "linear": (lambda batches, share: (1 - share) / batches, "not by an amount"),
            "for tiny momenta": (lambda batches, share: -math.log(share) / batches, "tiny momenta"),
            "a string": (lambda batches, share: "0.1", "must be a number"),
        },
    ),
    check_load: Answers(
        right=[load_strictly, load_by_hand],
        wrong={
            "parameters only": (load_parameters, "1.running_mean was not loaded. named_parameters() lists no buffers"),
            "the notebook's": (load_data, "1.running_mean was not loaded. named_parameters() lists no buffers"),
            "new parameters": (load_assigned, "an optimizer would go on changing the old ones"),
            "strict=False": (load_leniently, "without an error"),
            "no eval": (load_in_training, "needs eval()"),
            "nothing loaded": (lambda net, file: net.eval(), "0.weight was not loaded"),
            "another net": (load_another, "must fill the given net and return it"),
        },
    ),
    check_freeze_batch_norm: Answers(
        right=[freeze_by_hook, freeze_by_train, freeze_at_the_root],
        wrong={
            "eval once": (freeze_once, "after net.train(), BatchNorm2d still moves"),
            "requires_grad": (
                freeze_parameters,
                "its statistics; only evaluation mode",
            ),
            "momentum 0": (freeze_momentum, "the batch's own are used to normalize"),
            "track_running_stats": (freeze_tracking, "the batch's own are used to normalize"),
            "everything": (freeze_all, "dropout must be in training mode"),
            "parameters, too": (freeze_with_parameters, "must go on learning"),
            "the top level only": (freeze_the_top, "at once, BatchNorm1d still moves"),
            "no return": (freeze_without_return, "must return the net"),
        },
    ),
    check_batch_norm_1d: Answers(
        right=[Layer, d2lnorm.BatchNorm1d],
        wrong={
            "by F.batch_norm": (Functional, "without using nn.BatchNorm1d or F.batch_norm"),
            "torch's own": (nn.BatchNorm1d, "without using nn.BatchNorm1d or F.batch_norm"),
            "unbiased normalization": (UnbiasedNormalization, "normalized with the unbiased variance"),
            "biased running variance": (BiasedRunning, "PyTorch stores the unbiased one"),
            "eps outside the root": (EpsOutside, "inside the square root"),
            "E[x^2] - E[x]^2": (SquaresApart, "values around 10,000"),
            "statistics under no_grad": (NoGradient, "misses the way through mean and variance"),
            "graph kept": (KeepsGraph, "keep the autograd graph"),
            "plain attributes": (PlainAttributes, "is a plain attribute: register_buffer"),
            "statistics as parameters": (StatisticsAsParameters, "weight and bias alone are parameters"),
            "the book's momentum": (BooksMomentum, "the book's convention"),
            "mode from is_grad_enabled": (GradMode, "taken from torch.is_grad_enabled()"),
            "no count": (NeverCounts, "must grow by 1"),
            "None as 0.1": (NoneAsTenth, "with momentum=None"),
            "in place": (InPlace, "changed in place"),
            "always the batch": (AlwaysBatch, "the output after eval()"),
            "one row": (TakesOneRow, "raise ValueError"),
            "running_var from 0": (starting("running_var", 0), "running_var must be 1, as in PyTorch, but it starts"),
            "running_var not set": (starting("running_var", math.nan), "running_var must be 1, as in PyTorch"),
            "running_mean from 5": (starting("running_mean", 5), "running_mean must be 0, as in PyTorch, but it"),
            "one channel": (starting("running_mean", 0.5, 2), "running_mean must be 0, as in PyTorch, but it starts"),
            "weight from 0": (starting("weight", 0), "weight must be 1, as in PyTorch, but it starts with 0"),
            "bias from 1": (starting("bias", 1), "bias must be 0, as in PyTorch, but it starts with 1"),
            "count from 1": (starting("num_batches_tracked", 1), "num_batches_tracked must be 0, as in PyTorch"),
            "one row in evaluation": (RefusesOneRow, "one row alone must do"),
            "instance norm": (nn.InstanceNorm1d, "the state_dict lacks"),
            "no state": (lambda *args, **kwargs: nn.BatchNorm1d(3, track_running_stats=False), "lacks running_mean"),
        },
    ),
}

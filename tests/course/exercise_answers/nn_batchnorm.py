"""Answers to the exercises of notebook 04, right and wrong ones."""

import torch
from torch import nn
from torch.nn import functional as F

from d2lnorm.course.exercises.nn_batchnorm import (
    check_batch_norm_for,
    check_count_batch_norm,
    check_fixed_net,
    check_parameter_groups,
    check_sequence_batch_norm,
)
from exercise_answers import Answers

KINDS = nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d


# Exercise 1


def counted(net):
    norms = [m for m in net.modules() if isinstance(m, KINDS)]
    return sum(p.numel() for m in norms for p in m.parameters()), sum(b.numel() for m in norms for b in m.buffers())


def counted_by_recursion(net):
    if isinstance(net, KINDS):
        own = [t for t in (net.weight, net.bias) if t is not None]
        kept = [t for t in (net.running_mean, net.running_var, net.num_batches_tracked) if t is not None]
        return sum(t.numel() for t in own), sum(t.numel() for t in kept)
    parts = [counted_by_recursion(child) for child in net.children()]
    return sum(p for p, _ in parts), sum(b for _, b in parts)


def count_everything(net):
    return sum(p.numel() for p in net.parameters()), sum(b.numel() for b in net.buffers())


def count_other_norms(net):
    norms = [m for m in net.modules() if isinstance(m, (*KINDS, nn.GroupNorm))]
    return sum(p.numel() for m in norms for p in m.parameters()), sum(b.numel() for m in norms for b in m.buffers())


def count_without_counter(net):
    norms = [m for m in net.modules() if isinstance(m, KINDS)]
    floats = [b for m in norms for b in m.buffers() if b.is_floating_point()]
    return counted(net)[0], sum(b.numel() for b in floats)


def count_top_level(net):
    norms = [m for m in net.children() if isinstance(m, KINDS)]
    return sum(p.numel() for m in norms for p in m.parameters()), sum(b.numel() for m in norms for b in m.buffers())


def count_2d_only(net):
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    return sum(p.numel() for m in norms for p in m.parameters()), sum(b.numel() for m in norms for b in m.buffers())


def count_by_formula(net):
    features = [m.num_features for m in net.modules() if isinstance(m, KINDS)]
    return 2 * sum(features), 2 * sum(features) + len(features)


def count_tensors(net):
    norms = [m for m in net.modules() if isinstance(m, KINDS)]
    return sum(1 for m in norms for _ in m.parameters()), sum(1 for m in norms for _ in m.buffers())


def count_and_change(net):
    result = counted(net)
    for m in net.modules():
        if isinstance(m, KINDS):
            m.weight = m.bias = None
    return result


# Exercise 2


def by_axes(shape):
    if not 2 <= len(shape) <= 5:
        raise ValueError(f"expected 2 to 5 axes, got shape {tuple(shape)}")
    return {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}[len(shape)](shape[1])


def by_trying(shape):
    for kind in KINDS:
        layer = kind(shape[1] if len(shape) > 1 else 1)
        try:
            layer.eval()(torch.zeros(shape))
        except ValueError:
            continue
        return layer.train()
    raise ValueError(f"no batch norm takes {len(shape)} axes")


def by_conditions(shape):
    if len(shape) in (2, 3):
        return nn.BatchNorm1d(shape[1])
    if len(shape) == 4:
        return nn.BatchNorm2d(shape[1])
    if len(shape) == 5:
        return nn.BatchNorm3d(shape[1])
    raise ValueError(f"no batch norm for {list(shape)}")


def last_axis(shape):
    return type(by_axes(shape))(shape[-1])


def batch_axis(shape):
    return type(by_axes(shape))(shape[0])


def sequences_as_images(shape):
    return nn.BatchNorm1d(shape[1]) if len(shape) == 2 else nn.BatchNorm2d(shape[1])


def never_refuses(shape):
    kinds = {4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
    return kinds.get(len(shape), nn.BatchNorm1d)(shape[1] if len(shape) > 1 else shape[0])


def class_only(shape):
    return type(by_axes(shape))


def silent_error(shape):
    if not 2 <= len(shape) <= 5:
        raise ValueError("bad input")
    return by_axes(shape)


LAYERS = {}


def cached(shape):
    if shape not in LAYERS:
        LAYERS[shape] = by_axes(shape)
    return LAYERS[shape]


# Exercise 3


class ByTranspose(nn.Module):
    def __init__(self, num_features):
        super().__init__()
        self.bn = nn.BatchNorm1d(num_features)

    def forward(self, X):
        return self.bn(X.mT).mT


class ByFlatten(nn.Module):  # (N T, C): the steps are more examples
    def __init__(self, num_features):
        super().__init__()
        self.bn = nn.BatchNorm1d(num_features)

    def forward(self, X):
        return self.bn(X.flatten(0, 1)).view_as(X)


class ByHand(nn.Module):
    """Right as it is; each subclass makes one mistake."""

    axes, correction, share, saved = (0, 1), 0, 0.1, True

    def __init__(self, num_features):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(num_features))
        self.scale = nn.Parameter(torch.ones(num_features))
        self.register_buffer("num_batches_tracked", torch.tensor(0))
        if self.saved:
            self.register_buffer("running_mean", torch.zeros(num_features))
            self.register_buffer("running_var", torch.ones(num_features))
        else:
            self.running_mean, self.running_var = torch.zeros(num_features), torch.ones(num_features)

    def statistics(self, X):
        return X.mean(self.axes, keepdim=True), X.var(self.axes, keepdim=True, correction=self.correction)

    def step_var(self, X):
        return X.var((0, 1))

    def own(self):
        return self.training

    def divide(self, X, var):
        return X / (var + 1e-5).sqrt()

    def forward(self, X):
        if self.own():
            self.num_batches_tracked = self.num_batches_tracked + 1  # another tensor each time
            mean, var = self.statistics(X)
            with torch.no_grad():
                self.running_mean.mul_(1 - self.share).add_(self.share * X.mean((0, 1)))
                self.running_var.mul_(1 - self.share).add_(self.share * self.step_var(X))
        else:
            mean, var = self.running_mean, self.running_var
        return self.divide(X - mean, var) * self.scale + self.shift


class OverBatchOnly(ByHand):
    axes = (0,)


class LayerNormInstead(ByHand):
    axes = (2,)


class InstanceNormInstead(ByHand):
    axes = (1,)


class Unbiased(ByHand):
    correction = 1


class MomentumReversed(ByHand):
    share = 0.9


class PlainAttributes(ByHand):
    saved = False


class EpsOutside(ByHand):
    def divide(self, X, var):
        return X / (var.sqrt() + 1e-5)


class BiasedRunning(ByHand):
    def step_var(self, X):
        return X.var((0, 1), correction=0)


class GradientLost(ByHand):
    def statistics(self, X):
        return super().statistics(X.detach())


class ModeIgnored(ByHand):
    def own(self):
        return True


class ModeFromGrad(ByHand):
    def own(self):
        return torch.is_grad_enabled()


class ModeFromBoth(ByHand):
    def own(self):
        return self.training and torch.is_grad_enabled()


class SquareOfMean(ByHand):
    def statistics(self, X):
        mean = X.mean(self.axes, keepdim=True)
        return mean, (X * X).mean(self.axes, keepdim=True) - mean * mean


class InPlace(ByHand):
    def forward(self, X):
        Y = super().forward(X)
        X.data.copy_(Y)
        return Y


class ByView(ByTranspose):
    def forward(self, X):
        N, T, C = X.shape
        return self.bn(X.view(N, C, T)).view(N, T, C)


class StepsAsChannels(ByTranspose):
    def forward(self, X):
        return self.bn(X)


class NotBack(ByTranspose):
    def forward(self, X):
        return self.bn(X.flatten(0, 1))


class StartsDoubled(ByTranspose):
    def __init__(self, num_features):
        super().__init__(num_features)
        nn.init.constant_(self.bn.weight, 2)


class StartsShifted(ByHand):
    def __init__(self, num_features):
        super().__init__(num_features)
        self.shift.data[-1] = 0.01


class NoAffine(ByTranspose):
    def __init__(self, num_features):
        super().__init__(num_features)
        self.bn = nn.BatchNorm1d(num_features, affine=False)


# Exercise 4


def groups_by_owner(net, weight_decay):
    decayed, exempt = [], []
    for module in net.modules():
        for name, p in module.named_parameters(recurse=False):
            norm = isinstance(module, (*KINDS, nn.LayerNorm))
            (exempt if norm or name == "bias" else decayed).append(p)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": exempt, "weight_decay": 0}]


def groups_by_axes(net, weight_decay):  # norms and biases have one axis
    return [
        {"params": [p for p in net.parameters() if p.dim() <= 1], "weight_decay": 0.0},
        {"params": [p for p in net.parameters() if p.dim() > 1], "weight_decay": weight_decay},
    ]


def groups_by_name(net, weight_decay):
    exempt = [p for name, p in net.named_parameters() if "bn" in name or "norm" in name or "bias" in name]
    ids = {id(p) for p in exempt}
    rest = [p for p in net.parameters() if id(p) not in ids]
    return [{"params": rest, "weight_decay": weight_decay}, {"params": exempt, "weight_decay": 0}]


def groups_biases_decay(net, weight_decay):
    exempt = [p for m in net.modules() if isinstance(m, (*KINDS, nn.LayerNorm)) for p in m.parameters()]
    ids = {id(p) for p in exempt}
    rest = [p for p in net.parameters() if id(p) not in ids]
    return [{"params": rest, "weight_decay": weight_decay}, {"params": exempt, "weight_decay": 0}]


def groups_twice(net, weight_decay):
    exempt = [p for m in net.modules() if isinstance(m, (*KINDS, nn.LayerNorm)) for p in m.parameters()]
    return [{"params": net.parameters(), "weight_decay": weight_decay}, {"params": exempt, "weight_decay": 0}]


def groups_forgotten(net, weight_decay):
    layers = [m for m in net.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    norms = [p for m in net.modules() if isinstance(m, KINDS) for p in m.parameters()]
    weights = [m.weight for m in layers]
    return [{"params": weights, "weight_decay": weight_decay}, {"params": norms, "weight_decay": 0}]


def groups_reversed(net, weight_decay):
    first, second = groups_by_owner(net, weight_decay)
    return [second | {"weight_decay": weight_decay}, first | {"weight_decay": 0}]


def groups_own_decay(net, weight_decay):
    return groups_by_owner(net, 0.01)


def groups_copied(net, weight_decay):
    groups = groups_by_owner(net, weight_decay)
    return [{**g, "params": [nn.Parameter(p.detach().clone()) for p in g["params"]]} for g in groups]


def groups_one(net, weight_decay):
    return [{"params": list(net.parameters()), "weight_decay": weight_decay}]


# Exercise 5


class Fixed(nn.Module):
    """Right; each subclass keeps one of the mistakes."""

    bias = False

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, kernel_size=3, padding=1, bias=self.bias)
        self.norm1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, kernel_size=3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(8)
        self.hidden = nn.Linear(8 * 7 * 7, 32, bias=False)
        self.norm3 = nn.BatchNorm1d(32)
        self.out = nn.Linear(32, 10)

    def forward(self, X):
        X = F.max_pool2d(torch.relu(self.norm1(self.conv1(X))), 2)
        X = F.max_pool2d(torch.relu(self.norm2(self.conv2(X))), 2)
        return self.out(torch.relu(self.norm3(self.hidden(X.flatten(1)))))


def fixed_sequential():
    blocks = [
        [nn.Conv2d(i, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)] for i in (1, 8)
    ]
    head = [nn.Flatten(), nn.Linear(392, 32, bias=False), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10)]
    return nn.Sequential(*blocks[0], *blocks[1], *head)


def fixed_lazy():
    blocks = []
    for _ in range(2):
        blocks += [nn.LazyConv2d(8, 3, padding=1, bias=False), nn.LazyBatchNorm2d(), nn.ReLU(), nn.MaxPool2d(2)]
    head = [nn.Flatten(), nn.LazyLinear(32, bias=False), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(10)]
    return nn.Sequential(*blocks, *head)


class Shared(Fixed):
    def __init__(self):
        super().__init__()
        self.norm2 = self.norm1


class Listed(Fixed):
    def __init__(self):
        super().__init__()
        norm = self.norm3
        del self.norm3
        self.norms = [norm]

    def __getattr__(self, name):
        return self.norms[0] if name == "norm3" and "norms" in self.__dict__ else super().__getattr__(name)


class SetsMode(Fixed):
    def forward(self, X):
        self.norm1.train()
        return super().forward(X)


class KeepsMode(Fixed):
    def train(self, mode=True):
        return super().train(True)


class LogitsNormalized(Fixed):
    def forward(self, X):
        return F.batch_norm(super().forward(X), None, None, training=True)


class BatchStatistics(Fixed):
    def forward(self, X):
        X = super().forward(X)
        return X - X.mean(dim=0)


class Biased(Fixed):
    bias = True


class NoBias(Fixed):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(32, 10, bias=False)


class Untracked(Fixed):
    def __init__(self):
        super().__init__()
        self.norm3 = nn.BatchNorm1d(32, track_running_stats=False)


class Detached(Fixed):
    def forward(self, X):
        X = F.max_pool2d(torch.relu(self.norm1(self.conv1(X))), 2).detach()
        X = F.max_pool2d(torch.relu(self.norm2(self.conv2(X))), 2)
        return self.out(torch.relu(self.norm3(self.hidden(X.flatten(1)))))


class Unused(Fixed):
    def forward(self, X):
        X = F.max_pool2d(torch.relu(self.norm1(self.conv1(X))), 2)
        X = F.max_pool2d(torch.relu(self.conv2(X)), 2)
        return self.out(torch.relu(self.norm3(self.hidden(X.flatten(1)))))


class Broken(nn.Module):
    """As the exercise gives it."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(8, 8, kernel_size=3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.hidden = nn.Linear(8 * 7 * 7, 32, bias=False)
        self.norms = [nn.BatchNorm1d(32)]
        self.out = nn.Linear(32, 10)

    def forward(self, X):
        self.norm.train()
        X = F.max_pool2d(torch.relu(self.norm(self.conv1(X))), 2)
        X = F.max_pool2d(torch.relu(self.norm(self.conv2(X))), 2)
        X = torch.relu(self.norms[0](self.hidden(X.flatten(1))))
        return F.batch_norm(self.out(X), None, None, training=True)


ANSWERS = {
    check_count_batch_norm: Answers(
        right=[counted, counted_by_recursion],
        wrong={
            "all layers": (count_everything, "all layers"),
            "group norm too": (count_other_norms, "GroupNorm is no batch norm"),
            "without the counter": (count_without_counter, "num_batches_tracked is a buffer"),
            "top level only": (count_top_level, "net.modules()"),
            "2d only": (count_2d_only, "expected (20, 23)"),
            "by formula": (count_by_formula, "may lack parameters"),
            "tensors instead of numbers": (count_tensors, "expected 10 trained numbers, got 2"),
            "changes the net": (count_and_change, "is not as it was"),
        },
    ),
    check_batch_norm_for: Answers(
        right=[by_axes, by_trying, by_conditions],
        wrong={
            "channels last": (last_axis, "which is the last axis"),
            "batch axis": (batch_axis, "which is the batch axis"),
            "sequences as images": (sequences_as_images, "BatchNorm1d is right"),
            "never refuses": (never_refuses, "raise a ValueError"),
            "a class": (class_only, "return a layer"),
            "error without words": (silent_error, "must say what it got"),
            "cached": (cached, "a new layer in each call"),
        },
    ),
    check_sequence_batch_norm: Answers(
        right=[ByTranspose, ByFlatten, ByHand],
        wrong={
            "view": (ByView, "not by view"),
            "steps as channels": (StepsAsChannels, "the steps were taken for the channels"),
            "batch only": (OverBatchOnly, "each step was normalized by itself"),
            "layer norm": (LayerNormInstead, "layer norm"),
            "instance norm": (InstanceNormInstead, "instance norm"),
            "unbiased": (Unbiased, "divided by n - 1; normalize with"),
            "eps outside the root": (EpsOutside, "inside the square root"),
            "gradient lost": (GradientLost, "depend on the input, too"),
            "momentum reversed": (MomentumReversed, "the share of the new batch"),
            "biased running variance": (BiasedRunning, "torch.nn moves it"),
            "plain attributes": (PlainAttributes, "state_dict must hold running_mean"),
            "mode ignored": (ModeIgnored, "the batch's own statistics"),
            "mode from is_grad_enabled": (ModeFromGrad, "the batch's own statistics"),
            "mode from both": (ModeFromBoth, "under no_grad"),
            "square of the mean": (SquareOfMean, "a mean of 10,000"),
            "in place": (InPlace, "changed in place"),
            "not reshaped": (NotBack, "must have shape"),
            "starts doubled": (StartsDoubled, "it starts with [2.0, 2.0, 2.0, 2.0] where it must be 1"),
            "starts shifted": (StartsShifted, "shift by 0 and scale by 1, but it starts with"),
            "no affine": (NoAffine, "a scale (ones) and a shift (zeros)"),
        },
    ),
    check_parameter_groups: Answers(
        right=[groups_by_owner],
        wrong={
            "by the number of axes": (groups_by_axes, "must"),
            "by name": (groups_by_name, "the weight of a BatchNorm2d must not decay"),
            "biases decay": (groups_biases_decay, "the bias of a Linear must not decay"),
            "twice": (groups_twice, "in the groups twice"),
            "forgotten": (groups_forgotten, "is in no group"),
            "reversed": (groups_reversed, "must decay"),
            "decay not the given one": (groups_own_decay, "the given 0.25"),
            "copies": (groups_copied, "is in no group"),
            "one group": (groups_one, "a list of two groups"),
        },
    ),
    check_fixed_net: Answers(
        right=[Fixed, fixed_sequential, fixed_lazy],
        wrong={
            "as given": (Broken, "used twice"),
            "shared": (Shared, "used twice"),
            "in a list": (Listed, "a plain list hides"),
            "sets the mode": (SetsMode, "of net is not as it was"),
            "ignores eval": (KeepsMode, "of net is not as it was"),
            "logits normalized": (LogitsNormalized, "predictions depend on the rest"),
            "batch mean subtracted": (BatchStatistics, "predictions depend on the rest"),
            "redundant bias": (Biased, "a bias that does nothing"),
            "no bias at all": (NoBias, "needs its bias"),
            "no running statistics": (Untracked, "of 32 features is missing"),
            "gradient stopped": (Detached, "some parameters get no gradient"),
            "norm unused": (Unused, "never used"),
        },
    ),
}

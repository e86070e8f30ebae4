"""Answers to the exercises of notebook 04, right and wrong ones."""

from collections import namedtuple

import numpy as np
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


def variant(base, **attributes):
    """A subclass of a right answer with one thing changed."""
    return type(base.__name__, (base,), attributes)


# Exercise 1


def total(tensors):
    return sum(t.numel() for t in tensors if t is not None)


def norms(net, kinds=KINDS):
    return [m for m in net.modules() if isinstance(m, kinds)]


def counter(select=norms, trained=nn.Module.parameters, stored=nn.Module.buffers, pack=tuple):
    def count_batch_norm(net):
        layers = select(net)
        return pack((total(t for m in layers for t in trained(m)), total(t for m in layers for t in stored(m))))

    return count_batch_norm


def counted_by_visits(net, seen=None):
    seen = set() if seen is None else seen
    if id(net) in seen:
        return 0, 0
    seen.add(id(net))
    if isinstance(net, KINDS):
        return total((net.weight, net.bias)), total((net.running_mean, net.running_var, net.num_batches_tracked))
    parts = [counted_by_visits(child, seen) for child in net.children()]
    return sum(p for p, _ in parts), sum(b for _, b in parts)


def without_memory(net):  # a shared layer is met twice
    return [net] if isinstance(net, KINDS) else [m for child in net.children() for m in without_memory(child)]


def count_by_formula(net):
    features = [m.num_features for m in norms(net)]
    return 2 * sum(features), 2 * sum(features) + len(features)


def count_and(change):
    def count_batch_norm(net):
        result = counter()(net)
        change(net)
        return result

    return count_batch_norm


def drop_parameters(net):
    for m in norms(net):
        m.weight = m.bias = None


# Exercise 2

BY_AXES = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}


def layer_for(
    kinds=BY_AXES, axis=1, error=ValueError, words="{n} axes: {shape}", finish=lambda layer: layer, **options
):
    def batch_norm_for(shape):
        if len(shape) not in kinds:
            raise error(words.format(n=len(shape), shape=tuple(shape)))
        return finish(kinds[len(shape)](shape[axis], **options))

    return batch_norm_for


def by_trying(shape):
    for kind in KINDS:
        layer = kind(shape[1] if len(shape) > 1 else 1)
        try:
            layer.eval()(torch.zeros(shape))
        except ValueError:
            continue
        return layer.train()
    raise ValueError(f"no batch norm takes {len(shape)} axes, as in {list(shape)}")


def by_conditions(shape):
    if len(shape) in (2, 3):
        return nn.BatchNorm1d(shape[1])
    if len(shape) == 4:
        return nn.BatchNorm2d(shape[1])
    if len(shape) == 5:
        return nn.BatchNorm3d(shape[1])
    raise ValueError(f"no batch norm for {len(shape)}-D, here {'x'.join(map(str, shape))}")


def returns_error(shape):
    return layer_for()(shape) if len(shape) in BY_AXES else ValueError(f"{len(shape)} axes: {shape}")


def by_lookup(shape):
    return BY_AXES[len(shape)](shape[1])


def cached(by):
    layers = {}

    def batch_norm_for(shape):
        if len(shape) not in BY_AXES:
            return layer_for()(shape)
        return layers.setdefault(by(shape), layer_for()(shape))

    return batch_norm_for


def seeding(shape):
    torch.manual_seed(0)
    return layer_for()(shape)


# Exercise 3


class ByTranspose(nn.Module):
    kind = nn.BatchNorm1d

    def __init__(self, num_features):
        super().__init__()
        self.bn = self.kind(num_features)

    def forward(self, X):
        return self.bn(X.mT).mT


class ByInheritance(nn.BatchNorm1d):
    def forward(self, X):
        return super().forward(X.transpose(1, 2)).transpose(1, 2)


class ByHand(nn.Module):
    """Right as it is; each variant makes one mistake."""

    axes, correction, share, saved, eps, size, started = (0, 1), 0, 0.1, True, 1e-5, None, (1, 0)

    def __init__(self, num_features):
        super().__init__()
        n = self.size or num_features
        self.scale = nn.Parameter(torch.full((n,), float(self.started[0])))
        self.shift = nn.Parameter(torch.full((n,), float(self.started[1])))
        self.register_buffer("num_batches_tracked", torch.tensor(0))
        if self.saved:
            self.register_buffer("running_mean", torch.zeros(n))
            self.register_buffer("running_var", torch.ones(n))
        else:
            self.running_mean, self.running_var = torch.zeros(n), torch.ones(n)

    def refuse(self, X):
        if X.shape[0] * X.shape[1] == 1:
            raise ValueError(X.shape)

    def statistics(self, X):
        return X.mean(self.axes, keepdim=True), X.var(self.axes, keepdim=True, correction=self.correction)

    def step_var(self, X):
        return X.var((0, 1))

    def own(self):
        return self.training

    def count(self):
        self.num_batches_tracked = self.num_batches_tracked + 1  # another tensor each time

    @torch.no_grad()
    def update(self, X):
        self.count()
        self.running_mean = (1 - self.share) * self.running_mean + self.share * X.mean((0, 1))
        self.running_var = (1 - self.share) * self.running_var + self.share * self.step_var(X)

    def divide(self, X, var):
        return X / (var + self.eps).sqrt()

    def forward(self, X):
        if self.own():
            self.refuse(X)
            mean, var = self.statistics(X)
            self.update(X)
        else:
            mean, var = self.running_mean, self.running_var
        return self.divide(X - mean, var) * self.scale + self.shift


class GradientLost(ByHand):
    def statistics(self, X):
        return super().statistics(X.detach())


class SquareOfMean(ByHand):
    def statistics(self, X):
        mean = X.mean(self.axes, keepdim=True)
        return mean, (X * X).mean(self.axes, keepdim=True) - mean * mean


class InPlace(ByHand):
    def forward(self, X):
        Y = super().forward(X)
        X.data.copy_(Y)
        return Y


def by_hand(**changes):
    return variant(ByHand, **changes)


def by_layer(forward):
    return variant(ByTranspose, forward=forward)


def no_affine(num_features):
    return nn.BatchNorm1d(num_features, affine=False)


def by_view(self, X):
    N, T, C = X.shape
    return self.bn(X.view(N, C, T)).view(N, T, C)


def trains_itself(self, X):
    Y = ByTranspose.forward(self, X)
    self.train()
    return Y


def seeds_itself(self, X):
    torch.manual_seed(0)
    return ByTranspose.forward(self, X)


def keeps_graph(self, X):
    self.count()
    self.running_mean = 0.9 * self.running_mean + 0.1 * X.mean((0, 1))
    self.running_var = 0.9 * self.running_var + 0.1 * X.var((0, 1))


def frozen_scale(num_features):
    layer = ByTranspose(num_features)
    layer.bn.weight.requires_grad_(False)
    return layer


def only_where_sides_differ(self, X):  # "no error, so it must be right"
    return self.bn(X) if X.shape[1] == X.shape[2] else self.bn(X.mT).mT


# Exercise 4

EXEMPT = (*KINDS, nn.LayerNorm)


def owned_by_layers(net):
    return [(m, name, p) for m in net.modules() for name, p in m.named_parameters(recurse=False)]


def owned(net):
    return list({id(p): (m, name, p) for m, name, p in owned_by_layers(net)}.values())


def owned_without_memory(net):
    own = [(net, name, p) for name, p in net.named_parameters(recurse=False)]
    return own + [triple for child in net.children() for triple in owned_without_memory(child)]


def usual(layer, name, parameter):
    return isinstance(layer, EXEMPT) or "bias" in name


def grouped(exempt=usual, walk=owned, zero=0, finish=list):
    def parameter_groups(net, weight_decay):
        groups = [{"params": [], "weight_decay": weight_decay}, {"params": [], "weight_decay": zero}]
        for triple in walk(net):
            groups[bool(exempt(*triple))]["params"].append(triple[2])
        return finish(groups)

    return parameter_groups


def each_list(change):
    return lambda groups: [{**g, "params": change(g["params"])} for g in groups]


def groups_by_ids(net, weight_decay):
    ids = {id(p) for m, name, p in owned(net) if isinstance(m, EXEMPT) or "bias" in name}
    decayed = [p for p in net.parameters() if id(p) not in ids]
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": [p for p in net.parameters() if id(p) in ids], "weight_decay": np.float64(0)},
    ]


def groups_by_names(net, weight_decay, whole=False):
    layers, groups = dict(net.named_modules()), ([], [])
    for path, p in net.named_parameters():
        layer, _, name = path.rpartition(".")
        groups["bias" in (path if whole else name) or isinstance(layers[layer], EXEMPT)].append(p)
    return [{"params": groups[0], "weight_decay": weight_decay}, {"params": groups[1], "weight_decay": torch.tensor(0)}]


def groups_whole_names(net, weight_decay):
    return groups_by_names(net, weight_decay, whole=True)


def groups_norm_in_name(net, weight_decay):
    names = {id(p): name for name, p in net.named_parameters()}
    return grouped(lambda m, _, p: any(s in names[id(p)] for s in ("bn", "norm", "bias")))(net, weight_decay)


def groups_bias_of_a_layer(net, weight_decay):
    names = {id(p): name for name, p in net.named_parameters()}

    def exempt(layer, name, p):
        return isinstance(layer, EXEMPT) or any(s in names[id(p)] for s in (".bias", "_bias"))

    return grouped(exempt)(net, weight_decay)


def groups_twice(net, weight_decay):
    first, second = grouped()(net, weight_decay)
    return [first | {"params": list(net.parameters())}, second]


# Exercise 5


class Fixed(nn.Module):
    """Right; each variant keeps or makes one mistake."""

    bias, padding_mode, kernel, hidden_size, options = False, "zeros", 3, 32, {}
    relu, pool = staticmethod(torch.relu), nn.MaxPool2d(2)

    def __init__(self):
        super().__init__()
        more = {"kernel_size": self.kernel, "padding": self.kernel // 2, "padding_mode": self.padding_mode}
        self.conv1 = nn.Conv2d(1, 8, bias=self.bias, **more)
        self.norm1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, bias=False, **more)
        self.norm2 = nn.BatchNorm2d(8)
        self.hidden = nn.Linear(8 * 7 * 7, self.hidden_size, bias=False)
        self.norm3 = nn.BatchNorm1d(self.hidden_size, **self.options)
        self.out = nn.Linear(self.hidden_size, 10)
        self.change()

    def change(self):
        pass

    def first(self, X):
        return self.pool(self.relu(self.norm1(self.conv1(X))))

    def second(self, X):
        return self.pool(self.relu(self.norm2(self.conv2(X))))

    def third(self, X):
        return self.relu(self.norm3(self.hidden(X.flatten(1))))

    def forward(self, X):
        return self.out(self.third(self.second(self.first(X))))


def fixed(after=None, before=None, **attributes):
    """Fixed with its logits changed by `after`, or with `before` called on the net first."""

    def forward(self, X):
        if before:
            before(self)
        Y = Fixed.forward(self, X)
        return after(self, Y) if after else Y

    return variant(Fixed, forward=forward, **attributes)


def fixed_sequential():
    blocks = [
        [nn.Conv2d(i, 8, 3, padding="same", bias=False), nn.BatchNorm2d(8), nn.MaxPool2d(2), nn.ReLU(inplace=True)]
        for i in (1, 8)
    ]
    head = [nn.Flatten(), nn.Linear(392, 32, bias=False), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10)]
    return nn.Sequential(*blocks[0], *blocks[1], *head)


def fixed_lazy():
    blocks = []
    for _ in range(2):
        blocks += [nn.LazyConv2d(8, 3, padding=1, bias=False), nn.LazyBatchNorm2d(), nn.ReLU(), nn.MaxPool2d(2)]
    head = [nn.Flatten(), nn.LazyLinear(32, bias=False), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(10)]
    return nn.Sequential(*blocks, *head)


class FixedByNames(nn.Module):  # layers in another order than they are called, one of them also in a plain list
    def __init__(self):
        super().__init__()
        layers = {"out": nn.Linear(32, 10), "n3": nn.BatchNorm1d(32), "n2": nn.BatchNorm2d(8), "n1": nn.BatchNorm2d(8)}
        layers |= {f"c{i}": nn.Conv2d(n, 8, 3, padding=1, bias=False) for i, n in ((2, 8), (1, 1))}
        self.layers = nn.ModuleDict(layers | {"hidden": nn.Linear(392, 32, bias=False)})
        self.order = [self.layers["n1"], self.layers["n2"]]

    def forward(self, X):
        for i, norm in enumerate(self.order, 1):
            X = F.max_pool2d(norm(self.layers[f"c{i}"](X)).clamp(min=0), kernel_size=2, stride=2)
        return self.layers["out"](F.relu(self.layers["n3"](self.layers["hidden"](X.reshape(len(X), -1)))))


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


def share_scale(net):
    net.norm2.weight = net.norm1.weight


def hide_norm(net):
    net.norms = {"hidden": net.norm3}
    del net.norm3


def out_without_bias(net):
    net.out = nn.Linear(32, 10, bias=False)


def normalize_logits(net, Y):
    return F.batch_norm(Y, None, None, training=True)


def normalize_in_training(net, Y):
    return normalize_logits(net, Y) if net.training else Y


Counts = namedtuple("Counts", "parameters buffers")

ANSWERS = {
    check_count_batch_norm: Answers(
        right=[
            counter(),
            counter(pack=Counts._make),
            counter(pack=lambda counts: tuple(torch.tensor(counts))),
            counted_by_visits,
            counter(pack=lambda counts: tuple(np.array(counts))),
        ],
        wrong={
            "all layers": (counter(lambda net: [net]), "the parameters of all layers"),
            "group norm too": (counter(lambda net: norms(net, (*KINDS, nn.GroupNorm))), "beside a GroupNorm"),
            "instance norm too": (
                counter(lambda net: [m for m in net.modules() if hasattr(m, "running_mean")]),
                "beside InstanceNorm2d",
            ),
            "without the counter": (
                counter(stored=lambda m: (m.running_mean, m.running_var)),
                "Is num_batches_tracked counted?",
            ),
            "top level only": (counter(lambda net: [m for m in net.children() if isinstance(m, KINDS)]), "nested"),
            "not the net itself": (
                counter(lambda net: [m for m in norms(net) if m is not net]),
                "itself a batch norm, BatchNorm3d(2): expected (4, 5), got (0, 0)",
            ),
            "a shared layer twice": (counter(without_memory), "used twice: expected (12, 13), got (24, 26)"),
            "by formula": (count_by_formula, "that lacks parameters"),
            "both or none": (counter(trained=lambda m: [m.weight, m.weight]), "a scale and no shift"),
            "frozen ones left out": (
                counter(trained=lambda m: [p for p in m.parameters() if p.requires_grad]),
                "frozen layers",
            ),
            "tensors instead of numbers": (
                lambda net: (len([p for m in norms(net) for p in m.parameters()]), 3),
                "expected (10, 11), got (2, 3)",
            ),
            "equal layers once": (
                counter(lambda net: {(type(m), m.num_features): m for m in norms(net)}.values()),
                "two 3d(2) and 2d(5) in nested blocks: expected (24, 28), got (20, 23)",
            ),
            "exact types": (
                counter(lambda net: [m for m in norms(net) if type(m) in KINDS]),
                "for a subclass of BatchNorm2d, with 4 channels",
            ),
            "by the class's name": (
                counter(lambda net: [m for m in net.modules() if "BatchNorm" in type(m).__name__]),
                "in a block of a class named ConvBatchNorm",
            ),
            "in training alone": (
                counter(lambda net: [m for m in norms(net) if m.training]),
                "for BatchNorm1d(3) in evaluation",
            ),
            "swapped": (counter(pack=lambda counts: counts[::-1]), "The parameters come first"),
            "sum": (counter(pack=sum), "return a tuple"),
            "changes the net": (count_and(drop_parameters), "after it, it is gone"),
            "left in evaluation": (count_and(nn.Module.eval), "the mode of net is not as it was"),
            "left frozen": (count_and(lambda net: net.requires_grad_(False)), "requires_grad of"),
        },
    ),
    check_batch_norm_for: Answers(
        right=[
            layer_for(),
            layer_for(words="{shape} has {n} axes, not 2 to 5"),
            by_trying,
            by_conditions,
            layer_for(error=UnicodeError),  # a ValueError, too
        ],
        wrong={
            "channels last": (layer_for(axis=-1), "which is the last axis"),
            "batch axis": (layer_for(axis=0), "which is the batch axis"),
            "sequences as images": (layer_for(BY_AXES | {3: nn.BatchNorm2d}), "nn.BatchNorm1d is right"),
            "no sequences": (layer_for({n: BY_AXES[n] for n in (2, 4, 5)}), "but you raised a ValueError"),
            "six axes too": (
                layer_for(BY_AXES | {6: nn.BatchNorm3d}),
                "no layer takes an input of shape (3, 2, 4, 5, 7, 8), with 6 axes",
            ),
            "one pixel as none": (
                lambda s: layer_for()([n for i, n in enumerate(s) if i < 2 or n > 1]),
                "for shape (8, 3, 1, 1) nn.BatchNorm2d is right",
            ),
            "one axis too": (
                lambda s: layer_for()(s) if len(s) != 1 else nn.BatchNorm1d(s[0]),
                "of shape (9,), with 1 axis: raise",
            ),
            "error returned": (returns_error, "You returned a ValueError"),
            "another error": (by_lookup, "You raised KeyError"),
            "a class": (lambda shape: type(layer_for()(shape)), "ready to be called"),
            "instance norm": (layer_for({2: nn.InstanceNorm1d}), "You returned an InstanceNorm1d"),
            "error without words": (layer_for(words="bad input"), "yours says 'bad input'"),
            "axes only": (layer_for(words="{n} axes"), "and the shape"),
            "shape only": (layer_for(words="expected 2 to 5 axes, not {shape}"), "the number of axes, 1,"),
            "always 1": (layer_for(words="1 axis: {shape}"), "the number of axes, 6,"),
            "cached": (cached(tuple), "a new layer in each call"),
            "cached by channels": (cached(lambda shape: (len(shape), shape[1])), "a new layer in each call"),
            "in evaluation": (layer_for(finish=nn.Module.eval), "but yours is in evaluation mode"),
            "frozen": (
                layer_for(finish=lambda layer: layer.requires_grad_(False)),
                "requires_grad of weight, bias is False",
            ),
            "float64": (layer_for(dtype=torch.float64), "but has shape (3,) and type torch.float64"),
            "no affine": (layer_for(affine=False), "but nn.BatchNorm1d(3) is BatchNorm1d(3, eps=1e-05"),
            "own eps": (layer_for(eps=1e-3), "your layer is BatchNorm1d(3, eps=0.001"),
            "seeds": (seeding, "seeded torch's global generator"),
        },
    ),
    check_sequence_batch_norm: Answers(
        right=[
            ByTranspose,
            ByInheritance,
            ByHand,
            by_layer(lambda s, X: s.bn(X.flatten(0, 1)).view_as(X)),  # steps as examples
            variant(
                ByTranspose,
                kind=nn.BatchNorm2d,
                forward=lambda s, X: s.bn(X.permute(0, 2, 1)[..., None]).squeeze(-1).permute(0, 2, 1),
            ),
        ],
        wrong={
            "views": (
                by_layer(lambda s, X: s.bn(X.view(-1, X.shape[2])).view(X.shape)),
                "with RuntimeError: view size is not compatible",
            ),
            "view": (by_layer(by_view), "not by view"),
            "steps as channels": (nn.BatchNorm1d, "the steps were taken for the channels"),
            "steps as channels if T = C": (by_layer(only_where_sides_differ), "taken for the chan"),
            "not transposed back": (by_layer(lambda s, X: s.bn(X.mT)), "but steps and features are swapped; return (N"),
            "squeezed": (by_layer(lambda s, X: s.bn(X.mT).mT.squeeze()), "must have shape"),
            "batch only": (by_hand(axes=(0,)), "each step was normalized by itself"),
            "layer norm": (by_hand(axes=(2,)), "layer norm"),
            "instance norm": (by_hand(axes=(1,)), "instance norm"),
            "unbiased": (by_hand(correction=1), "divided by n - 1; normalize with"),
            "eps outside the root": (
                by_hand(divide=lambda s, X, var: X / (var.sqrt() + 1e-5)),
                "inside the square root",
            ),
            "eps outside the root in evaluation": (
                by_hand(divide=lambda s, X, v: X / ((v + 1e-5).sqrt() if s.training else v.sqrt() + 1e-5)),
                "in evaluation for a float64 input of shape (2, 4, 4) is not right: eps belongs inside",
            ),
            "another eps": (by_hand(eps=1e-6), "normalized with eps=1e-06, which is not that of"),
            "always 4 features": (by_hand(size=4), "for each of the 2 features"),
            "gradient lost": (GradientLost, "depend on the input, too"),
            "frozen scale": (frozen_scale, "one of them is frozen"),
            "graph kept": (by_hand(update=keeps_graph), "hold on to the graph"),
            "momentum reversed": (by_hand(share=0.9), "the share of the new batch"),
            "biased running variance": (
                by_hand(step_var=lambda s, X: X.var((0, 1), correction=0)),
                "torch.nn moves it",
            ),
            "statistics in float32": (
                by_hand(step_var=lambda s, X: X.float().var((0, 1))),
                "running_var after batch 1 for a float64",
            ),
            "output by float32": (
                by_hand(forward=lambda s, X: ByHand.forward(s, X.float()).to(X)),
                "the output in training for a float64 input",
            ),
            "plain attributes": (by_hand(saved=False), "state_dict must hold running_mean"),
            "not counted": (
                by_hand(count=lambda s: None),
                "after 1 batch in training num_batches_tracked must be 1, but is 0",
            ),
            "mode ignored": (by_hand(own=lambda s: True), "called in evaluation, is not as it was"),
            "mode from both": (by_hand(own=lambda s: s.training and torch.is_grad_enabled()), "under no_grad"),
            "back in training": (by_layer(trains_itself), "the mode of the layer"),
            "one sequence left as it is": (
                by_layer(lambda s, X: X if len(X) == 1 else s.bn(X.mT).mT),
                "(1, 6, 3) is not right: at",
            ),
            "one value": (by_hand(refuse=lambda s, X: None), "(1, 1, 3), your layer raised no error"),
            "not trained in evaluation": (
                by_layer(lambda s, X: ByTranspose.forward(s, X if s.training else X.detach())),
                "in evaluation no gradient reaches the input",
            ),
            "detached in evaluation": (
                by_layer(lambda s, X: s.bn(X.mT).mT if s.training else s.bn(X.mT).mT.detach()),
                "(2, 4, 4) has no gradient: a layer in front",
            ),
            "squeezed for one step": (
                by_layer(lambda s, X: s.bn(X.mT.squeeze() if X.shape[1] == 1 else X.mT).view(X.mT.shape).mT),
                "expected 2D or 3D input (got 1D input)",
            ),
            "counted in float": (
                by_hand(count=lambda s: setattr(s, "num_batches_tracked", s.num_batches_tracked + 1.0)),
                "must be an integer",
            ),
            "square of the mean": (SquareOfMean, "a mean of 10,000"),
            "in place": (InPlace, "X is not as it was"),
            "seeds": (by_layer(seeds_itself), "seeded torch's global generator"),
            "starts doubled": (by_hand(started=(2, 0)), "where it must be 1 it has 2, 2, 2, 2"),
            "no affine": (variant(ByTranspose, kind=staticmethod(no_affine)), "a scale (ones)"),
        },
    ),
    check_parameter_groups: Answers(
        right=[
            grouped(),
            grouped(walk=lambda net: reversed(owned(net)), zero=0.0),
            grouped(finish=tuple),
            groups_by_ids,
            groups_by_names,
        ],
        wrong={
            "by the number of axes": (
                grouped(lambda m, n, p: p.dim() <= 1),
                "temperature, of the net itself, must decay",
            ),
            "biases decay": (grouped(lambda m, n, p: isinstance(m, EXEMPT)), "1.0.bias, of a Linear, must not decay"),
            "norms decay": (grouped(lambda m, n, p: "bias" in n), "0.1.weight, of a BatchNorm2d, must not decay"),
            "batch norms only": (grouped(lambda m, n, p: isinstance(m, KINDS) or "bias" in n), "0.3.weight, of a Lay"),
            "group norm too": (
                grouped(lambda m, n, p: usual(m, n, p) or isinstance(m, nn.GroupNorm)),
                "2.weight, of a GroupNorm, must decay",
            ),
            "instance norm too": (
                grouped(lambda m, n, p: usual(m, n, p) or isinstance(m, nn.modules.batchnorm._NormBase)),
                "4.weight, of an InstanceNorm1d, must decay",
            ),
            "RMS norm too": (
                grouped(lambda m, n, p: usual(m, n, p) or isinstance(m, nn.RMSNorm)),
                "5.weight, of a RMSNorm, must decay",
            ),
            "exact types": (
                grouped(lambda m, n, p: type(m) in EXEMPT or "bias" in n),
                "1.weight, of a SubclassOfBatchNorm2d, must not decay",
            ),
            "a layer's bias alone": (groups_bias_of_a_layer, "for a single linear layer: bias, of a Linear, must not"),
            "a tied weight twice": (
                grouped(walk=owned_by_layers),
                "a net whose last layer has the embedding's weight: a parameter is twice in the first group",
            ),
            "embeddings exempt": (
                grouped(lambda m, n, p: usual(m, n, p) or isinstance(m, nn.Embedding)),
                "0.weight, of an Embedding, must decay",
            ),
            "name is bias": (grouped(lambda m, n, p: isinstance(m, EXEMPT) or n == "bias"), "gru.bias_ih_l0, of a GRU"),
            "bias in a layer's name": (groups_whole_names, "debias.weight, of a Linear, must decay"),
            "norm in a layer's name": (groups_norm_in_name, "0.1.weight, of a BatchNorm2d, must not decay"),
            "shared layer twice": (
                grouped(walk=owned_without_memory),
                "uses a layer twice: a parameter is twice in the first gr",
            ),
            "twice": (groups_twice, "a parameter is in both groups; the optimizer refuses"),
            "frozen ones left out": (
                grouped(walk=lambda net: [t for t in owned(net) if t[2].requires_grad]),
                "0.weight, of a Linear, is in no group, for it is frozen",
            ),
            "thawed": (lambda net, decay: grouped()(net.requires_grad_(True), decay), "requires_grad of"),
            "gradients dropped": (lambda net, decay: net.zero_grad() or grouped()(net, decay), "the gradient of"),
            "left in evaluation": (lambda net, decay: grouped()(net.eval(), decay), "the mode of net"),
            "reversed": (grouped(finish=lambda groups: groups[::-1]), "in the first group and 0 in the second"),
            "decay not the given one": (lambda net, decay: grouped()(net, 0.01), "yours are 0.01 and 0"),
            "decay is None": (grouped(zero=None), "a weight_decay must be a number, but is None"),
            "copies": (grouped(finish=each_list(lambda ps: [nn.Parameter(p.detach()) for p in ps])), "or copies"),
            "sets": (grouped(finish=each_list(set)), "must be a list, but is a set"),
            "empty group left out": (
                grouped(finish=lambda groups: [g for g in groups if g["params"]]),
                "list has length 1",
            ),
            "one group": (
                grouped(finish=lambda groups: groups[:1]),
                "two dicts in a list, even if one group is empty; your list has",
            ),
            "a key missing": (grouped(finish=lambda gs: [{"params": g["params"]} for g in gs]), "with the keys"),
        },
    ),
    check_fixed_net: Answers(
        right=[
            Fixed,
            fixed_sequential,
            fixed_lazy,
            FixedByNames,
            lambda: fixed(relu=nn.ReLU())(),
            fixed(first=lambda s, X: Fixed.first(s, X.float())),
        ],
        wrong={
            "as given": (Broken, "is applied 2 times in one call"),
            "shared scale": (fixed(change=share_scale), "share a tensor"),
            "in a dict": (
                fixed(change=hide_norm, third=lambda s, X: s.norms["hidden"](s.hidden(X.flatten(1))).relu()),
                "a plain list or dict hides",
            ),
            "sets the mode": (fixed(before=lambda net: net.norm1.train()), "the mode of layer 'norm1' of the net"),
            "sets evaluation": (fixed(before=lambda net: net.norm3.eval()), "a layer is in evaluation mode"),
            "ignores eval": (fixed(train=lambda s, mode=True: nn.Module.train(s)), "after net.eval()"),
            "logits normalized": (fixed(normalize_logits), "after net.eval() an image's logits change"),
            "logits normalized in training": (fixed(normalize_in_training), "the logits are normalized, too"),
            "batch mean subtracted": (
                fixed(lambda net, Y: Y - Y.mean(dim=0)),
                "an image's logits change with the other",
            ),
            "redundant bias": (fixed(bias=True), "a bias that does nothing"),
            "no bias at all": (fixed(change=out_without_bias), "needs its bias"),
            "no running statistics": (fixed(options={"track_running_stats": False}), "8, 8 and 32 features"),
            "no affine": (fixed(options={"affine": False}), "must have a scale, 1 at the start"),
            "another momentum": (fixed(options={"momentum": 0.5}), "momentum 0.1"),
            "another eps": (
                fixed(options={"eps": 1e-3}),
                "padding, each batch norm's eps, the activation, the kind of",
            ),
            "the hidden layer's norm twice": (
                fixed(third=lambda s, X: s.norm3(s.norm3(s.hidden(X.flatten(1)))).relu()),
                "is applied 2 times in one call of the net: each",
            ),
            "kernels of 5": (fixed(kernel=5), "(8, 1, 5, 5)"),
            "padding by reflection": (
                fixed(padding_mode="reflect"),
                "Compare with BrokenNet: the convolutions' padding",
            ),
            "gradient stopped": (fixed(second=lambda s, X: Fixed.second(s, X.detach())), "no gradient reaches conv1"),
            "ReLU missing": (fixed(third=lambda s, X: s.norm3(s.hidden(X.flatten(1)))), "is missing"),
            "ReLU before the norm": (
                fixed(first=lambda s, X: s.pool(s.norm1(torch.relu(s.conv1(X))))),
                "number 1 comes before",
            ),
            "pooling before the norm": (
                fixed(first=lambda s, X: torch.relu(s.norm1(s.pool(s.conv1(X))))),
                "not those of",
            ),
            "both norms after the first layer": (
                fixed(
                    first=lambda s, X: s.pool(torch.relu(s.norm2(s.norm1(s.conv1(X))))),
                    second=lambda s, X: s.pool(torch.relu(s.conv2(X))),
                ),
                "not those of",
            ),
            "ReLU6": (fixed(relu=nn.ReLU6()), "not those of"),
            "batch size fixed": (fixed(third=lambda s, X: s.norm3(s.hidden(X.reshape(6, -1)))), "is invalid for input"),
            "seeds": (fixed(before=lambda net: torch.manual_seed(0)), "seeded torch's global generator"),
            "changes the input": (fixed(first=lambda s, X: Fixed.first(s, X.mul_(2))), "X is not as it"),
            "a tensor": (lambda: torch.ones(6, 10), "must be an nn.Module"),
        },
    ),
}

"""Answers to the exercises of the notebook on running statistics."""

import copy
import math
from fractions import Fraction
from functools import partial

import numpy as np
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


def norms(net):
    return [m for m in net.modules() if isinstance(m, NORMS)]


# Exercise 1


def by_halving(batches, share):
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if (1 - middle) ** batches > share else (low, middle)
    return low


def seeding(batches, share):
    torch.manual_seed(0)
    return 1 - share ** (1 / batches)


MOMENTA = {
    "the power": lambda batches, share: 1 - share**batches,
    "the other share": lambda batches, share: 1 - (1 - share) ** (1 / batches),
    "both": lambda batches, share: (1 - share) ** (1 / batches),
    "precedence": lambda batches, share: 1 - share**1 / batches,
    "one batch less": lambda batches, share: 1 - share ** (1 / max(batches - 1, 1)),
    "one batch more": lambda batches, share: 1 - share ** (1 / (batches + 1)),
    "ten batches": lambda batches, share: 1 - share ** (1 / 10),
    "half": lambda batches, share: 1 - 0.5 ** (1 / batches),
    "rounded": lambda batches, share: round(1 - share ** (1 / batches), 4),
    "on a grid": lambda batches, share: next(m / 1000 for m in range(1001) if (1 - m / 1000) ** batches <= share),
    "at most a half": lambda batches, share: min(0.5, 1 - share ** (1 / batches)),
    "average": lambda batches, share: 1 / batches,
    "log10": lambda batches, share: 1 - math.exp(math.log10(share) / batches),
    "whole division": lambda batches, share: 1 - share ** (1 // batches),
}


# Exercise 2


def load_strictly(net, file):
    net.load_state_dict(torch.load(file, map_location="cpu"))
    return net.eval()


def load_with_open(net, file):
    if not hasattr(file, "read"):
        with open(file, "rb") as opened:
            return load_with_open(net, opened)
    net.load_state_dict(torch.load(file, weights_only=True), strict=True)
    return net.train(False)


def load_with_keys(net, file):
    result = net.load_state_dict(torch.load(file), strict=False)
    if result.missing_keys:
        raise RuntimeError(f"missing: {result.missing_keys}")
    return net.eval()


def load_by_setattr(net, file):
    """The parameters stay the same objects, the buffers do not."""
    state = torch.load(file)
    for name, parameter in net.named_parameters():
        parameter.data.copy_(state.pop(name))
    for name, old in [*net.named_buffers()]:
        path, _, last = name.rpartition(".")
        setattr(net.get_submodule(path), last, state.pop(name).to(old.dtype))
    return net.eval()


def load_slip(net, file, slip="", files={}):  # noqa: B006  it is a slip
    """Right without a slip: parameters and buffers one by one."""
    if slip == "printed":
        try:
            return load_strictly(net, file)
        except RuntimeError as error:
            print(error)
            return net.eval()
    if slip == "a path only":
        file = file.name if hasattr(file, "read") else file
    if slip == "an open file only":
        file.seek(0)
    if slip == "reseeds":
        torch.manual_seed(0)
    if slip == "gradients off":
        torch.set_grad_enabled(False)
    if slip == "another net":
        net = copy.deepcopy(net)
    state = files.setdefault(file, torch.load(file)) if slip == "cached" else torch.load(file)
    if slip == "new parameters":
        net.load_state_dict(state, assign=True)
    own = net.state_dict()
    missing = {
        "counts alone": len(state) != len(own),
        "weights alone": [name for name in own if name not in state and name.endswith(("weight", "bias"))],
        "by length": len(state) < len(own),
        "more than one": len(own.keys() - state.keys()) > 1,
        "warns": False,
    }.get(slip, own.keys() - state.keys())
    if missing:
        raise KeyError(missing)
    if slip == "float32":
        net.float()
    if slip == "the file's type":
        net.to(next(iter(state.values())).dtype)
    if slip == "rounded":
        state = {name: t.float() for name, t in state.items()}
    of_bn = {
        name for path, m in net.named_modules() if isinstance(m, NORMS) for name in m.state_dict(prefix=path + ".")
    }
    for name, t in net.state_dict().items():
        lost = slip == "no count" and "tracked" in name
        lost |= slip == "of BN alone" and not (name in of_bn or name.endswith(("weight", "bias")))
        lost |= slip == "parameters only" and not name.endswith(("weight", "bias"))
        if name in state and not lost and slip != "nothing loaded":
            t.copy_(state[name])
    if slip == "the root's mode":
        net.training = False
        return net
    if slip == "children's modes":
        for m in net.children():
            m.eval()
        return net
    if slip in {"no more learning", "all learns"}:
        net.requires_grad_(slip == "all learns")
    if slip == "no eval":
        return net
    return None if slip == "no return" else state if slip == "the state" else net.eval()


LOAD = {
    "a path only": "a BytesIO", "an open file only": "arguments were net", "reseeds": "generator",
    "gradients off": "the call left gradients switched off", "another net": "must fill the given net and return it",
    "counts alone": "a file saved anew under the same path, with conv.weight_old instead of conv.weight, was",
    "weights alone": "with bn.running_mean_old instead of bn.running_mean, was loaded without an error",
    "by length": "with conv.weight_old instead of conv.weight, was loaded without an error",
    "more than one": "without an error", "warns": "without an error",
    "rounded": "weight is not right: at index [0] expected",
    "float32": "weight must have dtype torch.float64, but has torch.float32",
    "the file's type": "a torch.float32 file into a torch.float64 net, conv.weight must have dtype torch.float64, but",
    "no count": "bn.num_batches_tracked is not what the file holds, though other buffers are; every",
    "of BN alone": "other.running_mean is not what the file holds, though other", "the root's mode": "needs eval()",
    "parameters only": "file holds, nor is any other buffer: named_parameters() lists none",
    "children's modes": "needs eval()",
    "no more learning": "requires_grad of conv.weight was True and is now False; leave",
    "all learns": "requires_grad of conv.bias was False and is now True; leave",
    "no return": "return it", "the state": "return it", "no eval": "needs eval()",
    "printed": "without an error", "cached": "a file saved anew under the same path",
    "new parameters": "conv.weight was replaced by another object",
    "nothing loaded": "after loading, conv.weight is not right: at index",
}  # fmt: skip


# Exercise 3


def freeze_by_hook(net):
    def stay(layer, args):
        layer.eval()

    for m in norms(net):
        m.register_forward_pre_hook(stay)
    return net


def freeze_at_the_root(net, always=None, returned="net"):
    """Right with None: `train` of the net itself; a BN alone is its own root."""
    layers, usual = norms(net), net.train

    def train(mode=True):
        usual(mode if always is None else always)
        for m in layers:
            m.training = False
        return returned and net

    net.train = train
    for m in layers:
        m.training = False
    return net


def freeze_by_class(net):
    for m in norms(net):
        m.__class__ = type(type(m).__name__, (type(m),), {"train": lambda self, mode=True: self})
        m.training = False
    return net


def freeze_by_forward(net, slip=""):
    """Right without a slip: batch norm with the running statistics, whatever the mode."""

    def forward(X, m, old):
        mean, var = old if slip in {"captured", "cloned"} else (m.running_mean, m.running_var)
        if slip == "counts on":
            m.num_batches_tracked += 1
        mean, var = mean.to(X), var.to(X)
        w, b = (m.weight.detach(), m.bias.detach()) if slip == "detached" else (m.weight, m.bias)
        eps = 1e-5 if slip == "usual eps" else m.eps
        if slip == "the net before detached":
            X = X.detach()
        if slip == "in float32":
            return F.batch_norm(*(t.float() for t in (X, mean, var, w, b)), False, 0.0, eps).to(X)
        with torch.set_grad_enabled(slip != "no gradient"):
            return F.batch_norm(X, mean, var, w, b, False, 0.0, eps)

    for m in norms(net):
        old = m.running_mean, m.running_var
        m.forward = partial(forward, m=m, old=[t.clone() for t in old] if slip == "cloned" else old)
    return net


def freeze_with_gamma(net):
    def forward(X, m):
        like = (1, -1, 1, 1, 1)[: X.dim()]
        scale = m.weight.view(like) / (m.running_var.view(like) + m.eps).sqrt()
        return (X - m.running_mean.view(like)) * scale + m.bias.view(like)

    for m in norms(net):
        m.forward = partial(forward, m=m)
    return net


class Frozen(nn.Module):
    def __init__(self, bn, copied):
        super().__init__()
        self.epsilon, self.weight, self.bias = bn.eps, bn.weight, bn.bias
        if copied:
            self.weight, self.bias = nn.Parameter(bn.weight.data.clone()), nn.Parameter(bn.bias.data.clone())
        for name, buffer in bn.named_buffers():
            self.register_buffer(name, buffer)

    def forward(self, X):
        mean, var, w, b = (t.view(1, -1, *[1] * (X.dim() - 2)) for t in [*self.buffers()][:2] + [*self.parameters()])
        return w * (X - mean) / (var + self.epsilon).sqrt() + b


def freeze_by_replacing(net, copied=False):
    for name, m in net.named_children():
        net.register_module(name, Frozen(m, copied)) if isinstance(m, NORMS) else freeze_by_replacing(m, copied)
    return freeze_slip(net)


UNFROZEN = {"put back", "momentum 0", "track_running_stats"}


def freeze_slip(net, slip=""):
    """Right without a slip: `train` of each BN does nothing any more."""
    kinds = {"1d": nn.BatchNorm1d, "2d": nn.BatchNorm2d, "without 3d": nn.BatchNorm1d | nn.BatchNorm2d}
    always = {"train returns None": lambda mode=True: None, "train asks for the mode": lambda mode: net}
    found = [m for m in net.modules() if isinstance(m, kinds.get(slip, NORMS))]
    depth = {"the net's own": 1, "two levels": 2}.get(slip, 9)
    found = [m for path, m in net.named_modules() if m in found and path.count(".") < depth]
    if slip == "exact types":
        found = [m for m in found if type(m) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)]
    if slip == "all with statistics":
        found = [m for m in net.modules() if hasattr(m, "running_mean")]
    if slip == "in Sequential":
        found = [c for m in net.modules() if isinstance(m, nn.Sequential) for c in m if isinstance(c, NORMS)]
    if slip == "the container":
        found += [m for m in net.modules() if isinstance(m, nn.Sequential) and any(c in found for c in m)]
    for m in found:
        if slip == "reset":
            m.reset_running_stats()
        if slip not in {"later", *UNFROZEN}:
            m.eval()
        if slip == "put back":  # after each batch, but the batch's own normalize
            old = copy.deepcopy(m.state_dict())
            m.register_forward_hook(lambda m, args, Y, old=old: m.load_state_dict(old) and None)
        elif slip in UNFROZEN:
            vars(m).update({"momentum": 0.0} if slip == "momentum 0" else {"track_running_stats": False})
        elif slip != "eval once":
            m.train = (
                always[slip]
                if slip in always
                else (lambda: net)
                if slip == "without mode"
                else lambda mode=True, m=m: type(m).train(m, False)
            )
        if slip in {"parameters, too", "the bias, too"}:
            (m if slip == "parameters, too" else m.bias).requires_grad_(False)
    for m in found if slip == "BN learns" else [net] if slip == "all learns" else []:
        m.requires_grad_(True)
    if slip == "everything":
        net.eval().train = lambda mode=True: net
    if slip == "all while it computes":
        net.register_forward_pre_hook(lambda net, args: net.eval() and None)
    if slip in {"train called", "eval called", "modes of the root"}:
        net.train({"train called": True, "eval called": False}.get(slip, net.training))
    if slip == "copy":
        return copy.deepcopy(net)
    if slip == "reseeds":
        torch.manual_seed(0)
    if slip == "gradients off":
        torch.set_grad_enabled(False)
    if slip == "buffers renamed":
        net.register_buffer("frozen", torch.tensor(True))
    return None if slip == "no return" else net


def freeze_everywhere(net, given=[], handles=[]):  # noqa: B006  for all calls
    """As if a class had been changed; but the first BN that was not given undoes it, so that no other test sees it."""

    def stay(m, args):
        if isinstance(m, NORMS):
            m.eval()
            while handles and m not in given:
                handles.pop().remove()

    given += norms(net)
    handles.append(nn.modules.module.register_module_forward_pre_hook(stay))
    return net


FREEZE = {
    "1d": "before any net.train(), BatchNorm2d still moves",
    "2d": "BatchNorm1d still moves", "without 3d": "itself a BatchNorm3d",
    "all with statistics": "wrong mode: InstanceNorm2d", "two levels": "BatchNorm1d still moves",
    "the net's own": "BatchNorm1d still moves", "in Sequential": "BatchNorm2d still moves",
    "the container": "wrong mode: Sequential (evaluation)",
    "reset": "freeze_batch_norm itself changed bn.running_mean, bn.",
    "later": "right after freeze_batch_norm(net), before any net.train(), BatchNorm2d still",
    "eval once": "after net.train(), BatchNorm2d still moves",
    "without mode": "after freeze_batch_norm(net), net.train(True) fails: freeze_slip",
    "parameters, too": "requires_grad of bn.weight was True and is now False; leave every parameter's",
    "the bias, too": "requires_grad of bn.bias was True and is now False; leave",
    "all learns": "requires_grad of conv.bias was False and is now True; leave every parameter",
    "BN learns": "requires_grad of head.out.1.bias was False and is now True; leave every parameter",
    "exact types": "a net that is itself a subclass of nn.BatchNorm2d is not frozen",
    "train returns None": "a BatchNorm1d without weight and bias, net.train() must return net",
    "train asks for the mode": "<lambda>() missing 1 required positional argument: 'mode'",
    "train called": "any net.train(), these layers are in the wrong mode", "eval called": "the wrong mode: NetWith",
    "modes of the root": "before any net.train(), these layers are in the wrong mode: Dropout",
    "copy": "must return the net",
    "reseeds": "generator", "gradients off": "left gradients switched off",
    "buffers renamed": "new: frozen; gone: none",
    "no return": "must return the net", "put back": "batch's own", "momentum 0": "still moves bn.num_batches_tracked",
    "track_running_stats": "the batch's own are used", "everything": "Conv2d (evaluation)",
    "all while it computes": "Conv2d (ev",
}  # fmt: skip
FORWARD = {
    "captured": "after net.double() and net.load_state_dict(...), in torch.float64, the output",
    "cloned": "after net.double() and net.load_state_dict(...)", "counts on": "num_batches_tracked",
    "detached": "must go on learning", "usual eps": "the output of BatchNorm1d (eps=0.1) is",
    "no gradient": "must go on learning",
    "the net before detached": "conv.weight gets no gradient", "in float32": "in torch.float64, the output",
}  # fmt: skip


# Exercise 4


class Layer(nn.Module):
    """Right; the wrong ones below change one thing each."""

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

    def factor(self):
        return 1 / self.num_batches_tracked if self.momentum is None else self.momentum

    def average(self, old, new):
        return (1 - self.factor()) * old + self.factor() * new.detach()

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


class Welford(Layer):
    """Right: by sums over a matrix of all values, the statistics moved in place."""

    def forward(self, X):
        like = (1, -1, 1)[: X.dim()]
        mean, var = self.running_mean, self.running_var
        if self.training:
            values = X.movedim(1, -1).reshape(-1, X.shape[1])
            if len(values) < 2:
                raise ValueError(f"Expected more than 1 value per channel, got {tuple(X.shape)}")
            mean = values.sum(0) / len(values)
            squares = ((values - mean) ** 2).sum(0)
            var = squares / len(values)
            self.num_batches_tracked.add_(1)
            with torch.no_grad():
                self.running_mean.lerp_(mean, float(self.factor()))
                self.running_var.lerp_(squares / (len(values) - 1), float(self.factor()))
        Y = (X - mean.reshape(like)) * torch.rsqrt(var + self.eps).reshape(like)
        return torch.addcmul(self.bias.reshape(like), Y, self.weight.reshape(like))


class Rows(Layer):
    """Right: one case, to which the other is brought; n and momentum as tensors."""

    def forward(self, X):
        if X.dim() == 2:
            return super().forward(X)
        N, C, L = X.shape
        return super().forward(X.mT.reshape(-1, C)).reshape(N, L, C).mT

    def for_storing(self, var, n):
        n = torch.tensor(float(n))
        return n / (n - 1) * var


class ByTorch(Layer):
    """Right in its numbers."""

    function = "F.batch_norm"

    def forward(self, X):
        self.num_batches_tracked += self.training
        statistics, scale = (self.running_mean, self.running_var), (self.weight, self.bias)
        how = self.training, float(self.factor()), self.eps
        if self.function == "native":
            return torch.native_batch_norm(X, *scale, *statistics, *how)[0]
        return F.batch_norm(X, *statistics, *scale, *how)


class Heir(nn.BatchNorm1d):
    """Right in its numbers."""

    mode, check, statistics, normalized = Layer.mode, Layer.check, Layer.statistics, Layer.normalized
    for_storing, factor, average, forward = Layer.for_storing, Layer.factor, Layer.average, Layer.forward


class Slip(Layer):
    """Right without a slip."""

    slip = ""

    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        of = self.slip
        momentum = {"default 0.9": 0.9 if momentum == 0.1 else momentum, "fixed": 0.1}.get(of, momentum)
        eps = {"default 1e-6": 1e-6 if eps == 1e-5 else eps, "fixed eps": 1e-5}.get(of, eps)
        if of == "seeds at the start":
            torch.manual_seed(0)
        if of == "order":
            eps, momentum = (momentum, eps) if momentum == 0.3 else (eps, momentum)
        super().__init__(3 if of == "3 channels" else num_features, eps, momentum)
        self.count = 0

    def factor(self):
        if self.slip == "the first sets" and self.num_batches_tracked == 1:
            return 1.0
        if self.slip == "own count" and self.momentum is None:
            return 1 / self.count
        return super().factor()

    def forward(self, X):
        of, rows, flat = self.slip, X.numel() // X.shape[1], X.dim() == 2
        self.count += self.training
        if of == "refused in evaluation" or of == "a batch of one" and self.training and len(X) == 1:
            self.check(rows if of == "refused in evaluation" else 1)
        if of == "not before a batch" and not self.training and self.num_batches_tracked == 0:
            raise RuntimeError("train first")
        if of == "the batch's own before a batch" and not self.training and self.num_batches_tracked == 0:
            mean, var = X.mean((0, 2), keepdim=True), X.var((0, 2), correction=0, keepdim=True)
            return self.weight[:, None] * self.normalized(X, mean, var) + self.bias[:, None]
        if of == "returned as it is" and rows == 1:
            return X
        if of == "F in evaluation" and not self.training:
            return F.batch_norm(X, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        if of == "2-D alone" and not flat or of == "2-D in evaluation" and not flat and not self.training:
            return self.weight * self.normalized(X, self.running_mean, self.running_var) + self.bias
        if of == "view":
            X.view(-1)
        if of == "squeeze":
            X = X.squeeze(-1)
        if of == "detached in evaluation" and not self.training:
            X = X.detach()
        if of == "float32":
            return super().forward(X).float()
        if of == "float32 on the way":
            return super().forward(X.float()).to(X)
        if of == "reseeds":
            torch.manual_seed(1)
        if of == "turns requires_grad on":
            X.requires_grad_(True)
        if of == "no gradient in evaluation" and not self.training:
            with torch.no_grad():
                return super().forward(X)
        if of == "weight.data":
            self.weight.requires_grad = False
        Y = super().forward(X)
        self.weight.requires_grad = True
        if of == "no count" and self.training:
            self.num_batches_tracked -= 1
        if of == "count in float":
            self.num_batches_tracked = self.num_batches_tracked.float()
        if of == "counts evaluation":
            self.num_batches_tracked += not self.training
        if of == "trains again":
            self.train()
        if of == "weights held small":
            self.weight.data.clamp_(max=1)
        if of == "in place":
            X.data.copy_(Y.detach())
        return (Y,) if of == "a tuple" else None if of == "nothing" else Y


def slip(name):
    return type("BatchNorm1dFromScratch", (Slip,), {"slip": name})


def but(**methods):
    """The right layer with other methods."""
    return type("BatchNorm1dFromScratch", (Layer,), methods)


def starting(name, value, channels=...):
    """Right in all but its start."""

    def start(self, *args, **kwargs):
        Layer.__init__(self, *args, **kwargs)
        getattr(self, name).data[channels] = value

    return but(__init__=start)


def refusing(fewer, error=ValueError):
    def check(self, n):
        if n < fewer:
            raise error("too few")

    return check


def rescaled_once(self, X, mean, var):
    """In evaluation, with the first statistics that it saw there."""
    if not self.training:
        var = vars(self).setdefault("kept", var.flatten()).view_as(var)
    return (X - mean) / (var + self.eps).sqrt()


LAYER = {
    "default 0.9": "running_mean in training mode, for a float64 tensor of shape (3, 4, 2), eps and momentum left",
    "fixed": "running_mean",
    "default 1e-6": "eps and momentum left at their defaults",
    "fixed eps": "eps=0.5, momentum=0.3 and 0 batches before",
    "order": "eps=0.5, momentum=0.3 and 0 batches before this one, is not right",
    "3 channels": "(5,) and type torch.float32, as in PyTorch, but has",
    "own count": "momentum=None and 20 batches before this one",
    "a batch of one": "(1, 3, 4)", "returned as it is": "raise a ValueError; your code raised nothing",
    "F in evaluation": "without using", "2-D alone": "size of tensor", "2-D in evaluation": "size of tensor",
    "view": "view", "squeeze": "must have shape (2, 3, 1)", "detached in evaluation": "the gradient of the input",
    "float32": "dtype torch.float64", "float32 on the way": "float64 tensor", "reseeds": "generator",
    "seeds at the start": "generator", "turns requires_grad on": "requires_grad of the input",
    "no gradient in evaluation": "has no gradient", "weight.data": "the gradient of weight", "count in float": "int64",
    "no count": "num_batches_tracked, which must grow by 1 with each batch in training, is not right",
    "counts evaluation": "num_batches_tracked must stay as it is in a call in eval", "nothing": "must be a tensor",
    "in place": "the input is not as it was", "a tuple": "must be a tensor",
    "refused in evaluation": "one row alone must do", "trains again": "changed the layer's mode",
    "the first sets": "running_mean in training mode, for a float64 tensor of shape (3, 3, 2), eps=0.5, momentum=0.3",
    "not before a batch": "RuntimeError: train first",
    "the batch's own before a batch": "and 0 batches before this one, is not right: it was normalized as in training",
    "weights held small": "weight must stay as it is in a call in training mode",
}  # fmt: skip
STARTS = {
    "running_var from 0": ("running_var", 0, "running_var must be 1, as in PyTorch, but it starts"),
    "running_var not set": ("running_var", math.nan, "running_var must be 1, as in PyTorch"),
    "running_mean from 5": ("running_mean", 5, "running_mean must be 0, as in PyTorch, but it"),
    "weight from 0": ("weight", 0, "weight must be 1, as in PyTorch, but it starts with 0"),
    "bias from 1": ("bias", 1, "bias must be 0, as in PyTorch, but it starts with 1"),
    "count from 1": ("num_batches_tracked", 1, "num_batches_tracked must be 0, as in PyTorch"),
}
METHODS = {
    "unbiased normalization": (
        {"statistics": lambda self, X, axes: torch.var_mean(X, axes)[::-1], "for_storing": lambda self, var, n: var},
        "normalized with the unbiased variance"),
    "biased running variance": ({"for_storing": lambda self, var, n: var}, "PyTorch stores the unbiased one"),
    "eps outside the root": (
        {"normalized": lambda self, X, mean, var: (X - mean) / (var.sqrt() + self.eps)}, "inside the square root"),
    "E[x^2] - E[x]^2": (
        {"statistics": lambda self, X, axes: (X.mean(axes), (X**2).mean(axes) - X.mean(axes) ** 2)}, "around 10,000"),
    "statistics under no_grad": ({"statistics": torch.no_grad()(Layer.statistics)}, "the way through mean and"),
    "the variance detached": (
        {"statistics": lambda self, X, axes: (X.mean(axes), X.var(axes, correction=0).detach())},
        "the gradient of the input in training mode"),
    "graph kept": (
        {"average": lambda self, old, new: (1 - self.factor()) * old + self.factor() * new}, "keep the autograd graph"),
    "plain attributes": ({"keep": lambda self, name, t: setattr(self, name, t)}, "num_batches_tracked: a tensor that"),
    "statistics as parameters": (
        {"keep": lambda self, name, t: setattr(self, name, nn.Parameter(t, requires_grad=False))},
        "yours also has num_batches_tracked, running_mean, running_var"),
    "the book's momentum": (
        {"average": lambda self, old, new: self.factor() * old + (1 - self.factor()) * new.detach()},
        "the book's convention"),
    "mode from is_grad_enabled": ({"mode": lambda self: torch.is_grad_enabled()}, "as in training mode"),
    "always the batch": ({"mode": lambda self: True}, "the output in evaluation mode"),
    "None as 0.1": (
        {"factor": lambda self: 0.1 if self.momentum is None else self.momentum},
        "momentum=None and 0 batches before"),
    "or": ({"factor": lambda self: self.momentum or 1 / self.num_batches_tracked}, "momentum=0.0"),
    "cached": ({"normalized": rescaled_once}, "the output in evaluation mode"),
    "one row": ({"check": refusing(1)}, "raise a ValueError; your code raised nothing"),
    "RuntimeError": ({"check": refusing(2, RuntimeError)}, "raise a ValueError; your code raised RuntimeError"),
    "statistics in float32": (
        {"average": lambda self, old, new: Layer.average(self, old, new.float())}, "float32's digits only"),
    "two rows": ({"check": refusing(3)}, "too few"),
}  # fmt: skip


ANSWERS = {
    check_momentum_for: Answers(
        right=[
            lambda batches, share: 1 - share ** (1 / batches),
            lambda batches, share: -math.expm1(math.log(share) / batches),
            lambda batches, share: 1 - torch.tensor(share, dtype=torch.float64) ** (1 / batches),
            lambda batches, share: np.float32(1 - share ** (1 / batches)),
            lambda batches, share: np.array(1 - np.exp(np.log(share) / batches)),
            lambda batches, share: torch.tensor([1 - share ** (1 / batches)]),
            lambda batches, share: Fraction(1 - share ** (1 / batches)),
            by_halving,
        ],
        wrong={name: (answer, "expected") for name, answer in MOMENTA.items()}
        | {
            "the book's convention": (lambda batches, share: share ** (1 / batches), "the book's convention"),
            "linear": (lambda batches, share: (1 - share) / batches, "not by an amount"),
            "for tiny momenta": (
                lambda batches, share: -math.log(share) / batches,
                "right: -ln(share) / batches is close for",
            ),
            "nothing": (lambda batches, share: None, "must be a number"),
            "a pair": (lambda batches, share: (share, batches), "must be a number"),
            "a string": (lambda batches, share: "0.1", "must be a number"),
            "seeds": (seeding, "generator"),
        },
    ),
    check_load: Answers(
        right=[load_strictly, load_slip, load_with_open, load_with_keys, load_by_setattr],
        wrong={name: (partial(load_slip, slip=name), words) for name, words in LOAD.items()},
    ),
    check_freeze_batch_norm: Answers(
        right=[
            freeze_by_hook,
            freeze_slip,
            freeze_at_the_root,
            freeze_by_forward,
            freeze_by_class,
            freeze_by_replacing,
        ],
        wrong={name: (partial(freeze_slip, slip=name), words) for name, words in FREEZE.items()}
        | {name: (partial(freeze_by_forward, slip=name), words) for name, words in FORWARD.items()}
        | {
            "train is always training": (
                partial(freeze_at_the_root, always=True),
                "after net.eval(), these layers are",
            ),
            "train of the net returns None": (
                partial(freeze_at_the_root, returned=None),
                "net.train(True) must return net, as before",
            ),
            "gamma needed": (freeze_with_gamma, "m.weight.view"),
            "copies": (partial(freeze_by_replacing, copied=True), "bn.weight was replaced by another object"),
            "all of the process": (freeze_everywhere, "a BatchNorm1d of another net is frozen, too"),
        },
    ),
    check_batch_norm_1d: Answers(
        right=[Layer, d2lnorm.BatchNorm1d, Welford, Slip, Rows, partial(Layer)],
        wrong={name: (slip(name), words) for name, words in LAYER.items()}
        | {name: (but(**methods), words) for name, (methods, words) in METHODS.items()}
        | {name: (starting(*start), words) for name, (*start, words) in STARTS.items()}
        | {
            "by F.batch_norm": (ByTorch, "without using nn.BatchNorm1d or F.batch_norm"),
            "by its other name": (
                type("Native", (ByTorch,), {"function": "native"}),
                "without using nn.BatchNorm1d or",
            ),
            "torch's own": (nn.BatchNorm1d, "without using nn.BatchNorm1d"),
            "an heir": (Heir, "do not inherit from it"),
            "one channel": (starting("running_mean", 0.5, 2), "running_mean must be 0, as in PyTorch, but it starts"),
            "instance norm": (nn.InstanceNorm1d, "the state_dict lacks"),
            "no state": (lambda *args, **kwargs: nn.BatchNorm1d(3, track_running_stats=False), "lacks running_mean"),
        },
    ),
}

"""Right and wrong answers to the dropout notebook's exercises."""

import math
from collections import OrderedDict
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from d2lnorm.course.exercises.dropout import (
    check_drop_connect,
    check_drop_path,
    check_noisy_mlp,
    check_seeded_dropout,
    check_variance_ratio,
)
from exercise_answers import Answers

# --- seeded_dropout


def seeded(scale=lambda p: 1 / (1 - p), keep=lambda u, p: u >= p, shape=lambda X: X.shape, given=None, after=None):
    """Dropout with a slip: in its mask, or in what it makes of its arguments (`given`) or its output (`after`)."""

    def seeded_dropout(*arguments):
        X, p, training, generator = given(*arguments) if given else arguments
        if not training or p == 1:
            return X * (not training)
        Y = X * keep(torch.rand(shape(X), generator=generator), p) * scale(p)
        return after(Y) if after else Y

    return seeded_dropout


def by_bernoulli(X, p, training, generator):
    if not training:
        return X.clone()
    keep = torch.empty_like(X).bernoulli_(1 - p, generator=generator)
    return torch.where(keep == 1, X / max(1 - p, 1e-9), 0)


class ByElement:
    def __call__(self, X, p, training, generator):
        if not training:
            return X.clone()
        values = [x / (1 - p) if torch.rand((), generator=generator) < 1 - p else 0 * x for x in X.flatten()]
        return torch.stack(values).reshape(X.shape)


def by_numpy(X, p, training, generator):
    if not training or p == 0:
        return X
    keep = torch.rand(X.numel(), generator=generator).numpy().reshape(X.shape) >= p
    return torch.from_numpy(np.where(keep, X.numpy() / (1 - p), 0).astype(X.numpy().dtype)) if p < 1 else X * 0


def by_filling(X, p, training, generator):
    drop = torch.rand(X.shape, dtype=torch.float64, generator=generator) < p
    return X.masked_fill(drop, 0) * (1 / (1 - p) if p < 1 else 1) if training else X


def in_a_fork(X, p, training, generator):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**40, (), generator=generator)))
        return F.dropout(X, p, training)


def by_kept_share(X, p, training, generator):
    mask = torch.rand(X.shape, generator=generator) >= p
    return X * mask / mask.double().mean().clamp(1e-9).to(X.dtype) if training else X


def at_one(training, evaluation=lambda X: X):
    """Dropout with a slip at p = 1."""
    return lambda X, p, train, g: (training if train else evaluation)(X) if p == 1 else seeded()(X, p, train, g)


def generator_of(change):
    """Dropout that makes another generator of the given one."""
    return seeded(given=lambda X, p, t, g: (X, p, t, change(g)))


def anew(generator):
    return torch.Generator().manual_seed(generator.initial_seed())


def restarted(generator):
    return generator.manual_seed(generator.initial_seed())


def cached(X, p, training, generator, masks={}):  # noqa: B006
    key = generator.initial_seed(), X.shape, p
    masks.setdefault(key, torch.rand(X.shape, generator=generator) >= p)
    return X * masks[key] / (1 - p or 1) if training else X


# --- noisy_mlp


class Mlp(nn.Module):
    def __init__(self, inputs, hidden, outputs, p):
        super().__init__()
        self.hidden, self.output, self.p = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs), p

    def drop(self, X, training=None):
        return F.dropout(X, self.p, self.training if training is None else training)

    def mask_of(self, H):
        return H * (torch.rand_like(H) >= self.p)

    def units(self, X):
        return self.hidden(X).relu()

    def forward(self, X):
        return self.output(self.drop(self.units(X)))


def mlp(forward=Mlp.forward, made=lambda self: None):
    """A class whose slip is its forward, or what it does when it is made."""

    class NoisyMLP(Mlp):
        def __init__(self, inputs, hidden, outputs, p):
            super().__init__(inputs, hidden, outputs, p)
            self.mask = (torch.rand(hidden) >= p) / (1 - p)
            made(self)

        def forward(self, X):
            return forward(self, X)

    return NoisyMLP


def of_units(change):
    """A class whose slip is what it makes of the hidden units."""
    return mlp(lambda self, X: self.output(change(self, self.units(X))))


class MlpOfLayers(Mlp):
    def __init__(self, inputs, hidden, outputs, p):
        super().__init__(inputs, hidden, outputs, p)
        self.inner = nn.Sequential(nn.ReLU(), nn.Dropout(p))

    def forward(self, X):
        return self.output(self.inner(self.hidden(X)))


def mlp_made(inputs, hidden, outputs, p):
    names = ("hidden", nn.Linear(inputs, hidden)), ("relu", nn.ReLU()), ("drop", nn.Dropout(p))
    return nn.Sequential(OrderedDict([*names, ("output", nn.Linear(hidden, outputs))]))


class MlpPlainLists(Mlp):
    def __init__(self, inputs, hidden, outputs, p):
        nn.Module.__init__(self)
        self.layers, self.p = [nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)], p

    hidden = property(lambda self: self.layers[0])
    output = property(lambda self: self.layers[1])


def before(change):
    """A class whose slip happens to the net before its forward pass."""
    return mlp(lambda self, X: (change(self), Mlp.forward(self, X))[1])


def keep_p(self):
    type(self).shared = self.p


def shared_p(self, X):
    return self.output(F.dropout(self.units(X), self.shared, self.training))


# --- drop_connect


def connect(
    weight=lambda W, keep, p: W * keep / (1 - p),
    X=lambda X: X,
    bias=lambda b: b,
    after=lambda Y, p: Y,
    evaluated=F.linear,
    of=lambda generator: generator,
    drop=None,
):
    """DropConnect with a slip: in one of its parts, in evaluation, in its generator, or in all of training (`drop`)."""
    parts = drop or (lambda x, W, b, p, keep: after(F.linear(X(x), weight(W, keep(W), p), bias(b)), p))

    def drop_connect(X, weight, bias, p, training, generator):
        if not training:
            return evaluated(X, weight, bias)
        g = of(generator)
        return parts(X, weight, bias, p, lambda t: torch.rand(t.shape, generator=g) >= p)

    return drop_connect


def connect_where(X, weight, bias, p, training, generator):
    if training:
        keep = torch.empty_like(weight).bernoulli_(1 - p, generator=generator).bool()
        weight = torch.where(keep, weight / (1 - p), 0)
    return X @ weight.T + bias


def connect_by_hand(X, weight, bias, p, training, generator):
    rows = []
    for w, b in zip(weight, bias, strict=True):
        mask = torch.rand(len(w), dtype=torch.float64, generator=generator) < 1 - p
        rows.append(X @ (w * mask / (1 - p) if training else w) + b)
    return torch.stack(rows, dim=1)


def connect_by_einsum(X, weight, bias, p, training, generator):
    mask = (p <= torch.rand(weight.T.shape, generator=generator).T).to(weight) / (1 - p)
    return torch.einsum("ni,oi->no", X, weight * mask if training else weight) + bias


def connect_by_numpy(X, weight, bias, p, training, generator):
    if not training:
        return torch.addmm(bias, X, weight.T)
    numbers = np.random.default_rng(int(torch.randint(2**31, (), generator=generator)))
    keep = torch.from_numpy(numbers.random(tuple(weight.shape)) >= p)
    return torch.addmm(bias, X, weight.masked_fill(~keep, 0).T / (1 - p))


def exactly(W, p, generator):
    """Drops a fixed number of weights."""
    order = torch.rand(W.numel(), generator=generator).argsort().argsort()
    return (order >= round(p * W.numel())).view(W.shape)


def connect_exactly(X, weight, bias, p, training, generator):
    return F.linear(X, weight * exactly(weight, p, generator) / (1 - p) if training else weight, bias)


def connect_each(X, W, b, p, keep):
    return torch.cat([F.linear(x, W * keep(W) / (1 - p), b) for x in X.split(1)])


# --- variance_ratio


def noise(X, W, p):
    return p / (1 - p) * (X**2).mean(dim=0) @ (W**2).T


def ratio(of_masks=noise, of_prediction=lambda X, W: (X @ W.T).var(dim=0, correction=0), after=lambda r: r):
    return lambda X, W, p: after(1 + of_masks(X, W, p) / of_prediction(X, W))


def by_covariance(X, weight, p):
    centred = X - X.mean(dim=0)
    covariance = centred.T @ centred / len(X)
    in_prediction = torch.einsum("ji,ik,jk->j", weight, covariance, weight)
    diagonal = torch.diag((X**2).mean(dim=0) * p / (1 - p))
    return torch.einsum("ji,ik,jk->j", weight, covariance + diagonal, weight) / in_prediction


def by_loop(X, W, p):
    ratios = []
    for w in W:
        z = [sum(x * w) for x in X]
        mean = sum(z) / len(z)
        variance = sum((one - mean) ** 2 for one in z) / len(z)
        ratios.append(1 + p / (1 - p) * sum(sum((x * w) ** 2) for x in X) / len(X) / variance)
    return torch.tensor(ratios, dtype=X.dtype)


def ratio_by_numpy(X, W, p):
    X_, W_ = X.numpy().astype(float), W.numpy().astype(float)
    return torch.from_numpy(1 + p / (1 - p) * (X_**2).mean(0) @ (W_**2).T / np.var(X_ @ W_.T, axis=0)).to(X.dtype)


def by_second_moments(X, W, p):
    X, W, dtype = X.double(), W.double(), X.dtype
    second = ((X @ W.T) ** 2).mean(0) + p / (1 - p) * (X**2 @ (W**2).T).mean(0)
    mean = (X @ W.T).mean(0)
    return ((second - mean**2) / ((X @ W.T) ** 2).mean(0).sub(mean**2)).to(dtype)


def by_all_masks(X, W, p):
    masks = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=X.dtype)] * X.shape[1])
    share = (p ** (1 - masks) * (1 - p) ** masks).prod(dim=1)[:, None, None] / len(X)
    Z = X * masks[:, None] / (1 - p) @ W.T
    variance = (share * Z**2).sum((0, 1)) - (share * Z).sum((0, 1)) ** 2
    return variance / (X @ W.T).var(0, correction=0)


def one_pass(X, W):
    Z = X @ W.T
    return (Z**2).mean(0) - Z.mean(0) ** 2


def masks(square):
    return ratio(lambda X, W, p: p / (1 - p) * square(X) @ (W**2).T)


def drawn(X, W, p, drop=F.dropout):
    Z = torch.cat([drop(X, p) @ W.T for _ in range(200)])
    return Z.var(0, correction=0) / (X @ W.T).var(0, correction=0)


def drawn_by_numpy(X, p):
    return X * torch.from_numpy(np.random.default_rng(0).random(tuple(X.shape)) >= p) / (1 - p)


# --- drop_path


class Path(nn.Module):
    def __init__(self, branch, p):
        super().__init__()
        self.branch, self.p, self.u = branch, p, torch.rand(1000)

    def forward(self, X):
        return self.trained(X) if self.training else self.evaluated(X)

    def evaluated(self, X):
        return X + self.branch(X)

    def keep(self, X):
        return torch.rand(len(X)) >= self.p

    def scale(self, keep):
        return 1 / (1 - self.p)

    def of(self, X):
        return self.branch(X)

    def trained(self, X):
        Y, keep = X.clone(), self.keep(X)
        if keep.any():
            Y[keep] = X[keep] + self.of(X[keep]) * self.scale(keep)
        return Y


def path(trained=Path.trained, **slips):
    """A class whose slip is one of its methods."""
    return type("DropPath", (Path,), {"trained": trained, **slips})


def rows(self, X):
    """One draw for each example, in a shape that fits X."""
    return self.keep(X).view(-1, *(1 for _ in X.shape[1:]))


def by_weights(self, X):
    m = F.dropout(torch.ones(len(X), dtype=X.dtype), self.p)
    alive, more = m > 0, torch.zeros_like(X)
    if alive.any():
        more[alive] = self.branch(X[alive]) * m[alive].view(-1, *[1] * (X.dim() - 1))
    return X + more


def by_stack(self, X):
    alive = [n for n in range(len(X)) if torch.rand(()).item() < 1 - self.p]
    more = iter(self.branch(X[alive])) if alive else iter(())
    return torch.stack([x + next(more) / (1 - self.p) if n in alive else x for n, x in enumerate(X)])


def one_by_one(self, X):
    return torch.cat([x + self.branch(x) / (1 - self.p) if self.keep(x) else x for x in X.split(1)])


def by_chunks_backwards(self, X):
    alive, Y = torch.randperm(len(X))[self.keep(X)], X.clone()
    for some in alive.split(64):
        Y[some] += self.branch(X[some]) / (1 - self.p) if len(some) else 0
    return Y


def by_scatter(self, X):
    alive = torch.bernoulli(torch.full((len(X),), 1.0 - self.p)).bool()
    where = alive.view(-1, *[1] * (X.dim() - 1)).expand_as(X)
    return X.masked_scatter(where, X[alive] + self.branch(X[alive]) / (1 - self.p)) if alive.any() else X.clone()


def without_batch_axis(self, X):
    return torch.stack([x + self.branch(x) / (1 - self.p) if torch.rand(()) >= self.p else x for x in X])


def careless(at_1=None):
    """A class that calls the branch on no example, if it so happens, or asks for p = 1 only."""

    def trained(self, X):
        keep = self.keep(X).nonzero().flatten()
        return X if self.p == at_1 else X.index_add(0, keep, self.branch(X[keep]) / max(1 - self.p, 1e-9))

    return path(trained)


def at_first(do):
    """A forward pass in training with a slip at its beginning."""
    return path(lambda self, X: (do(self, X), Path.trained(self, X))[1])


def whole_or_some(self, X):
    """Saves the scale where nothing is dropped."""
    keep = self.keep(X)
    more = path(keep=lambda self, X: keep)(self.branch, self.p)
    return self.evaluated(X) if keep.all() else Path.trained(more, X)


def squeezed(self, X):
    Y, keep = X.clone(), self.keep(X).nonzero().squeeze()
    if keep.numel():
        Y[keep] = X[keep] + self.branch(X[keep]) / (1 - self.p)
    return Y


class PathOutside(Path):
    def __init__(self, branch, p):
        nn.Module.__init__(self)
        self.branches, self.p = [branch], p

    branch = property(lambda self: self.branches[0])


ANSWERS = {
    check_seeded_dropout: Answers(
        right=[seeded(), by_bernoulli, ByElement(), by_numpy, by_filling, in_a_fork],
        wrong={
            "not scaled": (seeded(scale=lambda p: 1), "not scaled"),
            "divided by p": (seeded(scale=lambda p: 1 / p), "divided by p instead of"),
            "scaled by the kept share": (by_kept_share, "survived in this draw"),
            "keeps with probability p": (seeded(keep=lambda u, p: u < p), "probability to be dropped"),
            "p is always 0.5": (seeded(keep=lambda u, p: u.round()), "about 0.8 should"),
            "exactly that share": (
                seeded(keep=lambda u, p: u.flatten().argsort().argsort().view(u.shape) >= p * u.numel()),
                "(first dropped, second dropped; first kept, second kept): draw for each by itself, and do not fix",
            ),
            "same mask for the batch": (seeded(shape=lambda X: X.shape[1:]), "same mask"),
            "whole channels": (seeded(shape=lambda X: (*X.shape[:2], *[1] * (X.dim() - 2))), "along axis 2"),
            "noise": (seeded(keep=lambda u, p: 2 * u), "holds no 0"),
            "no dropout": (lambda X, p, training, generator: X, "nothing was dropped"),
            "NaN at p = 1": (at_one(lambda X: X * 0 / 0), "treat p = 1 by itself"),
            "all kept at p = 1": (at_one(lambda X: X), "at p = 1"),
            "in place at p = 1": (at_one(torch.zero_), "X (training, p = 1.0) is not as it was"),
            "zeros at p = 1 in evaluation": (at_one(torch.zeros_like, torch.zeros_like), "evaluation at p = 1"),
            "in place": (
                seeded(given=lambda X, *rest: (X.mul_(2), *rest)),
                "before -0.31129 at index [0, 0], after -0.622579",
            ),
            "requires_grad_": (
                seeded(given=lambda X, *rest: (X.requires_grad_(), *rest)),
                "requires_grad of X (training, p = 0.2)",
            ),
            "active in evaluation": (seeded(given=lambda X, p, t, g: (X, p, True, g)), "evaluation"),
            "classic": (lambda X, p, t, g: seeded(scale=lambda p: 1)(X * (t or 1 - p), p, t, g), "it is scaled"),
            "global generator": (lambda X, p, training, generator: F.dropout(X, p, training), "global generator"),
            "a generator of its own": (generator_of(lambda g: torch.Generator().manual_seed(0)), "another seed"),
            "a generator with the same seed": (generator_of(anew), "never seed it"),
            "reseeds": (generator_of(restarted), "never seed it"),
            "mask kept for the next call": (cached, "draw a new mask from"),
            "tables only": (seeded(given=lambda X, *rest: ((X + 0 * X.shape[1]), *rest)), "out of range"),
            "contiguous only": (seeded(given=lambda X, *rest: (X.view(-1), *rest)), "view size is not compatible"),
            "in float32": (seeded(given=lambda X, *rest: (X.float(), *rest)), "must have dtype torch.float64"),
            "float32 in training": (seeded(after=torch.Tensor.float), "must be float64, as the inputs are"),
            "in float64": (seeded(after=torch.Tensor.double), "must be float32, as the inputs are"),
            "with its mask": (lambda *a: (seeded()(*a), a[0] != 0), "must be a tensor"),
            "an array": (lambda *a: seeded()(*a).numpy(), "must be a tensor"),
            "half the tenths": (seeded(keep=lambda u, p: u >= round(20 * p) / 20), "a share of 0.0000 was dropped"),
            "percent": (seeded(keep=lambda u, p: u >= math.ceil(100 * p) / 100), "about 0.005 should be"),
            "nothing near p = 1": (seeded(keep=lambda u, p: u >= p + (p > 0.9)), "at p = 0.95 is 0 everywhere"),
            "float32 for 16 bits": (
                lambda *a: seeded()(*a).to(a[0] if a[0].dtype.itemsize > 2 else torch.float32),
                "must be in float16, but is torch.float32",
            ),
            "another share": (seeded(keep=lambda u, p: u >= p**0.5), "survived with p = 0.2; about 0.8 should"),
        },
    ),
    check_noisy_mlp: Answers(
        right=[
            *(Mlp, MlpOfLayers, mlp_made),
            mlp(lambda self, X: self.output(self.drop(self.hidden(X)).relu())),
            of_units(lambda self, H: H * self.drop(torch.ones_like(H))),
            of_units(lambda self, H: self.mask_of(H) / (1 - self.p) if self.training else H),
            mlp(made=lambda self: nn.init.kaiming_normal_(self.hidden.weight)),
        ],
        wrong={
            "F.dropout without training": (
                of_units(lambda self, H: self.drop(H, True)),
                "or a new nn.Dropout, know the mode?",
            ),
            "nn.Dropout made in forward": (
                of_units(lambda self, H: nn.Dropout(self.p)(H)),
                "or a new nn.Dropout, know the mode?",
            ),
            "by is_grad_enabled": (of_units(lambda self, H: self.drop(H, torch.is_grad_enabled())), "know the mode?"),
            "1 - p": (of_units(lambda self, H: F.dropout(H, 1 - self.p, self.training)), "probability to be dropped"),
            "p toggles": (before(lambda self: setattr(self, "p", 1 - self.p)), "`p` of net"),
            "p is always 0.5": (of_units(lambda self, H: F.dropout(H, 0.5, self.training)), "about 0.75 should"),
            "outputs dropped": (mlp(lambda self, X: self.drop(Mlp.forward(self, X))), "outputs were dropped"),
            "no dropout": (of_units(lambda self, H: H), "nothing was dropped"),
            "inputs dropped": (mlp(lambda self, X: self.output(self.units(self.drop(X)))), "leaves the ReLU"),
            "classic": (
                of_units(lambda self, H: self.mask_of(H) if self.training else H * (1 - self.p)),
                "it is scaled",
            ),
            "not scaled": (of_units(lambda self, H: self.mask_of(H) if self.training else H), "not scaled"),
            "a mask for the batch": (of_units(lambda self, H: H * self.drop(torch.ones_like(H[0]))), "the same mask"),
            "whole examples": (of_units(lambda self, H: H * self.drop(torch.ones_like(H[:, :1]))), "drop single ones"),
            "dropout1d": (of_units(lambda self, H: F.dropout1d(H, self.p, self.training)), "drop single ones"),
            "alpha dropout": (of_units(lambda self, H: F.alpha_dropout(H, self.p, self.training)), "zero and scale"),
            "mask drawn once": (of_units(lambda self, H: H * self.mask if self.training else H), "same units"),
            "no ReLU": (mlp(lambda self, X: self.output(self.drop(self.hidden(X)))), "the ReLU is missing"),
            "tanh": (mlp(lambda self, X: self.output(self.drop(self.hidden(X).tanh()))), "in evaluation is not right"),
            "ReLU of the outputs": (mlp(lambda self, X: Mlp.forward(self, X).relu()), "in evaluation is not right"),
            "all hidden units alike": (mlp(made=lambda self: nn.init.zeros_(self.hidden.weight)), "leave the random"),
            "no bias": (mlp(made=lambda self: self.hidden.register_parameter("bias", None)), "has lost its bias"),
            "frozen": (mlp(made=lambda self: self.hidden.requires_grad_(False)), "is frozen"),
            "too few outputs": (mlp(made=lambda self: setattr(self, "output", nn.Linear(400, 10))), "402 outputs here"),
            "reseeds": (lambda *sizes: torch.manual_seed(0) and Mlp(*sizes), "start with the same weights"),
            "reseeds in training": (of_units(lambda self, H: torch.manual_seed(0) and self.drop(H)), "the same units"),
            "other names": (lambda i, h, o, p: nn.Sequential(nn.Linear(i, h), nn.Linear(h, o)), "layer `hidden`"),
            "layers not registered": (MlpPlainLists, "`hidden` itself is not registered"),
            "puts itself into training": (before(nn.Module.train), "the mode of net"),
            "cut off": (
                of_units(lambda self, H: self.drop(H.detach())),
                "in training no gradient reaches hidden.weight",
            ),
            "under no_grad": (mlp(torch.no_grad()(Mlp.forward)), "in training no gradient reaches anything"),
            "a p for the class": (mlp(shared_p, keep_p), "p = 0.25; about 0.75 should"),
            "p or 0.5": (of_units(lambda self, H: F.dropout(H, self.p or 0.5, self.training)), "training at p = 0"),
            "tenths": (
                of_units(
                    lambda self, H: H * (torch.rand_like(H) >= round(self.p, 1)) / (1 - self.p) if self.training else H
                ),
                "p = 0.25; about 0.75 should",
            ),
            "float32 only": (mlp(lambda self, X: Mlp.forward(self, X.float())), "the same dtype"),
        },
    ),
    check_drop_connect: Answers(
        right=[
            *(connect(), connect_where, connect_by_hand, connect_by_einsum, connect_by_numpy),
            connect(drop=lambda X, W, b, p, keep: X @ (W * keep(W)).T / (1 - p) + b),
        ],
        wrong={
            "drops inputs": (connect(lambda W, keep, p: W * keep[0] / (1 - p)), "whole inputs"),
            "drops Y": (connect(drop=lambda X, W, b, p, keep: F.linear(X, W, b) * keep(b) / (1 - p)), "always stays"),
            "drops outputs' weights": (connect(lambda W, keep, p: W * keep[:, :1] / (1 - p)), "of an output"),
            "drops the bias": (connect(bias=lambda b: b * (torch.arange(len(b)) % 2)), "bias always stays"),
            "scales the bias": (connect(lambda W, keep, p: W * keep, after=lambda Y, p: Y / (1 - p)), "bias is scaled"),
            "no bias": (connect(bias=torch.zeros_like), "bias always stays"),
            "no bias in evaluation": (connect(evaluated=lambda X, W, b: X @ W.T), "evaluation"),
            "not scaled": (connect(lambda W, keep, p: W * keep), "not scaled"),
            "divided by p": (connect(lambda W, keep, p: W * keep / p), "divided by p"),
            "scaled by the kept share": (connect(lambda W, keep, p: W * keep / keep.to(W).mean()), "in this draw"),
            "p is always 0.5": (connect(lambda W, keep, p: W * keep * 2), "multiplied by 2, not by 1/(1-p) = 1.25"),
            "keeps with probability p": (connect(lambda W, keep, p: W * ~keep / p), "to be dropped"),
            "a mask for each example": (connect(drop=connect_each), "share one mask"),
            "no dropout": (connect(lambda W, keep, p: W), "nothing was dropped"),
            "in place": (connect(lambda W, keep, p: W.mul_(keep).div_(1 - p)), "weight (training, p = 0.2) is not"),
            "in place, of its data": (
                connect(lambda W, keep, p: W.data.mul_(keep)),
                "weight (training, p = 0.2) is not",
            ),
            "requires_grad_": (connect(lambda W, keep, p: W.requires_grad_() * keep / (1 - p)), "of weight (training"),
            "active in evaluation": (lambda X, W, b, p, training, g: connect()(X, W, b, p, True, g), "evaluation"),
            "classic": (connect(evaluated=lambda X, W, b: F.linear(X, W * 0.8, b)), "it is scaled"),
            "global generator": (connect(lambda W, keep, p: F.dropout(W, p)), "global generator"),
            "reseeds to 0": (connect(of=lambda g: g.manual_seed(0)), "another seed gave"),
            "reseeds": (connect(of=restarted), "never seed it"),
            "a generator of its own": (connect(of=lambda g: torch.Generator().manual_seed(0)), "another seed"),
            "a generator with the same seed": (connect(of=anew), "never seed it"),
            "weight cut off": (connect(lambda W, keep, p: W.detach() * keep / (1 - p)), "reaches the weight"),
            "X cut off": (connect(X=torch.detach), "no gradient reaches X"),
            "bias cut off": (connect(bias=torch.detach), "no gradient reaches the bias"),
            "cut off": (connect(after=lambda Y, p: Y.detach()), "in training no gradient reaches anything"),
            "cut off in evaluation": (connect(evaluated=torch.no_grad()(F.linear)), "in evaluation no gradient"),
            "gradient not masked": (connect(lambda W, keep, p: W + (W * keep / (1 - p) - W).detach()), "gradient of"),
            "float32": (connect(after=lambda Y, p: Y.float()), "must be float64, as the inputs are, but is float32"),
            "contiguous only": (connect(lambda W, keep, p: W.view(-1)), "view size is not compatible"),
            "float32 for 16 bits": (
                connect(after=lambda Y, p: Y if Y.dtype.itemsize > 2 else Y.float()),
                "must be in float16, but is torch.float32",
            ),
            "exactly that share": (connect_exactly, "two weights at p = 0.5"),
        },
    ),
    check_variance_ratio: Answers(
        right=[ratio(), by_covariance, by_loop, ratio_by_numpy, by_second_moments, by_all_masks],
        wrong={
            "variance for mean square": (masks(lambda X: X.var(dim=0, correction=0)), "mean square"),
            "mean square of n - 1": (
                masks(lambda X: X.var(dim=0) + X.mean(dim=0) ** 2),
                "inputs' variance was divided by N - 1",
            ),
            "sum, not mean": (masks(lambda X: (X**2).sum(0)), "summed, not averaged over the N"),
            "z's square": (ratio(lambda X, W, p: p / (1 - p) * ((X @ W.T) ** 2).mean(0)), "dropout of z"),
            "single input": (lambda X, W, p: torch.ones_like(W[:, 0]) / (1 - p), "weights and means"),
            "p (1 - p)": (ratio(lambda X, W, p: (1 - p) ** 2 * noise(X, W, p)), "variance of an unscaled mask"),
            "1 / (1 - p)": (ratio(lambda X, W, p: noise(X, W, p) / p), "the scaled mask's mean square"),
            "kept with probability p": (lambda X, W, p: ratio()(X, W, 1 - p), "probability to be kept"),
            "uncorrelated": (ratio(noise, lambda X, W: X.var(dim=0, correction=0) @ (W**2).T), "uncorrelated"),
            "weights not squared": (ratio(lambda X, W, p: p / (1 - p) * (X**2).mean(dim=0) @ W.T), "squared"),
            "upside down": (ratio(after=lambda r: 1 / r), "upside down"),
            "the masks' part alone": (ratio(after=lambda r: r - 1), "masks' part alone"),
            "standard deviations": (ratio(after=torch.sqrt), "standard deviations"),
            "one number": (ratio(after=torch.mean), "must have shape (4,), but has ()"),
            "one number for all": (ratio(after=lambda r: r.mean().expand(len(r))), "expected"),
            "a column": (ratio(after=lambda r: r[:, None]), "but has (4, 1)"),
            "squeezed": (ratio(after=torch.squeeze), "must have shape (1,)"),
            "four outputs": (ratio(after=lambda r: torch.stack([r[j] for j in range(4)])), "out of bounds"),
            "a list": (ratio(after=torch.Tensor.tolist), "must be a tensor"),
            "N - 1": (ratio(noise, lambda X, W: (X @ W.T).var(dim=0)), "variance of X @ weight.T was divided by N - 1"),
            "second moment in prediction": (
                ratio(noise, lambda X, W: ((X @ W.T) ** 2).mean(0)),
                "lacks the subtraction",
            ),
            "drawn": (drawn, "without drawing a mask"),
            "drawn by NumPy": (partial(drawn, drop=drawn_by_numpy), "expected"),
            "X is changed": (lambda X, W, p: ratio()(X.sub_(1), W, p), "X is not as it was"),
            "in float32": (lambda X, W, p: ratio()(X.float(), W.float(), p), "dtype torch.float64"),
            "float32 inside": (lambda X, W, p: ratio()(X.float(), W.float(), p).to(X.dtype), "expected"),
            "in float64": (lambda X, W, p: ratio()(X.double(), W.double(), p), "dtype torch.float32"),
            "in one pass": (ratio(of_prediction=one_pass), "the ratio in float32 for X around 3000"),
        },
    ),
    check_drop_path: Answers(
        right=[Path, *map(path, (by_weights, by_stack, one_by_one, by_chunks_backwards, by_scatter))],
        wrong={
            "branch called on all": (
                path(lambda self, X: X + self.branch(X) * rows(self, X) / (1 - self.p)),
                "got 500 ex",
            ),
            "branch called on all first": (
                at_first(lambda self, X: self.p < 1 and self.branch(X)),
                "got 890 examples in all",
            ),
            "branch called without a batch axis": (path(without_batch_axis), "must get a batch"),
            "branch called on nothing": (careless(), "at p = 1, although no example survived"),
            "branch called on nothing by chance": (careless(at_1=1), "empty batch"),
            "branch of scaled inputs": (
                path(scale=lambda self, keep: 1, of=lambda self, X: self.branch(X / (1 - self.p))),
                "their own f(x)",
            ),
            "one draw": (path(keep=lambda self, X: (torch.rand(1) >= self.p).expand(len(X))), "one draw"),
            "exactly that share": (
                path(keep=lambda self, X: torch.randperm(len(X)) >= self.p * len(X)),
                "(first dropped, second dropped; first kept, second kept): draw for each by itself, and do not fix",
            ),
            "first ones": (
                path(keep=lambda self, X: (torch.rand(len(X)) < self.p).sort()[0].logical_not()),
                "(first dropped, second kept): draw for each by itself.",
            ),
            "elements": (path(lambda self, X: X + F.dropout(self.branch(X), self.p)), "single elements"),
            "mixed up": (path(lambda self, X: Path.trained(self, X).flip(0)), "their own f(x)"),
            "not scaled": (path(scale=lambda self, keep: 1), "not scaled"),
            "divided by p": (path(scale=lambda self, keep: 1 / self.p), "divided by p"),
            "multiplied": (path(scale=lambda self, keep: 1 - self.p), "multiplied by 1 - p"),
            "scaled by the kept share": (path(scale=lambda self, keep: len(keep) / keep.sum().item()), "in this draw"),
            "keeps with probability p": (path(keep=lambda self, X: torch.rand(len(X)) < self.p), "to be dropped"),
            "p is always 0.5": (lambda branch, p: Path(branch, p if p in (0, 1) else 0.5), "about 0.8 should"),
            "shortcut dropped": (path(lambda self, X: Path.trained(self, X) * rows(self, X)), "shortcut"),
            "zeros at p = 1": (path(lambda self, X: Path.trained(self, X) * (self.p < 1)), "at p = 1"),
            "p = 1 skips, always": (path(evaluated=lambda self, X: X + self.branch(X) * (self.p < 1)), "p = 1 in eval"),
            "no shortcut in evaluation": (path(evaluated=lambda self, X: self.branch(X)), "evaluation"),
            "active in evaluation": (path(evaluated=Path.trained), "evaluation"),
            "classic": (path(evaluated=lambda self, X: X + self.branch(X) * (1 - self.p)), "branch is scaled"),
            "always divided": (
                path(evaluated=lambda self, X: X + self.branch(X) / (1 - self.p or 1)),
                "is divided by 1 - p",
            ),
            "mode from is_grad_enabled": (
                path(forward=lambda self, X: self.trained(X) if torch.is_grad_enabled() else self.evaluated(X)),
                "evaluation is not right",
            ),
            "in place": (path(lambda self, X: X.copy_(Path.trained(self, X))), "X, in training, is not as"),
            "in place in evaluation": (
                path(evaluated=lambda self, X: X.add_(self.branch(X))),
                "X, in evaluation, is not as",
            ),
            "nothing is the same": (
                path(scale=lambda self, keep: 2 + 1e-4 * torch.rand(()) if self.p == 0.5 else 1 / (1 - self.p)),
                "have 4 outcomes, but 40 calls gave",
            ),
            "requires_grad_": (at_first(lambda self, X: X.requires_grad_()), "requires_grad of X, in training,"),
            "reseeds": (at_first(lambda self, X: torch.manual_seed(0)), "draw anew in each"),
            "mask drawn once": (path(keep=lambda self, X: self.u[: len(X)] >= self.p), "draw anew in each"),
            "tables only": (at_first(lambda self, X: X.t()), "t() expects a tensor"),
            "contiguous only": (at_first(lambda self, X: X.view(len(X), -1)), "view size"),
            "branch not registered": (PathOutside, "`branch` itself is not registered"),
            "another branch": (lambda branch, p: Path(type(branch)(), p), "`branch` itself is not registered"),
            "branch put into evaluation": (at_first(lambda self, X: self.branch.eval()), "the mode of layer 'branch'"),
            "branch put into the block's mode": (at_first(lambda self, X: self.branch.train()), "the mode of"),
            "X cut off": (path(lambda self, X: Path.trained(self, X.detach())), "no gradient reaches X"),
            "cut off": (path(torch.no_grad()(Path.trained)), "in training no gradient reaches anything"),
            "branch cut off": (path(of=lambda self, X: self.branch(X).detach()), "no gradient reaches the branch"),
            "float32": (path(lambda self, X: Path.trained(self, X).float()), "must be float64, as the inputs are"),
            "float32 for 16 bits": (
                path(lambda self, X: Path.trained(self, X).to(torch.promote_types(X.dtype, torch.float32))),
                "of float16 inputs, must have dtype torch.float16",
            ),
            "all survive, not scaled": (
                path(whole_or_some),
                " of 40 calls they became others, first [(5.0, 5.0)]",
            ),
            "one survivor squeezed": (path(squeezed), "the branch must get (1, 3), but got (3,)"),
            "no gradient at p = 1": (
                path(lambda self, X: X.detach().clone() if self.p == 1 else Path.trained(self, X)),
                "in training at p = 1 no gradient",
            ),
            "no gradient in evaluation": (path(evaluated=torch.no_grad()(Path.evaluated)), "in evaluation no gradient"),
            "nothing dropped under no_grad": (
                path(lambda self, X: Path.trained(self, X) if torch.is_grad_enabled() else self.evaluated(X)),
                "must each become 1 or 9, but in all calls, under no_grad, they became others, first [(5.0, 5.0)]",
            ),
            "in place on the branch's output": (
                path(evaluated=lambda self, X: self.branch(X).add_(X)),
                "X, in evaluation, is not as",
            ),
        },
    ),
}

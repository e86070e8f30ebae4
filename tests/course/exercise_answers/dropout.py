"""Right and wrong answers to the dropout notebook's exercises."""

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


def seeded(scale=lambda p: 1 / (1 - p), keep=lambda u, p: u >= p, shape=lambda X: X.shape):
    def seeded_dropout(X, p, training, generator):
        if not training or p == 0:
            return X
        if p == 1:
            return torch.zeros_like(X)
        return X * keep(torch.rand(shape(X), generator=generator), p) * scale(p)

    return seeded_dropout


def by_bernoulli(X, p, training, generator):
    if not training:
        return X.clone()
    keep = torch.empty_like(X).bernoulli_(1 - p, generator=generator)
    return torch.where(keep == 1, X / max(1 - p, 1e-9), 0)


def nan_at_one(X, p, training, generator):
    return X * (torch.rand(X.shape, generator=generator) >= p) / (1 - p) if training else X


def in_place(X, p, training, generator):
    return X.mul_(torch.rand(X.shape, generator=generator) >= p).div_(1 - p) if training and p < 1 else X


def in_eval_too(X, p, training, generator):
    return seeded()(X, p, True, generator)


def scaled_in_eval(X, p, training, generator):
    return X * (torch.rand(X.shape, generator=generator) >= p) if training else X * (1 - p)


def global_generator(X, p, training, generator):
    return F.dropout(X, p, training)


def own_generator(X, p, training, generator):
    return seeded()(X, p, training, torch.Generator().manual_seed(0))


def never(X, p, training, generator):
    return X


class Mlp(nn.Module):
    def __init__(self, inputs, hidden, outputs, p):
        super().__init__()
        self.hidden, self.output, self.p = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs), p

    def drop(self, X, training=None):
        return F.dropout(X, self.p, self.training if training is None else training)

    def forward(self, X):
        return self.output(self.drop(self.hidden(X).relu()))


class MlpOfLayers(Mlp):
    def __init__(self, inputs, hidden, outputs, p):
        super().__init__(inputs, hidden, outputs, p)
        self.inner = nn.Sequential(nn.ReLU(), nn.Dropout(p))

    def forward(self, X):
        return self.output(self.inner(self.hidden(X)))


class MlpWithTrap(Mlp):
    def forward(self, X):
        return self.output(self.drop(self.hidden(X).relu(), True))


class MlpKeepsP(Mlp):
    def forward(self, X):
        return self.output(F.dropout(self.hidden(X).relu(), 1 - self.p, self.training))


class MlpDropsOutputs(Mlp):
    def forward(self, X):
        return self.drop(super().forward(X))


class MlpWithoutDropout(Mlp):
    def forward(self, X):
        return self.output(self.hidden(X).relu())


class MlpStartsAlike(Mlp):
    def __init__(self, *args):
        super().__init__(*args)
        nn.init.zeros_(self.hidden.weight)


class MlpClassic(Mlp):
    def forward(self, X):
        H = self.hidden(X).relu()
        return self.output(H * (torch.rand_like(H) >= self.p) if self.training else H * (1 - self.p))


class MlpUnscaled(Mlp):
    def forward(self, X):
        H = self.hidden(X).relu()
        return self.output(H * (torch.rand_like(H) >= self.p) if self.training else H)


def connect(drop):
    def drop_connect(X, weight, bias, p, training, generator):
        if not training:
            return F.linear(X, weight, bias)
        return drop(X, weight, bias, p, lambda t: torch.rand(t.shape, generator=generator) >= p)

    return drop_connect


def connect_where(X, weight, bias, p, training, generator):
    if training:
        keep = torch.empty_like(weight).bernoulli_(1 - p, generator=generator).bool()
        weight = torch.where(keep, weight / (1 - p), 0)
    return X @ weight.T + bias


def connect_in_place(X, weight, bias, p, training, generator):
    if training:
        weight *= (torch.rand(weight.shape, generator=generator) >= p) / (1 - p)
    return F.linear(X, weight, bias)


def connect_in_eval(X, weight, bias, p, training, generator):
    return connect_where(X, weight, bias, p, True, generator)


def connect_each(X, weight, bias, p, keep):
    return torch.cat([F.linear(x, weight * keep(weight) / (1 - p), bias) for x in X.split(1)])


def by_covariance(X, weight, p):
    centred = X - X.mean(dim=0)
    covariance = centred.T @ centred / len(X)
    in_prediction = torch.einsum("ji,ik,jk->j", weight, covariance, weight)
    diagonal = torch.diag((X**2).mean(dim=0) * p / (1 - p))
    return torch.einsum("ji,ik,jk->j", weight, covariance + diagonal, weight) / in_prediction


def ratio(of_masks, of_prediction=lambda X, W: (X @ W.T).var(dim=0, correction=0)):
    return lambda X, W, p: 1 + of_masks(X, W, p) / of_prediction(X, W)


def noise(X, W, p):
    return p / (1 - p) * (X**2).mean(dim=0) @ (W**2).T


class Path(nn.Module):
    def __init__(self, branch, p):
        super().__init__()
        self.branch, self.p = branch, p

    def forward(self, X):
        return self.train_forward(X) if self.training else X + self.branch(X)

    def keep(self, X, *shape):
        return torch.rand(*(shape or (len(X),))) >= self.p

    def train_forward(self, X):
        keep = self.keep(X)
        Y = X.clone()
        if keep.any():
            Y[keep] = X[keep] + self.branch(X[keep]) / (1 - self.p)
        return Y


class PathByIndex(Path):
    def train_forward(self, X):
        keep = self.keep(X).nonzero().flatten()
        return X.index_add(0, keep, self.branch(X[keep]) / (1 - self.p)) if len(keep) else X


class PathCallsAll(Path):
    def train_forward(self, X):
        keep = self.keep(X).view(-1, *(1 for _ in X.shape[1:]))
        return X + self.branch(X) * keep / (1 - self.p)


class PathShared(Path):
    def train_forward(self, X):
        return X + self.branch(X) / (1 - self.p) if self.keep(X, 1) else X * 1


class PathElements(Path):
    def train_forward(self, X):
        return X + self.branch(X) * self.keep(X, *X.shape) / (1 - self.p)


class PathUnscaled(Path):
    def train_forward(self, X):
        keep = self.keep(X).nonzero().flatten()
        return X.index_add(0, keep, self.branch(X[keep]))


class PathKeepsP(Path):
    def train_forward(self, X):
        keep = (~self.keep(X)).nonzero().flatten()
        return X.index_add(0, keep, self.branch(X[keep]) / self.p)


class PathDropsShortcut(Path):
    def train_forward(self, X):
        keep = self.keep(X).view(-1, *(1 for _ in X.shape[1:]))
        return (X + self.branch(X)) * keep / (1 - self.p)


class PathInPlace(Path):
    def train_forward(self, X):
        keep = self.keep(X).nonzero().flatten()
        return X.index_add_(0, keep, self.branch(X[keep]) / (1 - self.p))


class PathInEval(Path):
    def forward(self, X):
        return self.train_forward(X)


class PathScaledInEval(PathUnscaled):
    def forward(self, X):
        return self.train_forward(X) if self.training else X + (1 - self.p) * self.branch(X)


class PathCallsNone(Path):
    def train_forward(self, X):
        keep = self.keep(X).nonzero().flatten()
        return X.index_add(0, keep, self.branch(X[keep]) / max(1 - self.p, 1e-9))


class PathCutOff(Path):
    def train_forward(self, X):
        return super().train_forward(X).detach()


class PathBranchCutOff(Path):
    @torch.no_grad()
    def added(self, X):
        return Path.train_forward(self, X) - X

    def train_forward(self, X):
        return X + self.added(X)


ANSWERS = {
    check_seeded_dropout: Answers(
        right=[seeded(), by_bernoulli],
        wrong={
            "not scaled": (seeded(scale=lambda p: 1), "not scaled"),
            "divided by p": (seeded(scale=lambda p: 1 / p), "divided by p"),
            "multiplied": (seeded(scale=lambda p: 1 - p), "multiplied by 1 - p"),
            "keeps with probability p": (seeded(keep=lambda u, p: u < p), "probability to be dropped"),
            "F.dropout of 1 - p": (seeded(keep=lambda u, p: u < p, scale=lambda p: 1 / p), "to be dropped"),
            "same mask for the batch": (seeded(shape=lambda X: X.shape[1:]), "same mask"),
            "NaN at p = 1": (nan_at_one, "treat p = 1 by itself"),
            "in place": (in_place, "X is not as it was"),
            "active in evaluation": (in_eval_too, "evaluation"),
            "classic": (scaled_in_eval, "evaluation"),
            "global generator": (global_generator, "global generator"),
            "a generator of its own": (own_generator, "another seed"),
            "no dropout": (never, "nothing was dropped"),
        },
    ),
    check_noisy_mlp: Answers(
        right=[Mlp, MlpOfLayers],
        wrong={
            "F.dropout without training": (MlpWithTrap, "training=self.training"),
            "1 - p": (MlpKeepsP, "probability to be dropped"),
            "outputs dropped": (MlpDropsOutputs, "outputs were dropped"),
            "no dropout": (MlpWithoutDropout, "nothing was dropped"),
            "all hidden units alike": (MlpStartsAlike, "leave the random weights of"),
            "classic": (MlpClassic, "it is scaled"),
            "not scaled": (MlpUnscaled, "not scaled"),
        },
    ),
    check_drop_connect: Answers(
        right=[connect(lambda X, W, b, p, keep: F.linear(X, W * keep(W) / (1 - p), b)), connect_where],
        wrong={
            "drops inputs": (
                connect(lambda X, W, b, p, keep: F.linear(X * keep(X[:1]) / (1 - p), W, b)),
                "whole inputs",
            ),
            "drops outputs": (
                connect(lambda X, W, b, p, keep: F.linear(X, W, b) * keep(b) / (1 - p)),
                "bias always stays",
            ),
            "drops the bias": (
                connect(lambda X, W, b, p, keep: F.linear(X, W * keep(W) / (1 - p), b * keep(b) / (1 - p))),
                "bias always stays",
            ),
            "scales the bias": (
                connect(lambda X, W, b, p, keep: F.linear(X, W * keep(W), b) / (1 - p)),
                "bias is scaled",
            ),
            "not scaled": (connect(lambda X, W, b, p, keep: F.linear(X, W * keep(W), b)), "not scaled"),
            "divided by p": (connect(lambda X, W, b, p, keep: F.linear(X, W * keep(W) / p, b)), "divided by p"),
            "keeps with probability p": (
                connect(lambda X, W, b, p, keep: F.linear(X, W * ~keep(W) / p, b)),
                "to be dropped",
            ),
            "detached": (
                connect(lambda X, W, b, p, keep: F.linear(X, W.detach() * keep(W) / (1 - p), b)),
                "no gradient",
            ),
            "a mask for each example": (connect(connect_each), "share one mask"),
            "in place": (connect_in_place, "in place"),
            "active in evaluation": (connect_in_eval, "evaluation"),
            "global generator": (
                connect(lambda X, W, b, p, keep: F.linear(X, F.dropout(W, p), b)),
                "global generator",
            ),
        },
    ),
    check_variance_ratio: Answers(
        right=[ratio(noise), by_covariance],
        wrong={
            "variance for mean square": (
                ratio(lambda X, W, p: p / (1 - p) * X.var(dim=0, correction=0) @ (W**2).T),
                "mean square",
            ),
            "single input": (lambda X, W, p: torch.ones_like(W[:, 0]) / (1 - p), "weights and means"),
            "p (1 - p)": (ratio(lambda X, W, p: (1 - p) ** 2 * noise(X, W, p)), "not p(1-p)"),
            "1 / (1 - p)": (ratio(lambda X, W, p: noise(X, W, p) / p), "not 1/(1-p)"),
            "uncorrelated": (ratio(noise, lambda X, W: X.var(dim=0, correction=0) @ (W**2).T), "uncorrelated"),
            "dropout of z": (
                lambda X, W, p: (1 + p * (X @ W.T).mean(dim=0) ** 2 / (X @ W.T).var(dim=0, correction=0)) / (1 - p),
                "dropout of z",
            ),
            "weights not squared": (ratio(lambda X, W, p: p / (1 - p) * (X**2).mean(dim=0) @ W.T), "squared"),
            "upside down": (lambda X, W, p: 1 / ratio(noise)(X, W, p), "upside down"),
            "N - 1": (ratio(noise, lambda X, W: (X @ W.T).var(dim=0)), "N - 1"),
        },
    ),
    check_drop_path: Answers(
        right=[Path, PathByIndex],
        wrong={
            "branch called on all": (PathCallsAll, "called on [500]"),
            "one draw": (PathShared, "shared one draw"),
            "elements": (PathElements, "single elements"),
            "not scaled": (PathUnscaled, "not scaled"),
            "keeps with probability p": (PathKeepsP, "to be dropped"),
            "shortcut dropped": (PathDropsShortcut, "shortcut"),
            "in place": (PathInPlace, "in place"),
            "active in evaluation": (PathInEval, "evaluation"),
            "classic": (PathScaledInEval, "scaled"),
            "calls the branch on nothing": (PathCallsNone, "no example survived"),
            "cut off": (PathCutOff, "cut off"),
            "branch cut off": (PathBranchCutOff, "gradient"),
        },
    ),
}

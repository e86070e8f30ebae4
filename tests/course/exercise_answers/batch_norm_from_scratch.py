"""Answers to the exercises of notebook 02."""

import itertools
from functools import partial

import torch
from torch.nn import functional as F

from d2lnorm.course.exercises import batch_norm_from_scratch as checks
from exercise_answers import Answers


def rows_by_torch(rows, eps):
    X = torch.tensor(rows, dtype=torch.float64)
    var, mean = torch.var_mean(X, dim=0, correction=0)
    return ((X - mean) / (var + eps).sqrt()).tolist()


def rows_by_python(rows, eps, slip=""):
    if slip == "whole table":
        numbers = iter(rows_by_python([[x] for row in rows for x in row], eps))
        return [[next(numbers)[0] for _ in row] for row in rows]
    if slip == "rows":
        return [[y for (y,) in rows_by_python([[x] for x in row], eps)] for row in rows]
    columns = []
    for column in zip(*rows, strict=True):
        n = len(column)
        mean = sum(column) / n
        var = sum((x - mean) ** 2 for x in column) / (n - 1 if slip == "unbiased" else n)
        if slip == "one pass":
            var = max(sum(x * x for x in column) / n - mean * mean, 0)
        root = var**0.5 + eps if slip == "outside" else (var + (1e-5 if slip == "no eps" else eps)) ** 0.5
        columns.append([(x - mean) / (var + eps if slip == "no root" else root) for x in column])
    result = [list(row) for row in zip(*columns, strict=True)]
    if slip == "in place":
        rows[:] = result
    return columns if slip == "columns" else result


def wide(t, X):
    return t.reshape([1, -1] + [1] * (X.dim() - 2))


def norm_by_torch(X, weight, bias, running_mean, running_var, training, momentum, eps):
    mean, var = running_mean.clone(), running_var.clone()
    return F.batch_norm(X, mean, var, weight, bias, training, momentum, eps), mean, var


def norm(X, weight, bias, running_mean, running_var, training, momentum, eps, slip=""):
    """By the formulas, transposed so that channels come last, with a slip or none."""
    axes = [a for a in range(X.dim()) if a != 1]
    if slip == "in place":
        return (
            F.batch_norm(X, running_mean, running_var, weight, bias, training, momentum, eps),
            running_mean,
            running_var,
        )
    if slip == "is_grad_enabled":
        training = torch.is_grad_enabled()
    if slip == "always the batch":
        training = True
    if slip == "never the batch":
        training = False
    if slip == "default device":
        weight = weight * torch.ones(weight.shape)
    mean, var = running_mean, running_var
    if training:
        n, mean = X.numel() // X.shape[1], X.mean(axes)
        var = (X - wide(mean, X)).square().mean(axes)
        if slip == "one pass":
            var = X.square().mean(axes) - mean.square()
        if slip == "unbiased":
            var = var * n / (n - 1)
        if slip == "no_grad":
            mean, var = mean.detach(), var.detach()
        m = 1 - momentum if slip == "momentum" else momentum
        new = var * n / (n - 1) if slip != "biased" else var
        running_mean, running_var = running_mean.lerp(mean, m), running_var.lerp(new, m)
        if slip == "not moved":
            running_var = running_var * 0 + running_mean * 0 + (running_var - m * new) / (1 - m)
        if slip != "graph":
            running_mean, running_var = running_mean.detach(), running_var.detach()
    mean, var = wide(mean, X), wide(var, X)
    if slip == "batch axis" and training:
        per = tuple(range(2, X.dim())) or (1,)
        mean, var = X.mean(per, keepdim=True), X.var(per, correction=0, keepdim=True)
    root = var.sqrt() + eps if slip == "outside" else (var + (0 if slip == "no eps" else eps)).sqrt()
    if slip == "no eps" and training:
        root = (var + 1e-5).sqrt()
    X_hat, w, b = (X - mean) / root, wide(weight, X), wide(bias, X)
    if slip == "weight detached":
        w = w.detach()
    Y = {"no weight": X_hat, "order": (X_hat + b) * w}.get(slip, X_hat * w + b)
    Y = {"detached": Y.detach(), "float32": Y.float(), "float64": Y.double()}.get(slip, Y)
    return Y if slip == "only Y" else (Y, running_mean, running_var)


def judges(
    f, shapes=((2, 3, 2, 1),), shifts=(0.0, 1e4), eps=0.3, gamma=(0.5, -2.0, 1.5), grad=True, same=True, tol=0.02
):
    """A test in float32 only, by `assert_close`-like tolerance; each argument can spoil it."""
    torch.manual_seed(1)
    for shape, shift in itertools.product(shapes, shifts):
        X = (torch.randn(shape) * 1.5 + shift).requires_grad_()
        Z, dY = X.detach().clone().requires_grad_(), torch.randn(shape)
        weight, bias = torch.tensor(gamma), torch.tensor([0.7, -0.2, 1.0]) * (gamma != (1.0, 1.0, 1.0))
        Y, truth = f(X, weight, bias, eps), F.batch_norm(Z, None, None, weight, bias, training=True, eps=eps)
        if not (Y - truth).abs().max() <= tol or (same and not torch.equal(X, Z)):
            return False
        Y.backward(dY)
        truth.backward(dY)
        if grad and not (X.grad - Z.grad).abs().max() <= tol:
            return False
    return True


def backward_by_autograd(dY, Y, gamma, beta, var, eps):
    X = ((Y - wide(beta, Y)) / wide(gamma, Y) * wide((var + eps).sqrt(), Y)).requires_grad_()
    inputs = X, gamma.clone().requires_grad_(), beta.clone().requires_grad_()
    with torch.enable_grad():
        Y = F.batch_norm(X, None, None, *inputs[1:], training=True, eps=eps)
    return torch.autograd.grad(Y, inputs, dY)


def backward(dY, Y, gamma, beta, var, eps, slip=""):
    axes = [a for a in range(Y.dim()) if a != 1]
    X_hat = Y if slip == "Y for x-hat" else (Y - wide(beta, Y)) / wide(gamma, Y)
    if slip == "in place":
        dY *= 1.0 + 1e-3
    n = {"samples": len(Y), "sums": 1}.get(slip, Y.numel() // Y.shape[1])
    X_hat = Y / wide(gamma, Y) if slip == "beta kept" else X_hat
    dbeta, dgamma = dY.sum(axes), (dY * X_hat).sum(axes)
    if slip == "beta mean":
        dbeta = dbeta / (Y.numel() // Y.shape[1])
    if slip == "gamma mean":
        dgamma = dgamma / (Y.numel() // Y.shape[1])
    H = dY if slip == "no gamma" else dY * wide(gamma, Y)
    scale = wide((var + (0 if slip == "no eps" else eps)).rsqrt(), Y)
    mean, along = (wide(t.sum(axes), Y) / n for t in (H, H * X_hat))
    scale = wide(1 / (var.sqrt() + eps), Y) if slip == "outside" else scale
    dX = scale * {"constants": H, "mean only": H - mean}.get(slip, H - mean - X_hat * along)
    return (dX, dbeta, dgamma) if slip == "exchanged" else (dX, dgamma, dbeta)


def welford(chunks):
    """Row by row."""
    n = mean = M = 0
    for row in itertools.chain.from_iterable(chunks):
        n += 1
        delta = row.double() - mean
        mean = mean + delta / n
        M = M + delta * (row.double() - mean)
    return mean.to(row), (M / n).to(row)


def from_first_row(chunks):
    """Sums of the distances from the first row: small numbers, even beside a mean of 1e4."""
    n = S = Q = 0
    first = None
    for chunk in chunks:
        first = chunk[0].clone() if first is None else first
        D = (chunk - first).double()
        n, S, Q = n + len(D), S + D.sum(0), Q + D.square().sum(0)
    return (first + S / n).to(first), (Q / n - (S / n) ** 2).to(first)


def statistics(chunks, slip=""):
    if slip == "grown":
        X = next(chunks)
        for chunk in chunks:
            X = torch.cat([X, chunk])
        return X.mean(0), X.var(0, correction=0)
    if slip == "single":
        first = next(chunks)
        mean, var = statistics(c.float() for c in itertools.chain([first], chunks))
        return mean.to(first), var.to(first)
    if slip == "kept":
        X = torch.cat(list(chunks))
        return X.mean(0), X.var(0, correction=0)
    parts = [(len(c), c.mean(0), c.var(0, correction=0), c.sum(0), c.square().sum(0)) for c in chunks]
    N, means, variances, S, Q = (list(t) for t in zip(*parts, strict=True))
    weights = (torch.tensor(N).double() / sum(N)).to(means[0])
    mean = weights @ torch.stack(means)
    if slip == "one pass":
        return mean, sum(Q) / sum(N) - (sum(S) / sum(N)) ** 2
    if slip == "plain means":
        mean = torch.stack(means).mean(0)
    if slip == "plain variances":
        return mean, torch.stack(variances).mean(0)
    within = weights @ torch.stack(variances)
    between = weights @ (torch.stack(means) - mean).square()
    var = within if slip == "within" else within + between
    var = var * sum(N) / (sum(N) - 1) if slip == "unbiased" else var
    return (mean.double(), var.double()) if slip == "float64" else mean if slip == "only one" else (mean, var)


def all_wrong(function, words):
    return {slip: (partial(function, slip=slip), w) for slip, w in words.items()}


ANSWERS = {
    checks.check_my_normalize: Answers(
        right=[rows_by_python],
        wrong={"by torch": (rows_by_torch, "plain Python, no tensors")}
        | all_wrong(
            rows_by_python,
            {
                "unbiased": "divide by n, not by n - 1",
                "outside": "eps was added outside the root",
                "no eps": "eps was left out",
                "no root": "take its root",
                "rows": "the rows were normalized",
                "whole table": "or the whole table",
                "one pass": "Take the deviations",
                "in place": "rows is not as it was",
                "columns": "a list of 4 rows",
            },
        ),
    ),
    checks.check_my_batch_norm: Answers(
        right=[norm_by_torch, norm],
        wrong=all_wrong(
            norm,
            {
                "unbiased": "divide by n, not by n - 1",
                "biased": "moved with the biased variance",
                "outside": "eps was added outside the root",
                "no eps": "eps was left out",
                "one pass": "E[x²] - E[x]²",
                "no_grad": "treated as constants",
                "detached": "no gradient reaches X",
                "weight detached": "no gradient reaches weight",
                "graph": "keeps the autograd graph",
                "momentum": "the wrong way round",
                "not moved": "it was not moved",
                "is_grad_enabled": "the mode is the argument",
                "always the batch": "the mode is the argument",
                "never the batch": "the batch's own statistics normalize",
                "batch axis": "the batch axis was forgotten",
                "order": "beta was added before gamma",
                "no weight": "weight and bias were not applied",
                "in place": "changed in place",
                "default device": "X's device",
                "float32": "dtype torch.float64",
                "float64": "dtype torch.float32",
                "only Y": "three tensors",
            },
        ),
    ),
    checks.check_my_test: Answers(
        right=[judges, partial(judges, shapes=((3, 3, 1, 1), (2, 3, 2, 2)))],
        wrong={
            "many values": (partial(judges, shapes=((64, 3, 8, 8),)), "n - 1"),
            "small eps": (partial(judges, eps=1e-5), "outside the root"),
            "no far mean": (partial(judges, shifts=(0.0,)), "E[x²] - E[x]²"),
            "no gradients": (partial(judges, grad=False), "treated as constants"),
            "parameters 1 and 0": (partial(judges, gamma=(1.0, 1.0, 1.0)), "before gamma"),
            "X not looked at": (partial(judges, same=False), "changed in place"),
            "too strict": (partial(judges, tol=1e-9), "rejects a right version"),
            "says yes": (lambda f: True, "a wrong version passes"),
            "says no": (lambda f: False, "rejects a right version"),
        },
    ),
    checks.check_my_batch_norm_backward: Answers(
        right=[backward_by_autograd, backward],
        wrong=all_wrong(
            backward,
            {
                "constants": "treated as constants",
                "mean only": "the part along x-hat is missing",
                "Y for x-hat": "Y was taken for x-hat",
                "samples": "n counts the pixels",
                "no gamma": "gamma is missing",
                "no eps": "eps was left out",
                "outside": "eps was added outside the root",
                "sums": "the sums were taken",
                "beta kept": "beta was not taken off",
                "beta mean": "dbeta is the sum",
                "gamma mean": "dgamma is the sum",
                "in place": "changed in place",
                "exchanged": "dbeta is not right",
            },
        ),
    ),
    checks.check_my_statistics: Answers(
        right=[welford, from_first_row, statistics],
        wrong=all_wrong(
            statistics,
            {
                "plain means": "weigh the chunks' means",
                "within": "it lacks the distance between",
                "plain variances": "the variance is not right",
                "unbiased": "divided by n - 1",
                "one pass": "E[x²] - E[x]²",
                "kept": "keeps old chunks",
                "single": "in float64",
                "grown": "no chunk may be kept",
                "float64": "dtype torch.float32",
                "only one": "two tensors",
            },
        ),
    ),
}

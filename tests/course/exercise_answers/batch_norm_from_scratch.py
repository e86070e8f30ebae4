"""Answers to the exercises of notebook 02."""

import itertools
import math
import statistics as stat
from collections import namedtuple
from fractions import Fraction
from functools import partial, reduce

import numpy as np
import torch
from torch.nn import functional as F

from d2lnorm.course.exercises import batch_norm_from_scratch as checks
from exercise_answers import Answers


def rows_by_torch(rows, eps):
    X = torch.tensor(rows, dtype=torch.float64)
    var, mean = torch.var_mean(X, dim=0, correction=0)
    return ((X - mean) / (var + eps).sqrt()).tolist()


def rows_by_library(rows, eps):
    centres, spreads = ([f(column) for column in zip(*rows, strict=True)] for f in (stat.fmean, stat.pvariance))
    return [[(x - m) / math.sqrt(v + eps) for x, m, v in zip(row, centres, spreads, strict=True)] for row in rows]


def moments(rows):
    """Welford's way, number by number."""
    n, mean, M = 0, itertools.repeat(0.0), itertools.repeat(0.0)
    for row in rows:
        n += 1
        delta = [x - m for x, m in zip(row, mean, strict=False)]
        mean = [m + d / n for m, d in zip(mean, delta, strict=False)]
        M = [q + d * (x - m) for q, d, x, m in zip(M, delta, row, mean, strict=False)]
    return mean, [q / n for q in M]


def rows_by_welford(rows, eps):
    return [[(x - m) / math.sqrt(v + eps) for x, m, v in zip(row, *moments(rows), strict=True)] for row in rows]


def rows_by_recursion(rows, eps):
    """Of fractions, which are exact; the first column, then the others."""
    if not rows[0]:
        return [[] for _ in rows]
    column = [Fraction(first) for first, *_ in rows]
    mean = sum(column) / len(column)
    root = math.sqrt(sum((x - mean) ** 2 for x in column) / len(column) + Fraction(eps))
    others = rows_by_recursion([row[1:] for row in rows], eps)
    return [[float(x - mean) / root, *other] for x, other in zip(column, others, strict=True)]


class RowsInACopy:
    def __call__(self, rows, eps):
        new = [row.copy() for row in rows]
        for c in range(len(new[0])):
            column = [row[c] for row in new]
            mean = math.fsum(column) / len(column)
            root = math.hypot(math.dist(column, [mean] * len(column)) / len(column) ** 0.5, eps**0.5)
            for row in new:
                row[c] = (row[c] - mean) / root
        return new


def rows_by_python(rows, eps, slip=""):
    if slip == "whole table":
        numbers = iter(rows_by_python([[x] for row in rows for x in row], eps))
        return [[next(numbers)[0] for _ in row] for row in rows]
    if slip == "rows":
        return [[y for (y,) in rows_by_python([[x] for x in row], eps)] for row in rows]
    columns, firsts = [], []
    for column in zip(*rows, strict=True):
        n = 4 if slip == "4 rows" else len(column)
        mean = sum(column) / n
        var = sum((x - mean) ** 2 for x in column) / (n - 1 if slip == "unbiased" else n)
        if slip == "one pass":
            var = max(sum(x * x for x in column) / n - mean * mean, 0)
        if slip == "first variance":
            var = firsts[0] if firsts and len(rows) == 4 and column[0] > 1e8 else var
            firsts.append(var)
        if slip == "numpy":
            mean, var = float(np.mean(column)), float(np.var(column))
        if slip == "tensor":
            var = torch.tensor(column).double().var(correction=0).item()
        var = max(var, eps) - eps if slip == "max" else var
        root = var**0.5 + eps if slip == "outside" else (var + (1e-5 if slip == "no eps" else eps)) ** 0.5
        columns.append([(x - mean) / (var + eps if slip == "no root" else root) for x in column])
        if slip == "constant" and not var:
            columns[-1] = column
        if slip == "rounded":
            columns[-1] = [round(y, 4) for y in columns[-1]]
    if slip == "3 columns":
        columns = [columns[c] for c in range(3)]
    result = [list(row) for row in zip(*columns, strict=True)]
    if slip == "in place":
        rows[:] = result
    if slip == "emptied":
        while rows:
            rows.pop()
    if slip == "alias":
        result = [result[-1]] * len(result)
    if slip == "tuples":
        result = [tuple(row) for row in result]
    if slip == "numpy cells":
        result = [[np.float64(y) for y in row] for row in result]
    return columns if slip == "columns" else result


def wide(t, X):
    return t.reshape([1, -1] + [1] * (X.dim() - 2))


def norm_by_torch(X, weight, bias, running_mean, running_var, training, momentum, eps):
    mean, var = running_mean.clone(), running_var.clone()
    return F.batch_norm(X, mean, var, weight, bias, training, momentum, eps), mean, var


def besides(slip, X):
    """Do what an answer should not do besides its work, or cannot do with any X."""
    if slip == "seed":
        torch.manual_seed(0)
    if slip == "gradients off":
        torch.set_grad_enabled(False)
    if slip == "requires_grad":
        X.requires_grad_()
    if slip == "view":
        X.view(-1)
    if slip == "to 5 axes":
        assert X.dim() <= 5


Norm = namedtuple("Norm", "Y running_mean running_var")


def norm_flat(X, weight, bias, running_mean, running_var, training, momentum, eps):
    Z = X.movedim(1, -1).reshape(-1, X.shape[1])
    mean, var = running_mean, running_var
    if training:
        var, mean = torch.var_mean(Z, 0, correction=0)
        with torch.no_grad():
            running_mean = running_mean + momentum * (mean - running_mean)
            running_var = running_var + momentum * (Z.var(0) - running_var)
    Y = torch.addcmul(bias, (Z - mean) * torch.rsqrt(var + eps), weight)
    return Norm(Y.reshape(X.movedim(1, -1).shape).movedim(-1, 1), running_mean, running_var)


def norm_by_channels(X, weight, bias, running_mean, running_var, training, momentum, eps):
    Ys, means, variances = [], [], []
    for c in range(X.shape[1]):
        x, mean, var = X[:, c], running_mean[c], running_var[c]
        if training:
            assert not x.isnan().any()
            means.append(mean + momentum * (x.detach().mean() - mean))
            variances.append(var + momentum * (x.detach().var() - var))
            mean, var = x.mean(), x.var(correction=0)
        Ys.append(weight[c] * (x - mean) / (var + eps).sqrt() + bias[c])
    Y = torch.stack(Ys, 1)
    return [Y, torch.stack(means), torch.stack(variances)] if training else [Y, running_mean, running_var]


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(ctx, X, weight, bias, eps):
        axes = [a for a in range(X.dim()) if a != 1]
        var, mean = torch.var_mean(X, axes, correction=0)
        Y = (X - wide(mean, X)) * wide((var + eps).rsqrt() * weight, X) + wide(bias, X)
        ctx.save_for_backward(Y, weight, bias, var)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, var)
        return Y, mean, var

    @staticmethod
    def backward(ctx, dY, *_):
        return *backward(dY, *ctx.saved_tensors, ctx.eps), None


def norm_by_function(X, weight, bias, running_mean, running_var, training, momentum, eps):
    if not training:
        return norm_by_torch(X, weight, bias, running_mean, running_var, training, momentum, eps)
    Y, mean, var = _Function.apply(X, weight, bias, eps)
    n = X.numel() / X.shape[1]
    return Y, running_mean.lerp(mean, momentum), running_var.lerp(var * n / (n - 1), momentum)


def norm(X, weight, bias, running_mean, running_var, training, momentum, eps, slip=""):
    """By the formulas, transposed so that channels come last, with a slip or none."""
    besides(slip, X)
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
    if slip == "via float32":
        given = (t.float() for t in (X, weight, bias, running_mean, running_var))
        return tuple(t.to(X.dtype) for t in norm(*given, training, momentum, eps))
    if slip == "n - 1 is 0":
        _ = 1 / (X.numel() // X.shape[1] - 1)
    if slip == "momentum 0.1":
        momentum = 0.1
    if slip == "default device":
        weight = weight * torch.ones(weight.shape)
    if slip == "abs":
        weight = weight.abs()
    mean, var = running_mean, running_var
    if training:
        n, mean = X.numel() // X.shape[1], X.mean(axes)
        var = (X - wide(mean, X)).square().mean(axes)
        if slip == "one pass":
            var = X.square().mean(axes) - mean.square()
        if slip == "one shift":
            Z = X - X.flatten()[0]
            var = (Z.square().mean(axes) - Z.mean(axes).square()).clamp(min=0)
        if slip == "unbiased":
            var = var * n / (n - 1)
        if slip == "no_grad":
            mean, var = mean.detach(), var.detach()
        if slip == "var detached":
            var = var.detach()
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
    if slip == "keepdim":
        running_mean, running_var = wide(running_mean, X), wide(running_var, X)
    if slip == "squeeze":
        running_mean, running_var = running_mean.squeeze(), running_var.squeeze()
    if slip == "detached in evaluation" and not training:
        Y = Y.detach()
    Y = {"detached": Y.detach(), "float32": Y.float(), "float64": Y.double()}.get(slip, Y)
    if slip == "a view under no_grad":
        with torch.no_grad():
            Y = Y.mT.mT
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
        if same == "after":
            truth = F.batch_norm(X, None, None, weight, bias, training=True, eps=eps)
        if not (Y - truth).abs().max() <= tol or (same is True and not torch.equal(X, Z)):
            return False
        truth = F.batch_norm(Z, None, None, weight, bias, training=True, eps=eps)
        Y.backward(dY)
        truth.backward(dY)
        if grad and not (X.grad - Z.grad).abs().max() <= tol:
            return False
    return True


def judges_by_vjp(f):
    """In float64 alone, with numbers so large that even there E[x²] - E[x]² cancels; other data in each call."""
    gamma, beta = torch.randn(2, 3).double()
    fs = (
        (lambda X: f(X=X, gamma=gamma, beta=beta, eps=0.3)),
        lambda X: F.batch_norm(X, *[None] * 2, gamma, beta, True, eps=0.3),
    )
    for shift in (0, 1e8):
        X = torch.randn(2, 3, 1, 2).double() + shift
        dY, given = torch.randn_like(X), X.clone()
        (Y, dX), (Z, dZ) = (torch.autograd.functional.vjp(g, X, dY) for g in fs)
        if not (torch.allclose(Y, Z, atol=1e-5) and torch.allclose(dX, dZ, atol=1e-5) and X.equal(given)):
            return False
    return True


def judges_by_assertion(f):
    generator = torch.Generator().manual_seed(3)
    for shift in (0, 1e6):
        X = torch.randn(3, 2, 2, 1, generator=generator, dtype=torch.float64) + shift
        gamma, beta = torch.tensor([[2.0, -0.5], [1.0, 3.0]], dtype=torch.float64)
        ours, theirs = (X.clone().requires_grad_() for _ in range(2))
        dY = torch.randn(X.shape, generator=generator, dtype=torch.float64)
        try:
            Y, Z = f(ours, gamma, beta, 0.1), F.batch_norm(theirs, None, None, gamma, beta, True, 0.1, 0.1)
            torch.testing.assert_close(Y, Z, rtol=1e-6, atol=1e-7)
            torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
            Y.backward(dY)
            Z.backward(dY)
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-6)
        except AssertionError:
            return False
    return True


class Judge:
    """A callable that returns a number of NumPy."""

    def __call__(self, f):
        return np.bool_(judges(f, shapes=((2, 3, 1, 2),), shifts=(0.0, 1e4), eps=0.2))


def judges_badly(f, slip):
    """`judges`, and something more that is wrong, or something else."""
    X, gamma, beta = torch.randn(2, 3, 2, 2), torch.tensor([0.5, -2.0, 1.5]), torch.tensor([0.7, -0.2, 1.0])
    right = judges(f)
    if slip == "table":
        return f(X[:, :, 0, 0], gamma, beta, 0.3).shape == (2, 3) and right
    if slip in ("raises", "raises for a right one"):
        assert right == (slip == "raises")
    if slip == "exact":
        return torch.equal(f(X, gamma, beta, 0.3), F.batch_norm(X, None, None, gamma, beta, True, eps=0.3))
    if slip == "mean and std":
        Y = f(torch.randn(8, 3, 4, 4) + 3, torch.ones(3), torch.zeros(3), 1e-5)
        return bool(Y.mean((0, 2, 3)).abs().max() < 1e-3 and (Y.std((0, 2, 3)) - 1).abs().max() < 1e-2)
    values = {"int": int(right), "text": str(right), "tuple": (right, "fine"), "None": None, "inverted": not right}
    return values.get(slip, right)


def backward_by_numpy(dY, Y, gamma, beta, var, eps):
    dY, Y = (np.moveaxis(t.numpy(), 1, -1) for t in (dY, Y))
    gamma, beta, var = (t.numpy() for t in (gamma, beta, var))
    X_hat, axes = (Y - beta) / gamma, tuple(range(Y.ndim - 1))
    dX = gamma / np.sqrt(var + eps) * (dY - dY.mean(axes) - X_hat * (dY * X_hat).mean(axes))
    return tuple(map(torch.from_numpy, (np.moveaxis(dX, -1, 1), (dY * X_hat).sum(axes), dY.sum(axes))))


def backward_by_channels(dY, Y, gamma, beta, var, eps):
    dX, dgamma, dbeta = torch.empty_like(Y), torch.empty_like(gamma), torch.empty_like(beta)
    for c in range(len(gamma)):
        d, X_hat = dY[:, c], (Y[:, c] - beta[c]) / gamma[c]
        dbeta[c], dgamma[c] = d.sum(), (d * X_hat).sum()
        dX[:, c] = gamma[c] / (var[c] + eps) ** 0.5 * (d - dbeta[c] / d.numel() - X_hat * dgamma[c] / d.numel())
    return dX, dgamma, dbeta


def backward_by_einsum(dY, Y, gamma, beta, var, eps):
    D, Z = (t.reshape(*t.shape[:2], -1) for t in (dY, Y))
    H, n = torch.einsum("ncl,c->ncl", Z - beta[:, None], 1 / gamma), D.shape[0] * D.shape[2]
    dgamma, dbeta = torch.einsum("ncl,ncl->c", D, H), torch.einsum("ncl->c", D)
    dX = (D - dbeta[:, None] / n - H * dgamma[:, None] / n) * (gamma / (var + eps).sqrt())[:, None]
    return [dX.reshape(Y.shape), dgamma, dbeta]


def backward_by_autograd(dY, Y, gamma, beta, var, eps):
    X = ((Y - wide(beta, Y)) / wide(gamma, Y) * wide((var + eps).sqrt(), Y)).requires_grad_()
    inputs = X, gamma.clone().requires_grad_(), beta.clone().requires_grad_()
    with torch.enable_grad():
        Y = F.batch_norm(X, None, None, *inputs[1:], training=True, eps=eps)
    return torch.autograd.grad(Y, inputs, dY)


def backward(dY, Y, gamma, beta, var, eps, slip=""):
    besides(slip, dY)
    axes = [a for a in range(Y.dim()) if a != 1]
    X_hat = Y if slip == "Y for x-hat" else (Y - wide(beta, Y)) / wide(gamma, Y)
    if slip == "in place":
        dY *= 1.0 + 1e-3
    if slip == "gamma at least 0.01":
        X_hat = (Y - wide(beta, Y)) / wide(gamma.sign() * gamma.abs().clamp(min=0.01), Y)
    if slip == "eps 1e-5":
        eps = 1e-5
    if slip == "via float32":
        return tuple(t.to(Y.dtype) for t in backward(*(t.float() for t in (dY, Y, gamma, beta, var)), eps))
    if slip == "var of Y":
        var = Y.var(axes, correction=0)
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
    if slip == "constant":
        dX = dX * wide(var > 0, Y)
    if slip == "in place and back":
        Y.sub_(wide(beta, Y)).div_(wide(gamma, Y)).mul_(wide(gamma, Y)).add_(wide(beta, Y))
    if slip == "keepdim":
        dgamma, dbeta = wide(dgamma, Y), wide(dbeta, Y)
    if slip == "float64":
        dX = dX.double()
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


def from_first_row(chunks, own=torch.clone):
    """Sums of the distances from the first row: small numbers, even beside a mean of 1e4."""
    n = S = Q = 0
    first = None
    for chunk in chunks:
        first = own(chunk[0]) if first is None else first
        D = (chunk - first).double()
        n, S, Q = n + len(D), S + D.sum(0), Q + D.square().sum(0)
    return (first + S / n).to(first), (Q / n - (S / n) ** 2).to(first)


def merged(a, b, slip=""):
    n, delta = a[0] + b[0], b[1] - a[1]
    between = (delta.abs() if slip == "no square" else delta**2) * a[0] * b[0] / n
    mean = (a[1] + b[1]) / 2 if slip == "half" else a[1] + delta * (b[0] / n)
    return n, mean, a[2] + b[2] + (delta**2 * b[0] if slip == "no share" else between)


def by_merging(chunks, slip=""):
    """Chan, Golub and LeVeque's way."""
    if slip == "seed":
        torch.manual_seed(0)
    if slip == "length":
        assert len(chunks)
    if slip == "next":
        chunks = itertools.chain([next(chunks)], chunks)
    if slip == "twice":
        assert sum(len(chunk) for chunk in chunks)
    if slip == "long chunks":
        chunks = (chunk for chunk in chunks if len(chunk) > 1)
    if slip in ("copies", "lists"):
        copies = []
        for chunk in chunks:
            copies.append(chunk.tolist() if slip == "lists" else chunk.clone())
        dtype = chunk.dtype
        chunks = (torch.tensor(c, dtype=dtype) for c in copies) if slip == "lists" else copies
    if slip == "in place":
        chunks = (chunk.sub_(0.001) for chunk in chunks)
    parts = ((len(chunk), chunk.mean(0), (chunk - chunk.mean(0)).square().sum(0)) for chunk in chunks)
    n, mean, M = reduce(partial(merged, slip=slip), parts)
    return (
        (mean[:2], M[:2] / n)
        if slip == "2 columns"
        else torch.stack([mean, M / n])
        if slip == "stack"
        else [mean, M / n]
    )


def by_numpy(chunks):
    n = mean = M = 0
    for chunk in chunks:
        X = chunk.numpy().astype("float64")
        delta, n_b = X.mean(0) - mean, len(X)
        mean, M = mean + delta * n_b / (n + n_b), M + ((X - X.mean(0)) ** 2).sum(0) + delta**2 * n * n_b / (n + n_b)
        n += n_b
    return torch.from_numpy(mean).to(chunk.dtype), torch.from_numpy(M / n).to(chunk.dtype)


def by_lists(chunks):
    chunks = iter(chunks)
    first = next(chunks)
    return [first.new_tensor(t) for t in moments(row for c in itertools.chain([first], chunks) for row in c.tolist())]


def statistics(chunks, slip=""):
    if slip == "grown":
        X = None
        for chunk in chunks:
            X = chunk if X is None else torch.cat([X, chunk])
        return X.mean(0), X.var(0, correction=0)
    if slip == "single":
        return statistics(c.float() for c in chunks)
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


# fmt: off
ANSWERS = {
    checks.check_my_normalize: Answers(
        right=[rows_by_python, rows_by_library, rows_by_welford, rows_by_recursion, RowsInACopy()],
        wrong={"by torch": (rows_by_torch, "plain Python, no tensors")}
        | all_wrong(
            rows_by_python,
            {
                "unbiased": "for the columns [1.0, 2.0, 4.5, 3.0] and [5.0, 5.0, 5.0, 5.0] and eps = 0.5, the table",
                "outside": "eps was added outside the root", "no root": "take its root",
                "no eps": "it is as with eps near 0, but another was passed", "max": "add that to each variance",
                "rows": "the rows were normalized", "whole table": "or the whole table",
                "one pass": "and eps = 0.5, the table is not right: the variance is E[x²] - E[x]²",
                "in place": "rows[0][0] is not as it was",
                "emptied": "the length of rows is not as it was",
                "columns": "return a list of 4 lists of 3; yours is a list of 3 lists of 4",
                "tuples": "return a list of 4 lists of 3; yours is a list of 4 tuples of 3",
                "4 rows": "the table of shape (2, 5) is not right",
                "3 columns": "return a list of 2 lists of 5; yours is a list of 2 lists of 3",
                "numpy": "it calls NumPy",
                "numpy cells": "a float of plain Python", "tensor": "it calls torch's",
                "first variance": "for the column [1000000002.0, 999999999.0, 1000000000.5, 1000000001.0] and eps",
                "constant": "and eps = 0.5, the table is not right: at index [0, 1]",
                "rounded": "and eps = 0.5, the table is not right: at index",
                "alias": "and eps = 0.5, the table is not right: at index",
            },
        ),
    ),
    checks.check_my_batch_norm: Answers(
        right=[norm_by_torch, norm, norm_flat, norm_by_channels, norm_by_function],
        wrong=all_wrong(
            norm,
            {
                "unbiased": "divide by n, not by n - 1", "biased": "moved with the biased variance",
                "outside": "eps was added outside the root",
                "no eps": "and eps = 0.5 is not right: it is as with eps near 0",
                "one pass": "with means of 1e4, 0 and -1e4, Y is not right: the variance is E[x²] - E[x]²",
                "one shift": "with means of 1e4, 0 and -1e4, Y is not right: at index",
                "abs": "Y for a float64 X of shape (3, 2), weight = [-0.66, -0.27] and eps = 0.5 is not right: at",
                "a view under no_grad": "in training, no gradient reaches X",
                "no_grad": "treated as constants",
                "var detached": "the gradient by X is not right: the variance was taken as a constant",
                "detached": "no gradient reaches X",
                "detached in evaluation": "without training, no gradient reaches X",
                "weight detached": "no gradient reaches weight", "graph": "keeps the autograd graph",
                "momentum": "the old value was weighed by momentum",
                "momentum 0.1": "momentum = 0.3, running_mean is not right: at index",
                "not moved": "it was not moved", "is_grad_enabled": "the argument `training` is False",
                "always the batch": "the argument `training` is False",
                "never the batch": "the batch's own statistics normalize",
                "batch axis": "the batch axis was forgotten", "order": "bias was added before weight",
                "no weight": "weight and bias were not applied", "in place": "running_mean is not as it was",
                "requires_grad": "requires_grad of X is not as it was",
                "seed": "seeded torch's global generator", "gradients off": "left gradients switched",
                "to 5 axes": "X = a float64 tensor of shape (2, 2, 1, 2, 1, 2)",
                "view": "view size is not compatible", "n - 1 is 0": "division by zero",
                "default device": "X's device", "keepdim": "running_mean must have shape",
                "squeeze": "running_mean must have shape (1,)", "float32": "dtype torch.float64",
                "float64": "X of shape (8, 3, 2, 2) with means of 1e4, 0 and -1e4, Y must have dtype torch.float32",
                "via float32": "Y for a float64 X of shape (3, 2), weight = [-0.66, -0.27] and eps = 0.5 is not right",
                "only Y": "3 tensors, (Y, running_mean, running_var), but returned a float64 tensor of shape (3, 2)",
            },
        ),
    ),
    checks.check_my_test: Answers(
        right=[
            judges,
            partial(judges, shapes=((3, 3, 1, 1), (2, 3, 2, 2))),
            judges_by_vjp,
            judges_by_assertion,
            Judge(),
        ],
        wrong={
            "many values": (partial(judges, shapes=((64, 3, 8, 8),)), "one that divides the variance by n - 1 instead"),
            "one sample": (partial(judges, shapes=((1, 3, 2, 2),)), "one that forgets the batch axis"),
            "small eps": (partial(judges, eps=1e-5), "one that adds eps outside the root"),
            "no far mean": (partial(judges, shifts=(0.0,)), "one that computes the variance as E[x²] - E[x]²"),
            "no gradients": (partial(judges, grad=False), "one that takes its statistics under no_grad"),
            "parameters 1 and 0": (partial(judges, gamma=(1.0, 1.0, 1.0)), "one that adds beta before gamma"),
            "X not looked at": (partial(judges, same=False), "one that changes X in place"),
            "X looked at afterwards": (partial(judges, same="after"), "one that changes X in place: it takes off"),
            "too strict": (partial(judges, tol=1e-9), "it returned False for a right version (the formulas"),
            "says yes": (lambda f: True, "it returned True without calling f"),
            "says no": (lambda f: False, "it returned False without calling f"),
        }
        | all_wrong(
            judges_badly,
            {
                "table": "f is for the shape (N, C, H, W)",
                "raises": "an AssertionError for a wrong version; it must return False",
                "raises for a right one": "for a right version (F.batch_norm itself); it must return True",
                "exact": "it returned False for a right version", "mean and std": "by n - 1 instead of n",
                "int": "it must return True or False, but returned 1", "text": "returned 'True'",
                "tuple": "returned (True, 'fine')", "None": "returned None",
                "inverted": "it returned False for F.batch_norm itself, which is right by definition",
            },
        ),
    ),
    checks.check_my_batch_norm_backward: Answers(
        right=[backward_by_autograd, backward, backward_by_numpy, backward_by_channels, backward_by_einsum],
        wrong=all_wrong(
            backward,
            {
                "constants": "it lacks what comes through the mean and through the variance",
                "mean only": "the part along x-hat is missing",
                "Y for x-hat": "Y was taken for x-hat", "samples": "it must be that times the number of pixels",
                "no gamma": "gamma is missing",
                "no eps": "as with eps near 0, but another was passed",
                "eps 1e-5": "and eps = 0.5, dX is not right",
                "outside": "eps was added outside the root", "sums": "the sums were taken",
                "beta kept": "beta was not taken off", "beta mean": "dbeta is the sum",
                "gamma mean": "dgamma is the sum", "var of Y": "dX is not right",
                "gamma at least 0.01": "a gamma of -5e-4, a constant channel and eps = 0.5, dgamma is not right",
                "constant": "a gamma of -5e-4, a constant channel and eps = 0.5, dX is not right",
                "in place and back": "Y is not as it was",
                "in place": "dY is not as it was", "requires_grad": "requires_grad of dY is not as it was",
                "seed": "seeded torch's global generator",
                "to 5 axes": "dY = a float64 tensor of shape (2, 2, 1, 2, 1, 2)",
                "view": "view size is not compatible", "via float32": "dbeta is not right",
                "float64": "dX must have dtype torch.float32", "keepdim": "dbeta must have shape (2,)",
                "exchanged": "dbeta is not right: it holds what dgamma must be",
            },
        ),
    ),
    checks.check_my_statistics: Answers(
        right=[welford, from_first_row, statistics, by_merging, by_numpy, by_lists],
        wrong=all_wrong(
            statistics,
            {
                "plain means": "float32 chunks of 3, 1, 5, 2 rows, the mean is not right: weigh the chunks' means",
                "within": "it lacks the distance between",
                "plain variances": "for float32 chunks of 3, 1, 5, 2 rows, the variance is not right",
                "unbiased": "divided by n - 1",
                "one pass": "with a mean of 1e4, the variance is not right: the variance is E[x²] - E[x]²",
                "kept": "keeps old chunks",
                "single": "dtype torch.float64", "grown": "no chunk may be kept",
                "float64": "dtype torch.float32",
                "only one": "2 tensors, (mean, var), but returned a float32 tensor of shape (2,)",
            },
        )
        | {"a view": (partial(from_first_row, own=lambda row: row), "each written over the last one, the mean")}
        | all_wrong(
            by_merging,
            {
                "no square": "the variance is not right", "no share": "the variance is not right",
                "half": "the mean is not right", "seed": "seeded torch's global generator",
                "length": "has no len()", "next": "not an iterator", "twice": "empty iterable",
                "long chunks": "the mean is not right", "copies": "no chunk may be kept, nor a copy",
                "lists": "no chunk may be kept, nor a copy",
                "in place": "chunks[0] is not as it was",
                "2 columns": "90 rows with a mean of 1e4, the mean must have shape (5,)",
                "stack": "but returned a float32 tensor of shape (2, 2)",
            },
        ),
    ),
}
# fmt: on

"""Checks of the exercises in notebook 02, batch normalization from scratch."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from d2lnorm.course.exercises.common import chunks, slips
from d2lnorm.course.exercises.common.feedback import described, exercise, expect, expect_close, randn
from d2lnorm.course.exercises.common.functions import expect_device_kept, given_to
from d2lnorm.course.exercises.common.returned import form, tensors, verdict
from d2lnorm.course.exercises.common.slips import textbook
from d2lnorm.course.exercises.common.traces import forbidden, kept, without_numpy

__all__ = ["check_my_batch_norm", "check_my_batch_norm_backward", "check_my_normalize"]
__all__ += ["check_my_statistics", "check_my_test"]

EXACT: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-9}  # for float64
NAMES = ("X", "weight", "bias", "running_mean", "running_var")
RESULTS = ("Y", "running_mean", "running_var")
PLAIN = "plain Python, no tensors"


@exercise
def check_my_normalize(answer: Callable) -> str:
    """Exercise 1: `answer(rows, eps)` normalizes the columns of a list of lists, and leaves the list as it is."""
    X = torch.tensor([[1, 5, 2], [2, 5, -1], [4.5, 5, 0.5], [3, 5, 1]]).double() + torch.tensor([0, 0, 1e9]).double()

    def table(X: Tensor, eps: float) -> Tensor:
        rows = X.tolist()
        with kept(rows=rows), without_numpy(PLAIN), forbidden("any", asked=PLAIN):
            got = answer(rows, eps)
        fine = isinstance(got, list) and [isinstance(row, list) and len(row) for row in got] == [X.shape[1]] * len(X)
        asked = "for {0} lists of {1} numbers return a list of {0} lists of {1}".format(*X.shape)
        expect(fine, f"{asked}; yours is {form(got)}.")
        odd = [x for row in got for x in row if not isinstance(x, int | float) or hasattr(x, "dtype")]
        expect(not odd, f"each cell must be a float of plain Python, but one is {described((odd or [0])[0])}.")
        return torch.tensor(got, dtype=torch.float64)

    one, zero = torch.ones(()).double(), torch.zeros(()).double()
    got, usual = table(X, 0.5), (slips.UNBIASED, slips.OUTSIDE, slips.NO_EPS, slips.NO_ROOT)
    mistakes = {slip: textbook(X, one, zero, 0.5, slip)[:, :2] for slip in usual}
    mistakes["the rows were normalized, or the whole table, not each column"] = F.layer_norm(X, (3,))[:, :2]
    right, far, n = textbook(X, one, zero, 0.5), X[:, 2].tolist(), len(X)
    lost = max(sum(x * x for x in far) / n - (sum(far) / n) ** 2, 0) + 0.5
    cancelled = {"the variance is E[x²] - E[x]², which cancels here": (X[:, 2] - X[:, 2].mean()) / lost**0.5}
    what = f"for the columns {X.T[0].tolist()} and {X.T[1].tolist()} and eps = 0.5, the table"
    expect_close(got[:, :2], right[:, :2], what, mistakes)
    expect_close(got[:, 2], right[:, 2], f"for the column {far} and eps = 0.5, the table", cancelled, atol=1e-3)
    for other in (randn(2, 5), randn(7, 2), randn(1, 1), randn(1, 3), randn(6, 1)):
        right = textbook(other, one, zero, 0.1)
        expect_close(table(other, 0.1), right, f"the table of shape {tuple(other.shape)}", **EXACT)
    return "columns, biased variance, eps inside the root, and a mean of 1e9 are right."


@exercise
def check_my_batch_norm(answer: Callable) -> str:
    """Exercise 2: `answer(X, weight, bias, running_mean, running_var, training, momentum, eps)` does as PyTorch."""
    for shape in ((3, 2), (2, 3, 2), (1, 3, 2, 2), (4, 1), (2, 2, 1, 2, 1), (2, 2, 1, 2, 1, 2)):
        _check_shape(answer, shape)
    far, ones, zeros = torch.tensor([1e4, 0, -1e4]).view(3, 1, 1), torch.ones(3), torch.zeros(3)
    X = far + randn(8, 3, 2, 2, seed=4).float()
    others, mean, var = (True, 0.1, 1e-5), zeros.double(), ones.double()
    Y, results = F.batch_norm(X.double(), mean, var, training=True), answer(X, ones, zeros, zeros, ones, *others)
    mistakes = {slips.ONE_PASS: textbook(X, ones, zeros, 1e-5, slips.ONE_PASS)}
    for name, got, right in zip(RESULTS, tensors(results, *RESULTS), (Y, mean, var), strict=True):
        where = f"for a float32 X of shape {tuple(X.shape)} with means of 1e4, 0 and -1e4, {name}"
        expect_close(got, right.float(), where, mistakes if name == "Y" else {}, rtol=1e-6, atol=0.02)
    turned = tensors(answer(X.mT.contiguous().mT, ones, zeros, zeros, ones, *others), *RESULTS)[0]
    expect_close(turned, Y.float(), "Y for an X that is not contiguous", atol=0.02)
    single = tensors(answer(X[:1, :, 0, 0], ones, zeros, zeros, ones, False, *others[1:]), *RESULTS)[0]
    expect_close(single, X[:1, :, 0, 0] / (1 + 1e-5) ** 0.5, "without training, Y for a single sample")
    expect_device_kept(answer, [X, ones, zeros, zeros, ones], *others)
    return "2 to 6 axes, both modes, gradients and running statistics agree with PyTorch."


def _check_shape(answer: Callable, shape: tuple[int, ...], momentum: float = 0.3, eps: float = 0.5) -> None:
    X, (weight, bias, old_mean) = 2 + randn(*shape, seed=0), -randn(3, shape[1], seed=1)
    old_var, n, dY = randn(shape[1], seed=2).square() + 0.3, X.numel() // shape[1], randn(*shape, seed=3)
    given = dict(zip(NAMES, (X, weight, bias, old_mean, old_var), strict=True))
    inputs = X.clone().requires_grad_(), weight.clone().requires_grad_(), bias.clone().requires_grad_()
    leaves = given | dict(zip(NAMES, inputs, strict=False))
    trained, evaluated = (tensors(given_to(answer, leaves, mode, momentum, eps), *RESULTS) for mode in (True, False))
    with torch.no_grad():
        silent = tensors(given_to(answer, given, True, momentum, eps), *RESULTS)
    right = textbook(*inputs, eps)
    stale = F.batch_norm(inputs[0], old_mean, old_var, *inputs[1:], training=False, eps=eps)
    usual = slips.UNBIASED, slips.OUTSIDE, slips.NO_EPS, slips.FORGOTTEN, slips.ORDER
    mistakes = {slip: textbook(X, weight, bias, eps, slip) for slip in usual}
    mistakes["weight and bias were not applied"] = textbook(X, weight * 0 + 1, bias * 0, eps)
    mistakes["in training the batch's own statistics normalize, not the running ones"] = stale
    batch = "it is as in training, but the argument `training` is False"
    running = "it is as without training; the argument `training` decides, not whether gradients are recorded"
    of = f"Y for a float64 X of shape {shape}, weight = {[round(w, 2) for w in weight.tolist()]} and eps = {eps}"
    expect_close(trained[0], right, f"in training, {of}", mistakes, **EXACT)
    expect_close(evaluated[0], stale, f"without training, {of}", {batch: right}, **EXACT)
    expect_close(silent[0], right, "in training under no_grad, Y", {running: stale}, **EXACT)
    var, mean = torch.var_mean(X.transpose(0, 1).flatten(1), 1, correction=0)
    for i, name, old, new in ((1, "running_mean", old_mean, mean), (2, "running_var", old_var, var * n / (n - 1))):
        moved = old.lerp(new, momentum)
        weighed = "the old value was weighed by momentum; momentum is the weight of the new one"
        mistakes = {weighed: new.lerp(old, momentum)}
        mistakes["it moved with the biased variance; PyTorch takes the unbiased one"] = old.lerp(var, momentum)
        mistakes["it was not moved"] = old
        after = f"after training with momentum = {momentum}, {name}"
        expect_close(trained[i], moved, after, mistakes, **EXACT)
        expect_close(silent[i], moved, f"after training under no_grad, {name}", {running: old}, **EXACT)
        expect_close(evaluated[i], old, f"without training, {name}", {batch: moved}, **EXACT)
        graph = trained[i].requires_grad or evaluated[i].requires_grad
        expect(not graph, f"{name} keeps the autograd graph, or asks for a gradient (deepcopy will fail); detach it.")
    slipped = [textbook(*inputs, eps, slip) for slip in (slips.CONSTANT, slips.CONSTANT_VAR)]
    for when, Ys in {"in training": (trained[0], right, *slipped), "without training": (evaluated[0], stale)}.items():
        cut = f"{when}, no gradient reaches X: Y must not be detached or made under no_grad."
        expect(Ys[0].grad_fn is not None, cut)
        grads = (torch.autograd.grad(Y, inputs, dY, retain_graph=True, allow_unused=True) for Y in Ys)
        for name, grad, truth, *wrong in zip(NAMES, *grads, strict=False):
            expect(grad is not None, f"{when}, no gradient reaches {name}: was it detached?")
            mistakes = dict(zip((slips.CONSTANT, slips.CONSTANT_VAR), wrong, strict=False))
            expect_close(grad, truth, f"{when}, the gradient by {name}", mistakes, **EXACT)


@exercise
def check_my_test(answer: Callable) -> str:
    """Exercise 3: `answer(f)` tells right implementations of batch norm from wrong ones."""
    right = {
        "F.batch_norm itself": lambda X, gamma, beta, eps: F.batch_norm(X, None, None, gamma, beta, True, 0.0, eps),
        "the formulas, line by line": textbook,
        "computed in float64, then rounded": lambda X, *others: textbook(X.double(), *others).to(X.dtype),
    }
    for _ in range(3):  # for tests that draw
        for name, f in right.items():
            own = f"it returned False for {name}, which is right by definition."
            other = f"it returned False for a right version ({name}). Is the tolerance too small for float32?"
            expect(verdict(answer, f, name), own if name == "F.batch_norm itself" else other)
        for slip, does in slips.VERSIONS.items():
            passed = verdict(answer, lambda X, gamma, beta, eps, s=slip: textbook(X, gamma, beta, eps, s))
            expect(not passed, f"it returned True for a wrong version: one that {does}.")
    return f"{len(right)} right versions pass it, and it catches all {len(slips.VERSIONS)} wrong ones."


@exercise
def check_my_batch_norm_backward(answer: Callable) -> str:
    """Exercise 4: `answer(dY, Y, gamma, beta, var, eps)` is the backward pass of batch norm, without X."""
    names = ("dX", "dgamma", "dbeta")
    for shape in ((3, 2), (2, 3, 2, 2), (2, 3, 4), (4, 1), (1, 2, 2, 1, 3), (2, 2, 1, 2, 1, 2)):
        X, (gamma, beta), dY = randn(*shape, seed=5), randn(2, shape[1], seed=6), randn(*shape, seed=7)
        if odd := ", a gamma of -5e-4, a constant channel" * (shape[1] == 3):
            gamma[0], X[:, 1] = -5e-4, 2.0
        var, n = X.transpose(0, 1).flatten(1).var(1, correction=0), X.numel() // shape[1]
        inputs = X.clone().requires_grad_(), gamma.clone().requires_grad_(), beta.clone().requires_grad_()
        Y = textbook(*inputs, 0.5)
        dX, dgamma, dbeta = torch.autograd.grad(Y, inputs, dY)
        given = {"dY": dY, "Y": Y.detach(), "gamma": gamma, "beta": beta, "var": var}
        where = f"for a float64 Y of shape {shape}{odd} and eps = 0.5,"
        got = tensors(given_to(answer, given, 0.5), *names)
        mistakes = {"it is the mean; dbeta is the sum": dbeta / n, "it holds what dgamma must be": dgamma}
        expect_close(got[2], dbeta, f"{where} dbeta", mistakes, **EXACT)
        mistakes = {"Y was taken for x-hat": (dY * given["Y"]).transpose(0, 1).flatten(1).sum(1)}
        mistakes["beta was not taken off Y"] = dgamma + beta / gamma * dbeta
        mistakes["it is the mean; dgamma is the sum"] = dgamma / n
        expect_close(got[1], dgamma, f"{where} dgamma", mistakes, **EXACT)
        wrong = slips.lacking(dY, given["Y"], dX, torch.stack([dgamma, dbeta]), torch.stack([gamma, beta, var]), 0.5)
        expect_close(got[0], dX, f"{where} dX", wrong, **EXACT)
        turned = {k: t.float().mT.contiguous().mT if t.dim() > 1 else t.float() for k, t in given.items()}
        results = tensors(given_to(answer, turned, 0.5), *names)
        for name, ours, right in zip(names, results, (dX, dgamma, dbeta), strict=True):
            expect_close(ours, right.float(), f"for float32 numbers, not contiguous, {name}", rtol=1e-3, atol=5e-3)
    return "all three gradients are right, for tables and images, without X."


@exercise
def check_my_statistics(answer: Callable) -> str:
    """Exercise 5: `answer(chunks)` has the mean and variance of a stream, in one walk and little memory."""
    given_to(answer, {"chunks": chunks.weighed(randn(1200, 30).float().split(60))})
    single, double = torch.float32, torch.float64
    cases = (0, (3, 1, 5, 2), 2, single), (1e4, (1, 7, 300, 2, 90), 5, single), (0, (4,), 1, single)
    for shift, lengths, C, dtype in (*cases, (0, (4, 4, 1), 3, double), (7, (2, 3, 1), 2, double)):
        X = (shift + randn(sum(lengths), C, seed=8) * torch.linspace(1, 3, C)).to(dtype)
        X[: lengths[0]] += 4  # the chunks differ in their mean
        parts, slack = X.split(lengths), 2e-3 if dtype == single else 1e-9
        one = chunks.stream(parts) if dtype == single else chunks.refilled(parts) if shift else parts
        results = given_to(answer, {"chunks": one})
        got = dict(zip(("mean", "variance"), tensors(results, "mean", "var"), strict=True))
        sums = sum(p.sum(0) for p in parts) / len(X), sum(p.square().sum(0) for p in parts) / len(X)
        rows, kind = ", ".join(map(str, lengths)), str(dtype).removeprefix("torch.")
        more = {0: "", 7: ", each written over the last one", 1e4: " with a mean of 1e4"}[shift]
        where = f"for {kind} chunks of {rows} rows{more}, the"
        X, parts, weights = X.double(), X.double().split(lengths), torch.tensor(lengths).double() / sum(lengths)
        mistakes = {"weigh the chunks' means by their lengths": torch.stack([p.mean(0) for p in parts]).mean(0)}
        expect_close(got["mean"], X.mean(0).to(dtype), f"{where} mean", mistakes, rtol=slack / 1000, atol=slack)
        within = weights @ torch.stack([p.var(0, correction=0) for p in parts])
        mistakes = {"it was divided by n - 1": X.var(0), "it lacks the distance between the chunks' means": within}
        mistakes |= {slips.ONE_PASS: sums[1] - sums[0] ** 2} if shift else {}
        right = X.var(0, correction=0).to(dtype)
        expect_close(got["variance"], right, f"{where} variance", mistakes, rtol=slack, atol=slack)
    return "one walk, no chunk kept, any lengths, and a mean of 1e4 in float32 is fine."

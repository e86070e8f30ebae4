"""Checks of the exercises in notebook 02, batch normalization from scratch."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from d2lnorm.course.exercises.feedback import exercise, expect, expect_close, number, randn
from d2lnorm.course.exercises.functions import stream, three
from d2lnorm.course.exercises.traces import forbidden, kept

__all__ = ["check_my_batch_norm", "check_my_batch_norm_backward", "check_my_normalize"]
__all__ += ["check_my_statistics", "check_my_test"]

UNBIASED = "the batch was normalized with the unbiased variance; divide by n, not by n - 1"
OUTSIDE = "eps was added outside the root"
NO_EPS = "eps was left out, or is not the one that was given"
NO_ROOT = "it was divided by the variance; take its root"
ONE_PASS = "the variance is E[x²] - E[x]², which cancels in float32 when the mean is 1e4; take the deviations first"
CONSTANT = "mean and variance were treated as constants (no_grad or detach), so their part of the gradient is lost"
FORGOTTEN = "each sample was normalized by itself: the batch axis was forgotten"
ORDER = "beta was added before gamma was applied"
IN_PLACE = "an argument was changed in place; make a new tensor"
FAR = f"(with a mean of 1e4 in float32; perhaps {ONE_PASS})"
MODE = "the mode is the argument `training`, not whether gradients are recorded (is_grad_enabled)"


def _wide(t: Tensor, X: Tensor) -> Tensor:
    return t.view([1, -1] + [1] * (X.dim() - 2))


def _textbook(X: Tensor, gamma: Tensor, beta: Tensor, eps: float, slip: str = "") -> Tensor:
    """Batch norm in training by its formulas, with one slip; with none it is right."""
    given, X, inner = X, X.clone(), list(range(2, X.dim()))
    axes = inner or [1] if slip == FORGOTTEN else [0, *inner]
    mean = X.mean(axes, keepdim=True)
    var = X.var(axes, correction=int(slip == UNBIASED), keepdim=True)
    if slip == ONE_PASS:
        var = X.square().mean(axes, keepdim=True) - mean.square()
    mean, var = (mean.detach(), var.detach()) if slip == CONSTANT else (mean, var)
    roots = {OUTSIDE: lambda: var.sqrt() + eps, NO_EPS: lambda: (var + 1e-5).sqrt(), NO_ROOT: lambda: var + eps}
    X_hat = (X - mean) / roots.get(slip, lambda: (var + eps).sqrt())()
    if slip == IN_PLACE:
        given.data.copy_(X_hat.detach())
    gamma, beta = (_wide(gamma, X), _wide(beta, X)) if gamma.dim() else (gamma, beta)
    return (X_hat + beta) * gamma if slip == ORDER else X_hat * gamma + beta


@exercise
def check_my_normalize(answer: Callable) -> str:
    """Exercise 1: `answer(rows, eps)` normalizes the columns of a list of lists."""
    X = torch.tensor([[1, 5, 2], [2, 5, -1], [4.5, 5, 0.5], [3, 5, 1]]).double() + torch.tensor([0, 0, 1e9]).double()

    def table(X: Tensor, eps: float) -> Tensor:
        rows = X.tolist()
        with forbidden("any", asked="plain Python, no tensors"), kept(rows=rows):
            got = answer(rows, eps)
        fine = isinstance(got, list) and [isinstance(row, list) and len(row) for row in got] == [X.shape[1]] * len(X)
        expect(fine, f"the result must be a list of {len(X)} rows, lists of {X.shape[1]} numbers.")
        return torch.tensor([[number(x, "each cell") for x in row] for row in got], dtype=torch.float64)

    neutral, got = (torch.ones(3).double(), torch.zeros(3).double(), 0.5), table(X, 0.5)
    mistakes = {slip: _textbook(X, *neutral, slip)[:, :2] for slip in (UNBIASED, OUTSIDE, NO_EPS, NO_ROOT)}
    mistakes["the rows were normalized, or the whole table, not each column"] = F.layer_norm(X, (3,))[:, :2]
    expect_close(got[:, :2], _textbook(X, *neutral)[:, :2], "the table", mistakes)
    name = "the column with a mean of 1e9 (is it E[x²] - E[x]²? Take the deviations from the mean first)"
    expect_close(got[:, 2], _textbook(X, *neutral)[:, 2], name, atol=1e-3)
    for other in (randn(2, 5), randn(7, 2), randn(1, 1)):
        right = _textbook(other, torch.ones(()), torch.zeros(()), 0.1)
        expect_close(table(other, 0.1), right, f"the table of shape {tuple(other.shape)}")
    return "columns, biased variance, eps inside the root, and a mean of 1e9 are right."


@exercise
def check_my_batch_norm(answer: Callable) -> str:
    """Exercise 2: `answer(X, weight, bias, running_mean, running_var, training, momentum, eps)` does as PyTorch."""
    for shape in ((3, 2), (2, 3, 2), (2, 3, 1, 2), (2, 2, 1, 2, 1), (2, 2, 1, 2, 1, 2)):
        _check_shape(answer, shape)
    X, ones, zeros = 1e4 + randn(8, 2, 2, seed=4).float(), torch.ones(2), torch.zeros(2)
    Y = three(answer(X, ones, zeros, zeros, ones, True, 0.1, 1e-5))[0]
    expect_close(Y, F.batch_norm(X.double(), None, None, training=True).float(), f"{FAR} Y", rtol=0, atol=0.02)
    meta = [t.to("meta") for t in (X, ones, zeros, zeros, ones)]
    try:
        devices = str({t.device.type for t in answer(*meta, True, 0.1, 1e-5)})
    except (RuntimeError, NotImplementedError) as error:
        devices = str(error).splitlines()[0][:150]
    expect(devices == str({"meta"}), f"it must stay on X's device: make new tensors there ({devices}).")
    return "2 to 6 axes, both modes, gradients and running statistics agree with PyTorch."


def _check_shape(answer: Callable, shape: tuple[int, ...], momentum: float = 0.3, eps: float = 0.5) -> None:
    X, (weight, bias, old_mean) = 2 + randn(*shape, seed=0), randn(3, shape[1], seed=1)
    old_var, n = randn(shape[1], seed=2).square() + 0.3, X.numel() // shape[1]
    given = [t.clone().requires_grad_() for t in (X, weight, bias)] + [old_mean.clone(), old_var.clone()]
    with torch.enable_grad():
        trained, evaluated = (three(answer(*given, mode, momentum, eps)) for mode in (True, False))
    with torch.no_grad():
        silent = three(answer(*given, True, momentum, eps))
    expect(all(map(torch.equal, given, (X, weight, bias, old_mean, old_var))), f"{IN_PLACE}.")
    right, stale = _textbook(X, weight, bias, eps), F.batch_norm(X, old_mean, old_var, weight, bias, False, 0, eps)
    mistakes = {slip: _textbook(X, weight, bias, eps, slip) for slip in (UNBIASED, OUTSIDE, NO_EPS, FORGOTTEN, ORDER)}
    mistakes["weight and bias were not applied"] = _textbook(X, weight * 0 + 1, bias * 0, eps)
    mistakes["in training the batch's own statistics normalize, not the running ones"] = stale
    expect_close(trained[0], right, f"in training, Y for X of shape {shape}", mistakes)
    expect_close(evaluated[0], stale, f"without training, Y for X of shape {shape}", {MODE: right})
    expect_close(silent[0], right, "in training under no_grad, Y", {MODE: stale})
    var, mean = torch.var_mean(X.transpose(0, 1).flatten(1), 1, correction=0)
    for i, name, old, new in ((1, "running_mean", old_mean, mean), (2, "running_var", old_var, var * n / (n - 1))):
        expect(not trained[i].requires_grad, f"{name} keeps the autograd graph (deepcopy will fail); detach it.")
        moved = (1 - momentum) * old + momentum * new
        mistakes = {"the momentum is the wrong way round, it weighs the new value": new + momentum * (old - new)}
        mistakes["it moved with the biased variance; PyTorch takes the unbiased one"] = old + momentum * (var - old)
        expect_close(trained[i], moved, f"after training, {name}", mistakes | {"it was not moved": old})
        expect_close(silent[i], moved, f"after training under no_grad, {name}", {MODE: old})
        expect_close(evaluated[i], old, f"without training, {name}", {MODE: moved})
    expect(trained[0].requires_grad, f"no gradient reaches X. Perhaps {CONSTANT}.")
    dY, inputs = randn(*shape, seed=3), given[:3]
    got = torch.autograd.grad(trained[0], inputs, dY, allow_unused=True)
    for grad, name, *truths in zip(got, ("X", "weight", "bias"), *_gradients(inputs, dY, eps), strict=True):
        expect(grad is not None, f"no gradient reaches {name}: was it detached?")
        expect_close(grad, truths[0], f"the gradient of {name}", {CONSTANT: truths[1]})


def _gradients(inputs: list[Tensor], dY: Tensor, eps: float) -> list[tuple[Tensor, ...]]:
    X, gamma, beta = inputs
    with torch.enable_grad():  # the right ones, and those with the statistics as constants
        return [torch.autograd.grad(_textbook(X, gamma, beta, eps, slip), inputs, dY) for slip in ("", CONSTANT)]


@exercise
def check_my_test(answer: Callable) -> str:
    """Exercise 3: `answer(f)` tells right implementations of batch norm from wrong ones."""
    right = {
        "F.batch_norm itself": lambda X, gamma, beta, eps: F.batch_norm(X, None, None, gamma, beta, True, 0.0, eps),
        "the formulas, line by line": _textbook,
        "computed in float64, then rounded": lambda X, *a, **k: _textbook(X.double(), *a, **k).to(X.dtype),
    }
    wrong = UNBIASED, OUTSIDE, ONE_PASS, CONSTANT, FORGOTTEN, ORDER, IN_PLACE
    with torch.enable_grad():
        for name, f in right.items():
            expect(bool(answer(f)), f"it rejects a right version ({name}). Is the tolerance too small for float32?")
        for slip in wrong:
            words = f"a wrong version passes: {slip}."
            expect(not answer(lambda X, gamma, beta, eps, s=slip: _textbook(X, gamma, beta, eps, s)), words)
    return f"{len(right)} right versions pass it, and it catches all {len(wrong)} wrong ones."


@exercise
def check_my_batch_norm_backward(answer: Callable) -> str:
    """Exercise 4: `answer(dY, Y, gamma, beta, var, eps)` is the backward pass of batch norm, without X."""
    for shape in ((3, 2), (2, 3, 2, 2), (2, 3, 4), (1, 2, 2, 1, 3)):
        X, (gamma, beta), dY = randn(*shape, seed=5), randn(2, shape[1], seed=6), randn(*shape, seed=7)
        var, n = X.transpose(0, 1).flatten(1).var(1, correction=0), X.numel() // shape[1]
        inputs, Y = [t.clone().requires_grad_() for t in (X, gamma, beta)], _textbook(X, gamma, beta, 0.5)
        (dX, dgamma, dbeta), (constant, *_) = _gradients(inputs, dY, 0.5)
        given = [t.clone() for t in (dY, Y, gamma, beta, var)]
        got = three(answer(*given, 0.5), "(dX, dgamma, dbeta)")
        expect(all(map(torch.equal, given, (dY, Y, gamma, beta, var))), f"{IN_PLACE}.")
        expect_close(got[2], dbeta, "dbeta", {"it is the mean; dbeta is the sum": dbeta / n})
        mistakes = {"Y was taken for x-hat": (dY * Y).transpose(0, 1).flatten(1).sum(1)}
        mistakes["beta was not taken off Y"] = dgamma + beta / gamma * dbeta
        expect_close(got[1], dgamma, "dgamma", mistakes | {"it is the mean; dgamma is the sum": dgamma / n})
        scale = _wide(gamma * (var + 0.5).rsqrt(), X)
        mean, along = _wide(dbeta, X) / n, _wide(dgamma, X) / n * (Y - _wide(beta, X)) / _wide(gamma, X)
        expect_close(got[0], dX, "dX", {
            CONSTANT: constant, OUTSIDE: dX * _wide((var + 0.5).sqrt() / (var.sqrt() + 0.5), X),
            "only the mean was taken off; the part along x-hat is missing": scale * (dY - mean),
            "n counts the pixels, not only the samples": scale * (dY - (mean + along) * n / shape[0]),
            "the sums were taken; it needs the means of h and of h times x-hat": scale * (dY - (mean + along) * n),
            NO_EPS: dX * _wide(((var + 0.5) / var).sqrt(), X), "gamma is missing in h": dX / _wide(gamma, X),
        })  # fmt: skip
    return "all three gradients are right, for tables and images, without X."


@exercise
def check_my_statistics(answer: Callable) -> str:
    """Exercise 5: `answer(chunks)` has the mean and variance of a stream, in one walk and little memory."""
    for shift, lengths in ((0.0, (3, 1, 5, 2)), (1e4, (1, 7, 300, 2, 90))):
        X = (shift + randn(sum(lengths), 2, seed=8) * torch.tensor([1.0, 3.0])).float()
        X[: lengths[0]] += 4  # the chunks differ in their mean
        with forbidden("cat", "concat", "concatenate", "vstack", asked="no chunk may be kept"):
            results = answer(stream(X.split(lengths)))
        expect(isinstance(results, tuple | list) and len(results) == 2, "it must return two tensors, (mean, var).")
        X, parts, weights = X.double(), X.double().split(lengths), torch.tensor(lengths).double() / sum(lengths)
        mistakes = {"weigh the chunks' means by their lengths": torch.stack([p.mean(0) for p in parts]).mean(0)}
        expect_close(results[0], X.mean(0).float(), "the mean", mistakes, rtol=1e-6, atol=1e-3)
        within = weights @ torch.stack([p.var(0, correction=0) for p in parts])
        mistakes = {"it was divided by n - 1": X.var(0), "it lacks the distance between the chunks' means": within}
        name = f"{FAR} the variance" if shift else "the variance"
        expect_close(results[1], X.var(0, correction=0).float(), name, mistakes, rtol=1e-3, atol=2e-3)
    X = randn(9, 3, seed=9)
    for result, right, what in zip(answer(stream(X.split(4))), (X.mean(0), X.var(0, correction=0)), "mv", strict=True):
        expect_close(result, right, f"in float64, the {'mean' if what == 'm' else 'variance'}", rtol=1e-10, atol=1e-12)
    return "one walk, no chunk kept, any lengths, and a mean of 1e4 in float32 is fine."

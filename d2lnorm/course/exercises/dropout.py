"""Checks of the dropout notebook's exercises."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from d2lnorm.course.exercises.common.calls import drawn, expect_outcomes, expect_rare
from d2lnorm.course.exercises.common.draws import alike, expect_drawn, expect_flow, expect_scaled, seeded, survivors
from d2lnorm.course.exercises.common.feedback import exercise, expect, expect_close, randn
from d2lnorm.course.exercises.common.layers import called, expect_layers
from d2lnorm.course.exercises.common.paths import expect_few, expect_paths
from d2lnorm.course.exercises.common.traces import forbidden, kept

__all__ = ["check_drop_connect", "check_drop_path", "check_noisy_mlp", "check_seeded_dropout", "check_variance_ratio"]

F32, F64 = torch.float32, torch.float64
DRAWS = "dropout", "bernoulli", "bernoulli_", "rand", "rand_like", "randint", "randn", "multinomial", "uniform_"


@exercise
def check_seeded_dropout(answer: Callable) -> str:
    """The answer is `(X, p, training, generator) -> Tensor`: inverted dropout whose mask is drawn from `generator`."""
    tensors = randn(40, 30, seed=1).T, randn(900, seed=1, dtype=F32), randn(4, 5, 6, 7, seed=1, dtype=F32)
    for X, p in zip(tensors, (0.2, 0.95, 0.35), strict=True):
        what, given = f"the output in training, for X of shape {tuple(X.shape)},", {"X": X}
        draws, (evaluated, *_) = (drawn(answer, given, p, training) for training in (True, False))
        expect_close(evaluated, X, "the output in evaluation", {"it is scaled": X * (1 - p)}, rtol=0, atol=0)
        keep = survivors(draws[0], X, what)
        expect(bool(keep.any()), f"{what} at p = {p} is 0 everywhere; a share of about {1 - p:.2g} should survive.")
        expect(not keep.all(), f"{what} holds no 0: nothing was dropped.")
        shared = next((axis for axis in range(X.dim()) if alike(keep, axis)), None)
        expect(shared is None, f"all elements along axis {shared} of X got the same mask; draw each by itself.")
        expect_scaled(draws[0], keep, X * keep, p, what)
        expect_drawn(*draws)
        at_1, at_0, off = (drawn(answer, given, *way)[0] for way in ((1.0, True), (0.0, True), (1.0, False)))
        nan = {"0/0 gives NaN; treat p = 1 by itself": torch.full_like(X, torch.nan)}
        expect_close(at_1, torch.zeros_like(X), "the output at p = 1", nan)
        expect_close(off, X, "the output in evaluation at p = 1")
        expect_close(at_0, X, "the output at p = 0")
    expect_rare(lambda X, p: answer(X, p, True, seeded(5)), "the output")
    expect_outcomes([tuple(answer(torch.ones(2), 0.5, True, g).tolist()) for g in [seeded(4)] * 40], 0, "elements")
    return "a mask for each element, repeatable; scaled; p = 1; evaluation; X kept."


@exercise
def check_noisy_mlp(answer: Callable) -> str:
    """The answer is a class `(inputs, hidden, outputs, p)`: a net with layers `hidden` and `output`, without bugs."""
    for p, n, inputs, hidden, dtype in ((0.25, 50, 8, 400, F32), (0.95, 30, 3, 600, F64)):
        net, twin = (answer(inputs, hidden, hidden + 2, of_net) for of_net in (p, 0.5))
        expect_layers(net, hidden=(inputs, hidden), output=(hidden, hidden + 2))
        anew = not torch.equal(net.hidden.weight, twin.hidden.weight)
        expect(anew, "two nets made in turn start with the same weights; each must draw its own.")
        _check_noisy(net.to(dtype), p, randn(n, inputs, seed=1, dtype=dtype).round())
    net, X = answer(4, 5, 3, 0.0), randn(9, 4, seed=1, dtype=F32)
    expect_close(called(net, X, True), called(net, X, False), "the output in training at p = 0")
    return "predictions repeat, hidden units drop with probability p, outputs never."


def _check_noisy(net: Any, p: float, X: Tensor) -> None:
    W, B, units = net.output.weight.data, net.output.bias.data, net.hidden.out_features
    net.hidden.weight.data.normal_().round_(), net.hidden.bias.data.fill_(0.5)  # no unit is close to 0
    W.copy_(torch.eye(*W.shape)), B.fill_(3)  # the first outputs show the hidden units,
    W[units:].normal_(), B[units:].fill_(-1)  # and two mix them
    Z = net.hidden(X)
    evaluated, again, following, Y = (called(net, X, training) for training in (False, False, True, True))
    H, on, right = Z.relu(), Z > 0, F.linear(Z.relu(), W, B)
    survivors(evaluated, right + 1, "the output in evaluation")  # a tensor like that, with any values
    words = "two predictions differ after eval(): values are still dropped. How does F.dropout, or a new nn.Dropout,"
    expect(torch.equal(evaluated, again), f"{words} know the mode?")
    mistakes = {"it is scaled": F.linear(H * (1 - p), W, B), "the ReLU is missing": F.linear(Z, W, B)}
    expect_close(evaluated, right, "the output in evaluation", mistakes)
    survivors(Y, evaluated, "the output in training")
    expect(not torch.equal(Y, following), "two calls in training dropped the same units: draw anew in each.")
    expect(not (Y == 0).any(), "outputs were dropped, too; only the hidden units may be.")
    got = Y.detach()[:, :units] - 3
    odd = "a hidden unit that is 0 in prediction is not 0 in training: only zero and scale what leaves the ReLU."
    expect(bool((got[~on].abs() < 1e-5).all()), odd)
    keep = got.abs() > 1e-5
    expect(not alike(keep, 0, on), "every example of the batch got the same mask.")
    expect(not alike(keep, 1, on), "an example loses all of its hidden units or none: drop single ones.")
    expect_scaled(got, keep[on], (H * keep).detach(), p, "what `output` gets in training")
    right = net.output(H * keep / (1 - p))
    expect_close(Y, right, "the output in training", rtol=1e-3)
    leaves = {f"{of}.{name}": t for of in ("hidden", "output") for name, t in getattr(net, of).named_parameters()}
    expect_flow(Y, right, leaves, "training")


@exercise
def check_drop_connect(answer: Callable) -> str:
    """The answer is `(X, weight, bias, p, training, generator) -> Tensor`: a linear layer that drops weights."""
    for p, inputs, outputs, dtype in ((0.2, 60, 20, F32), (0.95, 40, 30, F64)):
        X = torch.cat([torch.eye(inputs), randn(9, inputs, seed=3)]).to(dtype)  # the identity reads the weights off
        weight = (1 + torch.rand(inputs, outputs, generator=seeded(1))).to(dtype).T
        bias, what = torch.linspace(3, 5, outputs, dtype=dtype), "the output in training"
        whole, scaled = F.linear(X, weight, bias), F.linear(X, weight * (1 - p), bias)
        given = {"X": X, "weight": weight, "bias": bias}
        draws, (evaluated, *_) = (drawn(answer, given, p, training) for training in (True, False))
        expect_close(evaluated, whole, "the output in evaluation", {"it is scaled": scaled})
        survivors(draws[0], whole, what)
        Y = draws[0][:inputs]
        expect(bool((Y > 2.9).all()), "the bias (or the output) was dropped, too: the bias always stays.")
        off = torch.isclose(Y, bias) if torch.isclose(Y, bias).any() else torch.isclose(Y, bias / (1 - p))
        keep = ~off.T
        expect(not alike(keep, 0), "whole inputs were dropped: that is dropout of X. Drop single weights.")
        expect(not alike(keep, 1), "all weights of an output were dropped, or none. Drop single weights.")
        added = (weight * keep).T
        scaled_too = {"the bias is scaled, too; it is not dropped, so it keeps its size": (added + bias) / (1 - p)}
        expect_scaled(Y, keep, added, p, what, plus=bias, mistakes=scaled_too)
        shared = torch.allclose(draws[0], F.linear(X, weight * keep / (1 - p), bias), rtol=1e-4, atol=1e-4)
        expect(shared, "the examples do not share one mask over the weights.")
        expect_drawn(*draws)
        expect_close(answer(X, weight, bias, 0.0, True, seeded(2)), whole, "the output at p = 0")
        for mode, factor in (("training", keep / (1 - p)), ("evaluation", 1)):
            leaves = {n: t.clone().requires_grad_() for n, t in (("X", X), ("the weight", weight), ("the bias", bias))}
            x, w, b = leaves.values()
            expect_flow(answer(x, w, b, p, mode == "training", seeded(2)), F.linear(x, w * factor, b), leaves, mode)
    zeros, eye, ones = torch.zeros(125), torch.eye(100), torch.ones(2, 1)
    expect_rare(lambda W, p: answer(eye.to(W), W, zeros.to(W), p, True, seeded(5)).T, "the output for a weight")
    rows = [tuple(answer(ones[:1], ones, zeros[:2], 0.5, True, g)[0].tolist()) for g in [seeded(4)] * 40]
    expect_outcomes(rows, 0, "weights")
    return "single weights drop, the rest is scaled, the bias stays, gradients flow."


@exercise
def check_variance_ratio(answer: Callable) -> str:
    """The answer is `(X, weight, p) -> (outputs,)`: by how much dropout before a linear layer raises the variance."""
    for n, i, o, p in ((50, 6, 4, 0.3), (7, 3, 1, 0.6), (20, 2, 5, 0.9)):
        X, weight, odds = 1 + randn(n, i, seed=n), randn(i, o, seed=2).T, p / (1 - p)
        X[:, 1] += 2 * X[:, 0]  # correlated inputs
        Z, squares, square = X @ weight.T, (X**2).mean(dim=0), (weight**2).T
        plain, noise, var = Z.var(dim=0, correction=0), squares @ square, X.var(dim=0, correction=0) @ square
        of_z, right = (plain + p * Z.mean(dim=0) ** 2) / (1 - p) / plain, 1 + odds * noise / plain
        mistakes = {
            "it takes the variance of the inputs where their mean square belongs": 1 + odds * var / plain,
            "1/(1-p) is the ratio for one input of mean 0; weights and means matter": torch.ones_like(plain) / (1 - p),
            "p(1-p) is the variance of an unscaled mask; the mask is divided by 1-p": 1 + p * (1 - p) * noise / plain,
            "1/(1-p) is the scaled mask's mean square, not its variance": 1 + noise / (1 - p) / plain,
            "p was taken as the probability to be kept; it is that to be dropped": 1 + noise / odds / plain,
            "the inputs' squares were summed, not averaged over the N examples": 1 + n * odds * noise / plain,
            "the inputs' variance was divided by N - 1; divide by N": 1 + odds * (noise + var / (n - 1)) / plain,
            "the variance in prediction lacks the subtraction of the squared mean": 1 + odds * noise / (Z**2).mean(0),
            "it treats the inputs as uncorrelated": 1 + odds * noise / var,
            "this is dropout of z itself; the mask sits before the linear layer": of_z,
            "the weights must enter squared": 1 + odds * (squares @ weight.T) / plain,
            "it is upside down: training over prediction is asked for": 1 / right,
            "this is the masks' part alone; the part from the examples is missing": right - 1,
            "it is the ratio of the standard deviations": right.sqrt(),
            "the variance of X @ weight.T was divided by N - 1; divide it by N": 1 + odds * noise / plain * (n - 1) / n,
        }
        with kept(X=X, weight=weight, generator=True), forbidden(*DRAWS, asked="compute it without drawing a mask"):
            got = answer(X, weight, p)
        expect_close(got, right, f"the ratio for X of shape {(n, i)} and p = {p}", mistakes, rtol=1e-8, atol=0)
        expect_close(answer(X.float(), weight.float(), p), right.float(), "the ratio for float32", rtol=1e-3)
        far = (3000 + X).float()  # where a variance in one pass is lost
        of_z = (far.double() @ weight.float().double().T).var(dim=0, correction=0)
        more = 1 + odds * (far.double() ** 2).mean(dim=0) @ square / of_z
        expect_close(answer(far, weight.float(), p), more.float(), "the ratio in float32 for X around 3000", rtol=0.05)
        expect_close(answer(X, weight, 0.0), torch.ones_like(plain), "the ratio at p = 0")
    return "mean squares of the inputs, squared weights, correlated inputs, p = 0."


@exercise
def check_drop_path(answer: Callable) -> str:
    """The answer is a class `(branch, p)`: a residual block that skips its branch for some examples in training."""
    for p, shape, dtype in ((0.2, (3, 500), F32), (0.95, (400, 2, 3, 3), F64), (0.4, (600, 2, 4), F32)):
        expect_paths(answer, (1 + torch.rand(shape, dtype=dtype, generator=seeded(1))).mT, p)
    expect_few(answer)
    return "a draw for each example, scaled; the branch sees survivors only."

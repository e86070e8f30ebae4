"""Checks of the dropout notebook's exercises."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from d2lnorm.course.exercises.feedback import exercise, expect, expect_close

__all__ = [
    "check_drop_connect",
    "check_drop_path",
    "check_noisy_mlp",
    "check_seeded_dropout",
    "check_variance_ratio",
]


@exercise
def check_seeded_dropout(answer: Callable) -> str:
    """The answer is `(X, p, training, generator) -> Tensor`: inverted dropout whose mask is drawn from `generator`."""
    X = 1 + torch.rand(40, 50, dtype=torch.float64, generator=_seeded(1))
    p, before, what = 0.2, X.clone(), "the output in training"
    state = torch.get_rng_state()
    Y, again, other = (answer(X, p, True, _seeded(seed)) for seed in (2, 2, 3))
    untouched = torch.equal(state, torch.get_rng_state())
    evaluated, at_1, at_0 = (answer(X, *how, _seeded(2)) for how in ((p, False), (1.0, True), (0.0, True)))
    expect(torch.equal(X, before), "X was changed in place; return a new tensor.")
    expect_close(evaluated, X, "the output in evaluation", rtol=0, atol=0)
    keep = _kept(Y, X, what)
    expect(len(keep.unique(dim=0)) > 1, "every example of the batch got the same mask.")
    _expect_share(keep, p)
    _expect_scaled(Y, X * keep, p, what)
    drawn = untouched and torch.equal(Y, again)
    expect(drawn, "the same seed must give the same mask, but it is not drawn from the generator (alone).")
    expect(not torch.equal(Y, other), "another seed gave the same mask; use the generator as it was passed.")
    nan = {"0/0 gives NaN; treat p = 1 by itself": torch.full_like(X, torch.nan)}
    expect_close(at_1, 0 * X, "the output at p = 1", nan)
    expect_close(at_0, X, "the output at p = 0")
    return "a mask for each element, repeatable; scaled; p = 1; evaluation; X kept."


@exercise
def check_noisy_mlp(answer: Callable) -> str:
    """The answer is a class `(inputs, hidden, outputs, p)`: a net with layers `hidden` and `output`, without bugs."""
    p, seen, what = 0.2, [], "what `output` gets in training"
    with torch.no_grad():
        net, X = answer(8, 400, 5, p), torch.randn(50, 8)
        expect(isinstance(net, nn.Module), "the class must be an nn.Module.")
        for name in ("hidden", "output"):
            expect(isinstance(getattr(net, name, None), nn.Linear), f"the net must have a linear layer `{name}`.")
        weight = net.hidden.weight
        expect(not (weight == weight[0]).all(), "all hidden units start alike: leave the random weights of nn.Linear.")
        weight.normal_()
        H = net.hidden(X).relu()
        net.output.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        trained, evaluated, again = net.train()(X), net.eval()(X), net.eval()(X)
        same = torch.equal(evaluated, again)
        expect(same, "two predictions differ after eval(): F.dropout drops unless told training=self.training.")
        expect(len(seen) == 3, "each forward pass must call the layer `output` once.")
        expect_close(seen[1], H, "what `output` gets in evaluation", {"it is scaled": H * (1 - p)})
        keep = _kept(seen[0], H, what)[H > 0]
        _expect_share(keep, p)
        _expect_scaled(seen[0], H * (seen[0] != 0), p, what)
        expect(bool((trained != 0).all()), "outputs were dropped, too; only the hidden units may be.")
        expect_close(trained, F.linear(seen[0], net.output.weight, net.output.bias), "the output in training")
        expect_close(evaluated, F.linear(H, net.output.weight, net.output.bias), "the output in evaluation")
    return "predictions repeat, hidden units drop with probability p, outputs never."


@exercise
def check_drop_connect(answer: Callable) -> str:
    """The answer is `(X, weight, bias, p, training, generator) -> Tensor`: a linear layer that drops weights."""
    X, p, what = torch.eye(60).repeat(2, 1), 0.2, "the output in training"  # the identity reads the weights off, twice
    weight = (1 + torch.rand(20, 60, generator=_seeded(1))).requires_grad_()
    bias, before = torch.linspace(3, 5, 20, requires_grad=True), weight.detach().clone()
    whole = F.linear(X, weight, bias)
    evaluated, Y, again = (answer(X, weight * 1, bias, p, training, _seeded(2)) for training in (False, True, True))
    copied = weight.detach().clone()
    answer(X, copied, bias.detach(), p, True, _seeded(2))
    expect(torch.equal(copied, before), "the weight was changed in place; what was dropped is lost for good.")
    expect_close(evaluated, whole, "the output in evaluation")
    _kept(Y, whole, what)
    expect(bool((Y > 2.9).all()), "the bias (or the output) was dropped, too: the bias always stays.")
    keep = (Y - Y.min(dim=0).values > 1e-3).T[:, :60]
    expect(not (keep == keep[:1]).all(), "whole inputs were dropped: that is dropout of X. Drop single weights.")
    expect(torch.allclose(Y[:60], Y[60:]), "the examples do not share one mask over the weights.")
    _expect_share(keep, p)
    added = F.linear(X, before * keep)
    scaled_too = {"the bias is scaled, too; it is not dropped, so it keeps its size": (added + bias) / (1 - p)}
    _expect_scaled(Y, added, p, what, plus=bias, mistakes=scaled_too)
    expect(torch.equal(Y, again), "the same seed must give the same mask, but it is not drawn from the generator.")
    reached = Y.requires_grad and torch.autograd.grad(Y.sum(), weight, allow_unused=True)[0]
    expect(isinstance(reached, Tensor), "no gradient reaches the weight; do not use .data or .detach().")
    expect_close(reached, 2 * keep / (1 - p), "the weight's gradient")
    return "single weights drop, the rest is scaled, the bias stays, gradients flow."


@exercise
def check_variance_ratio(answer: Callable) -> str:
    """The answer is `(X, weight, p) -> (outputs,)`: by how much dropout before a linear layer raises the variance."""
    X = 1 + torch.randn(50, 6, dtype=torch.float64, generator=_seeded(1))
    X[:, 1] += 2 * X[:, 0]  # correlated inputs
    weight, p = torch.randn(4, 6, dtype=torch.float64, generator=_seeded(2)), 0.3
    Z, squares, square = X @ weight.T, (X**2).mean(dim=0), (weight**2).T
    plain, noise, var = Z.var(dim=0, correction=0), squares @ square, X.var(dim=0, correction=0) @ square
    odds, of_z = p / (1 - p), (plain + p * Z.mean(dim=0) ** 2) / (1 - p) / plain
    right = 1 + odds * noise / plain
    mistakes = {
        "it takes the variance of the inputs where their mean square belongs": 1 + odds * var / plain,
        "1/(1-p) is the ratio for one input of mean 0; weights and means matter": torch.ones_like(plain) / (1 - p),
        "the variance of m/(1-p) is p/(1-p), not p(1-p)": 1 + p * (1 - p) * noise / plain,
        "the variance of m/(1-p) is p/(1-p), not 1/(1-p)": 1 + noise / (1 - p) / plain,
        "it treats the inputs as uncorrelated": 1 + odds * noise / var,
        "this is dropout of z itself; the mask sits before the linear layer": of_z,
        "the weights must enter squared": 1 + odds * (squares @ weight.T) / plain,
        "it is upside down: training over prediction is asked for": 1 / right,
        "it is off by (N - 1)/N: divide by N, and average over all masks": 1 + odds * noise / (plain * 50 / 49),
    }
    expect_close(answer(X, weight, p), right, "the ratio", mistakes, rtol=1e-8, atol=0)
    expect_close(answer(X, weight, 0.0), torch.ones_like(plain), "the ratio at p = 0")
    return "mean squares of the inputs, squared weights, correlated inputs, p = 0."


@exercise
def check_drop_path(answer: Callable) -> str:
    """The answer is a class `(branch, p)`: a residual block that skips its branch for some examples in training."""
    for shape in ((500, 3), (500, 2, 3, 3)):
        _check_paths(answer, 1 + torch.rand(*shape, generator=_seeded(1)), 0.2)
    X, branch = torch.ones(3, 2), _Watched()
    expect_close(answer(branch, 1.0).train()(X), X, "the output at p = 1")
    expect(branch.rows is None, "the branch was called although no example survived.")
    return "a draw for each example, scaled; the branch sees survivors only."


def _check_paths(answer: Callable, X: Tensor, p: float) -> None:
    branch, what = _Watched(), "what the branch adds"
    net, before, X = answer(branch, p), X.clone(), X.requires_grad_() * 1
    expect(isinstance(net, nn.Module), "the class must be an nn.Module.")
    expect(any(m is branch for m in net.modules()), "the branch is not registered as a submodule.")
    torch.manual_seed(0)
    evaluated, Y = net.eval()(X), net.train()(X)
    expect(torch.equal(X, before), "X was changed in place.")
    expect_close(evaluated, 4 * X, "the output in evaluation", {"the branch is scaled": X + 3 * (1 - p) * X})
    expect(isinstance(Y, Tensor) and Y.shape == X.shape, "the output in training must be a tensor of X's shape.")
    expect(not (Y == 0).any(), "the shortcut was dropped, too: x always passes.")
    elements = (added := (Y - X).detach().flatten(1)).abs() > 1e-4
    expect(bool((elements == elements[:, :1]).all()), "single elements were dropped; drop an example's whole branch.")
    keep = elements[:, 0]
    expect(len(keep.unique()) == 2, "all were skipped or none, as if they shared one draw: draw for each example.")
    _expect_share(keep, p)
    _expect_scaled(added, 3 * X.detach().flatten(1) * keep[:, None], p, what)
    n = int(keep.sum())
    expect(branch.rows == n, f"{n} examples survived, but the branch was called on {branch.rows}.")
    expect(Y.requires_grad, "the output is cut off from the graph.")
    gradient = torch.autograd.grad(Y.sum(), X)[0].flatten(1)
    expect_close(gradient[:, 0], 1 + 3 * keep / (1 - p), "the gradient of X")


class _Watched(nn.Module):
    """Triples its input and remembers how many examples it saw last."""

    rows = None

    def forward(self, X: Tensor) -> Tensor:
        self.rows = len(X)
        return 3 * X


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _kept(Y: Any, X: Tensor, what: str) -> Tensor:
    """Which elements survived, once Y is known to be a tensor of X's shape in which something was dropped."""
    expect(isinstance(Y, Tensor), f"{what} must be a tensor, but is a {type(Y).__name__}.")
    expect(Y.shape == X.shape, f"{what} must have shape {tuple(X.shape)}, but has {tuple(Y.shape)}.")
    expect(not torch.equal(Y, X), f"{what} is as it would be without dropout: nothing was dropped.")
    return Y.detach() != 0


def _expect_share(keep: Tensor, p: float) -> None:
    """Expect that a share of about 1 - p survived: within five standard deviations."""
    share, off = keep.double().mean().item(), 5 * (p * (1 - p) / keep.numel()) ** 0.5
    expect(abs(share - p) > off, f"a share of {share:.2f} survived with p = {p}: p is the probability to be dropped.")
    expect(abs(share - (1 - p)) < off, f"a share of {share:.2f} survived with p = {p}; about {1 - p} should.")


def _expect_scaled(Y: Tensor, survivors: Tensor, p: float, what: str, plus: Tensor | float = 0, mistakes=None) -> None:
    usual = {
        "the survivors are not scaled": survivors + plus,
        "the survivors are divided by p instead of 1 - p": survivors / p + plus,
        "the survivors are multiplied by 1 - p; divide by it": survivors * (1 - p) + plus,
    }
    expect_close(Y, survivors / (1 - p) + plus, what, usual | (mistakes or {}))

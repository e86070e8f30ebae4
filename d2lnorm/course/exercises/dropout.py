"""Checks of the dropout notebook's exercises."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from d2lnorm.course.exercises.draws import expect_drawn, expect_scaled, expect_share, seeded, survivors
from d2lnorm.course.exercises.feedback import exercise, expect, expect_close
from d2lnorm.course.exercises.traces import kept

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
    for shape, p, dtype in (((40, 50), 0.2, torch.float64), ((2000,), 0.6, torch.float32), ((4, 5, 6, 7), 0.35, None)):
        X = 1 + torch.rand(shape, dtype=dtype, generator=seeded(1))
        what, running = f"the output in training, for X of shape {shape},", seeded(2)
        with kept(X=X, generator=True):
            Y, following, again, other = (answer(X, p, True, g) for g in (running, running, seeded(2), seeded(3)))
            evaluated, at_1, at_0 = (answer(X, *how, seeded(2)) for how in ((p, False), (1.0, True), (0.0, True)))
        expect_close(evaluated, X, "the output in evaluation", rtol=0, atol=0)
        keep = survivors(Y, X, what)
        expect(len(shape) == 1 or len(keep.unique(dim=0)) > 1, "every example of the batch got the same mask.")
        expect_share(keep, p)
        expect_scaled(Y, X * keep, p, what)
        expect_drawn(Y, following, again, other)
        nan = {"0/0 gives NaN; treat p = 1 by itself": torch.full_like(X, torch.nan)}
        expect_close(at_1, 0 * X, "the output at p = 1", nan)
        expect_close(at_0, X, "the output at p = 0")
    return "a mask for each element, repeatable; scaled; p = 1; evaluation; X kept."


@exercise
def check_noisy_mlp(answer: Callable) -> str:
    """The answer is a class `(inputs, hidden, outputs, p)`: a net with layers `hidden` and `output`, without bugs."""
    for p, sizes in ((0.2, (8, 400, 5)), (0.7, (3, 600, 2))):
        _check_noisy(answer(*sizes, p), p, torch.randn(50, sizes[0]))
    return "predictions repeat, hidden units drop with probability p, outputs never."


@exercise
def check_drop_connect(answer: Callable) -> str:
    """The answer is `(X, weight, bias, p, training, generator) -> Tensor`: a linear layer that drops weights."""
    for p, inputs, dtype in ((0.2, 60, torch.float32), (0.6, 40, torch.float64)):
        X = torch.eye(inputs, dtype=dtype).repeat(2, 1)  # the identity reads the weights off, twice
        weight = (1 + torch.rand(20, inputs, dtype=dtype, generator=seeded(1))).requires_grad_()
        bias, before = torch.linspace(3, 5, 20, dtype=dtype, requires_grad=True), weight.detach().clone()
        whole, what, running = F.linear(X, weight, bias), "the output in training", seeded(2)
        with kept(X=X, weight=weight, bias=bias, generator=True):
            evaluated = answer(X, weight, bias, p, False, seeded(2))
            Y, following, again, other = (
                answer(X, weight * 1, bias, p, True, g) for g in (running, running, seeded(2), seeded(3))
            )
        copied = before.clone()
        answer(X, copied, bias.detach(), p, True, seeded(2))
        expect(torch.equal(copied, before), "the weight was changed in place; what was dropped is lost for good.")
        expect_close(evaluated, whole, "the output in evaluation")
        survivors(Y, whole, what)
        expect(bool((Y > 2.9).all()), "the bias (or the output) was dropped, too: the bias always stays.")
        keep = (Y - Y.min(dim=0).values > 1e-3).T[:, :inputs]
        expect(not (keep == keep[:1]).all(), "whole inputs were dropped: that is dropout of X. Drop single weights.")
        expect(torch.allclose(Y[:inputs], Y[inputs:]), "the examples do not share one mask over the weights.")
        expect_share(keep, p)
        added = F.linear(X, before * keep)
        scaled_too = {"the bias is scaled, too; it is not dropped, so it keeps its size": (added + bias) / (1 - p)}
        expect_scaled(Y, added, p, what, plus=bias, mistakes=scaled_too)
        expect_drawn(Y, following, again, other)
        reached = Y.requires_grad and torch.autograd.grad(Y.sum(), weight, allow_unused=True)[0]
        expect(isinstance(reached, Tensor), "no gradient reaches the weight; do not use .data or .detach().")
        expect_close(reached, (2 * keep / (1 - p)).to(dtype), "the weight's gradient")
        expect_close(answer(X, weight, bias, 0.0, True, seeded(2)), whole, "the output at p = 0")
    return "single weights drop, the rest is scaled, the bias stays, gradients flow."


@exercise
def check_variance_ratio(answer: Callable) -> str:
    """The answer is `(X, weight, p) -> (outputs,)`: by how much dropout before a linear layer raises the variance."""
    for n, i, o, p in ((50, 6, 4, 0.3), (7, 3, 1, 0.6), (20, 2, 5, 0.9)):
        X = 1 + torch.randn(n, i, dtype=torch.float64, generator=seeded(n))
        X[:, 1] += 2 * X[:, 0]  # correlated inputs
        weight = torch.randn(o, i, dtype=torch.float64, generator=seeded(2))
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
            "it is off by (N - 1)/N: divide by N, and average over all masks": 1 + odds * noise / (plain * n / (n - 1)),
        }
        with kept(X=X, weight=weight):
            got = answer(X, weight, p)
        expect_close(got, right, f"the ratio for X of shape {(n, i)}", mistakes, rtol=1e-8, atol=0)
        single = answer(X.float(), weight.float(), p)
        expect_close(single, right.float(), "the ratio for float32", rtol=1e-3)
        expect_close(answer(X, weight, 0.0), torch.ones_like(plain), "the ratio at p = 0")
    return "mean squares of the inputs, squared weights, correlated inputs, p = 0."


@exercise
def check_drop_path(answer: Callable) -> str:
    """The answer is a class `(branch, p)`: a residual block that skips its branch for some examples in training."""
    for shape in ((500, 3), (500, 2, 3, 3)):
        for p in (0.2, 0.6):
            _check_paths(answer, 1 + torch.rand(*shape, generator=seeded(1)), p)
    X, branch = torch.ones(3, 2), _Watched()
    block = answer(branch, 1.0)
    expect_close(block.train()(X), X, "the output at p = 1")
    expect(branch.calls == [], "the branch was called although no example survived.")
    expect_close(block.eval()(X), 4 * X, "the output at p = 1 in evaluation")
    expect_close(answer(_Watched(), 0.0).train()(X), 4 * X, "the output at p = 0")
    return "a draw for each example, scaled; the branch sees survivors only."


@torch.no_grad()
def _check_noisy(net: Any, p: float, X: Tensor) -> None:
    seen: list[Tensor] = []
    what = "what `output` gets in training"
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
    keep = survivors(seen[0], H, what)[H > 0]
    expect_share(keep, p)
    expect_scaled(seen[0], H * (seen[0] != 0), p, what)
    expect(bool((trained != 0).all()), "outputs were dropped, too; only the hidden units may be.")
    expect_close(trained, F.linear(seen[0], net.output.weight, net.output.bias), "the output in training")
    expect_close(evaluated, F.linear(H, net.output.weight, net.output.bias), "the output in evaluation")


def _check_paths(answer: Callable, X: Tensor, p: float) -> None:
    branch, what = _Watched(), "what the branch adds"
    net, before, X = answer(branch, p), X.clone(), X.requires_grad_() * 1
    expect(isinstance(net, nn.Module), "the class must be an nn.Module.")
    expect(any(m is branch for m in net.modules()), "the branch is not registered as a submodule.")
    torch.manual_seed(0)
    evaluated, calls = net.eval()(X), len(branch.calls)
    Y = net.train()(X)
    rows, following = branch.calls[calls:], net(X)
    expect(torch.equal(X, before), "X was changed in place.")
    expect_close(evaluated, 4 * X, "the output in evaluation", {"the branch is scaled": X + 3 * (1 - p) * X})
    expect(isinstance(Y, Tensor) and Y.shape == X.shape, "the output in training must be a tensor of X's shape.")
    expect(not (Y == 0).any(), "the shortcut was dropped, too: x always passes.")
    elements = (added := (Y - X).detach().flatten(1)).abs() > 1e-4
    expect(bool((elements == elements[:, :1]).all()), "single elements were dropped; drop an example's whole branch.")
    keep = elements[:, 0]
    expect(len(keep.unique()) == 2, "all were skipped or none, as if they shared one draw: draw for each example.")
    expect_share(keep, p)
    expect_scaled(added, 3 * X.detach().flatten(1) * keep[:, None], p, what)
    expect(not torch.equal(Y, following), "two calls in training skipped the same examples: draw anew in each.")
    n = int(keep.sum())
    expect(rows == [n], f"{n} examples survived; the branch must see these, once, but it was called on {rows}.")
    expect(Y.requires_grad, "the output is cut off from the graph.")
    gradient = torch.autograd.grad(Y.sum(), X)[0].flatten(1)
    expect_close(gradient[:, 0], 1 + 3 * keep / (1 - p), "the gradient of X")


class _Watched(nn.Module):
    """Triples its input and remembers how many examples it saw in each call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[int] = []

    def forward(self, X: Tensor) -> Tensor:
        self.calls.append(len(X))
        return 3 * X

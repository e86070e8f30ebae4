"""Checks of the exercises of notebook 08: folding, how fast the gradient turns."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from d2lnorm.batch_norm import BatchNorm
from d2lnorm.course.exercises.common.feedback import NotYet, described, exercise, expect, number
from d2lnorm.course.exercises.common.folds import expect_equal, expect_parameters, wrong_scales
from d2lnorm.course.exercises.common.nets import filled
from d2lnorm.course.exercises.common.traces import kept

__all__ = ["check_fold_into_conv_after", "check_fold_into_linear", "check_gradient_change"]


@exercise
def check_fold_into_linear(fold: Callable[[nn.Linear, nn.BatchNorm1d], nn.Linear]) -> str:
    """`fold(linear, bn)` must return one linear layer that computes `bn(linear(X))`, with bn in evaluation."""
    g = torch.Generator().manual_seed(1)
    for n, m, eps, has_bias, dtype in (
        (4, 4, 0.5, True, torch.float64),
        (4, 4, 0.5, True, torch.float64),  # the same sizes with other numbers
        (3, 4, 0.2, True, torch.float32),
        (5, 2, 0.1, False, torch.float64),
    ):
        linear = filled(nn.Linear(n, m, bias=has_bias, dtype=dtype).eval(), g)
        bn = filled(nn.BatchNorm1d(m, eps=eps, dtype=dtype).eval(), g)
        with kept(linear=linear, bn=bn):
            folded = fold(linear, bn)
        expect(isinstance(folded, nn.Linear), f"return an nn.Linear, not {described(folded)}.")
        expect_parameters(folded)
        W, b = linear.weight, torch.zeros(m, dtype=dtype) if linear.bias is None else linear.bias
        mu, var, beta = bn.get_buffer("running_mean"), bn.get_buffer("running_var"), bn.bias
        s = bn.weight / (var + bn.eps).sqrt()
        wrong = {mistake: scale[:, None] * W for mistake, scale in wrong_scales(bn).items()}
        wrong |= {
            "the scale belongs to the outputs, axis 0": s * W if n == m else W.sqrt(),
            "it is still the old weight": W,
        }
        expect_equal(folded.weight, s[:, None] * W, f"the folded weight for {linear}", wrong)
        wrong = {
            "the linear layer's own bias was forgotten": beta - s * mu,
            "the old bias must be scaled, too": b + beta - s * mu,
            "the running mean must be scaled, too": s * b - mu + beta,
            "beta is missing": s * (b - mu),
            "the running mean is subtracted, not added": s * (b + mu) + beta,
            "beta is not scaled: it is added after the division": s * (b - mu + beta),
        }
        expect_equal(folded.bias, s * (b - mu) + beta, f"the folded bias for {linear}", wrong)
        X = torch.randn(5, n, generator=g, dtype=dtype)
        expect_equal(folded(X), bn(linear(X)), f"the folded layer's output for {linear}")
    return "weight and bias right, with an eps that counts, with and without a bias, nothing changed in place."


@exercise
def check_gradient_change(gradient_change: Callable[[nn.Module, Tensor, Tensor, float], float]) -> str:
    """`gradient_change(net, X, y, eta)` must return how far the gradient moves on the step -eta times the gradient."""
    g = torch.Generator().manual_seed(3)
    plain = filled(nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3)), g)
    mixed = filled(_Branching(), g).double().eval()
    mixed.norm.train()  # not every layer is in the mode of its net
    for net, n, eta, dtype in ((plain, 6, 0.5, torch.float32), (mixed, 9, 0.05, torch.float64)):
        X, y = torch.randn(n, 4, generator=g, dtype=dtype), torch.arange(n) % 3
        for k, p in enumerate(net.parameters()):
            p.grad = None if k == 1 else torch.full_like(p, 7.0)  # from an earlier step of the student's training
        with kept(net=net, X=X, y=y):
            got = gradient_change(net, X, y, eta)
        _expect_change(got, net, X, y, eta)
    return "the right distance, and weights, gradients, running statistics and mode were left as they were."


class _Branching(nn.Module):
    """A net with a branch, and with a weight that two layers share."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.again = nn.Linear(4, 4), nn.Linear(4, 4)
        self.norm = nn.Sequential(nn.BatchNorm1d(4), BatchNorm(4, 2))
        self.again.weight, self.last = self.inner.weight, nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))

    def forward(self, X: Tensor) -> Tensor:
        return self.last(X + torch.tanh(self.norm(self.again(torch.tanh(self.inner(X))))))


def _expect_change(got: float, net: nn.Module, X: Tensor, y: Tensor, eta: float) -> None:
    here, there, change = _change(net, X, y, -eta)
    own = "leave each layer in the mode in which it came"
    wrong = {
        "the step went uphill: subtract eta times the gradient": _norm(_change(net, X, y, eta)[2]),
        "it is the square of the norm": _norm(change) ** 2,
        "the norms of the parameters were added up; take one norm over all numbers": sum(d.norm() for d in change),
        "it is the difference of the two norms, which misses a turn": (_norm(there) - _norm(here)).abs(),
        "it is the norm of the gradient itself": _norm(here),
        f"all of the net was in evaluation mode; {own}": _norm(_change(copy.deepcopy(net).eval(), X, y, -eta)[2]),
        f"all of the net was in training mode; {own}": _norm(_change(copy.deepcopy(net).train(), X, y, -eta)[2]),
        "only the first parameter was counted": change[0].norm(),
        "it is the new gradient alone, or .grad still held the old one: backward adds up": _norm(there),
        "the two gradients are equal: no step was taken, or both are the one tensor in .grad": 0.0,
        "it was divided by eta": _norm(change) / eta,
        "the step was the whole gradient, without eta": _norm(_change(net, X, y, -1)[2]),
        "softmax was taken twice: cross_entropy takes logits": _norm(_change(net, X, y, -eta, softmax=True)[2]),
        "the biases were left out": _norm(_change(net, X, y, -eta, only="weight")[2]),
        "a weight that two layers share was counted twice": _norm(_change(net, X, y, -eta, twice=True)[2]),
    }
    value = torch.tensor(number(got, "the change"), dtype=X.dtype)
    expect_equal(value, _norm(change), "the change", wrong)
    expect(not isinstance(got, Tensor), f"return a float, not {described(got)}.")


@exercise
def check_fold_into_conv_after(fold: Callable[[nn.BatchNorm2d, nn.Conv2d], nn.Conv2d]) -> str:
    """`fold(bn, conv)` must return one convolution that computes `conv(bn(X))`; with zero padding there is none."""
    g = torch.Generator().manual_seed(4)
    for i, o, eps, dtype, options in (
        (3, 3, 0.5, torch.float64, {"kernel_size": 2, "stride": (1, 2)}),
        (2, 4, 0.1, torch.float64, {"kernel_size": (3, 2), "bias": False, "dilation": (1, 2), "padding": "valid"}),
        (4, 2, 0.3, torch.float32, {"kernel_size": 3, "padding": 1, "padding_mode": "circular"}),
        (4, 2, 0.3, torch.float64, {"kernel_size": 3, "padding": "same", "padding_mode": "reflect"}),
        (4, 2, 0.3, torch.float64, {"kernel_size": 3, "padding": (0, 1), "padding_mode": "replicate"}),
    ):
        made: dict[str, Any] = {**options}
        conv = filled(nn.Conv2d(i, o, dtype=dtype, **made), g)
        bn = filled(nn.BatchNorm2d(i, eps=eps, dtype=dtype).eval(), g)
        with kept(bn=bn, conv=conv):
            try:
                folded = fold(bn, conv)
            except ValueError as error:
                raise NotYet(f"{conv} pads no zeros and can be folded, but you raise a ValueError: {error}.") from None
        expect(isinstance(folded, nn.Conv2d), f"return an nn.Conv2d, not {described(folded)}.")
        expect_parameters(folded)
        W, b = conv.weight, torch.zeros(o, dtype=dtype) if conv.bias is None else conv.bias
        mu, var = bn.get_buffer("running_mean"), bn.get_buffer("running_var")
        s = bn.weight / (var + bn.eps).sqrt()
        t = bn.bias - s * mu
        wrong = {mistake: W * scale[:, None, None] for mistake, scale in wrong_scales(bn).items()}
        wrong |= {"the scale belongs to the channels that come in, axis 1": W * s[:, None, None, None] if i == o else W}
        expect_equal(folded.weight, W * s[:, None, None], f"the folded weight for {conv}", wrong)
        kernel = W.sum((2, 3))  # what a constant image meets
        wrong = {
            "the shift of batch norm is missing": b,
            "the convolution's own bias was forgotten": kernel @ t,
            "the shift must go through the weights, as every input does": b + t if i == o else b,
            "the shift meets every pixel under the kernel: sum over its height and width": b + W.mean((2, 3)) @ t,
            "the shift goes through the old weights, since the scale is in it already": b + kernel @ (s * t),
            "the scale of the running mean is missing": b + kernel @ (bn.bias - mu),
        }
        expect_equal(folded.get_parameter("bias"), b + kernel @ t, f"the folded bias for {conv}", wrong)
        X = torch.randn(2, i, 5, 6, generator=g, dtype=dtype)
        names = ("stride", "padding", "dilation", "padding_mode")
        other = [f"{k}={getattr(folded, k)!r}" for k in names if getattr(folded, k) != getattr(conv, k)]
        what = f"the output of the folded convolution{', which has ' * bool(other)}{', '.join(other)}, for {conv}"
        expect_equal(folded(X), conv(bn(X)), what)
    for padding in (1, (1, 0), (0, 2), "same"):
        conv, bn = nn.Conv2d(3, 3, 3, padding=padding), filled(nn.BatchNorm2d(3).eval(), g)
        refused: Any = {f"conv (padding={padding!r}, where a ValueError is due)": conv}
        with kept(bn=bn, **refused):
            try:
                got = fold(bn, conv)
            except ValueError:
                continue
            except Exception as error:
                stopped = f"yours stops with {type(error).__name__}: {error}"
                raise NotYet(f"for padding={padding!r} raise a ValueError; {stopped}.") from None
        none = f"for padding={padding!r} (zeros) no convolution computes it"
        raise NotYet(f"{none}: raise a ValueError; you return {described(got)}.")
    return "weight, bias and output right, nothing changed in place, and zero padding refused."


def _change(
    net: nn.Module, X: Tensor, y: Tensor, step: float, *, softmax: bool = False, only: str = "", twice: bool = False
) -> list[list[Tensor]]:
    """The gradient here, the gradient after `step` times it, and their difference, from a copy; with slips."""
    net = copy.deepcopy(net)
    weights = [p for name, p in net.named_parameters(remove_duplicate=not twice) if only in name]

    def gradient() -> list[Tensor]:
        Y = net(X)
        return [*torch.autograd.grad(F.cross_entropy(Y.softmax(1) if softmax else Y, y), weights)]

    here = gradient()
    with torch.no_grad():
        for w, g in zip(weights, here, strict=True):
            w.add_(step * g)
    there = gradient()
    return [here, there, [b - a for a, b in zip(here, there, strict=True)]]


def _norm(tensors: list[Tensor]) -> Tensor:
    return torch.cat([t.flatten() for t in tensors]).norm()

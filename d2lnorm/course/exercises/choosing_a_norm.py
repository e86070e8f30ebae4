"""Checks of the exercises of notebook 08: folding, how fast the gradient turns."""

import copy
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from d2lnorm.course.exercises.feedback import NotYet, described, exercise, expect, expect_close
from d2lnorm.course.exercises.traces import kept

__all__ = ["check_fold_into_conv_after", "check_fold_into_linear", "check_gradient_change"]

Layer = TypeVar("Layer", bound=nn.Module)


@exercise
def check_fold_into_linear(fold: Callable[[nn.Linear, nn.BatchNorm1d], nn.Linear]) -> str:
    """`fold(linear, bn)` must return one linear layer that computes `bn(linear(X))`, with bn in evaluation."""
    g = torch.Generator().manual_seed(1)
    for n, m, eps, has_bias, dtype in ((3, 4, 0.5, True, torch.float32), (5, 2, 0.1, False, torch.float64)):
        linear = _filled(nn.Linear(n, m, bias=has_bias, dtype=dtype).eval(), g)
        bn = _filled(nn.BatchNorm1d(m, eps=eps, dtype=dtype).eval(), g)
        with kept(linear=linear, bn=bn):
            folded = fold(linear, bn)
        expect(isinstance(folded, nn.Linear), f"return an nn.Linear, not {described(folded)}.")
        expect(folded.bias is not None, "the folded layer needs a bias, even if the old one had none.")
        W, b = linear.weight, torch.zeros(m, dtype=dtype) if linear.bias is None else linear.bias
        mu, var, beta = bn.get_buffer("running_mean"), bn.get_buffer("running_var"), bn.bias
        s = bn.weight / (var + bn.eps).sqrt()
        no_eps, no_root = bn.weight / var.sqrt(), bn.weight / (var + bn.eps)
        outside = bn.weight / (var.sqrt() + bn.eps)
        wrong = {
            "eps is missing under the root": no_eps[:, None] * W,
            "eps belongs under the root, not beside it": outside[:, None] * W,
            "it was divided by the variance, not by its root": no_root[:, None] * W,
            "gamma is missing": (s / bn.weight)[:, None] * W,
            "it is still the old weight": W,
        }
        expect_close(folded.weight, s[:, None] * W, "the folded weight", wrong)
        wrong = {
            "the linear layer's own bias was forgotten": beta - s * mu,
            "the old bias must be scaled, too": b + beta - s * mu,
            "the running mean must be scaled, too": s * b - mu + beta,
            "beta is missing": s * (b - mu),
            "the running mean is subtracted, not added": s * (b + mu) + beta,
            "beta is not scaled: it is added after the division": s * (b - mu + beta),
        }
        expect_close(folded.bias, s * (b - mu) + beta, "the folded bias", wrong)
        X = torch.randn(5, n, generator=g, dtype=dtype)
        expect_close(folded(X), bn(linear(X)), "the folded layer's output")
    return "weight and bias right, with an eps that counts, with and without a bias, nothing changed in place."


@exercise
def check_gradient_change(gradient_change: Callable[[nn.Module, Tensor, Tensor, float], float]) -> str:
    """`gradient_change(net, X, y, eta)` must return how far the gradient moves on the step -eta times the gradient."""
    g = torch.Generator().manual_seed(3)
    plain = _filled(nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3)), g)
    for net, n, eta, training in ((plain, 6, 0.5, True), (_filled(_Branching(), g), 9, 0.05, False)):
        X, y = torch.randn(n, 4, generator=g), torch.arange(n) % 3
        net.train(training)
        for k, p in enumerate(net.parameters()):
            p.grad = None if k == 1 else torch.full_like(p, 7.0)  # from an earlier step of the student's training
        with kept(net=net, X=X, y=y):
            got = gradient_change(net, X, y, eta)
        _expect_change(got, net, X, y, eta)
    return "the right distance, and weights, gradients, running statistics and mode were left as they were."


class _Branching(nn.Module):
    """A net with a branch and a layer that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.norm, self.last = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)

    def forward(self, X: Tensor) -> Tensor:
        return self.last(X + torch.tanh(self.norm(self.inner(torch.tanh(self.inner(X))))))


def _expect_change(got: float, net: nn.Module, X: Tensor, y: Tensor, eta: float) -> None:
    here, there, change = _change(net, X, y, -eta)
    wrong = {
        "the step went uphill: subtract eta times the gradient": _norm(_change(net, X, y, eta)[2]),
        "it is the square of the norm": _norm(change) ** 2,
        "the norms of the parameters were added up; take one norm over all numbers": sum(d.norm() for d in change),
        "it is the difference of the two norms, which misses a turn": (_norm(there) - _norm(here)).abs(),
        "it is the norm of the gradient itself": _norm(here),
        "batch norm was in the other mode": _norm(_change(copy.deepcopy(net).train(not net.training), X, y, -eta)[2]),
        "only the first parameter was counted": change[0].norm(),
        "it is the new gradient alone, or .grad still held the old one: backward adds up": _norm(there),
        "both gradients are one tensor: backward writes to .grad again, so clone it": 0.0,
        "it was divided by eta": _norm(change) / eta,
    }
    expect_close(got, _norm(change).item(), "the change", wrong)
    expect(not isinstance(got, Tensor), f"return a float, not {described(got)}.")


@exercise
def check_fold_into_conv_after(fold: Callable[[nn.BatchNorm2d, nn.Conv2d], nn.Conv2d]) -> str:
    """`fold(bn, conv)` must return one convolution that computes `conv(bn(X))`; with zero padding there is none."""
    g = torch.Generator().manual_seed(4)
    for i, o, eps, dtype, options in (
        (3, 3, 0.5, torch.float32, {"kernel_size": 2, "stride": 2}),
        (2, 4, 0.1, torch.float64, {"kernel_size": (3, 2), "bias": False, "dilation": (1, 2), "padding": "valid"}),
        (4, 2, 0.3, torch.float32, {"kernel_size": 3, "padding": 1, "padding_mode": "circular"}),
    ):
        conv = _filled(nn.Conv2d(i, o, dtype=dtype, **options), g)
        bn = _filled(nn.BatchNorm2d(i, eps=eps, dtype=dtype).eval(), g)
        with kept(bn=bn, conv=conv):
            try:
                folded = fold(bn, conv)
            except ValueError as error:
                raise NotYet(f"{conv} pads no zeros and can be folded, but you raise a ValueError: {error}.") from None
        expect(isinstance(folded, nn.Conv2d), f"return an nn.Conv2d, not {described(folded)}.")
        expect(folded.bias is not None, "the folded convolution needs a bias, even if the old one had none.")
        for name in ("kernel_size", "stride", "padding", "dilation", "padding_mode"):
            old, new = getattr(conv, name), getattr(folded, name)
            expect(old == new, f"the folded convolution must have {name}={old!r}, as the given one, but has {new!r}.")
        W, b = conv.weight, torch.zeros(o, dtype=dtype) if conv.bias is None else conv.bias
        mu, var = bn.get_buffer("running_mean"), bn.get_buffer("running_var")
        s = bn.weight / (var + bn.eps).sqrt()
        t = bn.bias - s * mu
        no_eps, no_root = bn.weight / var.sqrt(), bn.weight / (var + bn.eps)
        wrong = {
            "the scale belongs to the channels that come in (axis 1), not to those that go out": (
                s[:, None, None, None] if i == o else torch.ones(())
            ),
            "eps is missing under the root": no_eps[:, None, None],
            "it was divided by the variance, not by its root": no_root[:, None, None],
            "eps belongs under the root, not beside it": (bn.weight / (var.sqrt() + bn.eps))[:, None, None],
        }
        wrong = {mistake: W * scale for mistake, scale in wrong.items()}
        expect_close(folded.weight, W * s[:, None, None], "the folded weight", wrong)
        kernel = W.sum((2, 3))  # what a constant image meets
        wrong = {
            "the shift of batch norm is missing": b,
            "the convolution's own bias was forgotten": kernel @ t,
            "the shift must go through the weights, as every input does": b + t if i == o else b,
            "the shift meets every pixel under the kernel: sum over its height and width": b + W.mean((2, 3)) @ t,
            "the shift goes through the old weights, since the scale is in it already": b + kernel @ (s * t),
            "the scale of the running mean is missing": b + kernel @ (bn.bias - mu),
        }
        expect_close(folded.bias, b + kernel @ t, "the folded bias", wrong)
        X = torch.randn(2, i, 5, 6, generator=g, dtype=dtype)
        expect_close(folded(X), conv(bn(X)), "the folded convolution's output")
    for padding in (1, (1, 0), (0, 2), "same"):
        conv = nn.Conv2d(3, 3, 3, padding=padding)
        try:
            got = fold(_filled(nn.BatchNorm2d(3).eval(), g), conv)
        except ValueError:
            continue
        except TypeError as error:
            raise NotYet(f"for padding={padding!r} raise a ValueError; yours stops with {error}.") from None
        what = f"for padding={padding!r} the border is wrong: zeros come in after batch norm. Raise a ValueError"
        raise NotYet(f"{what}; you return {described(got)}.")
    return "weight, bias and output right, nothing changed in place, and zero padding refused."


def _filled(module: Layer, g: torch.Generator) -> Layer:
    """`module` with parameters and running statistics that hide nothing."""
    with torch.no_grad():
        for name, t in [*module.named_parameters(), *module.named_buffers()]:
            if t.is_floating_point():
                t.copy_(torch.randn(t.shape, generator=g))
                if name.endswith("running_var"):
                    t.abs_().add_(0.3)
    return module


def _change(net: nn.Module, X: Tensor, y: Tensor, step: float) -> list[list[Tensor]]:
    """The gradient here, the gradient after `step` times it, and their difference, from a copy."""
    net = copy.deepcopy(net)
    weights = list(net.parameters())
    here = torch.autograd.grad(F.cross_entropy(net(X), y), weights)
    with torch.no_grad():
        for w, gradient in zip(weights, here, strict=True):
            w.add_(step * gradient)
    there = torch.autograd.grad(F.cross_entropy(net(X), y), weights)
    return [list(here), list(there), [b - a for a, b in zip(here, there, strict=True)]]


def _norm(tensors: list[Tensor]) -> Tensor:
    return torch.cat([t.flatten() for t in tensors]).norm()

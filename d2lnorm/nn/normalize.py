"""The one normalization that batch, layer, instance and group norm share (Ioffe and Szegedy, 2015, section 3)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.autograd import Function, forward_ad

__all__ = ["Normalize", "normalize", "normalize_with"]


def normalize(
    X: Tensor, axes: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalize `X` by its own statistics over `axes` and return `(Y, mean, var)`; `formula` says how.

    Args:
        X: any shape, floating point. float16 and bfloat16 are computed in float32, and Y is rounded once.
        axes: the axes over which the statistics are taken.
        weight, bias: None, or broadcastable to X.
        eps: added to the variance, in the units of X squared.

    Returns Y like X; mean and (biased) var of X's shape with 1 at `axes`, float32 or float64, without autograd graph.
    Raises RuntimeError: weight or bias does not fit X's shape.
    """
    X32 = X.to(torch.promote_types(X.dtype, torch.float32))  # 16 bits are too few for sums
    weight, bias = (t if t is None else t.to(X32.dtype) for t in (weight, bias))
    run = Normalize.apply if _is_plain(X32, weight, bias) else formula
    Y, mean, var = run(X32, weight, bias, tuple(axes), eps)
    return Y.to(X.dtype), mean.detach(), var.detach()


def formula(X: Tensor, weight: Tensor | None, bias: Tensor | None, axes: tuple[int, ...], eps: float):
    """Return `(Y, mean, var)`: the textbook's lines, which autograd can differentiate in every mode."""
    mean = X.mean(axes, keepdim=True)
    centred = X - mean
    centred = centred - centred.mean(axes, keepdim=True)  # 0, but for what rounding has left of the mean
    var = centred.square().mean(axes, keepdim=True)
    X_hat = centred * _inverse_root(var, eps)  # (X - mean) / sqrt(var + eps)
    Y = X_hat * (1 if weight is None else weight) + (0 if bias is None else bias)
    return Y, mean, var


class Normalize(Function):
    """`Normalize.apply(X, weight, bias, axes, eps)` returns `(Y, mean, var)`: `formula`, with its gradient by hand.

    The fast path: the same lines, but each writes into memory that an earlier line has made, and the gradient is
    that of notebook 02. With h = weight dY = dL/dX_hat, and means over `axes`,

        dL/dX = (h - mean(h) - X_hat mean(h X_hat)) / sqrt(var + eps)

    where the two means take out what cannot matter: a number added to all of X, and X's scale.
    """

    @staticmethod
    def forward(ctx, X: Tensor, weight: Tensor | None, bias: Tensor | None, axes: tuple[int, ...], eps: float):
        _ = [t.expand_as(X) for t in (weight, bias) if t is not None]  # a RuntimeError where one does not fit
        mean = X.mean(axes, keepdim=True)
        centred = X - mean
        centred.sub_(centred.mean(axes, keepdim=True))
        squares = centred.square()
        var = squares.mean(axes, keepdim=True)
        r = _inverse_root(var, eps)
        X_hat = centred.mul_(r)
        Y = torch.mul(X_hat, 1 if weight is None else weight, out=squares).add_(0 if bias is None else bias)
        ctx.save_for_backward(X, weight, bias, X_hat, r)
        ctx.axes, ctx.eps = axes, eps
        ctx.mark_non_differentiable(mean, var)
        return Y, mean, var

    @staticmethod
    def backward(ctx, dY: Tensor, *_) -> tuple[Tensor | None, ...]:
        X, weight, bias, X_hat, r = ctx.saved_tensors
        if torch.is_grad_enabled() or not _is_plain(dY):  # to be differentiated again, or many at once
            inputs = [t for t, wanted in zip((X, weight, bias), ctx.needs_input_grad, strict=False) if wanted]
            with torch.enable_grad():
                Y = formula(X, weight, bias, ctx.axes, ctx.eps)[0]
            grads = iter(torch.autograd.grad(Y, inputs, dY, create_graph=torch.is_grad_enabled()))
            return tuple(next(grads) if wanted else None for wanted in ctx.needs_input_grad)
        scale, product = 1 if weight is None else weight, dY * X_hat
        d_weight = None if weight is None else product.sum_to_size(weight.shape).clone()  # sum dY X_hat
        d_bias = None if bias is None else dY.sum_to_size(bias.shape).clone()  # sum dY
        slope = product.mul_(scale).mean(ctx.axes, keepdim=True)  # mean(h X_hat)
        h = torch.mul(dY, scale, out=product)
        mean_h = h.mean(ctx.axes, keepdim=True)
        return h.addcmul_(X_hat, slope, value=-1).sub_(mean_h).mul_(r), d_weight, d_bias, None, None


def normalize_with(
    X: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """Normalize `X`, (N, C, *), by given statistics of its channels, as evaluation does, and return Y like X.

    mean and var, in the units of X and of X squared, have one element for each channel; so have weight and bias,
    or they are None. Without gradients, all four go into one scale and one shift: beside a large mean, Y is then
    off by a few epsilons of |mean| / sqrt(var).
    """
    X32 = X.to(torch.promote_types(X.dtype, torch.float32))
    mean, var = mean.to(X32.dtype), var.to(X32.dtype)
    weight, bias = (t if t is None else t.to(X32.dtype) for t in (weight, bias))
    shape = [1, -1] + [1] * (X.dim() - 2)
    scale = torch.rsqrt(var + eps) if weight is None else weight * torch.rsqrt(var + eps)
    bias = torch.zeros_like(mean) if bias is None else bias
    if torch.is_grad_enabled() or not _is_plain(X32, scale):
        Y = (X32 - mean.view(shape)) * scale.view(shape) + bias.view(shape)
    else:
        # spread over one example: memory without breaks is walked faster
        shift, scale = (torch.empty_like(X32[:1]).copy_(t.view(shape)) for t in (bias - mean * scale, scale))
        Y = torch.addcmul(shift, X32, scale)
    return Y.to(X.dtype)


def _inverse_root(var: Tensor, eps: float) -> Tensor:
    """1 / sqrt(var + eps), but 0 where both are 0: a constant X then gives the bias, not 0 times infinity."""
    r = torch.rsqrt(var + eps)
    return r.masked_fill(var == 0, 0) if eps == 0 else r


def _is_plain(*tensors: Tensor | None) -> bool:
    """Whether all have memory to write into, and nobody but autograd, backwards, follows what is done with them."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    try:
        there = [t for t in tensors if t is not None and t.untyped_storage() is not None]
    except NotImplementedError:  # under torch.func, or one of many under vmap
        return False
    return all(type(t) in (Tensor, nn.Parameter) and forward_ad.unpack_dual(t).tangent is None for t in there)

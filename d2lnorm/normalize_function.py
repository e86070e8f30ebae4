"""Normalization as one differentiable operation: its forward pass, and its gradient worked out by hand.

Source: Ioffe and Szegedy (2015), section 3, has the gradient of batch norm; the other norms differ in `axes`.
"""

import math

import torch
from torch import Tensor
from torch.autograd import Function

__all__ = ["Normalize"]


class Normalize(Function):
    """`Normalize.apply(X, weight, bias, axes, eps)` returns `(Y, mean, var)`; `d2lnorm.normalize` calls it.

    X is float32 or float64, contiguous for speed; weight and bias are None or broadcastable to X with as many
    axes; mean and var have X's shape with 1 at `axes`, and carry no graph. Wrong shapes raise RuntimeError.

    **Forward.** With D = x - mu, r = 1 / sqrt(sigma^2 + eps) and xhat = r D,

        y = w xhat + b,    mu = 1/n sum x,    sigma^2 = 1/n sum D^2,

    where each sum runs over the n values along `axes`.

    **Backward.** Let g = dL/dy. Since b and w enter linearly, dL/db = sum g and dL/dw = sum g xhat, each over
    all values that share the b or the w. For x, put h = w g = dL/dxhat. One x_i moves its own xhat_i and,
    through mu and r, all n of them:

        dmu / dx_i = 1/n
        dsigma^2 / dx_i = 2/n sum_j D_j (delta_ij - 1/n) = 2/n D_i,    because sum_j D_j = 0
        dr / dx_i = -1/2 r^3 dsigma^2 / dx_i = -r^2 xhat_i / n
        dxhat_j / dx_i = r (delta_ij - 1/n) + D_j dr / dx_i = r (delta_ij - 1/n - xhat_i xhat_j / n)

    and so, summing h_j dxhat_j / dx_i over j,

        dL/dx_i = r (h_i - mean(h) - xhat_i mean(h xhat)).

    The two means take away what x cannot change: adding a number to all x, or (but for eps) scaling them.
    Where w is one number for all n values (batch and instance norm) it leaves the means, and the sums that
    remain are those of dL/db and dL/dw: dL/dx = r w (g - mean(g) - xhat mean(g xhat)).

    **Passes over memory** (one tensor of X's size read or written), for batch norm. Forward 11: the mean 1,
    D 5 (see `_centred`), its norm 1, the scale 2, the shift 2. Backward 21: sum g 1; D 5, times g 3, its sum
    1; D again 2, times a number 2, plus g 3, minus a number 2, times a number 2. A kernel that keeps its
    values in registers needs 4 and 5. Yet the time is not four times as long: each pass is vectorized, all
    but two write into memory that is mapped already, and mapping a large new tensor takes longer than several
    passes; both need two such tensors, Y and dL/dx. `torch.var_mean` would save passes, but is not vectorized
    on the CPU, and alone takes longer than this whole forward pass.

    The backward pass is made of differentiable operations, so it can be differentiated again; mu and r are
    then computed anew from X, because the second gradient passes through them.
    """

    @staticmethod
    def forward(
        X: Tensor, weight: Tensor | None, bias: Tensor | None, axes: tuple[int, ...], eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        n = _count(X, axes)
        mean = X.sum(axes, keepdim=True) / n  # mu = 1/n sum x
        Y, _ = _centred(X, mean, axes, n)  # D = x - mu; what follows works in place
        var = _square_sum(Y, axes) / n  # sigma^2 = 1/n sum D^2 (not E[x^2] - E[x]^2, which cancels)
        inner, outer = _split(_rsqrt(var, eps), weight, axes)
        Y.mul_(outer)  # xhat = D / sqrt(sigma^2 + eps), times w where that is one number along the axes
        if inner is not None:
            Y.mul_(inner)  # w xhat
        if bias is not None:
            Y.add_(bias)  # y = w xhat + b
        return Y, mean, var

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        X, weight, bias, ctx.axes, ctx.eps = inputs
        _, mean, var = output
        ctx.bias_shape = None if bias is None else bias.shape
        ctx.save_for_backward(X, weight, mean, var)
        ctx.mark_non_differentiable(mean, var)

    @staticmethod
    def backward(ctx, g: Tensor, *_) -> tuple[Tensor | None, ...]:
        X, weight, mean, var = ctx.saved_tensors
        axes, n, again = ctx.axes, _count(X, ctx.axes), torch.is_grad_enabled()
        if again:  # this pass will be differentiated: mu and sigma^2 as functions of X
            mean = X.sum(axes, keepdim=True) / n
            var = _centred(X, mean, axes, n)[0].square().sum(axes, keepdim=True) / n
        r = _rsqrt(var, ctx.eps)
        inner, outer = _split(r, weight, axes)
        alike = [a for a in axes if inner is None or inner.shape[a] == 1]  # where w and r are constant

        work, rest = _centred(X, mean, axes, n)
        work.mul_(g)  # g D
        sum_g = g.sum(alike, keepdim=True) if alike else g  # sum g, as far as one w is shared
        sum_gx = work.sum(alike, keepdim=True) * r if alike else work.mul_(r)  # sum g xhat, as far
        d_bias = None if ctx.bias_shape is None else _sum_to(sum_g, ctx.bias_shape)  # dL/db = sum g
        d_weight = None if weight is None else _sum_to(sum_gx, weight.shape)  # dL/dw = sum g xhat
        if not ctx.needs_input_grad[0]:
            return None, d_weight, d_bias, None, None

        if inner is not None:  # sum h and sum h xhat, with h = w g
            sum_g, sum_gx = _dot(sum_g, inner, axes), _dot(sum_gx, inner, axes)
        slope = r * sum_gx / n  # xhat mean(h xhat) = slope D
        dX = torch.sub(X, mean, out=None if again else work)  # D + rest, where g D was
        dX.mul_(-slope)  # - slope (D + rest)
        dX = dX.add_(g) if inner is None else dX.addcmul_(g, inner)  # h - slope (D + rest)
        dX.sub_(sum_g / n - slope * rest).mul_(outer)  # dL/dx = r (h - mean(h) - xhat mean(h xhat))
        return dX, d_weight, d_bias, None, None


def _count(X: Tensor, axes: tuple[int, ...]) -> int:
    return max(math.prod([X.shape[a] for a in axes]), 1)  # 1: without values there is nothing to divide


def _centred(X: Tensor, mean: Tensor, axes: tuple[int, ...], n: int) -> tuple[Tensor, Tensor]:
    """D = x - mu in two steps: less the rounded mean, then less the rest that this has left; D and rest.

    Beside a standard deviation of 1, a float32 mean of 1e4 rounds by up to 5e-4, and one of constant values
    by enough to show after division by sqrt(eps). The second step makes sum D = 0 as nearly as D can tell.
    """
    D = X - mean
    rest = D.sum(axes, keepdim=True) / n
    return D.sub_(rest), rest


def _square_sum(D: Tensor, axes: tuple[int, ...]) -> Tensor:
    """sum D^2 over the axes: where neighbours in memory are summed, as a squared norm, in one pass.

    The norm is taken in steps, the first axis last: a float32 norm of very many values at once loses digits.
    """
    steps = [axes[1:], axes[:1]] if axes[0] == 0 and len(axes) > 1 else [axes]
    if any(_count(D, step) > 2**14 for step in steps):
        steps = [(a,) for a in reversed(axes)]
    neighbours = axes[-1] == D.dim() - 1 and D.stride(-1) == 1
    if not neighbours or any(_count(D, step) > 2**14 for step in steps):
        return D.square().sum(axes, keepdim=True)  # three passes, one of them into new memory
    norm = D
    for step in steps:
        norm = torch.linalg.vector_norm(norm, 2, step, keepdim=True)
    return norm.square()


def _rsqrt(var: Tensor, eps: float) -> Tensor:
    """1 / sqrt(sigma^2 + eps), but 0 where both are 0: a constant x then gives b, not 0 times infinity."""
    r = torch.rsqrt(var + eps)
    return r.masked_fill(var == 0, 0) if eps == 0 else r


def _split(r: Tensor, weight: Tensor | None, axes: tuple[int, ...]) -> tuple[Tensor | None, Tensor]:
    """The weight if it varies along the axes, and r; else None, and r times the weight: one pass, not two."""
    if weight is None:
        return None, r
    return (None, r * weight) if all(weight.shape[a] == 1 for a in axes) else (weight, r)


def _sum_to(T: Tensor, shape: torch.Size) -> Tensor:
    """T summed down to the shape, as a tensor of its own: T's memory is used again."""
    return T.clone() if T.shape == shape else T.sum_to_size(shape)


def _dot(T: Tensor, weight: Tensor, axes: tuple[int, ...]) -> Tensor:
    """sum T w over the axes, which are kept with size 1, without a tensor for the product."""
    every = list(range(T.dim()))
    kept = [a for a in every if a not in axes]
    shape = [1 if a in axes else s for a, s in enumerate(T.shape)]
    return torch.einsum(T, every, weight, every, kept).view(shape)

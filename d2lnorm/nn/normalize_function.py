"""Normalization as one differentiable operation: its forward pass, and its gradient worked out by hand.

Source: Ioffe and Szegedy (2015), section 3, has the gradient of batch norm; the other norms differ in `axes`.
"""

import torch
from torch import Tensor
from torch.autograd import Function

from d2lnorm.nn.sums import centred, count, dot, inverse_root, is_batched, square_sum, statistics, sum_to

__all__ = ["Normalize"]


class Normalize(Function):
    """`Normalize.apply(X, weight, bias, axes, eps)` returns `(Y, mean, var)`: what `d2lnorm.normalize` does.

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

    The two means remove the parts of the gradient that cannot matter: adding a number to all x, or scaling
    them (but for eps), leaves y as it is.
    Where w is one number for all n values (batch and instance norm) it leaves the means, and the sums that
    remain are those of dL/db and dL/dw: dL/dx = r w (g - mean(g) - xhat mean(g xhat)).

    **Passes over memory** (one tensor of X's size read or written), for batch norm. Forward 11: the mean 1,
    D 5 (see `centred`), its norm 1, the scale 2, the shift 2. Backward 21: sum g 1; D 5, times g 3, its sum
    1; D again 2, times a number 2, plus g 3, minus a number 2, times a number 2. A kernel that keeps its
    values in registers needs 4 and 5. Yet the time is not four times as long: each pass is vectorized, all
    but two write into memory that is mapped already, and mapping a large new tensor takes longer than several
    passes; both need two such tensors, Y and dL/dx. `torch.var_mean` would save passes, but is not vectorized
    on the CPU, and alone takes longer than this whole forward pass.

    The backward pass is made of differentiable operations, so it can be differentiated again; mu and r are
    then computed anew from X, because the second gradient passes through them.
    `NormalizeTransformed` adds what forward-mode differentiation and `torch.func` need.
    """

    @staticmethod
    def forward(
        X: Tensor, weight: Tensor | None, bias: Tensor | None, axes: tuple[int, ...], eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        n = count(X, axes)
        mean = X.sum(axes, keepdim=True) / n  # mu = 1/n sum x
        Y, _ = centred(X, mean, axes, n)  # D = x - mu; what follows works in place
        var = square_sum(Y, axes) / n  # sigma^2 = 1/n sum D^2 (not E[x^2] - E[x]^2, which cancels)
        weight_inside, scale_outside = _split(inverse_root(var, eps), weight, axes)
        Y.mul_(scale_outside)  # xhat = D / sqrt(sigma^2 + eps), times w where that is one number along the axes
        if weight_inside is not None:
            Y.mul_(weight_inside)  # w xhat
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
        axes, n = ctx.axes, count(X, ctx.axes)
        again = torch.is_grad_enabled()  # this pass will be differentiated: mu and sigma^2 as functions of X
        anew = again or is_batched(g)  # many g at once: nothing can be written in place either
        mean, var = statistics(X, axes, n) if anew else (mean, var)
        r = inverse_root(var, ctx.eps)
        weight_inside, scale_outside = _split(r, weight, axes)
        # the axes along which w and r are constant
        shared_axes = [a for a in axes if weight_inside is None or weight_inside.shape[a] == 1]

        D, rest = centred(X, mean, axes, n)
        gD = D * g if anew else D.mul_(g)
        sum_g = g.sum(shared_axes, keepdim=True) if shared_axes else g  # sum g, as far as one w is shared
        # sum g xhat over the same axes
        sum_gx = gD.sum(shared_axes, keepdim=True) * r if shared_axes else gD * r if anew else gD.mul_(r)
        d_bias = None if ctx.bias_shape is None else sum_to(sum_g, ctx.bias_shape)  # dL/db = sum g
        d_weight = None if weight is None else sum_to(sum_gx, weight.shape)  # dL/dw = sum g xhat
        if not ctx.needs_input_grad[0]:
            return None, d_weight, d_bias, None, None

        if weight_inside is not None:  # sum h and sum h xhat, with h = w g
            sum_g, sum_gx = (dot(t, weight_inside, axes, plain=anew) for t in (sum_g, sum_gx))
        slope = r * sum_gx / n  # xhat mean(h xhat) = slope D
        if anew:
            h = g if weight_inside is None else g * weight_inside
            dX = (h - sum_g / n - slope * D) * scale_outside  # dL/dx = r (h - mean(h) - xhat mean(h xhat))
        else:  # the same in the memory at hand
            dX = torch.sub(X, mean, out=gD).mul_(-slope)  # - slope (D + rest)
            dX = dX.add_(g) if weight_inside is None else dX.addcmul_(g, weight_inside)  # h - slope (D + rest)
            dX.sub_(sum_g / n - slope * rest).mul_(scale_outside)
        return dX, d_weight, d_bias, None, None


def _split(r: Tensor, weight: Tensor | None, axes: tuple[int, ...]) -> tuple[Tensor | None, Tensor]:
    """The weight if it varies along the axes, and r; else None, and r times the weight: one pass, not two."""
    if weight is None:
        return None, r
    return (None, r * weight) if all(weight.shape[a] == 1 for a in axes) else (weight, r)

"""The one normalization that batch, layer, instance and group norm share: they differ in their axes alone."""

from collections.abc import Sequence

import torch
from torch import Tensor

from d2lnorm.nn.normalize_function import Normalize
from d2lnorm.nn.normalize_transformed import NormalizeTransformed

__all__ = ["moving_average", "normalize", "normalize_with"]


def normalize(
    X: Tensor, axes: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalize `X` by its own statistics over `axes` and return `(Y, mean, var)`.

    y = weight (x - mu) / sqrt(sigma^2 + eps) + bias, with mu and sigma^2 the mean and the biased variance
    over `axes`. `Normalize` has these formulas line by line, and their gradient.

    Args:
        X: any shape, floating point. float16 and bfloat16 are computed in float32, and Y is rounded once.
        axes: the axes over which the statistics are taken, ascending, counted from 0.
        weight, bias: None, or broadcastable to X with as many axes.
        eps: added to the variance, in the units of X squared.

    Returns:
        Y like X; mean and var of X's shape with 1 at `axes`, in float32 or float64, without autograd graph.
        Where there are no values, both are 0.

    Raises:
        RuntimeError: weight or bias does not fit X's shape.
    """
    X32, weight, bias = _widened(X, weight, bias)
    # torch.compile refuses a function with a rule for forward mode
    function = Normalize if torch.compiler.is_compiling() else NormalizeTransformed
    Y, mean, var = function.apply(X32, weight, bias, tuple(axes), eps)
    return Y.to(X.dtype), mean, var


def normalize_with(
    X: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """Normalize `X` by given statistics of its channels, as evaluation does, and return Y like X.

    Args:
        X: (N, C, *), floating point; eps: as for `normalize`.
        mean, var: with one element for each channel, in the units of X and of X squared.
        weight, bias: None, or with one element for each channel.

    All four parameters go into one scale and one shift. These are spread over one example, whose memory the
    fused operation then walks through without a break; one number per channel would stop it at each channel.
    Beside a large mean, scale x and shift cancel: y is off by a few epsilons of |mu| / sigma. The gradient of
    the scale would be the difference of two large sums, so where one is wanted, x - mu is formed first.

    Raises:
        RuntimeError: a parameter has another number of elements.
    """
    X32, mean, var, weight, bias = _widened(X, mean, var, weight, bias)
    # y = weight (x - mu) / sqrt(sigma^2 + eps) + bias = scale x + shift
    scale = torch.rsqrt(var + eps) if weight is None else weight * torch.rsqrt(var + eps)
    if scale.requires_grad:
        shape = [1, -1] + [1] * (X.dim() - 2)
        Y = (X32 - mean.view(shape)) * scale.view(shape)
        return (Y if bias is None else Y + bias.view(shape)).to(X.dtype)
    shift = -mean * scale if bias is None else torch.addcmul(bias, mean, scale, value=-1)
    if X.dim() > 2:
        shape = [1, X.shape[1]] + [1] * (X.dim() - 2)
        scale, shift = scale.view(shape), shift.view(shape)
        if X.shape[0] == 1:  # spreading would cost as much as the operation itself
            return (X32 * scale + shift).to(X.dtype)
        example = torch.zeros_like(X32[:1])
        scale, shift = example + scale, example + shift
    return torch.addcmul(shift, X32, scale).to(X.dtype)


def moving_average(old: Tensor, new: Tensor, momentum: float | Tensor) -> Tensor:
    """Return `momentum old + (1 - momentum) new`, shaped and typed like `old`, without autograd graph.

    Args:
        old, new: as many elements each; computed in the type of `new`.
        momentum: the book's, the weight of the old value. `torch.nn`'s is the weight of the new value, so
            momentum_book = 1 - momentum_torch.
    """
    with torch.no_grad():
        new = new.reshape(old.shape)
        return (momentum * old.to(new.dtype) + (1 - momentum) * new).to(old.dtype)


def _widened(X: Tensor, *others: Tensor | None) -> list[Tensor | None]:
    """All in the type to compute in: float32 for float16 and bfloat16, else X's own."""
    dtype = torch.float32 if X.dtype in (torch.float16, torch.bfloat16) else X.dtype
    return [t if t is None or t.dtype == dtype else t.to(dtype) for t in (X, *others)]

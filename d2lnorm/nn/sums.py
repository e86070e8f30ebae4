"""The sums that normalization is made of, taken so that no digits are lost and little memory is walked."""

import math

import torch
from torch import Tensor

__all__ = ["centred", "count", "dot", "inverse_root", "is_batched", "square_sum", "statistics", "sum_to"]


def count(X: Tensor, axes: tuple[int, ...]) -> int:
    return max(math.prod([X.shape[a] for a in axes]), 1)  # 1: without values there is nothing to divide


def statistics(X: Tensor, axes: tuple[int, ...], n: int) -> tuple[Tensor, Tensor]:
    """mu and sigma^2 as differentiable functions of X."""
    mean = X.sum(axes, keepdim=True) / n
    return mean, centred(X, mean, axes, n)[0].square().sum(axes, keepdim=True) / n


def centred(X: Tensor, mean: Tensor, axes: tuple[int, ...], n: int) -> tuple[Tensor, Tensor]:
    """D = x - mu in two steps: less the rounded mean, then less the rest that this has left; D and rest.

    Beside a standard deviation of 1, a float32 mean of 1e4 rounds by up to 5e-4, and one of constant values
    by enough to show after division by sqrt(eps). The second step makes sum D = 0 as nearly as D can tell.
    """
    D = X - mean
    rest = D.sum(axes, keepdim=True) / n
    return D.sub_(rest), rest


def square_sum(D: Tensor, axes: tuple[int, ...]) -> Tensor:
    """sum D^2 over the axes: where neighbours in memory are summed, as a squared norm, in one pass.

    The norm is taken in steps, the first axis last: a float32 norm of very many values at once loses digits.
    """
    steps = [axes[1:], axes[:1]] if axes[0] == 0 and len(axes) > 1 else [axes]
    if any(count(D, step) > 2**14 for step in steps):
        steps = [(a,) for a in reversed(axes)]
    neighbours = axes[-1] == D.dim() - 1 and D.stride(-1) == 1
    if not neighbours or any(count(D, step) > 2**14 for step in steps):
        return D.square().sum(axes, keepdim=True)  # three passes, one of them into new memory
    norm = D
    for step in steps:
        norm = torch.linalg.vector_norm(norm, 2, step, keepdim=True)
    return norm.square()


def inverse_root(var: Tensor, eps: float) -> Tensor:
    """1 / sqrt(sigma^2 + eps), but 0 where both are 0: a constant x then gives b, not 0 times infinity."""
    r = torch.rsqrt(var + eps)
    return r.masked_fill(var == 0, 0) if eps == 0 else r


def sum_to(T: Tensor, shape: torch.Size) -> Tensor:
    """T summed down to the shape, as a tensor of its own: T's memory is used again."""
    return T.clone() if T.shape == shape else T.sum_to_size(shape)


def dot(T: Tensor, weight: Tensor, axes: tuple[int, ...], plain: bool) -> Tensor:
    """sum T w over the axes, which are kept with size 1; unless `plain`, without a tensor for the product.

    `einsum` is a matrix product here, and those may be rounded to 16 bits, under autocast or if
    `torch.set_float32_matmul_precision` allows it. It has no rule for some kinds of `vmap`.
    """
    if (
        plain
        or torch.compiler.is_compiling()  # the compiler fuses product and sum
        or T.is_meta
        or torch.is_autocast_enabled(T.device.type)
        or torch.get_float32_matmul_precision() != "highest"
    ):
        return (T * weight).sum(axes, keepdim=True)
    every = list(range(T.dim()))
    kept = [a for a in every if a not in axes]
    shape = [1 if a in axes else s for a, s in enumerate(T.shape)]
    return torch.einsum(T, every, weight, every, kept).view(shape)


def is_batched(T: Tensor) -> bool:
    """Whether T stands for many tensors at once, as under `vmap`, which cannot be written into one of them."""
    if torch.compiler.is_compiling():
        return False
    functorch = torch._C._functorch  # torch has two kinds: of torch.func, and of torch.autograd
    return functorch.is_batchedtensor(T) or functorch.is_legacy_batchedtensor(T)

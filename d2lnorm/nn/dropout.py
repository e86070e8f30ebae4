"""Inverted dropout: what survives is scaled up in training, so that prediction needs no change.

Source: Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov (2014).
"""

import torch
from torch import Tensor, nn

from d2lnorm.nn.checks import check_number, check_tensor

__all__ = ["Dropout", "dropout"]


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero each element with probability p, multiply the others by 1 / (1 - p); arguments as in `F.dropout`.

    With one seed, the same elements survive as with `F.dropout` on the CPU (nested tensors apart).

    Args:
        input: any shape.
        p: in [0, 1]; 0 returns the input itself, 1 gives zeros.
        training: False returns the input itself.
        inplace: write into `input`.

    Raises:
        ValueError: p lies outside [0, 1]. TypeError: input is no tensor.
        RuntimeError: p is NaN; input holds integers; or, in place, it is a leaf that requires gradients.
    """
    _check_p(p)
    check_tensor(input)
    check_number(p=p)
    if p != p:
        raise RuntimeError(f"dropout probability has to be between 0 and 1, but got {p}")
    if not training or p == 0 or input.numel() == 0:
        return input
    # m / (1 - p), whose mean is 1; no 0 / 0 where nothing survives
    mask = _survivors(input, 1 - p).div_(1 - p) if p < 1 else input.new_zeros(())
    return input.mul_(mask) if inplace else input * mask  # y = x m / (1 - p), whose mean is x


class Dropout(nn.Module):
    """Dropout in training, nothing in evaluation; drop-in for `nn.Dropout`.

    Args:
        p: the probability of an element to be zeroed, in [0, 1].
        inplace: write into the input.

    Raises:
        ValueError: p lies outside [0, 1]. In `forward`: see `dropout`.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        _check_p(p)
        self.p, self.inplace = p, inplace

    def forward(self, input: Tensor) -> Tensor:
        return dropout(input, self.p, self.training, self.inplace)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


def _survivors(X: Tensor, share: float) -> Tensor:
    """Return m, shaped like X: 1 with probability `share`, else 0."""
    if X.is_nested:  # sequences of several lengths, for which torch has no bernoulli_
        return (torch.rand_like(X) < share).to(X.dtype)
    real = X.dtype.to_real() if X.is_complex() else X.dtype
    return torch.empty_like(X, dtype=real).bernoulli_(share)


def _check_p(p: float) -> None:
    if p < 0 or p > 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")

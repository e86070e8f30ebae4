"""Group normalization: each group of channels of each example by its own statistics.

Source: Wu and He (2018).
"""

import math

import torch
from torch import Tensor

from d2lnorm.nn.checks import as_contiguous, check_elements, check_floating, check_number, check_types, is_integer
from d2lnorm.nn.normalize import normalize
from d2lnorm.nn.scaled import Scaled

__all__ = ["GroupNorm", "group_norm"]


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize each group of channels of each example; arguments as in `F.group_norm`.

    Args:
        input: (N, C, *), floating point.
        num_groups: G, a divisor of C. With G = 1 this is layer norm over (C, *) with a weight per channel,
            with G = C it is instance norm.
        weight, bias: None or (C,).
        eps: added to the variance, in the units of the input squared.

    Raises:
        RuntimeError: fewer than two axes, no channels or no positions, G not a positive divisor of C, or a
            parameter that does not fit the channels or the type.
        ValueError: one value per group in the whole input. TypeError: num_groups is no integer.
        NotImplementedError: not floating point.
    """
    _check(input, num_groups, weight, bias, eps)
    X, (N, C, *positions) = as_contiguous(input), input.shape
    X = X.view(N, num_groups, C // num_groups, *positions)
    axes = range(2, X.dim())  # the group's channels and the positions
    shape = [1, num_groups, C // num_groups] + [1] * len(positions)
    weight, bias = (t if t is None else t.view(shape) for t in (weight, bias))
    # y = gamma (x - mu) / sqrt(sigma^2 + eps) + beta, with mu and sigma^2 over the group
    return normalize(X, axes, weight, bias, eps)[0].view(input.shape)


class GroupNorm(Scaled):
    """Group normalization of (N, C, *), in training and evaluation alike; drop-in for `nn.GroupNorm`.

    Args:
        num_groups: G, a divisor of num_channels.
        num_channels: C.
        eps: added to the variance, in the units of the input squared.
        affine: whether there are `weight` (ones) and `bias` (zeros), (C,) each.
        device, dtype: of the parameters.
        bias: False leaves out `bias`.

    Raises:
        ValueError: num_groups does not divide num_channels. ZeroDivisionError: num_groups is 0.
        TypeError, RuntimeError: not integers, or negative ones. In `forward`: see `group_norm`.
    """

    bias: Tensor | None

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if num_channels % num_groups != 0:
            raise ValueError(f"num_channels ({num_channels}) must be divisible by num_groups ({num_groups})")
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, affine
        self._add_parameters(num_channels, device, dtype, weight=affine, bias=affine and bias)
        self.reset_parameters()

    def forward(self, input: Tensor) -> Tensor:
        return group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )


def _check(X: Tensor, num_groups: int, weight: Tensor | None, bias: Tensor | None, eps: float) -> None:
    got = f"but got input of shape {tuple(X.shape)}"
    if X.dim() < 2:
        raise RuntimeError(f"expected input with at least 2 axes, (N, C, *), {got}")
    (N, C, *positions), G = X.shape, num_groups
    if N * C // G * math.prod(positions) == 1:
        raise ValueError(f"expected more than 1 value per group when there is one example, {got} and {G} groups")
    check_number(eps=eps)
    if not is_integer(G):
        raise TypeError(f"num_groups must be an integer, but is {G!r}")
    if G <= 0 or C % G != 0:
        raise RuntimeError(f"num_groups ({G}) must be positive and divide the number of channels, {got}")
    check_elements(C, X, weight=weight, bias=bias)
    if C == 0 or 0 in positions:
        raise RuntimeError(f"expected at least one channel and one position, {got}")
    check_types(X, weight=weight, bias=bias)
    check_floating(X)

"""Layer normalization: each example by its own statistics. Source: Ba, Kiros and Hinton (2016)."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from d2lnorm.nn.checks import check_floating, check_number, check_tensor, check_types, is_integer
from d2lnorm.nn.normalize import normalize
from d2lnorm.nn.scaled import Scaled

__all__ = ["LayerNorm", "as_shape", "check_normalized_shape", "layer_norm"]


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize over the last axes, those of `normalized_shape`; arguments as in `F.layer_norm`.

    Args:
        input: (*, normalized_shape), floating point.
        normalized_shape: the sizes of the last axes, at least one.
        weight, bias: None or of shape normalized_shape.
        eps: added to the variance, in the units of the input squared.

    Raises:
        TypeError: input is no tensor, or normalized_shape holds anything but integers.
        RuntimeError: a shape or a type does not fit. NotImplementedError: not floating point.
    """
    check_normalized_shape(input, normalized_shape, weight=weight, bias=bias)
    check_number(eps=eps)
    check_types(input, weight=weight, bias=bias)
    check_floating(input)
    X = input.contiguous()
    first = X.dim() - len(normalized_shape)
    weight, bias = (t if t is None else t.view([1] * first + list(t.shape)) for t in (weight, bias))
    # y = gamma (x - mu) / sqrt(sigma^2 + eps) + beta, with mu and sigma^2 over the last axes
    return normalize(X, range(first, X.dim()), weight, bias, eps)[0]


class LayerNorm(Scaled):
    """Layer normalization of (*, normalized_shape), in either mode; drop-in for `nn.LayerNorm`.

    Args:
        normalized_shape: the size of the last axis, or the sizes of the last axes.
        eps: added to the variance, in the units of the input squared.
        elementwise_affine: whether there are `weight` (ones) and `bias` (zeros), of shape normalized_shape.
        bias: False leaves out `bias`.
        device, dtype: of the parameters.

    Raises:
        TypeError, RuntimeError: normalized_shape holds anything but integers, or a negative one. In
            `forward`: see `layer_norm`.
    """

    bias: Tensor | None

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        shape = as_shape(normalized_shape)
        self.normalized_shape, self.eps, self.elementwise_affine = shape, eps, elementwise_affine
        self._add_parameters(shape, device, dtype, weight=elementwise_affine, bias=elementwise_affine and bias)
        self.reset_parameters()

    def forward(self, input: Tensor) -> Tensor:
        return layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, "
            f"bias={self.bias is not None}"
        )


def as_shape(normalized_shape: Any) -> tuple[int, ...]:
    """Return the sizes of the last axes; a lone integer is the size of one. Raise TypeError for a lone float."""
    sizes: tuple = (normalized_shape,) if isinstance(normalized_shape, Integral) else tuple(normalized_shape)
    return sizes  # as they came: NumPy's integers, say


def check_normalized_shape(X: Tensor, normalized_shape: Sequence[int], **parameters: Tensor | None) -> None:
    """Raise TypeError or RuntimeError unless X ends in normalized_shape and each parameter has that shape."""
    check_tensor(X)
    shape = tuple(normalized_shape)
    if not all(is_integer(s) for s in shape):
        raise TypeError(f"normalized_shape must hold integers, but is {normalized_shape!r}")
    if not shape:
        raise RuntimeError("normalized_shape must hold at least one size, but is empty")
    for name, t in parameters.items():
        if t is not None and tuple(t.shape) != shape:
            raise RuntimeError(f"{name} must have shape normalized_shape={shape}, but has {tuple(t.shape)}")
    if tuple(X.shape[-len(shape) :]) != shape:
        raise RuntimeError(
            f"given normalized_shape={shape}, expected input of shape (*, {str(shape)[1:-1].rstrip(',')}), "
            f"but got input of shape {tuple(X.shape)}"
        )

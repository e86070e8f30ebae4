"""RMS normalization: layer norm without the mean. Source: Zhang and Sennrich (2019)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from d2lnorm.nn.checks import as_contiguous, check_number, check_tensor
from d2lnorm.nn.layer_norm import as_shape, check_normalized_shape
from d2lnorm.nn.scaled import Scaled

__all__ = ["RMSNorm", "rms_norm"]


def rms_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """Divide by the root mean square over the last axes; arguments as in `F.rms_norm`.

    Args:
        input: (*, normalized_shape), floating point or complex. 16-bit inputs are computed in float32.
        normalized_shape: the sizes of the last axes, at least one.
        weight: None or of shape normalized_shape; any type: the result has the input's.
        eps: added to the mean square, in the units of the input squared; None: the machine epsilon of the
            type used inside (float32 for 16-bit input).

    Raises:
        TypeError: input is no tensor, or normalized_shape holds anything but integers, or eps is no number.
        ValueError: input has too few axes. RuntimeError: a shape does not fit.
        NotImplementedError: input is of integers.
    """
    check_tensor(input)
    if input.dim() < len(normalized_shape):
        raise ValueError(
            f"expected input with at least {len(normalized_shape)} axes, but got shape {tuple(input.shape)}"
        )
    check_normalized_shape(input, normalized_shape, weight=weight)
    if eps is not None:
        check_number(eps=eps)
    if not (input.is_floating_point() or input.is_complex()):
        raise NotImplementedError(f"RMS norm is not implemented for {input.dtype}: convert it with .float()")
    X = as_contiguous(input)
    X = X.float() if X.dtype in (torch.float16, torch.bfloat16) else X
    eps = torch.finfo(X.dtype).eps if eps is None else eps
    axes = tuple(range(X.dim() - len(normalized_shape), X.dim()))
    # y = gamma x / sqrt(mean(x^2) + eps)
    Y = X * torch.rsqrt(X.square().mean(axes, keepdim=True) + eps)
    return (Y if weight is None else Y * weight).to(input.dtype)


class RMSNorm(Scaled):
    """RMS normalization of (*, normalized_shape), in training and evaluation alike; drop-in for `nn.RMSNorm`.

    Args:
        normalized_shape: the size of the last axis, or the sizes of the last axes.
        eps: added to the mean square, in the units of the input squared; None: the machine epsilon.
        elementwise_affine: whether there is `weight` (ones), of shape normalized_shape.
        device, dtype: of the parameter.

    Raises:
        TypeError, RuntimeError: normalized_shape holds anything but integers, or a negative one. In
            `forward`: see `rms_norm`.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        shape = as_shape(normalized_shape)
        self.normalized_shape, self.eps, self.elementwise_affine = shape, eps, elementwise_affine
        self._add_parameters(shape, device, dtype, weight=elementwise_affine)
        self.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"

"""Instance normalization: each channel of each example by its own statistics.

Source: Ulyanov, Vedaldi and Lempitsky (2016).
"""

import math
import warnings
from typing import Any

import torch
from torch import Tensor

from d2lnorm.nn.channel_norm import ChannelNorm, moving_average
from d2lnorm.nn.checks import check_elements, check_number, check_parameters, scaled_nothing
from d2lnorm.nn.normalize import normalize, normalize_with

__all__ = ["InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d", "instance_norm"]


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize each channel of each example over its positions; arguments as in `F.instance_norm`.

    Args:
        input: (N, C, *), floating point, with at least two positions if its own statistics are used.
        running_mean, running_var: None or (C,); they normalize if `use_input_stats` is False, and otherwise
            take a step towards the average, over the examples, of the mean and the unbiased variance.
        weight, bias: None or (C,).
        momentum: the weight of the new value.
        eps: added to the variance, in the units of the input squared.

    Raises:
        ValueError: one position per channel, or only one of the running statistics.
        RuntimeError: a parameter does not fit the channels or the type; statistics are wanted, but not given.
        NotImplementedError: not floating point. IndexError: no examples or channels, but a weight.
    """
    L = math.prod(input.shape[2:])
    there = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    if use_input_stats and L == 1:
        raise ValueError(f"Expected more than 1 spatial element when training, got input size {tuple(input.shape)}")
    check_number(momentum=momentum, eps=eps)
    if not use_input_stats and (running_mean is None or running_var is None):
        raise RuntimeError("running_mean and running_var must be given when use_input_stats is False")
    if (running_mean is None) != (running_var is None):
        raise ValueError("running_mean and running_var must either both be None or both be given")
    if input.numel() == 0:
        N, C = input.shape[:2]
        if use_input_stats:
            check_elements(C, input, running_mean=running_mean, running_var=running_var)
        return scaled_nothing(input, *(t if t is None else t[: N * C] for t in (weight, bias)))
    check_parameters(input, **there)
    X = input.contiguous()
    if not use_input_stats and running_mean is not None and running_var is not None:
        return normalize_with(X, running_mean, running_var, weight, bias, eps)
    axes = range(2, X.dim())  # all but the examples' and the channels'
    weight, bias = (t if t is None else t.view([1, -1] + [1] * len(axes)) for t in (weight, bias))
    # y = gamma (x - mu) / sqrt(sigma^2 + eps) + beta, with mu and sigma^2 over the positions
    Y, mean, var = normalize(X, axes, weight, bias, eps)
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            var = var * L / (L - 1)  # unbiased
            running_mean.copy_(moving_average(running_mean, mean.mean(0), 1 - momentum))
            running_var.copy_(moving_average(running_var, var.mean(0), 1 - momentum))
    return Y


class _InstanceNorm(ChannelNorm):
    _unbatched_dim: int  # how many axes one example has

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalized input, shaped like it: batched, or one example without the first axis.

        Raises:
            ValueError: a wrong number of axes, or of channels (without parameters only a UserWarning), or one
                position per channel. Others: see `instance_norm`.
        """
        self._check_input_dim(input)
        axis = input.dim() - self._unbatched_dim
        if input.shape[axis] != self.num_features:
            message = (
                f"the input's size at dim={axis} should be num_features ({self.num_features}), "
                f"but its shape is {tuple(input.shape)}"
            )
            if self.affine:
                raise ValueError(message)
            warnings.warn(message + "; without affine, num_features is not used", stacklevel=2)
        X = input if axis == 1 else input.unsqueeze(0)
        momentum = 0.0 if self.momentum is None else self.momentum  # None: as in torch.nn, never moved
        Y = instance_norm(
            X, self.running_mean, self.running_var, self.weight, self.bias,
            self.training or not self.track_running_stats, momentum, self.eps,
        )  # fmt: skip
        return Y if axis == 1 else Y.squeeze(0)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, local_metadata: dict, *args: Any) -> None:
        """Explain the error that a state saved before torch 0.4 gives, where every layer had statistics."""
        if local_metadata.get("version") is None and not self.track_running_stats:
            errors, name = args[-1], type(self).__name__
            old = [key for key in (prefix + "running_mean", prefix + "running_var") if key in state_dict]
            if old:
                errors.append(
                    f"Unexpected running stats buffer(s) {' and '.join(old)} for {name} with "
                    "track_running_stats=False. A checkpoint from before torch 0.4.0 has them always: remove these "
                    f"keys from state_dict, or, if they are needed, set track_running_stats=True in {name}."
                )
            for key in old:
                del state_dict[key]
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)

    def _check_input_dim(self, input: Tensor) -> None:
        self._check_axes(input, self._unbatched_dim, self._unbatched_dim + 1)


class InstanceNorm1d(_InstanceNorm):
    """Instance normalization of (N, C, L) or (C, L); drop-in for `nn.InstanceNorm1d`."""

    _unbatched_dim = 2


class InstanceNorm2d(_InstanceNorm):
    """Instance normalization of (N, C, H, W) or (C, H, W); drop-in for `nn.InstanceNorm2d`."""

    _unbatched_dim = 3


class InstanceNorm3d(_InstanceNorm):
    """Instance normalization of (N, C, D, H, W) or (C, D, H, W); drop-in for `nn.InstanceNorm3d`."""

    _unbatched_dim = 4

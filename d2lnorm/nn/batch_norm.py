"""Batch normalization with PyTorch's conventions: drop-ins for `nn.BatchNorm1d`, `2d` and `3d`.

What they compute differs from the book's `batch_norm` in two lines, marked below: momentum weighs the new
value, and the running variance is the unbiased one. The rest is bookkeeping that `torch.nn` also does.

Source: Ioffe and Szegedy (2015), algorithms 1 and 2.
"""

import math

import torch
from torch import Tensor

from d2lnorm.nn.channel_norm import ChannelNorm, moving_average
from d2lnorm.nn.checks import as_contiguous, check_number, check_parameters, scaled_nothing
from d2lnorm.nn.normalize import normalize, normalize_with

__all__ = ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "BatchNormBase"]


class BatchNormBase(ChannelNorm):
    def forward(self, input: Tensor) -> Tensor:
        """Return the normalized input, shaped like it; in training, move the running statistics.

        Raises:
            ValueError: the input has a wrong number of axes, or in training one value per channel, or eps is
                negative, or in training 0.
            RuntimeError: the number of channels, or the type, does not fit the layer's.
            NotImplementedError: the input is not floating point.
            IndexError: neither the input nor the layer has channels.
        """
        self._check_input_dim(input)
        # In training the statistics are the batch's; in evaluation too where there are no running ones.
        weight, bias, running_mean, running_var = self.weight, self.bias, self.running_mean, self.running_var
        own_statistics = self.training or (running_mean is None and running_var is None)
        self._check(input, own_statistics)
        if (running_mean is None) != (running_var is None):
            self._refuse_half_statistics()
        check_parameters(input, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
        if input.numel() == 0:
            self._count_batch()
            return scaled_nothing(input, weight, bias)
        X, C = as_contiguous(input), input.shape[1]
        if not self.training and running_mean is not None and running_var is not None:
            return normalize_with(X, running_mean, running_var, weight, bias, self.eps)
        axes = [0, *range(2, X.dim())]  # all but the channels'
        weight, bias = (t if t is None else t.view([1, C] + [1] * (X.dim() - 2)) for t in (weight, bias))
        Y, mean, var = normalize(X, axes, weight, bias, self.eps)
        self._count_batch()
        self._move_statistics(mean, var, X.numel() // C)
        return Y

    def _move_statistics(self, mean: Tensor, var: Tensor, n: int) -> None:
        """In training, let the running statistics take a step towards those of n values a channel."""
        running_mean, running_var = self.running_mean, self.running_var
        if self.training and self.track_running_stats and running_mean is not None and running_var is not None:
            momentum = self._momentum(mean.dtype)
            with torch.no_grad():
                var = var * n / (n - 1)  # PyTorch's convention: the unbiased variance; the book's: the biased one
                running_mean.copy_(moving_average(running_mean, mean, momentum))
                running_var.copy_(moving_average(running_var, var, momentum))

    def _count_batch(self) -> None:
        if self.training and self.track_running_stats and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)

    def _momentum(self, dtype: torch.dtype) -> float | Tensor:
        """The book's momentum, which `moving_average` takes."""
        if self.momentum is not None:
            return 1 - self.momentum  # PyTorch's convention: the weight of the new value; the book's: of the old
        k = self.num_batches_tracked  # the k-th batch enters the plain average with weight 1/k
        return 1.0 if k is None else 1 - 1 / k.to(dtype)

    def _refuse_half_statistics(self) -> None:
        if not self.training:
            raise RuntimeError("evaluation needs both running_mean and running_var, but one of them is None")
        if self.track_running_stats:
            raise ValueError("either both or neither of running_mean and running_var must be None")

    def _check(self, X: Tensor, own_statistics: bool) -> None:
        if own_statistics and X.shape[0] * math.prod(X.shape[2:]) == 1:
            raise ValueError(
                f"Expected more than 1 value per channel when training, got input size {tuple(X.shape)}: "
                "one value has variance 0 and would be normalized to 0, whatever it is"
            )
        self._check_numbers(own_statistics)

    def _check_numbers(self, own_statistics: bool) -> None:
        if self.eps < 0 or (own_statistics and self.eps <= 0):
            limit = "positive during training" if own_statistics else "non-negative"
            raise ValueError(f"batch norm's eps must be {limit}, but got {self.eps}")
        check_number(momentum=0.0 if self.momentum is None else self.momentum, eps=self.eps)


class BatchNorm1d(BatchNormBase):
    """Batch normalization of (N, C) or (N, C, L); drop-in for `nn.BatchNorm1d`."""

    def _check_input_dim(self, input: Tensor) -> None:
        self._check_axes(input, 2, 3)


class BatchNorm2d(BatchNormBase):
    """Batch normalization of (N, C, H, W); drop-in for `nn.BatchNorm2d`."""

    def _check_input_dim(self, input: Tensor) -> None:
        self._check_axes(input, 4)


class BatchNorm3d(BatchNormBase):
    """Batch normalization of (N, C, D, H, W); drop-in for `nn.BatchNorm3d`."""

    def _check_input_dim(self, input: Tensor) -> None:
        self._check_axes(input, 5)

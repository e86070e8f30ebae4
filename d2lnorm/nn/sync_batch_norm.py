"""Batch normalization over the batches of all processes together: a drop-in for `nn.SyncBatchNorm`, for CPUs too.

Sources: Ioffe and Szegedy (2015); Chan, Golub and LeVeque (1983) for the variance of parts put together.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from d2lnorm.batch_norm import BatchNorm
from d2lnorm.nn.batch_norm import BatchNormBase
from d2lnorm.nn.checks import as_contiguous, check_parameters, scaled_nothing

__all__ = ["SyncBatchNorm"]


class SyncBatchNorm(BatchNormBase):
    """Batch normalization of (N, C, *) by the statistics of all processes; drop-in for `nn.SyncBatchNorm`.

    In training each process of the group must run the same layers in the same order, with any number of examples,
    also none. In evaluation, and without a process group (`torch.distributed`) or alone in it, it is batch norm. It
    works wherever the group's collectives do: gloo on a CPU, nccl on GPUs.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: Any = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        bias: bool = True,
    ) -> None:
        """process_group: the processes whose batches count as one; None: all. The others as above."""
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)
        self.process_group = process_group

    @classmethod
    def convert_sync_batchnorm(cls, module: nn.Module, process_group: Any = None) -> nn.Module:
        """Put this layer in the place of every batch norm in `module`, with the same parameters and buffers.

        Returns `module` itself, changed in place, or the new layer where `module` is a batch norm.

        Raises:
            TypeError: there is a `d2lnorm.BatchNorm`, whose conventions are the book's. Nothing has been changed.
        """
        if any(isinstance(m, BatchNorm) for m in module.modules()):
            raise TypeError(
                "a d2lnorm.BatchNorm cannot be converted: its momentum and its moving variance follow the book's "
                "conventions, not torch.nn's. Make the net with nn.BatchNorm1d or 2d"
            )
        kinds = (nn.modules.batchnorm._BatchNorm, BatchNormBase)
        new: dict[nn.Module, nn.Module] = {
            m: cls._from(m, process_group) for m in module.modules() if isinstance(m, kinds)
        }
        for parent in list(module.modules()):
            for name, child in parent._modules.items():  # also a layer that stands in two places
                if child in new:
                    parent._modules[name] = new[child]
        return new.get(module, module)

    @classmethod
    def _from(cls, m: Any, process_group: Any) -> "SyncBatchNorm":
        options = {"process_group": process_group, "device": "meta", "bias": m.bias is not None}
        layer = cls(m.num_features, m.eps, m.momentum, m.affine, m.track_running_stats, **options)
        layer.weight, layer.bias, layer.training = m.weight, m.bias, m.training
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            setattr(layer, name, getattr(m, name))
        return layer

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected at least 2D input (got {input.dim()}D input)")
        if input.shape[1] == 0:
            raise ValueError("SyncBatchNorm number of input channels should be non-zero")

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalized input, shaped like it; in training, move the running statistics.

        Raises:
            ValueError: fewer than two axes; or in training all processes together have one value per channel.
            RuntimeError: sizes or types do not fit; or the other processes do not answer.
        """
        group = self._group()
        if group is None:
            return super().forward(input)
        self._check_input_dim(input)
        check_parameters(
            input,
            running_mean=self.running_mean, running_var=self.running_var, weight=self.weight, bias=self.bias,
        )  # fmt: skip
        self._check_numbers(own_statistics=True)
        X = as_contiguous(input.to(torch.promote_types(input.dtype, torch.float32)))  # 16 bits are too few for sums
        weight, bias = (t if t is None else t.to(X.dtype) for t in (self.weight, self.bias))
        Y, mean, var, count = _SyncNormalize.apply(X, weight, bias, self.eps, group)
        n = int(count.item())
        if n == 1:  # as every process finds
            raise ValueError(
                "Expected more than 1 value per channel when training, got one in all processes together; "
                f"here the input size is {tuple(X.shape)}"
            )
        self._count_batch()
        if n == 0:
            return scaled_nothing(input, self.weight, self.bias)
        self._move_statistics(mean, var, n)
        return Y.to(input.dtype)

    def _group(self) -> Any:
        """The processes to be asked; None where there are no others, or where they do not matter."""
        if not (self.training and distributed.is_available() and distributed.is_initialized()):
            return None
        group = self.process_group or distributed.group.WORLD
        return group if distributed.get_world_size(group) > 1 else None


class _SyncNormalize(Function):
    """`apply(X, weight, bias, eps, group)` returns `(Y, mean, var, n)`: statistics of all processes, n values each."""

    @staticmethod
    def forward(ctx, X: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, group: Any):
        C, axes, shape = X.shape[1], [0, *range(2, X.dim())], [1, -1] + [1] * (X.dim() - 2)
        mean = X.mean(axes) if X.numel() else X.new_zeros(C)
        var = (X - mean.view(shape)).square().mean(axes) if X.numel() else X.new_zeros(C)
        sent = torch.cat([mean, var, X.new_tensor([X.numel() // C])])  # 2C + 1 numbers
        parts = [torch.empty_like(sent) for _ in range(distributed.get_world_size(group))]
        with _waiting():
            distributed.all_gather(parts, sent, group=group)
        means, variances, counts = torch.stack(parts).split([C, C, 1], dim=1)  # a row for each process
        n = counts.sum()
        mean = (counts * means).sum(0) / n  # the mean of means would be wrong for unequal counts
        var = (counts * (variances + (means - mean).square())).sum(0) / n  # within the parts, and between them
        r = torch.rsqrt(var + eps).view(shape)
        X_hat = (X - mean.view(shape)) * r
        ctx.save_for_backward(X_hat, weight, bias, r, n)
        ctx.axes, ctx.shape, ctx.group = axes, shape, group
        ctx.mark_non_differentiable(mean, var, n)
        Y = X_hat if weight is None else X_hat * weight.view(shape)
        return Y.clone() if weight is bias is None else Y if bias is None else Y + bias.view(shape), mean, var, n

    @staticmethod
    @once_differentiable
    def backward(ctx, dY: Tensor, *_) -> tuple[Tensor | None, ...]:
        X_hat, weight, bias, r, n = ctx.saved_tensors
        d_bias, d_weight = dY.sum(ctx.axes), (dY * X_hat).sum(ctx.axes)  # of this process's examples
        dX = None
        if ctx.needs_input_grad[0]:
            scale = torch.ones_like(d_bias) if weight is None else weight
            sums = torch.cat([scale * d_bias, scale * d_weight])  # of h = weight dY, and of h X_hat: 2C numbers
            with _waiting():
                distributed.all_reduce(sums, group=ctx.group)
            mean_h, slope = (t.view(ctx.shape) for t in (sums / n).chunk(2))
            dX = (dY * scale.view(ctx.shape) - mean_h - X_hat * slope) * r
        return dX, None if weight is None else d_weight, None if bias is None else d_bias, None, None


@contextmanager
def _waiting() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        error.add_note(
            "SyncBatchNorm asked the other processes for their statistics, and one did not answer: it has ended, or "
            "runs other layers. The error of the process that failed first says why."
        )
        raise

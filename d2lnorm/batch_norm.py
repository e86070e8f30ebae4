"""Batch normalization as the book writes it: a function, and the layer around it.

Sources: Ioffe and Szegedy (2015), algorithms 1 and 2; Dive into Deep Learning, section "Batch Normalization".
"""

import torch
from torch import Tensor, nn

from d2lnorm.checks import check_arguments, check_layer, shape

__all__ = ["BatchNorm", "batch_norm"]


def batch_norm(
    X: Tensor,
    gamma: Tensor,
    beta: Tensor,
    moving_mean: Tensor,
    moving_var: Tensor,
    eps: float = 1e-5,
    momentum: float = 0.9,
    *,
    training: bool | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalize each channel of `X` and return `(Y, moving_mean, moving_var)`.

    In training the statistics are the batch's own, and the moving ones take a step towards them; otherwise
    the moving statistics normalize, and are returned as they are. The arguments are never changed, and the
    returned statistics carry no autograd graph.

    Args:
        X: (N, C), or (N, C, H, W), floating point. In training each channel needs at least two values.
            16 bits are computed in float32, and Y is rounded once.
        gamma, beta: scale and shift, C elements each: (C,) or the book's (1, C) and (1, C, 1, 1).
        moving_mean, moving_var: the moving statistics, shaped like gamma, in the units of X and of X squared.
        eps: added to the variance inside the square root, > 0, in the units of X squared.
        momentum: the book's convention (in its edition for d2l 0.17), in [0, 1]: the weight of the *old* value.
            `torch.nn` calls `1 - momentum` momentum.
        training: None follows the book's rule, `torch.is_grad_enabled()`; True or False overrides it.

    Raises:
        TypeError: X is not floating point.
        ValueError: a wrong shape, eps or momentum, or one value per channel in training: its variance is 0,
            and the result would be beta, whatever X holds.

    The batch variance is the biased one (divided by the number of values), for the result and for
    `moving_var`: the book's choice. `torch.nn.BatchNorm2d` updates `running_var` with the unbiased one.
    """
    if training is None:
        training = torch.is_grad_enabled()
    check_arguments(X, gamma, beta, moving_mean, moving_var, eps, momentum, training)
    X32 = X.to(torch.promote_types(X.dtype, torch.float32))  # 16 bits are too few for sums
    channels = (1, -1) if X.dim() == 2 else (1, -1, 1, 1)  # one number a channel, beside X
    if training:
        axes = (0,) if X.dim() == 2 else (0, 2, 3)  # all but the channels'
        mean = X32.mean(axes, keepdim=True)
        mean = mean + (X32 - mean).detach().mean(axes, keepdim=True)  # 0, but for what rounding has left
        centred = X32 - mean
        var = (centred**2).mean(axes, keepdim=True)
        moving_mean = momentum * moving_mean + (1 - momentum) * mean.view_as(moving_mean)
        moving_var = momentum * moving_var + (1 - momentum) * var.view_as(moving_var)
    else:
        mean, var = moving_mean.view(channels), moving_var.view(channels)
        centred = X32 - mean
    X_hat = centred / torch.sqrt(var + eps)
    Y = gamma.view(channels) * X_hat + beta.view(channels)
    return Y.to(X.dtype), moving_mean.detach(), moving_var.detach()


class BatchNorm(nn.Module):
    """The book's layer around `batch_norm`, with the book's two slips cured.

    The moving statistics are buffers, so that `state_dict` saves them and `.to()` moves them; and the mode is
    `self.training`, which `net.train()` and `net.eval()` set, not whether gradients are recorded.

    Args:
        num_features: C, the number of outputs of a linear layer or of channels of a convolution.
        num_dims: 2 for (N, C), 4 for (N, C, H, W).
        eps, momentum: as for `batch_norm`.

    Raises:
        ValueError: an argument out of range, or in `forward` whatever `batch_norm` raises.
    """

    moving_mean: Tensor
    moving_var: Tensor

    def __init__(self, num_features: int, num_dims: int, eps: float = 1e-5, momentum: float = 0.9) -> None:
        check_layer(num_features, num_dims, eps, momentum)
        super().__init__()
        self.num_features, self.num_dims, self.eps, self.momentum = num_features, num_dims, eps, momentum
        size = (1, num_features) if num_dims == 2 else (1, num_features, 1, 1)
        self.gamma = nn.Parameter(torch.ones(size))
        self.beta = nn.Parameter(torch.zeros(size))
        self.register_buffer("moving_mean", torch.zeros(size))
        self.register_buffer("moving_var", torch.ones(size))

    def forward(self, X: Tensor) -> Tensor:
        """Return Y, shaped like X, and in training move the statistics."""
        if X.dim() != self.num_dims:
            raise ValueError(f"expected X with {self.num_dims} axes (num_dims), but got {shape(X)}")
        Y, moving_mean, moving_var = batch_norm(
            X, self.gamma, self.beta, self.moving_mean, self.moving_var, self.eps, self.momentum,
            training=self.training,
        )  # fmt: skip
        if self.training:
            with torch.no_grad():  # in place: whoever holds the buffers sees the new values
                self.moving_mean.copy_(moving_mean)
                self.moving_var.copy_(moving_var)
        return Y

    def extra_repr(self) -> str:
        return f"{self.num_features}, num_dims={self.num_dims}, eps={self.eps}, momentum={self.momentum}"

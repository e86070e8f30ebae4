"""Fold a trained batch norm into the layer before it, for inference.

Source: Jacob et al. (2018), section 3.2.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import is_parametrized

from d2lnorm.batch_norm import BatchNorm
from d2lnorm.nn.batch_norm import BatchNorm1d, BatchNorm2d, BatchNorm3d

__all__ = ["fold_batch_norm"]

_TRANSPOSED = nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d
_LAYERS = nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, *_TRANSPOSED
_OURS = BatchNorm1d, BatchNorm2d, BatchNorm3d
_BATCH_NORMS = nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, *_OURS


def fold_batch_norm(layer: nn.Module, bn: nn.Module) -> nn.Module:
    """Return one layer that computes what `bn(layer(X))` computes in evaluation; neither argument is changed.

    Batch norm in evaluation is one scale and one shift per channel, which a linear layer before it can do:

        a (W x + b - mu) / sqrt(sigma^2 + eps) + c = (s W) x + s (b - mu) + c
        with s = a / sqrt(sigma^2 + eps)

    Args:
        layer: `nn.Linear`, or `nn.Conv1d/2d/3d` or its transposed counterpart, with or without bias. After a
            Linear only for its outputs of shape (N, C): in (N, L, C) batch norm takes L for the channels.
        bn: a batch norm of `torch.nn`, its drop-in or `d2lnorm.BatchNorm`, in evaluation mode.

    Returns:
        A copy of `layer`, always with a bias. It is computed in float64 and rounded to the layer's type.

    Raises:
        TypeError: another kind of layer, or one whose weight is computed anew in each step, as under
            `weight_norm`: the folded weight would be overwritten.
        ValueError: layer is a lazy one that has seen no input yet; bn is in training mode, has no running
            statistics or another number of channels.
    """
    if not isinstance(layer, _LAYERS):
        raise TypeError(f"can fold into a linear or convolutional layer, but got {type(layer).__name__}")
    if is_lazy(layer.weight):
        raise ValueError(f"{type(layer).__name__} has no weight yet: let it see an input before folding")
    if is_parametrized(layer) or not isinstance(layer.weight, nn.Parameter):
        raise TypeError(
            f"the weight of this {type(layer).__name__} is no parameter, but computed from others (as by weight_norm "
            "or pruning): make it one before folding, for instance by parametrize.remove_parametrizations"
        )
    mean, var, weight, bias = _parameters(bn)
    if bn.training:
        raise ValueError("in training, batch norm depends on the batch: call .eval() before folding")
    if mean is None or var is None:
        raise ValueError("without running statistics, batch norm depends on the batch: there is nothing to fold")
    axis = 1 if isinstance(layer, _TRANSPOSED) else 0  # the axis of the outputs in the layer's weight
    C = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
    if mean.numel() != C:
        raise ValueError(f"the layer has {C} outputs, but batch norm {mean.numel()} channels")
    with torch.no_grad():
        mean, var = mean.double().flatten(), var.double().flatten()
        scale = torch.rsqrt(var + bn.eps)  # s = a / sqrt(sigma^2 + eps)
        scale = scale if weight is None else weight.double().flatten() * scale
        b = torch.zeros_like(mean) if layer.bias is None else layer.bias.double()
        b = scale * (b - mean)  # s (b - mu) + c
        b = b if bias is None else b + bias.double().flatten()
        folded = copy.deepcopy(layer)
        W = folded.weight
        W.copy_(_times_outputs(W.double(), scale, axis, getattr(layer, "groups", 1)))  # s W
        folded.bias = nn.Parameter(b.to(W), requires_grad=W.requires_grad)
    return folded


def _times_outputs(W: Tensor, scale: Tensor, axis: int, groups: int) -> Tensor:
    if axis == 0:
        return W * scale.view([-1] + [1] * (W.dim() - 1))
    # transposed: (in, out / groups, ...), where each group of inputs has its own outputs
    grouped = W.view(groups, W.shape[0] // groups, *W.shape[1:])
    return (grouped * scale.view([groups, 1, -1] + [1] * (W.dim() - 2))).view_as(W)


def _parameters(bn: nn.Module) -> tuple[Tensor | None, ...]:
    if isinstance(bn, BatchNorm):
        return bn.moving_mean, bn.moving_var, bn.gamma, bn.beta
    if isinstance(bn, _BATCH_NORMS):
        return bn.running_mean, bn.running_var, bn.weight, bn.bias
    raise TypeError(f"can fold a batch norm, but got {type(bn).__name__}")

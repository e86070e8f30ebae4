"""Fold a trained batch norm into the layer before it, for inference.

Source: Jacob et al. (2018), section 3.2.
"""

import copy
from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.utils.parametrize import is_parametrized

from d2lnorm.batch_norm import BatchNorm
from d2lnorm.nn.batch_norm import BatchNorm1d, BatchNorm2d, BatchNorm3d

__all__ = ["fold_batch_norm"]

_TRANSPOSED = nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d
_CONVS = nn.Conv1d, nn.Conv2d, nn.Conv3d
# How many axes the outputs of a layer have, channels second, and how many a batch norm takes
_GIVES = {nn.Linear: 2} | {conv: d for kinds in (_CONVS, _TRANSPOSED) for d, conv in enumerate(kinds, 3)}
_TAKES = {nn.SyncBatchNorm: (2, 3, 4, 5), nn.BatchNorm1d: (2, 3), nn.BatchNorm2d: (4,), nn.BatchNorm3d: (5,)}
_TAKES |= {BatchNorm1d: (2, 3), BatchNorm2d: (4,), BatchNorm3d: (5,), BatchNorm: ()}  # the last: its num_dims


def fold_batch_norm(layer: nn.Module, bn: nn.Module) -> nn.Module:
    """Return one layer that computes what `bn(layer(X))` computes in evaluation; neither argument is changed.

    Batch norm in evaluation is one scale and one shift per channel, which a linear layer before it can do:

        a (W x + b - mu) / sqrt(sigma^2 + eps) + c = (s W) x + s (b - mu) + c
        with s = a / sqrt(sigma^2 + eps)

    Only you can see this: **after a Linear fold only for its outputs of shape (N, C), after a convolution only for
    batches.** Batch norm takes axis 1 for the channels: in (N, L, C) from a Linear, or (C, L) from a Conv1d that gets
    one example without a batch axis, that is L. No layer shows what it will get; where L = C the pair raises no
    error, and the folded layer's numbers are wrong in silence.

    Args:
        layer: `nn.Linear`, or `nn.Conv1d/2d/3d` or its transposed counterpart, with or without bias.
        bn: a batch norm of `torch.nn`, its drop-in or `d2lnorm.BatchNorm`, in evaluation mode.

    Returns:
        A copy of `layer`, always with a bias. It is computed in float64 and rounded to the layer's type.

    Raises:
        TypeError: it is not certain that the two compute W x + b and plain batch norm of it. One of them is of
            another class, a subclass included; has forward hooks, or a `forward` of its own; or its weight or bias
            is no plain parameter, but computed anew in each step, as under `weight_norm` or pruning. Or bn takes
            another number of axes than layer gives, or the weight is complex.
        ValueError: one of them is a lazy one that has seen no input yet; bn is in training mode, lacks running
            statistics or has another number of channels.
    """
    book = isinstance(bn, BatchNorm)
    names = ("gamma", "beta") if book else ("weight", "bias")
    kept = ("moving_mean", "moving_var") if book else ("running_mean", "running_var")
    _check_plain(layer, _GIVES, "into a linear or convolutional layer", ("weight", "bias"))
    _check_plain(bn, _TAKES, "a batch norm", names)
    assert isinstance(layer, nn.Linear | _ConvNd)
    axes, takes = _GIVES[type(layer)], (bn.num_dims,) if isinstance(bn, BatchNorm) else _TAKES[type(bn)]
    if axes not in takes:
        wanted = " or ".join(map(str, takes))
        raise TypeError(
            f"this {type(bn).__name__} takes inputs with {wanted} axes, channels second, but {type(layer).__name__} "
            f"gives {axes}: if they belong together all the same, load its state into a batch norm for {axes} axes"
        )
    if not layer.weight.is_floating_point():
        raise TypeError(f"can fold into floating-point weights, but these are {layer.weight.dtype}")
    if bn.training:
        raise ValueError("in training, batch norm depends on the batch: call .eval() before folding")
    mean, var, weight, bias, eps = (getattr(bn, name) for name in (*kept, *names, "eps"))
    if mean is None and var is None:
        raise ValueError("without running statistics, batch norm depends on the batch: there is nothing to fold")
    if mean is None or var is None:
        raise ValueError(f"{kept[mean is not None]} is None: evaluation needs both running statistics")
    axis = 1 if type(layer) in _TRANSPOSED else 0  # the axis of the outputs in the layer's weight
    groups = getattr(layer, "groups", 1)
    C = layer.weight.shape[axis] * (groups if axis == 1 else 1)
    for t in (mean, var, weight, bias):
        if t is not None and t.numel() != C:
            raise ValueError(f"the layer has {C} outputs, but batch norm {t.numel()} channels")
    with torch.no_grad():
        mean, var = mean.double().flatten(), var.double().flatten()
        scale = torch.rsqrt(var + eps)  # s = a / sqrt(sigma^2 + eps)
        scale = scale if weight is None else weight.double().flatten() * scale
        b = torch.zeros_like(mean) if layer.bias is None else layer.bias.double()
        b = scale * (b - mean)  # s (b - mu) + c
        b = b if bias is None else b + bias.double().flatten()
        folded = copy.deepcopy(layer)
        W = folded.weight
        W.copy_(_times_outputs(W.double(), scale, axis, groups))  # s W
        folded.bias = nn.Parameter(b.to(W), requires_grad=W.requires_grad)
    return folded


def _times_outputs(W: Tensor, scale: Tensor, axis: int, groups: int) -> Tensor:
    if axis == 0:
        return W * scale.view([-1] + [1] * (W.dim() - 1))
    # transposed: (in, out / groups, ...), where each group of inputs has its own outputs
    grouped = W.view(groups, W.shape[0] // groups, *W.shape[1:])
    return (grouped * scale.view([groups, 1, -1] + [1] * (W.dim() - 2))).view_as(W)


def _check_plain(module: nn.Module, kinds: Collection[type], what: str, names: tuple[str, str]) -> None:
    """Raise unless it is known what `module` computes: that of its class, one of `kinds`, from these parameters."""
    kind, plain = type(module).__name__, [known for known in kinds if isinstance(module, known)]
    if isinstance(module, LazyModuleMixin) and module.has_uninitialized_params():
        raise ValueError(f"{kind} has no weight yet: let it see an input before folding")
    if not plain:
        raise TypeError(f"can fold {what}, but got {kind}")
    for name in names:
        own = module._parameters.get(name, "computed")  # or None: the layer has no bias
        if is_parametrized(module, name) or name in vars(module) or not (own is None or type(own) is nn.Parameter):
            raise TypeError(
                f"the {name} of this {kind} is no parameter with numbers of its own, but computed (as by weight_norm "
                "or pruning): make it one, for instance by parametrize.remove_parametrizations or prune.remove"
            )
    if type(module) not in kinds:
        raise TypeError(
            f"{kind} is a subclass of {plain[0].__name__} and may compute something else: if it does not, copy its "
            f"parameters and buffers into a plain {plain[0].__name__} and fold that"
        )
    functions = [name for name in ("forward", "_conv_forward") if name in vars(module)]
    if functions:
        raise TypeError(f"this {kind} has a {functions[0]} of its own, set on the instance: delete it before folding")
    if module._forward_hooks or module._forward_pre_hooks:
        raise TypeError(f"this {kind} has forward hooks, which may change what it computes: remove them before folding")

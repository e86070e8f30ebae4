"""Xavier's initialization of linear and convolution layers."""

import torch
from torch import nn
from torch.nn.parameter import is_lazy

__all__ = ["check_weights", "init_xavier"]

LAYERS = (
    nn.Linear,
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
)


def init_xavier(module: nn.Module) -> None:
    """Draw the weights of a linear or convolution layer from Xavier's uniform distribution, in place.

    Transposed convolutions and subclasses count as well; another module is left alone, and biases stay as they
    are. The numbers are drawn on the CPU, in the weight's type: a seed gives the same weights on every device.

    Raises:
        ValueError: the layer has no weight that could be drawn: it is lazy and has seen no input yet, or its weight
            is computed from other parameters (`weight_norm`, `torch.nn.utils.parametrize`, pruning).

    Source: Glorot and Bengio (2010); the initialization in `d2l.train_ch6`.
    """
    if isinstance(module, LAYERS):
        weight = _weight(module, "the layer")
        drawn = torch.empty(weight.shape, dtype=weight.dtype, device="cpu")
        nn.init.xavier_uniform_(drawn)
        with torch.no_grad():
            weight.copy_(drawn)


def check_weights(net: nn.Module) -> None:
    """Raise ValueError if `init_xavier` would refuse a layer of `net`; nothing is changed or computed."""
    for name, module in net.named_modules():
        if isinstance(module, LAYERS):
            _weight(module, f"layer {name!r}" if name else "the net")


def _weight(layer: nn.Module, which: str) -> nn.Parameter:
    # not layer.weight, which would compute a parametrized one
    weight = dict(layer.named_parameters(recurse=False)).get("weight")
    if weight is None:
        way_out = "its weight is computed from others; pass `init_weights=` a function that sets those"
    elif is_lazy(weight):
        way_out = "it is lazy and has no weight yet; run one batch through the net first, or pass `init_weights=`"
    else:
        return weight
    raise ValueError(f"{which}, a {type(layer).__name__}, cannot have Xavier's weights: {way_out}")

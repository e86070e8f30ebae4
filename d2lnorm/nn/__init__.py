"""Layers that stand in for those of the same name in `torch.nn`, and the functions around which they are built."""

from d2lnorm.nn.batch_norm import BatchNorm1d, BatchNorm2d, BatchNorm3d
from d2lnorm.nn.dropout import Dropout, dropout
from d2lnorm.nn.fold import fold_batch_norm
from d2lnorm.nn.group_norm import GroupNorm, group_norm
from d2lnorm.nn.instance_norm import InstanceNorm1d, InstanceNorm2d, InstanceNorm3d, instance_norm
from d2lnorm.nn.layer_norm import LayerNorm, layer_norm
from d2lnorm.nn.normalize import normalize
from d2lnorm.nn.normalize_function import Normalize
from d2lnorm.nn.rms_norm import RMSNorm, rms_norm

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "Dropout",
    "GroupNorm",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LayerNorm",
    "Normalize",
    "RMSNorm",
    "dropout",
    "fold_batch_norm",
    "group_norm",
    "instance_norm",
    "layer_norm",
    "normalize",
    "rms_norm",
]

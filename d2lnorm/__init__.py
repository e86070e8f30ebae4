"""d2lnorm: normalization layers from scratch, and what the course's notebooks share.

The layers, the data and the training are importable from here; what the notebooks are furnished with, from
`d2lnorm.course`. The book's `batch_norm` and its layer `BatchNorm` are in `batch_norm.py`, every line in view. The
classes named as in `torch.nn` stand in for their namesakes there; they are in `nn`. Each file holds one concept.
"""

from d2lnorm.batch_norm import BatchNorm, batch_norm
from d2lnorm.data import LABELS, Batches, FetchError, fetch_fashion_mnist, load_fashion_mnist
from d2lnorm.lenet import lenet
from d2lnorm.nn import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    Dropout,
    GroupNorm,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
    LayerNorm,
    Normalize,
    RMSNorm,
    SyncBatchNorm,
    dropout,
    fold_batch_norm,
    group_norm,
    instance_norm,
    layer_norm,
    normalize,
    rms_norm,
)
from d2lnorm.training import (
    History,
    evaluate_accuracy,
    init_xavier,
    recompute_running_statistics,
    side_by_side,
    train,
)

__all__ = [
    "LABELS",
    "BatchNorm",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "Batches",
    "Dropout",
    "FetchError",
    "GroupNorm",
    "History",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LayerNorm",
    "Normalize",
    "RMSNorm",
    "SyncBatchNorm",
    "batch_norm",
    "dropout",
    "evaluate_accuracy",
    "fetch_fashion_mnist",
    "fold_batch_norm",
    "group_norm",
    "init_xavier",
    "instance_norm",
    "layer_norm",
    "lenet",
    "load_fashion_mnist",
    "normalize",
    "recompute_running_statistics",
    "rms_norm",
    "side_by_side",
    "train",
]
__version__ = "0.1.0"

"""d2lnorm: normalization layers from scratch, and what the course's notebooks share.

The layers, the data and the training are importable from here; what the notebooks are furnished with (`plotting`,
`tables`, `verdicts`, `spread`, `exercises`) from its modules. Each module holds one concept. The classes named as in
`torch.nn` stand in for their namesakes there; `BatchNorm`, with `batch_norm`, is the book's.
"""

from d2lnorm.batch_norm import BatchNorm, batch_norm
from d2lnorm.data import LABELS, Batches, load_fashion_mnist
from d2lnorm.dropout import Dropout, dropout
from d2lnorm.evaluation import evaluate_accuracy
from d2lnorm.fashion_mnist import FetchError, fetch_fashion_mnist
from d2lnorm.fold import fold_batch_norm
from d2lnorm.group_norm import GroupNorm, group_norm
from d2lnorm.history import History
from d2lnorm.instance_norm import InstanceNorm1d, InstanceNorm2d, InstanceNorm3d, instance_norm
from d2lnorm.layer_norm import LayerNorm, layer_norm
from d2lnorm.lenet import lenet
from d2lnorm.normalize import normalize
from d2lnorm.normalize_function import Normalize
from d2lnorm.rms_norm import RMSNorm, rms_norm
from d2lnorm.running_statistics import recompute_running_statistics
from d2lnorm.torch_batch_norm import BatchNorm1d, BatchNorm2d, BatchNorm3d
from d2lnorm.training import init_xavier, train

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
    "train",
]
__version__ = "0.1.0"

"""d2lnorm: normalization layers from scratch, and what the course's notebooks share.

Everything public is importable from here; each name's module holds one concept.
"""

from d2lnorm.batch_norm import BatchNorm, batch_norm
from d2lnorm.data import LABELS, Batches, load_fashion_mnist
from d2lnorm.evaluation import evaluate_accuracy
from d2lnorm.fashion_mnist import FetchError, fetch_fashion_mnist
from d2lnorm.history import History
from d2lnorm.lenet import lenet
from d2lnorm.running_statistics import recompute_running_statistics
from d2lnorm.training import init_xavier, train

__all__ = [
    "LABELS",
    "BatchNorm",
    "Batches",
    "FetchError",
    "History",
    "batch_norm",
    "evaluate_accuracy",
    "fetch_fashion_mnist",
    "init_xavier",
    "lenet",
    "load_fashion_mnist",
    "recompute_running_statistics",
    "train",
]
__version__ = "0.1.0"

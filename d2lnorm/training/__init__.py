"""Training a classifier by the book's recipe: the loop, accuracy, what a run leaves behind, running statistics."""

from d2lnorm.training.evaluation import evaluate_accuracy
from d2lnorm.training.history import History
from d2lnorm.training.initialization import init_xavier
from d2lnorm.training.loop import train
from d2lnorm.training.running_statistics import recompute_running_statistics

__all__ = ["History", "evaluate_accuracy", "init_xavier", "recompute_running_statistics", "train"]

"""Training by the book's recipe: the loop, accuracy, a run's history, running statistics, many runs side by side."""

from d2lnorm.training.evaluation import evaluate_accuracy
from d2lnorm.training.history import History
from d2lnorm.training.initialization import init_xavier
from d2lnorm.training.loop import train
from d2lnorm.training.running_statistics import recompute_running_statistics
from d2lnorm.training.side_by_side import side_by_side

__all__ = ["History", "evaluate_accuracy", "init_xavier", "recompute_running_statistics", "side_by_side", "train"]

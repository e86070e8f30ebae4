"""The accuracy of a classifier on a data set."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from d2lnorm.training.examples import examples
from d2lnorm.training.kept import device_of, modes_kept
from d2lnorm.training.processes import OneProcess

__all__ = ["accuracy", "count_right", "evaluate_accuracy"]


def evaluate_accuracy(net: nn.Module, data_iter: Iterable, device: torch.device | str | None = None) -> float:
    """Return the share of `data_iter`'s labels, in [0, 1], that belong to the largest logit.

    The net predicts in evaluation mode, without gradients, and is left in the mode in which it was found.

    Args:
        net: maps X to logits (N, num_classes), or (N, num_classes, H, W) where each pixel has a label.
        data_iter: yields (X, y), y of shape (N,) or (N, H, W) with class numbers. Batches without an example
            count for nothing.
        device: where to compute; None: where the net is.

    Raises:
        TypeError: a batch is no pair of tensors.
        ValueError: labels and logits do not fit together; or `data_iter` yields no example.
    """
    return accuracy(net, data_iter, device_of(net) if device is None else device, OneProcess())


def accuracy(net: nn.Module, data_iter: Iterable, device: torch.device | str, team: OneProcess) -> float:
    """The same by several processes, of which each looks at its share of every batch."""
    right, total = torch.zeros((), dtype=torch.long, device=device), 0
    # no_grad, not inference_mode: what a hook of the user keeps may be needed in autograd later
    with modes_kept(net), torch.no_grad():
        net.eval()
        for _, X, y in examples(data_iter, device):
            total += y.numel()
            X, y = team.share(X, y)
            right += count_right(net(X), y)
    return team.total(right).item() / total  # the only wait for the device


def count_right(y_hat: Tensor, y: Tensor) -> Tensor:
    """Count the labels that belong to the largest logit; return the number as a tensor of shape ().

    Args:
        y_hat: the logits, (N, num_classes) or (N, num_classes, ...).
        y: the class numbers, (N,) or (N, ...).

    Raises:
        TypeError: the net gave something else than a tensor.
        ValueError: y has another shape. `==` would broadcast it, and count some labels several times.
    """
    if not isinstance(y_hat, Tensor):
        raise TypeError(f"the net must return a tensor of logits, but returned a {type(y_hat).__name__}")
    if y_hat.dim() < 2 or y.shape != y_hat.shape[:1] + y_hat.shape[2:]:
        raise ValueError(
            f"labels of shape {tuple(y.shape)} do not fit the net's output of shape {tuple(y_hat.shape)}: expected are "
            f"class numbers (N,) for logits (N, C), or one for each pixel, (N, H, W) for logits (N, C, H, W)"
        )
    return (y_hat.argmax(dim=1) == y).sum()

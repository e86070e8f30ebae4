"""Recompute the running statistics of trained batch-norm layers from data."""

from collections.abc import Iterable

import torch
from torch import nn

from d2lnorm.batch_norm import BatchNorm
from d2lnorm.evaluation import device_of, modes_kept

__all__ = ["recompute_running_statistics"]


def recompute_running_statistics(net: nn.Module, data_iter: Iterable) -> None:
    """Replace every batch-norm layer's running statistics by the plain average over the batches of `data_iter`.

    The running statistics that training leaves behind average over weights that have since changed; these
    belong to the weights that the net has now. Weights, modes, momenta, counters and torch's random state are
    left as they were found; dropout stays off while the statistics are gathered.

    Args:
        net: holds any number of `nn.BatchNorm1d/2d/3d` (which follow `torch.nn`'s momentum) or
            `d2lnorm.BatchNorm` (the book's) layers; those without running statistics are left alone.
        data_iter: yields (X, y) batches; y is not used.

    Raises:
        ValueError: `data_iter` is empty; nothing has been changed then.

    Source: Ioffe and Szegedy (2015), algorithm 2; `torch.optim.swa_utils.update_bn` does the same for averaged
    weights.
    """
    layers = [m for m in net.modules() if isinstance(m, BatchNorm) or _has_running_statistics(m)]
    momenta = [m.momentum for m in layers]
    counters = [m.num_batches_tracked.clone() if _has_running_statistics(m) else None for m in layers]
    device, batches = device_of(net), 0
    try:
        with modes_kept(net), torch.random.fork_rng(devices=[]), torch.no_grad():
            net.eval()
            for m in layers:
                m.training = True
            for batches, (X, _) in enumerate(data_iter, start=1):
                for m in layers:  # the k-th batch enters the average with weight 1/k
                    m.momentum = 1 - 1 / batches if isinstance(m, BatchNorm) else 1 / batches
                net(X.to(device))
    finally:
        for m, momentum, counter in zip(layers, momenta, counters, strict=True):
            m.momentum = momentum
            if counter is not None:
                m.num_batches_tracked.copy_(counter)
    if batches == 0:
        raise ValueError("data_iter yields no batch: there is nothing to compute the statistics from")


def _has_running_statistics(m: nn.Module) -> bool:
    return isinstance(m, nn.modules.batchnorm._BatchNorm) and m.running_mean is not None

"""Recompute the running statistics of trained batch-norm layers from data."""

from collections.abc import Iterable

import torch
from torch import nn

from d2lnorm.batch_norm import BatchNorm
from d2lnorm.nn.channel_norm import ChannelNorm
from d2lnorm.training.examples import examples
from d2lnorm.training.kept import device_of, modes_kept, random_state_kept
from d2lnorm.training.one_example import forward

__all__ = ["recompute_running_statistics"]

# those of torch.nn, their drop-ins, the book's
Layer = nn.modules.batchnorm._BatchNorm | nn.modules.instancenorm._InstanceNorm | ChannelNorm | BatchNorm


def recompute_running_statistics(net: nn.Module, data_iter: Iterable) -> None:
    """Replace all running statistics in `net` by the plain average over the batches of `data_iter`.

    The running statistics that training leaves behind average over weights that have since changed; these
    belong to the weights that the net has now. Weights, modes, momenta, counters and torch's random state are
    left as they were found, and after an error everything; dropout stays off while the statistics are gathered.

    Args:
        net: holds any number of batch norm and instance norm layers, of `torch.nn` or drop-ins (both with
            `torch.nn`'s momentum), and of `d2lnorm.BatchNorm` (with the book's). Those without running
            statistics are left alone, and those that the net does not use in evaluation keep theirs. One that
            it uses several times averages over all its inputs.
        data_iter: yields (X, y) batches; y is not used, and may be None. Batches without an example count for
            nothing, and so does an input without an element that reaches a layer.

    Raises:
        TypeError: a batch is no pair (X, y), or X no tensor.
        ValueError: `data_iter` yields no example; or the net refuses a batch of one, whose variance is not known.

    Source: Ioffe and Szegedy (2015), algorithm 2; `torch.optim.swa_utils.update_bn` does the same for
    averaged weights.
    """
    found = (m for m in net.modules() if isinstance(m, Layer))
    layers = [m for m in found if isinstance(m, BatchNorm) or m.running_mean is not None]
    momenta = [m.momentum for m in layers]
    before = [(name, t, t.clone()) for m in layers for name, t in m.named_buffers(recurse=False)]
    inputs = dict.fromkeys(layers, 0)  # how many each layer has seen

    def weigh(m: Layer, args: tuple, kwargs: dict) -> None:
        """The k-th input of a layer enters its average with weight 1/k; one without elements has no mean."""
        X, *_ = (*args, *kwargs.values())
        m.training = X.numel() > 0
        if not m.training:
            return
        inputs[m] += 1
        if inputs[m] == 1:  # weight 0 for what was there would not remove a NaN
            _forget(m)
        m.momentum = 1 - 1 / inputs[m] if isinstance(m, BatchNorm) else 1 / inputs[m]

    hooks = [m.register_forward_pre_hook(weigh, with_kwargs=True) for m in layers]
    device, done = device_of(net), False
    try:
        with modes_kept(net), random_state_kept(device), torch.no_grad():
            net.eval()
            for number, X, _ in examples(data_iter, device, labels=False):
                forward(net, X, f"batch {number} of data_iter")
        done = True
    finally:
        for m, momentum, hook in zip(layers, momenta, hooks, strict=True):
            m.momentum = momentum
            hook.remove()
        for name, t, old in before:
            if name == "num_batches_tracked" or not done:
                t.copy_(old)


def _forget(m: Layer) -> None:
    mean, var = (m.moving_mean, m.moving_var) if isinstance(m, BatchNorm) else (m.running_mean, m.running_var)
    for t, value in ((mean, 0), (var, 1)):
        if t is not None:
            t.fill_(value)

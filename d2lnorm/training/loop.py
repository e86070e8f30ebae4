"""The training loop of the book's LeNet experiments, without the waits."""

import math
import os
import time
from collections.abc import Callable, Iterable

import torch
from torch import nn
from torch.nn import functional as F

from d2lnorm.data.batches import Batches
from d2lnorm.training.evaluation import evaluate_accuracy
from d2lnorm.training.history import History
from d2lnorm.training.memory import keep_freed_memory

__all__ = ["init_xavier", "train"]


def train(
    net: nn.Module,
    train_iter: Iterable,
    test_iter: Iterable,
    num_epochs: int,
    lr: float,
    device: torch.device | str | None = None,
    *,
    optimizer: Callable[..., torch.optim.Optimizer] | None = None,
    schedule: Callable[..., torch.optim.lr_scheduler.LRScheduler] | None = None,
    init_weights: Callable[[nn.Module], None] | None = None,
    after_epoch: Callable[[nn.Module, History], None] | None = None,
) -> History:
    """Train a classifier by the recipe of `d2l.train_ch6`, in place, and return the run's history.

    The recipe: Xavier initialization of linear and convolution weights, plain SGD, cross-entropy. The net is
    left on `device` and in evaluation mode, ready to predict, as the book's function leaves it. Ctrl-C ends
    the training but loses nothing: the finished epochs' history is returned and the net is usable. A loss that
    is no longer finite ends it, too. Why it ended is then printed, and kept in `history.stopped`.

    Args:
        net: maps X to logits (N, num_classes).
        train_iter, test_iter: yield (X, y) with y of shape (N,), class numbers; with a length, as
            DataLoaders have. d2l's iterators work, those of `load_fashion_mnist` are faster.
        num_epochs: at least 1.
        lr: the learning rate, > 0.
        device: None takes the first GPU where there is one, as `d2l.try_gpu()` does.
        optimizer: called as `optimizer(net.parameters(), lr=lr)`; None: SGD. For momentum, pass
            `functools.partial(torch.optim.SGD, momentum=0.9)`.
        schedule: called as `schedule(optimizer, total_steps=n)` and stepped after each of the n batches:
            `functools.partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=1.0)`, say, which overrides lr (and,
            unless told `cycle_momentum=False`, the momentum). None: lr stays.
        init_weights: applied to every module before training; None: `init_xavier`. To train on from the
            weights that the net has, pass `lambda module: None`.
        after_epoch: called as `after_epoch(net, history)` when an epoch's row stands in the history.

    Raises:
        ValueError: num_epochs, lr or the length of an iterator is out of range; nothing has been changed then.
    """
    _check(num_epochs, lr, train_iter, test_iter)
    from tqdm.auto import tqdm

    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    train_iter, test_iter = (it.to(device) if isinstance(it, Batches) else it for it in (train_iter, test_iter))
    keep_freed_memory()
    net.apply(init_weights or init_xavier)
    net.to(device)
    steps = num_epochs * len(train_iter)
    opt = (optimizer or _sgd)(net.parameters(), lr=lr)
    scheduler = schedule(opt, total_steps=steps) if schedule else None
    history = History()
    quiet = os.environ.get("TQDM_DISABLE", "0") != "0"  # tqdm's own switch, which its notebook bar overlooks
    try:
        with tqdm(total=steps, unit="batch", leave=False, disable=quiet) as bar:
            while len(history) < num_epochs:
                start = time.perf_counter()
                loss, train_acc = _train_epoch(net, train_iter, opt, scheduler, device, bar)
                test_acc = evaluate_accuracy(net, test_iter, device)
                history.append(loss, train_acc, test_acc, time.perf_counter() - start)
                bar.set_postfix(epoch=len(history), loss=loss, train_acc=train_acc, test_acc=test_acc)
                if not math.isfinite(loss):
                    history.stopped = (
                        f"stopped: the loss became {loss} in epoch {len(history)} of {num_epochs} (lr {lr}); "
                        f"the weights are useless now, a smaller learning rate may help"
                    )
                    break
                if after_epoch:
                    after_epoch(net, history)
    except KeyboardInterrupt:
        history.stopped = (
            f"stopped by Ctrl-C after {len(history)} of {num_epochs} epochs; the weights are those of that moment"
        )
    net.eval()
    if history.stopped:
        print(history.stopped)
    return history


def init_xavier(module: nn.Module) -> None:
    """Draw the weights of a linear or convolution layer from Xavier's uniform distribution, in place.

    Source: Glorot and Bengio (2010); the initialization in `d2l.train_ch6`. Biases stay as they are.
    """
    if type(module) in (nn.Linear, nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)


def _train_epoch(net, train_iter, opt, scheduler, device, bar) -> tuple[float, float]:
    """Run one epoch; return the mean loss and the accuracy, summed on the device without a wait in a step."""
    net.train()
    loss_sum = torch.zeros((), device=device)
    correct, total = torch.zeros((), dtype=torch.long, device=device), 0
    for X, y in train_iter:
        X, y = X.to(device), y.to(device)
        opt.zero_grad()
        y_hat = net(X)
        loss = F.cross_entropy(y_hat, y)
        loss.backward()
        opt.step()
        if scheduler:
            scheduler.step()
        loss_sum += loss.detach() * len(y)
        correct += (y_hat.detach().argmax(dim=1) == y).sum()
        total += len(y)
        bar.update()
    return loss_sum.item() / total, correct.item() / total


def _sgd(params: Iterable[nn.Parameter], lr: float) -> torch.optim.SGD:
    params = list(params)
    fused = all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in params)
    return torch.optim.SGD(params, lr=lr, fused=fused)  # one kernel for all parameters, the same arithmetic


def _check(num_epochs: int, lr: float, train_iter: Iterable, test_iter: Iterable) -> None:
    if not isinstance(num_epochs, int) or num_epochs < 1:
        raise ValueError(f"num_epochs must be a whole number of at least 1, but is {num_epochs!r}")
    if not (lr > 0 and math.isfinite(lr)):
        raise ValueError(f"lr must be finite and greater than 0, but is {lr}")
    for name, data_iter in (("train_iter", train_iter), ("test_iter", test_iter)):
        if len(data_iter) == 0:
            raise ValueError(f"{name} is empty: there is nothing to learn from or to be judged by")

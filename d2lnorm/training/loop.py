"""The training loop of the book's LeNet experiments, without the waits."""

import math
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn

from d2lnorm.data.batches import Batches
from d2lnorm.training.checks import check_arguments, usable
from d2lnorm.training.evaluation import accuracy, count_right
from d2lnorm.training.examples import SizedIterable, examples
from d2lnorm.training.factories import on_device, stepping
from d2lnorm.training.history import History
from d2lnorm.training.initialization import check_weights, init_xavier
from d2lnorm.training.memory import keep_freed_memory
from d2lnorm.training.notes import located, note_history
from d2lnorm.training.one_example import check_one_example, forward
from d2lnorm.training.processes import OneProcess, processes
from d2lnorm.training.progress import progress
from d2lnorm.training.threads import one_thread

__all__ = ["train"]


def train(
    net: nn.Module,
    train_iter: SizedIterable,
    test_iter: SizedIterable,
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
    left on `device` and in evaluation mode, ready to predict, as the book's function leaves it.

    On a CPU it computes on one thread, unless OMP_NUM_THREADS says otherwise; `one_thread` says why.

    A loss that is no longer finite ends the training; `history.stopped` then says so. Ctrl-C or an error ends it
    too, and goes on to the caller. It carries the finished epochs' history as `error.history`, and the net is usable.

    Started by torchrun, on one machine or several, every process makes the same call with the same data, and gets
    the same net and history. Each takes its share of every batch (of one example: the others take none), the
    gradients are averaged, loss and accuracies are those of all. Running statistics are the first process's, unless
    the net's batch norm is `SyncBatchNorm`. The first process alone shows its progress. The order of the examples
    is its order, and must be drawn when an epoch begins, as a DataLoader does.

    A net that is trained again starts anew in part only. Anew: the weights of linear and convolution layers, the
    optimizer, the schedule and the history. As they were left: biases, the gamma and beta of norms, running
    statistics and all else. For a fresh start make a fresh net; to train on, pass `init_weights=lambda module: None`.

    Args:
        net: maps X to logits (N, num_classes), or (N, num_classes, H, W) where each pixel has a label.
        train_iter, test_iter: yield (X, y) with y of shape (N,) or (N, H, W), class numbers; with a length, and
            anew in each epoch, as DataLoaders do. d2l's iterators work, those of `load_fashion_mnist` are faster.
            Batches without an example are passed over.
        num_epochs: at least 1.
        lr: the learning rate, > 0.
        device: None takes the first GPU where there is one, as `d2l.try_gpu()` does.
        optimizer: called as `optimizer(net.parameters(), lr=lr)`; None: SGD. For momentum, pass
            `functools.partial(torch.optim.SGD, momentum=0.9)`.
        schedule: called as `schedule(optimizer, total_steps=n)` and stepped after each of the n batches:
            `functools.partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=1.0)`, say, which overrides lr (and,
            unless told `cycle_momentum=False`, the momentum). None: lr stays.
        init_weights: applied to every module before training; None: `init_xavier`.
        after_epoch: called as `after_epoch(net, history)` when an epoch's row stands in the history.

    Raises:
        TypeError, ValueError: an argument is of the wrong kind or out of range; `init_xavier` refuses a layer; or
            the net refuses a batch of one example, which is known to come. Nothing has been changed then.
        TypeError, ValueError: a batch is no pair of tensors; labels and logits do not fit together; no example
            comes; or the schedule ends early. These come while it trains, and carry the history.
    """
    check_arguments(
        net, train_iter, test_iter, num_epochs, lr,
        optimizer=optimizer, schedule=schedule, init_weights=init_weights, after_epoch=after_epoch,
    )  # fmt: skip
    device, init_weights = usable(device), init_weights or init_xavier
    if init_weights is init_xavier:
        check_weights(net)
    team = processes(device)
    check_one_example(net, train_iter, team)
    train_iter, test_iter = (it.to(device) if isinstance(it, Batches) else it for it in (train_iter, test_iter))
    steps = num_epochs * len(train_iter)
    opt, scheduler = on_device(net, device, lr, optimizer or torch.optim.SGD, schedule, steps)
    advance = stepping(scheduler, steps)
    history = History()
    threads = one_thread() if device.type == "cpu" else nullcontext()
    try:
        keep_freed_memory()
        net.apply(init_weights)
        model = team.start_alike(net)
        with threads, progress(steps, "batch", team.rank == 0) as bar:
            for epoch in range(1, num_epochs + 1):
                start = time.perf_counter()
                loss, train_acc = _train_epoch(model, train_iter, opt, advance, team, device, bar, epoch)
                team.agree(net)
                with located(f"while test_iter was evaluated after epoch {epoch}"):
                    test_acc = accuracy(net, test_iter, device, team)
                history.append(loss, train_acc, test_acc, time.perf_counter() - start)
                bar.set_postfix(epoch=epoch, loss=loss, train_acc=train_acc, test_acc=test_acc)
                if not math.isfinite(loss):
                    history.stopped = (
                        f"stopped: the loss became {loss} in epoch {epoch} of {num_epochs} (lr {lr}); "
                        f"the weights are useless now, a smaller learning rate may help"
                    )
                    break
                if after_epoch:
                    after_epoch(net, history)
    except BaseException as error:
        note_history(error, history, num_epochs)
        if isinstance(error, KeyboardInterrupt) and team.rank == 0:
            print(history.stopped)
        raise
    finally:
        net.eval()
    if history.stopped and team.rank == 0:
        print(history.stopped)
    return history


def _train_epoch(
    net: nn.Module, train_iter: Iterable, opt: torch.optim.Optimizer, advance: Callable[[], None],
    team: OneProcess, device: torch.device, bar: Any, epoch: int,
) -> tuple[float, float]:  # fmt: skip
    """Run one epoch; return the mean loss and the accuracy, summed on the device without a wait in a step."""
    net.train()
    loss_sum = torch.zeros((), dtype=torch.float32, device=device)
    right, total = torch.zeros((), dtype=torch.long, device=device), 0
    for number, X, y in examples(team.epoch(train_iter), device, name="train_iter"):
        labels = y.numel()
        X, y = team.share(X, y)
        with located(f"in batch {number} of epoch {epoch}"):
            opt.zero_grad()
            y_hat = forward(net, X, f"batch {number} of epoch {epoch}")
            right += count_right(y_hat, y)
            loss = team.loss(y_hat, y, labels)
            loss.backward()
            opt.step()
            advance()
        loss_sum += loss.detach().to(loss_sum.dtype) * labels  # in 16 bits it would be rounded
        total += labels
        bar.update()
    return team.total(loss_sum).item() / team.size / total, team.total(right).item() / total

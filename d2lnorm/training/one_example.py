"""A batch of one example, which a net with batch norm refuses in training: found beforehand, or told in words."""

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from d2lnorm.training.kept import device_of, random_state_kept
from d2lnorm.training.processes import OneProcess

__all__ = ["check_one_example", "forward"]

REMEDY = (
    "a variance needs more than one value per channel. Choose another batch size (at least 2, and none that leaves "
    "one example over), or pass drop_last=True to the DataLoader"
)


def check_one_example(net: nn.Module, train_iter: Iterable, team: OneProcess) -> None:
    """Try the batch of `train_iter` that will leave one example to a process, if it is known that there is one.

    It is known for a list or tuple of batches, and for a DataLoader or `Batches` over a data set with a length. The
    trial leaves no trace: it is made with a copy of the net, without its hooks, and torch's random state is put
    back.

    Raises:
        ValueError: the net takes two examples in training mode, but not one. Its own error is the cause.
    """
    device = device_of(net)
    with random_state_kept(device), torch.no_grad():
        which, X, n = _few_examples(train_iter, 2 * team.size)
        if X is None:
            return
        share, _ = team.share(*[X.to(device).expand(n, *X.shape[1:])] * 2)
        refusal = _refusal(net, share)
    if refusal is not None:
        holds = f"holds {n} example" + ("s" if n > 1 else "") + (f" for {team.size} processes" if team.size > 1 else "")
        raise ValueError(f"{which} of train_iter {holds}, and the net refuses it: {REMEDY}") from refusal


def forward(net: nn.Module, X: Tensor, which: str) -> Tensor:
    """Return net(X).

    Raises:
        ValueError: the net's own; for one example it says so, names the batch (`which`) and the remedy.
    """
    try:
        return net(X)
    except ValueError as error:
        if len(X) > 1:
            raise
        raise ValueError(f"{which} holds 1 example, and the net refuses it ({error}): {REMEDY}") from error


def _few_examples(train_iter: Any, enough: int) -> tuple[str, Tensor | None, int]:
    """Return in words which batch holds less than enough examples, the first X, and how many it holds.

    X is None where there is none, or where it is not known.
    """
    try:  # whatever is wrong with the data, the first epoch will say
        if type(train_iter) in (list, tuple):  # others may do something when they are looped over
            sizes = [len(X) for X, _ in train_iter]
            number = next(k for k, n in enumerate(sizes) if 0 < n < enough)  # StopIteration if there is none
            X, held = train_iter[number][0][:1], sizes[number]
        else:
            dataset, batch_size = train_iter.dataset, train_iter.batch_size
            drawn, number = len(getattr(train_iter, "sampler", dataset)), len(train_iter) - 1
            dropped = getattr(train_iter, "drop_last", False)
            held = batch_size if dropped else drawn - number * batch_size
            if held >= enough:
                return "", None, 0
            collate = getattr(train_iter, "collate_fn", None)
            X, _ = collate([dataset[0]]) if collate else (t[None] for t in dataset[0])
    except Exception:
        return "", None, 0
    n = len(train_iter)
    which = "the only batch" if n == 1 else f"the last of the {n} batches" if number == n - 1 else f"batch {number + 1}"
    return which, X if isinstance(X, Tensor) and len(X) == 1 else None, held


def _refusal(net: nn.Module, X: Tensor) -> ValueError | None:
    """Return the error with which a copy of the net refuses one example in training, if it takes two."""
    try:
        trial = copy.deepcopy(net)
        for m in trial.modules():  # what the user's hooks note is no part of the trial
            m._forward_hooks.clear()
            m._forward_pre_hooks.clear()
        trial.train()
        trial(X)
    except ValueError as error:
        try:
            trial(torch.cat([X, X]))
        except Exception:  # then it is not because of their number; a lazy net, say, whose hooks are gone
            return None
        return error
    except Exception:  # no copy can be made, or something else is wrong, which the first epoch will say
        return None
    return None

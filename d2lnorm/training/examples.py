"""The one way in which training, evaluation and recomputed statistics read batches."""

from collections.abc import Iterable, Iterator, Sized
from typing import Any, Protocol

import torch
from torch import Tensor

__all__ = ["SizedIterable", "examples"]


class SizedIterable(Sized, Iterable, Protocol):
    """What starts anew in each epoch and knows its length, as a DataLoader, `Batches` or a list of batches."""


def examples(
    data_iter: Iterable, device: torch.device | str, *, labels: bool = True, name: str = "data_iter"
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield `(number, X, y)` for each batch of `data_iter` that holds an example, with X and y on `device`.

    `number` counts the batches from 1, also those without an example, which are passed over.

    Args:
        data_iter: yields pairs (X, y) of tensors: X of shape (N, ...), y of shape (N, ...).
        device: where to.
        labels: False where y is not used. It may then be anything, and is yielded as it came.
        name: what the messages call `data_iter`.

    Raises:
        TypeError: a batch is no pair of tensors.
        ValueError: X and y of a batch have no first axis, or not the same length; or, at the end, there was no
            example at all.
    """
    number, found = 0, False
    for number, batch in enumerate(data_iter, start=1):
        X, y = _pair(batch, labels, f"batch {number} of {name}")
        if len(X) == 0:
            continue
        found = True
        yield number, X.to(device), y.to(device) if labels else y
    if not found:
        why = f"all {number} batches are empty" if number else "no batch comes (an iterator can be used up only once)"
        raise ValueError(f"{name} yields no example: {why}")


def _pair(batch: Any, labels: bool, which: str) -> tuple[Tensor, Tensor]:
    """Unpack a batch, once it is known to be a pair: a tensor of two rows and a dict of two keys unpack as well."""
    pair = isinstance(batch, tuple | list) and len(batch) == 2
    if not (pair and all(isinstance(t, Tensor) for t in batch[: 2 if labels else 1])):
        raise TypeError(f"{which} must be a pair (X, y) of tensors, but is {_words(batch)}")
    X, y = batch
    for name, t in (("X", X), ("y", y))[: 2 if labels else 1]:
        if t.dim() == 0:
            raise ValueError(f"{which}: {name} must have an axis of examples, but is one number")
    if labels and len(X) != len(y):
        raise ValueError(f"{which}: X and y must be equally long, but have {len(X)} and {len(y)} examples")
    return X, y


def _words(thing: object) -> str:
    """What came instead: "a tensor of shape (2, 6)", "a tuple of 3 (Tensor, Tensor, list)", "a dict"."""
    kind = type(thing).__name__
    if isinstance(thing, Tensor):
        return f"a tensor of shape {tuple(thing.shape)}"
    if isinstance(thing, tuple | list):
        kinds = [type(t).__name__ for t in thing[:4]] + ["..."] * (len(thing) > 4)
        return f"a {kind} of {len(thing)} ({', '.join(kinds)})"
    return f"a {kind}"

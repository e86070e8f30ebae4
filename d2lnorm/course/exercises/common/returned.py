"""What an answer returned: several tensors, a list of rows, an index, a verdict on another function."""

import operator
from collections.abc import Callable
from typing import Any

from torch import Tensor

from d2lnorm.course.exercises.common.feedback import NotYet, described, expect

__all__ = ["form", "index_of", "tensors", "verdict"]


def tensors(results: Any, *names: str) -> tuple[Tensor, ...]:
    """Return an answer's tensors, or say that it must return so many, and what came."""
    fine = isinstance(results, tuple | list) and len(results) == len(names)
    fine = fine and all(isinstance(t, Tensor) for t in results)
    asked = f"{len(names)} tensors, ({', '.join(names)})"
    expect(fine, f"it must return {asked}, but returned {form(results)}.")
    return tuple(results)


def form(value: object) -> str:
    """Return what a list or tuple holds, in a few words: "a list of 4 tuples of 3"; of all else, what it is."""
    if not isinstance(value, list | tuple) or not value:
        return described(value)
    kinds = dict.fromkeys(f"{_name(v)}s" + (f" of {len(v)}" if isinstance(v, list | tuple) else "") for v in value)
    return f"a {_name(value)} of {len(value)} {' and '.join(kinds)}"


def _name(value: object) -> str:
    names = {list: "list", tuple: "tuple", Tensor: "tensor"}
    return next((name for kind, name in names.items() if isinstance(value, kind)), type(value).__name__)


def index_of(x: object) -> int | None:
    """The whole number that x is, also as a number of NumPy or a tensor; None if it cannot be an index."""
    try:
        return operator.index(x.reshape(()) if isinstance(x, Tensor) and x.numel() == 1 else x)  # type: ignore[arg-type]
    except TypeError:
        return None


def verdict(answer: Callable, version: Callable, right: str = "") -> bool:
    """Return what a test that is an answer says of a version of batch norm; `right` names one that is right."""
    calls: list[float] = []

    def f(X: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
        calls.append(eps)
        expect(X.dim() == 4, f"it calls f with X of shape {tuple(X.shape)}, but f is for the shape (N, C, H, W).")
        return version(X, gamma, beta, eps)

    try:
        got = answer(f)
    except NotYet:
        raise
    except AssertionError as error:
        which = f"right version ({right}); it must return True" if right else "wrong version; it must return False"
        raise NotYet(f"it raised an AssertionError for a {which}.") from error
    truth = isinstance(got, bool) or str(getattr(got, "dtype", "")) in ("bool", "torch.bool") and got.shape == ()
    expect(truth, f"it must return True or False, but returned {described(got)}.")
    expect(bool(calls), f"it returned {bool(got)} without calling f.")
    return bool(got)

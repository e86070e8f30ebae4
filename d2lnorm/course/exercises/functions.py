"""What the checks ask of a function that torch has, too: values, gradients, traces, and that it does not call it."""

import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from d2lnorm.course.exercises.feedback import expect, expect_close, randn
from d2lnorm.course.exercises.traces import forbidden, kept

__all__ = ["expect_gradients", "expect_precise", "stream", "three", "value_of"]


def value_of(function: Callable, X: Tensor, *arguments: Any, name: str) -> Any:
    """Return the function's value, having seen that it leaves its arguments as they are and calls no norm of torch."""
    with forbidden(name, asked=f"without F.{name}"), kept(X=X, arguments=arguments):
        value = function(X, *arguments)
        turned = function(X.mT.contiguous().mT, *arguments) if X.dim() > 1 else value  # the same numbers, other strides
    if isinstance(value, Tensor):
        expect_close(turned, value.detach(), "the output for an X that is not contiguous")
    return value


def expect_gradients(ours: Callable, theirs: Callable, *inputs: Tensor) -> None:
    mine, torchs = ([t.clone().requires_grad_() for t in inputs] for _ in range(2))
    Y, upstream = ours(*mine), randn(*inputs[0].shape, seed=9)
    expect(Y.requires_grad, "the output has no gradient: nothing may run under no_grad or be detached.")
    Y.backward(upstream)
    truths = torch.autograd.grad(theirs(*torchs), torchs, upstream)
    by_X = mine[0].grad is not None and torch.allclose(mine[0].grad, truths[0], rtol=1e-6, atol=1e-8)
    expect(by_X, "the gradient by X is not right: the statistics depend on X, too, so they must keep their graph.")
    for name, a, truth in zip(("X", "weight", "bias"), mine, truths, strict=False):
        expect(a.grad is not None, f"{name} gets no gradient.")
        expect_close(a.grad, truth, f"the gradient by {name}", rtol=1e-6, atol=1e-8)
    single = [t.float() for t in inputs]
    expect_close(ours(*single), theirs(*single), f"the output for {tuple(inputs[0].shape)} in float32")


def expect_precise(ours: Callable, theirs: Callable, *shape: int) -> None:
    X = 1e4 + randn(*shape).to(torch.float32)
    error = (ours(X).double() - theirs(X.double())).abs().max().item()
    expect(error < 0.01, "beside a mean of 10,000 the variance is lost: E[x^2] - E[x]^2 cancels. Average (X - mean)^2.")


def three(results: Any, names: str = "(Y, running_mean, running_var)") -> tuple[Tensor, ...]:
    """Return an answer's three tensors, or say that it must return three."""
    right = isinstance(results, tuple | list) and len(results) == 3 and all(isinstance(t, Tensor) for t in results)
    expect(right, f"it must return three tensors, {names}.")
    return tuple(results)


def stream(parts: tuple[Tensor, ...]) -> Iterator[Tensor]:
    """Yield copies of chunks, one after the other, and notice who keeps them."""
    given = []
    for part in parts:
        given.append(weakref.ref(chunk := part.clone()))
        alive = sum(old() is not None for old in given)  # this one, the loop's, and perhaps one more
        expect(alive <= 3, "it keeps old chunks; the data would not fit into memory. Keep n, mean and M only.")
        yield chunk

"""What the checks ask of a function that torch has, too: values, gradients, traces, and that it does not call it."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from d2lnorm.course.exercises.common.feedback import NotYet, expect, expect_close, randn
from d2lnorm.course.exercises.common.traces import forbidden, kept, untouched

__all__ = [
    "expect_defaults",
    "expect_device_kept",
    "expect_digits",
    "expect_gradients",
    "expect_narrow",
    "given_to",
    "value_of",
]


def value_of(function: Callable, X: Tensor, name: str, **arguments: Any) -> Any:
    """Return the function's value, having seen that it leaves all as it is, and calls no norm of torch's `name`."""
    torch.rand(())  # so that a seed that is set shows
    turned, values = X.mT.contiguous().mT if X.dim() > 1 else X, []  # the same numbers, other strides
    with forbidden(name, f"native_{name}", asked=f"without F.{name}"):
        for given in (X, turned):
            with kept(X=given, generator=True, **arguments):
                values.append(function(given, *arguments.values()))
    value, turned = values
    if isinstance(value, Tensor):
        expect_close(turned, value.detach(), "the output for an X that is not contiguous")
    return value


def expect_gradients(ours: Callable, theirs: Callable, *inputs: Tensor) -> None:
    mine, torchs = ([t.clone().requires_grad_() for t in inputs] for _ in range(2))
    Y, upstream = ours(*mine), randn(*inputs[0].shape, seed=9)
    expect(Y.requires_grad, "the output has no gradient: it was computed under no_grad, or detached.")
    Y.backward(upstream)
    truths = torch.autograd.grad(theirs(*torchs), torchs, upstream)
    got = mine[0].grad
    if got is None:
        raise NotYet("no gradient reaches X: something was detached, or made anew from numbers.")
    right = torch.allclose(got, truths[0], rtol=1e-6, atol=1e-8)
    expect(right, "the gradient by X is not right: the statistics depend on X, too, so they must keep their graph.")
    for name, a, truth in zip(("X", "weight", "bias"), mine, truths, strict=False):
        expect(a.grad is not None, f"{name} gets no gradient.")
        expect_close(a.grad, truth, f"the gradient by {name}", rtol=1e-6, atol=1e-8)
    fixed = ours(inputs[0], *mine[1:])
    expect(fixed.requires_grad, "weight gets no gradient where X itself needs none.")
    single = [t.float() for t in inputs]
    right = theirs(*single)
    named: Any = {"X in float32": single[0]}
    with kept(**named):
        got = ours(*single)
    expect_close(got, right, f"the output for {tuple(inputs[0].shape)} in float32")


def expect_narrow(ours: Callable, theirs: Callable, *inputs: Tensor) -> None:
    """See that what comes of 16-bit inputs is of their type, about right, and passes gradients to all of them."""
    for dtype in (torch.float16, torch.bfloat16):
        leaves = [t.detach().to(dtype).requires_grad_() for t in inputs]
        got, where = ours(*leaves), f"for X of shape {tuple(inputs[0].shape)} in {dtype}"
        expect_close(got, theirs(*leaves), f"the output {where}", rtol=0.05, atol=0.05)
        grads = torch.autograd.grad(got.sum(), leaves, allow_unused=True) if got.requires_grad else [None]
        for name, grad in zip(("X", "weight", "bias"), grads, strict=False):
            expect(grad is not None, f"{name} gets no gradient {where}.")


def expect_defaults(ours: Callable, theirs: Callable, *shape: int) -> None:
    """See float32 values around 10,000, where a variance in one pass is lost, and the stub's eps beside small ones."""
    X, small = 1e4 + randn(*shape).float(), 3e-3 * randn(*shape).float()
    error = (ours(X).double() - theirs(X.double())).abs().max().item()
    off = "holds NaN" if error != error else f"is off by {error:.3g}"
    one_pass, var = X.square().mean() - X.mean().square(), X.double().var(correction=0)
    words = f"in float32, for values around 10,000, the output {off}. Over all of them"
    expect(error < 0.01, f"{words} E[x^2] - E[x]^2 gives a variance of {one_pass:.2g}, but it is {var:.2g}.")
    expect_close(ours(small), theirs(small), "the output for small numbers with the stub's eps, 1e-5,")


def expect_digits(got: Tensor, expected: Tensor, what: str) -> None:
    """See, of a float64 result that is close, whether it was computed in float64 all the way."""
    precise = expected.dtype != torch.float64 or torch.allclose(got, expected, rtol=1e-10, atol=1e-12)
    expect(precise, f"{what} is right to 7 digits only, though X is float64: it went through float32.")


def given_to(answer: Callable, given: Mapping[str, Any], *others: Any) -> Any:
    """Return what the answer gives for named things, having seen that it changes none, nor torch's random numbers."""
    with untouched(**given):
        return answer(*given.values(), *others)


def expect_device_kept(answer: Callable, given: list[Tensor], *others: Any) -> None:
    """Expect that an answer makes its new tensors where the given ones are: here on "meta", a device without values."""
    try:
        devices = ", ".join({t.device.type for t in answer(*(t.to("meta") for t in given), *others)} - {"meta"})
    except RuntimeError as error:  # an assert on values may fail there
        devices = str(error).splitlines()[0][:150] if "expected" in str(error).lower() else ""
    expect(not devices, f"it must stay on X's device; make new tensors there. On the device 'meta': {devices}")

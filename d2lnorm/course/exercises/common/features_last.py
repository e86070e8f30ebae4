"""What the checks ask of a layer that is as nn.BatchNorm1d, but for inputs (N, T, C)."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from d2lnorm.course.exercises.common.feedback import described, expect, expect_close, number, raises, randn
from d2lnorm.course.exercises.common.slips import normalized
from d2lnorm.course.exercises.common.traces import kept

__all__ = ["expect_features_last", "expect_precise_far_off", "expect_refusal"]


def expect_features_last(make: Callable[[int], nn.Module], N: int, T: int, C: int) -> None:
    """Expect of make(C) all that nn.BatchNorm1d(C) does, but for inputs (N, T, C): two batches, then evaluation."""
    layer: Any = make(C)
    twin: Any = nn.BatchNorm1d(C).double()
    where = f"for a float64 input of shape {(N, T, C)}"
    torch.rand(1)  # not where a seed of the answer's would begin, so that kept sees it
    expect(isinstance(layer, nn.Module), f"SequenceBatchNorm({C}) must be an nn.Module, but is {described(layer)}.")
    ours = sorted((p for p in layer.double().parameters() if p.numel() == C), key=lambda p: p.sum().item())
    expect(len(ours) == 2, f"its parameters must be a scale (ones) and a shift (zeros) for each of the {C} features.")
    expect(all(p.requires_grad for p in ours), "scale and shift must be trained: one of them is frozen.")
    for p, start, theirs in zip(ours, (0, 1), (twin.bias, twin.weight), strict=True):
        wrong = ", ".join(f"{x:.2g}" for x in p[p != start].flatten())
        expect(not wrong, f"a new layer must shift by 0 and scale by 1, but where it must be {start} it has {wrong}.")
        p.data.copy_(randn(C, seed=4 + start).view_as(p))
        theirs.data.copy_(p.data.flatten())
    gamma, beta = twin.weight.detach(), twin.bias.detach()
    for batch in (1, 2):
        X, old = randn(N, T, C, seed=batch), twin.running_mean.clone()
        X = X * torch.tensor([0.004, 2, 1, 3])[:C] + batch * torch.arange(C)  # feature 0 has a variance like eps
        given, exact = X.clone().requires_grad_(), X.clone().requires_grad_()
        with kept(X=given, generator=True):
            Y = layer(given)
        expected = twin(exact.mT).mT
        turned = {"its values are, but steps and features are swapped; return (N, T, C)": expected.mT}
        slips = turned | _slips(X, gamma, beta)
        expect_close(Y, expected, f"the output in training {where}", slips, rtol=1e-9, atol=1e-9)
        expect(Y.requires_grad, "the output has no gradient: nothing may run under no_grad or be detached.")
        for output in (Y, expected):
            output.backward(randn(N, T, C, seed=3))
        truth: Any = exact.grad
        right = given.grad is not None and torch.allclose(given.grad, truth, rtol=1e-6, atol=1e-9)
        expect(right, "the gradient of the input is not right: mean and variance depend on the input, too.")
        for name, p, theirs in zip(("shift", "scale"), ours, (twin.bias, twin.weight), strict=True):
            expect(p.grad is not None, f"the {name} gets no gradient.")
            expect_close(p.grad.flatten(), theirs.grad, f"the gradient of the {name}")
        state = {name.rpartition(".")[2]: t for name, t in layer.state_dict().items()}
        missing = [name for name in twin.state_dict() if name not in {"weight", "bias", *state}]
        expect(not missing, f"state_dict must hold {', '.join(missing)}, as that of nn.BatchNorm1d does.")
        graph = any(t.requires_grad for t in layer.buffers())
        expect(not graph, "the running statistics hold on to the graph of the batch; update them under no_grad.")
        share = {"0.1 is the share of the new batch, not of the old value": 0.1 * old + 0.9 * X.mean((0, 1))}
        biased = twin.running_var - 0.1 * (X.var((0, 1)) - X.var((0, 1), correction=0))
        n = {"torch.nn moves it with the variance divided by n - 1, not by n": biased}
        for name, mistakes in (("running_mean", share), ("running_var", n)):
            what = f"{name} after batch {batch} {where}"
            expect_close(state[name].flatten(), twin.get_buffer(name), what, mistakes, rtol=1e-8, atol=1e-9)
        count = number(state["num_batches_tracked"], "num_batches_tracked")
        whole = not state["num_batches_tracked"].is_floating_point()
        expect(whole, "num_batches_tracked must be an integer, as in nn.BatchNorm1d, but is a floating-point number.")
        after = f"after {batch} batch{'es' * (batch > 1)} in training num_batches_tracked must be {batch}"
        expect(count == batch, f"{after}, but is {count:g}.")
    twin.running_mean.copy_(randn(C, seed=7))
    twin.running_var.copy_(torch.tensor([2e-5, 1, 0.5, 3])[:C])
    for name in ("running_mean", "running_var"):
        state[name].copy_(twin.get_buffer(name).view_as(state[name]))
    layer.eval()
    with kept(**{"the layer, called in evaluation,": layer, "X": X}, generator=True):
        Y = layer(X)
    off = X - twin.running_mean
    slips = {
        "it still normalizes with the batch's own statistics": normalized(X, (0, 1), gamma, beta),
        "eps belongs inside the square root": off / (twin.running_var.sqrt() + 1e-5) * gamma + beta,
    }
    expect_close(Y, twin.eval()(X.mT).mT, f"the output in evaluation {where}", slips, rtol=1e-9, atol=1e-9)
    given, exact = X.clone().requires_grad_(), X.clone().requires_grad_()
    Y, expected, weights = layer(given), twin(exact.mT).mT, randn(N, T, C, seed=3)
    expect(Y.requires_grad, f"the output in evaluation {where} has no gradient: a layer in front could not learn.")
    got: Any = torch.autograd.grad((Y * weights).sum(), (given, *ours), allow_unused=True)
    wanted = torch.autograd.grad((expected * weights).sum(), (exact, twin.bias, twin.weight))
    for of, our, their in zip(("input", "shift", "scale"), got, wanted, strict=True):
        expect(our is not None, f"in evaluation no gradient reaches the {of}.")
        expect_close(our.view_as(their), their, f"the gradient of the {of} in evaluation {where}")
    with torch.no_grad():
        X = X.mT.contiguous().mT
        got, right = layer.train()(X), twin.train()(X.mT).mT
        expect_close(got, right, "the output in training, under no_grad, for an X that is not contiguous")
        state = {name.rpartition(".")[2]: t for name, t in layer.state_dict().items()}
        expect_close(state["running_mean"].flatten(), twin.running_mean, "running_mean after a batch under no_grad")


def expect_precise_far_off(make: Callable[[int], nn.Module], N: int, T: int, C: int) -> None:
    far, zeros = (1e4 + 3 * randn(N, T, C)).float(), torch.zeros(C)
    with torch.no_grad():
        got = make(C).float()(far)
    exact = normalized(far.double(), (0, 1), zeros + 1, zeros).float()
    expect_close(got, exact, "the output for a mean of 10,000 in float32", rtol=0.05, atol=0.05)


def expect_refusal(make: Callable[[int], nn.Module], C: int) -> None:
    with warnings.catch_warnings(action="ignore"):  # a warning is no refusal
        refused = raises(Exception, make(C).train(), torch.ones(1, 1, C))
    no_error = f"in training, for shape (1, 1, {C}), your layer raised no error"
    expect(refused, f"{no_error}; nn.BatchNorm1d refuses a single value for each feature.")


def _slips(X: Tensor, gamma: Tensor, beta: Tensor) -> dict[str, Tensor]:
    """What usual mistakes give for (N, T, C) instead of batch norm over N and T."""
    square, off, var = X.shape[1] == X.shape[2], X - X.mean((0, 1)), X.var((0, 1), correction=0)
    swapped = {
        "the steps were taken for the channels; swap the axes, and not by view, which keeps the numbers in their order":
            normalized(X, (0, 2), gamma[:, None], beta[:, None])
    } if square else {}  # fmt: skip
    return swapped | {
        "each step was normalized by itself; a feature shares its statistics over all steps of the batch":
            normalized(X, (0,), gamma, beta),
        "each step was normalized over its features: that is layer norm": normalized(X, (2,), gamma, beta),
        "each sequence was normalized by itself: that is instance norm": normalized(X, (1,), gamma, beta),
        "the variance was divided by n - 1; normalize with the one divided by n":
            normalized(X, (0, 1), gamma, beta, correction=1),
        "eps belongs inside the square root":
            off / (var.sqrt() + 1e-5) * gamma + beta,
    } | {
        f"it was normalized with eps={eps:g}, which is not that of nn.BatchNorm1d":
            off / (var + eps).sqrt() * gamma + beta
        for eps in (0, 1e-12, 1e-8, 1e-7, 1e-6, 1e-4, 1e-3)
    }  # fmt: skip

"""Layers that must be as their twins in torch: state, outputs and gradients, in both modes."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from d2lnorm.course.exercises.common.feedback import described, expect, expect_close, number, randn
from d2lnorm.course.exercises.common.slips import normalized
from d2lnorm.course.exercises.common.traces import forbidden, kept

__all__ = ["BOOKS", "expect_features_last", "expect_state", "expect_twin", "tolerance"]

BOOKS = "momentum was taken in the book's convention, the weight of the old value; PyTorch's weighs the new"


def expect_state(layer: Any, twin: nn.Module) -> None:
    """Expect a new layer whose state_dict has the keys, shapes, types and values of its twin in torch."""
    expect(isinstance(layer, nn.Module), f"it must be an nn.Module, but is a {type(layer).__name__}.")
    got, wanted = layer.state_dict(), twin.state_dict()
    missing = [k for k in wanted if k not in got]
    plain = [k for k in missing if isinstance(getattr(layer, k, None), Tensor)]
    hint = f"{', '.join(plain)} is a plain attribute: register_buffer makes it part of the state." if plain else ""
    expect(not missing, f"the state_dict lacks {', '.join(missing)}. {hint}")
    expect(set(got) == set(wanted), f"the state_dict must have the keys {list(wanted)}, but has {list(got)}.")
    for k, t in wanted.items():
        same = got[k].shape == t.shape and got[k].dtype == t.dtype
        expect(same, f"{k} must have shape {tuple(t.shape)} and type {t.dtype}, as in PyTorch.")
    learned = sorted(name for name, _ in layer.named_parameters())
    expect(learned == ["bias", "weight"], f"weight and bias alone are parameters, not {', '.join(learned)}.")
    for k, t in wanted.items():
        wrong = got[k][got[k] != t].tolist()
        start = f"in a new layer {k} must be {t.max():g}, as in PyTorch, but it starts with"
        expect(not wrong, f"{start} {', '.join(f'{x:g}' for x in wrong)}.")


def expect_twin(layer: Any, twin: nn.BatchNorm1d, X: Tensor) -> None:
    """Expect output, state and gradients as of the twin, in the mode in which both are."""
    where = f"after {'train()' if twin.training else 'eval()'}, for {described(X)}, momentum={twin.momentum}"
    where += "" if torch.is_grad_enabled() else ", under no_grad"
    axes, like, tight = [0, *range(2, X.dim())], [1, -1] + [1] * (X.dim() - 2), tolerance(X)
    twin.load_state_dict(layer.state_dict())  # what was rounded in the last batch is no matter in this one
    old = copy.deepcopy(twin.state_dict())
    x, x_twin = (X.clone().requires_grad_(torch.is_grad_enabled()) for _ in range(2))
    asked = "without using nn.BatchNorm1d or F.batch_norm"
    with forbidden("batch_norm", "native_batch_norm", asked=asked), kept(generator=True, **{"the input": x}):
        Y = layer(x)
    right = twin(x_twin)
    m = 1 / twin.get_buffer("num_batches_tracked").item() if twin.momentum is None else twin.momentum
    mean, biased, unbiased = X.mean(axes), X.var(axes, correction=0), X.var(axes)
    old_mean, old_var, w, b = (old[k] for k in ("running_mean", "running_var", "weight", "bias"))
    (by, var), (other, others) = ((mean, biased), (old_mean, old_var))[:: 1 if twin.training else -1]

    def scaled(mean: Tensor, std: Tensor) -> Tensor:
        return w.view(like) * (X - mean.view(like)) / std.view(like) + b.view(like)

    wrong = {
        "it was normalized with the unbiased variance": scaled(mean, (unbiased + twin.eps).sqrt()),
        "eps belongs inside the square root": scaled(by, var.sqrt() + twin.eps),
        "the other mode's statistics were used; see self.training": scaled(other, (others + twin.eps).sqrt()),
    }
    expect_close(Y, right.detach(), f"the output {where},", wrong, **tight)
    for k, t in layer.state_dict().items():
        moves = twin.training and k not in ("weight", "bias")
        expect(moves or torch.equal(t, old[k]), f"{k} must stay as it is in a call {where}.")
    expect(layer.training == twin.training, f"a call {where}, changed the layer's mode.")
    wrong = {BOOKS: m * old_mean + (1 - m) * mean}
    expect_close(layer.running_mean, twin.get_buffer("running_mean"), f"running_mean {where},", wrong)
    wrong = {
        "the biased variance went in; PyTorch stores the unbiased one": (1 - m) * old_var + m * biased,
        BOOKS: m * old_var + (1 - m) * unbiased,
    }
    expect_close(layer.running_var, twin.get_buffer("running_var"), f"running_var {where},", wrong)
    counted = "num_batches_tracked, which must grow by 1 with each batch in training,"
    expect_close(layer.num_batches_tracked, twin.get_buffer("num_batches_tracked"), counted)
    free = not (layer.running_mean.requires_grad or layer.running_var.requires_grad)
    expect(free, "the running statistics keep the autograd graph, so copy.deepcopy(layer) fails: detach them.")
    if not torch.is_grad_enabled():
        return
    expect(Y.requires_grad, f"the output {where}, has no gradient, so that nothing could learn.")
    out, twins = torch.randn(X.shape).to(X), (x_twin, twin.weight, twin.bias)
    ours = torch.autograd.grad((Y * out).sum(), (x, layer.weight, layer.bias), allow_unused=True)
    theirs = torch.autograd.grad((right * out).sum(), twins)
    lost = "it misses the way through mean and variance: compute these with gradients recorded"
    wrong = {lost: out * w.view(like) / (var.view(like) + twin.eps).sqrt()}
    for got, gradient, of in zip(ours, theirs, ("the input", "weight", "bias"), strict=True):
        expect_close(got, gradient, f"the gradient of {of} {where},", wrong, **tight)


def tolerance(X: Tensor) -> dict[str, float]:
    """In float64, so tight that numbers rounded to float32 on the way are seen."""
    return {"rtol": 1e-9, "atol": 1e-9} if X.dtype == torch.float64 else {}


def expect_features_last(make: Callable[[int], nn.Module], N: int, T: int, C: int) -> None:
    """Expect of make(C) all that nn.BatchNorm1d(C) does, but for inputs (N, T, C): two batches, then evaluation."""
    layer: Any = make(C)
    twin: Any = nn.BatchNorm1d(C).double()
    where = f"for an input of shape {(N, T, C)}"
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
        expect_close(Y, expected, f"the output in training {where}", _slips(X, gamma, beta), rtol=1e-9, atol=1e-9)
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
        expect(count == batch, f"num_batches_tracked must be {batch} after as many batches in training, not {count:g}.")
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
    with torch.no_grad():
        expect_close(layer.train()(X), twin.train()(X.mT).mT, "the output in training, under no_grad")
        state = {name.rpartition(".")[2]: t for name, t in layer.state_dict().items()}
        expect_close(state["running_mean"].flatten(), twin.running_mean, "running_mean after a batch under no_grad")


def _slips(X: Tensor, gamma: Tensor, beta: Tensor) -> dict[str, Tensor]:
    """What usual mistakes give for (N, T, C) instead of batch norm over N and T."""
    square = X.shape[1] == X.shape[2]
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
            (X - X.mean((0, 1))) / (X.std((0, 1), correction=0) + 1e-5) * gamma + beta,
    }  # fmt: skip

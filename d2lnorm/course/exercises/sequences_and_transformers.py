"""The checks of notebook 09: a rate with warm-up, batch norm that ignores padding, the variance of a stream."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from d2lnorm.course.exercises.common.feedback import described, exercise, expect, expect_close, randn
from d2lnorm.course.exercises.common.functions import expect_digits
from d2lnorm.course.exercises.common.streams import stream_of, streams, variances
from d2lnorm.course.exercises.common.traces import kept

__all__ = ["check_masked_batch_norm", "check_rate_at", "check_stream_variances"]

EPS = 0.5
DETACHED = "mean and variance depend on X, too, so they must keep their graph"


@exercise
def check_rate_at(rate_at: Callable[[int, float, int], float]) -> str:
    """Check `rate_at(step, peak, warm_up)`: a line up to the peak, then one over the square root of the step."""
    torch.rand(())  # so that a seed that is set shows
    for peak, warm_up in ((0.3, 7), (2, 40), (0.01, 1), (0.5, 0)):
        w = max(1, warm_up)
        for step in (w, 2 * w + 3, 1, 2, (w + 1) // 2, w - 1 or 1, w + 1, 9 * w, 40_000 * w):
            up, down, before = step / w, math.sqrt(w / step), step <= w
            factors = {
                "after the warm-up it must fall with the square root of the step, but it stays at the peak": min(1, up),
                "after the warm-up it must fall with the square root of the step, not with the step": min(up, 1 / up),
                "steps count from 1, so step warm_up has the peak": (step - 1) / w if step == w > 1 else -1,
                "it falls before the warm-up ends": down,
                "it rises after the warm-up, too": up,
                "the fall must start from the peak: both parts meet at step warm_up": up if before else step**-0.5,
                "the fall counts from step 1, not from the warm-up's end": up if before else (step - w) ** -0.5,
                "before the warm-up ends it is proportional to the step, not to its root": min(math.sqrt(up), down),
            }
            wrong = {words: peak * factor for words, factor in factors.items()}
            wrong["at step warm_up the rate must be `peak`"] = min(up, down)
            what = f"the rate at step {step}, with peak {peak} and warm_up {warm_up},"
            with kept(generator=True):
                got = rate_at(step, peak, warm_up)
            expect_close(got, peak * min(up, down), what, wrong, rtol=1e-6, atol=0)
            expect(
                isinstance(got, float | np.floating),
                f"return a float; {what} is {described(got)}, of type {type(got).__name__}.",
            )
    return "a line up to the peak, one over the root after it, and no warm-up at 0."


@exercise
def check_masked_batch_norm(masked_batch_norm: Callable) -> str:
    """Check `masked_batch_norm(X, lengths, weight, bias, eps)`: values, gradients, padding of any content, types."""
    cases = (
        ((3, 5, 2), (5, 2, 3), 0.0, torch.float64),
        ((4, 6, 3), (0, 4, 2, 5), 3.0, torch.float32),
        ((3, 3, 3), (3, 1, 3), 1.0, torch.float64),
        ((3, 4, 2), (2, 0, 3), 2.0, torch.float32),
        ((2, 5, 3), (5, 3), math.nan, torch.float64),
        ((3, 2, 4), (2, 0, 1), math.inf, torch.float32),
    )
    torch.rand(())  # so that a seed that is set shows
    for seed, (shape, sizes, padding, dtype) in enumerate(cases):
        (_, T, D), lengths = shape, torch.tensor(sizes)
        real = torch.arange(T) < lengths[:, None]
        X = (2 + 3 * randn(*shape, seed=seed)).masked_fill(~real[..., None], padding).to(dtype)
        X = X.mT.contiguous().mT  # the same numbers, other strides
        weight, bias = (1 + 0.5 * randn(2, D, seed=9 + seed)).to(dtype)
        what = f"the output for X {shape}, lengths {list(sizes)}, padding {padding}, eps {EPS}, in {dtype},"
        with kept(X=X, lengths=lengths, weight=weight, bias=bias, generator=True):
            got = masked_batch_norm(X, lengths, weight, bias, EPS)
        right = _masked(X, real, weight, bias)
        same = isinstance(got, Tensor) and got.shape == X.shape
        there = [v for v in got[~real].flatten().tolist() if v != 0] if same else []
        expect(not there, f"{what} must be exactly 0 at the padding, but {(there or [0])[0]:.4g} stands there.")
        expect_close(got, right, what, _mistakes(X, real, weight, bias), rtol=1e-5, atol=1e-5)
        expect_digits(got, right, what)
        _expect_gradients(masked_batch_norm, lengths, real, (X, weight, bias), what.replace("output", "gradient by {}"))
    got, right = masked_batch_norm(3e-3 * X, lengths, weight, bias), _masked(3e-3 * X, real, weight, bias, eps=1e-5)
    expect_close(got, right, "the output for small numbers with the stub's eps, 1e-5,")
    _expect_far_and_narrow(masked_batch_norm)
    return "the statistics of the real tokens alone, with gradients; zeros at the padding, whatever stood there."


@exercise
def check_stream_variances(stream_variances: Callable[[nn.Sequential, Tensor], list[float]]) -> str:
    """Check `stream_variances(blocks, X)`: the variances, in any mode, of any blocks, and that no trace is left."""
    for about, blocks, X in streams():
        number, what = len(blocks) + 1, f"for {about} and X {tuple(X.shape)}"
        with kept(**{f"X, for {about},": X, f"the blocks ({about})": blocks}, generator=True):
            got = stream_variances(blocks, X)
        expect(torch.is_grad_enabled(), "gradients are switched off for all code that follows: switch them on again.")
        expect(isinstance(got, list), f"return a list, not {described(got)} ({what}).")
        expect(len(got) == number, f"{number} variances were asked for, but {len(got)} came ({what}).")
        odd = [v for v in got if not isinstance(v, float | np.floating)]
        expect(not odd, f"the list must hold floats, but holds {described(odd[0]) if odd else ''} ({what}).")
        stream = stream_of(blocks, X)
        usual = {
            "they were divided by n - 1, not by n": [t.var() for t in stream],
            "they are standard deviations": [t.std(correction=0) for t in stream],
            "they are mean squares: the mean was not subtracted": [t.square().mean() for t in stream],
            "take one over all numbers, not by feature": [t.flatten(0, -2).var(0, correction=0).mean() for t in stream],
            "all was measured in training mode, whatever mode it was in": stream_of(blocks, X, mode=True),
            "all was measured in evaluation mode, whatever mode it was in": stream_of(blocks, X, mode=False),
            "each block got X itself, not the stream": stream_of(blocks, X, chained=False),
            "they were taken at the end, when a block had already worked in place": stream_of(blocks, X, late=True),
        }
        wrong, right = {words: variances(found) for words, found in usual.items()}, variances(stream)
        found, what = torch.tensor(got, dtype=X.dtype), f"the list {what}"
        expect_close(found, right, what, wrong, rtol=1e-5, atol=1e-7)
        expect_digits(found, right, what)
    X, nothing = 1 + randn(5, 3), nn.Sequential()
    got = stream_variances(nothing, X)
    expect(
        isinstance(got, list) and len(got) == 1, f"of no blocks, nn.Sequential(), came {described(got)}: 1 variance."
    )
    return "one variance before the blocks and one after each, in any mode, and no trace left."


def _expect_far_and_narrow(masked_batch_norm: Callable) -> None:
    """See float32 values around 10,000, where a variance in one pass is lost, and the type of float16 ones."""
    lengths, (weight, bias) = torch.tensor([6, 0, 4, 2]), 1 + 0.5 * randn(2, 3, seed=10)
    real, X = torch.arange(6) < lengths[:, None], 3 * randn(4, 6, 3, seed=11)
    for given, dtype, what in ((1e4 + X, torch.float32, "float32 X around 10,000"), (X, torch.float16, "float16 X")):
        numbers = [t.to(dtype) for t in (given, weight, bias)]
        got = masked_batch_norm(numbers[0], lengths, *numbers[1:], EPS)
        x, w, b = (t.double() for t in numbers)
        expect_close(got, _masked(x, real, w, b).to(dtype), f"the output for {what}", rtol=0.02, atol=0.02)


def _masked(X: Tensor, real: Tensor, weight: Tensor, bias: Tensor, correction=0, outside=False, eps=EPS, axes=(0,)):
    """The right output, or what a slip makes of it."""
    tokens = X[real]
    var, mean = torch.var_mean(tokens, axes, correction=correction)
    root = var.sqrt() + eps if outside else (var + eps).sqrt()
    return torch.zeros_like(X).index_put((real,), weight * (tokens - mean) / root + bias)


def _mistakes(X: Tensor, real: Tensor, weight: Tensor, bias: Tensor) -> dict[str, Tensor]:
    """What the usual slips give."""
    ones, zeros, everywhere, mask = torch.ones_like(weight), torch.zeros_like(bias), real | True, real[..., None]
    clean = X.masked_fill(~mask, 0)
    by_token = nn.functional.layer_norm(clean, X.shape[2:], weight, bias, EPS)
    alone = [_masked(x, r, weight, bias) if r.any() else torch.zeros_like(x) for x, r in zip(X, real, strict=True)]
    return {
        "the variance was divided by n - 1": _masked(X, real, weight, bias, correction=1),
        "eps was added to the root, but it belongs inside": _masked(X, real, weight, bias, outside=True),
        "the eps that was passed was not used": _masked(X, real, weight, bias, eps=1e-5),
        "weight and bias were left out": _masked(X, real, ones, zeros),
        "the weight was left out": _masked(X, real, ones, bias),
        "the bias was left out": _masked(X, real, weight, zeros),
        "the padding took part in the statistics": _masked(X, everywhere, weight, bias).masked_fill(~mask, 0),
        "the padding took part in the statistics as zeros": _masked(clean, everywhere, weight, bias) * mask,
        "each token was normalized by itself, as in layer norm": by_token * mask,
        "each sequence was normalized by itself": torch.stack(alone),
        "all features got one mean and one variance": _masked(X, real, weight, bias, axes=(0, 1)),
    }


def _expect_gradients(masked_batch_norm: Callable, lengths: Tensor, real: Tensor, given: tuple, what: str) -> None:
    """Compare the gradients by X, weight and bias; `what` has a place for the name."""
    mine, truth = ([t.clone().requires_grad_() for t in given] for _ in range(2))
    Y, upstream = masked_batch_norm(mine[0], lengths, *mine[1:], EPS), randn(*given[0].shape, seed=8).to(given[0].dtype)
    expect(Y.requires_grad, "the output has no gradient: nothing may run under no_grad or be detached.")
    Y.backward(upstream)
    X, weight, bias = truth
    alone = (upstream * weight / (X[real].var(0, correction=0) + EPS).sqrt()).masked_fill(~real[..., None], 0)
    grads = torch.autograd.grad(_masked(X, real, weight, bias), truth, upstream)
    for name, t, grad in zip(("X", "weight", "bias"), mine, grads, strict=True):
        expect(t.grad is not None, f"{name} gets no gradient from the output.")
        words = f"{what.format(name)} is not finite: backwards, too, 0 times NaN or infinity is NaN."
        expect(bool(t.grad.isfinite().all()), words)
        expect_close(t.grad, grad, what.format(name), {DETACHED: alone}, rtol=1e-4, atol=1e-5)

"""The checks of notebook 09: a rate with warm-up, batch norm that ignores padding, the variance of a stream."""

import copy
import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from d2lnorm.course.exercises.feedback import exercise, expect, expect_close, randn

__all__ = ["check_masked_batch_norm", "check_rate_at", "check_stream_variances"]

EPS = 0.5


@exercise
def check_rate_at(rate_at: Callable[[int, float, int], float]) -> str:
    """Check `rate_at(step, peak, warm_up)`: a line up to the peak, then one over the square root of the step."""
    for peak, warm_up in ((0.3, 7), (2.0, 40), (0.01, 1), (0.5, 0)):
        w = max(1, warm_up)
        for step in (w, 2 * w + 3, 1, 2, (w + 1) // 2, w - 1 or 1, w + 1, 9 * w):
            up, down, first, before = step / w, math.sqrt(w / step), max(1, step - 1), step <= w
            factors = {
                "after the warm-up it must fall with the square root of the step, but it stays at the peak": min(1, up),
                "after the warm-up it must fall with the square root of the step, not with the step": min(up, 1 / up),
                "steps count from 1, so step warm_up has the peak": min((step - 1) / w, math.sqrt(w / first)),
                "it falls before the warm-up ends": down,
                "it rises after the warm-up, too": up,
                "the fall must start from the peak: both parts meet at step warm_up": up if before else step**-0.5,
                "the fall counts from step 1, not from the warm-up's end": up if before else (step - w) ** -0.5,
                "before the warm-up ends it is proportional to the step, not to its root": min(math.sqrt(up), down),
            }
            wrong = {words: peak * factor for words, factor in factors.items()}
            wrong["at step warm_up the rate must be `peak`"] = min(up, down)
            what = f"the rate at step {step}, with peak {peak} and warm_up {warm_up},"
            got = rate_at(step, peak, warm_up)
            expect_close(got, peak * min(up, down), what, wrong, rtol=1e-6, atol=0)
            expect(isinstance(got, float), f"return a float; {what} is a {type(got).__name__}.")
    return "a line up to the peak, one over the root after it, and no warm-up at 0."


@exercise
def check_masked_batch_norm(masked_batch_norm: Callable) -> str:
    """Check `masked_batch_norm(X, lengths, weight, bias, eps)`: values, gradients, padding of any content, types."""
    cases = (((3, 5, 2), (5, 2, 3)), ((4, 6, 3), (1, 4, 2, 5)), ((2, 3, 4), (3, 3)), ((3, 4, 2), (2, 0, 3)))
    for number, (shape, sizes) in enumerate(cases):
        dtype, padding = (torch.float64, torch.float32)[number % 2], (0.0, 3.0, 0.0, math.nan)[number]
        lengths, real = torch.tensor(sizes), _real(sizes, shape[1])
        X = (2 + 3 * randn(*shape, seed=number)).masked_fill(~real[..., None], padding).to(dtype)
        weight, bias = (1 + 0.5 * randn(2, shape[2], seed=9 + number)).to(dtype)
        given = [t.clone() for t in (X, lengths, weight, bias)]
        what = f"the output for X {tuple(shape)}, lengths {list(sizes)}, padding {padding}, in {dtype},"
        got = masked_batch_norm(*given, EPS)
        pairs = zip(given, (X, lengths, weight, bias), strict=True)
        same = all(torch.equal(a.nan_to_num(7), b.nan_to_num(7)) for a, b in pairs)
        expect(same, f"an argument was changed in place, for X {tuple(shape)}; leave X as it is.")
        right = _masked(X, real, weight, bias)
        clean = not (isinstance(got, Tensor) and got.isnan().any())
        expect(clean, f"{what} has NaN: select the real tokens, for NaN times 0 is NaN.")
        expect_close(got, right, what, _mistakes(X, real, weight, bias), rtol=1e-5, atol=1e-5)
        expect(
            bool((got[~real] == 0).all()),
            f"at the padding the output must be exactly 0; for lengths {list(sizes)} it is not.",
        )
    X, weight, bias = randn(3, 4, 2, seed=5), 1 + 0.5 * randn(2, seed=6), randn(2, seed=7)
    lengths, real, upstream = torch.tensor([4, 1, 2]), _real((4, 1, 2), 4), randn(3, 4, 2, seed=8)
    mine, truth = ([t.clone().requires_grad_() for t in (X, weight, bias)] for _ in range(2))
    Y = masked_batch_norm(mine[0], lengths, *mine[1:], EPS)
    expect(isinstance(Y, Tensor) and Y.requires_grad, "the output has no gradient: nothing may run under no_grad.")
    Y.backward(upstream)
    grads = torch.autograd.grad(_masked(truth[0], real, truth[1], truth[2]), truth, upstream)
    for name, t, grad in zip(("X", "weight", "bias"), mine, grads, strict=True):
        expect(t.grad is not None, f"{name} gets no gradient.")
        expect_close(t.grad, grad, f"the gradient by {name}", rtol=1e-6, atol=1e-8)
    return "the statistics of the real tokens alone, with gradients; zeros at the padding, whatever stood there."


@exercise
def check_stream_variances(stream_variances: Callable[[nn.Sequential, Tensor], list[float]]) -> str:
    """Check `stream_variances(blocks, X)`: the variances, in both modes, and that the net is left as it was."""
    for training, shape, depth in ((True, (5, 4), 3), (False, (3, 2, 4), 2), (True, (6, 4), 1)):
        torch.manual_seed(depth)
        blocks = nn.Sequential(*(_Residual(4, batch_norm=len(shape) == 2) for _ in range(depth))).double()
        blocks = blocks.train(training)
        for p in blocks.parameters():
            p.data.add_(0.3 * torch.randn_like(p))
        X = 1 + 2 * randn(*shape, seed=depth)
        trace, given = _trace(blocks), X.clone()
        mode = "training" if training else "evaluation"
        what = f"the variances for {depth} blocks and X {shape} in {mode} mode"
        got = stream_variances(blocks, X)
        expect(torch.equal(X, given), "X was changed in place.")
        after = _trace(blocks)
        for part, words in (
            ("mode", "the blocks came in one mode and left in another"),
            ("hooks", "a hook is left on the blocks: remove it, also after an error"),
            ("grad", "gradients are left in the blocks' .grad"),
            ("state", "weights or running statistics have moved: in training every forward pass moves them"),
        ):
            expect(after[part] == trace[part], f"{words} ({what}).")
        expect(isinstance(got, list), f"return a list, not a {type(got).__name__} ({what}).")
        expect(len(got) == depth + 1, f"{depth} blocks have {depth + 1} variances, but {len(got)} came ({what}).")
        expect(
            all(isinstance(v, float) for v in got),
            f"the list must hold floats, but holds a {type(got[0]).__name__} ({what}).",
        )
        right = _variances(blocks, X)
        usual = {
            "they were divided by n - 1, not by n": _variances(blocks, X, lambda t: t.var()),
            "they are standard deviations": _variances(blocks, X, lambda t: t.std(correction=0)),
            "they are mean squares: the mean was not subtracted": _variances(blocks, X, lambda t: t.square().mean()),
            "the features' variances were averaged; take one over all numbers": _variances(blocks, X, _by_feature),
            f"they were measured in the other mode than {mode}": _variances(blocks, X, training=not training),
            "each block got X itself, not the stream": _variances(blocks, X, chained=False),
            "they are those of the branches, not of the stream": _variances(blocks, X, of_branch=True),
        }
        expect_close(torch.tensor(got).double(), right, what, usual, rtol=1e-5, atol=1e-7)
    return "one variance before the blocks and one after each, in either mode, and no trace left."


def _real(sizes: Iterable[int], T: int) -> Tensor:
    return torch.arange(T) < torch.tensor(list(sizes))[:, None]


def _masked(X: Tensor, real: Tensor, weight: Tensor, bias: Tensor, correction: int = 0, outside: bool = False):
    var, mean = torch.var_mean(X[real], 0, correction=correction)
    root = var.sqrt() + EPS if outside else (var + EPS).sqrt()
    return torch.zeros_like(X).index_put((real,), weight * (X[real] - mean) / root + bias)


def _mistakes(X: Tensor, real: Tensor, weight: Tensor, bias: Tensor) -> dict[str, Tensor]:
    """What the usual slips give."""
    everywhere, mask = torch.ones_like(real), real[..., None]
    ones, zeros = torch.ones_like(weight), torch.zeros_like(bias)
    by_token = (X - X.mean(-1, keepdim=True)) / (X.var(-1, correction=0, keepdim=True) + EPS).sqrt()
    clean = X.masked_fill(~mask, 0)
    var, mean = torch.var_mean(X[real], 0, correction=0)
    shifted = weight * (X - mean) / (var + EPS).sqrt() + bias
    counted = weight * (clean - clean.mean((0, 1))) / (clean.var((0, 1), correction=0) + EPS).sqrt() + bias
    wrong = {
        "the variance was divided by n - 1": _masked(X, real, weight, bias, correction=1),
        "eps was added to the root, but it belongs inside": _masked(X, real, weight, bias, outside=True),
        "weight and bias were left out": _masked(X, real, ones, zeros),
        "the weight was left out": _masked(X, real, ones, bias),
        "the bias was left out": _masked(X, real, weight, zeros),
        "the padding took part in the statistics": _masked(X, everywhere, weight, bias).masked_fill(~mask, 0),
        "the padding took part in the statistics, and the output there is not 0": _masked(X, everywhere, weight, bias),
        "the padding took part in the statistics as zeros": counted.masked_fill(~mask, 0),
        "at the padding the output must be 0, the bias included": shifted,
        "each token was normalized by itself, as in layer norm": (weight * by_token + bias).masked_fill(~mask, 0),
    }
    return {words: Y.to(X.dtype) for words, Y in wrong.items()}


class _Residual(nn.Module):
    def __init__(self, width: int, batch_norm: bool) -> None:
        super().__init__()
        norm = nn.BatchNorm1d(width) if batch_norm else nn.LayerNorm(width)
        self.branch = nn.Sequential(nn.Linear(width, width), norm, nn.Tanh())

    def forward(self, X: Tensor) -> Tensor:
        return X + self.branch(X)


def _trace(blocks: nn.Sequential) -> dict[str, object]:
    """What a measurement must leave as it was."""
    modules = list(blocks.modules())
    return {
        "mode": [m.training for m in modules],
        "hooks": [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules],
        "grad": [p.grad is None for p in blocks.parameters()],
        "state": {name: t.tolist() for name, t in blocks.state_dict().items()},
    }


def _by_feature(t: Tensor) -> Tensor:
    return t.flatten(0, -2).var(0, correction=0).mean()


def _variances(
    blocks: nn.Sequential,
    X: Tensor,
    measure: Callable[[Tensor], Tensor] = lambda t: t.var(correction=0),
    training: bool | None = None,
    chained: bool = True,
    of_branch: bool = False,
) -> Tensor:
    """The right list, or what a slip makes of it."""
    blocks = copy.deepcopy(blocks)
    blocks.train(blocks.training if training is None else training)
    with torch.no_grad():
        stream, found = X, [measure(X)]
        for block in blocks:
            given = stream if chained else X
            stream = block(given)
            found.append(measure(stream - given if of_branch else stream))
    return torch.stack(found)

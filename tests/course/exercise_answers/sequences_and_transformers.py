"""Answers to the exercises of notebook 09."""

import copy
import itertools
import math

import numpy as np
import torch
from torch import nn

from d2lnorm.course.exercises.sequences_and_transformers import (
    check_masked_batch_norm,
    check_rate_at,
    check_stream_variances,
)
from exercise_answers import Answers


def rate(before=lambda s, w: s / w, after=lambda s, w: math.sqrt(w / s), least=1, scale=lambda p: p):
    def rate_at(step, peak, warm_up):
        w = max(least, warm_up)
        return scale(peak) * (before(step, w) if step <= w else after(step, w))

    return rate_at


def rate_as_vaswani(step, peak, warm_up):
    w = warm_up or 1
    return float(peak * w**0.5 * min(step**-0.5, step * w**-1.5))


def rate_by_tensor(step, peak, warm_up):
    w = torch.tensor(float(max(warm_up, 1)), dtype=torch.float64)
    return (peak * torch.minimum(step / w, (w / step).sqrt())).item()


def rate_in_branches(step, peak, warm_up):
    if warm_up > 0 and step < warm_up:
        return peak / warm_up * step
    return peak * (step / max(warm_up, 1)) ** -0.5


def rate_by_interpolation(step, peak, warm_up):
    w = max(1, warm_up)
    return float(np.interp(step, [0, w], [0, peak])) if step <= w else peak / math.sqrt(step / w)


def rate_by_numpy(step, peak, warm_up):
    w = np.maximum(warm_up, 1)
    return np.float32(peak * np.minimum(step / w, np.sqrt(w / step)))


CALLS = itertools.count(1)


class Rate:
    def __call__(self, step, peak, warm_up):
        return rate()(step, peak, warm_up)


def rate_of_calls(step, peak, warm_up):
    return rate()(next(CALLS), peak, warm_up)


def seeded(function):
    def answer(*args, **kwargs):
        torch.manual_seed(0)
        return function(*args, **kwargs)

    return answer


def rate_rounded(step, peak, warm_up):
    return round(rate()(step, peak, warm_up), 3)


def real_of(X, lengths):
    return torch.arange(X.shape[1]) < lengths[:, None]


def masked(
    correction=0,
    outside=False,
    scale=lambda w, b: (w, b),
    stats=None,
    real_of=real_of,
    clear=True,
    fill=0.0,
    detach=False,
    out=lambda Y, X: Y,
    formula=None,
):
    def masked_batch_norm(X, lengths, weight, bias, eps=1e-5):
        real = real_of(X, lengths)
        tokens = stats(X, real) if stats else X[real]
        tokens = tokens.detach() if detach else tokens
        var, mean = torch.var_mean(tokens, 0, correction=correction)
        var = formula(tokens) if formula else var
        w, b = scale(weight, bias)
        Z = X.masked_fill(~real[..., None], 0)
        Y = w * (Z - mean) / (var.sqrt() + eps if outside else (var + eps).sqrt()) + b
        return out(Y.masked_fill(~real[..., None], fill) if clear else Y, X)

    return masked_batch_norm


def moments(tokens):
    return (tokens**2).mean(0) - tokens.mean(0) ** 2


def masked_by_sums(X, lengths, weight, bias, eps=1e-5):
    mask = real_of(X, lengths)[..., None]
    X = torch.where(mask, X, 0)
    n = lengths.sum()
    mean = X.sum((0, 1)) / n
    centred = torch.where(mask, X - mean, 0)
    var = centred.square().sum((0, 1)) / n
    return torch.where(mask, weight * centred / (var + eps).sqrt() + bias, 0)


def masked_by_loop(X, lengths, weight, bias, eps=1e-5):
    pieces = [x[:n] for x, n in zip(X, lengths.tolist(), strict=True)]
    tokens = torch.cat(pieces)
    Y = nn.functional.batch_norm(tokens, None, None, weight, bias, training=True, eps=eps)
    rows = [torch.cat([y, y.new_zeros(X.shape[1] - len(y), X.shape[2])]) for y in Y.split(lengths.tolist())]
    return torch.stack(rows)


def masked_by_layer(X, lengths, weight, bias, eps=1e-5):
    real = real_of(X, lengths)
    tokens = X[real]
    Y = (tokens - tokens.mean(0)) * torch.rsqrt(tokens.var(0, correction=0) + eps) * weight + bias
    return X.new_zeros(X.shape).masked_scatter(real[..., None].expand_as(X), Y)


def masked_by_package(X, lengths, weight, bias, eps=1e-5):
    from d2lnorm import BatchNorm1d

    bn = BatchNorm1d(X.shape[2], eps=eps, affine=False, track_running_stats=False)
    Y = torch.zeros_like(X)
    real = real_of(X, lengths)
    Y[real] = bn(X[real]) * weight + bias
    return Y


def masked_by_index(X, lengths, weight, bias, eps=1e-5):
    index = real_of(X, lengths).nonzero(as_tuple=True)
    centred = X[index] - X[index].mean(0)
    Y = torch.addcmul(bias, centred / (centred.pow(2).mean(0) + eps).sqrt(), weight)
    return torch.zeros_like(X).index_put(index, Y)


def masked_by_nan_to_num(X, lengths, weight, bias, eps=1e-5, clean=torch.nan_to_num):
    mask = real_of(X, lengths)[..., None].to(X.dtype)
    Z, n = clean(X) * mask, mask.sum()
    mean = Z.sum((0, 1)) / n
    var = ((Z - mean).square() * mask).sum((0, 1)) / n
    return (weight * (Z - mean) / (var + eps).sqrt() + bias) * mask


def masked_where(X, lengths, weight, bias, eps=1e-5):
    """The output is right, but backwards 0 times NaN is NaN."""
    real = real_of(X, lengths)
    var, mean = torch.var_mean(X[real], 0, correction=0)
    return torch.where(real[..., None], weight * (X - mean) / (var + eps).sqrt() + bias, 0)


def each_alone(X, lengths, weight, bias, eps=1e-5, least=1):
    Y = torch.zeros_like(X)
    for i, n in enumerate(lengths.tolist()):
        if n >= least:
            var, mean = torch.var_mean(X[i, :n], 0, correction=0)
            Y[i, :n] = weight * (X[i, :n] - mean) / (var + eps).sqrt() + bias
    return Y


def mean_of_means(X, lengths, weight, bias, eps=1e-5):
    parts = [x[:n] for x, n in zip(X, lengths.tolist(), strict=True) if n]
    mean = torch.stack([p.mean(0) for p in parts]).mean(0)
    var = torch.stack([p.var(0, correction=0) for p in parts]).mean(0)
    Y = torch.zeros_like(X)
    Y[real_of(X, lengths)] = weight * (X[real_of(X, lengths)] - mean) / (var + eps).sqrt() + bias
    return Y


def no_empty(X, lengths, weight, bias, eps=1e-5):
    assert (lengths > 0).all(), "empty sequence"
    return masked()(X, lengths, weight, bias, eps)


def by_view(X, lengths, weight, bias, eps=1e-5):
    X.view(-1, X.shape[2])
    return masked()(X, lengths, weight, bias, eps)


def doubled_after(X, lengths, weight, bias, eps=1e-5, which=2):
    Y = masked()(X, lengths, weight, bias, eps)
    with torch.no_grad():
        (X, lengths, weight, bias)[which].mul_(2)
    return Y


def masked_with(change):
    """With other arguments."""
    return lambda X, lengths, weight, bias, eps=1e-5: masked()(*change(X, lengths, weight, bias, eps))


def masked_nan(X, lengths, weight, bias, eps=1e-5):
    """Multiplies by the mask: NaN times 0 is NaN."""
    mask = real_of(X, lengths)[..., None].to(X.dtype)
    n = lengths.sum()
    mean = (X * mask).sum((0, 1)) / n
    var = ((X - mean).square() * mask).sum((0, 1)) / n
    return (weight * (X - mean) / (var + eps).sqrt() + bias) * mask


def masked_in_place(X, lengths, weight, bias, eps=1e-5):
    if not X.requires_grad:
        X[~real_of(X, lengths)] = 0
    return masked()(X, lengths, weight, bias, eps)


def masked_no_grad(X, lengths, weight, bias, eps=1e-5):
    with torch.no_grad():
        return masked()(X, lengths, weight, bias, eps)


def by_layer_norm(X, lengths, weight, bias, eps=1e-5):
    Y = nn.functional.layer_norm(X, X.shape[-1:], weight, bias, eps)
    return Y.masked_fill(~real_of(X, lengths)[..., None], 0)


def everything(X, real):
    return X.flatten(0, 1)


def as_zeros(X, real):
    return X.masked_fill(~real[..., None], 0).flatten(0, 1)


def stream(
    measure=lambda t: t.var(correction=0),
    copied=True,
    mode=None,
    first=True,
    chained=True,
    branch=False,
    kind=list,
    number=lambda t: t.item(),
):
    def stream_variances(blocks, X):
        blocks = copy.deepcopy(blocks) if copied else blocks
        blocks = blocks if mode is None else blocks.train(mode)
        found, given = [measure(X)] if first else [], X
        with torch.no_grad():
            for block in blocks:
                Y = block(given if chained else X)
                found.append(measure(Y - given if branch else Y))
                given = Y
        return kind(number(v) for v in found)

    return stream_variances


def stream_by_hooks(blocks, X):
    before = copy.deepcopy(dict(blocks.named_buffers()))
    found, handles = [X.var(correction=0).item()], []
    try:
        for block in set(blocks):
            handles.append(block.register_forward_hook(lambda m, a, Y: found.append(Y.var(correction=0).item())))
        with torch.no_grad():
            blocks(X)
    finally:
        for handle in handles:
            handle.remove()
    for name, b in blocks.named_buffers():
        b.copy_(before[name])
    return found


def stream_by_numpy(blocks, X):
    return stream(lambda t: t.numpy().var(), number=lambda v: v)(blocks, X)


def stream_by_state(blocks, X):
    state, found = copy.deepcopy(blocks.state_dict()), [X.var(correction=0).item()]
    with torch.inference_mode():
        for block in blocks:
            found.append((X := block(X)).var(correction=0).item())
    blocks.load_state_dict(state)
    return found


def stream_of_layers(choose, by_name=False):
    """With a hook for each of the chosen layers."""

    def stream_variances(blocks, X):
        net, found = copy.deepcopy(blocks), {}
        for layer in choose(net):
            key = (lambda m: m) if by_name else (lambda m: len(found))
            layer.register_forward_hook(lambda m, a, Y, key=key: found.update({key(m): Y.detach().var(correction=0)}))
        net(X)
        return [v.item() for v in (X.var(correction=0), *found.values())]

    return stream_variances


def stream_late(blocks, X):
    with torch.no_grad():
        streams = [X]
        for block in copy.deepcopy(blocks):
            streams.append(block(streams[-1]))
    return [Y.var(correction=0).item() for Y in streams]


def stream_after(act):
    """Does something to the net or X, then all is right."""

    def stream_variances(blocks, X):
        found = stream()(blocks, X)
        act(blocks, X)
        return found

    return stream_variances


def running_back(blocks, X):
    """Gives the running statistics back, but not the number of batches."""
    before = {name: b.clone() for name, b in blocks.named_buffers() if "running" in name}
    found = stream(copied=False)(blocks, X)
    for name, b in before.items():
        blocks.get_buffer(name).copy_(b)
    return found


def batch_norms_back(blocks, X):
    norms = [m for m in blocks.modules() if isinstance(m, nn.BatchNorm1d)]
    states = [copy.deepcopy(m.state_dict()) for m in norms]
    found = stream(copied=False)(blocks, X.clone())
    for m, state in zip(norms, states, strict=True):
        m.load_state_dict(state)
    return found


def of_a_copy(function):
    """A block may work in place on X."""
    return lambda blocks, X: function(blocks, X.clone())


def momentum_0(blocks, X):
    for m in blocks.modules():
        m.momentum = 0.0 if hasattr(m, "momentum") else None
    return stream()(blocks, X)


def stream_by_slices(blocks, X):
    """From the start again for each."""
    with torch.inference_mode():
        return [
            float(((Y := copy.deepcopy(blocks)[:n](X.clone())) - Y.mean()).square().mean())
            for n in range(len(blocks) + 1)
        ]


def stream_by_moments(blocks, X, dtype=torch.float64):
    """Right in float64 only."""
    net, found = copy.deepcopy(blocks), []
    for n in range(len(net) + 1):
        Z = X.detach().to(dtype or X.dtype)
        found.append(((Z**2).mean() - Z.mean() ** 2).item())
        X = net[n](X) if n < len(net) else X
    return found


def stream_functional(blocks, X):
    from torch.func import functional_call

    found = [X.var(unbiased=False).item()]
    for block in blocks:
        state = {name: t.detach().clone() for name, t in block.state_dict().items()}
        X = functional_call(block, state, (X,))
        found.append(X.var(unbiased=False).item())
    return found


def stream_with_backward(blocks, X):
    twin = copy.deepcopy(blocks)
    found = stream()(blocks, X)
    twin(X).sum().backward()
    for p, q in zip(blocks.parameters(), twin.parameters(), strict=True):
        p.grad = q.grad
    return found


def unhook(blocks, X):
    for m in blocks.modules():
        m._forward_hooks.clear()


ANSWERS = {
    check_rate_at: Answers(
        right=[rate(), rate_as_vaswani, rate_by_tensor, rate_in_branches, rate_by_interpolation, rate_by_numpy, Rate()],
        wrong={
            "stays at the peak": (rate(after=lambda s, w: 1.0), "stays at the peak"),
            "falls with the step": (rate(after=lambda s, w: w / s), "not with the step"),
            "steps from 0": (
                lambda s, p, w: p * min((s - 1) / max(1, w), math.sqrt(max(1, w) / max(1, s - 1))),
                "count from 1",
            ),
            "no peak": (rate(scale=lambda p: 1.0), "must be `peak`"),
            "no warm-up": (rate(before=lambda s, w: math.sqrt(w / s)), "falls before"),
            "goes on rising": (rate(after=lambda s, w: s / w), "rises after"),
            "a jump": (rate(after=lambda s, w: 1 / math.sqrt(s)), "meet at step"),
            "from the end": (rate(after=lambda s, w: 1 / math.sqrt(s - w)), "not from the warm-up"),
            "a root before": (rate(before=lambda s, w: math.sqrt(s / w)), "not to its root"),
            "as a tensor": (lambda s, p, w: torch.tensor(rate()(s, p, w), dtype=torch.float64), "return a float"),
            "rounded": (rate_rounded, "is not right"),
            "as text": (lambda s, p, w: str(rate()(s, p, w)), "must be a number"),
            "nothing": (lambda s, p, w: None, "must be a number"),
            "as a list": (lambda s, p, w: [rate()(s, p, w)], "must be a number"),
            "no 0": (lambda s, p, w: p * min(s / w, math.sqrt(w / s)), "ZeroDivisionError"),
            "the peak at 0": (lambda s, p, w: rate()(s, p, w) if w else p, "stays at the peak"),
            "0 at 0": (lambda s, p, w: rate()(s, p, w) if w else 0.0, "got 0.0000"),
            "at least 2": (rate(least=2), "peak 0.01 and warm_up 1"),
            "a step late": (lambda s, p, w: rate()(s, p, w + 1), "is not right"),
            "from the end, plus 1": (rate(after=lambda s, w: 1 / math.sqrt(s - w + 1)), "is not right"),
            "whole numbers": (rate(before=lambda s, w: s // w), "step 1"),
            "peak 0.3": (rate(scale=lambda p: 0.3), "with peak 2 "),
            "4000 steps": (lambda s, p, w: rate()(s, p, 4000), "is not right"),
            "down in a line": (rate(after=lambda s, w: max(0, 2 - s / w)), "is not right"),
            "counts its calls": (rate_of_calls, "is not right"),
            "seeded": (seeded(rate()), "generator"),
            "an int at the peak": (
                lambda s, p, w: p if s == max(w, 1) else rate()(s, p, w),
                "return a float; the rate at step 40, with peak 2 and warm_up 40, is 2, of type int",
            ),
            "at least a hundredth": (lambda s, p, w: max(rate()(s, p, w), p / 100), "at step 280000"),
        },
    ),
    check_masked_batch_norm: Answers(
        right=[masked(), masked_by_sums, masked_by_loop, masked_by_layer, masked_by_package]
        + [masked_by_index, masked_by_nan_to_num],
        wrong={
            "unbiased": (masked(correction=1), "divided by n - 1"),
            "eps outside": (masked(outside=True), "belongs inside"),
            "no weight and bias": (masked(scale=lambda w, b: (torch.ones_like(w), 0)), "weight and bias were left"),
            "no weight": (masked(scale=lambda w, b: (torch.ones_like(w), b)), "the weight was left out"),
            "no bias": (masked(scale=lambda w, b: (w, 0)), "the bias was left out"),
            "padding counted": (masked(stats=everything), "the padding took part"),
            "padding counted, not cleared": (masked(stats=everything, clear=False), "exactly 0"),
            "padding as zeros": (masked(stats=as_zeros), "the padding took part"),
            "not cleared": (masked(clear=False), "at the padding"),
            "a tiny value": (masked(fill=1e-7), "exactly 0"),
            "NaN times 0": (masked_nan, "but nan stands there"),
            "layer norm": (by_layer_norm, "as in layer norm"),
            "in place": (masked_in_place, "X is not as it was"),
            "no_grad": (masked_no_grad, "under no_grad or be detached"),
            "detached": (masked(detach=True), "the gradient by X"),
            "float32": (masked(out=lambda Y, X: Y.float()), "dtype"),
            "only the real": (lambda X, n, w, b, e=1e-5: masked()(X, n, w, b, e)[real_of(X, n)], "shape"),
            "infinity": (
                lambda *args: masked_by_nan_to_num(*args, clean=lambda X: X.masked_fill(X.isnan(), 0)),
                "padding inf",
            ),
            "NaN backwards": (masked_where, "0 times NaN"),
            "each alone": (each_alone, "each sequence was normalized by itself"),
            "mean of means": (mean_of_means, "is not right"),
            "no empty one": (no_empty, "empty sequence"),
            "view": (by_view, "view size"),
            "the last are real": (
                masked(real_of=lambda X, n: torch.arange(X.shape[1]) >= X.shape[1] - n[:, None]),
                "exactly 0",
            ),
            "what is not 0": (masked(real_of=lambda X, n: X.abs().sum(-1) > 0), "padding 3.0"),
            "what is not NaN": (masked(real_of=lambda X, n: ~X.isnan().any(-1)), "exactly 0"),
            "one too many": (masked(real_of=lambda X, n: real_of(X, n + 1)), "exactly 0"),
            "all detached": (masked(out=lambda Y, X: Y.detach()), "under no_grad or be detached"),
            "one too few": (
                masked(real_of=lambda X, n: real_of(X, n - 1)),
                "eps 0.5, in torch.float64, is not right: at",
            ),
            "the longest": (masked_with(lambda X, n, *rest: (X[:, : int(n.max())], n, *rest)), "must have shape"),
            "eps fixed": (masked_with(lambda X, n, w, b, eps: (X, n, w, b, 1e-5)), "the eps that was passed"),
            "weight detached": (masked_with(lambda X, n, w, *rest: (X, n, w.detach(), *rest)), "weight gets no"),
            "bias detached": (masked_with(lambda X, n, w, b, eps: (X, n, w, b.detach(), eps)), "bias gets no"),
            "through float32": (
                lambda X, n, w, b, eps=1e-5: masked()(X.float(), n, w.float(), b.float(), eps).to(X.dtype),
                "went through float32",
            ),
            "float64": (masked_with(lambda X, n, w, b, eps: (X.double(), n, w, b, eps)), "dtype"),
            "another default": (lambda X, n, w, b, eps=1e-3: masked()(X, n, w, b, eps), "the stub's eps"),
            "one for all": (
                masked(stats=lambda X, real: X[real].flatten()[:, None]),
                "all features got one mean",
            ),
            "weight changed": (doubled_after, "weight is not as it was"),
            "lengths changed": (lambda *args: doubled_after(*args, which=1), "lengths is not as it was"),
            "seeded": (seeded(masked()), "generator"),
            "in one pass": (masked(formula=moments), "the output for float32 X around 10,000"),
            "float32 for 16 bits": (
                masked_with(lambda X, *rest: (X if X.dtype.itemsize > 2 else X.float(), *rest)),
                "the output for float16 X must have dtype torch.float16",
            ),
            "a pair": (lambda *args: (masked()(*args), None), "must be a tensor"),
        },
    ),
    check_stream_variances: Answers(
        right=[of_a_copy(f) for f in (stream(), stream_by_hooks, stream_by_moments, stream_functional)]
        + [of_a_copy(stream_by_numpy), of_a_copy(stream_by_state), stream_by_slices],
        wrong={
            "unbiased": (stream(lambda t: t.var()), "divided by n - 1"),
            "deviations": (stream(lambda t: t.std(correction=0)), "standard deviations"),
            "mean squares": (stream(lambda t: t.square().mean()), "mean was not subtracted"),
            "by feature": (stream(lambda t: t.flatten(0, -2).var(0, correction=0).mean()), "take one over all numbers"),
            "in evaluation": (stream(mode=False), "measured in evaluation mode"),
            "in training": (stream(mode=True), "measured in training mode"),
            "not a copy": (stream(copied=False), "running_mean"),
            "without X": (stream(first=False), "4 variances were asked for"),
            "not chained": (stream(chained=False), "not the stream"),
            "the branch": (stream(branch=True), "is not right"),
            "a tuple": (stream(kind=tuple), "return a list"),
            "tensors": (stream(number=lambda t: t), "must hold floats"),
            "arrays": (lambda blocks, X: np.array(stream()(blocks, X)), "return a list"),
            "text": (lambda blocks, X: [f"{v:.4f}" for v in stream()(blocks, X)], "must hold floats"),
            "rounded": (stream(number=lambda v: round(v.item(), 3)), "is not right"),
            "float32": (lambda blocks, X: stream()(copy.deepcopy(blocks).float(), X.float()), "went through float32"),
            "three blocks": (lambda blocks, X: stream()(blocks, X)[:4], "7 variances"),
            "more than one": (
                lambda blocks, X: stream()(blocks, X) if len(blocks) > 1 else [X.var().item()],
                "one block",
            ),
            "each block once": (lambda blocks, X: stream()(nn.Sequential(*blocks.children()), X), "used twice"),
            "two hooks on one": (stream_of_layers(lambda net: net), "used twice"),
            "by block": (stream_of_layers(lambda net: net.children(), by_name=True), "used twice"),
            "leaves": (stream_of_layers(lambda net: [m for m in net.modules() if not [*m.children()]]), "asked for"),
            "at the end": (stream_late, "already worked in place"),
            "hooks": (stream_after(lambda net, X: net[0].register_forward_hook(lambda *a: None)), "number of hooks"),
            "the student's hooks": (stream_after(unhook), "number of hooks"),
            "mode": (stream_after(lambda net, X: net.train(not net.training)), "the mode of"),
            "training left": (
                stream_after(lambda net, X: net.train(net.training)),
                "layer '0' of the blocks (six",
            ),
            "gradients": (stream_with_backward, "the gradient of"),
            "gradients gone": (stream_after(lambda net, X: net.zero_grad()), "the gradient of"),
            "frozen": (stream_after(lambda net, X: net.requires_grad_(False)), "requires_grad"),
            "not frozen": (stream_after(lambda net, X: net.requires_grad_()), "requires_grad"),
            "X asks for a gradient": (stream_after(lambda net, X: X.requires_grad_()), "requires_grad of X"),
            "in place": (
                stream_after(lambda net, X: X.sub_(X.mean())),
                "X, for three blocks in training mode, is",
            ),
            "an attribute": (stream_after(lambda net, X: setattr(net, "sizes", (1,))), "`sizes`"),
            "grad off": (stream_after(lambda net, X: torch.set_grad_enabled(False)), "switched off"),
            "momentum": (momentum_0, "`momentum`"),
            "double": (stream_after(lambda net, X: net.double()), "is not as it was"),
            "number of batches": (running_back, "num_batches_tracked"),
            "seeded": (seeded(stream()), "generator"),
            "X worked on in place": (stream(), "X, for two blocks, the first in place, is not as it was"),
            "in one pass": (
                of_a_copy(lambda blocks, X: stream_by_moments(blocks, X, None)),
                "for one block in evaluation mode",
            ),
            "statistics of batch norm alone put back": (
                batch_norms_back,
                "0.1.running_mean of the blocks (a block with",
            ),
            "no empty net": (of_a_copy(lambda blocks, X: blocks[0] and stream()(blocks, X)), "out of range"),
            "nothing": (lambda blocks, X: None, "return a list"),
        },
    ),
}

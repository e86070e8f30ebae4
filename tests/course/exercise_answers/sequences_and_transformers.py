"""Answers to the exercises of notebook 09."""

import copy
import math

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
    import numpy as np

    w = max(1, warm_up)
    return float(np.interp(step, [0, w], [0, peak])) if step <= w else peak / math.sqrt(step / w)


def rate_rounded(step, peak, warm_up):
    return round(rate()(step, peak, warm_up), 3)


def real_of(X, lengths):
    return torch.arange(X.shape[1]) < lengths[:, None]


def masked(
    correction=0,
    outside=False,
    scale=lambda w, b: (w, b),
    stats=None,
    clear=True,
    fill=0.0,
    detach=False,
    out=lambda Y, X: Y,
):
    def masked_batch_norm(X, lengths, weight, bias, eps=1e-5):
        real = real_of(X, lengths)
        tokens = stats(X, real) if stats else X[real]
        tokens = tokens.detach() if detach else tokens
        var, mean = torch.var_mean(tokens, 0, correction=correction)
        w, b = scale(weight, bias)
        Z = X.masked_fill(~real[..., None], 0)
        Y = w * (Z - mean) / (var.sqrt() + eps if outside else (var + eps).sqrt()) + b
        return out(Y.masked_fill(~real[..., None], fill) if clear else Y, X)

    return masked_batch_norm


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
        for block in blocks:
            handles.append(block.register_forward_hook(lambda m, a, Y: found.append(Y.var(correction=0).item())))
        with torch.no_grad():
            blocks(X)
    finally:
        for handle in handles:
            handle.remove()
    for name, b in blocks.named_buffers():
        b.copy_(before[name])
    return found


def stream_by_slices(blocks, X):
    """From the start again for each."""
    with torch.inference_mode():
        return [float(((Y := copy.deepcopy(blocks)[:n](X)) - Y.mean()).square().mean()) for n in range(len(blocks) + 1)]


def stream_by_moments(blocks, X):
    net, found = copy.deepcopy(blocks), []
    for n in range(len(net) + 1):
        found.append((X.detach() ** 2).mean().item() - X.detach().mean().item() ** 2)
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


def stream_hooks_left(blocks, X):
    found = stream()(blocks, X)
    for block in blocks:
        block.register_forward_hook(lambda *a: None)
    return found


def stream_eval_left(blocks, X):
    found = stream()(blocks, X)
    blocks.train(not blocks.training)
    return found


def stream_with_backward(blocks, X):
    twin = copy.deepcopy(blocks)
    found = stream()(blocks, X)
    twin(X).sum().backward()
    for p, q in zip(blocks.parameters(), twin.parameters(), strict=True):
        p.grad = q.grad
    return found


def stream_in_place(blocks, X):
    found = stream()(blocks, X)
    X.sub_(X.mean())
    return found


ANSWERS = {
    check_rate_at: Answers(
        right=[rate(), rate_as_vaswani, rate_by_tensor, rate_in_branches, rate_by_interpolation],
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
        },
    ),
    check_masked_batch_norm: Answers(
        right=[masked(), masked_by_sums, masked_by_loop, masked_by_layer, masked_by_package],
        wrong={
            "unbiased": (masked(correction=1), "divided by n - 1"),
            "eps outside": (masked(outside=True), "belongs inside"),
            "no weight and bias": (masked(scale=lambda w, b: (torch.ones_like(w), 0)), "weight and bias were left"),
            "no weight": (masked(scale=lambda w, b: (torch.ones_like(w), b)), "the weight was left out"),
            "no bias": (masked(scale=lambda w, b: (w, 0)), "the bias was left out"),
            "padding counted": (masked(stats=everything), "the padding took part"),
            "padding counted, not cleared": (masked(stats=everything, clear=False), "the padding took part"),
            "padding as zeros": (masked(stats=as_zeros), "the padding took part"),
            "not cleared": (masked(clear=False), "at the padding"),
            "a tiny value": (masked(fill=1e-7), "exactly 0"),
            "NaN times 0": (masked_nan, "NaN"),
            "layer norm": (by_layer_norm, "as in layer norm"),
            "in place": (masked_in_place, "changed in place"),
            "no_grad": (masked_no_grad, "no gradient"),
            "detached": (masked(detach=True), "the gradient by X"),
            "float32": (masked(out=lambda Y, X: Y.float()), "dtype"),
            "only the real": (lambda X, n, w, b, e=1e-5: masked()(X, n, w, b, e)[real_of(X, n)], "shape"),
        },
    ),
    check_stream_variances: Answers(
        right=[stream(), stream_by_hooks, stream_by_slices, stream_by_moments, stream_functional],
        wrong={
            "unbiased": (stream(lambda t: t.var()), "divided by n - 1"),
            "deviations": (stream(lambda t: t.std(correction=0)), "standard deviations"),
            "mean squares": (stream(lambda t: t.square().mean()), "mean was not subtracted"),
            "by feature": (stream(lambda t: t.flatten(0, -2).var(0, correction=0).mean()), "one over all numbers"),
            "in evaluation": (stream(mode=False), "the other mode"),
            "not a copy": (stream(copied=False), "have moved"),
            "without X": (stream(first=False), "have 4 variances"),
            "not chained": (stream(chained=False), "not the stream"),
            "the branch": (stream(branch=True), "those of the branches"),
            "a tuple": (stream(kind=tuple), "return a list"),
            "tensors": (stream(number=lambda t: t), "must hold floats"),
            "hooks": (stream_hooks_left, "a hook is left"),
            "mode": (stream_eval_left, "left in another"),
            "gradients": (stream_with_backward, ".grad"),
            "in place": (stream_in_place, "X was changed"),
        },
    ),
}

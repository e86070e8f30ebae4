"""The checks of notebook 05: layer norm, group norm, RMS norm in 16 bits, and a net without batch norm."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from d2lnorm.course.exercises.common.feedback import described, exercise, expect, expect_close, randn
from d2lnorm.course.exercises.common.functions import (
    expect_defaults,
    expect_digits,
    expect_gradients,
    expect_narrow,
    value_of,
)
from d2lnorm.course.exercises.common.grouped import (
    EPS,
    NO_EPS,
    NO_SCALE,
    OUTSIDE,
    UNBIASED,
    grouped_wrong,
    normalized_over,
)
from d2lnorm.course.exercises.common.nets import BATCH_NORMS
from d2lnorm.course.exercises.common.swaps import expect_in_place, some_net
from d2lnorm.course.exercises.common.traces import kept

__all__ = ["check_my_group_norm", "check_my_layer_norm", "check_my_rms_norm", "check_replace_batch_norm"]

VERY = "the new layer must keep the very parameters `weight` and `bias`, not copies or new ones."


@exercise
def check_my_layer_norm(my_layer_norm: Callable) -> str:
    """Check `my_layer_norm(X, normalized_shape, weight, bias, eps)`: values, gradients, one to three axes, means."""
    for shape, k in (((3, 4), 1), ((2, 3, 4), 1), ((2, 3, 4), 2), ((2, 2, 3, 2), 3), ((3, 4), 2), ((5,), 1)):
        X, last, sizes = randn(*shape), tuple(range(-k, 0)), shape[-k:]
        weight, bias = 1 + 0.5 * randn(2, *sizes, seed=1)
        mistakes = {
            UNBIASED: weight * normalized_over(X, last, unbiased=True) + bias,
            OUTSIDE: weight * normalized_over(X, last, outside=True) + bias,
            f"{UNBIASED}; and {OUTSIDE}": weight * normalized_over(X, last, unbiased=True, outside=True) + bias,
            NO_SCALE: normalized_over(X, last),
            "the weight was left out": normalized_over(X, last) + bias,
            "the bias was left out": weight * normalized_over(X, last),
            NO_EPS: weight * normalized_over(X, last, eps=1e-5) + bias,
        }
        axes = {
            "the statistics were taken over the first axis, the batch": (0,),
            "the statistics were taken over the whole tensor": tuple(range(len(shape))),
            "the statistics were taken over all axes but the first": tuple(range(1, len(shape))),
            "only the last axis was normalized, but normalized_shape names more": (-1,),
        }
        mistakes |= {words: weight * normalized_over(X, wrong) + bias for words, wrong in axes.items()}
        got = value_of(my_layer_norm, X, "layer_norm", normalized_shape=sizes, weight=weight, bias=bias, eps=EPS)
        what = f"the output for X of shape {shape}, normalized_shape={sizes} and eps={EPS}"
        expected = F.layer_norm(X, sizes, weight, bias, EPS)
        expect_close(got, expected, what, mistakes)
        expect_digits(got, expected, what)
        mine, torchs = (lambda X, w, b, f=f, s=sizes: f(X, s, w, b, EPS) for f in (my_layer_norm, F.layer_norm))
        expect_gradients(mine, torchs, X, weight, bias)
    expect_narrow(mine, torchs, X, weight, bias)
    ones, zeros = torch.ones(64), torch.zeros(64)
    expect_defaults(lambda X: my_layer_norm(X, (64,), ones, zeros), lambda X: F.layer_norm(X, (64,)), 4, 64)
    return "value and gradients agree with F.layer_norm for one to three axes, also beside a mean of 10,000."


@exercise
def check_my_group_norm(my_group_norm: Callable) -> str:
    """Check `my_group_norm(X, num_groups, weight, bias, eps)`; every combination of the usual faults is known."""
    for shape, G in (((2, 6, 2, 2), 2), ((6, 6), 3), ((1, 6, 2), 2), ((2, 6, 6), 3), ((2, 4, 3, 4), 1)):
        C = shape[1]
        X, (weight, bias) = randn(*shape, seed=2), 1 + 0.5 * randn(2, C, seed=3)
        mistakes = grouped_wrong(X, G, weight, bias)
        got = value_of(my_group_norm, X, "group_norm", num_groups=G, weight=weight, bias=bias, eps=EPS)
        what = f"the output for X of shape {shape}, num_groups={G} and eps={EPS}"
        expected = F.group_norm(X, G, weight, bias, EPS)
        expect_close(got, expected, what, mistakes)
        expect_digits(got, expected, what)
        mine, torchs = (lambda X, w, b, f=f, G=G: f(X, G, w, b, EPS) for f in (my_group_norm, F.group_norm))
        expect_gradients(mine, torchs, X, weight, bias)
    expect_narrow(mine, torchs, X, weight, bias)
    got = my_group_norm(X[:, :, 0, 0], 4, weight, bias, EPS)
    expect_close(
        got, bias.expand(2, 4), f"the output for X of shape (2, 4), num_groups=4 and eps={EPS}, one number a group,"
    )
    ones, zeros = torch.ones(4), torch.zeros(4)
    expect_defaults(lambda X: my_group_norm(X, 2, ones, zeros), lambda X: F.group_norm(X, 2), 2, 4, 8, 8)
    return "groups of neighbours, biased variance, eps inside the root, for two to four axes, with gradients."


@exercise
def check_my_rms_norm(my_rms_norm: Callable) -> str:
    """Check `my_rms_norm(X, weight, eps)` in four types: overflow, rounding, and which epsilon None stands for."""
    X, weight, ones = 1 + randn(3, 8, seed=4), 1 + 0.5 * randn(8, seed=5), torch.ones(64)
    square = X.square().mean(-1, keepdim=True)
    mistakes = {
        "the mean was subtracted, but RMS norm subtracts nothing": weight * normalized_over(X, (1,)),
        "eps was added to the root, but it belongs inside": weight * X / (square.sqrt() + EPS),
        "the mean square was taken over the whole tensor": weight * X / (X.square().mean() + EPS).sqrt(),
        "the mean square was taken over the first axis": weight * X / (X.square().mean(0) + EPS).sqrt(),
        "the squares were summed, but not divided by their number": weight * X / (8 * square + EPS).sqrt(),
        "the weight was left out": X / (square + EPS).sqrt(),
        NO_EPS: weight * X / square.sqrt(),
    }
    Y, expected = value_of(my_rms_norm, X, "rms_norm", weight=weight, eps=EPS), F.rms_norm(X, (8,), weight, EPS)
    expect_close(Y, expected, f"the output in float64 with eps={EPS}", mistakes)
    expect_digits(Y, expected, f"the output in float64 with eps={EPS}")
    for more, eps in ((X.view(3, 4, 2).mT, 0.1), (1e-9 * X[0, :4], 0.0)):
        got, what = my_rms_norm(more, weight[:4], eps), f"the output for {tuple(more.shape)} and eps={eps}"
        expect_close(got, F.rms_norm(more, (4,), weight[:4], eps), what, rtol=1e-12, atol=1e-15)
    expect_gradients(lambda X, w: my_rms_norm(X, w, EPS), lambda X, w: F.rms_norm(X, (8,), w, EPS), X, weight)
    X = randn(4, 64, seed=6).to(torch.float16)
    calm, Y = my_rms_norm(X, ones), my_rms_norm(300 * X, ones)
    expect(Y.dtype == torch.float16, f"the result must have the type of X, torch.float16, but has {Y.dtype}.")
    expect_close(calm, F.rms_norm(X, (64,)), "the output for X around 1 in float16", rtol=0.02, atol=0.02)
    words = "the output in float16 is right for X around 1, but all 0 or not finite around 300: squares overflowed."
    expect(bool(Y.isfinite().all() and Y.any()), words)
    half, weight = randn(512, 8, seed=7).to(torch.bfloat16), weight.float()
    off = (my_rms_norm(half, weight, EPS) != F.rms_norm(half.float(), (8,), weight, EPS).bfloat16()).double().mean()
    expect(off < 0.05, f"{off:.0%} of the values in bfloat16 are not those computed in float32 and rounded once.")
    for dtype in (torch.float32, torch.float16, torch.float64):
        small = ((1e-8 if dtype == torch.float64 else 2e-4) * randn(4, 64, seed=8)).to(dtype)  # eps is seen beside it
        wide = small.float() if dtype == torch.float16 else small
        epsilons = {"0": 0.0, "1e-5": 1e-5}
        epsilons |= {f"the machine epsilon of {t}": torch.finfo(t).eps for t in (torch.float16, torch.float32)}
        words = "eps=None means the epsilon of the type computed in, but {} was taken"
        wrong = {words.format(name): F.rms_norm(wide, (64,), eps=e) for name, e in epsilons.items()}
        got = my_rms_norm(small, ones.to(dtype)).to(wide.dtype)
        expect_close(got, F.rms_norm(wide, (64,)), f"the output with eps=None in {dtype}", wrong, rtol=2e-3, atol=1e-6)
    mine, torchs = (lambda X, w, f=f: f(X, w) for f in (my_rms_norm, lambda X, w: F.rms_norm(X, (8,), w)))
    expect_narrow(mine, torchs, 1 + randn(3, 8, seed=4), weight)
    return "computed in float32 for 16-bit inputs, in the input's type otherwise, with the right epsilon."


@exercise
def check_replace_batch_norm(replace_batch_norm: Callable) -> str:
    """Check `replace_batch_norm(net, num_groups)` on single layers and a nested net: what is swapped, what kept."""
    layers = nn.BatchNorm1d(4, eps=0.3), nn.BatchNorm2d(4, affine=False), nn.BatchNorm3d(4, dtype=torch.float64)
    for bn, groups in zip(layers, (2, 1, 4), strict=True):
        weight, bias, eps, kind = bn.weight, bn.bias, bn.eps, type(bn).__name__
        gn = replace_batch_norm(bn.eval(), groups)
        expect(gn is not None, f"it returned None: return the net, or, for a {kind} alone, the new GroupNorm.")
        expect(isinstance(gn, nn.GroupNorm), f"a {kind} alone must become a GroupNorm, but became {described(gn)}.")
        came = f"num_groups={gn.num_groups}, num_channels={gn.num_channels}"
        expect(came == f"num_groups={groups}, num_channels=4", f"for num_groups={groups} and 4 channels came {came}.")
        expect(gn.eps == eps, f"of a {kind} alone eps was {eps}, but is {gn.eps} now: keep it.")
        expect(gn.affine == (weight is not None), "a layer with affine=False has no weight and bias; keep it so.")
        expect(not gn.training, "the net was in evaluation mode, the new layer is not: keep the mode.")
        expect(gn.weight is weight and gn.bias is bias, VERY)
    net = some_net()
    parameters = {f"`{name}` of the net": p for name, p in net.named_parameters()}
    others = {m: name for name, m in net.named_modules() if not isinstance(m, BATCH_NORMS)}
    norms: dict = {k: m for k, m in net.named_modules(remove_duplicate=False) if isinstance(m, BATCH_NORMS)}
    sizes = {place: {"num_channels": m.num_features, "eps": m.eps} for place, m in norms.items()}
    modes = {name: m.training for name, m in net.named_modules()}
    names = {n for n in net.state_dict() if n.rpartition(".")[0] not in norms or n.endswith((".weight", ".bias"))}
    alone = {f"layer `{name}` of the net": m for m, name in others.items() if not [*m.children()]}
    with kept(generator=True, **parameters, **alone):
        got = replace_batch_norm(net, 2)
    expect(got is net, f"change the net in place and return it; what came is another object: {described(got)}.")
    left = [name for name, m in net.named_modules(remove_duplicate=False) if isinstance(m, BATCH_NORMS)]
    first = net.get_submodule(left[0]) if left else ""
    expect(not left, f"batch norm is left at {', '.join(left)}. The first of these is {first}.")
    there = {m: name for name, m in net.named_modules() if m in others or not isinstance(m, nn.GroupNorm)}
    for more, less, fault in ((others, there, "is no longer in the net"), (there, others, "is new in the net")):
        odd = next((f"layer `{name}`, of class {type(m).__name__}," for m, name in more.items() if m not in less), "")
        expect(not odd, f"the {odd} {fault}; change nn.BatchNorm1d, 2d and 3d only.")
    expect([*map(id, others)] == [*map(id, there)], "layers other than batch norm were moved; leave them alone.")
    now = set(net.state_dict())
    lost, new = (", ".join(sorted(some)) or "none" for some in (names - now, now - names))
    expect(now == names, f"weight and bias keep their names in the state_dict. Lost: {lost}. New: {new}.")
    expect_in_place(net, norms, sizes, 2)
    before, after = ([*map(id, found)] for found in (parameters.values(), net.parameters()))
    expect(set(before) == set(after), VERY)
    expect(before == after, "the parameters come in another order: put each new layer where the old one stood.")
    changed = [name for name, m in net.named_modules() if m.training != modes[name]]
    expect(not changed, f"the mode was changed at {', '.join(map(repr, changed))}: each layer keeps its own.")
    return "every batch norm layer swapped, at any depth, and all that can be kept was kept."

"""The checks of notebook 05: layer norm, group norm, RMS norm in 16 bits, and a net without batch norm."""

import copy
from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from d2lnorm.course.exercises.feedback import exercise, expect, expect_close, randn
from d2lnorm.course.exercises.functions import expect_gradients, expect_precise, value_of

__all__ = ["check_my_group_norm", "check_my_layer_norm", "check_my_rms_norm", "check_replace_batch_norm"]

UNBIASED = "the variance was divided by n - 1, but the normalization divides by n"
OUTSIDE = "eps was added to the standard deviation, but it belongs to the variance, inside the root"
ACROSS = "the statistics run across the groups; they belong within each, over the axes after (N, G)"
STRIDED = "channels far from each other were grouped, but a group holds neighbours: (N, G, C // G, ...)"
NO_SCALE = "weight and bias were left out"
EPS = 0.5
BATCH_NORMS = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d


def _normalized(X: Tensor, axes: tuple[int, ...], unbiased: bool = False, outside: bool = False) -> Tensor:
    var, mean = torch.var_mean(X, axes, correction=int(unbiased), keepdim=True)
    return (X - mean) / (var.sqrt() + EPS if outside else (var + EPS).sqrt())


@exercise
def check_my_layer_norm(my_layer_norm: Callable) -> str:
    """Check `my_layer_norm(X, normalized_shape, weight, bias, eps)`: values, gradients, one to three axes, means."""
    for shape, k in (((3, 4), 1), ((2, 3, 4), 1), ((2, 3, 4), 2), ((2, 2, 3, 2), 3), ((5,), 1), ((3, 4), 2)):
        X, last, sizes = randn(*shape), tuple(range(-k, 0)), shape[-k:]
        weight, bias = 1 + 0.5 * randn(2, *sizes, seed=1)
        mistakes = {
            UNBIASED: weight * _normalized(X, last, unbiased=True) + bias,
            OUTSIDE: weight * _normalized(X, last, outside=True) + bias,
            f"{UNBIASED}; and {OUTSIDE}": weight * _normalized(X, last, unbiased=True, outside=True) + bias,
            NO_SCALE: _normalized(X, last),
        }
        axes = {
            "the statistics were taken over the first axis, the batch": (0,),
            "the statistics were taken over the whole tensor": tuple(range(len(shape))),
            "the statistics were taken over all axes but the first": tuple(range(1, len(shape))),
            "only the last axis was normalized, but normalized_shape names more": (-1,),
        }
        mistakes |= {words: weight * _normalized(X, wrong) + bias for words, wrong in axes.items()}
        got = value_of(my_layer_norm, X, sizes, weight, bias, EPS, name="layer_norm")
        expect_close(got, F.layer_norm(X, sizes, weight, bias, EPS), f"the output for {shape}", mistakes)
        mine, torchs = (lambda X, w, b, f=f, s=sizes: f(X, s, w, b, EPS) for f in (my_layer_norm, F.layer_norm))
        expect_gradients(mine, torchs, X, weight, bias)
    ones, zeros = torch.ones(64), torch.zeros(64)
    expect_precise(lambda X: my_layer_norm(X, (64,), ones, zeros), lambda X: F.layer_norm(X, (64,)), 4, 64)
    return "value and gradients agree with F.layer_norm for one to three axes, also beside a mean of 10,000."


@exercise
def check_my_group_norm(my_group_norm: Callable) -> str:
    """Check `my_group_norm(X, num_groups, weight, bias, eps)`; every combination of the usual faults is known."""
    for shape, G in (((2, 6, 2, 2), 2), ((3, 6), 3), ((2, 6, 2), 2), ((2, 6, 6), 3), ((2, 4, 3, 4), 1)):
        (N, C, *positions), d = shape, len(shape)
        X, (weight, bias) = randn(*shape, seed=2), 1 + 0.5 * randn(2, C, seed=3)
        w, b = (t.view(C, *(1 for _ in positions)) for t in (weight, bias))
        near, far = (X.reshape(N, *split, *positions) for split in ((G, C // G), (C // G, G)))
        axes, across, mistakes = tuple(range(2, d + 1)), (1, *range(3, d + 1)), {}
        ways = {"": (near, axes), STRIDED: (far, across), ACROSS: (near, across)}
        for (way, (grouped, over)), unbiased, outside in product(ways.items(), (False, True), (False, True)):
            slips = filter(None, (way, UNBIASED * unbiased, OUTSIDE * outside))
            mistakes["; and ".join(slips)] = w * _normalized(grouped, over, unbiased, outside).reshape(shape) + b
        wrong = {
            "all channels were taken together, as in layer norm": (X, tuple(range(1, d))),
            "the statistics were taken over the batch, too": (near, (0, *axes)),
        }
        if positions:
            wrong["each channel was taken alone, as in instance norm"] = (X, tuple(range(2, d)))
            wrong["the statistics were taken over the group's channels, but not over the positions"] = (near, (2,))
        for words, (t, over) in wrong.items():
            mistakes[words] = w * _normalized(t, over).reshape(shape) + b
        mistakes[NO_SCALE] = _normalized(near, axes).reshape(shape)
        got = value_of(my_group_norm, X, G, weight, bias, EPS, name="group_norm")
        expect_close(got, F.group_norm(X, G, weight, bias, EPS), f"the output for {shape}", mistakes)
        mine, torchs = (lambda X, w, b, f=f, G=G: f(X, G, w, b, EPS) for f in (my_group_norm, F.group_norm))
        expect_gradients(mine, torchs, X, weight, bias)
    ones, zeros = torch.ones(4), torch.zeros(4)
    expect_precise(lambda X: my_group_norm(X, 2, ones, zeros), lambda X: F.group_norm(X, 2), 2, 4, 8, 8)
    return "groups of neighbours, biased variance, eps inside the root, for two to four axes, with gradients."


@exercise
def check_my_rms_norm(my_rms_norm: Callable) -> str:
    """Check `my_rms_norm(X, weight, eps)` in four types: overflow, rounding, and which epsilon None stands for."""
    X, weight, ones = 1 + randn(3, 8, seed=4), 1 + 0.5 * randn(8, seed=5), torch.ones(64)
    square = X.square().mean(-1, keepdim=True)
    mistakes = {
        "the mean was subtracted, but RMS norm subtracts nothing": weight * _normalized(X, (1,)),
        "eps was added to the root, but it belongs inside": weight * X / (square.sqrt() + EPS),
        "the mean square was taken over the whole tensor": weight * X / (X.square().mean() + EPS).sqrt(),
        "the mean square was taken over the first axis": weight * X / (X.square().mean(0) + EPS).sqrt(),
        "the squares were summed, but not divided by their number": weight * X / (8 * square + EPS).sqrt(),
        "the weight was left out": X / (square + EPS).sqrt(),
    }
    Y, expected = value_of(my_rms_norm, X, weight, EPS, name="rms_norm"), F.rms_norm(X, (8,), weight, EPS)
    expect_close(Y, expected, "the output in float64", mistakes)
    precise = torch.allclose(Y, expected, rtol=1e-12)
    expect(precise, "float64 input is right to 7 digits only: it went through float32. Widen 16-bit inputs only.")
    for more, eps in ((X.view(3, 2, 4), 0.1), (1e-9 * X[0, :4], 0.0)):
        got, what = my_rms_norm(more, weight[:4], eps), f"the output for {tuple(more.shape)} and eps={eps}"
        expect_close(got, F.rms_norm(more, (4,), weight[:4], eps), what, rtol=1e-12, atol=1e-15)
    expect_gradients(lambda X, w: my_rms_norm(X, w, EPS), lambda X, w: F.rms_norm(X, (8,), w, EPS), X, weight)
    Y = my_rms_norm(300 * randn(4, 64, seed=6).to(torch.float16), ones)
    expect(Y.dtype == torch.float16, f"the result must have the type of X, torch.float16, but has {Y.dtype}.")
    expect(bool(Y.isfinite().all() and Y.any()), "the squares overflowed in float16: compute them in float32.")
    half, weight = randn(512, 8, seed=7).to(torch.bfloat16), weight.float()
    off = (my_rms_norm(half, weight, EPS) != F.rms_norm(half.float(), (8,), weight, EPS).bfloat16()).double().mean()
    expect(off < 0.05, f"in bfloat16 {off:.0%} of the values are rounded twice: compute in float32, round at the end.")
    for dtype in (torch.float32, torch.float16, torch.float64):
        small = 2e-3 * randn(4, 64, seed=8).to(dtype)
        wide = small.float() if dtype == torch.float16 else small
        epsilons = {f"the machine epsilon of {t}": torch.finfo(t).eps for t in (torch.float16, torch.float32)}
        wrong = {
            f"eps=None means the epsilon of the type computed in, but {name} was taken": F.rms_norm(wide, (64,), eps=e)
            for name, e in ({"0": 0.0, "1e-5": 1e-5} | epsilons).items()
        }
        got = my_rms_norm(small, ones.to(wide.dtype)).to(wide.dtype)
        expect_close(got, F.rms_norm(wide, (64,)), f"the output with eps=None in {dtype}", wrong, rtol=2e-3, atol=2e-3)
    return "computed in float32 for 16-bit inputs, in the input's type otherwise, with the right epsilon."


def _some_net() -> nn.Sequential:
    """A net with batch norm at several depths, of two kinds, and one layer in two places."""
    shared, conv, pool = nn.BatchNorm2d(4), nn.Conv2d(4, 6, 1), nn.AdaptiveAvgPool2d(1)
    conv.register_module("later", None)  # a child may be None
    body = nn.Sequential(nn.Sequential(conv, nn.BatchNorm2d(6)), nn.InstanceNorm2d(6, affine=True), pool, nn.Flatten())
    net = nn.Sequential(shared, nn.ReLU(), shared, body, nn.BatchNorm1d(6, affine=False), nn.LayerNorm(6))
    for seed, p in enumerate(net.parameters()):
        p.data = 1 + 0.5 * randn(*p.shape, seed=seed).to(p.dtype)
    return net


@exercise
def check_replace_batch_norm(replace_batch_norm: Callable) -> str:
    """Check `replace_batch_norm(net, num_groups)` on single layers and a nested net: what is swapped, what kept."""
    layers = nn.BatchNorm1d(4, eps=0.3), nn.BatchNorm2d(4, affine=False), nn.BatchNorm3d(4, dtype=torch.float64)
    for bn, groups in zip(layers, (2, 1, 4), strict=True):
        if bn.affine:
            bn.weight.data, bn.bias.data = torch.arange(2, 10, dtype=bn.weight.dtype).view(2, 4)
        gn = replace_batch_norm(copy.deepcopy(bn).eval(), groups)
        expect(isinstance(gn, nn.GroupNorm), f"a net that is itself a {type(bn).__name__} must become a GroupNorm.")
        expect((gn.num_groups, gn.num_channels) == (groups, 4), "GroupNorm must get num_groups, and BN's channels.")
        expect(gn.eps == bn.eps, f"eps was {bn.eps}, but is {gn.eps} now: keep it.")
        expect(gn.affine == bn.affine, "a layer with affine=False has no weight and bias; keep it so.")
        expect(not gn.training, "the net was in evaluation mode, the new layer is not: keep the mode.")
        for name, start in (("weight", torch.ones(4)), ("bias", torch.zeros(4))) if bn.affine else ():
            old, new = getattr(bn, name).detach(), getattr(gn, name).detach()
            expect(new.dtype == old.dtype, f"{name} was {old.dtype}, but is {new.dtype} now: keep the type.")
            expect_close(new, old, f"the new layer's {name}", {"it starts anew; copy the old one": start})
    net, batch = _some_net(), randn(3, 4, 2, 2).to(torch.float32)
    parameters = [id(p) for p in net.parameters()]
    others = [m for m in net.modules() if not isinstance(m, BATCH_NORMS)]
    names = ", ".join(name for name in net.state_dict() if name.endswith(("weight", "bias")))
    expect(replace_batch_norm(net, 2) is net, "change the net in place and return it; this is another object.")
    left = [name for name, m in net.named_modules(remove_duplicate=False) if isinstance(m, BATCH_NORMS)]
    expect(not left, f"batch norm is left at {', '.join(left)}. Layers sit in layers; one may be used in two places.")
    groups_of = {m.num_groups for m in net.modules() if isinstance(m, nn.GroupNorm)}
    expect(groups_of == {2}, f"with num_groups=2 each GroupNorm must have 2 groups, but yours have {groups_of}.")
    expect(net[0] is net[2], "a layer that was used in two places has become two layers, each with a life of its own.")
    kept = [id(m) for m in net.modules() if not isinstance(m, nn.GroupNorm)] == [id(m) for m in others]
    expect(kept, "other layers than batch norm were changed; leave them alone, InstanceNorm and LayerNorm too.")
    now = ", ".join(net.state_dict())
    expect(now == names, f"the keys of the state_dict must be {names}, but are {now}.")
    same = parameters == [id(p) for p in net.parameters()]
    expect(same, "keep the very parameters `weight` and `bias`, not copies of them: an optimizer may hold them.")
    change = (net(batch)[:1] - net(batch[:1])).abs().max().item()
    expect(change < 1e-4, "the net's output for an image still depends on the other images.")
    return "every batch norm layer swapped, at any depth, and all that can be kept was kept."

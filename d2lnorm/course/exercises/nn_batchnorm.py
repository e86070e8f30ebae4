"""Checks of the exercises of notebook 04: using `nn.BatchNorm1d`, `2d` and `3d`."""

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from d2lnorm.course.exercises.common.features_last import expect_features_last, expect_precise_far_off, expect_refusal
from d2lnorm.course.exercises.common.feedback import described, exercise, expect, number, raises, randn
from d2lnorm.course.exercises.common.groups import expect_sorted
from d2lnorm.course.exercises.common.layers import expect_meant
from d2lnorm.course.exercises.common.nets import BATCH_NORMS, SubclassOfBatchNorm2d, nets_with_norms
from d2lnorm.course.exercises.common.traces import kept
from d2lnorm.course.exercises.common.twins import expect_state

__all__ = [
    "check_batch_norm_for",
    "check_count_batch_norm",
    "check_fixed_net",
    "check_parameter_groups",
    "check_sequence_batch_norm",
]


@exercise
def check_count_batch_norm(count_batch_norm: Callable[[nn.Module], tuple[int, int]]) -> str:
    """Check `count_batch_norm(net)`: numbers trained and numbers kept as buffers in all batch-norm layers."""
    plain = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.GroupNorm(1, 5), nn.Linear(4, 4))
    blocks = nn.ModuleList([nn.Sequential(nn.BatchNorm1d(3)), nn.BatchNorm3d(2), nn.BatchNorm3d(2)])
    deep = nn.Sequential(nn.ModuleDict({"blocks": blocks}), plain)
    block = type("ConvBatchNorm", (nn.Sequential,), {})(nn.Conv2d(2, 4, 3), SubclassOfBatchNorm2d(4))
    bare = nn.Sequential(nn.BatchNorm1d(3, affine=False), nn.BatchNorm1d(4, track_running_stats=False))
    kin = nn.Sequential(nn.InstanceNorm2d(3, affine=True, track_running_stats=True), nn.BatchNorm2d(7), nn.LayerNorm(2))
    shiftless, twice = nn.BatchNorm1d(3), nn.BatchNorm1d(6)
    shiftless.register_parameter("bias", None)
    frozen = nn.Sequential(nn.BatchNorm1d(4), nn.BatchNorm2d(2)).requires_grad_(False)
    for what, net, *right in (
        ("BatchNorm2d(5) beside a GroupNorm and layers of other kinds", plain, 10, 11),
        ("BatchNorm1d(3), two 3d(2) and 2d(5) in nested blocks", deep, 24, 28),
        ("a subclass of BatchNorm2d, with 4 channels, in a block of a class named ConvBatchNorm", block, 8, 9),
        ("BatchNorm1d(3) in evaluation", nn.Sequential(nn.BatchNorm1d(3)).eval(), 6, 7),
        ("a net that is itself a batch norm, BatchNorm3d(2)", nn.BatchNorm3d(2), 4, 5),
        ("a layer that lacks parameters (affine=False) and one that lacks buffers", bare, 8, 7),
        ("a layer with a scale and no shift", shiftless, 3, 7),
        ("BatchNorm2d(7) beside InstanceNorm2d and LayerNorm", kin, 14, 15),
        ("one BatchNorm1d(6), used twice", nn.Sequential(twice, nn.ReLU(), nn.Sequential(twice)), 12, 13),
        ("frozen layers, whose parameters are parameters still", frozen, 12, 14),
        ("a net without batch norm", nn.Linear(2, 2), 0, 0),
    ):
        with kept(net=net, generator=True):
            counts = count_batch_norm(net)
        pair = isinstance(counts, tuple) and len(counts) == 2
        expect(pair, f"return a tuple (numbers in parameters, numbers in buffers), not {described(counts)}.")
        got = [number(n, "each of the two counts") for n in counts]
        wrong = f"for {what}: expected {tuple(right)}, got ({got[0]:g}, {got[1]:g})"
        expect(got != right[::-1] or got == right, f"{wrong}. The parameters come first.")
        everything = sum(p.numel() for p in net.parameters())
        expect(got[0] != everything or got[0] == right[0], f"{wrong}. These are the parameters of all layers.")
        expect(got != [right[0], right[1] - 1], f"{wrong}. Is num_batches_tracked counted?")
        expect(got == right, f"{wrong}.")
    return "counted 1d, 2d and 3d in nested blocks, with and without parameters and buffers."


@exercise
def check_batch_norm_for(batch_norm_for: Callable[[tuple[int, ...]], nn.Module]) -> str:
    """Check `batch_norm_for(shape)`: the batch-norm layer that takes an input of this shape."""
    one, two, three = BATCH_NORMS
    torch.rand(1)  # not where a seed of the answer's would begin, so that kept sees it
    shapes = {(6, 3): one, (2, 7, 5): one, (8, 1, 9): one, (3, 6, 5, 2): two, (8, 3, 1, 1): two}
    for shape, kind in (shapes | {(3, 2, 4, 6, 7): three}).items():
        wanted, size, usual = f"for shape {shape} nn.{kind.__name__} is right", torch.Size(shape), kind(shape[1])
        with kept(generator=True):
            expect(not raises(ValueError, batch_norm_for, size), f"{wanted}, but you raised a ValueError.")
            layer: Any = batch_norm_for(size)
            again = batch_norm_for(size)
        made = "" if isinstance(layer, nn.Module) else ": a layer, ready to be called"
        expect(type(layer) is kind, f"{wanted}{made}. You returned {described(layer)}.")
        C = layer.num_features
        places = {shape[-1]: "the last axis", shape[0]: "the batch axis", len(shape): "the number of axes"}
        hint = f", which is {places[C]}" if C in places else ""
        expect(shape[1] == C, f"for shape {shape} the channels are on axis 1: {shape[1]}, but you took {C}{hint}.")
        expect(repr(layer) == repr(usual), f"your layer is {layer}, but nn.{kind.__name__}({C}) is {usual}.")
        expect_state(layer, usual)
        expect(layer.training, "a new layer is in training mode, but yours is in evaluation mode.")
        frozen = ", ".join(name for name, p in layer.named_parameters() if not p.requires_grad)
        expect(not frozen, f"a new layer's parameters can be trained, but requires_grad of {frozen} is False.")
        expect(layer is not again, "return a new layer in each call.")
    for shape in ((9,), (3, 2, 4, 5, 7, 8), (3, 2, 4, 5, 6, 8, 9), ()):
        number_of = f"{len(shape)} ax{'i' if len(shape) == 1 else 'e'}s"
        asked = f"no layer takes an input of shape {shape}, with {number_of}: raise a ValueError that says so"
        try:
            layer = batch_norm_for(shape)
        except Exception as error:
            expect(isinstance(error, ValueError), f"{asked}. You raised {type(error).__name__}.")
            told = {str(n) for n in (len(shape), *shape)} <= set(re.findall(r"\d+", str(error)))
            words = f"must name the number of axes, {len(shape)}, and the shape; yours says {str(error)[:99]!r}"
            expect(told, f"the error for {shape} {words}.")
        else:
            expect(False, f"{asked}. You returned {described(layer)}.")
    return "a new layer with the right number of channels for two to five axes, an error for fewer and for more."


@exercise
def check_sequence_batch_norm(make: Callable[[int], nn.Module]) -> str:
    """Check `SequenceBatchNorm(num_features)`: batch norm of (N, T, C), the features on the last axis."""
    shapes = (2, 4, 4), (3, 5, 2), (1, 6, 3), (4, 1, 3), (5, 3, 1), (5, 1, 1)
    for shape in shapes:  # first T = C: a wrong axis raises no error
        expect_features_last(make, *shape)
    for shape in ((2, 4, 3), (3, 5, 5)):
        expect_precise_far_off(make, *shape)
    expect_refusal(make, 3)
    return "features normalized over batch and steps, also where T = C; gradients, saved statistics and evaluation."


@exercise
def check_parameter_groups(parameter_groups: Callable[[nn.Module, float], list[dict]]) -> str:
    """Check `parameter_groups(net, weight_decay)`: two groups, decay for the weights of other layers alone."""
    for what, net in nets_with_norms().items():
        for p in net.parameters():
            p.grad = torch.ones_like(p)
        for decay in (0.25, 0.01):
            with kept(net=net, generator=True):
                groups: Any = parameter_groups(net, decay)
            kinds = [type(g).__name__ for g in groups] if isinstance(groups, list | tuple) else []
            came = f"your list holds {', '.join(kinds)}" if kinds else f"you returned {described(groups)}"
            came = f"your list has length {len(kinds)}" if {*kinds} == {"dict"} else came
            two = len(kinds) == 2 and all(isinstance(g, dict) for g in groups)
            expect(two, f"for {what}: return two dicts in a list, even if one group is empty; {came}.")
            keys = all({"params", "weight_decay"} <= set(g) for g in groups)
            expect(keys, 'each group is a dict with the keys "params" and "weight_decay".')
            others = [type(g["params"]).__name__ for g in groups if not isinstance(g["params"], list)]
            expect(not others, f'"params" must be a list, but is a {" and a ".join(others)}.')
            got = [number(g["weight_decay"], "a weight_decay") for g in groups]
            given = f"weight_decay is the given {decay} in the first group and 0 in the second"
            expect(got == [decay, 0], f"{given}; yours are {got[0]:g} and {got[1]:g}.")
            expect_sorted([[id(p) for p in g["params"]] for g in groups], net, what)
    return "decay for all parameters but biases and norms, in any net; every parameter once."


@exercise
def check_fixed_net(make: Callable[[], nn.Module]) -> str:
    """Check `FixedNet()`: the repaired net, by its behaviour and by what it saves."""
    net, X, calls = make(), randn(6, 1, 28, 28).float(), dict[Any, int]()
    expect(isinstance(net, nn.Module), f"FixedNet() must be an nn.Module, but is {described(net)}.")
    net.train()(X.clone())  # lazy layers find their shapes and draw their weights
    torch.rand(1)  # not where a seed of the answer's would begin, so that kept sees it
    for norm in (m for m in net.modules() if hasattr(m, "running_mean")):  # d2lnorm's, too
        norm.register_forward_hook(lambda m, *_: calls.update({m: calls.get(m, 0) + 1}))
    with kept(X=X, generator=True):
        logits = net(X)
    fits = isinstance(logits, Tensor) and logits.shape == (6, 10)
    expect(fits, f"expected logits of shape (6, 10), got {described(logits)}.")
    twice = [f"{norm} is applied {times} times" for norm, times in calls.items() if times > 1]
    expect(not twice, f"{', '.join(twice)} in one call of the net: each batch norm must normalize once.")
    attributes = [v for m in net.modules() for k, v in vars(m).items() if not k.startswith("_")]
    stored = [[*(v.values() if isinstance(v, dict) else v)] for v in attributes if isinstance(v, list | tuple | dict)]
    hidden = {x for v in stored for x in v if isinstance(x, nn.Module)} - set(net.modules())
    expect(not hidden, "a plain list or dict hides its layers from state_dict, parameters() and eval().")
    means = sorted(t.numel() for name, t in net.state_dict().items() if name.endswith("running_mean"))
    expect(means == [8, 8, 32], f"expected running means of 8, 8 and 32 features in state_dict, got {means}.")
    expect(len(calls) == 3, "a batch norm is in state_dict, but never used.")
    expect(all(m.training for m in net.modules()), "after net.train() and a batch, a layer is in evaluation mode.")
    layers: list[Any] = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    shapes, asked = sorted(tuple(m.weight.shape) for m in layers), [(8, 1, 3, 3), (8, 8, 3, 3), (10, 32), (32, 392)]
    expect(shapes == asked, f"the weights of convolutions and linear layers must be {asked}, but are {shapes}.")
    first, second, out, linear = sorted(layers, key=lambda m: tuple(m.weight.shape))
    expect(out.bias is not None, "the last linear layer has no batch norm behind it and needs its bias.")
    useless = any(m.bias is not None for m in (first, second, linear))
    expect(not useless, "a layer in front of a batch norm has a bias that does nothing; the last alone needs it.")
    trained = [list(m.parameters()) for m in calls]
    usual = all(len(ts) == 2 and (ts[0] == 1).all() and (ts[1] == 0).all() for ts in trained)
    expect(usual, "each batch norm must have a scale, 1 at the start, and a shift, 0 at the start, as in BrokenNet.")
    own = {id(t) for m in calls for t in (*m.parameters(), m.running_mean, m.running_var)}
    expect(len(own) == 12, "two batch norms share a tensor: each layer needs its own scale, shift and statistics.")
    expect(logits.requires_grad, "the logits have no gradient, so the net cannot be trained.")
    F.cross_entropy(logits, torch.arange(6)).backward()
    still = [name for name, p in net.named_parameters() if p.grad is None]
    expect(not still, f"no gradient reaches {', '.join(still)}.")
    expect(not any(m.training for m in net.eval().modules()), "after net.eval() a layer is still in training mode.")
    with torch.no_grad(), kept(**{"the net, called in evaluation,": net, "X": X}, generator=True):
        together = net(X)
    for n in (2, 1):
        parts = torch.cat([net(X[:n]), net(X[n:])])
        alone = torch.allclose(parts, together, rtol=1e-3, atol=1e-4)
        expect(alone, "after net.eval() an image's logits change with the other images of the batch; they must not.")
    expect_meant(net, (first, second, linear), tuple(calls), out)
    return "three batch norms, each for one layer, saved, trained, quiet in evaluation, and no redundant bias."

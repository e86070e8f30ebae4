"""Checks of the exercises of notebook 04: using `nn.BatchNorm1d`, `2d` and `3d`."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from d2lnorm.course.exercises.feedback import described, exercise, expect, expect_close, number, randn
from d2lnorm.course.exercises.nets import expect_meant, net_with_norms, normalized
from d2lnorm.course.exercises.traces import kept

__all__ = [
    "check_batch_norm_for",
    "check_count_batch_norm",
    "check_fixed_net",
    "check_parameter_groups",
    "check_sequence_batch_norm",
]
_NORMS = nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d


@exercise
def check_count_batch_norm(count_batch_norm: Callable[[nn.Module], tuple[int, int]]) -> str:
    """Check `count_batch_norm(net)`: numbers trained and numbers kept as buffers in all batch-norm layers."""
    plain = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.GroupNorm(1, 5), nn.Linear(4, 4))
    everything = sum(p.numel() for p in plain.parameters())
    with kept(net=plain):
        got = _pair(count_batch_norm(plain))
    expect(got[0] != everything, "you counted the parameters of all layers, not those of batch norm alone.")
    expect(got[0] != 20, "GroupNorm is no batch norm, though it has a weight and a bias, too.")
    expect(got[0] == 10, f"BatchNorm2d(5) has 5 scales and 5 shifts: expected 10 trained numbers, got {got[0]}.")
    expect(got[1] != 10, "num_batches_tracked is a buffer, too: one number a layer.")
    expect(got[1] == 11, f"expected 5 + 5 + 1 = 11 numbers in the buffers of BatchNorm2d(5), got {got[1]}.")
    nested = nn.Sequential(nn.Sequential(nn.Sequential(nn.BatchNorm1d(3)), nn.BatchNorm3d(2)), plain)
    got = _pair(count_batch_norm(nested))
    expect(got != (0, 0), "layers inside of blocks were missed: look at net.modules().")
    expect(got == (20, 23), f"expected (20, 23) for BatchNorm1d(3), 3d(2) and 2d(5) in nested blocks, got {got}.")
    bare = nn.Sequential(nn.BatchNorm1d(3, affine=False), nn.BatchNorm1d(4, track_running_stats=False))
    kin = nn.Sequential(nn.InstanceNorm2d(3, affine=True, track_running_stats=True), nn.BatchNorm2d(7), nn.LayerNorm(2))
    for net, right, what in (
        (bare, (8, 7), "a layer may lack parameters (affine=False) or buffers"),
        (kin, (14, 15), "instance norm and layer norm are no batch norms"),
        (nn.BatchNorm3d(2), (4, 5), "a net may be a single layer, here BatchNorm3d(2)"),
    ):
        got = _pair(count_batch_norm(net))
        expect(got == right, f"{what}: expected {right}, got {got}.")
    return "counted 1d, 2d and 3d in nested blocks, with and without parameters and buffers."


@exercise
def check_batch_norm_for(batch_norm_for: Callable[[tuple[int, ...]], nn.Module]) -> str:
    """Check `batch_norm_for(shape)`: the batch-norm layer that takes an input of this shape."""
    for shape, axes in {(6, 3): 1, (6, 3, 5): 1, (6, 4, 5, 2): 2, (2, 4, 3, 5, 6): 3}.items():
        layer: Any = batch_norm_for(torch.Size(shape))
        expect(isinstance(layer, nn.Module), f"return a layer, ready to be called; got a {type(layer).__name__}.")
        wanted, name = f"BatchNorm{axes}d", type(layer).__name__
        expect(name == wanted, f"for shape {shape} {wanted} is right, but you returned {name}.")
        C = layer.num_features
        if shape[1] != C:
            places = {shape[-1]: "the last axis", shape[0]: "the batch axis", len(shape): "the number of axes"}
            hint = f", which is {places[C]}" if C in places else ""
            expect(False, f"for shape {shape} the channels are on axis 1: {shape[1]}, but you took {C}{hint}.")
        layer(torch.zeros(shape))
    expect(batch_norm_for((6, 3)) is not batch_norm_for((6, 3)), "return a new layer in each call.")
    for shape in ((9,), (2, 3, 4, 5, 6, 7)):
        try:
            layer = batch_norm_for(shape)
        except ValueError as error:
            told = str(len(shape)) in str(error) or all(str(n) in str(error) for n in shape)
            expect(told, f"the error must say what it got: {len(shape)} axes, or the shape {shape}.")
        else:
            expect(False, f"no layer takes the {len(shape)} axes of {shape}: raise a ValueError that says so.")
    return "the right layer and the right number of channels for two to five axes, an error for one and six."


@exercise
def check_sequence_batch_norm(make: Callable[[int], nn.Module]) -> str:
    """Check `SequenceBatchNorm(num_features)`: batch norm of (N, T, C), the features on the last axis."""
    N, T, C, eps = 2, 4, 4, 1e-5  # T = C: where a wrong axis raises no error; feature 0 has a variance like eps
    X = randn(N, T, C)
    X = X * torch.tensor([0.004, 2, 1, 3]) + torch.arange(C)
    gamma, beta = torch.tensor([0.5, 2, -1, 3]).double(), torch.tensor([1, -2, 0.5, 4]).double()
    layer = make(C).double()
    two = sorted((p for p in layer.parameters() if p.numel() == C), key=lambda p: p.sum().item())
    expect(len(two) == 2, f"it must have a scale (ones) and a shift (zeros) for each of the {C} features.")
    for p, start, value in zip(two, (0, 1), (beta, gamma), strict=True):
        wrong = f"a new layer must shift by 0 and scale by 1, but it starts with {p.flatten().tolist()}"
        expect(bool((p == start).all()), f"{wrong} where it must be {start}.")
        p.data.copy_(value.view_as(p))
    given, exact = X.clone().requires_grad_(), X.clone().requires_grad_()
    Y, expected = layer(given), normalized(exact, (0, 1), gamma, beta)
    expect_close(Y, expected, "the output in training", {
        "each step was normalized by itself; a feature shares its statistics over all steps of the batch":
            normalized(X, (0,), gamma, beta),
        "the steps were taken for the channels; swap the axes, and not by view, which keeps the numbers in their order":
            normalized(X, (0, 2), gamma[:, None], beta[:, None]),
        "each step was normalized over its features: that is layer norm": normalized(X, (2,), gamma, beta),
        "each sequence was normalized by itself: that is instance norm": normalized(X, (1,), gamma, beta),
        "the variance was divided by n - 1; normalize with the one divided by n":
            normalized(X, (0, 1), gamma, beta, correction=1),
        "eps belongs inside the square root": (X - X.mean((0, 1))) / (X.std((0, 1), correction=0) + eps) * gamma + beta,
    }, rtol=1e-6, atol=1e-6)  # fmt: skip
    expect(bool((given.detach() == X).all()), "the input was changed in place; leave it as it was.")
    upstream = torch.arange(Y.numel()).view_as(Y).sin()
    (Y * upstream).sum().backward()
    (truth,) = torch.autograd.grad((expected * upstream).sum(), exact)
    right = given.grad is not None and torch.allclose(given.grad, truth, rtol=1e-4)
    expect(right, "the gradient of the input is not right: mean and variance depend on the input, too.")
    copy.deepcopy(layer)  # fails if the statistics keep the graph
    state = {name.rpartition(".")[2]: t for name, t in layer.state_dict().items()}
    saved = {"running_mean", "running_var"} <= set(state)
    expect(saved, "state_dict must hold running_mean and running_var, as that of nn.BatchNorm1d does.")
    mean, var = (state[name].flatten() for name in ("running_mean", "running_var"))
    batch_mean, batch_var = X.mean((0, 1)), X.var((0, 1))
    old = {"0.1 is the share of the new batch, not of the old value": 0.9 * batch_mean}
    expect_close(mean, 0.1 * batch_mean, "running_mean after one batch", old)
    n = {"torch.nn moves it with the variance divided by n - 1": 0.9 + 0.1 * batch_var * (N * T - 1) / (N * T)}
    expect_close(var, 0.9 + 0.1 * batch_var, "running_var after one batch", n)
    layer.eval()
    by_running = (X - mean) / (var + eps).sqrt() * gamma + beta
    own = {"it still normalizes with the batch's own statistics": normalized(X, (0, 1), gamma, beta)}
    expect_close(layer(X), by_running, "the output in evaluation", own)
    with torch.no_grad():
        expect_close(layer.train()(X), expected.detach(), "the output in training, under no_grad")
        far = (X[:, :3] * torch.tensor([250, 1, 1, 1]) + 1e4).float()  # and T is not C
        got, far_expected = make(C).float()(far), normalized(far.double(), (0, 1), torch.ones(C), torch.zeros(C))
    expect_close(got, far_expected.float(), "the output for a mean of 10,000 in float32", rtol=0.05, atol=0.05)
    counted = [int(t) for name, t in layer.state_dict().items() if name.endswith("num_batches_tracked")]
    expect(counted == [2], "state_dict must hold num_batches_tracked, one more after each batch, as in nn.BatchNorm1d.")
    return "features normalized over batch and steps, also where T = C; gradient, saved statistics and evaluation."


@exercise
def check_parameter_groups(parameter_groups: Callable[[nn.Module, float], list[dict]]) -> str:
    """Check `parameter_groups(net, weight_decay)`: two groups, decay for the weights of other layers alone."""
    net = net_with_norms()
    with kept(net=net):
        other = parameter_groups(net, 0.5)
        groups = parameter_groups(net, 0.25)
    expect(isinstance(groups, list) and len(groups) == 2, "return a list of two groups.")
    right = all({"params", "weight_decay"} <= set(g) for g in groups)
    expect(right, 'each group is a dict with the keys "params" and "weight_decay".')
    groups = [g | {"params": list(g["params"])} for g in groups]
    decays = sorted(g["weight_decay"] for g in groups)
    expect(decays == [0, 0.25], f"one group must have weight_decay 0, the other the given 0.25; got {decays}.")
    decays = sorted(g["weight_decay"] for g in other)
    expect(decays == [0, 0.5], f"one group must have weight_decay 0, the other the given 0.5; got {decays}.")
    decay_of = {}
    for group in groups:
        for p in group["params"]:
            expect(id(p) not in decay_of, "a parameter is in the groups twice; the optimizer refuses that.")
            decay_of[id(p)] = group["weight_decay"]
    for name, p in net.named_parameters():
        owner = net.get_submodule(name.rpartition(".")[0])
        kind, last = type(owner).__name__, name.rpartition(".")[2]
        kind = "net itself" if owner is net else kind
        expect(id(p) in decay_of, f"the {last} of a {kind} is in no group, so it would never be trained.")
        exempt = isinstance(owner, (*_NORMS, nn.LayerNorm)) or last == "bias"
        wrong = f"the {last} of a {kind} " + ("must not decay." if exempt else "must decay.")
        expect(decay_of[id(p)] == (0 if exempt else 0.25), wrong)
    expect(len(decay_of) == len(list(net.parameters())), "the groups hold parameters that are not the net's.")
    torch.optim.SGD(groups, lr=0.1)
    return "decay for the weights of linear and conv layers, none for biases and norms, every parameter once."


@exercise
def check_fixed_net(make: Callable[[], nn.Module]) -> str:
    """Check `FixedNet()`: the repaired net, by its behaviour and by what it saves."""
    net, X = make().train(), torch.rand(6, 1, 28, 28)
    calls = {}
    norms = [m for m in net.modules() if hasattr(m, "running_mean")]  # lazy layers and d2lnorm's, too
    for norm in norms:
        norm.register_forward_hook(lambda m, *_: calls.update({m: calls.get(m, 0) + 1}))
    expect((logits := net(X)).shape == (6, 10), f"expected logits of shape (6, 10), got {described(logits)}.")
    expect(max(calls.values(), default=1) == 1, "a batch norm is used twice: it mixes the statistics of two layers.")
    means = [len(t) for name, t in net.state_dict().items() if name.endswith("running_mean")]
    expect(32 in means, "the batch norm of 32 features is missing in state_dict: a plain list hides its layers.")
    expect(sorted(means) == [8, 8, 32], f"expected batch norms of 8, 8 and 32 features in state_dict, got {means}.")
    expect(len(calls) == 3, "a batch norm is in state_dict, but never used.")
    biases = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear) and m.bias is not None]
    expect(biases != [], "the last linear layer has no batch norm behind it and needs its bias.")
    expect(len(biases) == 1, "a layer in front of a batch norm has a bias that does nothing; the last alone needs it.")
    F.cross_entropy(logits, torch.arange(6)).backward()
    expect(all(p.grad is not None for p in net.parameters()), "some parameters get no gradient.")
    with torch.no_grad(), kept(net=net.eval()):
        pair, together = net(X[:2]), net(X)
    expect(torch.allclose(pair, together[:2], rtol=1e-3, atol=1e-4), "predictions depend on the rest of the batch.")
    expect_meant(net, norms, X)
    return "three batch norms, each for one layer, saved, trained, quiet in evaluation, and no redundant bias."


def _pair(counts: Any) -> tuple[int, int]:
    pair = isinstance(counts, tuple) and len(counts) == 2
    expect(pair, f"return a tuple (parameters, buffers), not {described(counts)}.")
    parameters, buffers = (number(n, "a number of numbers") for n in counts)
    return int(parameters), int(buffers)

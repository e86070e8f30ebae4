"""Checks of the exercises on running statistics, training and evaluation, saving and loading."""

import copy
import io
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from d2lnorm.course.exercises.feedback import exercise, expect, expect_close, raises
from d2lnorm.course.exercises.nets import expect_state
from d2lnorm.course.exercises.traces import forbidden

__all__ = ["check_batch_norm_1d", "check_freeze_batch_norm", "check_load", "check_momentum_for"]

BOOKS = "momentum was taken in the book's convention, the weight of the old value; PyTorch's weighs the new"


@exercise
def check_momentum_for(momentum_for: Callable) -> str:
    """Check `momentum_for(batches, share)`: PyTorch's momentum that leaves `share` of the start."""
    for batches, share in ((10, 0.5), (100, 0.01), (3, 0.2), (1, 0.25)):
        left = share ** (1 / batches)
        mistakes = {
            BOOKS: left,
            "with each batch the share shrinks by a factor, not by an amount": (1 - share) / batches,
            "ln(share) / batches is close for tiny momenta only": -math.log(share) / batches,
        }
        expect_close(momentum_for(batches, share), 1 - left, f"momentum_for({batches}, {share})", mistakes)
    return "after as many batches, just that share of the start is left, for four pairs of numbers."


def _small_net() -> nn.Sequential:
    """A net with both kinds of BN, a dropout, and nothing at 0 or 1."""
    first, last = nn.BatchNorm2d(2), nn.BatchNorm1d(4)
    head = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(8, 4), last)
    net = nn.Sequential(nn.Conv2d(1, 2, 2), first, nn.ReLU(), head)
    for t in (*first.state_dict().values(), *last.state_dict().values()):
        nn.init.uniform_(t, 0.5, 2.0) if t.is_floating_point() else t.fill_(7)
    return net


@exercise
def check_load(load: Callable) -> str:
    """Check `load(net, file)`: everything is loaded, nothing is missed in silence, the net is ready to predict."""
    expected: Any = _small_net().state_dict()
    net = _small_net().train()
    for t in (t for name, t in expected.items() if "tracked" in name):
        t.fill_(9)
    parameters = list(net.parameters())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "net.params")
        torch.save(expected, path)
        expect(load(net, path) is net, "load must fill the given net and return it.")
    same = all(p is q for p, q in zip(parameters, net.parameters(), strict=True))
    expect(same, "the parameters were replaced by new ones; an optimizer would go on changing the old ones.")
    for name, t in net.state_dict().items():
        hint = "" if name.endswith(("weight", "bias")) else "named_parameters() lists no buffers, state_dict() does."
        expect(torch.equal(t, expected[name]), f"{name} was not loaded. {hint}")
    modes = "after loading, the net is in training mode; the mode is not in the file, so it needs eval()."
    expect(not any(m.training for m in net.modules()), modes)
    for name in expected:
        lacking, file = copy.copy(expected), io.BytesIO()  # with its version
        del lacking[name]
        torch.save(lacking, file)
        file.seek(0)
        silent = f"a file without {name} was loaded without an error; that is how things get lost."
        expect(raises(Exception, load, _small_net(), file), silent)
    return "the whole state is loaded, gaps are reported, and the net is ready to predict."


@exercise
def check_freeze_batch_norm(freeze_batch_norm: Callable) -> str:
    """Check `freeze_batch_norm(net)`: BN stays in evaluation mode through `net.train()`; the rest does not."""
    net, X = _small_net().train(), torch.randn(5, 1, 3, 3)
    before = copy.deepcopy(net.state_dict())
    expect(freeze_batch_norm(net) is net, "freeze_batch_norm must return the net that it was given.")
    expect(list(net.state_dict()) == list(before), "the keys of the net's state_dict must stay as they were.")
    layers: dict[str, Any] = {"1.": net.get_submodule("1"), "3.3.": net.get_submodule("3.3")}
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    for path, layer in layers.items():
        layer.register_forward_hook(lambda layer, args, Y, path=path: seen.update({path: (args[0], Y)}))
    steps = {"at once": [], "after net.train()": [True], "after net.eval() and net.train()": [False, True]}
    for when, modes in steps.items():
        for mode in modes:
            net.train(mode)
        net(X).sum().backward()
        for path, layer in layers.items():
            name, statistics = type(layer).__name__, (before[path + "running_mean"], before[path + "running_var"])
            still = torch.equal(layer.running_mean, statistics[0]) and torch.equal(layer.running_var, statistics[1])
            expect(still, f"{when}, {name} still moves its statistics; only evaluation mode holds them still.")
            (inputs, Y), scale = seen[path], (layer.weight, layer.bias)
            own = F.batch_norm(inputs, None, None, *scale, True, 0.0, layer.eps)
            right = F.batch_norm(inputs, *statistics, *scale, False, 0.0, layer.eps)
            mistakes = {"the statistics stand still, but the batch's own are used to normalize": own}
            expect_close(Y, right, f"{when}, the output of {name}", mistakes)
    expect(not net.eval().get_submodule("3.1").training, "after net.eval(), dropout must be off, as ever.")
    expect(
        net.train().get_submodule("3.1").training,
        "after net.train(), dropout must be in training mode; freeze BN alone.",
    )
    trainable = all(p.requires_grad and p.grad is not None for p in net.parameters())
    expect(trainable, "all parameters must go on learning, BN's weight and bias as well; freeze the statistics.")
    for kind, images in ((nn.BatchNorm1d, torch.ones(5, 4)), (nn.BatchNorm3d, torch.ones(5, 4, 1, 1, 1))):
        for bn, frozen in ((freeze_batch_norm(kind(4)), True), (kind(4), False)):
            bn.train()(images)
            what = (
                f"net that is itself a {kind.__name__} is not frozen"
                if frozen
                else f"new {kind.__name__} is frozen, too"
            )
            expect(
                bool(bn.get_buffer("running_mean").any()) != frozen,
                f"a {what}: change the net that you get, and nothing else.",
            )
    return "BN stays frozen through every net.train(); all else goes on learning."


@exercise
def check_batch_norm_1d(BatchNorm1d: Callable) -> str:
    """Check a stand-in for `nn.BatchNorm1d(num_features, eps, momentum)`: results, statistics, state and modes."""
    layer, twin = BatchNorm1d(3, eps=0.5, momentum=0.3), nn.BatchNorm1d(3, eps=0.5, momentum=0.3)
    expect_state(layer, twin)  # as both start, before another state is loaded
    for t in twin.state_dict().values():
        t.copy_(torch.rand(t.shape) + 0.5 if t.is_floating_point() else 4)
    layer.load_state_dict(twin.state_dict())
    for X in (torch.randn(3, 3) * 2 + 1, torch.randn(2, 3, 2), torch.randn(1, 3, 4)):  # 3 or 4 values per channel
        _check_training(layer, twin, X)
    _check_modes(layer, twin)
    still = BatchNorm1d(3, momentum=0.0)
    still(torch.randn(4, 3) + 5)
    expect(not still.running_mean.any(), "with momentum=0 nothing may move: 0 is a number, None is none.")
    double, X = BatchNorm1d(3).double(), torch.randn(4, 3).double()
    expect_close(double(X), nn.BatchNorm1d(3).double()(X).detach(), "the output in float64", rtol=1e-9)
    averaging, batches = BatchNorm1d(3, momentum=None), torch.randn(4, 5, 3)
    for X in batches:
        averaging(X)
    for name, t in (("mean", batches.mean(dim=1)), ("var", batches.var(dim=1))):
        expect_close(getattr(averaging, f"running_{name}"), t.mean(dim=0), f"with momentum=None, running_{name}")
    X = torch.randn(4, 3) + 1e4
    right = nn.BatchNorm1d(3).double()(X.double()).float()
    large = "the output for values around 10,000 (beware of E[x^2] - E[x]^2)"
    expect_close(BatchNorm1d(3)(X), right, large, atol=0.02)
    expect(raises(ValueError, BatchNorm1d(3), torch.ones(1, 3)), "raise ValueError for one row in training.")
    return "output, gradient, statistics, state and modes are those of nn.BatchNorm1d."


def _check_training(layer: Any, twin: nn.BatchNorm1d, X: Tensor) -> None:
    axes, like = [0, *range(2, X.dim())], [1, 3] + [1] * (X.dim() - 2)
    new_mean, new_var = twin.get_buffer("running_mean"), twin.get_buffer("running_var")
    old_mean, old_var = new_mean.clone(), new_var.clone()
    biased, mean = torch.var_mean(X, axes, correction=0)
    unbiased, centred = X.var(axes), X - mean.view(like)
    w, b = twin.weight.detach().view(like), twin.bias.detach().view(like)
    x, x_twin = X.clone().requires_grad_(), X.clone().requires_grad_()
    with forbidden("batch_norm", asked="without using nn.BatchNorm1d or F.batch_norm"):
        Y = layer(x)
    right = twin(x_twin)
    expect(torch.equal(x, X), "the input was changed in place; the caller may still need it.")
    wrong = {
        "it was normalized with the unbiased variance": w * centred / (unbiased.view(like) + 0.5).sqrt() + b,
        "eps belongs inside the square root": w * centred / (biased.view(like).sqrt() + 0.5) + b,
    }
    expect_close(Y, right.detach(), f"the output for shape {tuple(X.shape)}", wrong)
    expect_close(layer.running_mean, new_mean, "running_mean", {BOOKS: 0.3 * old_mean + 0.7 * mean})
    wrong = {
        "the biased variance went in; PyTorch stores the unbiased one, divided by n - 1": 0.7 * old_var + 0.3 * biased,
        BOOKS: 0.3 * old_var + 0.7 * unbiased,
    }
    expect_close(layer.running_var, new_var, "running_var", wrong)
    counted = layer.num_batches_tracked.equal(twin.get_buffer("num_batches_tracked"))
    expect(counted, "num_batches_tracked must grow by 1 with each batch in training mode.")
    free = not (layer.running_mean.requires_grad or layer.running_var.requires_grad)
    expect(free, "the running statistics keep the autograd graph, so copy.deepcopy(layer) fails: detach them.")
    out = torch.randn(X.shape)
    (Y * out).sum().backward()
    (gradient,) = torch.autograd.grad((right * out).sum(), x_twin)
    scale = twin.weight.detach().view(like) / (biased.view(like) + 0.5).sqrt()
    lost = "the gradient misses the way through mean and variance: compute these with gradients recorded"
    expect_close(x.grad, gradient, "the gradient of the input", {lost: out * scale})
    copy.deepcopy(layer)


def _check_modes(layer: nn.Module, twin: nn.Module) -> None:
    X, old = torch.randn(4, 3) * 2 + 1, copy.deepcopy(layer.state_dict())
    rule = "the mode was taken from torch.is_grad_enabled(); it is self.training that train() and eval() set"
    by_batch, right = copy.deepcopy(twin)(X).detach(), twin.eval()(X).detach()
    expect_close(layer.eval()(X), right, "the output after eval(), gradients recorded", {rule: by_batch})
    expect(not raises(ValueError, layer, X[:1]), "after eval(), one row alone must do; refuse it in training only.")
    for k, t in layer.state_dict().items():
        expect(torch.equal(t, old[k]), f"in evaluation mode {k} must stay as it is.")
    with torch.no_grad():
        by_running, right, Y = twin(X), twin.train()(X), layer.train()(X)
    expect_close(Y, right, "the output after train(), under no_grad", {rule: by_running})

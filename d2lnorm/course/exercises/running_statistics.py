"""Checks of the exercises on running statistics, training and evaluation, saving and loading."""

import copy
import io
import itertools
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from d2lnorm.course.exercises.common.feedback import NotYet, exercise, expect, expect_close, raises
from d2lnorm.course.exercises.common.frozen import expect_frozen
from d2lnorm.course.exercises.common.nets import BATCH_NORMS, NetWithStatistics, SubclassOfBatchNorm2d
from d2lnorm.course.exercises.common.traces import kept, untouched
from d2lnorm.course.exercises.common.twins import (
    BOOKS,
    expect_learning,
    expect_state,
    expect_twin,
    learning,
)

__all__ = ["check_batch_norm_1d", "check_freeze_batch_norm", "check_load", "check_momentum_for"]


@exercise
def check_momentum_for(momentum_for: Callable) -> str:
    """Check `momentum_for(batches, share)`: PyTorch's momentum that leaves `share` of the start."""
    torch.rand(1)  # so that an answer's torch.manual_seed(0) shows
    for batches, share in ((10, 0.3), (100, 0.01), (3, 0.2), (1, 0.25)):
        left = share ** (1 / batches)
        mistakes = {
            BOOKS: left,
            "with each batch the share shrinks by a factor, not by an amount": (1 - share) / batches,
            "-ln(share) / batches is close for tiny momenta only": -math.log(share) / batches,
        }
        with kept(generator=True):
            momentum = momentum_for(batches, share)
        expect_close(momentum, 1 - left, f"momentum_for({batches}, {share})", mistakes)
    return "after as many batches, just that share of the start is left, for four pairs of numbers."


@exercise
def check_load(load: Callable) -> str:
    """Check `load(net, file)`: everything is loaded, nothing is missed in silence, the net is ready to predict."""
    for make, saved in (
        (NetWithStatistics, torch.float32),
        (lambda: NetWithStatistics(torch.float64).bn, torch.float64),
        (lambda: NetWithStatistics(torch.float64), torch.float32),
    ):
        expected: Any = make().to(saved).state_dict()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "net.params")
            torch.save(expected, path)
            for file in (path, str(path), io.BytesIO(path.read_bytes())):
                _check_loaded(load, make().train(), file, expected)
            for name, instead in zip(expected, itertools.cycle(("_old", "")), strict=False):  # as many, or one less
                lacking = copy.copy(expected)  # with its version
                lacking.update({name + instead: expected[name]})
                del lacking[name]
                torch.save(lacking, path)
                what = f"with {name}_old instead of {name}" if instead else f"without {name}"
                silent = f"a file saved anew under the same path, {what}, was loaded without an error."
                expect(raises(Exception, load, make(), path), silent)
    return "the whole state is loaded, gaps are reported, and the net is ready to predict."


def _check_loaded(load: Callable, net: nn.Module, file: Any, expected: dict[str, Tensor]) -> None:
    before, types = learning(net), {name: t.dtype for name, t in net.state_dict().items()}
    with untouched():
        expect(load(net, file) is net, "load must fill the given net and return it.")
    state = net.state_dict()
    buffers = [name for name in expected if not name.endswith(("weight", "bias"))]
    lost = [name for name in buffers if not torch.equal(state[name].double(), expected[name].double())]
    rest = "though other buffers are; every buffer of the net must be loaded"
    rest = "nor is any other buffer: named_parameters() lists none, state_dict() does" if lost == buffers else rest
    for name, t in state.items():
        expect(name not in lost, f"after loading, {name} is not what the file holds, {rest}.")
        what = "" if expected[name].dtype == types[name] else f" a {expected[name].dtype} file into a {types[name]} net"
        expect_close(t, expected[name].to(types[name]), f"after loading{what}, {name}", rtol=0, atol=0)
    modes = "after loading, layers are in training mode; the mode is not in the file, so all of the net needs eval()."
    expect(not any(m.training for m in net.modules()), modes)
    expect_learning(net, before)


@exercise
def check_freeze_batch_norm(freeze_batch_norm: Callable) -> str:
    """Check `freeze_batch_norm(net)`: BN stays in evaluation mode through `net.train()`; the rest does not."""
    for mode, dtype in ((True, torch.float32), (False, torch.float64)):
        net = NetWithStatistics(dtype).train(mode)
        net.head["drop"].train(not mode)
        others = {m: m.training for m in net.modules() if not isinstance(m, BATCH_NORMS)}
        frozen, before = copy.deepcopy(net.state_dict()), learning(net)
        with untouched():
            expect(freeze_batch_norm(net) is net, "freeze_batch_norm must return the net that it was given.")
        state = net.state_dict()
        added, gone = (", ".join(k for k in a if k not in b) or "none" for a, b in ((state, frozen), (frozen, state)))
        expect(list(state) == list(frozen), f"the keys of net.state_dict() must stay; new: {added}; gone: {gone}.")
        changed = ", ".join(k for k, t in state.items() if not torch.equal(t, frozen[k]))
        expect(not changed, f"freeze_batch_norm itself changed {changed}; freezing must leave all numbers as they are.")
        expect_frozen(net, frozen, others, "right after freeze_batch_norm(net), before any net.train()")
        for when, asked in {"net.train()": True, "net.eval()": False, "net.eval() and net.train()": True}.items():
            try:
                returned = net.train(asked)
            except TypeError as error:
                raise NotYet(f"after freeze_batch_norm(net), net.train({asked}) fails: {error}.") from error
            expect(returned is net, f"after freeze_batch_norm(net), net.train({asked}) must return net, as before.")
            expect_frozen(net, frozen, dict.fromkeys(others, asked), f"after {when}")
        loaded = NetWithStatistics(torch.float64).state_dict()
        net.double().load_state_dict(loaded)
        expect_frozen(net, loaded, {}, "after net.double() and net.load_state_dict(...)")
        expect_learning(net, before)
        for name, p in net.named_parameters():
            said = f"{name} gets {'no gradient any more' if p.requires_grad else 'a gradient now'}"
            same = p.requires_grad == (p.grad is not None)
            expect(same, f"{said}, but all parameters, BN's too, must go on learning as before.")
    for kind, axes, affine in ((nn.BatchNorm1d, 0, False), (SubclassOfBatchNorm2d, 2, True), (nn.BatchNorm3d, 3, True)):
        alone, new = kind(4, affine=affine), kind(4)
        freeze_batch_norm(alone)
        less = "" if affine else " without weight and bias"
        sort = "subclass of nn.BatchNorm2d" if kind is SubclassOfBatchNorm2d else f"{kind.__name__}{less}"
        itself = f"a net that is itself a {sort}"
        after = f"after freeze_batch_norm(net) for {itself}, net.train()"
        try:
            trained = alone.train()
        except TypeError as error:
            raise NotYet(f"{after} without an argument fails: {error}.") from error
        expect(trained is alone, f"{after} must return net, as before.")
        for bn in (alone, new.train()):
            bn(torch.ones(5, 4, *[1] * axes))
        expect(not alone.get_buffer("running_mean").any(), f"{itself} is not frozen: a batch moved its running_mean.")
        said = f"a {kind.__name__} of another net is frozen, too: change this net's layers, no class, nothing global. "
        expect(bool(new.get_buffer("running_mean").any()), f"{said}Then restart the kernel, which keeps the change.")
    return "BN stays frozen through every net.train(); all else goes on learning."


@exercise
def check_batch_norm_1d(BatchNorm1d: Callable) -> str:
    """Check a stand-in for `nn.BatchNorm1d(num_features, eps, momentum)`: results, statistics, state and modes."""
    for dtype, (layer, twin), size in (
        (torch.float64, _pair(BatchNorm1d, 3, 0.5, 0.3), 2.0),
        (torch.float32, _pair(BatchNorm1d, 5, eps=0.1, momentum=None), 1.0),
        (torch.float32, _pair(BatchNorm1d, 1, eps=0.5, momentum=0.0), 1.0),  # 0, which is false
        (torch.float64, _pair(BatchNorm1d, 4), 0.01),  # small: the default eps shows
    ):
        X = torch.randn(3, twin.to(dtype).num_features, 2, dtype=dtype) + 1
        for training in (False, True):  # before any batch, and at the first
            expect_twin(layer.to(dtype).train(training), twin.train(training), X)
        for t in twin.state_dict().values():
            t.copy_(torch.rand(t.shape) + 0.5 if t.is_floating_point() else 20)
        layer.load_state_dict(twin.state_dict())
        C = twin.num_features
        shapes = torch.randn(C, 4).T, torch.randn(2, C, 2), torch.randn(1, C, 4), torch.randn(2, 3, C).mT
        for X in (*shapes, torch.randn(2, C, 1)):  # few values per channel: n - 1 shows
            for training, recorded in ((True, True), (False, True), (True, False)):
                with torch.set_grad_enabled(recorded):
                    expect_twin(layer.train(training), twin.train(training), X.to(dtype) * size + 1)
        said = "after eval(), one row alone must do; refuse it in training only."
        expect(not raises(ValueError, layer.eval(), torch.ones(1, C, dtype=dtype)), said)
    X = torch.randn(4, 3) + 1e4
    right = nn.BatchNorm1d(3).double()(X.double()).float()
    large = "the output for values around 10,000 (beware of E[x^2] - E[x]^2)"
    expect_close(BatchNorm1d(3)(X), right, large, atol=0.02)
    for X in (torch.ones(1, 3), torch.ones(1, 3, 1)):
        what, raised = f"in training, for shape {tuple(X.shape)}, raise a ValueError", "nothing"
        try:
            BatchNorm1d(3)(X)
        except Exception as error:
            raised = type(error).__name__ if not isinstance(error, ValueError) else ""
        expect(not raised, f"{what}; your code raised {raised}.")
    return "output, gradient, statistics, state and modes are those of nn.BatchNorm1d."


def _pair(BatchNorm1d: Callable, *arguments: Any, **settings: Any) -> tuple[Any, nn.BatchNorm1d]:
    torch.rand(1)  # so that an answer's torch.manual_seed(0) shows
    with kept(generator=True):
        layer, twin = BatchNorm1d(*arguments, **settings), nn.BatchNorm1d(*arguments, **settings)
    expect_state(layer, twin)
    expect(not isinstance(layer, BATCH_NORMS), "write it without using nn.BatchNorm1d; do not inherit from it either.")
    return layer, twin

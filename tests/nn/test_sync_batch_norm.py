"""`SyncBatchNorm` in real processes, beside batch norm of the whole batch in one process."""

import copy

import pytest
import torch
from layer_oracle import fill
from torch import distributed, nn

import d2lnorm
from d2lnorm.course.processes import run_in_processes

SHARES = {2: [(4, 3), (1, 6), (7, 0), (0, 7)], 3: [(3, 2, 2), (5, 0, 2), (1, 0, 0)]}
OPTIONS = [{}, {"momentum": None}, {"affine": False}, {"bias": False}, {"track_running_stats": False, "eps": 0.1}]
SHAPES = [(3,), (3, 5), (3, 2, 4)]


def whole(shape, options, n):
    """A filled layer of torch.nn, an input of n examples, and a gradient of its output."""
    kind = {1: nn.BatchNorm1d, 2: nn.BatchNorm1d, 3: nn.BatchNorm2d}[len(shape)]
    layer = kind(3, **options).double()
    fill(layer)
    generator = torch.Generator().manual_seed(n)
    X, dY = torch.randn(2, n, *shape, generator=generator, dtype=torch.float64)
    return layer, 3 * X + 5, dY


def by_share(cases):
    """In each process: output, gradients and buffers for its share of every case."""
    results = []
    for shape, options, shares in cases:
        theirs, X, dY = whole(shape, options, sum(shares))
        ours = d2lnorm.SyncBatchNorm.convert_sync_batchnorm(theirs)
        rank = distributed.get_rank()
        mine = X.split(shares)[rank].clone().requires_grad_()
        for _ in range(2):  # the second step enters the average with another weight
            Y = ours(mine)
        Y.backward(dY.split(shares)[rank])
        results.append((Y.detach(), mine.grad, {n: p.grad for n, p in ours.named_parameters()}, ours.state_dict()))
    return results


@pytest.mark.parametrize("number", SHARES)
def test_processes_compute_what_one_computes_for_the_whole_batch(number):
    cases = [(shape, options, shares) for shape in SHAPES for options in OPTIONS for shares in SHARES[number]]
    cases = [(shape, o, shares) for shape, o, shares in cases if sum(shares) > 1 or len(shape) > 1]
    ranks = run_in_processes(number, by_share, cases=cases)
    for (shape, options, shares), *parts in zip(cases, *ranks, strict=True):
        layer, X, dY = whole(shape, options, sum(shares))
        X.requires_grad_()
        for _ in range(2):
            Y = layer(X)
        Y.backward(dY)
        outputs, grads, of_parameters, states = zip(*parts, strict=True)
        close = {"rtol": 0, "atol": 1e-10}
        torch.testing.assert_close(torch.cat(outputs), Y.detach(), **close)
        torch.testing.assert_close(torch.cat(grads), X.grad, **close)
        for name, p in layer.named_parameters():
            torch.testing.assert_close(sum(part[name] for part in of_parameters), p.grad, **close)
        for state in states:  # every process holds the same buffers
            torch.testing.assert_close(state, layer.state_dict(), **close)


class Shared(torch.autograd.Function):
    """This process's share of X; the gradients of all shares come back together."""

    @staticmethod
    def forward(ctx, X, shares):
        ctx.shares = shares
        return X.split(shares)[distributed.get_rank()].clone()

    @staticmethod
    def backward(ctx, dY):
        return together(dY, ctx.shares), None


class Gathered(torch.autograd.Function):
    """All processes' outputs together; each takes its share of the gradient."""

    @staticmethod
    def forward(ctx, Y, shares):
        ctx.shares = shares
        return together(Y, shares)

    @staticmethod
    def backward(ctx, dY):
        return dY.split(ctx.shares)[distributed.get_rank()], None


def together(mine, shares):
    whole = torch.zeros(sum(shares), *mine.shape[1:], dtype=mine.dtype)
    whole.split(shares)[distributed.get_rank()].copy_(mine)
    distributed.all_reduce(whole)
    return whole


def gradcheck_of(shares):
    layer = d2lnorm.SyncBatchNorm(2, track_running_stats=False).double()
    fill(layer)
    X = torch.randn(sum(shares), 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def function(X):
        return Gathered.apply(layer(Shared.apply(X, shares)), shares)

    return torch.autograd.gradcheck(function, X.requires_grad_())  # all processes take the same steps


def test_gradcheck_across_processes():
    assert run_in_processes(2, gradcheck_of, shares=(3, 1)) == [True, True]


def odds_and_ends():
    rank = distributed.get_rank()
    seen = {}
    for dtype in (torch.float16, torch.bfloat16):  # computed in float32, rounded once
        X = torch.linspace(-1, 1, 12).view(6, 2).to(dtype)
        Y = d2lnorm.SyncBatchNorm(2, dtype=dtype)(X[3 * rank : 3 * rank + 3])
        theirs = nn.BatchNorm1d(2)(X.float())[3 * rank : 3 * rank + 3]
        seen[dtype] = Y.dtype == dtype and torch.equal(Y.detach(), theirs.detach().to(dtype))
    layer = d2lnorm.SyncBatchNorm(2)
    try:
        layer(torch.ones(1 - rank, 2))  # one value in all
    except ValueError as error:
        seen["one value"] = str(error)
    seen["untouched"] = layer.num_batches_tracked.item()
    alone = distributed.new_group([0]), distributed.new_group([1])
    X = torch.arange(6.0).view(3, 2) * (rank + 1)
    small = d2lnorm.SyncBatchNorm(2, process_group=alone[rank])(X)
    seen["group of one"] = torch.allclose(small, nn.BatchNorm1d(2)(X), atol=1e-6)
    if rank == 0:  # evaluation asks nobody
        seen["evaluation"] = torch.equal(layer.eval()(X), nn.BatchNorm1d(2).eval()(X))
    return seen


def test_types_groups_modes_and_a_single_value():
    first, second = run_in_processes(2, odds_and_ends)
    assert first.pop("evaluation")
    for seen in (first, second):
        assert seen.pop("one value").startswith("Expected more than 1 value per channel when training, got one in all")
        assert seen == {torch.float16: True, torch.bfloat16: True, "untouched": 0, "group of one": True}


def one_dies():
    if distributed.get_rank() == 1:
        raise OSError("out of luck")
    d2lnorm.SyncBatchNorm(2)(torch.randn(4, 2))


def test_a_process_that_dies_ends_the_others_and_is_named():
    with pytest.raises(RuntimeError, match=r"^process 1 of 2 has failed(?s:.)*OSError: out of luck\n$"):
        run_in_processes(2, one_dies)


def test_who_waits_in_vain_is_told_for_what(monkeypatch):
    def closed(*_, **__):
        raise RuntimeError("Connection closed by peer")

    layer = d2lnorm.SyncBatchNorm(2)
    monkeypatch.setattr(layer, "_group", lambda: "two processes")
    monkeypatch.setattr(distributed, "get_world_size", lambda group: 2)
    monkeypatch.setattr(distributed, "all_gather", closed)
    with pytest.raises(RuntimeError, match="closed by peer") as caught:
        layer(torch.randn(4, 2))
    assert "did not answer" in caught.value.__notes__[0]


def test_convert_keeps_parameters_buffers_modes_and_sharing():
    shared = nn.BatchNorm1d(3, momentum=0.3, eps=0.01)
    frozen = d2lnorm.BatchNorm2d(4, affine=False).eval()
    net = nn.Sequential(nn.Sequential(shared, nn.Linear(3, 3)), shared, frozen, nn.InstanceNorm1d(3))
    fill(net)
    before, state = dict(net.named_parameters()), copy.deepcopy(net.state_dict())
    assert d2lnorm.SyncBatchNorm.convert_sync_batchnorm(net) is net
    assert net[0][0] is net[1]
    assert [type(m) for m in (net[1], net[2], net[3])] == [d2lnorm.SyncBatchNorm] * 2 + [nn.InstanceNorm1d]
    assert (net[1].momentum, net[1].eps, net[1].training, net[2].training) == (0.3, 0.01, True, False)
    assert all(p is before[name] for name, p in net.named_parameters())  # an optimizer goes on
    torch.testing.assert_close(net.state_dict(), state, rtol=0, atol=0)
    layer = d2lnorm.SyncBatchNorm.convert_sync_batchnorm(nn.BatchNorm3d(2))
    assert type(layer) is d2lnorm.SyncBatchNorm
    assert repr(layer) == repr(nn.SyncBatchNorm(2))


def test_the_books_layer_is_refused_and_nothing_changed():
    net = nn.Sequential(nn.BatchNorm1d(3), d2lnorm.BatchNorm(3, 2))
    with pytest.raises(TypeError, match="the book's"):
        d2lnorm.SyncBatchNorm.convert_sync_batchnorm(net)
    assert type(net[0]) is nn.BatchNorm1d

"""Recomputed running statistics: the plain average over the batches, and nothing else touched."""

import copy

import pytest
import torch
from torch import nn

import d2lnorm
from d2lnorm import recompute_running_statistics

BATCHES = [(torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(k)) * (k + 1) + k, None) for k in range(4)]


def layers():
    for m in (nn, d2lnorm):
        for momentum in (0.1, None, 1.0):
            yield m.BatchNorm2d(3, momentum=momentum)
        yield m.InstanceNorm2d(3, track_running_stats=True)
    yield d2lnorm.BatchNorm(3, 4)
    yield d2lnorm.BatchNorm(3, 4, momentum=0.5)


def statistics(m):
    return (m.moving_mean, m.moving_var) if isinstance(m, d2lnorm.BatchNorm) else (m.running_mean, m.running_var)


@pytest.mark.parametrize("layer", list(layers()), ids=str)
@pytest.mark.parametrize("spoiled", [False, True])
def test_the_plain_average(layer, spoiled):
    layer = copy.deepcopy(layer)
    if spoiled:  # a net that has diverged
        statistics(layer)[0].fill_(float("nan"))
        statistics(layer)[1].fill_(float("inf"))
    recompute_running_statistics(layer, BATCHES)
    axes = (2, 3) if "InstanceNorm" in type(layer).__name__ else (0, 2, 3)
    correction = 0 if isinstance(layer, d2lnorm.BatchNorm) else 1
    means = [X.mean(axes).view(-1, 3).mean(0) for X, _ in BATCHES]
    variances = [X.var(axes, correction=correction).view(-1, 3).mean(0) for X, _ in BATCHES]
    mean, var = statistics(layer)
    torch.testing.assert_close(mean.flatten(), torch.stack(means).mean(0))
    torch.testing.assert_close(var.flatten(), torch.stack(variances).mean(0))


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 3, 3, padding=1), d2lnorm.BatchNorm2d(3), nn.Dropout(0.5), nn.BatchNorm2d(3),
        d2lnorm.BatchNorm(3, 4), d2lnorm.Dropout(0.5), d2lnorm.InstanceNorm2d(3, track_running_stats=True),
        d2lnorm.BatchNorm2d(3, track_running_stats=False), d2lnorm.LayerNorm(4), d2lnorm.GroupNorm(1, 3),
    )  # fmt: skip


def test_nothing_else_is_touched():
    model = net()
    model[2].eval(), model[3].eval()  # a mixture of modes
    model(BATCHES[0][0])
    before, modes = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    buffers = {name: t.data_ptr() for name, t in model.named_buffers()}
    momenta = [getattr(m, "momentum", "none") for m in model.modules()]
    random = torch.get_rng_state()
    recompute_running_statistics(model, BATCHES)
    assert torch.equal(torch.get_rng_state(), random)
    assert [m.training for m in model.modules()] == modes
    assert [getattr(m, "momentum", "none") for m in model.modules()] == momenta
    assert {name: t.data_ptr() for name, t in model.named_buffers()} == buffers
    assert all(p.grad is None for p in model.parameters())
    for name, value in model.state_dict().items():
        moved = name.endswith(("_mean", "_var"))
        assert torch.equal(value, before[name]) != moved, name


def test_again_gives_the_same():
    model = net()
    recompute_running_statistics(model, BATCHES)
    first = copy.deepcopy(model.state_dict())
    recompute_running_statistics(model, BATCHES)
    for name, value in model.state_dict().items():
        assert torch.equal(value, first[name]), name


def test_no_batches():
    model = net()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match="no batch"):
        recompute_running_statistics(model, [])
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert model.training


@pytest.mark.parametrize("layer", list(layers()), ids=str)
@pytest.mark.parametrize("keyword", [False, True])
def test_an_input_without_elements_counts_for_nothing(layer, keyword):
    """A net that sends its examples to several branches may have none for one of them."""

    class Router(nn.Module):
        def __init__(self, layer, keep):
            super().__init__()
            self.layer, self.keep = layer, keep

        def forward(self, X):
            name = "X" if isinstance(self.layer, d2lnorm.BatchNorm) else "input"
            for part in (X[:0], X[: self.keep]) if self.keep else (X,):
                self.layer(**{name: part}) if keyword else self.layer(part)

    models = Router(copy.deepcopy(layer), 5), Router(copy.deepcopy(layer), None)
    recompute_running_statistics(models[0], BATCHES)
    recompute_running_statistics(models[1], [(X[:5], y) for X, y in BATCHES])
    for a, b in zip(models[0].state_dict().values(), models[1].state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert not statistics(models[0].layer)[0].eq(0).any()
    assert models[0].layer.training


def test_a_layer_that_has_seen_no_elements_keeps_its_statistics():
    class Branch(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn, self.never = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

        def forward(self, X):
            return self.bn(X), self.never(X[:0])

    model = Branch()
    model.never.running_mean.fill_(7)
    recompute_running_statistics(model, BATCHES)
    assert model.never.running_mean.eq(7).all()
    assert model.never.running_var.eq(1).all()


@pytest.mark.parametrize("fault", [RuntimeError, KeyboardInterrupt])
def test_an_error_on_the_way_restores_everything(fault):
    model = net()
    model(BATCHES[0][0])
    before = copy.deepcopy(model.state_dict())

    def batches():
        yield BATCHES[1]
        if fault is KeyboardInterrupt:
            raise fault
        yield torch.ones(2, 5, 4, 4), None

    with pytest.raises(fault):
        recompute_running_statistics(model, batches())
    assert all(m.training and not m._forward_pre_hooks for m in model.modules())
    assert model[1].momentum == 0.1
    assert model[4].momentum == 0.9
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("layer", [nn.BatchNorm1d(4), d2lnorm.BatchNorm1d(4), d2lnorm.BatchNorm(4, 2)], ids=str)
def test_a_batch_of_one_example_is_named_and_the_statistics_stay(layer):
    X = torch.randn(9, 4)
    layer(X)
    before = copy.deepcopy(layer.state_dict())
    with pytest.raises(ValueError, match="^batch 3 of data_iter holds 1 example, and the net refuses it .*batch size"):
        recompute_running_statistics(layer, d2lnorm.Batches(X, torch.arange(9), 4))
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


@pytest.mark.parametrize("make", [lambda: nn.BatchNorm2d(3), lambda: d2lnorm.BatchNorm2d(3)])
def test_a_layer_used_twice_averages_over_all_its_inputs(make):
    def twice(bn):
        return nn.Sequential(bn, nn.ReLU(), bn)

    layer, theirs = make(), nn.BatchNorm2d(3)
    recompute_running_statistics(twice(layer), BATCHES)
    torch.optim.swa_utils.update_bn([X for X, _ in BATCHES], twice(theirs))
    for a, e in zip(statistics(layer), statistics(theirs), strict=True):
        torch.testing.assert_close(a, e)


def test_a_layer_that_evaluation_does_not_reach_keeps_its_statistics():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn, self.auxiliary = d2lnorm.BatchNorm2d(3), d2lnorm.BatchNorm2d(3)

        def forward(self, X):
            return self.auxiliary(self.bn(X)) if self.training else self.bn(X)

    model = Net()
    model.auxiliary.running_mean.fill_(7)
    recompute_running_statistics(model, BATCHES)
    assert model.auxiliary.running_mean.eq(7).all()
    assert model.auxiliary.running_var.eq(1).all()
    assert not model.bn.running_mean.eq(0).any()

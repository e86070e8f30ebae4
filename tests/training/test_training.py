"""The training loop, on data small enough to train in a moment."""

import copy
import platform
import re
from functools import partial

import pytest
import torch
from small_runs import KEEP, assert_same, net, tiny, weights
from torch import nn
from torch.testing import assert_close
from torch.utils.data import DataLoader, TensorDataset

import d2lnorm
from d2lnorm import Batches, evaluate_accuracy, lenet, train
from d2lnorm.training.memory import keep_freed_memory


def test_learns_and_leaves_the_net_ready_to_predict():
    model, data = net(), tiny()
    history = train(model, data, data, 5, 0.5, "cpu")
    assert len(history) == len(history.train_acc) == len(history.test_acc) == len(history.seconds) == 5
    assert history.loss[-1] < history.loss[0] / 2
    assert history.test_acc[-1] > 0.9
    assert history.stopped == ""
    assert not model.training
    assert all(s > 0 for s in history.seconds)
    assert history.test_acc[-1] == evaluate_accuracy(model, data)


def test_is_the_recipe_step_by_step():
    """Xavier weights, zero_grad, cross-entropy, backward, SGD: an independent loop ends at the same weights."""
    torch.manual_seed(0)
    model, reference = net(), net()
    torch.manual_seed(0)
    history = train(model, tiny(), tiny(shuffle=False), 2, 0.3, "cpu")
    torch.manual_seed(0)
    for m in reference:
        if isinstance(m, nn.Linear):
            nn.init.xavier_uniform_(m.weight)
    data, opt, losses, right = tiny(), torch.optim.SGD(reference.parameters(), lr=0.3), [], []
    for _ in range(2):
        for X, y in data:
            opt.zero_grad()
            logits = reference(X)
            loss = nn.CrossEntropyLoss()(logits, y)
            loss.backward()
            opt.step()
            losses.append(loss.item() * len(y))
            right.append((logits.argmax(1) == y).sum().item())
    for a, b in zip(weights(model), weights(reference), strict=True):
        assert_close(a, b, rtol=1e-5, atol=1e-6)
    assert history.loss[1] == pytest.approx(sum(losses[3:]) / 40, rel=1e-5)
    assert history.train_acc[1] == sum(right[3:]) / 40


def test_same_seed_same_run():
    runs = []
    for _ in range(2):
        model = net()
        torch.manual_seed(5)
        runs.append((train(model, tiny(), tiny(), 2, 0.1), model))
    assert runs[0][0].loss == runs[1][0].loss
    assert_same(runs[0][1], runs[1][1])


def test_freed_memory_is_kept_where_the_c_library_can(monkeypatch):
    assert keep_freed_memory() == (platform.libc_ver()[0] == "glibc")

    class Refusing:
        mallopt = staticmethod(lambda parameter, value: 0)

    monkeypatch.setattr("ctypes.CDLL", lambda name: Refusing())
    assert keep_freed_memory() is False
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    assert keep_freed_memory() is False


def test_takes_dataloaders():
    X, y = tiny().dataset.tensors
    loader = DataLoader(TensorDataset(X, y), batch_size=16, shuffle=True)
    assert len(train(net(), loader, loader, 2, 0.1, torch.device("cpu"))) == 2


def test_optimizer_and_schedule_are_used_on_every_step():
    rates = []

    class Recording(torch.optim.SGD):
        def step(self, *args, **kwargs):
            rates.append(self.param_groups[0]["lr"])
            return super().step(*args, **kwargs)

    schedule = partial(torch.optim.lr_scheduler.LinearLR, start_factor=1.0, end_factor=0.5, total_iters=5)
    totals = []

    def counted(optimizer, total_steps):
        totals.append(total_steps)
        return schedule(optimizer)

    train(net(), tiny(), tiny(), 2, 0.4, optimizer=partial(Recording, momentum=0.9), schedule=counted)
    assert totals == [6]
    assert rates == pytest.approx([0.4, 0.36, 0.32, 0.28, 0.24, 0.2])


def test_initialization_can_be_chosen():
    model = net()
    before = copy.deepcopy(model)
    train(model, tiny(), tiny(), 1, 1e-30, "cpu", init_weights=lambda module: None)
    for a, b in zip(model.parameters(), before.parameters(), strict=True):
        assert_close(a, b, rtol=0, atol=1e-20)
    train(model, tiny(), tiny(), 1, 1e-30, "cpu")
    assert not torch.equal(model[0].weight, before[0].weight)
    assert_close(model[0].bias, before[0].bias, rtol=0, atol=1e-20)


def test_training_again_starts_anew_in_part():
    """Anew: weights of linear layers, optimizer, schedule, history. As they were: biases, gamma, beta, statistics."""
    model, fresh, starts = net(), net(), []

    class Noting(torch.optim.SGD):
        def step(self):
            starts.append((copy.deepcopy(model.state_dict()), len(self.state), self.param_groups[0]["lr"]))
            return super().step()

    def schedule(optimizer, total_steps):
        return torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, total_steps)

    options = {"device": "cpu", "optimizer": partial(Noting, momentum=0.9), "schedule": schedule}
    first = train(model, tiny(), tiny(), 3, 0.3, **options)
    left = copy.deepcopy(model.state_dict())
    starts.clear()
    torch.manual_seed(7)
    fresh.apply(d2lnorm.init_xavier)
    torch.manual_seed(7)
    second = train(model, tiny(), tiny(), 2, 0.3, **options)
    start, momenta, lr = starts[0]  # after the first forward pass, before the first step
    assert (len(first), len(second)) == (3, 2)
    assert (momenta, lr) == (0, 0.3)
    for name in ("0.weight", "3.weight"):
        assert torch.equal(start[name], fresh.state_dict()[name]), name
    for name in ("0.bias", "1.weight", "1.bias", "3.bias"):
        assert torch.equal(start[name], left[name]), name
        assert not torch.equal(left[name], net().state_dict()[name]), name
    assert start["1.num_batches_tracked"] == 9 + 1
    starts.clear()
    left = copy.deepcopy(model.state_dict())
    train(model, tiny(), tiny(), 1, 0.3, **options, **KEEP)  # the way to train on
    for name, _ in model.named_parameters():
        assert torch.equal(starts[0][0][name], left[name]), name


def test_after_epoch_sees_each_row():
    seen = []
    train(net(), tiny(), tiny(), 3, 0.1, after_epoch=lambda n, h: seen.append((n.training, len(h))))
    assert [rows for _, rows in seen] == [1, 2, 3]


def test_a_loss_that_is_not_finite_stops_and_is_told(capsys):
    data = tiny()
    data.dataset.tensors[0][3, 0] = float("inf")
    history = train(net(), data, tiny(), 5, 0.1)
    assert len(history) == 1
    assert re.match(r"stopped: the loss became nan in epoch 1 of 5 \(lr 0\.1\)", history.stopped)
    assert history.stopped in capsys.readouterr().out


def test_lenet_trains_with_each_norm():
    g = torch.Generator().manual_seed(0)
    data = Batches(torch.rand(32, 1, 28, 28, generator=g), torch.arange(32) % 10, 16, shuffle=True)
    losses = {}
    for norm in ("scratch", "torch", None):
        torch.manual_seed(0)
        losses[norm] = train(lenet(norm), data, data, 2, 0.1).loss
    assert losses["scratch"] == pytest.approx(losses["torch"], rel=1e-4)
    assert losses["scratch"] != pytest.approx(losses[None], rel=1e-4)


def test_progress_is_shown_unless_switched_off(monkeypatch, capfd):
    train(net(), tiny(), tiny(), 1, 0.1)
    assert "batch" not in capfd.readouterr().err
    monkeypatch.setenv("TQDM_DISABLE", "0")
    train(net(), tiny(), tiny(), 1, 0.1)
    assert "3/3" in capfd.readouterr().err


@pytest.mark.parametrize("name", d2lnorm.__all__)
def test_everything_public_is_there_and_documented(name):
    assert getattr(d2lnorm, name).__doc__

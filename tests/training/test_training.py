"""The training loop, the evaluation and the history, on data small enough to train in a moment."""

import copy
import platform
import re
from base64 import b64decode
from functools import partial

import matplotlib.pyplot as plt
import pytest
import torch
from small_runs import KEEP, assert_same, net, tiny, weights
from torch import nn
from torch.testing import assert_close
from torch.utils.data import DataLoader, TensorDataset

import d2lnorm
from d2lnorm import Batches, History, evaluate_accuracy, lenet, train
from d2lnorm.course.plotting import COLORS, figure, line, new_axes, show
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
    train(model, tiny(), tiny(), 1, 1e-30, init_weights=lambda module: None)
    for a, b in zip(model.parameters(), before.parameters(), strict=True):
        assert_close(a, b, rtol=0, atol=1e-20)
    train(model, tiny(), tiny(), 1, 1e-30)
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

    options = {"optimizer": partial(Noting, momentum=0.9), "schedule": schedule}
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


def test_evaluation_is_right_and_leaves_the_modes():
    data = tiny(shuffle=False)
    model = net()
    model[1].eval()
    model[2].train()
    before = weights(model)
    accuracy = evaluate_accuracy(model, data)
    assert [m.training for m in model] == [True, False, True, True]
    assert all(torch.equal(a, b) for a, b in zip(before, weights(model), strict=True))
    X, y = data.dataset.tensors
    with torch.no_grad():
        assert accuracy == (copy.deepcopy(model).eval()(X).argmax(1) == y).double().mean().item()


def test_evaluation_of_nothing_is_an_error_and_a_failing_net_keeps_its_mode():
    model = net()
    with pytest.raises(ValueError, match="data_iter yields no example"):
        evaluate_accuracy(model, [])
    with pytest.raises(RuntimeError):
        evaluate_accuracy(model, [(torch.ones(2, 5), torch.zeros(2))])
    assert model.training


def test_a_net_without_parameters_can_be_evaluated():
    X = torch.eye(3)
    assert evaluate_accuracy(nn.Identity(), [(X, torch.tensor([0, 1, 1]))]) == pytest.approx(2 / 3)


def test_lenet_trains_with_each_norm():
    g = torch.Generator().manual_seed(0)
    data = Batches(torch.rand(32, 1, 28, 28, generator=g), torch.arange(32) % 10, 16, shuffle=True)
    losses = {}
    for norm in ("scratch", "torch", None):
        torch.manual_seed(0)
        losses[norm] = train(lenet(norm), data, data, 2, 0.1).loss
    assert losses["scratch"] == pytest.approx(losses["torch"], rel=1e-4)
    assert losses["scratch"] != pytest.approx(losses[None], rel=1e-4)


def test_history_prints_as_a_table():
    history = History()
    history.append(0.73331, 0.7352, 0.7431, 4.0)
    history.append(1.5e30, 0.1, 0.1, 12.25)
    assert repr(history).splitlines() == [
        "epoch     loss  train acc  test acc  seconds",
        "    1   0.7333     0.7352    0.7431     4.00",
        "    2  1.5e+30     0.1000    0.1000    12.25",
    ]


def test_history_plots_with_one_call():
    history = History()
    history.append(0.7, 0.7, 0.6, 4.0)
    history.append(0.5, 0.8, 0.7, 4.0)
    ax = history.plot()
    assert ax.get_xlabel() == "epoch"
    assert ax.get_ylabel() == "loss (nats), accuracy"
    assert [list(l.get_ydata()) for l in ax.lines] == [[0.7, 0.5], [0.7, 0.8], [0.6, 0.7]]
    assert len({l.get_color() for l in ax.lines}) == len({str(l.get_linestyle()) for l in ax.lines}) == 3
    other = new_axes()
    assert history.plot(other) is other


def test_figures_have_one_size_a_panel_and_lines_repeat_their_looks():
    axes = figure(2, rows=2, sharex=True)
    assert len(axes) == 4
    assert tuple(axes[0].figure.get_size_inches()) == pytest.approx((8.8, 6.4))
    assert tuple(figure(3)[0].figure.get_size_inches()) == pytest.approx((10.2, 3.2))
    assert line(axes[0], [1], [1], len(COLORS)).get_color() == COLORS[0]


def test_show_displays_a_png_with_its_text_and_closes_the_figure(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda *a, **k: shown.append((a, k)))
    ax = new_axes()
    show(ax, "an empty panel")
    ((data,), options) = shown[0]
    assert options == {"raw": True, "metadata": {"image/png": {"alt": "an empty panel", "width": 440, "height": 320}}}
    assert b64decode(data["image/png"]).startswith(b"\x89PNG")
    assert data["text/plain"] == "Figure: an empty panel"
    assert ax.figure.number not in plt.get_fignums()
    with pytest.raises(ValueError, match="alt must say in words what the figure shows"):
        show(ax, " ")


def test_progress_is_shown_unless_switched_off(monkeypatch, capfd):
    train(net(), tiny(), tiny(), 1, 0.1)
    assert "batch" not in capfd.readouterr().err
    monkeypatch.setenv("TQDM_DISABLE", "0")
    train(net(), tiny(), tiny(), 1, 0.1)
    assert "3/3" in capfd.readouterr().err


@pytest.mark.parametrize("name", d2lnorm.__all__)
def test_everything_public_is_there_and_documented(name):
    assert getattr(d2lnorm, name).__doc__

"""The training loop, the evaluation and the history, on data small enough to train in a moment."""

import copy
import platform
import re
from base64 import b64decode
from functools import partial

import matplotlib.pyplot as plt
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close
from torch.utils.data import DataLoader, TensorDataset

import d2lnorm
from d2lnorm import Batches, History, evaluate_accuracy, init_xavier, lenet, train
from d2lnorm.course.plotting import COLORS, figure, line, new_axes, show
from d2lnorm.training.memory import keep_freed_memory


def tiny(n=40, batch_size=16, shuffle=True):
    g = torch.Generator().manual_seed(0)
    y = torch.arange(n) % 3
    X = torch.randn(n, 4, generator=g) + 3 * F.one_hot(y, 4)
    return Batches(X, y, batch_size, shuffle)


def net():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def weights(module):
    return [p.detach().clone() for p in module.state_dict().values()]


def assert_same(a, b):
    for x, y in zip(weights(a), weights(b), strict=True):
        assert torch.equal(x, y)


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


@pytest.mark.parametrize("layer", [nn.Linear(50, 30), nn.Conv2d(3, 5, 3)])
def test_xavier_bound(layer):
    init_xavier(layer)
    fan_in, fan_out = (50, 30) if isinstance(layer, nn.Linear) else (27, 45)
    bound = (6 / (fan_in + fan_out)) ** 0.5
    assert layer.weight.abs().max() <= bound
    assert layer.weight.abs().max() > 0.9 * bound


def test_after_epoch_sees_each_row():
    seen = []
    train(net(), tiny(), tiny(), 3, 0.1, after_epoch=lambda n, h: seen.append((n.training, len(h))))
    assert [rows for _, rows in seen] == [1, 2, 3]


def test_ctrl_c_keeps_the_history_and_the_net(capsys):
    class Interrupted(Batches):
        epochs = 0

        def to(self, device):
            return self

        def __iter__(self):
            for i, batch in enumerate(super().__iter__()):
                if self.epochs == 2 and i == 1:
                    raise KeyboardInterrupt
                yield batch
            self.epochs += 1

    X, y = tiny().dataset.tensors
    model = net()
    history = train(model, Interrupted(X, y, 16), tiny(), 5, 0.1)
    assert len(history) == 2
    assert history.stopped.startswith("stopped by Ctrl-C after 2 of 5 epochs")
    assert history.stopped in capsys.readouterr().out
    assert history.stopped in repr(history)
    assert not model.training
    assert evaluate_accuracy(model, tiny()) > 0


def test_a_loss_that_is_not_finite_stops_and_is_told(capsys):
    data = tiny()
    data.dataset.tensors[0][3, 0] = float("inf")
    history = train(net(), data, tiny(), 5, 0.1)
    assert len(history) == 1
    assert re.match(r"stopped: the loss became nan in epoch 1 of 5 \(lr 0\.1\)", history.stopped)
    assert history.stopped in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_epochs": 0}, "num_epochs must be a whole number of at least 1, but is 0"),
        ({"num_epochs": 1.5}, "num_epochs must be a whole number of at least 1, but is 1.5"),
        ({"lr": 0.0}, "lr must be finite and greater than 0, but is 0.0"),
        ({"lr": float("inf")}, "lr must be finite and greater than 0, but is inf"),
        ({"lr": float("nan")}, "lr must be finite and greater than 0, but is nan"),
        ({"train_iter": tiny(0)}, "train_iter is empty"),
        ({"test_iter": []}, "test_iter is empty"),
    ],
)
def test_bad_input_is_named_before_anything_changes(change, message):
    model = net()
    before = copy.deepcopy(model)
    arguments = {"train_iter": tiny(), "test_iter": tiny(), "num_epochs": 1, "lr": 0.1} | change
    with pytest.raises(ValueError, match=re.escape(message)):
        train(model, **arguments)
    assert_same(model, before)
    assert model.training


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

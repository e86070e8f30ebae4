"""Every argument that `train` refuses, before anything has been changed."""

import re
from functools import partial

import pytest
import torch
from small_runs import Untouched, net, tiny
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import LinearLR, OneCycleLR, ReduceLROnPlateau
from torch.utils.data import DataLoader, IterableDataset

from d2lnorm import train

OPTIMIZER = SGD([nn.Parameter(torch.ones(1))], lr=0.1)


class Endless(IterableDataset):
    def __iter__(self):
        yield from tiny().dataset


def train_with(model, **change):
    return train(model, **({"train_iter": tiny(), "test_iter": tiny(), "num_epochs": 1, "lr": 0.1} | change))


BAD = [
    ({"num_epochs": 0}, ValueError, "num_epochs must be a whole number of at least 1, but is 0"),
    ({"num_epochs": 1.5}, ValueError, "num_epochs must be a whole number of at least 1, but is 1.5"),
    ({"num_epochs": True}, ValueError, "num_epochs must be a whole number of at least 1, but is True"),
    ({"lr": 0.0}, ValueError, "lr must be finite and greater than 0, but is 0.0"),
    ({"lr": float("inf")}, ValueError, "lr must be finite and greater than 0, but is inf"),
    ({"lr": float("nan")}, ValueError, "lr must be finite and greater than 0, but is nan"),
    ({"lr": "0.1"}, ValueError, "lr must be finite and greater than 0, but is '0.1'"),
    ({"lr": True}, ValueError, "lr must be finite and greater than 0, but is True"),
    ({"train_iter": tiny(0)}, ValueError, "train_iter is empty"),
    ({"test_iter": []}, ValueError, "test_iter is empty"),
    ({"train_iter": (b for b in tiny())}, TypeError, "train_iter must have a length and start anew in each epoch"),
    ({"test_iter": (b for b in tiny())}, TypeError, "of type generator without a length; a generator would be used"),
    ({"train_iter": DataLoader(Endless(), 16)}, TypeError, "but is of type DataLoader without a length"),
    ({"device": "gpu"}, ValueError, "device 'gpu' cannot be used here: "),
    ({"device": "cpu:0:1"}, ValueError, "device 'cpu:0:1' cannot be used here: "),
    ({"device": "cuda:99"}, ValueError, "device 'cuda:99' cannot be used here: "),
    ({"device": "meta"}, ValueError, "device 'meta' cannot be used here: "),
    ({"device": ""}, ValueError, "device '' cannot be used here: "),
    ({"device": 99}, ValueError, "device 99 cannot be used here: "),
    ({"optimizer": OPTIMIZER}, TypeError, "makes one, functools.partial(torch.optim.SGD, momentum=0.9) say, but is "),
    ({"optimizer": "adam"}, TypeError, "optimizer must be a function that makes one"),
    ({"optimizer": 0}, TypeError, "optimizer must be a function that makes one"),
    ({"schedule": LinearLR(OPTIMIZER)}, TypeError, "schedule must be a function that makes one, functools.partial("),
    ({"schedule": OPTIMIZER}, TypeError, "schedule must be a function that makes one"),
    ({"init_weights": nn.init}, TypeError, "init_weights must be a function, but is of type module"),
    ({"after_epoch": "print"}, TypeError, "after_epoch must be a function, but is of type str"),
    ({"after_epoch": False}, TypeError, "after_epoch must be a function, but is of type bool"),
    # Functions that fail, or that make something else. The net has been on its device then.
    ({"optimizer": lambda params, lr: None}, TypeError, "optimizer(net.parameters(), lr=0.1) must make what "),
    ({"optimizer": lambda params, lr: list(params)}, TypeError, "makes, but made a list"),
    ({"optimizer": lambda params: SGD(params)}, TypeError, "unexpected keyword argument 'lr'"),
    ({"optimizer": partial(SGD, momentum=-1)}, ValueError, "Invalid momentum value: -1"),
    ({"schedule": OneCycleLR}, TypeError, "missing 1 required positional argument: 'max_lr'"),
    ({"schedule": lambda opt, total_steps: opt}, TypeError, "schedule(optimizer, total_steps=3) must make what "),
    ({"schedule": lambda opt, total_steps: ReduceLROnPlateau(opt)}, TypeError, "but made a ReduceLROnPlateau"),
]


@pytest.mark.parametrize(("change", "error", "message"), BAD, ids=[f"{next(iter(c))}: {m[:40]}" for c, _, m in BAD])
def test_bad_input_is_named_before_anything_changes(change, error, message):
    model = net()
    model[1].eval()
    with Untouched(model), pytest.raises(error, match=re.escape(message)) as caught:
        train_with(model, **change)
    assert not hasattr(caught.value, "history")  # nothing has begun


@pytest.mark.parametrize("other", [nn.Linear, lambda X: X, None, "lenet"])
def test_a_net_is_a_module(other):
    with pytest.raises(TypeError, match="net must be an nn.Module, but is (the class Linear|of type )"):
        train_with(other)


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ({"optimizer": partial(SGD, momentum=-1)}, r"It was raised by optimizer\(net.parameters\(\), lr=0.1\)"),
        ({"schedule": OneCycleLR}, r"It was raised by schedule\(optimizer, total_steps=3\)"),
    ],
)
def test_a_function_that_fails_is_told_how_it_was_called_and_the_net_goes_back(change, note):
    places = []

    class Movable(nn.Linear):
        def to(self, device):
            places.append(str(device))
            return super().to(device)

    with pytest.raises((TypeError, ValueError)) as caught:
        train_with(Movable(4, 3), device="cpu:0", **change)
    assert places == ["cpu:0", "cpu"]
    (said,) = caught.value.__notes__
    assert re.match(note, said)
    assert "A function that works is functools.partial(torch.optim." in said


def test_optimizer_and_schedule_are_made_on_the_device_before_the_first_draw():
    order = []

    class Movable(nn.Linear):
        def to(self, device):
            order.append("to")
            return super().to(device)

    def optimizer(params, lr):
        order.append("optimizer")
        return SGD(params, lr)

    def schedule(opt, total_steps):
        order.append("schedule")
        return LinearLR(opt)

    functions = {"optimizer": optimizer, "schedule": schedule, "init_weights": lambda module: order.append("weights")}
    train_with(Movable(4, 3), **functions)
    assert order == ["to", "optimizer", "schedule", "weights"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_zero_is_the_first_gpu_and_not_the_default():
    with pytest.raises(ValueError, match="device 0 cannot be used here: "):
        train_with(net(), device=0)


def test_a_parameter_that_is_a_slice_takes_the_step_of_plain_sgd():
    """A fused step would walk through the slice as if it were dense, into memory that is not its own."""
    torch.manual_seed(0)
    whole = torch.randn(3, 9)
    outside = whole[:, 4:].clone()
    sliced, plain = nn.Linear(4, 3), nn.Linear(4, 3)
    sliced.weight = nn.Parameter(whole[:, :4])
    plain.weight = nn.Parameter(whole[:, :4].clone())
    plain.bias = nn.Parameter(sliced.bias.detach().clone())
    for model in sliced, plain:
        train_with(model, train_iter=tiny(shuffle=False), init_weights=lambda module: None)
    assert torch.equal(sliced.weight, plain.weight)
    assert torch.equal(whole[:, 4:], outside)


def test_sparse_gradients_are_taken():
    torch.manual_seed(0)
    words = nn.Sequential(nn.Embedding(50, 4, sparse=True), nn.Flatten(), nn.Linear(12, 3))
    batch = [(torch.randint(50, (8, 3)), torch.arange(8) % 3)]
    history = train(words, batch, batch, 4, 0.5)
    assert history.loss[3] < history.loss[0]

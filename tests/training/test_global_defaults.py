"""`torch.set_default_device` and `set_default_dtype` change nothing in what the package computes."""

from contextlib import contextmanager

import pytest
import torch
from small_runs import KEEP, net, tiny, weights
from torch.nn import functional as F

from d2lnorm import Batches, evaluate_accuracy, init_xavier, load_fashion_mnist, recompute_running_statistics, train


@contextmanager
def default(setting):
    """Let the default device (a name) or type be `setting` for a while; None changes nothing."""
    before = torch.get_default_dtype()
    if isinstance(setting, str):
        torch.set_default_device(setting)
    elif setting is not None:
        torch.set_default_dtype(setting)
    try:
        yield
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(before)


def everything(setting):
    """Train, evaluate and recompute under `setting`, with all else made before; return all numbers that come of it."""
    model, data, odd, tests = net(), tiny(), tiny(33), tiny(31, shuffle=False)
    torch.manual_seed(0)
    with default(setting):
        model.apply(init_xavier)
        again = train(model, data, tests, 2, 0.1)
        last_of_one = train(model[0], odd, tests, 1, 0.1)  # with the trial of one example
        recompute_running_statistics(model, tests)
        accuracy = evaluate_accuracy(model, tests)
    rows = again.loss, again.train_acc, again.test_acc, last_of_one.loss, accuracy
    return rows, [w.tolist() for w in weights(model)], torch.rand(1).item()


@pytest.mark.parametrize("setting", ["meta", torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_the_same_numbers_under_every_default(setting):
    assert everything(setting) == everything(None)
    assert torch.empty(0).dtype == torch.float32
    assert torch.empty(0).device.type == "cpu"


def test_the_loss_of_16_bits_is_summed_in_32():
    """The loss times the number of labels needs more digits than bfloat16 has."""
    X, y = tiny().dataset.tensors
    X = X[:37].bfloat16()
    for seed in range(5):
        torch.manual_seed(seed)
        model = torch.nn.Linear(4, 3).bfloat16()
        loss = F.cross_entropy(model(X), y[:37]).item()
        history = train(model, [(X, y[:37])], [(X, y[:37])], 1, 0.1, "cpu", **KEEP)
        assert history.loss == pytest.approx([loss], rel=1e-6)


@pytest.mark.parametrize("shuffle", [False, True])
def test_the_order_is_the_cpu_s_under_every_default_device(shuffle):
    batches = Batches(*tiny().dataset.tensors, 16, shuffle)
    torch.manual_seed(0)
    expected = [(X.tolist(), y.tolist()) for X, y in batches]
    torch.manual_seed(0)
    with default("meta"):
        assert [(X.tolist(), y.tolist()) for X, y in batches] == expected


def test_fashion_mnist_is_read_into_memory_under_every_default():
    with default("meta"):
        torch.set_default_dtype(torch.float16)
        tensors = load_fashion_mnist(256)[1].dataset.tensors
        sums = [t.sum(dtype=torch.float64).item() for t in tensors]
    assert sums == [t.sum(dtype=torch.float64).item() for t in load_fashion_mnist(256)[1].dataset.tensors]
    assert tensors[0].dtype == torch.float32

"""The book's function and module against torch.nn, and what they must refuse."""

import copy
import pickle
import re

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import d2lnorm
from d2lnorm import BatchNorm, batch_norm

SHAPES = [(2, 3), (4, 5), (2, 3, 2, 2), (3, 4, 5, 2), (1, 2, 2, 3)]


def data(shape, dtype=torch.float64, seed=0):
    """X with a mean and spread of its own in each channel, and statistics that are neither zeros nor ones."""
    g = torch.Generator().manual_seed(seed)

    def draw(*size):
        return torch.randn(size, generator=g, dtype=dtype)

    C = shape[1]
    X = draw(*shape) * (1 + draw(C).abs()).view(1, C, *[1] * (len(shape) - 2)) + 3
    return X, draw(C), draw(C), draw(C), draw(C).abs() + 0.5


def oracle(X, gamma, beta, mean, var, eps, momentum, training):
    """torch.nn's layer with the book's conventions mapped on it; its biased moving variance is added by hand."""
    layer = (nn.BatchNorm1d if X.dim() == 2 else nn.BatchNorm2d)(len(gamma), eps=eps, momentum=1 - momentum)
    layer.to(X.dtype).train(training)
    with torch.no_grad():
        for name, value in [("weight", gamma), ("bias", beta), ("running_mean", mean), ("running_var", var)]:
            getattr(layer, name).copy_(value)
    Y = layer(X)
    axes = [0] if X.dim() == 2 else [0, 2, 3]
    biased = momentum * var + (1 - momentum) * X.detach().var(axes, correction=0) if training else var
    return Y, layer.running_mean, biased, layer


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("eps", [1e-5, 0.7])
@pytest.mark.parametrize("momentum", [0.0, 0.9, 1.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_torch(shape, momentum, eps, training):
    X, gamma, beta, mean, var = data(shape)
    ours = [t.clone().requires_grad_() for t in (X, gamma, beta)]
    theirs = X.clone().requires_grad_()
    Y, new_mean, new_var = batch_norm(*ours, mean, var, eps, momentum, training=training)
    Z, ref_mean, ref_var, layer = oracle(theirs, gamma, beta, mean, var, eps, momentum, training)
    assert_close(Y, Z, rtol=1e-10, atol=1e-12)
    assert_close(new_mean, ref_mean, rtol=1e-12, atol=1e-14)
    assert_close(new_var, ref_var, rtol=1e-12, atol=1e-14)
    slope = torch.randn(Y.shape, generator=torch.Generator().manual_seed(1), dtype=Y.dtype)
    (Y * slope).sum().backward()
    (Z * slope).sum().backward()
    for a, b in zip(ours, (theirs, layer.weight, layer.bias), strict=True):
        assert_close(a.grad, b.grad, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("shape", SHAPES[1:4])
def test_book_shapes_give_the_same_and_are_kept(shape):
    X, *rest = data(shape)
    book = (1, shape[1], *[1] * (len(shape) - 2))
    Y, mean, var = batch_norm(X, *rest, training=True)
    Z, book_mean, book_var = batch_norm(X, *(t.view(book) for t in rest), training=True)
    assert torch.equal(Y, Z)
    assert mean.shape == (shape[1],)
    assert book_mean.shape == book_var.shape == book
    assert torch.equal(mean, book_mean.flatten())
    assert torch.equal(var, book_var.flatten())


def test_mode_follows_the_books_rule_unless_told():
    X, *rest = data((4, 3))
    moved = batch_norm(X, *rest)[1]
    assert not torch.equal(moved, rest[2])
    with torch.no_grad():
        assert torch.equal(batch_norm(X, *rest)[1], rest[2])
        assert torch.equal(batch_norm(X, *rest, training=True)[1], moved)
    assert torch.equal(batch_norm(X, *rest, training=False)[1], rest[2])


@pytest.mark.parametrize("training", [True, False])
def test_arguments_stay_and_statistics_carry_no_graph(training):
    arguments = [t.requires_grad_() for t in data((4, 3, 2, 2))]
    before = [t.detach().clone() for t in arguments]
    _, mean, var = batch_norm(*arguments, training=training)
    for t, b in zip(arguments, before, strict=True):
        assert torch.equal(t, b)
    assert not mean.requires_grad
    assert not var.requires_grad


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(256, 4), (256, 6, 24, 24), (64, 3, 9, 9)])
@pytest.mark.parametrize("center", [1e4, -1e4, 1e4 + 0.3])
def test_large_mean_is_normalized_as_well_as_torch_does(center, shape, training):
    """float32 numbers near 1e4 lie 1e-3 apart, so a mean is off by half of that at best, in torch too."""
    X = torch.randn(shape, generator=torch.Generator().manual_seed(0)) + center
    D, axes, C = X.double(), [0, *range(2, X.dim())], shape[1]
    mean, var = D.mean(axes), D.var(axes, correction=0)
    ones, zeros, statistics = torch.ones(C), torch.zeros(C), (mean.float(), var.float())
    Y = batch_norm(X, ones, zeros, *statistics, training=training)[0].double()
    Z = oracle(X, ones, zeros, *statistics, 1e-5, 0.9, training)[0].double()
    mean, var = (t.view(1, -1, *[1] * (X.dim() - 2)) for t in (mean, var))
    exact = (D - mean) / torch.sqrt(var + 1e-5)
    assert (Y - exact).abs().max() <= (Z - exact).abs().max() + 2e-4
    assert_close(Y.var(axes, correction=0), torch.ones(C, dtype=torch.double), rtol=0, atol=1e-3)


@pytest.mark.parametrize("value", [0.0, 1e4, 1e4 + 0.3])
@pytest.mark.parametrize("shape", [(255, 4), (250, 3, 9, 9)])
def test_a_constant_channel_gives_beta(shape, value):
    """A mean that is off by one rounding would be divided by the root of eps, 0.003, and look like a value."""
    C = shape[1]
    beta = torch.arange(1.0, C + 1)
    Y = batch_norm(torch.full(shape, value), torch.ones(C), beta, torch.zeros(C), torch.ones(C), training=True)[0]
    assert torch.equal(Y, beta.view(1, -1, *[1] * (len(shape) - 2)).expand(shape))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("training", [True, False])
def test_16_bits_are_computed_in_32_and_rounded_once(dtype, training):
    X, *rest = data((40, 3, 5, 2), torch.float32)
    Y, mean, var = batch_norm(X.to(dtype), *rest, training=training)
    exact, *statistics = batch_norm(X.to(dtype).float(), *rest, training=training)
    assert torch.equal(Y, exact.to(dtype))
    assert_close((mean, var), tuple(statistics))


def test_empty_batch_predicts_nothing():
    X, *rest = data((4, 3))
    assert batch_norm(X[:0], *rest, training=False)[0].shape == (0, 3)


BAD = [
    ({"X": torch.ones(4, 3, dtype=torch.int64)}, TypeError, "X must be floating point, but is torch.int64"),
    ({"X": torch.ones(4)}, ValueError, "(N, C) or (N, C, H, W), but has shape (4,)"),
    ({"X": torch.ones(4, 3, 2)}, ValueError, "(N, C) or (N, C, H, W), but has shape (4, 3, 2)"),
    ({"gamma": torch.ones(4)}, ValueError, "gamma must have one element for each of the 3 channels"),
    ({"gamma": torch.ones(1)}, ValueError, "gamma must have one element for each of the 3 channels"),
    ({"beta": torch.ones(3, 1)}, ValueError, "beta must have one element for each of the 3 channels"),
    ({"moving_mean": torch.ones(2)}, ValueError, "moving_mean must have one element for each of the 3"),
    ({"moving_var": torch.ones(3, 3)}, ValueError, "moving_var must have one element for each of the 3"),
    ({"eps": 0.0}, ValueError, "eps must be greater than 0, but is 0.0"),
    ({"eps": -1e-5}, ValueError, "eps must be greater than 0, but is -1e-05"),
    ({"eps": float("nan")}, ValueError, "eps must be greater than 0, but is nan"),
    ({"momentum": 1.5}, ValueError, "momentum must lie in [0, 1] (the weight of the old value), but is 1.5"),
    ({"momentum": -0.1}, ValueError, "momentum must lie in [0, 1] (the weight of the old value), but is -0.1"),
    ({"X": torch.ones(1, 3)}, ValueError, "more than one value per channel, but X has shape (1, 3)"),
    ({"X": torch.ones(1, 3, 1, 1)}, ValueError, "more than one value per channel, but X has shape (1, 3, 1, 1)"),
    ({"X": torch.ones(0, 3)}, ValueError, "more than one value per channel, but X has shape (0, 3)"),
]


@pytest.mark.parametrize(("change", "error", "message"), BAD)
def test_bad_input_is_named(change, error, message):
    X, gamma, beta, mean, var = data((4, 3), torch.float32)
    arguments = {"X": X, "gamma": gamma, "beta": beta, "moving_mean": mean, "moving_var": var} | change
    with pytest.raises(error, match=re.escape(message)):
        batch_norm(**arguments, training=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, 3), "num_dims must be 2, for (N, C), or 4, for (N, C, H, W), but is 3"),
        ((0, 2), "num_features must be at least 1, but is 0"),
        ((3, 2, 0.0), "eps must be greater than 0"),
        ((3, 2, 1e-5, 2.0), "momentum must lie in [0, 1]"),
    ],
)
def test_module_refuses_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        BatchNorm(*arguments)


def test_module_names_a_wrong_input_and_keeps_its_statistics():
    layer = BatchNorm(3, 4)
    with pytest.raises(ValueError, match=re.escape("expected X with 4 axes (num_dims), but got shape (4, 3)")):
        layer(torch.ones(4, 3))
    with pytest.raises(ValueError, match="more than one value per channel"):
        layer(torch.ones(1, 3, 1, 1))
    assert torch.equal(layer.moving_mean, torch.zeros(1, 3, 1, 1))


def steps(layer, num_dims, dtype=torch.float64):
    """Feed three batches to a layer and return the last output."""
    shape = (4, 3) if num_dims == 2 else (4, 3, 2, 2)
    for seed in range(3):
        Y = layer(data(shape, dtype, seed)[0])
    return Y


@pytest.mark.parametrize("num_dims", [2, 4])
def test_module_equals_torch_over_steps_and_in_evaluation(num_dims):
    ours = BatchNorm(3, num_dims, momentum=0.7).double()
    theirs = (nn.BatchNorm1d if num_dims == 2 else nn.BatchNorm2d)(3, momentum=0.3).double()
    assert_close(steps(ours, num_dims), steps(theirs, num_dims))
    assert_close(ours.moving_mean.flatten(), theirs.running_mean)
    n = 4 if num_dims == 2 else 16
    # torch's steps use the unbiased variance: n / (n - 1) times ours, but for the share of the initial 1
    start = 0.7**3
    assert_close((ours.moving_var.flatten() - start) * n / (n - 1) + start, theirs.running_var)
    theirs.running_var.copy_(ours.moving_var.flatten())
    ours.eval(), theirs.eval()
    assert_close(steps(ours, num_dims), steps(theirs, num_dims))


@pytest.mark.parametrize("num_dims", [2, 4])
def test_module_state_is_saved_copied_moved_and_pickled(num_dims):
    layer = BatchNorm(3, num_dims)
    steps(layer.double(), num_dims)
    assert set(layer.state_dict()) == {"gamma", "beta", "moving_mean", "moving_var"}
    fresh = BatchNorm(3, num_dims).double()
    fresh.load_state_dict(layer.state_dict())
    for other in (fresh, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(steps(other.eval(), num_dims), steps(layer.eval(), num_dims))
    assert layer.to(torch.float32).moving_var.dtype == torch.float32
    assert layer.to("meta").moving_mean.device.type == "meta"


def test_module_mode_is_training_and_not_the_recording_of_gradients():
    layer = BatchNorm(3, 2)
    X = data((4, 3), torch.float32)[0]
    with torch.no_grad():
        layer(X)
    moved = layer.moving_mean.clone()
    assert not torch.equal(moved, torch.zeros(1, 3))
    layer.eval()
    layer(X)
    assert torch.equal(layer.moving_mean, moved)


def test_statistics_gathered_in_inference_mode_can_be_trained_on():
    layer = BatchNorm(3, 2)
    X = data((4, 3), torch.float32)[0]
    with torch.inference_mode():
        layer(X)
    layer.eval()(X.requires_grad_()).sum().backward()
    assert X.grad is not None


@pytest.mark.parametrize("training", [True, False])
def test_gradcheck(training):
    X, gamma, beta, mean, var = data((3, 2, 2, 2))
    inputs = [t.requires_grad_() for t in (X, gamma, beta)]
    assert torch.autograd.gradcheck(lambda *t: batch_norm(*t, mean, var, training=training)[0], inputs)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_drop_in_is_the_book_with_other_conventions(shape):
    """Same Y; momentum is 1 - the book's; the variance's step is the book's times n / (n - 1)."""
    X, C = data(shape)[0], shape[1]
    book = BatchNorm(C, len(shape), momentum=0.8).double()
    drop_in = (d2lnorm.BatchNorm1d if len(shape) == 2 else d2lnorm.BatchNorm2d)(C, momentum=1 - 0.8).double()
    assert_close(book(X), drop_in(X), rtol=1e-12, atol=1e-12)
    assert_close(book.moving_mean.flatten(), drop_in.running_mean)
    n = X.numel() // C
    assert_close((book.moving_var.flatten() - 0.8) * n / (n - 1), drop_in.running_var - 0.8)


def test_repr_says_what_the_layer_is():
    assert repr(BatchNorm(6, 4)) == "BatchNorm(6, num_dims=4, eps=1e-05, momentum=0.9)"

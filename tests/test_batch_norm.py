"""The book's batch norm: the book's order, momentum and variance, beside the drop-in that shares its core."""

import pytest
import torch
from layer_oracle import make_input
from torch import nn

import d2lnorm
from d2lnorm import BatchNorm, batch_norm

SHAPES = [(2, 3), (5, 3), (4, 3, 5, 2), (1, 3, 2, 2), (2, 3, 1, 1)]


def parameters(shape, flat=False):
    full = (shape[1],) if flat else (1, shape[1]) + (1,) * (len(shape) - 2)
    generator = torch.Generator().manual_seed(1)
    gamma, beta, mean, var = (
        torch.rand(full, generator=generator, dtype=torch.float64) + 0.5 for _ in range(4)
    )
    return gamma.requires_grad_(), beta.requires_grad_(), mean, var


def by_hand(X, gamma, beta, moving_mean, moving_var, eps, momentum, training):
    """The book's code, line by line, under autograd."""
    axes = (0,) if X.dim() == 2 else (0, 2, 3)
    shape = (1, -1) + (1,) * (X.dim() - 2)
    gamma, beta = gamma.view(shape), beta.view(shape)
    if not training:
        Y = gamma * (X - moving_mean.view(shape)) / torch.sqrt(moving_var.view(shape) + eps) + beta
        return Y, moving_mean, moving_var
    mean = X.mean(axes, keepdim=True)
    var = ((X - mean) ** 2).mean(axes, keepdim=True)
    Y = gamma * (X - mean) / torch.sqrt(var + eps) + beta
    moved = [
        momentum * old + (1 - momentum) * new.detach().view(old.shape)
        for old, new in ((moving_mean, mean), (moving_var, var))
    ]
    return Y, *moved


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize(("eps", "momentum"), [(1e-5, 0.9), (2.0, 0.3), (1e-3, 0.0), (1e-3, 1.0)])
def test_equals_the_book(shape, training, flat, eps, momentum):
    X = make_input(shape, torch.float64)
    gamma, beta, mean, var = parameters(shape, flat)
    kept = mean.clone(), var.clone()
    actual = batch_norm(X, gamma, beta, mean, var, eps, momentum, training=training)
    expected = by_hand(X, gamma, beta, mean, var, eps, momentum, training)
    torch.testing.assert_close(actual, expected)
    assert torch.equal(mean, kept[0])
    assert torch.equal(var, kept[1])
    assert not actual[1].requires_grad
    assert not actual[2].requires_grad
    g = torch.randn_like(X)
    torch.testing.assert_close(
        torch.autograd.grad(actual[0], (X, gamma, beta), g),
        torch.autograd.grad(expected[0], (X, gamma, beta), g),
    )


def test_gradcheck():
    X = make_input((3, 2, 2, 2), torch.float64)
    gamma, beta, mean, var = parameters(X.shape)
    for training in (True, False):
        assert torch.autograd.gradcheck(
            lambda *t, on=training: batch_norm(*t, mean, var, training=on)[0], (X, gamma, beta)
        )


def test_the_mode_follows_the_book_unless_told():
    X = torch.randn(8, 3)
    args = X, torch.ones(3), torch.zeros(3), torch.zeros(3), torch.ones(3)
    training, evaluation = batch_norm(*args, training=True)[0], batch_norm(*args, training=False)[0]
    torch.testing.assert_close(batch_norm(*args)[0], training)
    with torch.no_grad():
        torch.testing.assert_close(batch_norm(*args)[0], evaluation)
        torch.testing.assert_close(batch_norm(*args, training=True)[0], training)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_drop_in_is_the_book_with_other_conventions(shape):
    """Same Y; momentum is 1 - the book's; the variance is the book's times n / (n - 1)."""
    X = make_input(shape, torch.float32)
    book = BatchNorm(3, len(shape), momentum=0.8)
    drop_in = (d2lnorm.BatchNorm1d if len(shape) == 2 else d2lnorm.BatchNorm2d)(3, momentum=1 - 0.8)
    assert torch.equal(book(X), drop_in(X))
    torch.testing.assert_close(book.moving_mean.flatten(), drop_in.running_mean)
    n = X.numel() // 3
    book_step, torch_step = book.moving_var.flatten() - 0.8, drop_in.running_var - 0.8
    torch.testing.assert_close(book_step * n / (n - 1), torch_step)


@pytest.mark.parametrize("training", [True, False])
def test_module(training):
    layer = BatchNorm(3, 4).train(training)
    X = make_input((4, 3, 5, 2), torch.float32)
    Y = layer(X)
    Y.sum().backward()
    assert layer.gamma.grad.shape == layer.beta.grad.shape == (1, 3, 1, 1)
    assert set(layer.state_dict()) == {"gamma", "beta", "moving_mean", "moving_var"}
    assert layer.moving_mean.eq(0).all() != training
    assert repr(layer) == "BatchNorm(3, num_dims=4, eps=1e-05, momentum=0.9)"
    with torch.no_grad():
        torch.testing.assert_close(BatchNorm(3, 4)(X), nn.BatchNorm2d(3)(X), rtol=0, atol=2e-5)


def test_errors():
    X, v = torch.ones(2, 3), torch.ones(3)
    good = (v, v, v, v)
    cases = [
        (TypeError, "floating", (X.long(), *good)),
        (ValueError, "shape", (torch.ones(2, 3, 4), *good)),
        (ValueError, "gamma", (X, torch.ones(2), v, v, v)),
        (ValueError, "moving_var", (X, v, v, v, torch.ones(3, 1))),
        (ValueError, "eps", (X, *good, 0.0)),
        (ValueError, "momentum", (X, *good, 1e-5, 1.1)),
        (ValueError, "more than one value", (X[:1], *good)),
    ]
    for error, match, args in cases:
        with pytest.raises(error, match=match):
            batch_norm(*args, training=True)
    batch_norm(X[:1], *good, training=False)
    for args in ((3, 3), (0, 2), (3, 2, 0.0), (3, 2, 1e-5, 2.0)):
        with pytest.raises(ValueError, match="must"):
            BatchNorm(*args)
    with pytest.raises(ValueError, match="4 axes"):
        BatchNorm(3, 4)(X)

"""The hand-made gradient: against finite differences, against autograd, and once more differentiated."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

import d2lnorm
from d2lnorm import Normalize
from d2lnorm.nn.normalize import formula

# shape of X, axes of the statistics, shape of weight and bias (None: without)
KINDS = {
    "batch": ((4, 3, 2, 2), (0, 2, 3), (1, 3, 1, 1)),
    "batch of vectors": ((5, 3), (0,), (1, 3)),
    "two values": ((2, 3), (0,), (1, 3)),
    "layer": ((2, 3, 4), (2,), (1, 1, 4)),
    "layer, two axes": ((2, 3, 4), (1, 2), (1, 3, 4)),
    "layer, one vector": ((6,), (0,), (6,)),
    "instance": ((2, 3, 5), (2,), (1, 3, 1)),
    "group": ((2, 2, 3, 4), (2, 3), (1, 2, 3, 1)),
    "bare": ((3, 4), (1,), None),
}


def arguments(kind, seed=0):
    shape, axes, affine = KINDS[kind]
    generator = torch.Generator().manual_seed(seed)

    def leaf(shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)

    X = leaf(shape)
    return (X, None, None, axes, 0.1) if affine is None else (X, leaf(affine), leaf(affine), axes, 0.1)


def output(*args):
    return Normalize.apply(*args)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_gradient(kind):
    assert gradcheck(output, arguments(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_of_the_gradient(kind):
    assert gradgradcheck(output, arguments(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_textbook_under_autograd(kind):
    X, weight, bias, axes, eps = arguments(kind)
    mean = X.mean(axes, keepdim=True)
    var = ((X - mean) ** 2).mean(axes, keepdim=True)
    expected = (X - mean) / torch.sqrt(var + eps)
    if weight is not None:
        expected = expected * weight + bias
    Y, ours_mean, ours_var = Normalize.apply(X, weight, bias, axes, eps)
    torch.testing.assert_close((Y, ours_mean, ours_var), (expected, mean.detach(), var.detach()))
    inputs = [t for t in (X, weight, bias) if t is not None]
    g = torch.randn_like(Y)
    torch.testing.assert_close(torch.autograd.grad(Y, inputs, g), torch.autograd.grad(expected, inputs, g))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shift", [0.0, 1e4])
def test_the_fast_path_computes_the_formula(kind, shift):
    X, weight, bias, axes, eps = arguments(kind)
    X = (X.detach() + shift).requires_grad_()
    inputs = [t for t in (X, weight, bias) if t is not None]
    results = []
    for run in (Normalize.apply, formula):
        Y, mean, var = run(X, weight, bias, axes, eps)
        grads = torch.autograd.grad(Y, inputs, Y.detach().cos())
        results.append((Y, mean.detach(), var.detach(), *grads))
    torch.testing.assert_close(*results, rtol=1e-11, atol=1e-11)


def test_gradients_do_not_share_memory_with_each_other():
    X, weight, bias, axes, eps = arguments("layer, one vector")
    g = torch.ones(6, dtype=torch.float64)
    grads = torch.autograd.grad(output(X, weight, bias, axes, eps), [X, weight, bias], g)
    for t in grads:
        before = [u.clone() for u in grads]
        t.add_(1)
        changed = [not torch.equal(a, b) for a, b in zip(grads, before, strict=True)]
        assert sum(changed) == 1
    assert torch.equal(g, torch.ones_like(g))


@pytest.mark.parametrize("shape", [(1, 4, 1, 1), (2, 4, 3, 2, 2), (4, 3, 2, 3)])
def test_a_parameter_that_does_not_fit_is_refused(shape):
    """Not broadcast to something larger, in silence."""
    X, weight, bias, axes, eps = arguments("batch")
    for wrong in ((torch.ones(shape), bias), (weight, torch.ones(shape))):
        with pytest.raises(RuntimeError, match="must"):
            d2lnorm.normalize(X, axes, *wrong, eps)


def test_statistics_carry_no_graph():
    Y, mean, var = Normalize.apply(*arguments("batch"))
    assert Y.requires_grad
    assert not mean.requires_grad
    assert not var.requires_grad


def test_only_what_is_asked_for_is_computed():
    X, weight, bias, axes, eps = arguments("batch")
    output(X.detach(), weight, bias, axes, eps).sum().backward()
    assert X.grad is None
    torch.testing.assert_close(bias.grad, torch.full_like(bias, 16.0))


@pytest.mark.parametrize(
    "layer",
    [
        d2lnorm.BatchNorm1d(3, dtype=torch.float64),
        d2lnorm.BatchNorm1d(3, dtype=torch.float64).eval(),
        d2lnorm.InstanceNorm1d(3, affine=True, dtype=torch.float64),
        d2lnorm.GroupNorm(3, 3, dtype=torch.float64),
        d2lnorm.LayerNorm([3, 4], dtype=torch.float64),
        d2lnorm.RMSNorm(4, dtype=torch.float64),
    ],
    ids=repr,
)
def test_layers_can_be_differentiated_twice(layer):
    X = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert gradcheck(layer, X)
    assert gradgradcheck(layer, X)

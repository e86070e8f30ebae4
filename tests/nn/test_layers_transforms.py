"""Autocast, and what torch.func does to a layer: many at once, forward mode, gradients per sample, Hessians."""

import pytest
import torch
from layer_oracle import fill
from torch import func, nn
from torch.autograd import forward_ad, functional
from torch.utils.checkpoint import checkpoint

import d2lnorm

# what torch itself says when it first differentiates in forward mode; words and class differ between its versions
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script")

LAYERS = {
    "batch": lambda m, **k: m.BatchNorm2d(6, track_running_stats=False, **k),
    "batch, evaluation": lambda m, **k: m.BatchNorm2d(6, **k).eval(),
    "instance": lambda m, **k: m.InstanceNorm2d(6, affine=True, **k),
    "instance, bare": lambda m, **k: m.InstanceNorm2d(6, **k),
    "group": lambda m, **k: m.GroupNorm(2, 6, **k),
    "layer": lambda m, **k: m.LayerNorm(3, **k),
    "layer, two axes": lambda m, **k: m.LayerNorm([4, 3], **k),
    "layer, bare": lambda m, **k: m.LayerNorm(3, elementwise_affine=False, **k),
    "RMS": lambda m, **k: m.RMSNorm(3, **k),
}
X = torch.randn(2, 6, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def pair(name, dtype=torch.float64):
    theirs, ours = (LAYERS[name](m, dtype=dtype) for m in (nn, d2lnorm))
    fill(theirs)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def call(layer, parameters, X):
    return func.functional_call(layer, parameters, (X,))


def cube(layer):
    return lambda X, *parameters: ((call(layer, *parameters, X) if parameters else layer(X)) ** 3).sum()


def parameters(layer):
    return {name: p.detach() for name, p in layer.named_parameters()}


def many(layer):
    return {name: torch.stack([p, p + 1, 2 * p]) for name, p in parameters(layer).items()}


TRANSFORMS = {
    "vmap": lambda layer: func.vmap(layer)(torch.stack([X, 2 * X, X.sin()])),
    "vmap over the second axis": lambda layer: func.vmap(layer, 1, 2)(torch.stack([X, X.sin()], 1)),
    "vmap of vmap": lambda layer: func.vmap(func.vmap(layer))(torch.stack([X, X.sin()] * 3).view(3, 2, *X.shape)),
    "jvp": lambda layer: func.jvp(layer, (X,), (X.sin(),))[1],
    "jvp of the parameters too": lambda layer: func.jvp(
        lambda p, X: call(layer, p, X),
        (parameters(layer), X),
        ({k: p.sin() for k, p in parameters(layer).items()}, X.sin()),
    )[1],
    "an ensemble": lambda layer: func.vmap(lambda p: call(layer, p, X))(many(layer)),
    "gradients of an ensemble": lambda layer: func.vmap(func.grad(cube(layer)), (None, 0))(X, many(layer)),
    "gradients per sample": lambda layer: func.vmap(func.grad(cube(layer), 1), (0, None))(
        X.unsqueeze(1), parameters(layer)
    ),
    "Jacobian": lambda layer: functional.jacobian(lambda X: layer(X)[0, :2], X, vectorize=True),
    "Jacobian in forward mode": lambda layer: func.jacfwd(lambda X: layer(X)[0, :2])(X),
    "Hessian": lambda layer: func.hessian(cube(layer))(X),
    "Hessian in reverse mode": lambda layer: functional.hessian(cube(layer), X, vectorize=True),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_transforms(name, transform):
    if ("ensemble" in transform or "parameters" in transform or "sample" in transform) and "bare" in name:
        return  # there are no parameters
    theirs, ours = pair(name)
    same = {"Hessian in reverse mode": "Hessian"}  # before 2.14, torch.nn's group norm has no such gradient of many
    expected, actual = TRANSFORMS[same.get(transform, transform)](theirs), TRANSFORMS[transform](ours)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)


def test_second_derivatives_by_forward_mode():
    """torch.nn's layer norm is no help here: it disagrees with its own Hessian."""
    for name in ("batch", "layer", "group"):
        _, ours = pair(name)
        hessian = func.hessian(cube(ours))(X)
        for outer in (func.jacrev, func.jacfwd):
            torch.testing.assert_close(outer(func.jacfwd(cube(ours)))(X), hessian, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", LAYERS)
def test_dual_numbers(name):
    """Forward mode without torch.func: of the input, and of the input's gradient."""
    theirs, ours = pair(name)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(X.clone().requires_grad_(), X.sin())
        tangent, expected = (forward_ad.unpack_dual(layer(dual)).tangent for layer in (ours, theirs))
        second = forward_ad.unpack_dual(torch.autograd.grad(cube(ours)(dual), dual)[0]).tangent
    torch.testing.assert_close(tangent, expected, rtol=1e-9, atol=1e-9)
    product = functional.hvp(cube(theirs), X, X.sin())[1]
    torch.testing.assert_close(second, product, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", LAYERS)
def test_recomputed_under_a_checkpoint(name):
    _, layer = pair(name)
    leaves = [X.clone().requires_grad_() for _ in range(2)]
    layer(leaves[0]).sin().sum().backward()
    checkpoint(layer, leaves[1], use_reentrant=False).sin().sum().backward()
    assert torch.equal(leaves[0].grad, leaves[1].grad)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["layer", "group", "batch", "instance", "RMS"])
def test_autocast(name, dtype):
    """What autocast does to matrix products does not touch our sums, not even for gradients beyond 65504."""
    make = {
        "layer": lambda m: m.LayerNorm(512),
        "group": lambda m: m.GroupNorm(2, 16),
        "batch": lambda m: m.BatchNorm1d(16),
        "instance": lambda m: m.InstanceNorm1d(16, affine=True),
        "RMS": lambda m: m.RMSNorm(512),
    }[name]
    generator = torch.Generator().manual_seed(0)
    X, g = (torch.randn(8, 16, 512, generator=generator) for _ in range(2))
    for scale in (1.0, 65536.0):
        results = []
        for library in (nn, d2lnorm):
            layer, leaf = make(library), X.clone().requires_grad_()
            fill(layer)
            leaves = [leaf, *layer.parameters()]
            with torch.autocast("cpu", dtype):  # the backward pass too
                grads = torch.autograd.grad((layer(leaf) * (g * scale)).sum(), leaves)
                first = torch.autograd.grad((layer(leaf) * (g * scale)).sum(), leaf, create_graph=True)[0]
                second = torch.autograd.grad((first / scale).square().sum(), leaf)
            results.append([*grads, first.detach(), *second])
        for e, a in zip(*results, strict=True):
            assert a.isfinite().all()
            largest = e.abs().max().item()
            torch.testing.assert_close(a, e, rtol=0, atol=1000 * torch.finfo(torch.float32).eps * largest)


def test_reduced_precision_of_matrix_products_is_not_ours():
    before = torch.get_float32_matmul_precision()
    try:
        grads = []
        for precision in ("highest", "medium"):
            torch.set_float32_matmul_precision(precision)
            leaf = (1 + X.float().repeat(1, 1, 32, 4)).requires_grad_()
            layer = d2lnorm.LayerNorm(leaf.shape[-1])
            fill(layer)
            (layer(leaf) ** 3).sum().backward()
            grads.append(leaf.grad)
    finally:
        torch.set_float32_matmul_precision(before)
    torch.testing.assert_close(*grads, rtol=1e-5, atol=1e-5 * grads[0].abs().max().item())

"""Inputs that break careless formulas, and any input that hypothesis can think of."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_oracle import assert_as_accurate, assert_same, fill, make_input, run
from torch import nn

import d2lnorm

MAKERS = {
    "BatchNorm2d": lambda m, C, L, **k: m.BatchNorm2d(C, **k),
    "InstanceNorm2d": lambda m, C, L, **k: m.InstanceNorm2d(C, affine=True, track_running_stats=True, **k),
    "GroupNorm": lambda m, C, L, **k: m.GroupNorm(2, C, **k),
    "LayerNorm": lambda m, C, L, **k: m.LayerNorm([C, L, L], **k),
    "LayerNorm of rows": lambda m, C, L, **k: m.LayerNorm(L, **k),
    "RMSNorm": lambda m, C, L, **k: m.RMSNorm([C, L, L], **k),
}


def pair(name, C=4, L=6, **kwargs):
    theirs = MAKERS[name](nn, C, L, **kwargs)
    fill(theirs)
    ours = MAKERS[name](d2lnorm, C, L, **kwargs)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def images(N=8, C=4, L=6, seed=0):
    return torch.randn(N, C, L, L, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("mean", [1e2, 1e4, -1e4])
def test_large_mean(name, mean):
    ours, theirs = pair(name)
    assert_as_accurate(ours, theirs, images() + mean)


@pytest.mark.parametrize("name", [n for n in MAKERS if n != "RMSNorm"])
def test_large_mean_is_normalized(name):
    layer = MAKERS[name](d2lnorm, 4, 6)
    X = images(64) + 1e4
    Y = layer(X)
    # x - mu is exact, and mu is off by half an epsilon of 1e4 at most: 5e-4; the variance hardly suffers
    assert Y.mean().abs() < 1e-3
    assert (Y.var() - 1).abs() < 0.1


@pytest.mark.parametrize("mean", [0.0, 1e2, 1e4, -1e4])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", ["BatchNorm2d", "InstanceNorm2d", "GroupNorm", "LayerNorm"])
def test_large_mean_beside_float64(name, memory_format, mean):
    """Whatever the mean: x - mu is as exact as x, so that y is off by a few epsilons of its own size."""
    ours, _ = pair(name, L=40)
    X = (images(L=40) + mean).to(memory_format=memory_format)
    Y, exact = ours(X), copy.deepcopy(ours).double()(X.double())
    epsilon = torch.finfo(torch.float32).eps
    torch.testing.assert_close(Y.double(), exact, rtol=0, atol=10 * epsilon * exact.abs().max().item())


@pytest.mark.parametrize("mean", [1e2, 1e4, -1e4])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_large_mean_in_evaluation(memory_format, mean):
    """scale x + shift: two numbers as large as scale times the mean, which round before they cancel.

    Not so where gradients are wanted: there output and gradients are as accurate as torch.nn's.
    """
    ours, theirs = pair("BatchNorm2d")
    for layer in (ours, theirs):
        layer.eval().running_mean.add_(mean)
    for N in (1, 8):
        X = (images(N) + mean).to(memory_format=memory_format)
        assert_as_accurate(ours, theirs, X)
        exact = copy.deepcopy(ours).double()
        largest = (exact.weight / (exact.running_var + exact.eps).sqrt()).abs().max().item() * abs(mean)
        atol = 4 * torch.finfo(torch.float32).eps * largest
        with torch.no_grad():
            torch.testing.assert_close(ours(X).double(), exact(X.double()), rtol=0, atol=atol)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize(("scale", "eps"), [(1e-2, 1e-4), (1e-3, 1e-5), (1e-6, 1e-5), (1.0, 1.0), (1e6, 1e-5)])
def test_eps_beside_the_variance(name, scale, eps):
    ours, theirs = pair(name, eps=eps)
    assert_as_accurate(ours, theirs, images() * scale)


@pytest.mark.parametrize(
    ("name", "args", "shape"),
    [
        ("BatchNorm1d", (2,), (40000, 2)),
        ("BatchNorm2d", (2,), (3, 2, 200, 150)),
        ("InstanceNorm2d", (2,), (1, 2, 200, 150)),
        ("InstanceNorm1d", (1,), (1, 1, 40000)),
        ("LayerNorm", (100000,), (2, 100000)),
        ("LayerNorm", ([300, 100],), (2, 300, 100)),
        ("GroupNorm", (2, 4), (2, 4, 100, 200)),
    ],
)
def test_many_values(name, args, shape):
    """Sums of tens of thousands of values lose no digits that torch.nn keeps."""
    X = torch.randn(shape, generator=torch.Generator().manual_seed(0)) + 3
    assert_as_accurate(getattr(d2lnorm, name)(*args), getattr(nn, name)(*args), X)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("value", [0.0, 1.0, -3.7, 1e4])
def test_constant_input(name, value):
    ours, theirs = pair(name)
    assert_as_accurate(ours, theirs, torch.full((8, 4, 6, 6), value))


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("outlier", [1e30, -1e30, 1e15])
def test_single_outlier(name, outlier):
    """The square of 1e30 is infinite in float32: the layer gives its bias and no gradient, and no NaN."""
    ours, theirs = pair(name)
    X = images()
    X[1, 2, 3, 4] = outlier
    (actual, grads), (expected, expected_grads) = run(ours, X), run(theirs, X)
    for a, e in zip([actual, *grads], [expected, *expected_grads], strict=True):
        assert a.isfinite().all()
        finite = e.isfinite()  # torch.nn's layer norm gives NaN for a short row with such an outlier
        assert finite.all() or name == "LayerNorm of rows"
        assert_same(a[finite], e[finite], name)
    for a, e in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(a, e)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_and_infinity_stay_where_they_belong(name, bad):
    ours, theirs = pair(name)
    X = images()
    X[1, 2, 3, 4] = bad
    assert torch.equal(ours(X).isnan(), theirs(X).isnan())


def test_one_value_is_normalized_to_zero():
    ours, theirs = nn.LayerNorm(1), d2lnorm.LayerNorm(1)
    X = make_input((4, 2, 3, 1), torch.float32)
    assert_as_accurate(theirs, ours, X)
    assert torch.equal(d2lnorm.LayerNorm(1)(X), torch.zeros(4, 2, 3, 1))


def test_eps_zero_and_a_constant_channel():
    X = images()
    X[:, 1] = 3.0
    for name in ("InstanceNorm2d", "GroupNorm", "LayerNorm"):
        ours, theirs = pair(name, eps=0.0)
        assert_as_accurate(ours, theirs, X)
    assert d2lnorm.LayerNorm(3, eps=0.0)(torch.ones(2, 3)).eq(0).all()  # torch.nn: NaN


# Drawn inputs

values = st.floats(-1e3, 1e3, width=32).map(lambda v: round(v, 3))
KINDS = ["BatchNorm1d", "BatchNorm2d", "InstanceNorm1d", "GroupNorm", "LayerNorm", "RMSNorm"]


@st.composite
def cases(draw):
    """A layer's name, its arguments, and an input of float64 that it takes."""
    name = draw(st.sampled_from(KINDS))
    N, C, L, W = (draw(st.integers(1, 4)) for _ in range(4))
    kwargs = {"eps": draw(st.sampled_from([1e-5, 1e-2, 1.0]))}
    shape = {"BatchNorm2d": (N, C, L + 1, W)}.get(name, (N, C, L + 1))
    if name == "BatchNorm1d" and draw(st.booleans()):
        shape = (N + 1, C)
    args = (C,)
    if name == "GroupNorm":
        args = (draw(st.sampled_from([g for g in (1, 2, 3, 4) if C % g == 0])), C)
    if name in ("LayerNorm", "RMSNorm"):
        axes = draw(st.integers(1, len(shape)))
        args = (list(shape[len(shape) - axes :]),)
        kwargs["elementwise_affine"] = draw(st.booleans())
    else:
        kwargs["affine"] = draw(st.booleans())
    size = 1
    for s in shape:
        size *= s
    X = torch.tensor(draw(st.lists(values, min_size=size, max_size=size)), dtype=torch.float64)
    return name, args, kwargs, X.view(shape) + draw(st.sampled_from([0.0, 1e4]))


drawn = settings(max_examples=150, deadline=None, database=None, derandomize=True)


@drawn
@given(cases())
def test_any_input(case):
    name, args, kwargs, X = case
    ours = getattr(d2lnorm, name)(*args, **kwargs).double()
    theirs = getattr(nn, name)(*args, **kwargs).double()
    fill(theirs)
    ours.load_state_dict(theirs.state_dict())
    (actual, grads), (expected, expected_grads) = run(ours, X), run(theirs, X)
    # A change of x by epsilon |x| changes y by that / sqrt(var + eps), and the gradient by the root once more
    root = kwargs["eps"] ** -0.5
    off = 100 * torch.finfo(torch.float64).eps * max(1.0, X.abs().max().item()) * root
    for a, e, tolerance in zip(
        [actual, *grads], [expected, *expected_grads], [off, off * root, *[off * X.numel()] * 2], strict=False
    ):
        if e is not None:
            torch.testing.assert_close(a, e, rtol=0, atol=tolerance * max(1.0, e.abs().max().item()))
    torch.testing.assert_close(ours.eval()(X), theirs.eval()(X), rtol=0, atol=10 * off)


@drawn
@given(cases(), st.integers(-3, 3), st.integers(-64, 64))
def test_shift_and_scale_change_nothing(case, power, shift):
    """Normalizing takes out the scale and (but for RMS norm) the mean, when eps is small beside the variance.

    Half-integers, powers of 2 and small shifts are exact in float64, so that only the layer itself rounds.
    """
    name, args, kwargs, X = case
    X = (X.clamp(-1e3, 1e3) * 2).round() / 2
    layer = getattr(d2lnorm, name)(*args, **kwargs | {"eps": 1e-12}).double()
    moved = X * 2.0**power + (0 if name == "RMSNorm" else shift)
    # sigma^2 is 0, or at least 1e-2 for half-integers in groups this small: eps changes y by less than 1e-8
    torch.testing.assert_close(layer(moved), layer(X), rtol=0, atol=1e-6)


@drawn
@given(st.lists(values, min_size=1, max_size=30), st.floats(0, 1), st.integers(0, 2**31))
def test_dropout(numbers, p, seed):
    X = torch.tensor(numbers)
    torch.manual_seed(seed)
    ours = d2lnorm.dropout(X, p)
    torch.manual_seed(seed)
    assert torch.equal(ours, nn.functional.dropout(X, p))
    kept = ours != 0
    if p < 1:
        torch.testing.assert_close(ours[kept], X[kept] / (1 - p))


@pytest.mark.parametrize("layer", [d2lnorm.BatchNorm(4, 4), d2lnorm.BatchNorm2d(4), d2lnorm.GroupNorm(2, 4)])
def test_the_strides_of_the_gradient_that_comes_back_change_nothing(layer):
    """In images of width 1 they look like channels-last; there torch 2.15's nn.BatchNorm2d errs on a CPU."""
    X, dY = images(L=5)[..., :1].double().contiguous().requires_grad_(), images(L=5, seed=1)[..., :1].double()
    dY = dY.contiguous()
    turned = dY.transpose(1, 2).contiguous().transpose(1, 2)
    assert turned.is_contiguous(memory_format=torch.channels_last)
    Y = layer.double()(X)
    dX, again = (torch.autograd.grad(Y, X, upstream, retain_graph=True)[0] for upstream in (dY, turned))
    torch.testing.assert_close(again, dX)

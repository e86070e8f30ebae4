"""A folded batch norm gives what the pair gave."""

import copy

import pytest
import torch
from layer_oracle import fill
from torch import nn

import d2lnorm
from d2lnorm import fold_batch_norm

LAYERS = {
    "linear": (lambda **k: nn.Linear(5, 6, **k), (3, 5), 2),
    "conv1d": (lambda **k: nn.Conv1d(4, 6, 3, padding=1, **k), (3, 4, 7), 3),
    "conv2d": (
        lambda **k: nn.Conv2d(4, 6, 3, stride=2, padding_mode="circular", padding=1, **k),
        (3, 4, 7, 8),
        4,
    ),
    "conv2d, groups": (lambda **k: nn.Conv2d(4, 6, 3, groups=2, dilation=2, **k), (3, 4, 7, 8), 4),
    "conv3d": (lambda **k: nn.Conv3d(4, 6, 2, **k), (2, 4, 3, 4, 3), 5),
    "transposed": (lambda **k: nn.ConvTranspose2d(4, 6, 3, **k), (2, 4, 5, 5), 4),
    "transposed, groups": (lambda **k: nn.ConvTranspose2d(4, 6, 3, groups=2, **k), (2, 4, 5, 5), 4),
}


def norms(num_dims):
    """Every batch norm that takes this number of axes."""
    name = {2: "BatchNorm1d", 3: "BatchNorm1d", 4: "BatchNorm2d", 5: "BatchNorm3d"}[num_dims]
    for kwargs in ({}, {"affine": False}, {"bias": False}, {"eps": 0.5}):
        yield getattr(nn, name)(6, **kwargs)
        yield getattr(d2lnorm, name)(6, **kwargs)
    if num_dims in (2, 4):
        yield d2lnorm.BatchNorm(6, num_dims)
        yield d2lnorm.BatchNorm(6, num_dims, eps=0.5)


def randomize(bn):
    fill(bn)
    if isinstance(bn, d2lnorm.BatchNorm):
        with torch.no_grad():
            bn.moving_var.abs_().add_(0.5)
    return bn.eval()


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("bias", [True, False])
def test_equals_the_pair(kind, bias):
    make, shape, num_dims = LAYERS[kind]
    for bn in norms(num_dims):
        torch.manual_seed(0)
        layer = make(bias=bias)
        randomize(bn)
        X = torch.randn(shape)
        before = copy.deepcopy([layer.state_dict(), bn.state_dict()])
        folded = fold_batch_norm(layer, bn)
        assert type(folded) is type(layer)
        expected = bn(layer(X))
        # a few dozen products and sums, rounded in another order: 32 epsilons of the largest value
        atol = 32 * torch.finfo(torch.float32).eps * max(1.0, expected.abs().max().item())
        torch.testing.assert_close(folded(X), expected, rtol=0, atol=atol)
        exact = bn.double()(layer.double()(X.double()))
        ours = fold_batch_norm(layer, bn)(X.double())
        torch.testing.assert_close(ours, exact, rtol=1e-12, atol=1e-12)
        for a, e in zip([layer.state_dict(), bn.state_dict()], before, strict=True):
            for key in e:
                torch.testing.assert_close(a[key].float(), e[key].float(), rtol=0, atol=0)


def test_the_copy_is_independent_and_keeps_type_and_mode():
    layer, bn = nn.Linear(2, 3, dtype=torch.bfloat16), randomize(nn.BatchNorm1d(3, dtype=torch.bfloat16))
    layer.weight.requires_grad_(False)
    folded = fold_batch_norm(layer, bn)
    assert folded.weight.dtype == folded.bias.dtype == torch.bfloat16
    assert not folded.weight.requires_grad
    assert folded.weight.data_ptr() != layer.weight.data_ptr()
    assert fold_batch_norm(layer.eval(), bn).training is False


def test_what_cannot_be_folded():
    linear, conv = nn.Linear(2, 3), nn.Conv2d(2, 3, 1)
    with pytest.raises(ValueError, match="eval"):
        fold_batch_norm(linear, d2lnorm.BatchNorm1d(3))
    with pytest.raises(ValueError, match="running statistics"):
        fold_batch_norm(linear, d2lnorm.BatchNorm1d(3, track_running_stats=False).eval())
    with pytest.raises(ValueError, match="3 outputs, but batch norm 4"):
        fold_batch_norm(conv, nn.BatchNorm2d(4).eval())
    with pytest.raises(TypeError, match="ReLU"):
        fold_batch_norm(nn.ReLU(), nn.BatchNorm2d(3).eval())
    with pytest.raises(TypeError, match="LayerNorm"):
        fold_batch_norm(linear, nn.LayerNorm(3).eval())
    with pytest.raises(TypeError, match="InstanceNorm"):
        fold_batch_norm(conv, d2lnorm.InstanceNorm2d(3, track_running_stats=True).eval())


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")
def test_computed_and_missing_weights_are_refused():
    bn, conv = nn.BatchNorm2d(3).eval(), lambda: nn.Conv2d(2, 3, 1)
    for wrap in (nn.utils.parametrizations.weight_norm, nn.utils.weight_norm, nn.utils.spectral_norm):
        with pytest.raises(TypeError, match="Conv2d is no parameter"):
            fold_batch_norm(wrap(conv()), bn)
    with pytest.raises(TypeError, match="Conv2d is no parameter"):
        fold_batch_norm(nn.utils.parametrizations.weight_norm(conv(), "bias"), bn)
    with pytest.raises(ValueError, match="LazyLinear has no weight yet"):
        fold_batch_norm(nn.LazyLinear(3), nn.BatchNorm1d(3).eval())


def test_a_whole_net():
    ours = d2lnorm.BatchNorm, d2lnorm.BatchNorm1d, d2lnorm.BatchNorm2d
    batch_norms = *ours, nn.BatchNorm1d, nn.BatchNorm2d
    for norm in (
        "scratch",
        "torch",
        lambda C, dims: (d2lnorm.BatchNorm1d if dims == 2 else d2lnorm.BatchNorm2d)(C),
    ):
        torch.manual_seed(0)
        net = d2lnorm.lenet(norm)
        X = torch.randn(16, 1, 28, 28)
        for _ in range(3):
            net(X)
        net.eval()
        folded = []
        for layer in net:
            if isinstance(layer, batch_norms):
                folded[-1] = fold_batch_norm(folded[-1], layer)
            else:
                folded.append(layer)
        assert len(folded) == len(net) - 4
        torch.testing.assert_close(nn.Sequential(*folded)(X), net(X), rtol=0, atol=1e-5)

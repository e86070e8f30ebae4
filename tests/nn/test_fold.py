"""A folded batch norm gives what the pair gave."""

import copy

import pytest
import torch
from layer_oracle import fill
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

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
    yield nn.SyncBatchNorm(6)


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
    for bn in (nn.BatchNorm1d(3), nn.LazyBatchNorm1d()):
        with pytest.raises(ValueError, match="LazyLinear has no weight yet"):
            fold_batch_norm(nn.LazyLinear(3), bn.eval())
    for bn in (nn.LazyBatchNorm1d(), nn.LazyBatchNorm1d(affine=False)):
        with pytest.raises(ValueError, match="LazyBatchNorm1d has no weight yet"):
            fold_batch_norm(nn.Linear(2, 3), bn.eval())


class Standardized(nn.Conv2d):
    """Standardizes its weight in each forward pass."""

    def forward(self, x):
        w = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return self._conv_forward(x, w / w.std((1, 2, 3), keepdim=True), self.bias)


class Rectified(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(x).relu()


class Doubled(nn.Module):
    def forward(self, t):
        return 2 * t


def doubled(module, *args):
    """A hook: twice the output, or the input."""
    return 2 * args[-1] if len(args) == 2 else (2 * args[0][0],)


def own_forward(module):
    module.forward = lambda x: 2 * type(module).forward(module, x)


def own_conv_forward(module):
    module._conv_forward = lambda x, w, b: 2 * type(module)._conv_forward(module, x, w, b)


def plain_tensor(module):
    weight = module.weight.detach()
    del module.weight
    module.weight = weight


# what somebody does to a layer or its batch norm: (words of the refusal, how to undo it or None)
SPOILED = {
    "hook": (lambda m: m.register_forward_hook(doubled), "has forward hooks", lambda m: m._forward_hooks.clear()),
    "hook before": (
        lambda m: m.register_forward_pre_hook(doubled),
        "has forward hooks",
        lambda m: m._forward_pre_hooks.clear(),
    ),
    "forward": (own_forward, "has a forward of its own", lambda m: vars(m).pop("forward")),
    "pruned weight": (
        lambda m: prune.random_unstructured(m, "weight", 0.5),
        "the weight of this .* is no parameter",
        lambda m: prune.remove(m, "weight"),
    ),
    "pruned bias": (
        lambda m: prune.random_unstructured(m, "bias", 0.5),
        "the bias of this .* is no parameter",
        lambda m: prune.remove(m, "bias"),
    ),
    "computed bias": (
        lambda m: parametrize.register_parametrization(m, "bias", Doubled()),
        "the bias of this .* is no parameter",
        lambda m: parametrize.remove_parametrizations(m, "bias"),
    ),
    "plain tensor": (plain_tensor, "the weight of this .* is no parameter", None),
}


@pytest.mark.parametrize("spoil", SPOILED)
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("norm", [nn.BatchNorm2d, d2lnorm.BatchNorm2d])
def test_what_a_call_may_change_is_refused(spoil, which, norm):
    change, words, undo = SPOILED[spoil]
    torch.manual_seed(0)
    pair, X = [nn.Conv2d(3, 6, 3).eval(), randomize(norm(6))], torch.randn(2, 3, 5, 5)
    change(pair[which])
    with pytest.raises(TypeError, match=words):
        fold_batch_norm(*pair)
    if undo is not None:  # the remedy that the error names
        undo(pair[which])
        torch.testing.assert_close(fold_batch_norm(*pair)(X), pair[1](pair[0](X)), rtol=1e-4, atol=1e-4)


def test_the_book_s_layer_is_looked_at_as_well():
    linear, X = nn.Linear(4, 6), torch.randn(5, 4)
    for change, words, undo in (SPOILED["hook"], SPOILED["forward"]):
        bn = randomize(d2lnorm.BatchNorm(6, 2))
        change(bn)
        with pytest.raises(TypeError, match=words):
            fold_batch_norm(linear, bn)
        undo(bn)
        torch.testing.assert_close(fold_batch_norm(linear, bn)(X), bn(linear(X)), rtol=1e-4, atol=1e-4)
    prune.random_unstructured(bn, "gamma", 0.5)
    with pytest.raises(TypeError, match="the gamma of this BatchNorm is no parameter"):
        fold_batch_norm(linear, bn)
    with pytest.raises(TypeError, match="Mine is a subclass of BatchNorm and"):
        fold_batch_norm(linear, type("Mine", (d2lnorm.BatchNorm,), {})(6, 2).eval())


def test_subclasses_are_refused():
    conv, bn = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6).eval()
    with pytest.raises(TypeError, match="Standardized is a subclass of Conv2d .* into a plain Conv2d"):
        fold_batch_norm(Standardized(3, 6, 3), bn)
    with pytest.raises(TypeError, match="Rectified is a subclass of BatchNorm2d"):
        fold_batch_norm(conv, Rectified(6).eval())
    own_conv_forward(conv)
    with pytest.raises(TypeError, match="has a _conv_forward of its own"):
        fold_batch_norm(conv, bn)
    # the remedy that the error names
    same = type("Same", (nn.Conv2d,), {})(3, 6, 3)
    conv, X = nn.Conv2d(3, 6, 3), torch.randn(2, 3, 5, 5)
    conv.load_state_dict(same.state_dict())
    torch.testing.assert_close(fold_batch_norm(conv, randomize(bn))(X), bn(same(X)), rtol=1e-4, atol=1e-4)


def test_what_changes_no_result_may_stay():
    torch.manual_seed(0)
    lazy, bn, X = nn.LazyConv2d(6, 3), nn.LazyBatchNorm2d(momentum=None), torch.randn(2, 3, 5, 5)
    bn(lazy(X))  # these two are a Conv2d and a BatchNorm2d now
    randomize(bn)
    bn.track_running_stats = False  # where there are statistics, evaluation takes them
    bn.train = lambda mode=True: bn  # a way to freeze it
    lazy.register_full_backward_hook(lambda *args: None)
    torch.testing.assert_close(fold_batch_norm(lazy, bn)(X), bn(lazy(X)), rtol=1e-4, atol=1e-4)
    parametrizations.weight_norm(lazy)
    expected = bn(lazy(X))
    parametrize.remove_parametrizations(lazy, "weight")
    torch.testing.assert_close(fold_batch_norm(lazy, bn)(X), expected, rtol=1e-4, atol=1e-4)


def test_pairs_that_do_not_fit_are_refused():
    """Without a batch axis the pair runs, with other channels: Conv3d's (C, D, H, W) is (N, C, H, W) to BatchNorm2d."""
    conv1d, conv2d, conv3d = nn.Conv1d(2, 3, 1), nn.Conv2d(2, 3, 1), nn.Conv3d(2, 3, 1)
    assert nn.BatchNorm2d(3).eval()(conv3d(torch.ones(2, 3, 3, 3))).shape == (3, 3, 3, 3)
    for layer, bn, words in [
        (conv3d, nn.BatchNorm2d(3), "takes inputs with 4 axes, channels second, but Conv3d gives 5"),
        (conv2d, d2lnorm.BatchNorm1d(3), "takes inputs with 2 or 3 axes, channels second, but Conv2d gives 4"),
        (nn.Linear(2, 3), nn.BatchNorm2d(3), "Linear gives 2"),
        (conv1d, d2lnorm.BatchNorm(3, 2), "takes inputs with 2 axes, channels second, but Conv1d gives 3"),
        (conv1d, d2lnorm.BatchNorm(3, 4), "takes inputs with 4 axes, channels second, but Conv1d gives 3"),
        (nn.Conv2d(2, 3, 1, dtype=torch.complex64), nn.BatchNorm2d(3), "these are torch.complex64"),
    ]:
        with pytest.raises(TypeError, match=words):
            fold_batch_norm(layer, bn.eval())


@pytest.mark.parametrize("library", [nn, d2lnorm])
def test_half_statistics_are_refused(library):
    for name in ("running_mean", "running_var"):
        bn = library.BatchNorm1d(3).eval()
        setattr(bn, name, None)
        with pytest.raises(ValueError, match=f"{name} is None: evaluation needs both"):
            fold_batch_norm(nn.Linear(2, 3), bn)
    bn = library.BatchNorm1d(3).eval()
    bn.running_var = torch.ones(1)  # would be spread over all channels
    with pytest.raises(ValueError, match="3 outputs, but batch norm 1"):
        fold_batch_norm(nn.Linear(2, 3), bn)


def test_the_limit_that_the_docstring_names():
    """The pair takes L of (N, L, C) for the channels; nothing in it tells the folded layer that it would."""
    torch.manual_seed(0)
    linear, bn = nn.Linear(4, 6), randomize(nn.BatchNorm1d(6))
    folded, X = fold_batch_norm(linear, bn), torch.randn(3, 6, 4)
    torch.testing.assert_close(folded(X[:, 0]), bn(linear(X[:, 0])), rtol=1e-4, atol=1e-4)
    assert (folded(X) - bn(linear(X))).abs().max() > 0.1
    assert "only for its outputs of shape (N, C)" in fold_batch_norm.__doc__


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

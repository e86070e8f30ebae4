"""Xavier's weights: in which layers, from which numbers, and where they are refused."""

import copy
import warnings

import pytest
import torch
from small_runs import KEEP, Untouched, tiny
from torch import nn
from torch.nn.utils import parametrizations, prune

from d2lnorm import init_xavier, train


class MyLinear(nn.Linear):
    pass


class MyConv(nn.Conv2d):
    pass


LAYERS = [  # layer, fan-in + fan-out
    (nn.Linear(50, 30), 80),
    (MyLinear(50, 30), 80),
    (nn.Conv1d(7, 9, 4), 16 * 4),
    (nn.Conv2d(3, 5, 3), 8 * 9),
    (MyConv(3, 5, 3), 8 * 9),
    (nn.Conv3d(3, 5, 2), 8 * 8),
    (nn.ConvTranspose1d(7, 9, 4), 16 * 4),
    (nn.ConvTranspose2d(3, 5, 3), 8 * 9),
    (nn.ConvTranspose3d(3, 5, 2), 8 * 8),
]


@pytest.mark.parametrize(("layer", "fans"), LAYERS, ids=lambda value: type(value).__name__)
def test_xavier_s_bound(layer, fans):
    bias = layer.bias.clone()
    nn.init.constant_(layer.weight, 9.0)
    torch.manual_seed(0)
    init_xavier(layer)
    bound = (6 / fans) ** 0.5
    assert 0.9 * bound < layer.weight.abs().max() <= bound
    assert layer.weight.mean().abs() < bound / 5
    assert torch.equal(layer.bias, bias)
    assert layer.weight.requires_grad


@pytest.mark.parametrize("other", [nn.Embedding(5, 4), nn.BatchNorm2d(4), nn.Bilinear(3, 4, 5), nn.PReLU()], ids=str)
def test_other_layers_are_left_alone(other):
    before, random = copy.deepcopy(other.state_dict()), torch.get_rng_state()
    init_xavier(other)
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)


def old_weight_norm(layer):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return nn.utils.weight_norm(layer)


COMPUTED = {
    "weight_norm": lambda: parametrizations.weight_norm(nn.Linear(4, 3)),
    "weight_norm of old": lambda: old_weight_norm(nn.Linear(4, 3)),
    "spectral_norm": lambda: parametrizations.spectral_norm(nn.Linear(4, 3)),
    "orthogonal": lambda: parametrizations.orthogonal(nn.Linear(4, 3)),
    "pruned": lambda: prune.l1_unstructured(nn.Linear(4, 3), "weight", amount=2),
}
LAZY = [nn.LazyLinear, nn.LazyConv2d, nn.LazyConvTranspose1d]


@pytest.mark.parametrize("make", COMPUTED.values(), ids=COMPUTED)
def test_a_weight_that_is_computed_from_others_is_refused_and_not_computed(make):
    layer = make()
    with Untouched(layer), pytest.raises(ValueError, match="its weight is computed from others; pass `init_weights=`"):
        init_xavier(layer)


@pytest.mark.parametrize("make", LAZY)
def test_a_lazy_layer_is_refused_until_it_has_seen_a_batch(make):
    layer = make(5) if make is nn.LazyLinear else make(5, 2)
    with pytest.raises(ValueError, match=f"a {make.__name__}, .*: it is lazy and has no weight yet; run one batch"):
        init_xavier(layer)
    layer(torch.randn(2, 3, 4, 4) if make is nn.LazyConv2d else torch.randn(2, 3, 4))
    before = layer.weight.detach().clone()
    init_xavier(layer)
    assert not torch.equal(layer.weight, before)


@pytest.mark.parametrize("name", ["init_weights not given", "init_xavier given"])
@pytest.mark.parametrize("last", [*COMPUTED.values(), lambda: nn.LazyLinear(3)], ids=[*COMPUTED, "lazy"])
def test_train_names_such_a_layer_before_the_first_draw(name, last):
    options = {} if name == "init_weights not given" else {"init_weights": init_xavier}
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.BatchNorm1d(4), last()))
    model[1].eval()
    before, random = copy.deepcopy(model[0].state_dict()), torch.get_rng_state()
    with pytest.raises(ValueError, match=r"layer '1\.1', a .*, cannot have Xavier's weights: "):
        train(model, tiny(), tiny(), 1, 0.1, **options)
    assert all(torch.equal(value, before[name]) for name, value in model[0].state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert [m.training for m in model.modules()][:3] == [True, True, False]


@pytest.mark.parametrize("last", [*COMPUTED.values(), lambda: nn.LazyLinear(3)], ids=[*COMPUTED, "lazy"])
def test_with_weights_of_the_user_s_it_trains(last):
    history = train(nn.Sequential(nn.Linear(4, 4), last()), tiny(), tiny(), 2, 0.1, **KEEP)
    assert history.loss[1] < history.loss[0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_numbers_are_the_cpu_s_in_the_weight_s_type(dtype, layout):
    torch.manual_seed(3)
    expected = nn.init.xavier_uniform_(torch.empty(4, 3, 5, 5, dtype=dtype))
    after = torch.rand(1)
    layer = nn.Conv2d(3, 4, 5, dtype=dtype).to(memory_format=layout)
    torch.manual_seed(3)
    init_xavier(layer)
    assert torch.equal(layer.weight, expected)
    assert torch.rand(1) == after


def test_a_layer_on_another_device_takes_the_same_draws():
    after = []
    for layer in nn.Linear(4, 5), nn.Linear(4, 5, device="meta"):
        torch.manual_seed(3)
        init_xavier(layer)
        after.append(torch.rand(1))
    assert after[0] == after[1]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_weights_on_a_gpu_are_the_cpu_s():
    layers = nn.Linear(4, 5), nn.Linear(4, 5, device="cuda")
    for layer in layers:
        torch.manual_seed(3)
        init_xavier(layer)
    assert torch.equal(layers[0].weight, layers[1].weight.cpu())


def test_a_weight_that_is_a_slice_is_drawn_in_place():
    whole = torch.full((3, 12), 9.0)
    layer = nn.Linear(6, 3)
    layer.weight = nn.Parameter(whole[:, :6])
    init_xavier(layer)
    assert whole[:, :6].abs().max() < 1
    assert whole[:, 6:].eq(9).all()

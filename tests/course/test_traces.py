"""What the checks see of the traces that an answer leaves, and of what it uses."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from d2lnorm.course.exercises.common.feedback import NotYet
from d2lnorm.course.exercises.common.traces import forbidden, kept, untouched


def make_net():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5)))
    net[1][0].eval()
    net[0].weight.grad = torch.ones(3, 3)
    return net


TRACES = {
    "a weight": lambda net: net[0].weight.data.add_(1),
    "a buffer": lambda net: net[1][0].running_mean.add_(1),
    "a missing buffer": lambda net: net[1][0].register_buffer("num_batches_tracked", None),
    "a mode": lambda net: net.train(),
    "a hook": lambda net: net[0].register_forward_hook(lambda *_: None),
    "a gradient": lambda net: net.zero_grad(),
    "a gradient's numbers": lambda net: net[0].weight.grad.mul_(2),
    "requires_grad": lambda net: net[0].bias.requires_grad_(False),
    "momentum": lambda net: setattr(net[1][0], "momentum", 0.0),
    "a layer": lambda net: net.append(nn.ReLU()),
    "an exchanged layer": lambda net: net.__setitem__(0, nn.Identity()),
    "a tensor's type": lambda net: net.double(),
}


@pytest.mark.parametrize("change", TRACES.values(), ids=TRACES)
def test_a_change_of_a_net_is_seen_and_none_where_there_is_none(change):
    net = make_net()
    with kept(net=net):
        net(torch.randn(4, 3)).sum()
    with (
        pytest.raises(NotYet, match=r"net.* is not as it was: before .*, after |before the call; after it"),
        kept(net=net),
    ):
        change(net)


def test_what_is_new_or_gone_is_told_as_such_and_small_changes_with_digits_that_differ():
    net = make_net()
    told = pytest.raises(NotYet, match="spare of net was not there before the call; after it, it is a float32")
    with told, kept(net=net):
        net.register_buffer("spare", torch.ones(2))
    told = pytest.raises(NotYet, match="spare of net was a float32 tensor.* before the call; after it, it is gone")
    with told, kept(net=net):
        del net.spare
    X = torch.tensor([0.128798, 1], dtype=torch.float64)
    with pytest.raises(NotYet, match=r"before 0\.128798 at index \[0\], after 0\.1287980001 at"), kept(X=X):
        X[0] += 1e-10
    with pytest.raises(NotYet, match="left gradients switched off"), untouched():
        torch.set_grad_enabled(False)
    torch.set_grad_enabled(True)
    told = pytest.raises(NotYet, match="left torch.float64 as torch's default dtype, which was torch.float32")
    with told, untouched():
        torch.set_default_dtype(torch.float64)
    torch.set_default_dtype(torch.float32)


def test_a_change_of_a_class_is_seen():
    class Layer(nn.Module):
        factor = 1

    layer = Layer()
    with pytest.raises(NotYet, match="of the class Layer, for all nets, is not as it was"), kept(layer=layer):
        Layer.factor = 2


def test_a_change_inside_lists_and_of_the_generator_is_seen():
    batches = [(torch.zeros(2), torch.ones(2))]
    with pytest.raises(NotYet, match=r"batches\[0\]\[1\] is not"), kept(batches=batches):
        batches[0][1][0] = 5
    with pytest.raises(NotYet, match=r"requires_grad of batches\[0\]\[1\]"), kept(batches=batches):
        batches[0][1].requires_grad_()
    told = r"batches is not as it was: before nan at index \[1\], after 0 at index \[1\]\."
    values = torch.tensor([1, torch.nan, 3])
    with pytest.raises(NotYet, match=told), kept(batches=values):
        values.nan_to_num_(0)
    with pytest.raises(NotYet, match="before a float32 tensor.*, after a float64 tensor"), kept(values=values):
        values.data = values.data.double()
    with pytest.raises(NotYet, match="the length of batches"), kept(batches=batches):
        batches.clear()
    with kept(), torch.random.fork_rng():
        torch.rand(1)
    with pytest.raises(NotYet, match="global generator"), kept(generator=True):
        torch.rand(1)


X = torch.randn(4, 3, requires_grad=True)


@pytest.mark.parametrize(
    ("names", "function"),
    [
        (["layer_norm"], lambda: nn.LayerNorm(3)(X)),
        (["layer_norm"], lambda: F.layer_norm(X, (3,))),
        (["batch_norm"], lambda: torch.batch_norm(X, None, None, None, None, True, 0.1, 1e-5, False)),
        (["batch_norm"], lambda: nn.BatchNorm1d(3)(X)),
        (["backward"], lambda: X.sum().backward()),
        (["grad"], lambda: torch.autograd.grad(X.sum(), X)),
        (["any"], lambda: torch.tensor([1.0]) + 1),
    ],
)
def test_what_is_forbidden_is_seen(names, function):
    told = pytest.raises(NotYet, match=r"it calls torch's `\w+`, but the exercise says: do not")
    with told, forbidden(*names, asked="do not"):
        function()
    with forbidden("group_norm", asked="do not"):
        function()

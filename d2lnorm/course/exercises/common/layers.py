"""What the checks ask of a net and its layers."""

import copy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from d2lnorm.course.exercises.common.feedback import NotYet, expect, randn
from d2lnorm.course.exercises.common.traces import kept

__all__ = ["called", "expect_layers", "expect_lenet", "expect_meant", "expect_normalized", "expect_part", "start_of"]


def called(net: nn.Module, X: Tensor, training: bool) -> Any:
    """Return what the net returns in this mode, having seen that it leaves X and itself as they are."""
    things: dict[str, Any] = {f"X, in {'training' if training else 'evaluation'},": X, "net": net.train(training)}
    with kept(**things):
        return net(X)


def expect_part(net: Any, part: Any, name: str) -> None:
    expect(isinstance(net, nn.Module), "the class must be an nn.Module.")
    expect(
        any(m is part for m in net.modules()),
        f"`{name}` itself is not registered as a part of the net: net.modules() lacks it.",
    )


def expect_layers(net: Any, **sizes: tuple[int, int]) -> None:
    """Expect linear layers of these names and sizes that can learn."""
    for name, size in sizes.items():
        layer: Any = getattr(net, name, None)
        expect(isinstance(layer, nn.Linear), f"the net must have a linear layer `{name}`.")
        expect_part(net, layer, name)
        fits = (layer.in_features, layer.out_features) == size
        expect(fits, f"`{name}` must have {size[0]} inputs and {size[1]} outputs here, but is {layer}.")
        expect(layer.bias is not None, f"the layer `{name}` has lost its bias.")
        expect(all(t.requires_grad for t in layer.parameters()), f"the layer `{name}` is frozen: it cannot learn.")
        same = bool((layer.weight == layer.weight[0]).all())
        expect(not same, f"all units of `{name}` start alike: leave the random weights of nn.Linear.")


def expect_meant(net: nn.Module, layers: tuple, norms: tuple, out: nn.Module) -> None:
    """Expect the output of the net that the text describes, made of the answer's own layers, in both modes."""
    X = randn(6, 1, 28, 28, seed=1).float()
    with torch.no_grad():
        for i, (layer, norm) in enumerate(zip(layers, norms, strict=True)):
            layer.weight.mul_(0.02)  # variances so small that eps shows; scales of both signs, some outputs beyond 6
            for t, factor in zip((*norm.parameters(), norm.running_mean), (3, 1, 0.01), strict=True):
                t.copy_(factor * randn(*t.shape, seed=i))
            norm.running_var.copy_((0.02 * randn(*norm.running_var.shape, seed=i + 3)) ** 2)

    def meant(training: bool, slip: str = "") -> tuple[Tensor, list[Tensor]]:
        Y, means = X, []
        for i, (layer, norm) in enumerate(zip(layers, norms, strict=True), 1):
            Y = F.linear(Y.flatten(1), layer.weight) if Y.shape[-1] == 7 else F.conv2d(Y, layer.weight, padding=1)
            Y = torch.relu(Y) if slip == f"the ReLU number {i} comes before the batch norm" else Y
            means.append(norm.running_mean.clone())
            weight, bias = norm.parameters()
            Y = F.batch_norm(Y, means[-1], norm.running_var.clone(), weight, bias, training, 0.1, 1e-5)
            Y = Y if slip.startswith(f"the ReLU number {i} ") else torch.relu(Y)
            Y = F.max_pool2d(Y, 2) if Y.dim() == 4 else Y
        Y = out(Y)
        return F.batch_norm(Y, None, None, training=True) if slip == "the logits are normalized, too" else Y, means

    close = partial(torch.allclose, rtol=1e-3, atol=1e-4)
    slips = [f"the ReLU number {i} {what}" for i in (1, 2, 3) for what in ("is missing", "comes before the batch norm")]
    for mode in ("evaluation", "training"):
        training = mode == "training"
        with torch.no_grad():
            Y, means = meant(training)
            wrong = {slip: meant(training, slip)[0] for slip in (*slips, "the logits are normalized, too")}
            got = net.train(training)(X)
        found = [f": {slip}." for slip, Y in wrong.items() if close(got, Y)] or [
            ". Compare with BrokenNet: the convolutions' padding, each batch norm's eps, the activation, the kind of "
            "pooling, the order of batch norm, ReLU and pooling, and what becomes of the logits."
        ]
        expect(close(got, Y), f"in {mode} the logits are not those of the net that was meant{found[0]}")
    pairs = zip((norm.running_mean for norm in norms), means, strict=True)
    moved = all(torch.allclose(*pair, rtol=1e-3, atol=1e-6) for pair in pairs)
    expect(moved, "after a batch in training the running means are not those of batch norms with momentum 0.1.")


def expect_normalized(mean: Tensor, std: Tensor, a: Tensor, where: str, hint: str) -> None:
    """Expect of the outputs `a` of a layer mean 0 and deviation 1 in each unit; else say what they look like."""
    close = partial(torch.allclose, rtol=1e-3, atol=1e-3)
    one, zero = torch.ones_like(std), torch.zeros_like(mean)
    if close(std, one) and close(mean, zero):
        return
    where = f"The pre-activations of {where} are not normalized"
    if close(std, one * (1 - 1 / len(a)) ** 0.5):
        raise NotYet(f"{where}: the standard deviation was divided by n - 1; use correction=0.")
    if close(a.std(correction=0), one[0]):
        raise NotYet(f"{where}: as a whole they are, but each unit needs its own mean and standard deviation.")
    if close(std, one):
        raise NotYet(f"{where}: the deviation is 1, but the mean is not 0. What must become of the bias?")
    far = (std - 1).abs().argmax()
    if close(mean, zero):
        raise NotYet(
            f"{where}: the mean is 0, but the deviation is not 1. In unit {far} it is {std[far]:.4g}: what were its "
            "weights divided by, and is that exactly the deviation?"
        )
    raise NotYet(f"{where}: means are up to {mean.abs().max():.3g}, a deviation is {std[far]:.3g}. {hint}".strip())


def start_of(net: nn.Module) -> list[Tensor]:
    """Weight and bias of each convolution and linear layer."""
    return [p for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear) for p in m.parameters(recurse=False)]


def expect_lenet(net: nn.Module, meant: nn.Module, which: str, X: Tensor) -> None:
    """Expect that the net is the LeNet that is meant: the same layers in the same order, and all of it learns."""
    theirs, ours = start_of(net), start_of(meant)
    layers = [sum(isinstance(m, nn.Conv2d | nn.Linear) for m in n.modules()) for n in (net, meant)]
    what = "convolutions and linear layers"
    expect(layers[0] == layers[1], f"the net {which} has {layers[0]} {what}, LeNet {layers[1]}.")
    same = [p.shape for p in theirs] == [p.shape for p in ours]
    expect(same, f"the {what} of the net {which} are not those of LeNet.")
    counts = [sum(p.numel() for p in n.parameters() if p.requires_grad) for n in (net, meant)]
    expect(counts[0] == counts[1], f"the net {which} can train {counts[0]} numbers, LeNet {which} {counts[1]}.")
    with torch.no_grad():
        for our, their in zip(ours, theirs, strict=True):
            our.copy_(their)
        got, right = copy.deepcopy(net).train()(X), meant(X)
    same = isinstance(got, Tensor) and got.shape == right.shape and torch.allclose(got, right, rtol=1e-3, atol=1e-4)
    expect(same, f"with your weights, LeNet {which} gives other logits: the layers of your net or their order differ.")

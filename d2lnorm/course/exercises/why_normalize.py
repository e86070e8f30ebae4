"""Checks for the notebook "Why normalize?"."""

import copy
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from d2lnorm.course.exercises.feedback import described, exercise, expect, expect_close, number
from d2lnorm.course.exercises.nets import expect_normalized, listened, listening_nets
from d2lnorm.course.exercises.traces import forbidden, kept

__all__ = ["check_calibrate", "check_chain_gradients", "check_dead_share", "check_output_statistics"]


@exercise
def check_dead_share(dead_share: Callable[[Tensor], float]) -> str:
    """Test `dead_share(X)`: the share of channels without a positive value, for (N, C) and (N, C, H, W)."""
    vectors = torch.tensor(
        [
            [0.5, -1.0, -2.0, 0.0, -0.1, -1.0, 0.0],
            [1.0, -2.0, 1.5, -1.0, -0.2, -1.0, -0.5],
            [2.0, -0.5, -4.0, 0.0, -0.3, 5.0, 0.0],
        ]
    )
    images = torch.full((2, 5, 2, 2), -1.0)
    images[1, 0, 1, 0] = 3.0  # one living pixel in one image
    images[0, 2] = 2.0
    images[1, 4, 0] = 2.0  # two living pixels, the mean still negative
    for X, what in ((vectors, "the share for (N, C) input"), (images, "the share for (N, C, H, W) input")):
        before, got = X.clone(), dead_share(X)
        expect(torch.equal(X, before), "X was changed in place; the net still needs it.")
        values = X.movedim(1, 0).flatten(1)  # (C, n): all that a channel gets
        mistakes = {
            "this counts values, but a channel is dead only if all of its values are 0 or less": values <= 0,
            "a ReLU passes no gradient at exactly 0 either, so a 0 keeps no channel alive": (values < 0).all(1),
            "a channel is dead only if every value is 0 or less; one is not enough": (values <= 0).any(1),
            "a channel with a single positive value is not dead, even if its mean is negative": values.mean(1) <= 0,
            "in 4-D input a channel has a value for each pixel, and one positive pixel keeps it alive": (X <= 0).all(0),
            "look at all images together; a channel that is alive in one of them is not dead": (
                (X <= 0).reshape(*X.shape[:2], -1).all(2)
            ),
            "this is the share of living channels": (values > 0).any(1),
        }
        wrong = {name: dead.float().mean().item() for name, dead in mistakes.items()}
        expect_close(got, (values <= 0).all(1).float().mean().item(), what, wrong)
    return "right for vectors and for images, zeros and lonely pixels included."


@exercise
def check_chain_gradients(chain_gradients: Callable[[float, Sequence[float]], Sequence[float]]) -> str:
    """Test `chain_gradients(x, weights)`: the derivative of a sigmoid chain's output by each pre-activation."""
    x, weights = 0.7, [1.5, -2.0, 3.0, 0.5]

    def answered(x: float, weights: list[float]) -> Tensor:
        with forbidden("any", asked="plain Python, no autograd"), kept(weights=weights):
            got = chain_gradients(x, weights)
        many = isinstance(got, Sequence) and len(got) == len(weights)
        expect(
            many,
            f"{len(weights)} weights make {len(weights)} pre-activations: return such a list, not {described(got)}.",
        )
        return torch.tensor([number(g, f"element {k} of the list") for k, g in enumerate(got)])

    s, h = [], x
    for w in weights:
        h = 1 / (1 + math.exp(-w * h))
        s.append(h)
    slopes = [h * (1 - h) for h in s]

    def back(slopes: Sequence[float], factors: Sequence[float]) -> Tensor:
        """`factors[k]` lies between pre-activation k and the slope after it."""
        gradients = [slopes[-1]]
        for slope, factor in zip(slopes[-2::-1], factors[::-1], strict=True):
            gradients.insert(0, gradients[0] * factor * slope)
        return torch.tensor(gradients)

    right = back(slopes, weights[1:])
    forward = [math.prod(slopes[: k + 1]) * math.prod(weights[1 : k + 1]) for k in range(4)]
    mistakes = {
        "these are the sigmoids' own slopes; the gradient multiplies them on its way back": torch.tensor(slopes),
        "the weights are missing; the way back passes them, too": back(slopes, [1, 1, 1]),
        "from a_(k+1) to a_k the factor is w_(k+1), not w_k": back(slopes, weights[:-1]),
        "the order is turned round; the gradient by the first pre-activation comes first": right.flip(0),
        "you multiplied from the first layer on; the gradient starts at the output": torch.tensor(forward),
        "the slope of the last sigmoid is missing": right / slopes[-1],
        "these are the derivatives by h_k; each still lacks the slope of its own sigmoid": right / torch.tensor(slopes),
        "one weight too many: w_k leads on to h_(k-1), past a_k": right * torch.tensor(weights),
    }
    expect_close(answered(x, weights), right, "the list of gradients", mistakes)
    expect_close(answered(0.0, [2.0]), torch.tensor([0.25]), "the gradient of a chain of one")
    middle = 1 / (1 + math.exp(-1.5))
    two = torch.tensor([3 * middle * (1 - middle), 1.0]) * (h := 1 / (1 + math.exp(-3 * middle))) * (1 - h)
    expect_close(answered(-1.0, [-1.5, 3.0]), two, "the gradients of a chain of two")
    return "four sigmoids with mixed weights, and a chain of one."


@exercise
def check_output_statistics(output_statistics: Callable[[nn.Module, Tensor], dict]) -> str:
    """Test `output_statistics(net, X)`: mean and deviation of each layer's output, the net left as it was."""
    generator = torch.Generator().manual_seed(1)
    X = torch.randn(4, 3, generator=generator) * 2 + 1
    block = nn.Sequential(nn.BatchNorm1d(5), nn.ReLU(inplace=True))
    net = nn.Sequential(nn.Linear(3, 5), block, nn.Linear(5, 2))
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=generator))
    layers, x = {"0": net[0], "1.0": block[0], "1.1": block[1], "2": net[2]}, X
    entered, left, in_eval = {}, {}, {}  # what goes into each layer and what comes out, and that in evaluation mode
    with torch.no_grad():
        for name, layer in copy.deepcopy(layers).items():
            entered[name] = x
            left[name] = x = layer(x.clone())
        x = X
        for name, layer in copy.deepcopy(layers).items():
            in_eval[name] = x = layer.eval()(x.clone())
    with kept(net=net, X=X):
        got = output_statistics(net, X)
    expect(isinstance(got, dict), f"return a dictionary, not {described(got)}.")
    expect("" not in got and "1" not in got, "leave out containers; a layer is a module without children of its own.")
    expect(set(got) == set(layers), f"the keys must be {list(layers)}, as `named_modules` has them, not {list(got)}.")
    for name in layers:
        pair = got[name]
        expect(isinstance(pair, tuple | list) and len(pair) == 2, f"the value of {name!r} must be a pair (mean, std).")
        hanging = any(isinstance(t, Tensor) and t.requires_grad for t in pair)
        expect(not hanging, f"the numbers of {name!r} still hang on the graph, and keep it alive; use `.item()`.")
        _compare(name, pair, left, entered, in_eval)
    for what, other, batch in listening_nets(generator):
        with kept(net=other, X=batch):
            got = output_statistics(other, batch)
        right = listened(other, batch)
        same = isinstance(got, dict) and set(got) == set(right)
        expect(same, f"for {what} the keys must be {list(right)}, not {described(got and list(got))}.")
        for name, pair in right.items():
            expect_close(
                torch.tensor([float(t) for t in got[name]]), pair, f"for {what}, (mean, std) of layer {name!r}"
            )
    return "each layer's mean and deviation, an in-place ReLU among them, and the net is as it was."


def _compare(name: str, pair: Sequence, left: dict, entered: dict, in_eval: dict) -> None:
    numbers = all(isinstance(t, float | int) or getattr(t, "numel", lambda: 1)() == 1 for t in pair)
    expect(numbers, f"mean and std of {name!r} must be one number each, over all values of the output.")
    got, out = torch.tensor([float(t) for t in pair]), left[name]
    mistakes = {
        "these are the numbers of its input, not of its output": _mean_and_std(entered[name]),
        "its variance was divided by n - 1; use correction=0": _mean_and_std(out, correction=1),
        "this is the variance; take its root": torch.stack([out.mean(), out.var(correction=0)]),
        "take all values at once, not each unit's deviation": torch.stack(
            [out.mean(), out.std(0, correction=0).mean()]
        ),
        "these are evaluation mode's numbers; the net is in training mode": _mean_and_std(in_eval[name]),
    }
    if name == "1.0":
        late = "the ReLU after it works in place and has since changed this output; take the numbers in the hook"
        mistakes[late] = _mean_and_std(left["1.1"])
    expect_close(got, _mean_and_std(out), f"(mean, std) of layer {name!r}", mistakes)


def _mean_and_std(x: Tensor, correction: int = 0) -> Tensor:
    return torch.stack([x.mean(), x.std(correction=correction)])


@exercise
def check_calibrate(calibrate: Callable[[nn.Sequential, Tensor], None]) -> str:
    """Test `calibrate(net, X)`: each unit of each linear layer then has mean 0 and deviation 1 over the batch."""
    for activation, n in ((nn.Sigmoid(), 4), (nn.Tanh(), 7), (nn.Identity(), 5)):
        _check_calibrated(calibrate, activation, n)
    return "each unit of three layers has mean 0 and standard deviation 1, and can be trained."


def _check_calibrated(calibrate: Callable, activation: nn.Module, n: int) -> None:
    generator = torch.Generator().manual_seed(2)
    net = nn.Sequential(nn.Linear(5, 4), activation, nn.Linear(4, 3), activation, nn.Linear(3, 2))
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * 2)
    X = torch.randn(n, 5, generator=generator) * 3 + 1
    start, parameters = copy.deepcopy(net), list(net.parameters())
    with kept(X=X):
        calibrate(net, X)
    hooked = [name for name, m in net.named_modules() if m._forward_hooks or m._forward_pre_hooks]
    expect(not hooked, f"hooks are left on the layers {hooked}: the net goes on changing itself. Remove them.")
    same = all(a is b for a, b in zip(net.parameters(), parameters, strict=True)) and len(net) == 5
    expect(same, "a parameter was replaced by another; an optimizer would still hold the old one. Change it in place.")
    expect(all(p.requires_grad and p.grad_fn is None for p in parameters), "the parameters can no longer be trained.")
    weights = {i: (net.get_parameter(f"{i}.weight"), start.get_parameter(f"{i}.weight")) for i in (0, 2, 4)}
    same = any(torch.equal(w, w0) for w, w0 in weights.values())
    expect(not same, "weights are as they were; each must be divided by the standard deviation of its unit.")
    for i, (w, w0) in weights.items():
        with torch.no_grad():
            a, ratio = net[: i + 1](X), w / w0
            expect_normalized(a.mean(0), a.std(0, correction=0), a, i)
        expect(
            torch.allclose(ratio, ratio[:, :1].expand_as(ratio), rtol=1e-3) and bool((ratio > 0).all()),
            f"all weights that lead to one unit of layer {i} must be divided by the same positive number.",
        )

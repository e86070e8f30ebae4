"""Answers to the exercises of "Why normalize?"."""

import copy
import itertools
import math
from collections import namedtuple
from fractions import Fraction

import numpy as np
import torch
from torch import nn

from d2lnorm.course.exercises.why_normalize import (
    check_calibrate,
    check_chain_gradients,
    check_dead_share,
    check_output_statistics,
)
from exercise_answers import Answers

# --- dead_share


def dead_share(X):
    return sum(bool((X[:, c] <= 0).all()) for c in range(X.shape[1])) / X.shape[1]


def dead_share_by_relu(X):
    return (torch.relu(X).transpose(0, 1).flatten(1).sum(1) == 0).float().mean()


def dead_share_in_place(X):
    return (X.relu_().transpose(0, 1).flatten(1).sum(1) == 0).float().mean().item()


def of_rows(reduce):
    """The share of channels of whose values `reduce` says true."""
    return lambda X: reduce(X.transpose(0, 1).flatten(1)).double().mean().item()


def of_input(reduce):
    """The share of what `reduce` says is dead."""
    return lambda X: reduce(X).double().mean().item()


def all_rows_dead(X):
    return X.transpose(0, 1).flatten(1).amax(1) <= 0


def dead_share_by_numpy(X):
    rows = np.moveaxis(X.numpy(), 1, 0).reshape(X.shape[1], -1)
    return np.mean((rows <= 0).all(axis=1), dtype=np.float32)


def dead_share_by_gradients(X):
    X = X.clone().requires_grad_()
    torch.relu(X).sum().backward()
    return dead_share(X.grad)


def dead_share_leaving_a_gradient(X):
    torch.relu(X.requires_grad_()).sum().backward()
    return dead_share(X.grad)


def first(also, answer):
    """Something else is done before the answer is computed."""

    def both(*given):
        also(*given)
        return answer(*given)

    return both


def seed_0(*given):
    torch.manual_seed(0)


# --- chain_gradients


def chain_by_recursion(x, weights):
    if not weights:
        return []
    h = 1 / (1 + math.exp(-weights[0] * x))
    rest = chain_by_recursion(h, weights[1:])
    return [h * (1 - h) * (weights[1] * rest[0] if rest else 1), *rest]


def chain_accumulated(x, weights):
    h = [*itertools.accumulate(weights, lambda h, w: 1 / (1 + np.exp(-w * h)), initial=x)][1:]
    factors = [v * (1 - v) * w for v, w in zip(h[::-1], [1, *weights[:0:-1]], strict=True)]
    return [*itertools.accumulate(factors, lambda a, b: a * b)][::-1]


def chain_by_differences(x, weights, d=1e-5, central=1):
    def rest(a, weights):
        for w in weights:
            a = w / (1 + math.exp(-a))
        return 1 / (1 + math.exp(-a))

    gradients, h = [], x
    for k, w in enumerate(weights):
        up, down = rest(w * h + d, weights[k + 1 :]), rest(w * h - central * d, weights[k + 1 :])
        gradients.append((up - down) / (d + central * d))
        h = 1 / (1 + math.exp(-w * h))
    return gradients


def chain_each_anew(x, weights):
    return [chain(x, weights)[k] for k in range(len(weights))]


def chain_of_slopes(slope):
    """With another slope of the sigmoid, from its input a and its output h."""

    def answer(x, weights):
        slopes, h = [], x
        for w in weights:
            a, h = w * h, 1 / (1 + math.exp(-w * h))
            slopes.append(slope(a, h))
        factors = [s * w for s, w in zip(slopes[::-1], [1, *weights[:0:-1]], strict=True)]
        return [*itertools.accumulate(factors, lambda a, b: a * b)][::-1]

    return answer


def chain_by_division(x, weights):
    slopes = slopes_alone(x, weights)
    gradients = [math.prod(slopes) * math.prod(weights[1:])]
    for slope, w in zip(slopes, weights[1:], strict=False):
        gradients.append(gradients[-1] / (slope * w))
    return gradients


def chain_with_default(x, weights, slopes=[]):  # noqa: B006  the slip itself
    slopes += slopes_alone(x, weights)
    gradients = [slopes[-1]]
    for k in range(len(weights) - 2, -1, -1):
        gradients.insert(0, gradients[0] * weights[k + 1] * slopes[k])
    return gradients


def chain_remembered(x, weights, known={}):  # noqa: B006  the slip itself
    return known.setdefault(len(weights), chain(x, weights))


def chain_gradients(x, weights):
    a, kept = torch.tensor(float(x), dtype=torch.float64, requires_grad=True), []
    for w in weights:
        a = a * w
        a.retain_grad()
        kept.append(a)
        a = torch.sigmoid(a)
    a.backward()
    return [a.grad.item() for a in kept]


def chain(x, weights, *, last=True, shift=1, use_weights=True, own_slope=True):
    h = []
    for w in weights:
        h.append(1 / (1 + math.exp(-w * (h[-1] if h else x))))
    gradients, g = [], 1.0
    for k in reversed(range(len(weights))):
        if k < len(weights) - 1 and use_weights:
            g *= weights[k + shift]
        slope = h[k] * (1 - h[k])
        gradients.insert(0, g * (slope if own_slope else 1))
        if last or k < len(weights) - 1:
            g *= slope
    if not last:
        gradients = [g / (h[-1] * (1 - h[-1])) for g in chain(x, weights)]
    return gradients


def chain_from_the_front(x, weights):
    h, g, gradients = x, 1.0, []
    for k, w in enumerate(weights):
        h = 1 / (1 + math.exp(-w * h))
        g *= h * (1 - h) * (w if k else 1)
        gradients.append(g)
    return gradients


def slopes_alone(x, weights):
    h, slopes = x, []
    for w in weights:
        h = 1 / (1 + math.exp(-w * h))
        slopes.append(h * (1 - h))
    return slopes


# --- output_statistics


def output_statistics(net, X):
    """With hooks on the net itself, all put back."""
    found, handles = {}, []
    state = copy.deepcopy(net.state_dict())
    for name, m in net.named_modules():
        if not list(m.children()):

            def note(m, inputs, output, name=name):
                x = output.detach()
                found[name] = x.mean().item(), x.var(unbiased=False).sqrt().item()

            handles.append(m.register_forward_hook(note))
    try:
        with torch.no_grad():
            net(X.clone())
    finally:
        for handle in handles:
            handle.remove()
    net.load_state_dict(state)
    return found


def statistics_with(
    *, copied=True, leaves=True, pair=None, side="output", late=False, mode=None, removed=True, clone=True
):
    pair = pair or (lambda x: (x.mean().item(), x.std(correction=0).item()))

    def answer(net, X):
        probe = copy.deepcopy(net) if copied else net
        if mode is not None:
            probe.train(mode)
        found, handles = {}, []
        for name, m in probe.named_modules():
            if not leaves or not list(m.children()):

                def note(m, inputs, output, name=name):
                    x = output if side == "output" else inputs[0]
                    found[name] = x if late else pair(x)

                handles.append(m.register_forward_hook(note))
        probe(X.clone() if clone else X)
        if removed:
            for handle in handles:
                handle.remove()
        return {name: pair(x) for name, x in found.items()} if late else found

    return answer


def statistics_in_lists(net, X):
    """Lists for pairs, in another order."""
    return {name: list(pair) for name, pair in reversed(output_statistics(net, X).items())}


def statistics_by_unit(mean):
    return statistics_with(pair=lambda x: tuple(mean(t) for t in (x.mean(0), x.std(0, correction=0))))


def on_the_net(before=lambda net: None, after=lambda net: None):
    """With hooks on the net itself, and something done to it."""

    def answer(net, X):
        before(net)
        state = copy.deepcopy(net.state_dict())
        found = statistics_with(copied=False)(net, X)
        net.load_state_dict(state)
        after(net)
        return found

    return answer


def each_layer(**attributes):
    """Set attributes of the layers that have them."""
    return lambda net: [setattr(m, k, v) for m in net.modules() for k, v in attributes.items() if hasattr(m, k)]


def renamed(name=lambda key: key, pair=lambda p: p, keep=lambda m: True):
    def answer(net, X):
        layers = dict(net.named_modules())
        found = statistics_with()(net, X)
        return {name(key): pair(p) for key, p in found.items() if keep(layers[key])}

    return answer


def late_with(choose):
    """The outputs are looked at in the end, when some layers do not work in place."""

    def answer(net, X):
        probe = copy.deepcopy(net)
        for m in filter(choose, probe.modules()):
            m.inplace = False
        return statistics_with(late=True)(probe, X)

    return answer


def statistics_in_sequence(net, X):
    found, X = {}, X.clone()
    with torch.no_grad():
        for name, m in copy.deepcopy(net).named_modules():
            if not list(m.children()):
                X = m(X)
                found[name] = X.mean().item(), X.std(correction=0).item()
    return found


def statistics_with_forward(net, X, probe=copy.deepcopy):
    """With a `forward` of its own for each layer."""
    found, probe = {}, probe(net)
    for name, m in probe.named_modules():
        if not list(m.children()):

            def forward(x, old=m.forward, name=name):
                x = old(x)
                found[name] = namedtuple("Pair", "mean std")(float(x.mean()), float(x.std(correction=0)))
                return x

            m.forward = forward
    with torch.no_grad():
        probe(X.clone())
    return found


# --- calibrate


def calibrate(net, X):
    """With nn.BatchNorm1d's statistics."""
    x = X.clone()
    with torch.no_grad():
        for layer in net:
            if isinstance(layer, nn.Linear):
                bn = nn.BatchNorm1d(layer.out_features, momentum=1.0, dtype=x.dtype)
                bn(layer(x))
                n = len(x)
                mean, std = bn.running_mean, (bn.running_var * (n - 1) / n).sqrt()
                layer.weight.copy_(layer.weight / std[:, None])
                layer.bias.copy_((layer.bias - mean) / std)
            x = copy.deepcopy(layer)(x)


def on_a_copy(answer):
    """The linear layers of a copy are calibrated; their parameters are taken over."""

    def calibrated(net, X):
        probe = copy.deepcopy(net)
        answer(probe, X.clone())
        for layer, done in zip(net, probe, strict=True):
            if isinstance(layer, nn.Linear):
                layer.load_state_dict(done.state_dict())

    return calibrated


def restored(answer, mode=None, bring_back=True, own=torch.clone):
    """Buffers and modes are put back afterwards; meanwhile the net may be in another mode."""

    def calibrated(net, X):
        buffers, modes = [b.clone() for b in net.buffers()], [m.training for m in net.modules()]
        net.train(mode) if mode is not None else None
        answer(net, own(X))
        for m, training in zip(net.modules(), modes, strict=True):
            m.training = training if bring_back else net.training
        for b, old in zip(net.buffers(), buffers, strict=True):
            b.copy_(old)

    return calibrated


def calibrate_norms(net, X):
    """The batch norms' weights, too."""
    calibrate(net, X)
    with torch.no_grad():
        for layer in net:
            if isinstance(layer, nn.BatchNorm1d):
                layer.weight.mul_(0.5)


def calibrate_where(choose):
    """Only layers that `choose` takes, by themselves and what they put out."""

    def answer(net, X):
        X = X.clone()
        for layer in net:
            if isinstance(layer, nn.Linear) and choose(layer, layer(X)):
                calibrate(nn.Sequential(layer), X)
            X = layer(X).detach()

    return restored(answer)


def calibrate_with(
    *, at_once=False, correction=0, shift=True, divide=True, whole=False, order=True, replace=False, power=1
):
    def answer(net, X):
        x = X
        with torch.no_grad():
            for layer in net:
                old = layer(x)
                if isinstance(layer, nn.Linear):
                    mean = old.mean() if whole else old.mean(0)
                    std = old.std(correction=correction) if whole else old.std(0, correction=correction)
                    std = std**power if divide else torch.ones_like(std)
                    scaled = layer.weight / (std if whole else std[:, None])
                    bias = layer.bias - mean if shift else layer.bias
                    bias = bias / std if order else layer.bias / std - mean
                    if replace:
                        layer.weight, layer.bias = nn.Parameter(scaled), nn.Parameter(bias)
                    else:
                        layer.weight.copy_(scaled)
                        layer.bias.copy_(bias)
                x = old if at_once else layer(x)

    return answer


def calibrate_the_input(net, X):
    X.sub_(X.mean(0)).div_(X.std(0, correction=0))


def deviation(a):
    return a.std(0, correction=0)


def calibrate_layers(choose=lambda net: range(len(net)), std=deviation, walk=list):
    """Some of the layers, with another deviation."""

    def answer(net, X):
        with torch.no_grad():
            for i, layer in enumerate(walk(net)):
                if isinstance(layer, nn.Linear) and i in choose(net):
                    mean, s = layer(X).mean(0), std(layer(X))
                    layer.weight /= s.unsqueeze(1)
                    layer.bias.sub_(mean).div_(s)
                X = layer(X)

    return answer


def then(change, answer=calibrate):
    """Something else is done to the net afterwards."""

    def both(net, X):
        answer(net, X)
        change(net)

    return both


def calibrate_by_hooks(net, X):
    def note(layer, inputs, out):
        std, mean = torch.std_mean(out, 0, correction=0)
        layer.weight /= std[:, None]
        layer.bias.copy_((layer.bias - mean) / std)
        return (out - mean) / std

    handles = [m.register_forward_hook(note) for m in net.modules() if isinstance(m, nn.Linear)]
    with torch.no_grad():
        net(X)
    for handle in handles:
        handle.remove()


def calibrate_by_numpy(net, X):
    with torch.inference_mode():
        for layer in net:
            if hasattr(layer, "in_features"):
                Z, W, b = layer(X).numpy(), layer.weight.numpy(), layer.bias.numpy()
                W /= Z.std(0)[:, None]
                b[:] = (b - Z.mean(0)) / Z.std(0)
            X = layer(X)


def calibrate_with_sigmoids(net, X):
    with torch.no_grad():
        for layer in net:
            if isinstance(layer, nn.Linear):
                calibrate(nn.Sequential(layer), X)
                X = torch.sigmoid(layer(X))


def calibrate_with_graph(net, X):
    for layer in net:
        if isinstance(layer, nn.Linear):
            layer.weight /= layer(X).std(0, correction=0)[:, None]
        X = layer(X)


def insert_norms(net, X):
    for i, layer in enumerate(net):
        if isinstance(layer, nn.Linear):
            net[i] = nn.Sequential(layer, nn.BatchNorm1d(layer.out_features, affine=False))


def new_orthogonal_weights(net, X):
    for layer in net:
        if isinstance(layer, nn.Linear):
            layer.weight.data = torch.linalg.qr(layer.weight.data.T)[0].T.contiguous()[: layer.out_features]
    calibrate(net, X)


ANSWERS = {
    check_dead_share: Answers(
        right=[
            dead_share,
            dead_share_by_relu,
            dead_share_by_numpy,
            dead_share_by_gradients,
            lambda X: Fraction(int(all_rows_dead(X).sum()), X.shape[1]),
            lambda X: 1 - (X > 0).any(0).view(X.shape[1], -1).any(1).sum() / X.shape[1],
        ],
        wrong={
            "zeros alone": (
                of_rows(lambda v: (v == 0).all(1)),
                "shape (9, 19), with 6 of its 19 channels dead, is not right: expected 0.3158, got 0.0000",
            ),
            "almost 0": (of_rows(lambda v: v.amax(1) < 1e-6), "however small it is"),
            "close to 0": (of_rows(lambda v: torch.isclose(v.amax(1).relu(), v.new_zeros(()))), "however small it is"),
            "in float32": (of_rows(lambda v: v.float().amax(1) <= 0), "however small it is"),
            "the sum": (of_rows(lambda v: v.sum(1) <= 0), "even if its mean is negative"),
            "values counted": (of_input(lambda X: X <= 0), "counts values"),
            "zeros alive": (of_rows(lambda v: v.amax(1) < 0), "at exactly 0"),
            "one is enough": (of_rows(lambda v: v.amin(1) <= 0), "one is not enough"),
            "the mean": (of_rows(lambda v: v.mean(1) <= 0), "even if its mean is negative"),
            "pixels forgotten": (of_input(lambda X: X.amax(0) <= 0), "one positive pixel"),
            "each image": (
                of_input(lambda X: X.flatten(2).amax(2) <= 0 if X.dim() > 2 else all_rows_dead(X)),
                "all images together",
            ),
            "only images": (of_input(lambda X: X.amax((0, 2, 3)) <= 0), "your code stopped"),
            "axis 1": (of_input(lambda X: X.amax(1) <= 0), "is not right: expected"),
            "other rows": (of_input(lambda X: X.reshape(X.shape[1], -1).amax(1) <= 0), "is not right: expected"),
            "no width": (
                of_input(lambda X: X.amax((0, 2) if X.dim() > 2 else 0) <= 0),
                "shape (4, 23, 3, 2), with 7 of its 23 channels dead, is not right: expected",
            ),
            "the pixels' mean": (
                of_input(lambda X: (X.mean((2, 3)) if X.dim() > 2 else X).amax(0) <= 0),
                "a channel with a positive pixel is not dead, even if the mean of its pixels is negative",
            ),
            "counted": (lambda X: all_rows_dead(X).sum().item(), "is not right: expected"),
            "percent": (lambda X: 100 * dead_share(X), "is not right: expected"),
            "of the images": (
                lambda X: all_rows_dead(X).sum().item() / len(X),
                "shape (9, 19), with 6 of its 19 channels dead, is not right: expected 0.3158, got 0.6667",
            ),
            "whole": (
                lambda X: all_rows_dead(X).sum().item() // X.shape[1],
                "with 6 of its 19 channels dead, is not right: expected",
            ),
            "rounded": (lambda X: round(dead_share(X), 2), "is not right: expected"),
            "which": (all_rows_dead, "must be a number"),
            "a text": (lambda X: f"{dead_share(X):.2f}", "must be a number"),
            "none if none": (
                lambda X: dead_share(X) or None,
                "with 0 of its 4 channels dead, must be a number, but is None",
            ),
            "a gradient left": (dead_share_leaving_a_gradient, "gradient of X is not as it was"),
            "seeded": (first(seed_0, dead_share), "global generator"),
            "the living": (lambda X: 1 - dead_share(X), "living channels"),
            "in place": (dead_share_in_place, "X is not as it was"),
        },
    ),
    check_chain_gradients: Answers(
        right=[
            chain,
            lambda x, w: tuple(map(np.float64, chain(x, w))),
            chain_by_recursion,
            chain_accumulated,
            chain_of_slopes(lambda a, h: math.exp(-a) * h**2),
            chain_of_slopes(lambda a, h: (1 - math.tanh(a / 2) ** 2) / 4),
        ],
        wrong={
            "differences": (chain_by_differences, "to a few digits only"),
            "differences to one side": (lambda x, w: chain_by_differences(x, w, 1e-6, 0), "to a few digits only"),
            "rounded": (lambda x, w: [round(g, 6) for g in chain(x, w)], "to a few digits only"),
            "in float32": (lambda x, w: [float(np.float32(g)) for g in chain(x, w)], "to a few digits only"),
            "each anew": (
                chain_each_anew,
                "for 20 weights it multiplied at least 380 times by a weight; a pass forth and a pass back need 39",
            ),
            "by division": (chain_by_division, "ZeroDivisionError"),
            "slopes of another call": (
                chain_with_default,
                "for x = -1.7, weights = [0.5, 2.5, -1.0, 4.0], the list is not right: the derivative by a_2",
            ),
            "remembered": (
                chain_remembered,
                "for x = -1.7, weights = [0.5, 2.5, -1.0, 4.0], the list is not right: the derivative by a_3",
            ),
            "slopes of tanh": (
                chain_of_slopes(lambda a, h: 1 - h**2),
                "the derivative by a_2 was expected to be 0.0127834, but is 0.574366",
            ),
            "slopes at least 1e-6": (
                chain_of_slopes(lambda a, h: max(h * (1 - h), 1e-6)),
                "for x = 1.0, weights = [2.0, -20.0, 3.0], the list is not right: the derivative by a_1 was expected",
            ),
            "slopes of the input": (
                chain_of_slopes(lambda a, h: a * (1 - a)),
                "3.0, 0.5], the list is not right: the derivative by a_2 was expected to be",
            ),
            "positive weights": (
                lambda x, w: chain(x, [abs(v) for v in w]),
                "3.0, 0.5], the list is not right: the derivative by a_3 was expected to be",
            ),
            "by w": (
                lambda x, w: [g * h for g, h in zip(chain(x, w), [x, 0.7, 0.2, 0.6], strict=False)],
                "3.0, 0.5], the list is not right: the derivative by a_4 was expected to be",
            ),
            "weights popped": (lambda x, w: [chain(x, w), w.pop()][0], "the length of weights"),
            "weights turned round": (lambda x, w: [chain(x, w), w.reverse()][0], "weights[0] is not as it was"),
            "seeded": (first(seed_0, chain), "generator"),
            "a generator": (lambda x, w: (g for g in chain(x, w)), "not a generator"),
            "a dictionary": (lambda x, w: dict(enumerate(chain(x, w))), "return a list of 4 numbers, not"),
            "a tensor": (lambda x, w: torch.tensor(chain(x, w)), "plain Python, no autograd"),
            "by autograd": (chain_gradients, "plain Python, no autograd"),
            "hooks and tensors": (lambda x, w: torch.tensor(chain(x, w)).tolist(), "plain Python, no autograd"),
            "slopes alone": (
                slopes_alone,
                "weights = [1.5, -2.0, 3.0, 0.5], the list is not right: these are the sigmoids' own slopes",
            ),
            "no weights": (lambda x, w: chain(x, w, use_weights=False), "the weights are missing"),
            "own weights": (lambda x, w: chain(x, w, shift=0), "is w_(k+1), not w_k"),
            "turned round": (lambda x, w: chain(x, w)[::-1], "turned round"),
            "from the front": (chain_from_the_front, "starts at the output"),
            "last slope": (lambda x, w: chain(x, w, last=False), "slope of the last sigmoid"),
            "by h": (lambda x, w: chain(x, w, own_slope=False), "derivatives by h_k"),
            "by h_(k-1)": (lambda x, w: [g * v for g, v in zip(chain(x, w), w, strict=True)], "one weight too many"),
            "a number": (lambda x, w: chain(x, w)[0], "return a list of 4 numbers"),
            "with the input's": (lambda x, w: [w[0] * chain(x, w)[0], *chain(x, w)], "not a list of 5"),
        },
    ),
    check_output_statistics: Answers(
        right=[
            output_statistics,
            statistics_with(),
            statistics_in_lists,
            statistics_with_forward,
            statistics_with(pair=lambda x: (np.mean(x.detach().numpy()), np.std(x.detach().numpy()))),
            lambda net, X: [each_layer(inplace=False)(probe := copy.deepcopy(net)), statistics_with()(probe, X)][1],
        ],
        wrong={
            "inplace off": (on_the_net(each_layer(inplace=False)), "`inplace` of layer"),
            "momentum 0": (on_the_net(each_layer(momentum=0.0)), "`momentum` of layer"),
            "momentum 0, then 0.1": (
                on_the_net(each_layer(momentum=0.0), each_layer(momentum=0.1)),
                "`momentum` of layer '1.0' of a net with a block is not as it was: before 0.01, after 0.1",
            ),
            "statistics not tracked": (on_the_net(each_layer(track_running_stats=False)), "`track_running_stats` of"),
            "all training": (on_the_net(after=lambda net: net.train()), "the mode of layer"),
            "the net's mode alone": (on_the_net(after=lambda net: net.train(net.training)), "the mode of layer"),
            "statistics reset": (on_the_net(after=lambda net: net[1][0].reset_running_stats()), "running_mean of"),
            "all trainable": (on_the_net(after=lambda net: net.requires_grad_(True)), "requires_grad of 0.bias"),
            "no gradients": (on_the_net(after=lambda net: net.zero_grad()), "the gradient of 2.weight"),
            "no hooks": (
                on_the_net(after=lambda net: [m._forward_hooks.clear() for m in net.modules()]),
                "had a hook before the call, which is gone; remove only your own",
            ),
            "seeded": (first(seed_0, statistics_with()), "generator"),
            "gradients off": (
                first(lambda *_: torch.set_grad_enabled(False), statistics_with()),
                "left gradients switched",
            ),
            "a forward left": (
                on_the_net(after=lambda net: setattr(net, "forward", net.forward)),
                "the net itself, a net with a block, is not as it was: its forward was set",
            ),
            "X written": (statistics_with(clone=False), "X for a net of one layer in place"),
            "X standardized": (lambda net, X: statistics_with()(net, X.sub_(X.mean())), "X for a net"),
            "in training mode": (statistics_with(mode=True), "training mode's numbers"),
            "in float32": (
                lambda net, X: statistics_with()(copy.deepcopy(net).float(), X.float()),
                "to a few digits only",
            ),
            "in sequence": (statistics_in_sequence, "your code stopped"),
            "linear layers": (renamed(keep=lambda m: isinstance(m, nn.Linear)), "the keys must be"),
            "layers with parameters": (renamed(keep=lambda m: [*m.parameters()]), "the keys must be"),
            "no root": (
                lambda net, X: {k: p for k, p in statistics_with()(net, X).items() if k},
                "of one layer the keys",
            ),
            "last parts": (renamed(lambda key: key.split(".")[-1]), "the keys must be"),
            "other names": (renamed(lambda key: f"net.{key}"), "the keys must be"),
            "turned round": (renamed(pair=lambda p: p[::-1]), "the two were exchanged; the mean comes first"),
            "rounded": (renamed(pair=lambda p: tuple(round(t, 3) for t in p)), "is not right: expected"),
            "a list": (lambda net, X: [*statistics_with()(net, X).items()], "return a dictionary"),
            "hooks left": (statistics_with(copied=False, removed=False), "the number of hooks"),
            "evaluation mode": (statistics_with(copied=False, mode=False), "the mode of a net"),
            "a copy in evaluation mode": (statistics_with(mode=False), "evaluation mode's numbers"),
            "each unit's": (statistics_by_unit(lambda t: t.detach()), "must be a number"),
            "the units' mean": (statistics_by_unit(lambda t: t.mean().item()), "take all values at once"),
            "running statistics": (statistics_with(copied=False), "running_mean of a net"),
            "containers": (statistics_with(leaves=False), "leave out containers"),
            "inputs": (statistics_with(side="input"), "of its input"),
            "unbiased": (statistics_with(pair=lambda x: (x.mean().item(), x.std().item())), "divided by n - 1"),
            "variance": (
                statistics_with(pair=lambda x: (x.mean().item(), x.var(correction=0).item())),
                "this is the variance",
            ),
            "too late": (statistics_with(late=True), "works in place"),
            "late, without nn.ReLU in place": (
                late_with(lambda m: isinstance(m, nn.ReLU)),
                "layer '1.0' of a net with",
            ),
            "late, all layers not in place": (late_with(lambda m: hasattr(m, "inplace")), "layer '2' of a net with"),
            "torch's own layers": (renamed(keep=lambda m: "torch.nn" in type(m).__module__), "the keys must be"),
            "in one pass": (
                statistics_with(
                    pair=lambda x: ((m := x.mean().item()), max(x.square().mean().item() - m * m, 0) ** 0.5)
                ),
                "the std of layer 'last' of a net that branches, with a last bias of 10,000, in torch.float32, is not",
            ),
            "graph kept": (statistics_with(pair=lambda x: (x.mean(), x.std(correction=0))), "hang on the graph"),
        },
    ),
    check_calibrate: Answers(
        right=[
            calibrate,
            on_a_copy(calibrate_with()),
            restored(calibrate_layers()),
            restored(calibrate_by_hooks),
            on_a_copy(calibrate_by_numpy),
        ],
        wrong={
            "without the last": (
                calibrate_layers(lambda net: range(len(net) - 1)),
                "the weights of layer 4 of the net that was passed",
            ),
            "every other": (
                calibrate_layers(lambda net: range(0, len(net), 2)),
                "the weights of layer 1 of the net that was passed, a float64 net of small weights, are",
            ),
            "layers 0 and 2": (
                calibrate_layers(lambda net: (0, 2)),
                "the weights of layer 4 of the net that was passed",
            ),
            "each once": (calibrate_layers(walk=lambda net: net.children()), "was it applied in both?"),
            "eps": (
                calibrate_layers(std=lambda a: deviation(a) + 1e-5),
                "In unit 2 it is 0.9682: what were its weights divided by, and is that exactly",
            ),
            "eps under the root": (
                calibrate_layers(std=lambda a: (deviation(a) ** 2 + 1e-5).sqrt()),
                "In unit 2 it is 0.0959: what were its weights divided by",
            ),
            "at least 0.001": (
                calibrate_layers(std=lambda a: deviation(a).clamp(min=1e-3)),
                "In unit 2 it is 0.3047: what were its weights divided by",
            ),
            "mean square": (
                calibrate_layers(std=lambda a: a.norm(dim=0) / len(a) ** 0.5),
                "what were its weights divided by, and is that exactly the deviation?",
            ),
            "X written": (
                restored(calibrate_layers(), own=lambda X: X),
                "X for a net that begins in place, with two batch norms is not as it was",
            ),
            "running statistics": (
                lambda net, X: calibrate_layers()(net, X.clone()),
                "2.running_mean of a net that begins",
            ),
            "a net evaluating": (restored(calibrate_layers(), False), "did each run in its own?"),
            "a net in training": (restored(calibrate_layers(), True), "did each run in its own?"),
            "the net's mode for all": (
                restored(calibrate_layers(), bring_back=False),
                "the mode of layer '4' of a net",
            ),
            "batch norms": (
                calibrate_norms,
                "2.weight of a net that begins in place, with two",
            ),
            "not the frozen": (
                calibrate_where(lambda layer, a: layer.weight.requires_grad),
                "with two batch norms, are unchanged; it puts out a standard deviation of ",
            ),
            "near enough": (
                calibrate_where(lambda layer, a: (deviation(a) - 1).abs().max() > 0.1 or a.mean(0).abs().max() > 0.1),
                "a net of one linear layer, are unchanged; it puts out a standard deviation of 1.05, which must be 1.",
            ),
            "evaluation mode": (then(lambda net: net.eval()), "the mode of a net"),
            "training mode": (then(lambda net: net.train()), "the mode of a float64 net"),
            "all trainable": (then(lambda net: net.requires_grad_(True)), "requires_grad of 0.bias"),
            "frozen": (then(lambda net: net.requires_grad_(False)), "requires_grad of 0.weight"),
            "no gradients": (then(lambda net: net.zero_grad()), "the gradient of 4.weight"),
            "a hook left": (then(lambda net: net[0].register_forward_hook(print)), "the number of hooks"),
            "gradients off": (then(lambda net: torch.set_grad_enabled(False)), "left gradients switched"),
            "seeded": (then(seed_0), "generator"),
            "returned": (
                lambda net, X: calibrate(net, X) or net,
                "it must return nothing: the net that was passed is to be changed in place",
            ),
            "a copy": (
                lambda net, X: calibrate(copy.deepcopy(net), X),
                "layer 0 of the net that was passed, a net with two activations, are unchanged",
            ),
            "sigmoids": (calibrate_with_sigmoids, "Was it measured on what the layers before it, each as it is now"),
            "with a graph": (calibrate_with_graph, "your code stopped"),
            "norms": (insert_norms, "layers were added"),
            "new weights": (new_orthogonal_weights, "LSUV keeps the weights that were there"),
            "always float32": (then(lambda net: net.float()), "another dtype"),
            "all at once": (
                calibrate_with(at_once=True),
                "Was it measured on what the layers before it, each as it is now",
            ),
            "unbiased": (calibrate_with(correction=1), "divided by n - 1"),
            "no shift": (calibrate_with(shift=False), "What must become of the bias?"),
            "bias not divided": (calibrate_with(order=False), "What must become of the bias?"),
            "no division": (
                calibrate_with(divide=False),
                "layer 0 of the net that was passed, a net with two activations, are unchanged",
            ),
            "by the variance": (
                calibrate_with(power=2),
                "what were its weights divided by, and is that exactly the deviation?",
            ),
            "one scale": (calibrate_with(whole=True), "each unit needs its own"),
            "replaced": (calibrate_with(replace=True), "replaced by another"),
            "the input": (calibrate_the_input, "X for a net"),
        },
    ),
}

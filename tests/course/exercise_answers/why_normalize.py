"""Answers to the exercises of "Why normalize?"."""

import copy
import math

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


def dead_share_over_the_batch(X):
    return (X <= 0).all(0).float().mean().item()


def dead_share_of_means(X):
    return (X.transpose(0, 1).flatten(1).mean(1) <= 0).float().mean().item()


# --- chain_gradients


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
            net(X)
    finally:
        for handle in handles:
            handle.remove()
    net.load_state_dict(state)
    return found


def statistics_with(
    *, copied=True, leaves=True, correction=0, side="output", late=False, mode=None, items=True, root=True, removed=True
):
    def answer(net, X):
        probe = copy.deepcopy(net) if copied else net
        if mode is not None:
            probe.train(mode)
        found, handles = {}, []

        def numbers(x):
            pair = x.mean(), (x.std(correction=correction) if root else x.var(correction=correction))
            return tuple(t.item() for t in pair) if items else pair

        for name, m in probe.named_modules():
            if not leaves or not list(m.children()):

                def note(m, inputs, output, name=name):
                    x = output if side == "output" else inputs[0]
                    found[name] = x if late else numbers(x)

                handles.append(m.register_forward_hook(note))
        probe(X.clone())
        if removed:
            for handle in handles:
                handle.remove()
        return {name: numbers(x) for name, x in found.items()} if late else found

    return answer


def statistics_in_lists(net, X):
    """Lists for pairs, in another order."""
    return {name: list(pair) for name, pair in reversed(output_statistics(net, X).items())}


def statistics_by_unit(net, X, mean=True):
    probe, found = copy.deepcopy(net), {}
    for name, m in probe.named_modules():
        if not list(m.children()):

            def note(m, inputs, output, name=name):
                x = output.detach()
                units = x.mean(0), x.std(0, correction=0)
                found[name] = tuple(t.mean().item() for t in units) if mean else units

            m.register_forward_hook(note)
    probe(X)
    return found


# --- calibrate


def calibrate(net, X):
    """With nn.BatchNorm1d's statistics, in float64."""
    x = X.detach()
    with torch.no_grad():
        for layer in net:
            if isinstance(layer, nn.Linear):
                bn = nn.BatchNorm1d(layer.out_features, momentum=1.0)
                bn(layer(x))
                n = len(x)
                mean, std = bn.running_mean, (bn.running_var * (n - 1) / n).sqrt()
                layer.weight.copy_(layer.weight / std[:, None])
                layer.bias.copy_((layer.bias - mean) / std)
            x = layer(x)


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


ANSWERS = {
    check_dead_share: Answers(
        right=[dead_share, dead_share_by_relu],
        wrong={
            "values counted": (lambda X: (X <= 0).float().mean().item(), "counts values"),
            "zeros alive": (
                lambda X: (X < 0).transpose(0, 1).flatten(1).all(1).float().mean().item(),
                "at exactly 0",
            ),
            "one is enough": (
                lambda X: (X <= 0).transpose(0, 1).flatten(1).any(1).float().mean().item(),
                "one is not enough",
            ),
            "the mean": (dead_share_of_means, "even if its mean is negative"),
            "pixels forgotten": (dead_share_over_the_batch, "one positive pixel"),
            "each image for itself": (
                lambda X: (
                    (X <= 0).reshape(*X.shape[:2], -1).all(2).float().mean().item() if X.dim() == 4 else dead_share(X)
                ),
                "all images together",
            ),
            "the living": (lambda X: 1 - dead_share(X), "living channels"),
            "in place": (dead_share_in_place, "changed in place"),
        },
    ),
    check_chain_gradients: Answers(
        right=[chain, lambda x, w: tuple(map(np.float64, chain(x, w)))],
        wrong={
            "by autograd": (chain_gradients, "plain Python, no autograd"),
            "hooks and tensors": (lambda x, w: torch.tensor(chain(x, w)).tolist(), "plain Python, no autograd"),
            "slopes alone": (slopes_alone, "own slopes"),
            "no weights": (lambda x, w: chain(x, w, use_weights=False), "the weights are missing"),
            "own weights": (lambda x, w: chain(x, w, shift=0), "is w_(k+1), not w_k"),
            "turned round": (lambda x, w: chain(x, w)[::-1], "turned round"),
            "from the front": (chain_from_the_front, "starts at the output"),
            "last slope": (lambda x, w: chain(x, w, last=False), "slope of the last sigmoid"),
            "by h": (lambda x, w: chain(x, w, own_slope=False), "derivatives by h_k"),
            "by h_(k-1)": (lambda x, w: [g * v for g, v in zip(chain(x, w), w, strict=True)], "one weight too many"),
            "a number": (lambda x, w: chain(x, w)[0], "return such a list"),
            "with the input's": (lambda x, w: [w[0] * chain(x, w)[0], *chain(x, w)], "return such a list"),
        },
    ),
    check_output_statistics: Answers(
        right=[output_statistics, statistics_with(), statistics_in_lists],
        wrong={
            "hooks left": (statistics_with(copied=False, removed=False), "the number of hooks"),
            "evaluation mode": (statistics_with(copied=False, mode=False), "the mode of net"),
            "a copy in evaluation mode": (statistics_with(mode=False), "evaluation mode's numbers"),
            "each unit's": (lambda net, X: statistics_by_unit(net, X, mean=False), "one number each"),
            "the units' mean": (statistics_by_unit, "take all values at once"),
            "running statistics": (statistics_with(copied=False), "running_mean of net"),
            "containers": (statistics_with(leaves=False), "leave out containers"),
            "inputs": (statistics_with(side="input"), "of its input"),
            "unbiased": (statistics_with(correction=1), "divided by n - 1"),
            "variance": (statistics_with(root=False), "this is the variance"),
            "too late": (statistics_with(late=True), "works in place"),
            "graph kept": (statistics_with(items=False), "hang on the graph"),
        },
    ),
    check_calibrate: Answers(
        right=[calibrate, calibrate_with()],
        wrong={
            "all at once": (calibrate_with(at_once=True), "measured after the layers before it"),
            "unbiased": (calibrate_with(correction=1), "divided by n - 1"),
            "no shift": (calibrate_with(shift=False), "What must become of the bias?"),
            "bias not divided": (calibrate_with(order=False), "What must become of the bias?"),
            "no division": (calibrate_with(divide=False), "must be divided by the standard deviation"),
            "by the variance": (calibrate_with(power=2), "the deviation is not 1"),
            "one scale": (calibrate_with(whole=True), "each unit needs its own"),
            "replaced": (calibrate_with(replace=True), "replaced by another"),
            "the input": (calibrate_the_input, "X is not as it was"),
        },
    ),
}

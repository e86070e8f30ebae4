"""Answers to the exercises of notebook 07."""

import copy
import math
from bisect import bisect_left

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from d2lnorm import evaluate_accuracy, lenet
from d2lnorm.course.exercises.lenet_fashion_mnist import (
    check_accuracy_with_batch_statistics,
    check_epochs_to_reach,
    check_fair_pair,
    check_train_epoch,
)
from exercise_answers import Answers


def fair_pair(seed):
    nets = []
    for norm in ("torch", None):
        torch.manual_seed(seed)
        nets.append(lenet(norm))
    return tuple(nets)


def seeded_once(seed):
    torch.manual_seed(seed)
    return lenet("torch"), lenet(None)


def copied_weights(seed):
    torch.manual_seed(seed)
    with_bn, without = lenet("torch"), lenet(None)
    own = [m for m in with_bn if isinstance(m, nn.Conv2d | nn.Linear)]
    for a, b in zip(own, (m for m in without if isinstance(m, nn.Conv2d | nn.Linear)), strict=True):
        b.load_state_dict(a.state_dict())
    return with_bn, without


def copied_state(seed):
    torch.manual_seed(seed)
    with_bn, without = [lenet("torch"), lenet(None)]
    state = {k: v.clone() for k, v in with_bn.state_dict().items() if "running" not in k and "num_batches" not in k}
    kept = [t for t in state.values() if t.dim() > 1]
    for layer, weight in zip((m for m in without if hasattr(m, "weight")), kept, strict=True):
        layer.weight.data = weight
    own = [m.bias for m in with_bn if isinstance(m, nn.Conv2d | nn.Linear)]
    for layer, bias in zip((m for m in without if hasattr(m, "weight")), own, strict=True):
        layer.bias.data.copy_(bias.data)
    return [with_bn, without]


def forked(seed):
    def make(norm):
        with torch.random.fork_rng():
            torch.manual_seed(seed + 5)
            return lenet(norm)

    return make("torch"), make(None)


def only_weights(seed, shares=(), norm="torch"):
    torch.manual_seed(seed)
    with_bn, without = lenet(norm), lenet(None)
    pairs = zip(*([m for m in n if isinstance(m, nn.Conv2d | nn.Linear)] for n in (with_bn, without)), strict=True)
    for number, (a, b) in enumerate(pairs):
        if number in shares:
            b.weight, b.bias = a.weight, a.bias
        else:
            b.weight.data = a.weight.data.clone()
            if shares:
                b.bias.data = a.bias.data.clone()
    return with_bn, without


def copied(seed):
    net = fair_pair(seed)[0]
    return net, copy.deepcopy(net)


def shared(seed):
    torch.manual_seed(seed)
    net = lenet("torch")
    return net, nn.Sequential(*(m for m in net if not isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)))


def train_epoch(net, batches, optimizer, *, zero=True, train=True, mean="examples"):
    if train:
        net.train()
    total, count, losses = 0.0, 0, []
    for X, y in batches:
        loss = F.cross_entropy(net(X), y)
        if zero:
            optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item() if mean != "graph" else loss)
        total, count = total + losses[-1] * len(y), count + len(y)
    means = {"batches": sum(losses) / len(losses), "last": losses[-1]}
    return means.get(mean, total / count)


def by_parts(net, batches, optimizer, *, put_back=False):
    was = net.training
    net.train()
    each = []
    for X, y in batches:
        logp = net(X).log_softmax(-1)
        losses = -logp[torch.arange(len(y)), y]
        optimizer.zero_grad(set_to_none=True)
        losses.mean().backward()
        optimizer.step()
        each += [losses.detach()]
    net.train(was if put_back else True)
    return torch.cat(each).mean()


def by_hand(net, batches, optimizer):
    for p in net.train().parameters():
        p.grad = None
    total = 0.0
    for X, y in batches:
        loss = F.cross_entropy(net(X), y)
        loss.backward()
        total += loss.item() * len(y)
        with torch.no_grad():
            for p in net.parameters():
                p -= 0.5 * p.grad
                p.grad = None
    return total / sum(len(y) for _, y in batches)


def before_the_steps(net, batches, optimizer):
    net.train()
    X, y = (torch.cat(t) for t in zip(*batches, strict=True))
    loss = F.cross_entropy(net(X), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def after_the_steps(net, batches, optimizer):
    train_epoch(net, batches, optimizer)
    with torch.no_grad():
        return sum(F.cross_entropy(net(X), y).item() * len(y) for X, y in batches) / sum(len(y) for _, y in batches)


def no_steps(net, batches, optimizer):
    net.train()
    return sum(F.cross_entropy(net(X), y).item() * len(y) for X, y in batches) / 10


def own_statistics(net, batches):
    copied = copy.deepcopy(net)
    for m in copied.modules():
        if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d):
            m.train()
    with torch.no_grad():
        right = [(copied(X).argmax(1) == y).float() for X, y in batches]
    return torch.cat(right).mean().item()


def untracked(net, batches):
    copied = copy.deepcopy(net)
    for m in copied.modules():
        if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d):
            m.running_mean = m.running_var = None  # torch then takes the batch's own, in either mode
    return evaluate_accuracy(copied, batches)


def everything_in_training_mode(net, batches):
    copied = copy.deepcopy(net).train()
    with torch.no_grad():
        return torch.cat([(copied(X).argmax(1) == y).float() for X, y in batches]).mean().item()


def traces(net, batches):
    for m in net.modules():
        if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d):
            m.train()
    with torch.no_grad():
        right = [(net(X).argmax(1) == y).float() for X, y in batches]
    net.eval()
    return torch.cat(right).mean().item()


def switched(net, batches, *, kinds=(nn.BatchNorm1d, nn.BatchNorm2d), deep=True, twin=True, grad=False, mean=False):
    net = copy.deepcopy(net).eval() if twin else net
    for m in net.modules() if deep else net.children():
        if isinstance(m, kinds):
            m.train()
    right, total, shares = 0, 0, []
    with torch.set_grad_enabled(grad):
        for X, y in batches:
            hits = int((net(X).argmax(1) == y).sum())
            right, total = right + hits, total + len(y)
            shares.append(hits / len(y))
    return sum(shares) / len(shares) if mean else right / total


def put_back(net, batches, *, momentum=True, counter=True, modes=True):
    state, was = copy.deepcopy(net.state_dict()), {m: m.training for m in net.modules()}
    bns = [m for m in net.eval().modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    for m in bns:
        m.training, m.momentum = True, 0.0
    with torch.no_grad():
        hits = torch.cat([net(X).max(dim=1).indices == y for X, y in batches])
    for m in bns:
        m.momentum = 0.1 if momentum else 0.0
    if counter:
        net.load_state_dict(state)
    for m, mode in was.items():
        m.training = mode if modes else net.training
    if not modes:
        net.train(False)
    return np.float64(hits.numpy().mean())


def by_function(net, batches):
    twin = copy.deepcopy(net)
    for m in twin.modules():
        m.training = isinstance(m, nn.modules.batchnorm._BatchNorm)
    return torch.stack([h for X, y in batches for h in (twin(X).detach().argmax(-1) == y)]).float().mean()


def loop(accuracies, target):
    epoch = 0
    while epoch < len(accuracies):
        epoch += 1
        if not accuracies[epoch - 1] < target:
            return np.int64(epoch)
    return None


def by_numpy(accuracies, target):
    hits = np.flatnonzero(np.array(accuracies) >= target)
    return hits[0] + 1 if hits.size else None


def by_torch(accuracies, target):
    hits = (torch.tensor(accuracies, dtype=torch.float64) >= target).nonzero()
    return hits[0, 0] + 1 if len(hits) else None


def emptied(accuracies, target):
    epoch = 0
    while accuracies:
        epoch += 1
        if accuracies.pop(0) >= target:
            return epoch
    return None


def bisected(accuracies, target):
    index = bisect_left(accuracies, target)
    return index + 1 if index < len(accuracies) else None


ANSWERS = {
    check_epochs_to_reach: Answers(
        right=[
            lambda accuracies, target: next((e for e, a in enumerate(accuracies, 1) if a >= target), None),
            lambda accuracies, target: min((e for e, a in enumerate(accuracies, 1) if a >= target), default=None),
            loop,
            by_numpy,
            by_torch,
        ],
        wrong={
            "bisect": (bisected, "but you return"),
            "emptied": (emptied, "accuracies is not as it was"),
            "the best": (
                lambda accs, t: accs.index(max(accs)) + 1 if accs and max(accs) >= t else None,
                "the first that",
            ),
            "nearest": (lambda accs, t: min(range(len(accs)), key=lambda i: abs(accs[i] - t), default=-1) + 1, "epoch"),
            "how many": (lambda accs, t: sum(a >= t for a in accs) or None, "but you return"),
            "how many below": (
                lambda accs, t: sum(a < t for a in accs) + 1 if accs and max(accs) >= t else None,
                "but",
            ),
            "the accuracy": (lambda accs, t: next((a for a in accs if a >= t), None), "but you return"),
            "none is -1": (lambda accs, t: next((e for e, a in enumerate(accs, 1) if a >= t), -1), "answer is None"),
            "none is infinite": (
                lambda accs, t: next((e for e, a in enumerate(accs, 1) if a >= t), math.inf),
                "is None",
            ),
            "stays above": (
                lambda accs, t: next((e for e in range(1, len(accs) + 1) if min(accs[e - 1 :]) >= t), None),
                "the answer is epoch",
            ),
            "text": (lambda accs, t: f"epoch {loop(accs, t)}", "must be a number"),
            "all of them": (lambda accs, t: [e for e, a in enumerate(accs, 1) if a >= t], "must be a number"),
            "always": (lambda accs, t: 2, "is"),
            "counted from 0": (
                lambda accs, t: next((e for e, a in enumerate(accs) if a >= t), None),
                "number 1, not 0",
            ),
            "the last": (
                lambda accs, t: max((e for e, a in enumerate(accs, 1) if a >= t), default=None),
                "the first that",
            ),
            "more than": (
                lambda accs, t: next((e for e, a in enumerate(accs, 1) if a > t), None),
                "reaching it is",
            ),
            "never": (lambda accs, t: next((e for e, a in enumerate(accs, 1) if a >= t), len(accs)), "answer is None"),
        },
    ),
    check_fair_pair: Answers(
        right=[fair_pair, copied_weights, copied_state, forked, lambda seed: list(fair_pair(seed + 1))],
        wrong={
            "seeded once": (seeded_once, "the weights of the two nets differ"),
            "shared": (shared, "share parameters"),
            "biases not": (only_weights, "the biases of the two nets differ"),
            "shares all but the first": (lambda seed: only_weights(seed, shares=range(1, 5)), "share parameters"),
            "shares the last": (lambda seed: only_weights(seed, shares=[4]), "share parameters"),
            "a copy with BN": (copied, "have 4 and 4"),
            "layer norm": (lambda seed: (fair_pair(seed)[1],) * 2, "have 0 and 0"),
            "remembered": (lambda seed, nets={}: nets.setdefault(seed, fair_pair(seed)), "the same nets"),  # noqa: B006
            "three": (lambda seed: (*fair_pair(seed), None), "return two nets"),
            "nothing": (lambda seed: None, "not None"),
            "states": (lambda seed: [net.state_dict() for net in fair_pair(seed)], "return two nets"),
            "seed only for the first": (lambda seed: (fair_pair(seed)[0], lenet(None)), "the weights of the two nets"),
            "the last layer missing": (lambda seed: tuple(net[:-1] for net in fair_pair(seed)), "each net must return"),
            "seed ignored": (lambda seed: fair_pair(0), "follow from the seed"),
            "swapped": (lambda seed: fair_pair(seed)[::-1], "have 0 and 4"),
            "one net": (lambda seed: lenet("torch"), "return two nets"),
        },
    ),
    check_train_epoch: Answers(
        right=[
            train_epoch,
            by_parts,
            lambda *a: by_parts(*a, put_back=True),
            lambda *a: np.float32(train_epoch(*a)),
            lambda net, batches, optimizer: train_epoch(net, iter(batches), optimizer),
        ],
        wrong={
            "steps by hand": (by_hand, "after the epoch"),
            "one step": (before_the_steps, "after the epoch"),
            "loss afterwards": (after_the_steps, "after the epoch"),
            "first batch only": (lambda net, batches, o: train_epoch(net, batches[:1], o), "after the epoch"),
            "backwards": (lambda net, batches, o: train_epoch(net, batches[::-1], o), "after the epoch"),
            "twice": (lambda *a: (train_epoch(*a), train_epoch(*a))[0], "after the epoch"),
            "nothing": (lambda *a: train_epoch(*a) and None, "the mean loss must be a number"),
            "the sum": (
                lambda net, batches, o: train_epoch(net, batches, o) * sum(len(y) for _, y in batches),
                "loss is",
            ),
            "bits": (lambda *a: train_epoch(*a) / math.log(2), "the mean loss is not right"),
            "no zero_grad": (lambda *a: train_epoch(*a, zero=False), "zero_grad"),
            "left in evaluation mode": (lambda *a: train_epoch(*a, train=False), "evaluation mode"),
            "mean over batches": (lambda *a: train_epoch(*a, mean="batches"), "weighs the small last batch"),
            "last loss": (lambda *a: train_epoch(*a, mean="last"), "last batch's loss"),
            "graph kept": (lambda *a: train_epoch(*a, mean="graph"), "still holds the graph"),
            "no steps": (no_steps, "optimizer.step()"),
        },
    ),
    check_accuracy_with_batch_statistics: Answers(
        right=[switched, untracked, put_back, by_function, lambda *a: switched(*a, grad=True)],
        wrong={
            "running statistics": (evaluate_accuracy, "the running statistics were used"),
            "dropout on": (everything_in_training_mode, "dropout was active"),
            "dropout as it came": (own_statistics, "dropout was active"),
            "traces left": (traces, "running_mean of net is not as it was"),
            "mode left": (lambda *a: (switched(*a), a[0].train())[0], "mode of net is not as it was"),
            "top level": (lambda *a: switched(*a, deep=False), "the running statistics were used"),
            "1d": (lambda *a: switched(*a, kinds=nn.BatchNorm1d), "the accuracy is not right"),
            "2d": (lambda *a: switched(*a, kinds=nn.BatchNorm2d), "the accuracy is not right"),
            "mean over batches": (lambda *a: switched(*a, mean=True), "the mean over batches"),
            "momentum left": (lambda *a: put_back(*a, momentum=False), "`momentum` of layer"),
            "counter left": (lambda *a: put_back(*a, counter=False), "num_batches_tracked"),
            "modes of layers lost": (lambda *a: put_back(*a, modes=False), "the mode of layer"),
            "always 1": (lambda net, batches: 1.0, "the accuracy is not right"),
            "a count": (lambda net, batches: switched(net, batches) * sum(len(y) for _, y in batches), "is not right"),
            "percent": (lambda *a: 100 * switched(*a), "the accuracy is not right"),
            "one batch": (lambda net, batches: switched(net, batches[:1]), "the accuracy is not right"),
        },
    ),
}

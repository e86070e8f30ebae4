"""Answers to the exercises of notebook 07."""

import copy

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


ANSWERS = {
    check_epochs_to_reach: Answers(
        right=[
            lambda accuracies, target: next((e for e, a in enumerate(accuracies, 1) if a >= target), None),
            lambda accuracies, target: min((e for e, a in enumerate(accuracies, 1) if a >= target), default=None),
        ],
        wrong={
            "counted from 0": (
                lambda accs, t: next((e for e, a in enumerate(accs) if a >= t), None),
                "number 1, not 0",
            ),
            "the last": (lambda accs, t: max((e for e, a in enumerate(accs, 1) if a >= t), default=None), "the first"),
            "more than": (
                lambda accs, t: next((e for e, a in enumerate(accs, 1) if a > t), None),
                "reaching it is",
            ),
            "never": (lambda accs, t: next((e for e, a in enumerate(accs, 1) if a >= t), len(accs)), "answer is None"),
        },
    ),
    check_fair_pair: Answers(
        right=[fair_pair, copied_weights],
        wrong={
            "seeded once": (seeded_once, "Seed again"),
            "shared": (shared, "share their parameters"),
            "seed ignored": (lambda seed: fair_pair(0), "follow from the seed"),
            "swapped": (lambda seed: fair_pair(seed)[::-1], "have 0 and 4"),
            "one net": (lambda seed: lenet("torch"), "return two nets"),
        },
    ),
    check_train_epoch: Answers(
        right=[train_epoch],
        wrong={
            "no zero_grad": (lambda *a: train_epoch(*a, zero=False), "zero_grad"),
            "left in evaluation mode": (lambda *a: train_epoch(*a, train=False), "evaluation mode"),
            "mean over batches": (lambda *a: train_epoch(*a, mean="batches"), "weighs the small last batch"),
            "last loss": (lambda *a: train_epoch(*a, mean="last"), "last batch's loss"),
            "graph kept": (lambda *a: train_epoch(*a, mean="graph"), "still holds the graph"),
            "no steps": (no_steps, "optimizer.step()"),
        },
    ),
    check_accuracy_with_batch_statistics: Answers(
        right=[own_statistics, untracked],
        wrong={
            "running statistics": (evaluate_accuracy, "the running statistics were used"),
            "dropout on": (everything_in_training_mode, "dropout was active"),
            "traces left": (traces, "leave no trace"),
            "mode left": (lambda net, batches: (own_statistics(net, batches), net.train())[0], "left in it"),
        },
    ),
}

"""Checks for the exercises of notebook 07: training, fair comparisons, and what a single number hides."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from d2lnorm.course.exercises.feedback import exercise, expect, expect_close

__all__ = [
    "check_accuracy_with_batch_statistics",
    "check_epochs_to_reach",
    "check_fair_pair",
    "check_train_epoch",
]

PILED_UP = "gradients of earlier batches are still in it, call optimizer.zero_grad() in each step"


@exercise
def check_epochs_to_reach(answer: Callable) -> str:
    """Check `answer(accuracies, target)`: the first epoch, counted from 1, with at least that accuracy, or None."""
    leaping = [0.1, 0.5, 0.3, 0.625, 0.4, 0.75]
    for target, expected in ((0.3, 2), (0.5, 2), (0.55, 4), (0.1, 1)):
        got = answer(list(leaping), target)
        call = f"with accuracies {leaping} and target {target}"
        expect(got is not None, f"{call} the answer is epoch {expected}, but you return None.")
        expect(got != expected - 1, f"{call} the answer is epoch {expected}: the first epoch has the number 1, not 0.")
        last = max(e for e, a in enumerate(leaping, 1) if a >= target)
        expect(got == expected or got != last, f"{call} epoch {last} is the last to reach it; return the first.")
        expect(got == expected, f"{call} the answer is epoch {expected}, but you return {got}: reaching it is enough.")
    got = answer(list(leaping), 0.9)
    expect(got is None, f"with a target that no epoch reaches the answer is None, but you return {got!r}.")
    return "first epoch, counted from 1, and None where the target is never reached."


@exercise
def check_fair_pair(answer: Callable) -> str:
    """Check `answer(seed)`: a LeNet with BN and one without, which start from the same seeded weights."""
    torch.manual_seed(123)
    pairs = [answer(0), answer(1), answer(0)]
    for pair in pairs:
        nets = isinstance(pair, tuple | list) and len(pair) == 2 and all(isinstance(net, nn.Module) for net in pair)
        expect(nets, "return two nets, the one with BN first.")
    counts = [sum(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in net.modules()) for net in pairs[0]]
    expect(counts == [4, 0], f"expected nets with 4 and with 0 BN layers, but yours have {counts[0]} and {counts[1]}.")
    (with_bn, without), (other, _), (again, _) = ([_weights(net) for net in pair] for pair in pairs)
    fair = all(torch.equal(a, b) for a, b in zip(with_bn, without, strict=True))
    expect(
        fair, "their weights differ: the second net was drawn from a generator that the first had moved on. Seed again."
    )
    expect(with_bn[0] is not without[0], "the two nets share their parameters: training one would train the other.")
    seeded = not torch.equal(with_bn[0], other[0]) and torch.equal(with_bn[0], again[0])
    expect(seeded, "the weights must follow from the seed: others for seed 1 than for 0, and for 0 the same each time.")
    return "same weights with and without BN, others for another seed, and none shared."


@exercise
def check_train_epoch(answer: Callable) -> str:
    """Check `answer(net, batches, optimizer)`: an epoch of SGD on the cross-entropy, and its mean loss."""
    generator = torch.Generator().manual_seed(0)
    X, y = torch.randn(10, 4, generator=generator), torch.randint(3, (10,), generator=generator)
    batches = list(zip(X.split(4), y.split(4), strict=True))  # 4, 4 and 2 examples
    start = _small_net(generator).eval()
    net, truth = copy.deepcopy(start), copy.deepcopy(start)
    got = answer(net, batches, torch.optim.SGD(net.parameters(), lr=0.5))
    expected, of_batches = _epoch(truth, batches, 0.5)
    expect(
        not torch.equal(net.get_buffer("1.running_mean"), start.get_buffer("1.running_mean")),
        "the running statistics did not move: the net came in evaluation mode, and you left it there.",
    )
    expect(
        not torch.equal(net.get_parameter("0.weight"), start.get_parameter("0.weight")),
        "the weights did not change: an epoch needs loss.backward() and optimizer.step() for each batch.",
    )
    piled = copy.deepcopy(start)
    _epoch(piled, batches, 0.5, pile_up=True)
    expect_close(
        net.get_parameter("0.weight").detach(),
        truth.get_parameter("0.weight").detach(),
        "the first layer's weight after the epoch",
        {PILED_UP: piled.get_parameter("0.weight")},
    )
    expect(
        not (isinstance(got, Tensor) and got.requires_grad), "the loss you return still holds the graph: use .item()."
    )
    mistakes = {
        "the mean over batches weighs the small last batch too much, weigh each by its examples": of_batches.mean(),
        "that is the last batch's loss, not the epoch's": of_batches[-1],
        "that is the sum over batches": of_batches.sum(),
    }
    expect_close(got, expected, "the mean loss", {k: v.item() for k, v in mistakes.items()})
    expect(net.training, "leave the net in training mode.")
    return "weights and running statistics as they must be after an epoch, and the mean loss over the examples."


@exercise
def check_accuracy_with_batch_statistics(answer: Callable) -> str:
    """Check `answer(net, batches)`: accuracy with BN on the batches' own statistics, and nothing left behind."""
    generator = torch.Generator().manual_seed(8)
    X, y = 3 + 2 * torch.randn(64, 4, generator=generator), torch.randint(3, (64,), generator=generator)
    batches = list(zip(X.split(16), y.split(16), strict=True))
    net = _small_net(generator, nn.Dropout(0.9)).eval()  # its running statistics are far from the data's
    before = copy.deepcopy(net.state_dict())
    with torch.no_grad():
        running = [net(X_) for X_, _ in batches]
        by_batches = copy.deepcopy(net)
        by_batches[1].train()
        own = [by_batches(X_) for X_, _ in batches]
    labels = [logits.argmax(1) for logits in own]  # so that the right answer is 1
    old = torch.cat([r.argmax(1) == label for r, label in zip(running, labels, strict=True)]).float().mean().item()
    labelled, got = [(X_, label) for (X_, _), label in zip(batches, labels, strict=True)], []
    for seed in (0, 1):
        torch.manual_seed(seed)
        got.append(answer(net, labelled))
    expect(
        all(torch.equal(t, before[name]) for name, t in net.state_dict().items()),
        "the running statistics of the net were changed: work on a copy, a test must leave no trace.",
    )
    expect(not any(m.training for m in net.modules()), "the net came in evaluation mode, and must be left in it.")
    same = got[0] == got[1]
    expect(same, "dropout was active: only the BN layers may be in training mode, net.train() switches them all.")
    expect_close(got[0], 1.0, "the accuracy", {"the running statistics were used": old}, atol=1e-6)
    return "the batches' own statistics, dropout off, and the net as it was."


def _weights(net: nn.Module) -> list[Tensor]:
    return [m.weight for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]


def _small_net(generator: torch.Generator, *between: nn.Module) -> nn.Sequential:
    net = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), *between, nn.Linear(6, 3))
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=generator))
    return net


def _epoch(net: nn.Module, batches: list, lr: float, pile_up: bool = False) -> tuple[float, Tensor]:
    """Train for an epoch; return the mean loss over the examples and the batches' losses."""
    optimizer = torch.optim.SGD(net.train().parameters(), lr=lr)
    losses = []
    for X, y in batches:
        if not pile_up:
            optimizer.zero_grad()
        loss = F.cross_entropy(net(X), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    sizes = torch.tensor([len(y) for _, y in batches])
    return ((torch.stack(losses) * sizes).sum() / sizes.sum()).item(), torch.stack(losses)

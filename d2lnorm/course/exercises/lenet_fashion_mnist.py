"""Checks for the exercises of notebook 07: training, fair comparisons, and what a single number hides."""

import copy
import random
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from d2lnorm.course.exercises.feedback import described, exercise, expect, expect_close, number
from d2lnorm.course.exercises.traces import kept

__all__ = [
    "check_accuracy_with_batch_statistics",
    "check_epochs_to_reach",
    "check_fair_pair",
    "check_train_epoch",
]
NORMS = nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d
PILED_UP = "gradients of earlier batches are still in it, call optimizer.zero_grad() in each step"


@exercise
def check_epochs_to_reach(answer: Callable) -> str:
    """Check `answer(accuracies, target)`: the first epoch, counted from 1, with at least that accuracy, or None."""
    draw = random.Random(0)
    leaping, curves = [0.1, 0.5, 0.3, 0.625, 0.4, 0.75], [[draw.random() for _ in range(n)] for n in (1, 3, 9)]
    cases = [(leaping, target) for target in (0.3, 0.5, 0.55, 0.1, 0.75, 0.9)]
    cases += [([0.9, 0.2, 0.3], 0.25), ([0.9, 0.2, 0.3], 0.95), ([], 0.5), ([0.0, 0.0], 0.0)]
    cases += [(curve, draw.choice([*curve, 1.0, 0.5])) for curve in curves for _ in range(4)]
    for accuracies, target in cases:
        reached = [epoch for epoch, accuracy in enumerate(accuracies, 1) if accuracy >= target]
        with kept(accuracies=accuracies):
            got = answer(accuracies, target)
        call = f"with accuracies {[round(a, 3) for a in accuracies]} and target {round(target, 3)}"
        if not reached:
            expect(got is None, f"{call} no epoch reaches it and the answer is None, but you return {described(got)}.")
            continue
        expect(got is not None, f"{call} the answer is epoch {reached[0]}, but you return None.")
        epoch = number(got, "the epoch")
        expect(epoch != reached[0] - 1, f"{call} the answer is {reached[0]}: the first epoch has the number 1, not 0.")
        only_above = next((e for e in reached if accuracies[e - 1] > target), None)
        hint = ": reaching it is enough" if epoch == only_above else ": the first that reaches it is asked"
        expect(epoch == reached[0], f"{call} the answer is epoch {reached[0]}, but you return {epoch:g}{hint}.")
    return "first epoch, counted from 1, and None where the target is never reached."


@exercise
def check_fair_pair(answer: Callable) -> str:
    """Check `answer(seed)`: a LeNet with BN and one without, which start from the same seeded weights."""
    pairs = []
    for seed, noise in ((0, 123), (1, 123), (0, 456), (7, 5)):
        torch.manual_seed(noise)  # what the generator did before must not matter
        pair = answer(seed)
        nets = isinstance(pair, tuple | list) and len(pair) == 2 and all(isinstance(net, nn.Module) for net in pair)
        expect(nets, f"return two nets, the one with BN first, not {described(pair)}.")
        pairs.append(pair)
        counts = [sum(isinstance(m, NORMS) for m in net.modules()) for net in pair]
        expect(
            counts == [4, 0], f"expected nets with 4 and with 0 BN layers, but yours have {counts[0]} and {counts[1]}."
        )
        shapes = [[tuple(p.shape) for p in _start(net)] for net in pair]
        expect(shapes[0] == shapes[1], "the layers with weights must be those of LeNet in both nets; theirs differ.")
        for net in pair:
            out = net(torch.zeros(2, 1, 28, 28))
            fine = isinstance(out, Tensor) and tuple(out.shape) == (2, 10)
            expect(fine, f"for two images of shape (1, 28, 28) each net must return (2, 10), not {described(out)}.")
        for name, (a, b) in zip(("weights", "biases"), (_halves(pair, bias) for bias in (False, True)), strict=True):
            expect(
                all(map(torch.equal, a, b)),
                f"the {name} of the two nets differ. Making the first net moves the generator on. "
                "Convolutions and linear layers start with random biases, too.",
            )
        own = not {p.data_ptr() for p in pair[0].parameters()} & {p.data_ptr() for p in pair[1].parameters()}
        expect(own, "the two nets share parameters: training one would train the other.")
    first, other, again, _ = (_start(with_bn) for with_bn, _ in pairs)
    seeded = not any(map(torch.equal, first[::2], other[::2])) and all(map(torch.equal, first, again))
    expect(seeded, "the weights must follow from the seed: others for seed 1 than for 0, and for 0 the same each time.")
    own = first[0].data_ptr() != again[0].data_ptr()
    expect(own, "two calls with the same seed return the same nets: training one pair would train the other.")
    return "same weights with and without BN, others for another seed, and none shared."


@exercise
def check_train_epoch(answer: Callable) -> str:
    """Check `answer(net, batches, optimizer)`: an epoch of the optimizer on the cross-entropy, and its mean loss."""
    for seed, sizes, make in (
        (0, (4, 4, 2), lambda weights: torch.optim.SGD(weights, lr=0.5)),
        (1, (5, 3), lambda weights: torch.optim.Adam(weights, lr=0.05)),
    ):
        generator = torch.Generator().manual_seed(seed)
        X, y = torch.randn(sum(sizes), 4, generator=generator), torch.randint(3, (sum(sizes),), generator=generator)
        batches = list(zip(X.split(sizes), y.split(sizes), strict=True))
        start = _small_net(generator)
        start.train(seed == 1)
        net, truth, piled = (copy.deepcopy(start) for _ in range(3))
        with kept(batches=batches):
            got = answer(net, batches, make(net.parameters()))
        expected, of_batches = _epoch(truth, batches, make)
        _epoch(piled, batches, make, pile_up=True)
        expect(
            not torch.equal(net.get_buffer("1.running_mean"), start.get_buffer("1.running_mean")),
            "the running statistics did not move: the net came in evaluation mode, and you left it there.",
        )
        expect(
            not torch.equal(net.get_parameter("0.weight"), start.get_parameter("0.weight")),
            "the weights did not change: an epoch needs loss.backward() and optimizer.step() for each batch.",
        )
        for name, right in truth.state_dict().items():
            wrong = {PILED_UP: piled.state_dict()[name]}
            expect_close(net.state_dict()[name], right, f"after the epoch, {name}", wrong)
        graph = isinstance(got, Tensor) and got.requires_grad
        expect(not graph, "the loss you return still holds the graph: use .item().")
        losses = {
            "the mean over batches weighs the small last batch too much, weigh each by its examples": of_batches.mean(),
            "that is the last batch's loss, not the epoch's": of_batches[-1],
            "that is the sum over batches": of_batches.sum(),
        }
        expect_close(got, expected, "the mean loss", {k: v.item() for k, v in losses.items()})
    return "weights and running statistics as they must be after an epoch, and the mean loss over the examples."


@exercise
def check_accuracy_with_batch_statistics(answer: Callable) -> str:
    """Check `answer(net, batches)`: accuracy with BN on the batches' own statistics, and nothing left behind."""
    for seed, sizes in ((8, (16, 16, 16, 16)), (9, (20, 12))):
        generator = torch.Generator().manual_seed(seed)
        images = 3 + 2 * torch.randn(sum(sizes), 1, 4, 4, generator=generator)
        inner = nn.Sequential(nn.Conv2d(1, 3, 2), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(27, 4))
        net = nn.Sequential(
            inner, _small_net(generator, nn.Dropout(0.9))
        ).eval()  # running statistics far from the data's
        net.get_submodule("1.3").train(seed == 9)  # a layer may be in another mode than its net
        twin = copy.deepcopy(net).eval()
        outputs = {}
        for bn in (False, True):
            for layer in (m for m in twin.modules() if isinstance(m, NORMS)):
                layer.train(bn)
            with torch.no_grad():
                outputs[bn] = [twin(X).argmax(1) for X in images.split(sizes)]
        labels = [own.clone() for own in outputs[True]]
        for label in labels:
            label[:5] = (label[:5] + 1) % 3  # five wrong ones in each batch: the mean over batches is another number
        share = {bn: _share(outputs[bn], labels) for bn in outputs}
        batches, got = list(zip(images.split(sizes), labels, strict=True)), []
        for _ in range(2):
            with kept(net=net, batches=batches):
                got.append(number(answer(net, batches), "the accuracy"))
        expect(
            got[0] == got[1],
            "dropout was active: only the BN layers may be in training mode, net.train() switches all.",
        )
        equal = sum(((p == y).float().mean().item()) for p, y in zip(outputs[True], labels, strict=True)) / len(sizes)
        mistakes = {"the running statistics were used": share[False]}
        mistakes |= {"it is the mean over batches; the last batch may be smaller": equal} if len(set(sizes)) > 1 else {}
        expect_close(got[0], share[True], "the accuracy", mistakes, atol=1e-6)
    return "the batches' own statistics, dropout off, and the net as it was."


def _start(net: nn.Module) -> list[Tensor]:
    """Weight and bias of each convolution and linear layer."""
    return [p for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear) for p in m.parameters(recurse=False)]


def _halves(pair: tuple, bias: bool) -> list[list[Tensor]]:
    return [[p for p in _start(net) if (p.dim() == 1) == bias] for net in pair]


def _small_net(generator: torch.Generator, *between: nn.Module) -> nn.Sequential:
    net = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), *between, nn.Linear(6, 3))
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=generator))
    return net


def _epoch(net: nn.Module, batches: list, make: Callable, pile_up: bool = False) -> tuple[float, Tensor]:
    """Train for an epoch; return the mean loss over the examples and the batches' losses."""
    optimizer, losses = make(net.train().parameters()), []
    for X, y in batches:
        if not pile_up:
            optimizer.zero_grad()
        loss = F.cross_entropy(net(X), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    sizes = torch.tensor([len(y) for _, y in batches])
    return ((torch.stack(losses) * sizes).sum() / sizes.sum()).item(), torch.stack(losses)


def _share(predictions: list[Tensor], labels: list[Tensor]) -> float:
    return (torch.cat(predictions) == torch.cat(labels)).double().mean().item()

"""Checks for the exercises of notebook 07: training, fair comparisons, and what a single number hides."""

import copy
import random
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from d2lnorm.batch_norm import BatchNorm
from d2lnorm.course.exercises.common.epochs import epoch, give_gradients, seen_in, slipped, strange
from d2lnorm.course.exercises.common.feedback import described, exercise, expect, expect_close, number
from d2lnorm.course.exercises.common.judged import misjudged, predictions, share
from d2lnorm.course.exercises.common.layers import expect_lenet, start_of
from d2lnorm.course.exercises.common.nets import BATCH_NORMS, filled, net_with_dropout
from d2lnorm.course.exercises.common.traces import kept
from d2lnorm.lenet import lenet

__all__ = ["check_accuracy_with_batch_statistics", "check_epochs_to_reach", "check_fair_pair", "check_train_epoch"]
START = ("weights", "Where does the second net's seed come from?"), ("biases", "Layers draw their biases, too.")


@exercise
def check_epochs_to_reach(answer: Callable) -> str:
    """Check `answer(accuracies, target)`: the first epoch, counted from 1, with at least that accuracy, or None."""
    draw = random.Random(0)
    leaping, curves = [0.1, 0.5, 0.3, 0.625, 0.4, 0.75], [[draw.random() for _ in range(n)] for n in (1, 3, 9)]
    cases = [([0.9, 0.2, 0.3], 0.25), ([0.9, 0.2, 0.3], 0.95)]
    cases += [(leaping, target) for target in (0.55, 0.3, 0.5, 0.1, 0.75, 0.9)]
    nearly = [0.2, 0.8496, 0.3, 0.8998, 0.1, 0.8999]  # just below is not enough
    cases += [*((nearly, target) for target in (0.85, 0.8999, 0.9)), ([], 0.5), ([0.0, 0.0], 0.0)]
    cases += [(curve, draw.choice([*curve, 1.0, 0.5])) for curve in curves for _ in range(4)]
    for accuracies, target in cases:
        reached = [epoch for epoch, accuracy in enumerate(accuracies, 1) if accuracy >= target]
        with kept(accuracies=accuracies):
            got = answer(accuracies, target)
        call = f"with accuracies {[round(a, 4) for a in accuracies]} and target {round(target, 4)}"
        if not reached:
            expect(got is None, f"{call} no epoch reaches it and the answer is None, but you return {described(got)}.")
            continue
        expect(got is not None, f"{call} the answer is epoch {reached[0]}, but you return None.")
        epoch = number(got, "the epoch")
        expect(epoch != reached[0] - 1, f"{call} the answer is {reached[0]}: the first epoch has the number 1, not 0.")
        only_above = next((e for e in reached if accuracies[e - 1] > target), None)
        hint = ": reaching it is enough" if epoch == only_above else ": the first that reaches it is asked"
        if epoch not in reached:
            hint = f", where the accuracy is below {target:.4g}" if 1 <= epoch <= len(accuracies) else ""
        expect(epoch == reached[0], f"{call} the answer is epoch {reached[0]}, but you return {epoch:g}{hint}.")
    return "first epoch, counted from 1, and None where the target is never reached."


@exercise
def check_fair_pair(answer: Callable) -> str:
    """Check `answer(seed)`: a LeNet with BN and one without, which start from the same seeded weights."""
    seen: set[int] = set()
    pairs, images = [], torch.randn(4, 1, 28, 28)
    for seed, noise in ((0, 123), (8000, 123), (0, 456)):
        torch.manual_seed(noise)  # what the generator did before must not matter
        pair = answer(seed)
        nets = isinstance(pair, tuple | list) and len(pair) == 2 and all(isinstance(net, nn.Module) for net in pair)
        what = [type(net).__name__ for net in pair] if isinstance(pair, tuple | list) else described(pair)
        expect(nets, f"return two nets, the one with BN first, not {what}.")
        pairs.append(pair)
        counts = [sum(isinstance(m, BATCH_NORMS) for m in net.modules()) for net in pair]
        expect(
            counts == [4, 0],
            f"expected nets with 4 and 0 nn.BatchNorm layers, but yours have {counts[0]} and {counts[1]}.",
        )
        for net, norm, which in zip(pair, ("torch", None), ("with BN", "without BN"), strict=True):
            expect_lenet(net, lenet(norm), which, images)
        for bias, (name, why) in enumerate(START):
            starts = zip(start_of(pair[0])[bias::2], start_of(pair[1])[bias::2], strict=True)
            differ = [not torch.equal(a, b) for a, b in starts]
            layers = [m for m in pair[1].modules() if isinstance(m, nn.Conv2d | nn.Linear)]
            which = f" (of {', '.join(str(m) for m, d in zip(layers, differ, strict=True) if d)})" * (not all(differ))
            told = f"the {name} of {sum(differ)} of the 5 layers{which} differ between the two nets."
            expect(not any(differ), f"{told} {why}" if all(differ) else told)
        own = not {p.data_ptr() for p in pair[0].parameters()} & {p.data_ptr() for p in pair[1].parameters()}
        expect(own, "the two nets share parameters: training one would train the other.")
        drawn = all(not (w == w[0]).all() for w in start_of(pair[0])[::2])
        expect(drawn, "all units of a layer start alike: draw the weights.")
        for net, which in zip(pair, ("with BN", "without BN"), strict=True):
            for name, t in (*net.named_parameters(), *net.named_buffers()):
                new = t.data_ptr() not in seen
                expect(
                    new,
                    f"two calls return the same tensor {name} in the net {which}: training one trains both.",
                )
        seen |= {t.data_ptr() for net in pair for t in (*net.parameters(), *net.buffers())}
    first, other, again = (start_of(with_bn) for with_bn, _ in pairs)
    expect(all(map(torch.equal, first, again)), "the same seed must give the same weights, but two times 0 did not.")
    seeded = not any(map(torch.equal, first[::2], other[::2]))
    expect(seeded, "seeds 0 and 8000 give the same weights in a layer: all weights must be drawn from the seed.")
    return "same weights with and without BN, others for another seed, and none shared."


@exercise
def check_train_epoch(answer: Callable) -> str:
    """Check `answer(net, batches, optimizer)`: an epoch of the optimizer on the cross-entropy, and its mean loss."""
    for seed, sizes, make, image, dtype in (
        (1, (4, 4, 2), lambda weights: torch.optim.SGD(weights, lr=0.2, momentum=0.5), False, torch.float32),
        (2, (5, 3), lambda weights: torch.optim.Adam(weights, lr=0.05), True, torch.float64),
        (3, (3, 3, 1), lambda weights: torch.optim.SGD(weights, lr=0.2, momentum=0.5), False, torch.float64),
    ):
        generator = torch.Generator().manual_seed(seed)
        X = torch.randn(sum(sizes), *((1, 3, 3) if image else (4,)), generator=generator, dtype=dtype)
        y = torch.randint(7, (sum(sizes),), generator=generator)
        batches = list(zip(X.split(sizes), y.split(sizes), strict=True))
        net: Any = net_with_dropout(generator, image, 0.5).to(dtype)
        if 1 in sizes:  # for BN in training that would be too few
            net[1] = nn.LayerNorm(16, dtype=dtype)
        frozen, weight = next(net.named_parameters())
        weight.requires_grad_(False)
        optimizer = make(net.parameters())
        epoch(net, optimizer, batches, seed)  # so that the optimizer and the running statistics have a history
        net.train(not image)
        old, truth = copy.deepcopy(net.state_dict()), copy.deepcopy((net, optimizer))
        slips = slipped(net, optimizer, batches, seed)
        give_gradients(net)
        torch.manual_seed(seed)  # for dropout
        with kept(batches=batches), seen_in(net, optimizer) as (off, steps):
            got = answer(net, batches, optimizer)
        drawn = torch.get_rng_state()
        of_batches = epoch(*truth, batches, seed)
        odd = strange(off, steps, len(batches), torch.equal(drawn, torch.get_rng_state()))
        state = net.state_dict()
        stays = {name for name in old if torch.equal(state[name], old[name])}
        expect(
            not {name for name, _ in net.named_parameters()} <= stays,
            "the weights did not change: each batch needs loss.backward(), then optimizer.step(), on `net` itself, "
            "with no zero_grad between the two.",
        )
        expect(
            not any(name.endswith("running_mean") for name in stays),
            "the running statistics did not move: the net was in evaluation mode while it learned.",
        )
        for name, right in truth[0].state_dict().items():
            wrong = {slip: states[name] for slip, states in slips.items()} | ({odd: state[name]} if odd else {})
            after = f"after the epoch{', whose last batch holds one example' * (1 in sizes)}"
            expect_close(state[name], right, f"{after}, {name}{' (frozen)' * (name == frozen)}", wrong)
        expected = sum(loss.item() * n for loss, n in zip(of_batches, sizes, strict=True)) / sum(sizes)
        expect(not getattr(got, "requires_grad", False), "the loss you return still holds the graph: use .item().")
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
    for seed, sizes, image, dtype in ((33, (40, 32, 24), True, torch.float32), (34, (40, 24), False, torch.float64)):
        generator = torch.Generator().manual_seed(seed)
        X = torch.randn(sum(sizes), *((1, 3, 3) if image else (4,)), generator=generator, dtype=dtype)
        images = [4 * k + 2 * part for k, part in enumerate(X.split(sizes), 1)]  # each with statistics of its own
        net: Any = net_with_dropout(generator, image, 0.9)
        (net.head if image else net).append(filled(BatchNorm(7, 2, eps=10.0, momentum=0.6), generator))
        if image:
            net.part.insert(0, nn.InstanceNorm2d(1, track_running_stats=True))
        net.to(dtype).eval()
        for p in net.parameters():
            p.grad = torch.ones_like(p)  # from an earlier step of the student's training
        next(net.parameters()).requires_grad_(False)  # a frozen weight
        next(m for m in net.modules() if isinstance(m, nn.Dropout)).train()  # not every layer is in its net's mode
        right = predictions(net, images)
        labels = [own.clone() for own in right]
        for label in labels:
            label[:5] = (label[:5] + 1) % 7  # five wrong ones in each batch: the mean over batches is another number
        batches, got = list(zip(images, labels, strict=True)), []
        for _ in range(4):
            with kept(net=net, batches=batches):
                got.append(number(answer(net, batches), "the accuracy"))
        functional = ", and the net's own forward drops by the net's mode" * image
        expect(
            min(got) == max(got),
            f"dropout was active: four calls returned {min(got):.4f} to {max(got):.4f}. Here a dropout layer comes in "
            f"training mode{functional}. Switch off all but BN.",
        )
        expect_close(got[0], share(right, labels), "the accuracy", misjudged(net, images, labels), atol=1e-6)
    return "the batches' own statistics, dropout off, and the net as it was."
